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
    COMPLETE(mq_open, sys_mq_open),
    COMPLETE(mq_unlink, sys_mq_unlink),
    COMPLETE(mq_timedsend, sys_mq_timedsend),
    COMPLETE(mq_timedreceive, sys_mq_timedreceive),
    COMPLETE(mq_notify, sys_mq_notify),
    COMPLETE(mq_getsetattr, sys_mq_getsetattr),
};

}  // namespace

std::span<const Entry> ipc_calls() { return kCalls; }

}  // namespace sentry::syscalls
