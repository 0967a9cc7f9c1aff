// Who has which local port of a protocol: bind(2), ip(7) "Address format", socket(7) SO_REUSEADDR and
// SO_REUSEPORT.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>

#include "sentry/base/result.h"
#include "sentry/net/internet_address.h"

namespace sentry::net {

// A socket as the table sees it.
struct PortUser {
  virtual ~PortUser() = default;
  int family = AF_INET;
  InternetAddress local;  // port 0: not in the table
  bool v6_only = false;
  bool reuse_address = false, reuse_port = false;
  bool listening = false;  // TCP: shares its port with nobody but SO_REUSEPORT's
  uid_t uid = 0;
  uint64_t ino = 0;  // of the description, for /proc/net

  // Whether packets to this address are its own.
  bool receives(const Ip& destination) const {
    if (!local.ip.is_any()) return local.ip == destination;
    return destination.is_v4() ? takes_v4() : takes_v6();
  }
  bool takes_v4() const { return family == AF_INET || (local.ip == Ip() ? !v6_only : local.ip.is_v4()); }
  bool takes_v6() const { return family == AF_INET6 && !local.ip.is_v4(); }
};

class PortTable {
 public:
  // `datagrams`: SO_REUSEADDR alone lets sockets share a port, udp(7).
  explicit PortTable(bool datagrams) : datagrams_(datagrams) {}

  // Takes user.local.port, or a free ephemeral port if it is 0 (which it then becomes). EADDRINUSE.
  Result<> claim(PortUser& user);
  // A connection that was accepted on its listener's port.
  void share(PortUser& user) { users_.emplace(user.local.port, &user); }
  void release(PortUser& user);
  // Whether a listener may start on a port that others share: EADDRINUSE.
  Result<> check_listener(const PortUser& user) const;
  // The users of a port, those that came last first, until `visit` answers false.
  void each(uint16_t port, const std::function<bool(PortUser&)>& visit) const;
  const std::multimap<uint16_t, PortUser*>& users() const { return users_; }

 private:
  bool conflicts(const PortUser& one, const PortUser& other) const;
  bool available(const PortUser& user) const;
  const bool datagrams_;
  std::multimap<uint16_t, PortUser*> users_;
  uint32_t next_ephemeral_ = 0;
};

}  // namespace sentry::net
