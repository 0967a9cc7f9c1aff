// A signal mask for the time of one call: ppoll(2), pselect(2), epoll_pwait(2).
#pragma once

#include "sentry/syscalls/handler.h"

namespace sentry::syscalls {

class TemporaryMask {
 public:
  explicit TemporaryMask(Task& task) : task_(task) {}
  TemporaryMask(const TemporaryMask&) = delete;
  TemporaryMask& operator=(const TemporaryMask&) = delete;

  // Puts the guest's mask in place; nothing for a null pointer. EINVAL for a wrong size, EFAULT.
  Result<> set(GuestPtr<const uint64_t> mask, size_t size) {
    if (!mask) return {};
    if (size != sizeof(uint64_t)) return Errno(EINVAL);
    const kernel::SignalSet wanted(TRY(task_.memory().read(mask)));
    task_.saved_mask = task_.mask;
    task_.set_mask(wanted & ~kernel::kUnblockable);
    return {};
  }

  // To be called with the result of the wait. If a signal ended it, the old mask stays saved: the handler
  // must run under the temporary mask, and its frame restores the old one. Otherwise the old mask comes back
  // now.
  template <typename T>
  Result<T> finish(Result<T> result) {
    if (!task_.saved_mask) return result;
    if (!result.ok() && interrupted(result.error().value())) return result;
    const kernel::SignalSet old = *task_.saved_mask;
    task_.saved_mask.reset();
    task_.set_mask(old);
    return result;
  }

 private:
  static bool interrupted(int error) {
    return error == EINTR || (error >= kErestartSys && error <= kErestartRestartblock);
  }
  Task& task_;
};

}  // namespace sentry::syscalls
