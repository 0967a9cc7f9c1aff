// seccomp(2): modes and filters that a guest puts on itself. kernel/seccomp.h evaluates them.
#include "sentry/kernel/seccomp.h"

#include <linux/capability.h>

#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/debug.h"

namespace sentry::syscalls {
namespace {

using Filter = std::shared_ptr<const kernel::SeccompFilter>;

// Whether `older` is in the chain that `newest` heads: the filters that a thread has may grow, not change.
bool descends(const Filter& newest, const Filter& older) {
  if (older == nullptr) return true;
  for (const kernel::SeccompFilter* each = newest.get(); each != nullptr; each = each->previous.get())
    if (each == older.get()) return true;
  return false;
}

void take_filters(Task& task, const Filter& filter) {
  task.seccomp = filter;
  task.seccomp_mode = SECCOMP_MODE_FILTER;
}

Result<int> set_filter(Task& task, unsigned flags, uint64_t address) {
  constexpr unsigned kKnown = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
                              SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  if ((flags & ~kKnown) != 0) return Errno(EINVAL);  // listeners too
  struct Program {
    uint16_t length;
    uint16_t padding[3];
    uint64_t filter;
  };
  const auto program = TRY(task.memory().read(GuestPtr<const Program>(address)));
  if (program.length == 0 || program.length > BPF_MAXINSNS) return Errno(EINVAL);
  if (!task.credentials->no_new_privs && !task.credentials->capable(CAP_SYS_ADMIN)) return Errno(EACCES);
  if (task.seccomp_mode == SECCOMP_MODE_STRICT) return Errno(EINVAL);
  auto steps = TRY(task.memory().read_array(GuestPtr<const sock_filter>(program.filter), program.length));
  const Filter filter = TRY(kernel::make_filter(std::move(steps), task.seccomp));
  if ((flags & SECCOMP_FILTER_FLAG_TSYNC) != 0) {
    for (const Task* other : task.group->tasks) {
      if (other->exited ||
          (other->seccomp_mode != SECCOMP_MODE_STRICT && descends(task.seccomp, other->seccomp)))
        continue;
      if ((flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH) != 0) return Errno(ESRCH);
      return other->tid;
    }
    for (Task* other : task.group->tasks) {
      take_filters(*other, filter);
      if (!task.credentials->no_new_privs || other->credentials->no_new_privs) continue;
      auto next = std::make_shared<vfs::Credentials>(*other->credentials);
      next->no_new_privs = true;
      other->credentials = std::move(next);
    }
  }
  take_filters(task, filter);
  for (Task* other : task.group->tasks) other->learn_identity();
  return 0;
}

Result<int> set_strict(Task& task) {
  if (task.seccomp_mode == SECCOMP_MODE_FILTER) return Errno(EINVAL);
  task.seccomp_mode = SECCOMP_MODE_STRICT;
  return 0;
}

}  // namespace

Result<int> set_seccomp_mode(Task& task, uint64_t mode, uint64_t program) {
  switch (mode) {
    case SECCOMP_MODE_STRICT:
      return set_strict(task);
    case SECCOMP_MODE_FILTER:
      return set_filter(task, 0, program);
    default:
      return Errno(EINVAL);
  }
}

Result<int> sys_seccomp(Task& task, Choice<kSeccompNames> operation, unsigned flags,
                        GuestPtr<void> arguments) {
  switch (static_cast<int>(operation)) {
    case SECCOMP_SET_MODE_STRICT:
      if (flags != 0 || arguments) return Errno(EINVAL);
      return set_strict(task);
    case SECCOMP_SET_MODE_FILTER:
      return set_filter(task, flags, arguments.address());
    case SECCOMP_GET_ACTION_AVAIL: {
      if (flags != 0) return Errno(EINVAL);
      switch (TRY(task.memory().read(GuestPtr<const uint32_t>(arguments.address())))) {
        case SECCOMP_RET_KILL_PROCESS:
        case SECCOMP_RET_KILL_THREAD:
        case SECCOMP_RET_TRAP:
        case SECCOMP_RET_ERRNO:
        case SECCOMP_RET_TRACE:
        case SECCOMP_RET_LOG:
        case SECCOMP_RET_ALLOW:
          return 0;
        default:
          return Errno(EOPNOTSUPP);  // SECCOMP_RET_USER_NOTIF too
      }
    }
    default:
      return Errno(EINVAL);
  }
}

}  // namespace sentry::syscalls
