// `#!` files, execve(2).
#pragma once

#include <optional>
#include <string>

#include "sentry/vfs/file.h"

namespace sentry::kernel {

struct Script {
  std::string interpreter;
  std::optional<std::string> argument;
};

// What the first line says. Absent if it does not start with `#!`; ENOEXEC for a line without an interpreter.
// May park.
Result<std::optional<Script>> read_script(vfs::File& file);

}  // namespace sentry::kernel
