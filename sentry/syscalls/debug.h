// Handlers that process.cc lists: ptrace(2), kcmp(2), seccomp(2).
#pragma once

#include "sentry/syscalls/handler.h"
#include "sentry/syscalls/names.h"

namespace sentry::syscalls {

Result<uint64_t> sys_ptrace(Task& task, Choice<kPtraceNames> request, pid_t pid, uint64_t address,
                            uint64_t data);
Result<int> sys_kcmp(Task& task, pid_t first, pid_t second, int type, uint64_t index1, uint64_t index2);
Result<int> sys_seccomp(Task& task, Choice<kSeccompNames> operation, unsigned flags,
                        GuestPtr<void> arguments);
// prctl(2)'s PR_SET_SECCOMP.
Result<int> set_seccomp_mode(Task& task, uint64_t mode, uint64_t program);

}  // namespace sentry::syscalls
