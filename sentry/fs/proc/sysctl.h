// /proc/sys, sysctl(8).
#pragma once

#include "sentry/fs/pseudo/node.h"
#include "sentry/kernel/kernel.h"

namespace sentry::fs::proc {

// The tree below /proc/sys. What nothing in the sandbox depends on is there to be read and cannot be changed
// from inside; the operator's own values (Kernel::sysctl) replace or extend it.
std::shared_ptr<pseudo::Node> make_sysctl_tree(pseudo::Superblock& superblock, kernel::Kernel& kernel);

}  // namespace sentry::fs::proc
