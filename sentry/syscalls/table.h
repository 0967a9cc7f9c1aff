// The system call table: the compatibility document. Every number of x86-64 has an entry: complete, partial
// with the gap in words, or absent with the errno that it answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "sentry/syscalls/handler.h"

namespace sentry::syscalls {

enum class Support : uint8_t { kComplete, kPartial, kAbsent };

struct Entry {
  uint16_t number;
  const char* name;
  Support support;
  Handler handler;     // kAbsent: none
  int absent_errno;    // kAbsent
  const char* remark;  // kPartial: the gap; kAbsent: why
};

// Each family's rows, defined in its own file; the table is their union.
std::span<const Entry> file_calls();       // open, read, write, stat, ... on any file
std::span<const Entry> directory_calls();  // names: mkdir, rename, link, getdents, chdir, mount
std::span<const Entry>
descriptor_calls();  // dup, fcntl, ioctl, poll, select, epoll, eventfd, pipe, timerfd, signalfd...
std::span<const Entry> socket_calls();
std::span<const Entry> memory_calls();
std::span<const Entry> process_calls();   // fork, exec, exit, wait, groups, limits, prctl
std::span<const Entry> identity_calls();  // uids, gids, capabilities
std::span<const Entry> signal_calls();
std::span<const Entry> time_calls();
std::span<const Entry> futex_calls();
std::span<const Entry> scheduler_calls();
std::span<const Entry> system_calls();  // uname, sysinfo, getrandom, ...
std::span<const Entry> ipc_calls();     // SysV and POSIX message queues, semaphores, shared memory

const Entry* find(uint64_t number);
// kernel::SyscallDispatcher over the table.
Result<uint64_t> dispatch(Task& task, uint64_t number, const uint64_t (&args)[6]);
// `bulkhead syscalls`.
std::string table_text();

}  // namespace sentry::syscalls

// Rows: COMPLETE(read, sys_read), PARTIAL(ioctl, sys_ioctl, "what is missing"), ABSENT(uselib, ENOSYS,
// "why").
#define COMPLETE(name, function)                                                                            \
  {                                                                                                         \
    SYS_##name, #name, ::sentry::syscalls::Support::kComplete, ::sentry::syscalls::handler<&function>(), 0, \
        ""                                                                                                  \
  }
#define PARTIAL(name, function, gap)                                                                       \
  {                                                                                                        \
    SYS_##name, #name, ::sentry::syscalls::Support::kPartial, ::sentry::syscalls::handler<&function>(), 0, \
        gap                                                                                                \
  }
#define ABSENT(name, error, why) \
  { SYS_##name, #name, ::sentry::syscalls::Support::kAbsent, {}, error, why }
