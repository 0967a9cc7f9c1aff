#include "sentry/net/internet_socket.h"

#include <linux/capability.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <climits>

#include "sentry/net/interface.h"

namespace sentry::net {
namespace {

// Options that are numbers which are kept and answered, and mostly matter to hardware networks only: [least,
// most].
struct NumberOption {
  int level, option;
  int initial, least, most;
};
constexpr NumberOption kNumberOptions[] = {
    {IPPROTO_IP, IP_TOS, 0, 0, 255},
    {IPPROTO_IP, IP_TTL, 64, -1, 255},
    {IPPROTO_IP, IP_HDRINCL, 0, 0, 0},
    {IPPROTO_IP, IP_PKTINFO, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_RECVTTL, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_RECVTOS, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_RECVOPTS, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_RETOPTS, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_RECVERR, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_FREEBIND, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, IP_PMTUDISC_DONT, IP_PMTUDISC_OMIT},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_MINTTL, 0, 0, 255},
    {IPPROTO_IP, IP_NODEFRAG, 0, 0, 1},
    {IPPROTO_IP, IP_MULTICAST_TTL, 1, -1, 255},
    {IPPROTO_IP, IP_MULTICAST_LOOP, 1, INT_MIN, INT_MAX},
    {IPPROTO_IP, IP_MULTICAST_ALL, 1, 0, 1},
    {IPPROTO_IPV6, IPV6_V6ONLY, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, -1, 255},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, -1, 255},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, 0, 1},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF, 0, 0, kLoopbackIndex},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_RECVERR, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_TCLASS, 0, -1, 255},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_OMIT},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_FREEBIND, 0, INT_MIN, INT_MAX},
    {IPPROTO_IPV6, IPV6_DONTFRAG, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_NODELAY, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_CORK, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_MAXSEG, 32768, 0, 65535},
    {IPPROTO_TCP, TCP_KEEPIDLE, 7200, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPINTVL, 75, 1, 32767},
    {IPPROTO_TCP, TCP_KEEPCNT, 9, 1, 127},
    {IPPROTO_TCP, TCP_SYNCNT, 6, 1, 127},
    {IPPROTO_TCP, TCP_LINGER2, 60, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, 0, INT_MAX},
    {IPPROTO_TCP, TCP_QUICKACK, 1, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 0, INT_MAX},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0, 0, 1},
    {IPPROTO_TCP, TCP_THIN_DUPACK, 0, 0, 1},
    {IPPROTO_TCP, TCP_FASTOPEN, 0, 0, INT_MAX},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0, 0, 1},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, -1, INT_MIN, INT_MAX},
    {IPPROTO_TCP, TCP_INQ, 0, 0, 1},
    {IPPROTO_UDP, UDP_CORK, 0, INT_MIN, INT_MAX},
};

const NumberOption* find_option(int level, int option) {
  for (const NumberOption& known : kNumberOptions)
    if (known.level == level && known.option == option) return &known;
  return nullptr;
}

}  // namespace

int InternetSocket::option_number(int level, int option) const {
  if (const auto found = numbers_.find({level, option}); found != numbers_.end()) return found->second;
  const NumberOption* known = find_option(level, option);
  return known != nullptr ? known->initial : 0;
}

Result<> InternetSocket::set_option(int level, int option, std::span<const std::byte> value,
                                    const Caller& caller) {
  if (level == SOL_SOCKET) {
    TRY(Socket::set_option(level, option, value, caller));
    user().reuse_address = options_.reuse_address;
    user().reuse_port = options_.reuse_port;
    return {};
  }
  if (level == IPPROTO_IPV6 && family() != AF_INET6) return Errno(ENOPROTOOPT);
  if ((level == IPPROTO_TCP && type() != SOCK_STREAM) || (level == IPPROTO_UDP && type() != SOCK_DGRAM))
    return Errno(ENOPROTOOPT);
  // Groups live on interfaces that can multicast, and lo cannot.
  if ((level == IPPROTO_IP && (option == IP_ADD_MEMBERSHIP || option == IP_ADD_SOURCE_MEMBERSHIP)) ||
      (level == IPPROTO_IPV6 && option == IPV6_JOIN_GROUP))
    return Errno(ENODEV);
  if ((level == IPPROTO_IP && option == IP_DROP_MEMBERSHIP) ||
      (level == IPPROTO_IPV6 && option == IPV6_LEAVE_GROUP))
    return Errno(EADDRNOTAVAIL);
  if (level == IPPROTO_IP && option == IP_MULTICAST_IF)
    return value.size() < sizeof(in_addr) ? Result<>(Errno(EINVAL)) : Result<>();
  const NumberOption* known = find_option(level, option);
  if (known == nullptr) return Errno(ENOPROTOOPT);
  // ip(7)'s options take a byte too.
  int number = 0;
  if (value.size() >= sizeof number)
    number = TRY(option_argument<int>(value));
  else if (level == IPPROTO_IP && !value.empty())
    number = std::to_integer<int>(value[0]);
  else
    return Errno(EINVAL);
  if (number < known->least || number > known->most) return Errno(EINVAL);
  if (number == -1 && known->least == -1) number = known->initial;
  if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
    if (user().local.port != 0) return Errno(EINVAL);
    user().v6_only = number != 0;
  }
  numbers_[{level, option}] = number;
  return {};
}

