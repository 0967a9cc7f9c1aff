// The handlers of ipc_calls(), by file.
#pragma once

#include <mqueue.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "sentry/syscalls/handler.h"

namespace sentry::syscalls {

// Bits of shmget(2), semget(2), msgget(2) and the commands of their control calls, for --strace.
inline constexpr FlagName kIpcGetNames[] = {
    {IPC_CREAT, "IPC_CREAT"}, {IPC_EXCL, "IPC_EXCL"}, {0, "0"}, {0, nullptr}};
inline constexpr FlagName kShmctlNames[] = {{IPC_SET, "IPC_SET"},       {IPC_STAT, "IPC_STAT"},
                                            {IPC_INFO, "IPC_INFO"},     {SHM_LOCK, "SHM_LOCK"},
                                            {SHM_UNLOCK, "SHM_UNLOCK"}, {SHM_STAT, "SHM_STAT"},
                                            {SHM_INFO, "SHM_INFO"},     {SHM_STAT_ANY, "SHM_STAT_ANY"},
                                            {IPC_RMID, "IPC_RMID"},     {0, nullptr}};
inline constexpr FlagName kSemctlNames[] = {{IPC_SET, "IPC_SET"},
                                            {IPC_STAT, "IPC_STAT"},
                                            {IPC_INFO, "IPC_INFO"},
                                            {GETPID, "GETPID"},
                                            {GETVAL, "GETVAL"},
                                            {GETALL, "GETALL"},
                                            {GETNCNT, "GETNCNT"},
                                            {GETZCNT, "GETZCNT"},
                                            {SETVAL, "SETVAL"},
                                            {SETALL, "SETALL"},
                                            {SEM_STAT, "SEM_STAT"},
                                            {SEM_INFO, "SEM_INFO"},
                                            {SEM_STAT_ANY, "SEM_STAT_ANY"},
                                            {IPC_RMID, "IPC_RMID"},
                                            {0, nullptr}};
inline constexpr FlagName kMsgctlNames[] = {
    {IPC_SET, "IPC_SET"},   {IPC_STAT, "IPC_STAT"},         {IPC_INFO, "IPC_INFO"}, {MSG_STAT, "MSG_STAT"},
    {MSG_INFO, "MSG_INFO"}, {MSG_STAT_ANY, "MSG_STAT_ANY"}, {IPC_RMID, "IPC_RMID"}, {0, nullptr}};

// shared_memory.cc
Result<int> sys_shmget(Task& task, int key, uint64_t size, Flags<kIpcGetNames> flags);
Result<Address> sys_shmat(Task& task, int id, GuestPtr<void> address, int flags);
Result<> sys_shmdt(Task& task, GuestPtr<void> address);
Result<int> sys_shmctl(Task& task, int id, Flags<kShmctlNames> command, GuestPtr<shmid_ds> argument);

// semaphore.cc
Result<int> sys_semget(Task& task, int key, int count, Flags<kIpcGetNames> flags);
Result<> sys_semop(Task& task, int id, GuestPtr<const sembuf> operations, unsigned count);
Result<> sys_semtimedop(Task& task, int id, GuestPtr<const sembuf> operations, unsigned count,
                        GuestPtr<const timespec> timeout);
Result<int> sys_semctl(Task& task, int id, int index, Flags<kSemctlNames> command, uint64_t argument);

// message.cc
Result<int> sys_msgget(Task& task, int key, Flags<kIpcGetNames> flags);
Result<> sys_msgsnd(Task& task, int id, GuestPtr<const int64_t> message, uint64_t size, int flags);
Result<uint64_t> sys_msgrcv(Task& task, int id, GuestPtr<int64_t> message, uint64_t size, int64_t type,
                            int flags);
Result<int> sys_msgctl(Task& task, int id, Flags<kMsgctlNames> command, GuestPtr<msqid_ds> argument);

// message_queue.cc
Result<int> sys_mq_open(Task& task, GuestPath name, int flags, unsigned mode,
                        GuestPtr<const mq_attr> attributes);
Result<> sys_mq_unlink(Task& task, GuestPath name);
Result<> sys_mq_timedsend(Task& task, FdNumber fd, GuestPtr<const char> text, uint64_t length,
                          unsigned priority, GuestPtr<const timespec> timeout);
Result<uint64_t> sys_mq_timedreceive(Task& task, FdNumber fd, GuestPtr<char> text, uint64_t length,
                                     GuestPtr<unsigned> priority, GuestPtr<const timespec> timeout);
Result<> sys_mq_notify(Task& task, FdNumber fd, GuestPtr<const sigevent> event);
Result<> sys_mq_getsetattr(Task& task, FdNumber fd, GuestPtr<const mq_attr> in, GuestPtr<mq_attr> out);

}  // namespace sentry::syscalls
