// socket(2) and socketpair(2): which families, types and protocols there are.
#include <linux/capability.h>

#include "sentry/net/netlink_socket.h"
#include "sentry/net/socket.h"
#include "sentry/net/tcp_socket.h"
#include "sentry/net/udp_socket.h"
#include "sentry/net/unix_socket.h"

namespace sentry::net {
namespace {

Result<std::shared_ptr<UnixSocket>> make_unix_socket(int type, int protocol, int flags,
                                                     const Caller& caller) {
  if (protocol != 0 && protocol != PF_UNIX) return Errno(EPROTONOSUPPORT);
  if (type == SOCK_RAW) type = SOCK_DGRAM;  // as unix_create() does
  if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) return Errno(ESOCKTNOSUPPORT);
  return std::make_shared<UnixSocket>(type, flags, caller.files.credentials);
}

Result<std::shared_ptr<Socket>> make_internet_socket(int family, int type, int protocol, int flags,
                                                     const Caller& caller) {
  const vfs::CredentialsRef& owner = caller.files.credentials;
  switch (type) {
    case SOCK_STREAM:
      if (protocol != 0 && protocol != IPPROTO_TCP) return Errno(EPROTONOSUPPORT);
      return std::shared_ptr<Socket>(std::make_shared<TcpSocket>(family, flags, owner));
    case SOCK_DGRAM:
      if (protocol != 0 && protocol != IPPROTO_UDP) return Errno(EPROTONOSUPPORT);
      return std::shared_ptr<Socket>(std::make_shared<UdpSocket>(family, flags, owner));
    case SOCK_RAW:
      if (!owner->capable(CAP_NET_RAW)) return Errno(EPERM);
      return Errno(EPROTONOSUPPORT);  // there are no packets to look at
    default:
      return Errno(ESOCKTNOSUPPORT);
  }
}

}  // namespace

Result<std::shared_ptr<Socket>> make_socket(int family, int type, int protocol, int flags,
                                            const Caller& caller) {
  constexpr int kTypes = 11;  // include/linux/net.h SOCK_MAX
  if (family < 0 || family >= AF_MAX) return Errno(EAFNOSUPPORT);
  if (type < 0 || type >= kTypes) return Errno(EINVAL);
  switch (family) {
    case AF_UNIX:
      return std::shared_ptr<Socket>(TRY(make_unix_socket(type, protocol, flags, caller)));
    case AF_INET:
    case AF_INET6:
      return make_internet_socket(family, type, protocol, flags, caller);
    case AF_NETLINK: {
      if (type != SOCK_RAW && type != SOCK_DGRAM) return Errno(ESOCKTNOSUPPORT);
      const NetlinkProtocol* const known = NetlinkSocket::find_protocol(protocol);
      if (known == nullptr) return Errno(EPROTONOSUPPORT);
      return std::shared_ptr<Socket>(
          std::make_shared<NetlinkSocket>(type, *known, flags, caller.files.credentials));
    }
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
  UnixSocket::pair(*first, *second, caller);
  return Pair{first, second};
}

}  // namespace sentry::net
