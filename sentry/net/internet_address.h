// Internet addresses and ports of the sandbox's own network, which is its loopback: 127.0.0.0/8 and ::1.
#pragma once

#include <netinet/in.h>

#include <compare>
#include <cstring>
#include <string>

#include "sentry/base/result.h"
#include "sentry/net/address.h"

namespace sentry::net {

// An IPv6 address; IPv4 as IPv4-mapped, RFC 4291 2.5.5.2.
class Ip {
 public:
  Ip() = default;  // ::
  explicit Ip(const in6_addr& address) { std::memcpy(bytes_, &address, sizeof bytes_); }
  static Ip v4(uint32_t address) {  // in host byte order
    Ip ip;
    ip.bytes_[10] = ip.bytes_[11] = 0xff;
    for (int i = 0; i < 4; ++i) ip.bytes_[12 + i] = static_cast<uint8_t>(address >> (24 - 8 * i));
    return ip;
  }
  static Ip loopback(bool v4_form) { return v4_form ? v4(INADDR_LOOPBACK) : Ip(in6addr_loopback); }

  bool is_v4() const {
    static constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(bytes_, kPrefix, sizeof kPrefix) == 0;
  }
  uint32_t to_v4() const {
    return uint32_t{bytes_[12]} << 24 | uint32_t{bytes_[13]} << 16 | uint32_t{bytes_[14]} << 8 | bytes_[15];
  }
  in6_addr to_v6() const {
    in6_addr address;
    std::memcpy(&address, bytes_, sizeof address);
    return address;
  }
  bool is_any() const { return *this == Ip() || (is_v4() && to_v4() == INADDR_ANY); }
  bool is_loopback() const { return is_v4() ? to_v4() >> 24 == 127 : *this == Ip(in6addr_loopback); }
  // That of lo's network, and that of any.
  bool is_broadcast() const { return is_v4() && (to_v4() == 0x7fff'ffff || to_v4() == INADDR_BROADCAST); }
  bool is_multicast() const { return is_v4() ? IN_MULTICAST(to_v4()) : bytes_[0] == 0xff; }
  friend auto operator<=>(const Ip&, const Ip&) = default;

 private:
  uint8_t bytes_[16] = {};
};

struct InternetAddress {
  Ip ip;
  uint16_t port = 0;
  friend bool operator==(const InternetAddress&, const InternetAddress&) = default;
};

// The guest's address for a socket of `family` (AF_INET or AF_INET6): EINVAL if too short, EAFNOSUPPORT for
// another family. An AF_INET6 socket takes an AF_INET address where `mixed`.
Result<InternetAddress> parse_internet_address(const Address& address, int family, bool mixed = false);
// As a socket of `family` shows it.
Address to_address(const InternetAddress& address, int family);

}  // namespace sentry::net
