#include "sentry/vfs/lock.h"

#include <sys/file.h>

#include <algorithm>

namespace sentry::vfs {
namespace {

// A guest may split its locks as finely as it likes; beyond this many on one file it gets ENOLCK.
constexpr size_t kMaxRecords = 65536;
// Linux gives up looking for a cycle after so many steps (MAX_DEADLK_ITERATIONS).
constexpr int kMaxDeadlockSteps = 10;

// POSIX locks that are waited for, in all files: EDEADLK looks for a circle in it.
struct Blocked {
  Inode* inode;
  const RecordLock* wanted;
};
std::vector<Blocked>& blocked_requests() {
  static std::vector<Blocked> requests;
  return requests;
}

// Files with locks, in the order in which they got their first one.
std::vector<Inode*>& locked_files() {
  static std::vector<Inode*> files;
  return files;
}

void list(Inode& inode) {
  std::vector<Inode*>& files = locked_files();
  if (std::find(files.begin(), files.end(), &inode) == files.end()) files.push_back(&inode);
}
void unlist_if_free(Inode& inode) {
  if (inode.locks().records.empty() && inode.locks().flocks.empty()) std::erase(locked_files(), &inode);
}

class BlockedScope {
 public:
  BlockedScope(Inode& inode, const RecordLock& wanted) : wanted_(&wanted) {
    blocked_requests().push_back({&inode, &wanted});
  }
  ~BlockedScope() {
    std::erase_if(blocked_requests(), [this](const Blocked& blocked) { return blocked.wanted == wanted_; });
  }
  BlockedScope(const BlockedScope&) = delete;
  BlockedScope& operator=(const BlockedScope&) = delete;

