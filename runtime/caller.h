// What a sandbox's first process takes over from the process that started it.
#pragma once

#include "sentry/boot/boot.h"

namespace runtime {

// User, groups, umask and resource limits of this process.
void take_caller(sentry::boot::Process& process);

}  // namespace runtime
