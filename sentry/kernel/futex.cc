#include "sentry/kernel/futex.h"

#include <linux/futex.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <unordered_set>

#include "sentry/kernel/kernel.h"

namespace sentry::kernel {
namespace {

// Waits until `woken` holds; looks before it sleeps, and once more when it has given up. Errors as
// park_interruptible.
template <typename Woken>
Result<> park_until(Deadline deadline, Woken woken) {
  while (!woken()) {
    const Result<> parked = park_interruptible(deadline);
    if (!parked.ok() && !woken()) return parked;
  }
  return {};
}

}  // namespace

Result<FutexKey> FutexTable::key(Task& task, uint64_t address, bool is_private) const {
  if (address % sizeof(uint32_t) != 0) return Errno(EINVAL);
  if (address >= mm::kGuestEnd) return Errno(EFAULT);
  if (is_private) return FutexKey{&task.memory(), address, false};
  const auto& vmas = task.memory().vmas();
  auto next = vmas.upper_bound(address);
  if (next == vmas.begin()) return Errno(EFAULT);
  --next;
  const mm::Vma& vma = next->second;
  if (address >= vma.end) return Errno(EFAULT);
  if (!vma.shared || vma.file == nullptr) return FutexKey{&task.memory(), address, true};
  return FutexKey{vma.file.get(), vma.offset + (address - next->first), true};
}

void FutexTable::insert(Sleeper& sleeper) {
  sleeper.turn = turns_++;
  if (!sleeper.key.shared) platform_.count_futex_waiters(sleeper.key.offset, 1);
  sleepers_.emplace(sleeper.key, &sleeper);
}

FutexTable::Sleepers::iterator FutexTable::remove(Sleepers::iterator entry) {
  if (!entry->first.shared) platform_.count_futex_waiters(entry->first.offset, -1);
  return sleepers_.erase(entry);
}

void FutexTable::remove(Sleeper& sleeper) {
  const auto [first, last] = sleepers_.equal_range(sleeper.key);
  const auto entry = std::find_if(first, last, [&](const auto& one) { return one.second == &sleeper; });
  if (entry != last) remove(entry);
}

Result<> FutexTable::wait(Task& task, uint64_t address, bool is_private, uint32_t expected, uint32_t bitset,
                          Deadline deadline) {
  const FutexKey place = TRY(key(task, address, is_private));
  Sleeper sleeper{place, bitset, Fiber::current(), false, task.memory_map};
  if (const mm::Vma* vma = task.memory().find(address);
      vma != nullptr && vma->file != nullptr && place.object == vma->file.get())
    sleeper.keep = vma->file;
  insert(sleeper);
  // Queued first, then compared: reading the word may let others run, and a wake must not be lost meanwhile.
  const Result<uint32_t> value = task.memory().read(mm::GuestPtr<const uint32_t>(address));
  if (!sleeper.woken && (!value.ok() || *value != expected)) {
    remove(sleeper);
    return value.ok() ? Errno(EAGAIN) : value.error();
  }
  const Result<> waited = park_until(deadline, [&] { return sleeper.woken; });
  if (!waited.ok()) remove(sleeper);
  return waited;
}

Result<size_t> FutexTable::wait_any(Task& task, const std::vector<Wanted>& wanted, Deadline deadline) {
  std::list<Sleeper> sleepers;
  const auto withdraw = [&] {
    for (Sleeper& sleeper : sleepers)
      if (!sleeper.woken) remove(sleeper);
  };
  const auto first_woken = [&]() -> std::optional<size_t> {
    const auto found =
        std::find_if(sleepers.begin(), sleepers.end(), [](const Sleeper& one) { return one.woken; });
    if (found == sleepers.end()) return std::nullopt;
    return static_cast<size_t>(std::distance(sleepers.begin(), found));
  };
  for (const Wanted& one : wanted) {
    const Result<FutexKey> place = key(task, one.address, one.is_private);
    if (!place.ok()) {
      withdraw();
      return place.error();
    }
    Sleeper& sleeper = sleepers.emplace_back(
        Sleeper{*place, FUTEX_BITSET_MATCH_ANY, Fiber::current(), false, task.memory_map});
    if (const mm::Vma* vma = task.memory().find(one.address); vma != nullptr && vma->file != nullptr)
      sleeper.keep = vma->file;
    insert(sleeper);
    // As wait(): queued first, then compared.
    const Result<uint32_t> value = task.memory().read(mm::GuestPtr<const uint32_t>(one.address));
    if (sleeper.woken || (value.ok() && *value == one.expected)) continue;
    const std::optional<size_t> woken = first_woken();
    withdraw();
    if (woken) return *woken;
    return value.ok() ? Errno(EAGAIN) : value.error();
  }
  const Result<> waited = park_until(deadline, [&] { return first_woken().has_value(); });
  const std::optional<size_t> woken = first_woken();
  withdraw();
  if (!woken) return waited.error();
  return *woken;
}

uint64_t FutexTable::wake_sleepers(const FutexKey& place, uint64_t count, uint32_t bitset, uint64_t before) {
  uint64_t woken = 0;
  auto [entry, last] = sleepers_.equal_range(place);
  while (entry != last && woken < count) {
    Sleeper& sleeper = *entry->second;
    if ((sleeper.bitset & bitset) == 0 || sleeper.turn >= before) {
      ++entry;
      continue;
    }
    sleeper.woken = true;
    sleeper.fiber->wake();
    entry = remove(entry);
    ++woken;
  }
  return woken;
}

// The host's waiters first, which may take a while: of ours those that waited when that began. Else somebody
// that the host has woken could come back and be woken by the same call again.
uint64_t FutexTable::wake_key(Task& task, const FutexKey& place, uint64_t count, uint32_t bitset) {
  const uint64_t now = turns_;
  uint64_t woken = 0;
  if (!place.shared) {
    const auto most = static_cast<uint32_t>(std::min<uint64_t>(count, INT32_MAX));
    woken = task.memory().platform_space().wake_futex(place.offset, most).value_or(0);
  }
  return woken >= count ? woken : woken + wake_sleepers(place, count - woken, bitset, now);
}

Result<uint64_t> FutexTable::wake(Task& task, uint64_t address, bool is_private, uint64_t count,
                                  uint32_t bitset) {
  return wake_key(task, TRY(key(task, address, is_private)), count, bitset);
}

Result<uint64_t> FutexTable::requeue(Task& task, uint64_t from, uint64_t to, bool is_private,
                                     uint64_t wake_count, uint64_t move_count, const uint32_t* expected) {
  TRY(key(task, from, is_private));
  TRY(key(task, to, is_private));
  if (expected != nullptr) {
    const uint32_t value = TRY(task.memory().read(mm::GuestPtr<const uint32_t>(from)));
    if (value != *expected) return Errno(EAGAIN);
  }
  // Now, since what is mapped there may have changed while the word was read.
  const FutexKey source = TRY(key(task, from, is_private));
  const FutexKey target = TRY(key(task, to, is_private));
  // As with waking: the host's first, then of ours those that waited before.
  const uint64_t now = turns_;
  uint64_t woken = 0, moved = 0;
  if (!source.shared) {
    const uint64_t others = TRY(task.memory().platform_space().requeue_futex(
        from, to, static_cast<uint32_t>(wake_count), static_cast<uint32_t>(move_count), expected));
    woken = std::min(others, wake_count);
    moved = others - woken;
  }
  if (woken < wake_count) woken += wake_sleepers(source, wake_count - woken, FUTEX_BITSET_MATCH_ANY, now);
  if (source == target) return woken + moved;
  std::shared_ptr<const void> keep = task.memory_map;
  if (const mm::Vma* vma = task.memory().find(to);
      vma != nullptr && vma->file != nullptr && target.object == vma->file.get())
    keep = vma->file;
  auto [entry, last] = sleepers_.equal_range(source);
  std::vector<Sleeper*> moving;
  while (entry != last && moved + moving.size() < move_count) {
    if (entry->second->turn >= now) {
      ++entry;
      continue;
    }
    moving.push_back(entry->second);
    entry = remove(entry);
  }
  for (Sleeper* sleeper : moving) {
    sleeper->key = target;
    sleeper->keep = keep;
    insert(*sleeper);
  }
  return woken + moved + moving.size();
}

namespace {

// get_robust_list(2): struct robust_list_head.
struct RobustListHead {
  uint64_t next;
  int64_t futex_offset;
  uint64_t pending;
};

void release_robust_word(Task& task, uint64_t address, bool pending) {
  const Result<uint32_t> value = task.memory().read(mm::GuestPtr<const uint32_t>(address));
  if (!value.ok()) return;
  FutexTable& table = *task.kernel.futexes;
  if (pending && *value == 0) {
    (void)table.wake(task, address, false, 1, FUTEX_BITSET_MATCH_ANY);
    return;
  }
  if ((*value & FUTEX_TID_MASK) != static_cast<uint32_t>(task.tid)) return;
  const uint32_t died = (*value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
  (void)task.memory().write(mm::GuestPtr<uint32_t>(address), died);
  task.settle_memory();
  // A waiter may be about to set FUTEX_WAITERS: wake one in any case.
  (void)table.wake(task, address, false, 1, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

void release_futexes(Task& task) {
  if (task.robust_list != 0) {
    constexpr int kLimit = 2048;  // ROBUST_LIST_LIMIT
    const uint64_t list = task.robust_list;
    task.robust_list = 0;
    const Result<RobustListHead> head = task.memory().read(mm::GuestPtr<const RobustListHead>(list));
    if (head.ok()) {
      uint64_t entry = head->next & ~uint64_t{1};
      std::unordered_set<uint64_t> seen;  // going round changes nothing more
      for (int i = 0; i < kLimit && entry != list && entry != 0 && seen.insert(entry).second; ++i) {
        const Result<uint64_t> next = task.memory().read(mm::GuestPtr<const uint64_t>(entry));
        if (entry != (head->pending & ~uint64_t{1}))
          release_robust_word(task, entry + static_cast<uint64_t>(head->futex_offset), false);
        if (!next.ok()) break;
        entry = *next & ~uint64_t{1};
      }
      if (head->pending != 0)
        release_robust_word(task, (head->pending & ~uint64_t{1}) + static_cast<uint64_t>(head->futex_offset),
                            true);
    }
  }
  if (task.clear_child_tid != 0) {
    const uint64_t address = task.clear_child_tid;
    task.clear_child_tid = 0;
    // Nobody is left to look where the memory goes with the task.
    if (task.memory_map.use_count() > 1 && task.memory().write(mm::GuestPtr<int32_t>(address), 0).ok()) {
      task.settle_memory();
      (void)task.kernel.futexes->wake(task, address, false, 1, FUTEX_BITSET_MATCH_ANY);
    }
  }
}

}  // namespace sentry::kernel
