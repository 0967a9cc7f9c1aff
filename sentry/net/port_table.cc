#include "sentry/net/port_table.h"

#include <iterator>

#include "sentry/kernel/sysctl.h"

namespace sentry::net {

bool PortTable::conflicts(const PortUser& one, const PortUser& other) const {
  const bool same_family = (one.takes_v4() && other.takes_v4()) || (one.takes_v6() && other.takes_v6());
  if (!same_family) return false;
  if (!one.local.ip.is_any() && !other.local.ip.is_any() && one.local.ip != other.local.ip) return false;
  if (one.reuse_port && other.reuse_port && one.uid == other.uid) return false;
  return !(one.reuse_address && other.reuse_address && (datagrams_ || (!one.listening && !other.listening)));
}

bool PortTable::available(const PortUser& user) const {
  const auto [begin, end] = users_.equal_range(user.local.port);
  for (auto it = begin; it != end; ++it)
    if (it->second != &user && conflicts(user, *it->second)) return false;
  return true;
}

Result<> PortTable::claim(PortUser& user) {
  if (user.local.port != 0) {
    if (!available(user)) return Errno(EADDRINUSE);
    users_.emplace(user.local.port, &user);
    return {};
  }
  // Ports that nobody has, reusable or not.
  const kernel::Sysctl& range = kernel::Sysctls::current().ip_local_port_range;
  const uint64_t count = range[1] - range[0] + 1;
  for (uint64_t attempt = 0; attempt < count; ++attempt) {
    const auto port = static_cast<uint16_t>(range[0] + next_ephemeral_++ % count);
    if (users_.contains(port)) continue;
    user.local.port = port;
    users_.emplace(port, &user);
    return {};
  }
  return Errno(EADDRINUSE);
}

void PortTable::release(PortUser& user) {
  const auto [begin, end] = users_.equal_range(user.local.port);
  for (auto it = begin; it != end; ++it) {
    if (it->second != &user) continue;
    users_.erase(it);
    return;
  }
}

Result<> PortTable::check_listener(const PortUser& user) const {
  const auto [begin, end] = users_.equal_range(user.local.port);
  for (auto it = begin; it != end; ++it) {
    const PortUser& other = *it->second;
    if (&other != &user && other.listening && conflicts(user, other)) return Errno(EADDRINUSE);
  }
  return {};
}

void PortTable::each(uint16_t port, const std::function<bool(PortUser&)>& visit) const {
  const auto [begin, end] = users_.equal_range(port);
  for (auto it = end; it != begin;) {
    --it;
    if (!visit(*it->second)) return;
  }
}

}  // namespace sentry::net
