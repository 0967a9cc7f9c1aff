// System V shared memory: shmget(2), shmop(2), shmctl(2).
#include <linux/capability.h>
#include <sys/resource.h>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/sysv_shared_memory.h"
#include "sentry/syscalls/ipc.h"

namespace sentry::syscalls {
namespace {

using kernel::SharedMemorySegment;
using kernel::SharedMemoryTable;

shmid_ds describe(const SharedMemorySegment& segment) {
  shmid_ds info{};
  info.shm_perm = to_ipc_perm(segment);
  if (segment.removed) info.shm_perm.mode |= SHM_DEST;
  if (segment.locked) info.shm_perm.mode |= SHM_LOCKED;
  info.shm_segsz = segment.size;
  info.shm_atime = segment.attach_time;
  info.shm_dtime = segment.detach_time;
  info.shm_ctime = segment.change_time;
  info.shm_cpid = segment.creator;
  info.shm_lpid = segment.last_user;
  info.shm_nattch = segment.mappings();
  return info;
}

// shmctl(2) SHM_LOCK and SHM_UNLOCK: the owner within RLIMIT_MEMLOCK, or CAP_IPC_LOCK. The host may still
// swap.
Result<> lock(Task& task, SharedMemorySegment& segment, bool lock) {
  const vfs::Credentials& own = *task.credentials;
  if (!own.capable(CAP_IPC_LOCK)) {
    if (own.euid != segment.uid && own.euid != segment.cuid) return Errno(EPERM);
    if (lock && task.group->limit(RLIMIT_MEMLOCK) == 0) return Errno(EPERM);
  }
  segment.locked = lock;
  return {};
}

}  // namespace

Result<int> sys_shmget(Task& task, int key, uint64_t size, Flags<kIpcGetNames> flags) {
  return task.kernel.ipc->shared_memory->get(task, key, size, flags);
}

Result<Address> sys_shmat(Task& task, int id, GuestPtr<void> address, int flags) {
  return as_address(task.kernel.ipc->shared_memory->attach(task, id, address.address(), flags));
}

Result<> sys_shmdt(Task& task, GuestPtr<void> address) {
  return task.kernel.ipc->shared_memory->detach(task, address.address());
}

Result<int> sys_shmctl(Task& task, int id, Flags<kShmctlNames> command, GuestPtr<shmid_ds> argument) {
  SharedMemoryTable& table = *task.kernel.ipc->shared_memory;
  if (id < 0 || command < 0) return Errno(EINVAL);
  switch (command) {
    case IPC_INFO: {
      shminfo limits{};
      const kernel::Sysctls& sysctls = kernel::Sysctls::current();
      limits.shmmax = sysctls.shmmax.value();
      limits.shmmin = 1;
      limits.shmmni = limits.shmseg = sysctls.shmmni.value();
      limits.shmall = sysctls.shmall.value();
      TRY(task.memory().write(argument.as<shminfo>(), limits));
      return table.highest();
    }
    case SHM_INFO: {
      shm_info used{};
      used.used_ids = static_cast<int>(table.size());
      used.shm_tot = used.shm_rss = table.pages();
      TRY(task.memory().write(argument.as<shm_info>(), used));
      return table.highest();
    }
    case IPC_STAT:
    case SHM_STAT:
    case SHM_STAT_ANY: {
      const auto segment = TRY(command == IPC_STAT ? table.find(id) : table.at(id));
      if (command != SHM_STAT_ANY) TRY(check_access(*task.credentials, *segment, 0444));
      TRY(task.memory().write(argument, describe(*segment)));
      return command == IPC_STAT ? 0 : segment->id;
    }
    case IPC_SET: {
      const shmid_ds wanted = TRY(task.memory().read(argument));
      const auto segment = TRY(table.find(id));
      TRY(check_owner(*task.credentials, *segment));
      set_owner(*segment, wanted.shm_perm);
      return 0;
    }
    case IPC_RMID:
      TRY(table.remove(task, id));
      return 0;
    case SHM_LOCK:
    case SHM_UNLOCK:
      TRY(lock(task, *TRY(table.find(id)), command == SHM_LOCK));
      return 0;
    default:
      return Errno(EINVAL);
  }
}

}  // namespace sentry::syscalls
