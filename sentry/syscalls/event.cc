// Descriptors that stand for events: eventfd(2).
#include <sys/eventfd.h>

#include "sentry/fs/eventfd/eventfd.h"
#include "sentry/syscalls/descriptor.h"

namespace sentry::syscalls {

Result<int> sys_eventfd2(Task& task, unsigned initial, int flags) {
  if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) != 0) return Errno(EINVAL);
  return task.install_fd(fs::eventfd::make_eventfd(initial, flags, task.credentials), (flags & EFD_CLOEXEC) != 0);
}

Result<int> sys_eventfd(Task& task, unsigned initial) { return sys_eventfd2(task, initial, 0); }

}  // namespace sentry::syscalls
