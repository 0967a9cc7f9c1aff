// New tasks: clone(2), fork(2), vfork(2).
#pragma once

#include <cstdint>

#include "sentry/kernel/task.h"

namespace sentry::kernel {

// clone3(2)'s arguments; clone and fork fill in theirs.
struct CloneRequest {
  uint64_t flags = 0;  // CLONE_*, without the signal
  int exit_signal = 0;
  uint64_t stack = 0;  // the stack pointer of the child; 0: the parent's
  uint64_t parent_tid = 0, child_tid = 0, tls = 0, pidfd = 0;
  pid_t set_tid = 0;
};

// What CLONE_PIDFD needs from above this layer: a descriptor for a process. Set at start.
using PidfdMaker = Result<int> (*)(Task&, ThreadGroup&);
void set_pidfd_maker(PidfdMaker maker);

// The new task's tid; for CLONE_VFORK only once the child has called exec or ended.
Result<pid_t> clone(Task& parent, const CloneRequest& request);

}  // namespace sentry::kernel
