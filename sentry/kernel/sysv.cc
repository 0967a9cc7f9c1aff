#include "sentry/kernel/sysv.h"

#include <linux/capability.h>

#include "sentry/base/time.h"
#include "sentry/kernel/sysv_message.h"
#include "sentry/kernel/sysv_semaphore.h"
#include "sentry/kernel/sysv_shared_memory.h"

namespace sentry::kernel {

Result<> check_access(const vfs::Credentials& who, const IpcObject& object, int wanted) {
  const auto mode = static_cast<uint32_t>(wanted);
  const uint32_t requested = (mode >> 6 | mode >> 3 | mode) & 7;
  uint32_t granted = object.mode;
  if (who.euid == object.cuid || who.euid == object.uid)
    granted >>= 6;
  else if (who.in_group(object.cgid) || who.in_group(object.gid))
    granted >>= 3;
  if ((requested & ~granted) != 0 && !who.capable(CAP_IPC_OWNER)) return Errno(EACCES);
  return {};
}

Result<> check_owner(const vfs::Credentials& who, const IpcObject& object) {
  if (who.euid == object.cuid || who.euid == object.uid || who.capable(CAP_SYS_ADMIN)) return {};
  return Errno(EPERM);
}

ipc_perm to_ipc_perm(const IpcObject& object) {
  ipc_perm permission{};
  permission.__key = object.key;
  permission.uid = object.uid;
  permission.gid = object.gid;
  permission.cuid = object.cuid;
  permission.cgid = object.cgid;
  permission.mode = object.mode;
  permission.__seq = static_cast<unsigned short>(object.id >> 15);
  return permission;
}

void set_owner(IpcObject& object, const ipc_perm& wanted) {
  object.uid = wanted.uid;
  object.gid = wanted.gid;
  object.mode = wanted.mode & 0777;
  object.change_time = ipc_time();
}

time_t ipc_time() { return read_clock(CLOCK_REALTIME) / kSecond; }

SysvIpc::SysvIpc()
    : shared_memory(std::make_unique<SharedMemoryTable>()),
      semaphores(std::make_shared<SemaphoreTable>()),
      messages(std::make_unique<MessageTable>()) {}
SysvIpc::~SysvIpc() = default;

}  // namespace sentry::kernel
