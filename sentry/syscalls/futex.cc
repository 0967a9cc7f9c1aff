// futex(2), futex_waitv(2), robust lists.
#include <linux/futex.h>
#include <sys/syscall.h>

#include <algorithm>

#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

Result<Nanoseconds> read_time(Task& task, GuestPtr<const timespec> pointer) {
  const timespec time = TRY(task.memory().read(pointer));
  if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
  if (time.tv_sec > INT64_MAX / kSecond - 1) return INT64_MAX;
  return time.tv_sec * kSecond + time.tv_nsec;
}

Deadline after(Nanoseconds duration) {
  const Nanoseconds now = monotonic_now();
  return duration > INT64_MAX - now ? INT64_MAX : now + duration;
}

// A deadline on CLOCK_REALTIME or CLOCK_MONOTONIC, on the latter.
Deadline absolute(Nanoseconds time, bool realtime) {
  if (!realtime) return time;
  const Nanoseconds now = read_clock(CLOCK_REALTIME);
  return time <= now ? monotonic_now() : after(time - now);
}

// FUTEX_WAKE_OP's operation on the second word. Not atomic against guest threads that change the word without
// a call: the sentry has no way to lock another process's memory on this platform.
Result<bool> operate(Task& task, GuestPtr<uint32_t> word, uint32_t encoded) {
  uint32_t operand = encoded >> 12 & 0xfff;
  const uint32_t compare_to = encoded & 0xfff;
  if ((encoded >> 28 & FUTEX_OP_OPARG_SHIFT) != 0) operand = 1u << (operand & 31);
  if (word.address() % 4 != 0) return Errno(EINVAL);
  const uint32_t old = TRY(task.memory().read(word));
  uint32_t next = 0;
  switch (encoded >> 28 & 7) {
    case FUTEX_OP_SET:
      next = operand;
      break;
    case FUTEX_OP_ADD:
      next = old + operand;
      break;
    case FUTEX_OP_OR:
      next = old | operand;
      break;
    case FUTEX_OP_ANDN:
      next = old & ~operand;
      break;
    case FUTEX_OP_XOR:
      next = old ^ operand;
      break;
    default:
      return Errno(ENOSYS);
  }
  TRY(task.memory().write(word, next));
  task.settle_memory();
  const auto left = static_cast<int32_t>(old), right = static_cast<int32_t>(compare_to);
  switch (encoded >> 24 & 0xf) {
    case FUTEX_OP_CMP_EQ:
      return left == right;
    case FUTEX_OP_CMP_NE:
      return left != right;
    case FUTEX_OP_CMP_LT:
      return left < right;
    case FUTEX_OP_CMP_LE:
      return left <= right;
    case FUTEX_OP_CMP_GT:
      return left > right;
    case FUTEX_OP_CMP_GE:
      return left >= right;
    default:
      return Errno(ENOSYS);
  }
}

Result<> wait(Task& task, uint64_t address, bool is_private, uint32_t value, uint32_t bitset,
              Deadline deadline, bool relative) {
  if (bitset == 0) return Errno(EINVAL);
  const Result<> result = task.kernel.futexes->wait(task, address, is_private, value, bitset, deadline);
  if (!result.is(kErestartSys)) return result;
  if (!deadline || !relative) return Errno(kErestartSys);
  task.restart = [=](Task& again) -> Result<uint64_t> {
    TRY(wait(again, address, is_private, value, bitset, deadline, true));
    return uint64_t{0};
  };
  return Errno(kErestartRestartblock);
}

