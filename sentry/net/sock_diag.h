// NETLINK_SOCK_DIAG, sock_diag(7): the sockets there are, as ss(8) asks for them.
#pragma once

#include "sentry/net/netlink_message.h"

namespace sentry::net {

int answer_socket_request(MessageWriter& writer, const NetlinkRequest& request, size_t& position);

}  // namespace sentry::net
