// One sandbox, from its boot document to its end.
#pragma once

#include "sentry/boot/boot.h"

namespace sentry::init {

// Makes the kernel and the first stub, enters the sentry's surface, runs the program. The exit status of the
// sentry's process: 0 when the program has ended and the runtime has been told how.
int run_sandbox(const boot::Boot& boot);

}  // namespace sentry::init
