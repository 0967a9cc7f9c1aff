// A lock between fibers, for what stays busy while its holder is parked (a directory whose change is on its
// way to the gofer). Shared or exclusive; works with std::unique_lock and std::shared_lock. Uninterruptible,
// like i_rwsem: holders always come back.
#pragma once

#include "sentry/base/log.h"
#include "sentry/base/wait_queue.h"

namespace sentry::vfs {

class FiberLock {
 public:
  FiberLock() = default;
  FiberLock(const FiberLock&) = delete;
  FiberLock& operator=(const FiberLock&) = delete;

  void lock() {
    if (held_ != 0) wait([this] { return held_ == 0; });
    held_ = kExclusive;
  }
  void unlock() {
    held_ = 0;
    if (!queue_.empty()) queue_.wake();
  }
  void lock_shared() {
    if (held_ == kExclusive) wait([this] { return held_ != kExclusive; });
    ++held_;
  }
  void unlock_shared() {
    if (--held_ == 0 && !queue_.empty()) queue_.wake();
  }

 private:
  static constexpr int kExclusive = -1;

  template <typename Free>
  void wait(Free is_free) {
    // On the loop's own stack nothing can be waited for: whoever runs there must not meet a busy lock.
    BULKHEAD_CHECK(Fiber::current() != nullptr, "a fiber lock is contended outside of fibers");
    FiberWaiter waiter;
    waiter.join(queue_);
    while (!is_free()) Fiber::park();
  }

  int held_ = 0;  // kExclusive, or how many share it
  WaitQueue queue_;
};

}  // namespace sentry::vfs
