// What a sandbox's first process takes over from the process that started it.
#pragma once

#include "sentry/boot/boot.h"

namespace runtime {

// User, groups, umask, resource limits and niceness of this process.
void take_caller(sentry::boot::Process& process);

// The signals that this process was started to ignore (nohup(1)), as boot::Process has them. SIGCHLD is not
// among them: this program has taken it back already.
uint64_t ignored_signals();

}  // namespace runtime
