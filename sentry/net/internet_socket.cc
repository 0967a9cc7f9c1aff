#include "sentry/net/internet_socket.h"

#include <linux/capability.h>

#include "sentry/net/interface.h"
#include "sentry/net/internet_options.h"

namespace sentry::net {
namespace {

bool is_loopback(in_addr address) { return ntohl(address.s_addr) >> 24 == 127; }

bool changes_membership(int level, int option) {
  if (level == IPPROTO_IP)
    return option == IP_ADD_MEMBERSHIP || option == IP_DROP_MEMBERSHIP || option == MCAST_JOIN_GROUP ||
           option == MCAST_LEAVE_GROUP;
  return level == IPPROTO_IPV6 && (option == IPV6_JOIN_GROUP || option == IPV6_LEAVE_GROUP ||
                                   option == MCAST_JOIN_GROUP || option == MCAST_LEAVE_GROUP);
}

}  // namespace

int InternetSocket::option_number(int level, int option) const {
  if (const auto found = numbers_.find({level, option}); found != numbers_.end()) return found->second;
  const NumberOption* const known = find_number_option(level, option);
  if (known == nullptr) return 0;
  return known->sysctl != nullptr ? static_cast<int>((kernel::Sysctls::current().*known->sysctl).value())
                                  : known->initial;
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
  if (changes_membership(level, option)) return change_membership(level, option, value);
  if ((level == IPPROTO_IP && option == IP_MULTICAST_IF) ||
      (level == IPPROTO_IPV6 && option == IPV6_MULTICAST_IF))
    return set_group_interface(level, value);
  if ((level == IPPROTO_IP && option == IP_UNICAST_IF) ||
      (level == IPPROTO_IPV6 && option == IPV6_UNICAST_IF)) {
    // In network byte order, which for an interface's index is its own idea.
    const auto index = static_cast<int>(ntohl(TRY(option_argument<uint32_t>(value))));
    if (index != 0 && index != kLoopbackIndex) return Errno(EADDRNOTAVAIL);
    if (index != 0 && options_.bound_device != 0) return Errno(EINVAL);
    numbers_[{level, option}] = static_cast<int>(htonl(static_cast<uint32_t>(index)));
    return {};
  }
  if (level == IPPROTO_IP && option == IP_TRANSPARENT) {
    const bool on = TRY(option_argument<int>(value)) != 0;
    const vfs::Credentials& who = *caller.files.credentials;
    if (on && !who.capable(CAP_NET_ADMIN) && !who.capable(CAP_NET_RAW)) return Errno(EPERM);
    return on ? Errno(ENOPROTOOPT) : Result<>();  // there are no packets of others to take
  }
  if ((level == IPPROTO_TCP || level == IPPROTO_UDP) && value.size() < sizeof(int)) return Errno(EINVAL);
  const NumberOption* const known = find_number_option(level, option);
  if (known == nullptr) return Errno(ENOPROTOOPT);
  using Sockets = NumberOption::Sockets;
  const bool stream = type() == SOCK_STREAM;
  if (known->settable == Sockets::kNone || (known->settable == Sockets::kDatagrams && stream) ||
      (known->settable == Sockets::kStreams && !stream))
    return Errno(known->elsewhere);
  // ip(7)'s options take a byte too.
  int number = 0;
  if (value.size() >= sizeof number)
    number = TRY(option_argument<int>(value));
  else if (level == IPPROTO_IP && !value.empty())
    number = std::to_integer<int>(value[0]);
  else
    return Errno(EINVAL);
  if (number < known->least || number > known->most) return Errno(EINVAL);
  if (level == IPPROTO_IP && option == IP_TTL && number == 0) return Errno(EINVAL);
  if (known->kept != nullptr) number = known->kept(number, stream);
  if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
    if (user().local.port != 0) return Errno(EINVAL);
    user().v6_only = number != 0;
  }
  numbers_[{level, option}] = number;
  return {};
}

// IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP and their kin: the group, and the interface by address or index. No
// route leads to any group, so an interface that is not named is not found.
Result<> InternetSocket::change_membership(int level, int option, std::span<const std::byte> value) {
  if (type() == SOCK_STREAM) return Errno(EPROTO);
  Ip group;
  bool on_loopback = false;
  const bool joins = option == IP_ADD_MEMBERSHIP || option == MCAST_JOIN_GROUP || option == IPV6_JOIN_GROUP;
  if (option == MCAST_JOIN_GROUP || option == MCAST_LEAVE_GROUP) {
    const auto request = TRY(option_argument<group_req>(value));
    const sa_family_t wanted = level == IPPROTO_IP ? AF_INET : AF_INET6;
    if (request.gr_group.ss_family != wanted) return Errno(EINVAL);
    const Address address(&request.gr_group, sizeof request.gr_group);
    group = TRY(parse_internet_address(address, wanted)).ip;
    on_loopback = request.gr_interface == kLoopbackIndex;
  } else if (level == IPPROTO_IPV6) {
    const auto request = TRY(option_argument<ipv6_mreq>(value));
    group = Ip(request.ipv6mr_multiaddr);
    on_loopback = request.ipv6mr_interface == kLoopbackIndex;
  } else {
    ip_mreqn request{};
    if (value.size() < sizeof(ip_mreq)) return Errno(EINVAL);
    std::memcpy(&request, value.data(), std::min(value.size(), sizeof request));
    group = Ip::v4(ntohl(request.imr_multiaddr.s_addr));
    on_loopback = request.imr_ifindex == kLoopbackIndex ||
                  (request.imr_ifindex == 0 && is_loopback(request.imr_address));
  }
  if (level == IPPROTO_IPV6 && group.is_v4()) return Errno(EINVAL);
  if (!joins && on_loopback) return memberships_.leave(group);
  if (!group.is_multicast()) return Errno(joins ? EINVAL : EADDRNOTAVAIL);
  if (!on_loopback) return Errno(ENODEV);
  return memberships_.join(group);
}

// IP_MULTICAST_IF, IPV6_MULTICAST_IF.
Result<> InternetSocket::set_group_interface(int level, std::span<const std::byte> value) {
  if (type() == SOCK_STREAM) return Errno(level == IPPROTO_IP ? EINVAL : ENOPROTOOPT);
  int index = 0;
  if (level == IPPROTO_IPV6) {
    index = TRY(option_argument<int>(value));
    if (index != 0 && index != kLoopbackIndex) return Errno(ENODEV);
  } else {
    // in_addr, ip_mreq or ip_mreqn.
    ip_mreqn request{};
    if (value.size() < sizeof(in_addr)) return Errno(EINVAL);
    if (value.size() < sizeof(ip_mreq))
      std::memcpy(&request.imr_address, value.data(), sizeof request.imr_address);
    else
      std::memcpy(&request, value.data(), std::min(value.size(), sizeof request));
    index = request.imr_ifindex;
    group_interface_.s_addr = request.imr_address.s_addr;
    if (index == 0 && request.imr_address.s_addr != INADDR_ANY) {
      if (!is_loopback(request.imr_address)) {
        group_interface_.s_addr = INADDR_ANY;
        return Errno(EADDRNOTAVAIL);
      }
      index = kLoopbackIndex;
    }
    if (index != 0 && index != kLoopbackIndex) return Errno(EADDRNOTAVAIL);
  }
  group_index_ = index;
  return {};
}

Result<std::vector<std::byte>> InternetSocket::get_option(int level, int option, size_t room) {
  if (level == SOL_SOCKET) return Socket::get_option(level, option, room);
  if (level == IPPROTO_IPV6 && family() != AF_INET6) return Errno(ENOPROTOOPT);
  const int own_level = type() == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
  if (level != IPPROTO_IP && level != IPPROTO_IPV6 && level != own_level)
    return Errno(family() == AF_INET ? EOPNOTSUPP : ENOPROTOOPT);
  if (level == IPPROTO_IP && option == IP_MULTICAST_IF) return option_value(group_interface_);
  if (level == IPPROTO_IPV6 && option == IPV6_MULTICAST_IF) return option_value(group_index_);
  if (level == IPPROTO_IP && option == IP_OPTIONS) return std::vector<std::byte>{};
  if (level == IPPROTO_IP && option == IP_TRANSPARENT) return option_value(int{0});
  if ((level == IPPROTO_IP && option == IP_MTU) || (level == IPPROTO_IPV6 && option == IPV6_MTU)) {
    if (!peer_name().ok()) return Errno(ENOTCONN);
    return option_value(kLoopbackMtu);
  }
  if (find_number_option(level, option) == nullptr) return Errno(ENOPROTOOPT);
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
  if (!wanted.ip.is_any() && !wanted.ip.is_loopback() && !wanted.ip.is_broadcast() &&
      !(wanted.ip.is_multicast() && (wanted.ip.is_v4() || type() == SOCK_DGRAM)))
    return Errno(EADDRNOTAVAIL);
  if (family() == AF_INET6 && wanted.ip.is_v4() && user().v6_only) return Errno(EINVAL);
  if (wanted.port != 0 && wanted.port < kernel::Sysctls::current().ip_unprivileged_port_start.value() &&
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
