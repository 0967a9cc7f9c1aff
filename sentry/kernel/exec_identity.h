// Who a program is that execve(2) starts.
#pragma once

#include <memory>

#include "sentry/base/result.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/file.h"

namespace sentry::kernel {

struct NewIdentity {
  std::shared_ptr<vfs::Credentials> credentials;
  bool secure = false;  // AT_SECURE: it may do more than who started it
};

// The ids and capabilities that `task` has once it runs the program: set-id bits, the file's capabilities,
// capabilities(7) "Transformation of capabilities during execve()". EPERM where the file needs more than
// there may be.
Result<NewIdentity> new_identity(const Task& task, const vfs::File& file);

}  // namespace sentry::kernel
