// execve(2): loading programs. ELF as in elf(5), `#!` scripts.
#pragma once

#include <string>
#include <vector>

#include "sentry/kernel/task.h"

namespace sentry::kernel {

struct ExecRequest {
  vfs::FileRef file;     // the program, opened for execution (open_executable)
  std::string filename;  // as the caller named it: AT_EXECFN, and what a script's interpreter gets
  std::vector<std::string> args;
  std::vector<std::string> env;
};

// Opens and checks a program: EACCES unless a regular file, executable, on a mount without noexec.
Result<vfs::FileRef> open_executable(Task& task, const vfs::Path& start, std::string_view path,
                                     bool follow = true, bool empty_path = false);

// Replaces the task's image. Before the old image is gone every failure is an Errno; after that the process
// is killed (SIGKILL), as Linux does. On success the task's registers are the new program's.
Result<> exec(Task& task, ExecRequest request);

}  // namespace sentry::kernel
