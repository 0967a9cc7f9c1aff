#include "sentry/net/groups.h"

#include "sentry/net/stack.h"

namespace sentry::net {

Memberships::~Memberships() {
  while (!joined_.empty()) (void)leave(*joined_.begin());
}

Result<> Memberships::join(const Ip& group) {
  if (!group.is_multicast()) return Errno(EINVAL);
  if (joined_.contains(group)) return Errno(EADDRINUSE);
  if (joined_.size() >= kMost) return Errno(ENOBUFS);
  joined_.insert(group);
  ++Stack::current().groups()[group];
  return {};
}

Result<> Memberships::leave(const Ip& group) {
  if (joined_.erase(group) == 0) return Errno(EADDRNOTAVAIL);
  GroupCounts& counts = Stack::current().groups();
  const auto found = counts.find(group);
  if (--found->second == 0) counts.erase(found);
  return {};
}

bool Memberships::joined_by_anybody(const Ip& group) { return Stack::current().groups().contains(group); }

}  // namespace sentry::net
