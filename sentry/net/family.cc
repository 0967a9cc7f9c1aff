// socket(2) and socketpair(2): which families, types and protocols there are.
#include "sentry/net/socket.h"
#include "sentry/net/unix_socket.h"

namespace sentry::net {
namespace {

Result<std::shared_ptr<UnixSocket>> make_unix_socket(int type, int protocol, int flags, const Caller& caller) {
  if (protocol != 0 && protocol != PF_UNIX) return Errno(EPROTONOSUPPORT);
  if (type == SOCK_RAW) type = SOCK_DGRAM;  // as unix_create() does
  if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) return Errno(ESOCKTNOSUPPORT);
  return std::make_shared<UnixSocket>(type, flags, caller.files.credentials);
}

}  // namespace

Result<std::shared_ptr<Socket>> make_socket(int family, int type, int protocol, int flags, const Caller& caller) {
  switch (family) {
    case AF_UNIX:
      return std::shared_ptr<Socket>(TRY(make_unix_socket(type, protocol, flags, caller)));
    default:
      return Errno(EAFNOSUPPORT);
  }
}

Result<Pair> make_socket_pair(int family, int type, int protocol, int flags, const Caller& caller) {
  if (family != AF_UNIX) {
    TRY(make_socket(family, type, protocol, flags, caller));
    return Errno(EOPNOTSUPP);
  }
  const auto first = TRY(make_unix_socket(type, protocol, flags, caller));
  const auto second = TRY(make_unix_socket(type, protocol, flags, caller));
  UnixSocket::pair(*first, *second, caller.ids);
  return Pair{first, second};
}

}  // namespace sentry::net
