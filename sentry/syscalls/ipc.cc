// System V IPC and POSIX message queues.
#include <sys/syscall.h>

#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

constexpr Entry kCalls[] = {
    ABSENT(shmget, ENOSYS, "not implemented"),       ABSENT(shmat, ENOSYS, "not implemented"),
    ABSENT(shmctl, ENOSYS, "not implemented"),       ABSENT(shmdt, ENOSYS, "not implemented"),
    ABSENT(semget, ENOSYS, "not implemented"),       ABSENT(semop, ENOSYS, "not implemented"),
    ABSENT(semctl, ENOSYS, "not implemented"),       ABSENT(semtimedop, ENOSYS, "not implemented"),
    ABSENT(msgget, ENOSYS, "not implemented"),       ABSENT(msgsnd, ENOSYS, "not implemented"),
    ABSENT(msgrcv, ENOSYS, "not implemented"),       ABSENT(msgctl, ENOSYS, "not implemented"),
    ABSENT(mq_open, ENOSYS, "not implemented"),      ABSENT(mq_unlink, ENOSYS, "not implemented"),
    ABSENT(mq_timedsend, ENOSYS, "not implemented"), ABSENT(mq_timedreceive, ENOSYS, "not implemented"),
    ABSENT(mq_notify, ENOSYS, "not implemented"),    ABSENT(mq_getsetattr, ENOSYS, "not implemented"),
};

}  // namespace

std::span<const Entry> ipc_calls() { return kCalls; }

}  // namespace sentry::syscalls
