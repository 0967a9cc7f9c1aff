#include "sentry/net/internet_address.h"

#include <arpa/inet.h>

namespace sentry::net {
namespace {
constexpr socklen_t kShortestIn6 = 24;  // without sin6_scope_id, RFC 2133
}

Result<InternetAddress> parse_internet_address(const Address& address, int family, bool mixed) {
  if (address.length() < sizeof(sa_family_t)) return Errno(EINVAL);
  if (address.family() == AF_INET && (family == AF_INET || mixed)) {
    if (address.length() < sizeof(sockaddr_in)) return Errno(EINVAL);
    const auto in = address.as<sockaddr_in>();
    return InternetAddress{Ip::v4(ntohl(in.sin_addr.s_addr)), ntohs(in.sin_port)};
  }
  // The length is looked at first, inet_bind() and inet6_bind().
  if (address.length() < (family == AF_INET ? socklen_t{sizeof(sockaddr_in)} : kShortestIn6))
    return Errno(EINVAL);
  if (address.family() != family) return Errno(EAFNOSUPPORT);
  const auto in6 = address.as<sockaddr_in6>();
  return InternetAddress{Ip(in6.sin6_addr), ntohs(in6.sin6_port)};
}

Address to_address(const InternetAddress& address, int family) {
  if (family == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    in.sin_addr.s_addr = htonl(address.ip.is_v4() ? address.ip.to_v4() : INADDR_ANY);
    return Address::of(in);
  }
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(address.port);
  in6.sin6_addr = address.ip.to_v6();
  return Address::of(in6);
}

}  // namespace sentry::net
