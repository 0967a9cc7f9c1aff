// --strace: what every task does, in the log, as strace(1) -f would show it.
#pragma once

#include <memory>

#include "sentry/kernel/observer.h"
#include "sentry/kernel/task.h"

namespace sentry::syscalls {

// Prints what happens to tasks besides calls: the first execve, signals, ends.
std::unique_ptr<kernel::TaskObserver> make_strace();

// kernel::SyscallDispatcher that prints each call.
Result<uint64_t> dispatch_traced(kernel::Task& task, uint64_t number, const uint64_t (&args)[6]);

}  // namespace sentry::syscalls
