// NETLINK_ROUTE, rtnetlink(7): enough to ask what interfaces, addresses and routes there are.
#pragma once

#include "sentry/net/netlink_message.h"

namespace sentry::net {

int answer_route_request(MessageWriter& writer, const NetlinkRequest& request, size_t& position);

}  // namespace sentry::net
