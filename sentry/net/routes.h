// What rtnetlink(7) tells of the ways that packets take: the routes of lo and the rules that lead to them.
#pragma once

#include "sentry/net/netlink_message.h"

namespace sentry::net {

// RTM_GETROUTE: all routes, or the one to a destination. An errno, or 0.
int answer_route_query(MessageWriter& writer, const NetlinkRequest& request);
// RTM_GETRULE, all of them.
void write_rules(MessageWriter& writer, const NetlinkRequest& request);

}  // namespace sentry::net