Result<uint64_t> sys_futex(Task& task, GuestPtr<uint32_t> word, Flags<kFutexNames> operation, uint32_t value,
                           FutexTimeout timeout_or_count, FutexSecond second, FutexThird third) {
  const bool is_private = (operation & FUTEX_PRIVATE_FLAG) != 0;
  const bool realtime = (operation & FUTEX_CLOCK_REALTIME) != 0;
  const int command = operation & FUTEX_CMD_MASK;
  const uint32_t value3 = third;
  const GuestPtr<const timespec> timeout(timeout_or_count);
  kernel::FutexTable& table = *task.kernel.futexes;
  if (realtime && command != FUTEX_WAIT_BITSET && command != FUTEX_WAIT_REQUEUE_PI &&
      command != FUTEX_LOCK_PI2 && command != FUTEX_WAIT)
    return Errno(ENOSYS);
  // Counts are signed in the ABI; the kernel wakes at least one for zero and below.
  const auto count = static_cast<uint64_t>(std::max<int32_t>(static_cast<int32_t>(value), 1));
  switch (command) {
    case FUTEX_WAIT: {
      Deadline deadline;
      if (timeout) deadline = after(TRY(read_time(task, timeout)));
      TRY(wait(task, word.address(), is_private, value, FUTEX_BITSET_MATCH_ANY, deadline, true));
      return uint64_t{0};
    }
    case FUTEX_WAIT_BITSET: {
      Deadline deadline;
      if (timeout) deadline = absolute(TRY(read_time(task, timeout)), realtime);
      TRY(wait(task, word.address(), is_private, value, value3, deadline, false));
      return uint64_t{0};
    }
    case FUTEX_WAKE:
      return table.wake(task, word.address(), is_private, count, FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
      if (value3 == 0) return Errno(EINVAL);
      return table.wake(task, word.address(), is_private, count, value3);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE: {
      const auto move = static_cast<int32_t>(timeout_or_count);
      if (static_cast<int32_t>(value) < 0 || move < 0) return Errno(EINVAL);
      return table.requeue(task, word.address(), second.address(), is_private, value,
                           static_cast<uint64_t>(move), command == FUTEX_CMP_REQUEUE ? &value3 : nullptr);
    }
    case FUTEX_WAKE_OP: {
      TRY(table.key(task, word.address(), is_private));
      TRY(table.key(task, second.address(), is_private));
      const bool both = TRY(operate(task, second, value3));
      const kernel::FutexKey first_key = TRY(table.key(task, word.address(), is_private));
      const kernel::FutexKey second_key = TRY(table.key(task, second.address(), is_private));
      uint64_t woken = table.wake_key(task, first_key, count, FUTEX_BITSET_MATCH_ANY);
      if (both) {
        const auto more = static_cast<uint64_t>(std::max<int32_t>(static_cast<int32_t>(timeout_or_count), 1));
        woken += table.wake_key(task, second_key, more, FUTEX_BITSET_MATCH_ANY);
      }
      return woken;
    }
    default:
      return Errno(ENOSYS);  // priority inheritance needs the host's scheduler; FUTEX_FD is gone since 2.6.26
  }
}

Result<uint64_t> sys_futex_waitv(Task& task, GuestPtr<const futex_waitv> list, unsigned count, unsigned flags,
                                 GuestPtr<const timespec> timeout, int clock) {
  if (flags != 0 || count == 0 || count > FUTEX_WAITV_MAX || !list) return Errno(EINVAL);
  Deadline deadline;
  if (timeout) {
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) return Errno(EINVAL);
    deadline = absolute(TRY(read_time(task, timeout)), clock == CLOCK_REALTIME);
  }
  std::vector<kernel::FutexTable::Wanted> wanted;
  for (const futex_waitv& one : TRY(task.memory().read_array(list, count))) {
    if ((one.flags & ~(uint32_t{FUTEX_32} | FUTEX_PRIVATE_FLAG)) != 0 || (one.flags & FUTEX_32) == 0 ||
        one.__reserved != 0)
      return Errno(EINVAL);
    wanted.push_back({one.uaddr, static_cast<uint32_t>(one.val), (one.flags & FUTEX_PRIVATE_FLAG) != 0});
  }
  return TRY(task.kernel.futexes->wait_any(task, wanted, deadline));
}

Result<> sys_set_robust_list(Task& task, GuestPtr<void> head, uint64_t size) {
  constexpr uint64_t kHeadSize = 24;
  if (size != kHeadSize) return Errno(EINVAL);
  task.robust_list = head.address();
  return {};
}

Result<> sys_get_robust_list(Task& task, pid_t tid, GuestPtr<uint64_t> head, GuestPtr<uint64_t> size) {
  const Task* target = tid == 0 ? &task : task.kernel.find_task(tid);
  if (target == nullptr) return Errno(ESRCH);
  if (target->group != task.group && target->credentials->uid != task.credentials->euid) return Errno(EPERM);
  TRY(task.memory().write(size, uint64_t{24}));
  return task.memory().write(head, target->current_robust_list());
}

constexpr Entry kCalls[] = {
    PARTIAL(futex, sys_futex, "no priority inheritance; FUTEX_WAKE_OP is not atomic against plain stores"),
    COMPLETE(futex_waitv, sys_futex_waitv),
    COMPLETE(set_robust_list, sys_set_robust_list),
    COMPLETE(get_robust_list, sys_get_robust_list),
};

}  // namespace

std::span<const Entry> futex_calls() { return kCalls; }

}  // namespace sentry::syscalls