 private:
  const RecordLock* wanted_;
};

bool overlap(const RecordLock& a, const RecordLock& b) { return a.start <= b.end && b.start <= a.end; }

bool is_ofd(const RecordLock& lock) { return lock.pid == -1; }

// Whether waiting for `holder` would wait for ourselves. Locks of open file descriptions are left out, as in
// Linux: their owner is no process that could be stuck.
bool would_deadlock(const RecordLock& lock, const RecordLock& holder) {
  if (is_ofd(lock)) return false;
  const void* owner = holder.owner;
  for (int step = 0; step < kMaxDeadlockSteps; ++step) {
    const auto waits = std::find_if(blocked_requests().begin(), blocked_requests().end(),
                                    [&](const Blocked& blocked) { return blocked.wanted->owner == owner; });
    if (waits == blocked_requests().end()) return false;
    const RecordLock* next = find_conflict(*waits->inode, *waits->wanted);
    if (next == nullptr) return false;
    if (next->owner == lock.owner) return true;
    owner = next->owner;
  }
  return false;
}

// Takes the range out of the owner's locks: what sticks out on either side remains. Whether anything changed.
bool carve(std::vector<RecordLock>& records, const RecordLock& range) {
  std::vector<RecordLock> pieces;
  const auto gone = std::erase_if(records, [&](const RecordLock& held) {
    if (held.owner != range.owner || !overlap(held, range)) return false;
    if (held.start < range.start) {
      pieces.push_back(held);
      pieces.back().end = range.start - 1;
    }
    if (held.end > range.end) {
      pieces.push_back(held);
      pieces.back().start = range.end + 1;
    }
    return true;
  });
  records.insert(records.end(), pieces.begin(), pieces.end());
  return gone != 0;
}

// Adds a lock whose range is free of the owner's locks; neighbours of the same kind become one with it.
void add_merged(std::vector<RecordLock>& records, RecordLock lock) {
  std::erase_if(records, [&](const RecordLock& held) {
    if (held.owner != lock.owner || held.exclusive != lock.exclusive) return false;
    if (lock.start != 0 && held.end == lock.start - 1) {
      lock.start = held.start;
      return true;
    }
    if (lock.end != ~uint64_t{0} && held.start == lock.end + 1) {
      lock.end = held.end;
      return true;
    }
    return false;
  });
  records.insert(std::upper_bound(records.begin(), records.end(), lock,
                                  [](const RecordLock& a, const RecordLock& b) { return a.start < b.start; }),
                 lock);
}

}  // namespace

// Whoever holds a lock has the file open; nothing may be left, whatever happens.
Inode::Locks::~Locks() {
  std::erase_if(locked_files(), [this](Inode* inode) { return &inode->locks() == this; });
}

std::vector<LockDescription> all_locks() {
  std::vector<LockDescription> all;
  for (Inode* const inode : locked_files()) {
    for (const RecordLock& held : inode->locks().records) all.push_back({inode, false, false, held});
    for (const FlockLock& held : inode->locks().flocks)
      all.push_back({inode, true, false, {held.owner, held.exclusive, 0, ~uint64_t{0}, held.pid}});
  }
  for (const Blocked& blocked : blocked_requests())
    all.push_back({blocked.inode, false, true, *blocked.wanted});
  return all;
}

const RecordLock* find_conflict(Inode& inode, const RecordLock& lock) {
  if (!inode.has_locks()) return nullptr;
  const RecordLock* first = nullptr;
  for (const RecordLock& held : inode.locks().records) {
    if (held.owner == lock.owner || !overlap(held, lock) || !(held.exclusive || lock.exclusive)) continue;
    if (first == nullptr || held.start < first->start) first = &held;
  }
  return first;
}

Result<> set_record_lock(Inode& inode, const RecordLock& lock, bool unlock, bool wait) {
  if (unlock) {
    if (!inode.has_locks()) return {};
    Inode::Locks& locks = inode.locks();
    if (locks.records.size() >= kMaxRecords) {
      // Unlocking the middle needs one more record; unlocking all of it always works.
      std::vector<RecordLock> copy = locks.records;
      carve(copy, lock);
      if (copy.size() > kMaxRecords) return Errno(ENOLCK);
    }
    if (carve(locks.records, lock)) locks.waiters.wake();
    unlist_if_free(inode);
    return {};
  }

  Inode::Locks& locks = inode.locks();
  while (const RecordLock* holder = find_conflict(inode, lock)) {
    if (!wait) return Errno(EAGAIN);
    if (would_deadlock(lock, *holder)) return Errno(EDEADLK);
    const BlockedScope blocked(inode, lock);
    TRY(wait_until(locks.waiters, kAllEvents, [&] { return find_conflict(inode, lock) == nullptr; }));
  }
  if (locks.records.size() + 2 > kMaxRecords) return Errno(ENOLCK);
  const bool changed = carve(locks.records, lock);
  add_merged(locks.records, lock);
  list(inode);
  if (changed) locks.waiters.wake();  // a write lock may have become a read lock
  return {};
}

Result<> flock(Inode& inode, const void* owner, int operation, bool nonblocking, pid_t pid) {
  Inode::Locks& locks = inode.locks();
  const auto own = std::find_if(locks.flocks.begin(), locks.flocks.end(),
                                [&](const FlockLock& held) { return held.owner == owner; });
  const bool exclusive = operation == LOCK_EX;
  if (own != locks.flocks.end()) {
    if (operation != LOCK_UN && own->exclusive == exclusive) return {};
    // flock(2): a conversion is not atomic; the old lock goes first, whatever becomes of the new one.
    locks.flocks.erase(own);
    unlist_if_free(inode);
    locks.waiters.wake();
  }
  if (operation == LOCK_UN) return {};

  const auto is_free = [&] {
    return std::none_of(locks.flocks.begin(), locks.flocks.end(), [&](const FlockLock& held) {
      return held.owner != owner && (held.exclusive || exclusive);
    });
  };
  if (!is_free()) {
    if (nonblocking) return Errno(EWOULDBLOCK);
    TRY(wait_until(locks.waiters, kAllEvents, is_free));
  }
  // A sibling that shares the description may have come first.
  std::erase_if(locks.flocks, [&](const FlockLock& held) { return held.owner == owner; });
  locks.flocks.push_back({owner, exclusive, pid});
  list(inode);
  return {};
}

Result<std::shared_ptr<void>> deny_writes(const InodeRef& inode) {
  if (inode->locks().writers > 0) return Errno(ETXTBSY);
  ++inode->locks().executors;
  return std::shared_ptr<void>(inode.get(), [inode](void*) { --inode->locks().executors; });
}

void release_locks(Inode& inode, const void* owner) {
  if (!inode.has_locks()) return;
  Inode::Locks& locks = inode.locks();
  const auto records =
      std::erase_if(locks.records, [&](const RecordLock& held) { return held.owner == owner; });
  const auto flocks = std::erase_if(locks.flocks, [&](const FlockLock& held) { return held.owner == owner; });
  if (records + flocks == 0) return;
  unlist_if_free(inode);
  locks.waiters.wake();
}

}  // namespace sentry::vfs
