// Where the other programs are: beside the command, or in ../libexec/bulkhead from it.
#pragma once

#include <string>

#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

struct Program {
  std::string path;
  sentry::Fd fd;  // O_PATH
};

// `name` is bulkhead-sentry, bulkhead-gofer or bulkhead-systemd.
Outcome<Program> find_program(const std::string& name);

}  // namespace runtime
