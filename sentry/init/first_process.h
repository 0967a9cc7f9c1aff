// The container's first process, from the boot document.
#pragma once

#include <memory>
#include <optional>

#include "sentry/boot/boot.h"
#include "sentry/fs/tty/console.h"
#include "sentry/init/mounts.h"
#include "sentry/kernel/kernel.h"

namespace sentry::init {

// Loads the program and starts its task. On a fiber, with everything mounted. A failure's `error` chooses the
// exit status. `console` is the program's terminal, or null.
std::optional<Failure> start_first_process(kernel::Kernel& kernel, const boot::Boot& boot,
                                           fs::tty::Console* console);

}  // namespace sentry::init
