// Multicast groups on the loopback, ip(7) IP_ADD_MEMBERSHIP: which a socket has joined, and which anybody
// has.
#pragma once

#include <map>
#include <set>

#include "sentry/base/result.h"
#include "sentry/net/internet_address.h"

namespace sentry::net {

// How many sockets have joined each group.
using GroupCounts = std::map<Ip, size_t>;

class Memberships {
 public:
  Memberships() = default;
  Memberships(const Memberships&) = delete;
  Memberships& operator=(const Memberships&) = delete;
  ~Memberships();

  Result<> join(const Ip& group);   // EINVAL: it is none; EADDRINUSE; ENOBUFS
  Result<> leave(const Ip& group);  // EADDRNOTAVAIL
  bool contains(const Ip& group) const { return joined_.contains(group); }
  static bool joined_by_anybody(const Ip& group);

 private:
  static constexpr size_t kMost = 20;  // net.ipv4.igmp_max_memberships
  std::set<Ip> joined_;
};

}  // namespace sentry::net
