// A container's tree, from the boot document.
#pragma once

#include <memory>
#include <string>

#include "sentry/boot/boot.h"
#include "sentry/fs/gofer/client.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/kernel/kernel.h"

namespace sentry::init {

// What went wrong, for the operator.
struct Failure {
  int error;         // errno
  std::string what;  // "mounting /proc"
  int status = 125;  // the command's exit status: 126 and 127 are for programs that cannot be executed, or
                     // are not there
};

struct MountContext {
  kernel::Kernel& kernel;
  std::shared_ptr<kernel::Container> container;
  std::shared_ptr<fs::gofer::Client> gofer;  // null: no gofer
  std::shared_ptr<fs::tty::Devpts> devpts;   // one instance for the sandbox
};

// Makes the container's mount namespace and mounts everything, in order. On a fiber.
std::optional<Failure> mount_all(const MountContext& context, const boot::Boot& boot);

}  // namespace sentry::init
