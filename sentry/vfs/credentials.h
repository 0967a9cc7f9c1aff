// Who acts: the ids and capabilities of a task, credentials(7) and capabilities(7).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace sentry::vfs {

class LandlockDomain;
using LandlockRef = std::shared_ptr<const LandlockDomain>;

struct Credentials {
  uid_t uid = 0, euid = 0, suid = 0, fsuid = 0;
  gid_t gid = 0, egid = 0, sgid = 0, fsgid = 0;
  std::vector<gid_t> groups;
  uint64_t cap_effective = 0, cap_permitted = 0, cap_inheritable = 0, cap_bounding = 0, cap_ambient = 0;
  uint32_t securebits = 0;
  bool no_new_privs = false;
  LandlockRef landlock;  // null: not restricted; sentry/vfs/landlock.h

  bool capable(int capability) const { return (cap_effective >> capability & 1) != 0; }
  bool in_group(gid_t group) const {
    if (group == fsgid) return true;
    for (gid_t member : groups)
      if (member == group) return true;
    return false;
  }
};

// Credentials are replaced, never changed: open files keep those they were opened with.
using CredentialsRef = std::shared_ptr<const Credentials>;

}  // namespace sentry::vfs
