// Semaphore sets: semget(2), semop(2), semctl(2).
#pragma once

#include <sys/sem.h>

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "sentry/base/fiber.h"
#include "sentry/base/time.h"
#include "sentry/kernel/sysv.h"

namespace sentry::kernel {

class Task;
class SemaphoreUndo;
class SemaphoreTable;

inline constexpr int kMaxSemaphoreValue = 32'767;  // SEMVMX
// kernel.sem's numbers.
enum SemaphoreLimit : size_t { kSemmsl, kSemmns, kSemopm, kSemmni };
// Linux's SEMMNS is a thousand million, and its memory control group the bound: ours is this as well.
inline constexpr size_t kMaxSemaphores = 1 << 20;

// A semop(2) that sleeps. Whoever changes the set carries it out on its behalf, in order of arrival.
struct PendingOperation {
  const std::vector<sembuf>* operations;
  SemaphoreUndo* undo;  // null: no SEM_UNDO among them
  pid_t pid;
  Fiber* fiber;
  size_t blocking = 0;           // the operation that cannot be done yet
  std::optional<Errno> outcome;  // Errno(0): done
};

class SemaphoreSet final : public IpcObject {
 public:
  struct Semaphore {
    uint16_t value = 0;
    pid_t pid = 0;  // who changed it last
  };
  explicit SemaphoreSet(size_t count) : semaphores(count) {}

  std::vector<Semaphore> semaphores;
  std::list<PendingOperation*> pending;
  time_t operation_time = 0;  // sem_otime

  // Those that wait for an increase, or for zero: GETNCNT, GETZCNT.
  size_t waiting(size_t semaphore, bool for_zero) const;
};

// What a process's exit gives back: SEM_UNDO. Shared by tasks that share it, CLONE_SYSVSEM; the last one to
// drop it makes it happen.
class SemaphoreUndo {
 public:
  SemaphoreUndo(std::weak_ptr<SemaphoreTable> table, pid_t pid);
  ~SemaphoreUndo();
  SemaphoreUndo(const SemaphoreUndo&) = delete;
  SemaphoreUndo& operator=(const SemaphoreUndo&) = delete;

 private:
  friend class SemaphoreTable;
  using Key = std::pair<int, uint16_t>;  // set, semaphore
  std::weak_ptr<SemaphoreTable> table_;
  const pid_t pid_;
  std::map<Key, int> adjustments_;
};

class SemaphoreTable : public IpcTable<SemaphoreSet>, public std::enable_shared_from_this<SemaphoreTable> {
 public:
  SemaphoreTable() : IpcTable(Sysctls::current().sem, kSemmni) {}

  Result<int> get(Task& task, key_t key, int count, int flags);
  // semtimedop(2); EAGAIN at the deadline, EINTR when a signal comes.
  Result<> operate(Task& task, int id, const std::vector<sembuf>& operations, Deadline deadline);
  // SETVAL and SETALL, the values checked: from `first` on. Forgets what exits would have given back.
  void set_values(SemaphoreSet& set, size_t first, const std::vector<uint16_t>& values, pid_t pid);
  Result<> remove(Task& task, int id);
  size_t semaphores() const { return count_; }

 private:
  friend class SemaphoreUndo;
  // All of it or nothing. EAGAIN: operation `blocking` cannot be done now.
  Result<> attempt(SemaphoreSet& set, const std::vector<sembuf>& operations, SemaphoreUndo* undo, pid_t pid,
                   size_t& blocking);
  void update(SemaphoreSet& set);
  void give_back(SemaphoreUndo& undo);
  // Makes room for what SEM_UNDO will note. ENOMEM, ENOSPC.
  Result<> prepare(SemaphoreUndo& undo, int id, const std::vector<sembuf>& operations);

  std::set<SemaphoreUndo*> undos_;
  size_t count_ = 0;       // semaphores in all sets
  size_t undo_count_ = 0;  // adjustments of all processes
};

}  // namespace sentry::kernel
