// --console-socket: a pty whose master goes to the caller, as runc's terminals.md.
#pragma once

#include <string>

#include "runtime/failure.h"
#include "runtime/terminal.h"
#include "sentry/base/fd.h"

namespace runtime {

// Makes a pty, sends its master over the Unix socket at `path`, and answers the other side: this process's
// controlling terminal, so that it hears of changes in size.
Outcome<sentry::Fd> send_console(const std::string& path, WindowSize size);

}  // namespace runtime
