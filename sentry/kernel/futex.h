// futex(2).
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>

#include "sentry/base/time.h"
#include "sentry/base/wait_queue.h"
#include "sentry/kernel/task.h"

namespace sentry::kernel {

// What a futex word is: an address in one address space, or a place in a shared object.
struct FutexKey {
  const void* object = nullptr;  // an AddressSpaceMap or a Mappable
  uint64_t offset = 0;
  bool shared = false;
  friend auto operator<=>(const FutexKey&, const FutexKey&) = default;
};

// Waiters by key. A waiter is queued before its word is read, since others may run meanwhile. Who waits on a
// private word without a deadline may do so without the sentry, where the platform can: platform.h.
class FutexTable {
 public:
  explicit FutexTable(platform::Platform& platform) : platform_(platform) {}
  // FUTEX_WAIT_BITSET: sleeps if *address is `expected`. EAGAIN, ETIMEDOUT, ERESTARTSYS.
  Result<> wait(Task& task, uint64_t address, bool is_private, uint32_t expected, uint32_t bitset,
                Deadline deadline);
  // futex_waitv(2): the index of the one that was woken.
  struct Wanted {
    uint64_t address;
    uint32_t expected;
    bool is_private;
  };
  Result<size_t> wait_any(Task& task, const std::vector<Wanted>& wanted, Deadline deadline);
  // FUTEX_WAKE_BITSET: how many were woken.
  Result<uint64_t> wake(Task& task, uint64_t address, bool is_private, uint64_t count, uint32_t bitset);
  // FUTEX_CMP_REQUEUE (expected) and FUTEX_REQUEUE: woken and, counted where asked, moved.
  Result<uint64_t> requeue(Task& task, uint64_t from, uint64_t to, bool is_private, uint64_t wake_count,
                           uint64_t move_count, const uint32_t* expected);
  Result<FutexKey> key(Task& task, uint64_t address, bool is_private) const;
  // The same of a key that is known; `task` is of its address space, where it is private.
  uint64_t wake_key(Task& task, const FutexKey& key, uint64_t count, uint32_t bitset);

 private:
  struct Sleeper {
    FutexKey key;
    uint32_t bitset;
    Fiber* fiber;
    bool woken = false;
    std::shared_ptr<const void> keep;  // the shared object must not go while its address is a key
    uint64_t turn = 0;                 // counts upwards as they are queued
  };
  using Sleepers = std::multimap<FutexKey, Sleeper*>;
  void insert(Sleeper& sleeper);
  void remove(Sleeper& sleeper);
  Sleepers::iterator remove(Sleepers::iterator entry);
  // Those that were queued before this turn.
  uint64_t wake_sleepers(const FutexKey& key, uint64_t count, uint32_t bitset, uint64_t before);
  platform::Platform& platform_;
  Sleepers sleepers_;
  uint64_t turns_ = 0;
};

// At a task's exit or exec: the robust list, and the word of set_tid_address(2).
void release_futexes(Task& task);

}  // namespace sentry::kernel
