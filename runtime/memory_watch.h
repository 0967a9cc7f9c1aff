// The memory of a sandbox without a cgroup: what its processes occupy, from /proc. An ordinary user's
// --memory.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>

namespace runtime {

class MemoryWatch {
 public:
  MemoryWatch(pid_t sentry, pid_t gofer, uint64_t limit_bytes)
      : sentry_(sentry), gofer_(gofer), limit_bytes_(limit_bytes) {}

  // True if the sandbox occupies more than its limit now.
  bool exceeded();
  // How long it may go unobserved: the less room is left the shorter, since a program can touch some GiB a
  // second.
  std::chrono::milliseconds next_look() const;

 private:
  uint64_t resident_bytes() const;
  uint64_t proportional_bytes() const;

  pid_t sentry_, gofer_;
  uint64_t limit_bytes_;
  uint64_t last_seen_bytes_ = 0;
};

}  // namespace runtime
