// System V semaphores: semget(2), semop(2), semctl(2).
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/sysv_semaphore.h"
#include "sentry/syscalls/ipc.h"

namespace sentry::syscalls {
namespace {

using kernel::SemaphoreSet;
using kernel::SemaphoreTable;

semid_ds describe(const SemaphoreSet& set) {
  semid_ds info{};
  info.sem_perm = to_ipc_perm(set);
  info.sem_otime = set.operation_time;
  info.sem_ctime = set.change_time;
  info.sem_nsems = set.semaphores.size();
  return info;
}

Result<> operate(Task& task, int id, GuestPtr<const sembuf> place, unsigned count, Deadline deadline) {
  if (count > kernel::Sysctls::current().sem[kernel::kSemopm]) return Errno(E2BIG);
  if (count < 1 || id < 0) return Errno(EINVAL);
  const std::vector<sembuf> operations = TRY(task.memory().read_array(place, count));
  return task.kernel.ipc->semaphores->operate(task, id, operations, deadline);
}

Result<int> get_all(Task& task, const SemaphoreSet& set, uint64_t place) {
  std::vector<uint16_t> values;
  for (const SemaphoreSet::Semaphore& semaphore : set.semaphores) values.push_back(semaphore.value);
  TRY(task.memory().write(place, values.data(), values.size() * sizeof(uint16_t)));
  return 0;
}

Result<int> set_values(Task& task, SemaphoreSet& set, size_t first, const std::vector<uint16_t>& values) {
  for (const uint16_t value : values)
    if (value > kernel::kMaxSemaphoreValue) return Errno(ERANGE);
  task.kernel.ipc->semaphores->set_values(set, first, values, task.group->id);
  return 0;
}

// The commands about one semaphore.
Result<int> control_one(Task& task, SemaphoreSet& set, int index, int command, uint64_t argument) {
  TRY(check_access(*task.credentials, set, command == SETVAL ? 0222 : 0444));
  if (index < 0 || static_cast<size_t>(index) >= set.semaphores.size()) return Errno(EINVAL);
  const auto place = static_cast<size_t>(index);
  const SemaphoreSet::Semaphore& semaphore = set.semaphores[place];
  switch (command) {
    case GETVAL:
      return semaphore.value;
    case GETPID:
      return semaphore.pid;
    case GETNCNT:
      return static_cast<int>(set.waiting(place, false));
    case GETZCNT:
      return static_cast<int>(set.waiting(place, true));
    default: {
      const auto value = static_cast<int>(argument);
      if (value < 0 || value > kernel::kMaxSemaphoreValue) return Errno(ERANGE);
      return set_values(task, set, place, {static_cast<uint16_t>(value)});
    }
  }
}

seminfo limits(SemaphoreTable& table, bool used) {
  const kernel::Sysctl& sem = kernel::Sysctls::current().sem;
  seminfo info{};
  info.semmni = static_cast<int>(sem[kernel::kSemmni]);
  info.semmns = static_cast<int>(std::min<uint64_t>(sem[kernel::kSemmns], kernel::kMaxSemaphores));
  info.semmsl = static_cast<int>(sem[kernel::kSemmsl]);
  info.semopm = static_cast<int>(sem[kernel::kSemopm]);
  info.semvmx = kernel::kMaxSemaphoreValue;
  info.semmnu = info.semmap = info.semmns;
  info.semume = info.semopm;
  info.semusz = used ? static_cast<int>(table.size()) : 20;
  info.semaem = used ? static_cast<int>(table.semaphores()) : kernel::kMaxSemaphoreValue;
  return info;
}

}  // namespace

Result<int> sys_semget(Task& task, int key, int count, Flags<kIpcGetNames> flags) {
  return task.kernel.ipc->semaphores->get(task, key, count, flags);
}

Result<> sys_semop(Task& task, int id, GuestPtr<const sembuf> operations, unsigned count) {
  return operate(task, id, operations, count, std::nullopt);
}

Result<> sys_semtimedop(Task& task, int id, GuestPtr<const sembuf> operations, unsigned count,
                        GuestPtr<const timespec> timeout) {
  Deadline deadline;
  if (timeout) {
    const timespec time = TRY(task.memory().read(timeout));
    if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
    const Nanoseconds now = monotonic_now();
    // One that lies beyond the clock's end never comes.
    if (time.tv_sec < (INT64_MAX - now) / kSecond - 1) deadline = now + time.tv_sec * kSecond + time.tv_nsec;
  }
  return operate(task, id, operations, count, deadline);
}

Result<int> sys_semctl(Task& task, int id, int index, Flags<kSemctlNames> command, uint64_t argument) {
  SemaphoreTable& table = *task.kernel.ipc->semaphores;
  if (id < 0) return Errno(EINVAL);
  switch (command) {
    case IPC_INFO:
    case SEM_INFO:
      TRY(task.memory().write(GuestPtr<seminfo>(argument), limits(table, command == SEM_INFO)));
      return table.highest();
    case IPC_STAT:
    case SEM_STAT:
    case SEM_STAT_ANY: {
      const auto set = TRY(command == IPC_STAT ? table.find(id) : table.at(id));
      if (command != SEM_STAT_ANY) TRY(check_access(*task.credentials, *set, 0444));
      TRY(task.memory().write(GuestPtr<semid_ds>(argument), describe(*set)));
      return command == IPC_STAT ? 0 : set->id;
    }
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
    case SETVAL:
      return control_one(task, *TRY(table.find(id)), index, command, argument);
    case GETALL: {
      const auto set = TRY(table.find(id));
      TRY(check_access(*task.credentials, *set, 0444));
      return get_all(task, *set, argument);
    }
    case SETALL: {
      const auto set = TRY(table.find(id));
      TRY(check_access(*task.credentials, *set, 0222));
      const std::vector<uint16_t> values =
          TRY(task.memory().read_array(GuestPtr<const uint16_t>(argument), set->semaphores.size()));
      if (const auto now = table.find(id); !now.ok() || *now != set) return Errno(EIDRM);
      return set_values(task, *set, 0, values);
    }
    case IPC_SET: {
      const semid_ds wanted = TRY(task.memory().read(GuestPtr<const semid_ds>(argument)));
      const auto set = TRY(table.find(id));
      TRY(check_owner(*task.credentials, *set));
      set_owner(*set, wanted.sem_perm);
      return 0;
    }
    case IPC_RMID:
      TRY(table.remove(task, id));
      return 0;
    default:
      return Errno(EINVAL);
  }
}

}  // namespace sentry::syscalls
