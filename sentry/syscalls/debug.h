// Handlers that process.cc lists: ptrace(2), kcmp(2), seccomp(2), landlock(7).
#pragma once

#include <linux/landlock.h>

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
Result<int> sys_landlock_create_ruleset(Task& task, GuestPtr<const landlock_ruleset_attr> attributes,
                                        size_t size, unsigned flags);
Result<> sys_landlock_add_rule(Task& task, FdNumber ruleset, int type, GuestPtr<const void> rule,
                               unsigned flags);
Result<> sys_landlock_restrict_self(Task& task, FdNumber ruleset, unsigned flags);

}  // namespace sentry::syscalls
