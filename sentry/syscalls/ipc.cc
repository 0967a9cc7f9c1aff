// System V IPC and POSIX message queues.
#include "sentry/syscalls/ipc.h"

#include <sys/syscall.h>

#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

constexpr Entry kCalls[] = {
    COMPLETE(shmget, sys_shmget),
    COMPLETE(shmat, sys_shmat),
    COMPLETE(shmdt, sys_shmdt),
    PARTIAL(shmctl, sys_shmctl, "an exit does not count as the last detachment's time and pid"),
    COMPLETE(semget, sys_semget),
    COMPLETE(semop, sys_semop),
    COMPLETE(semtimedop, sys_semtimedop),
    COMPLETE(semctl, sys_semctl),
    COMPLETE(msgget, sys_msgget),
    COMPLETE(msgsnd, sys_msgsnd),
    COMPLETE(msgrcv, sys_msgrcv),
    COMPLETE(msgctl, sys_msgctl),
    ABSENT(mq_open, ENOSYS, "not implemented"),
    ABSENT(mq_unlink, ENOSYS, "not implemented"),
    ABSENT(mq_timedsend, ENOSYS, "not implemented"),
    ABSENT(mq_timedreceive, ENOSYS, "not implemented"),
    ABSENT(mq_notify, ENOSYS, "not implemented"),
    ABSENT(mq_getsetattr, ENOSYS, "not implemented"),
};

}  // namespace

std::span<const Entry> ipc_calls() { return kCalls; }

}  // namespace sentry::syscalls
