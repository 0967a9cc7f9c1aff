#include "sentry/kernel/sysv_semaphore.h"

#include <algorithm>

#include "sentry/base/wait_queue.h"
#include "sentry/kernel/kernel.h"

namespace sentry::kernel {
namespace {

constexpr size_t kMaxUndoEntries = 1 << 18;  // of all processes together: SEMMNU's purpose

}  // namespace

size_t SemaphoreSet::waiting(size_t semaphore, bool for_zero) const {
  return static_cast<size_t>(std::count_if(pending.begin(), pending.end(), [&](const PendingOperation* one) {
    const sembuf& operation = (*one->operations)[one->blocking];
    return operation.sem_num == semaphore && (operation.sem_op == 0) == for_zero;
  }));
}

SemaphoreUndo::SemaphoreUndo(std::weak_ptr<SemaphoreTable> table, pid_t pid)
    : table_(std::move(table)), pid_(pid) {
  if (const auto owner = table_.lock()) owner->undos_.insert(this);
}

SemaphoreUndo::~SemaphoreUndo() {
  const auto owner = table_.lock();
  if (owner == nullptr) return;
  owner->undos_.erase(this);
  owner->give_back(*this);
}

Result<int> SemaphoreTable::get(Task& task, key_t key, int count, int flags) {
  const Sysctl& limits = Sysctls::current().sem;
  if (count < 0 || static_cast<size_t>(count) > limits[kSemmsl]) return Errno(EINVAL);
  const auto wanted = static_cast<size_t>(count);
  const auto fits = [&](const SemaphoreSet& set) -> Result<> {
    if (wanted > set.semaphores.size()) return Errno(EINVAL);
    return {};
  };
  const auto make = [&]() -> Result<std::shared_ptr<SemaphoreSet>> {
    if (wanted == 0) return Errno(EINVAL);
    if (full() || count_ + wanted > std::min<uint64_t>(limits[kSemmns], kMaxSemaphores)) return Errno(ENOSPC);
    count_ += wanted;
    return std::make_shared<SemaphoreSet>(wanted);
  };
  return IpcTable::get(*task.credentials, key, flags, fits, make);
}

Result<> SemaphoreTable::attempt(SemaphoreSet& set, const std::vector<sembuf>& operations,
                                 SemaphoreUndo* undo, pid_t pid, size_t& blocking) {
  const auto adjustment = [&](const sembuf& operation) -> int& {
    return undo->adjustments_.find({set.id, operation.sem_num})->second;  // prepare() made it
  };
  Result<> result;
  size_t done = 0;
  for (; done < operations.size(); ++done) {
    const sembuf& operation = operations[done];
    uint16_t& value = set.semaphores[operation.sem_num].value;
    if (operation.sem_op == 0 ? value != 0 : value + operation.sem_op < 0) {
      blocking = done;
      result = Errno(EAGAIN);
      break;
    }
    const int next = value + operation.sem_op;
    if (next > kMaxSemaphoreValue) {
      result = Errno(ERANGE);
      break;
    }
    if ((operation.sem_flg & SEM_UNDO) != 0) {
      const int back = adjustment(operation) - operation.sem_op;
      if (back < -kMaxSemaphoreValue - 1 || back > kMaxSemaphoreValue) {
        result = Errno(ERANGE);
        break;
      }
      adjustment(operation) = back;
    }
    value = static_cast<uint16_t>(next);
  }
  if (!result.ok()) {
    while (done-- > 0) {
      const sembuf& operation = operations[done];
      uint16_t& value = set.semaphores[operation.sem_num].value;
      value = static_cast<uint16_t>(value - operation.sem_op);
      if ((operation.sem_flg & SEM_UNDO) != 0) adjustment(operation) += operation.sem_op;
    }
    return result;
  }
  for (const sembuf& operation : operations) set.semaphores[operation.sem_num].pid = pid;
  set.operation_time = ipc_time();
  return {};
}

// After a change: carries out what can be done now, the oldest first, as often as that changes something.
void SemaphoreTable::update(SemaphoreSet& set) {
  for (auto next = set.pending.begin(); next != set.pending.end();) {
    PendingOperation& one = **next;
    const Result<> result = attempt(set, *one.operations, one.undo, one.pid, one.blocking);
    if (result.is(EAGAIN) && ((*one.operations)[one.blocking].sem_flg & IPC_NOWAIT) == 0) {
      ++next;
      continue;
    }
    one.outcome = result.ok() ? Errno(0) : result.error();
    one.fiber->wake();
    next = set.pending.erase(next);
    const bool changed =
        result.ok() && std::any_of(one.operations->begin(), one.operations->end(),
                                   [](const sembuf& operation) { return operation.sem_op != 0; });
    if (changed) next = set.pending.begin();
  }
}

Result<> SemaphoreTable::prepare(SemaphoreUndo& undo, int id, const std::vector<sembuf>& operations) {
  for (const sembuf& operation : operations) {
    if ((operation.sem_flg & SEM_UNDO) == 0) continue;
    if (undo_count_ >= kMaxUndoEntries) return Errno(ENOMEM);
    undo_count_ += undo.adjustments_.try_emplace({id, operation.sem_num}, 0).second;
  }
  return {};
}

Result<> SemaphoreTable::operate(Task& task, int id, const std::vector<sembuf>& operations,
                                 Deadline deadline) {
  const auto set = TRY(find(id));
  bool alters = false, undoes = false;
  for (const sembuf& operation : operations) {
    if (operation.sem_num >= set->semaphores.size()) return Errno(EFBIG);
    alters |= operation.sem_op != 0;
    undoes |= (operation.sem_flg & SEM_UNDO) != 0;
  }
  TRY(check_access(*task.credentials, *set, alters ? 0222 : 0444));
  if (undoes) {
    if (task.semaphore_undo == nullptr)
      task.semaphore_undo = std::make_shared<SemaphoreUndo>(weak_from_this(), task.group->id);
    TRY(prepare(*task.semaphore_undo, id, operations));
  }
  PendingOperation self{
      &operations, undoes ? task.semaphore_undo.get() : nullptr, task.group->id, task.fiber, 0, {}};
  const Result<> now = attempt(*set, operations, self.undo, self.pid, self.blocking);
  if (now.ok() && alters) update(*set);
  if (!now.is(EAGAIN) || (operations[self.blocking].sem_flg & IPC_NOWAIT) != 0) return now;

  const auto place = set->pending.insert(set->pending.end(), &self);
  while (!self.outcome) {
    const Result<> parked = park_interruptible(deadline);
    if (self.outcome) break;
    if (!parked.ok()) {
      set->pending.erase(place);
      return Errno(parked.is(ETIMEDOUT) ? EAGAIN : EINTR);
    }
  }
  if (self.outcome->value() != 0) return *self.outcome;
  return {};
}

void SemaphoreTable::set_values(SemaphoreSet& set, size_t first, const std::vector<uint16_t>& values,
                                pid_t pid) {
  for (size_t i = 0; i < values.size(); ++i) set.semaphores[first + i] = {values[i], pid};
  for (SemaphoreUndo* undo : undos_) {
    auto next = undo->adjustments_.lower_bound({set.id, static_cast<uint16_t>(first)});
    for (; next != undo->adjustments_.end() && next->first.first == set.id &&
           next->first.second < first + values.size();
         ++next)
      next->second = 0;
  }
  set.change_time = ipc_time();
  update(set);
}

Result<> SemaphoreTable::remove(Task& task, int id) {
  const auto set = TRY(find(id));
  TRY(check_owner(*task.credentials, *set));
  for (SemaphoreUndo* undo : undos_)
    undo_count_ -=
        std::erase_if(undo->adjustments_, [id](const auto& entry) { return entry.first.first == id; });
  for (PendingOperation* one : set->pending) {
    one->outcome = Errno(EIDRM);
    one->fiber->wake();
  }
  set->pending.clear();
  count_ -= set->semaphores.size();
  IpcTable::remove(*set);
  return {};
}

void SemaphoreTable::give_back(SemaphoreUndo& undo) {
  undo_count_ -= undo.adjustments_.size();
  for (auto next = undo.adjustments_.begin(); next != undo.adjustments_.end();) {
    const int id = next->first.first;
    const auto set = find(id);
    bool changed = false;
    for (; next != undo.adjustments_.end() && next->first.first == id; ++next) {
      if (!set.ok() || next->second == 0) continue;
      SemaphoreSet::Semaphore& semaphore = (*set)->semaphores[next->first.second];
      // An adjustment that does not fit goes as far as it can: semop(2), BUGS.
      semaphore.value =
          static_cast<uint16_t>(std::clamp(semaphore.value + next->second, 0, kMaxSemaphoreValue));
      semaphore.pid = undo.pid_;
      changed = true;
    }
    if (!changed) continue;
    (*set)->operation_time = ipc_time();
    update(**set);
  }
  undo.adjustments_.clear();
}

}  // namespace sentry::kernel