Result<std::vector<std::byte>> InternetSocket::get_option(int level, int option, size_t room) {
  if (level == SOL_SOCKET) return Socket::get_option(level, option, room);
  if (level == IPPROTO_IPV6 && family() != AF_INET6) return Errno(ENOPROTOOPT);
  if ((level == IPPROTO_TCP && type() != SOCK_STREAM) || (level == IPPROTO_UDP && type() != SOCK_DGRAM))
    return Errno(ENOPROTOOPT);
  if ((level == IPPROTO_IP && option == IP_MTU) || (level == IPPROTO_IPV6 && option == IPV6_MTU)) {
    if (!peer_name().ok()) return Errno(ENOTCONN);
    return option_value(kLoopbackMtu);
  }
  if (find_option(level, option) == nullptr) return Errno(ENOPROTOOPT);
  const int number = option_number(level, option);
  // A caller with room for one byte only gets one where the value fits, ip(7).
  if (level == IPPROTO_IP && room > 0 && room < sizeof number && number >= 0 && number <= 255)
    return option_value(static_cast<uint8_t>(number));
  return option_value(number);
}

Result<> InternetSocket::bind(const Address& address, const Caller& caller) {
  InternetAddress wanted;
  // A historic leniency of AF_INET: AF_UNSPEC with INADDR_ANY.
  if (family() == AF_INET && address.family() == AF_UNSPEC && address.length() >= sizeof(sockaddr_in) &&
      address.as<sockaddr_in>().sin_addr.s_addr == INADDR_ANY) {
    wanted = {Ip::v4(INADDR_ANY), ntohs(address.as<sockaddr_in>().sin_port)};
  } else {
    wanted = TRY(parse_internet_address(address, family()));
  }
  if (!wanted.ip.is_any() && !wanted.ip.is_loopback()) return Errno(EADDRNOTAVAIL);
  if (family() == AF_INET6 && wanted.ip.is_v4() && user().v6_only) return Errno(EINVAL);
  constexpr uint16_t kFirstUnprivileged = 1024;  // net.ipv4.ip_unprivileged_port_start
  if (wanted.port != 0 && wanted.port < kFirstUnprivileged &&
      !caller.files.credentials->capable(CAP_NET_BIND_SERVICE))
    return Errno(EACCES);
  PortUser& self = user();
  if (has_begun() || self.local.port != 0) return Errno(EINVAL);
  const InternetAddress before = std::exchange(self.local, wanted);
  self.uid = caller.files.credentials->euid;
  const Result<> claimed = ports().claim(self);
  if (!claimed.ok()) {
    self.local = before;
    return claimed;
  }
  bound_by_caller_ = true;
  return {};
}

Result<> InternetSocket::bind_automatically() {
  if (user().local.port != 0) return {};
  if (const Result<> claimed = ports().claim(user()); !claimed.ok()) return Errno(EADDRNOTAVAIL);
  return {};
}

void InternetSocket::unbind() {
  if (user().local.port != 0) ports().release(user());
  user().local = {family() == AF_INET ? Ip::v4(INADDR_ANY) : Ip(), 0};
  bound_by_caller_ = false;
}

Result<InternetAddress> InternetSocket::route(InternetAddress to) const {
  if (to.ip.is_any()) to.ip = Ip::loopback(to.ip.is_v4() || family() == AF_INET);
  if (!to.ip.is_loopback()) return Errno(ENETUNREACH);
  return to;
}

}  // namespace sentry::net
