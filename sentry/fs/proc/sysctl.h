// /proc/sys, sysctl(8).
#pragma once

#include <string_view>

#include "sentry/fs/pseudo/node.h"
#include "sentry/kernel/kernel.h"

namespace sentry::fs::proc {

// The tree below /proc/sys. What nothing in the sandbox depends on is there to be read and cannot be changed
// from inside; the operator's own values (Kernel::sysctl) replace it.
std::shared_ptr<pseudo::Node> make_sysctl_tree(pseudo::Superblock& superblock, kernel::Kernel& kernel);
// Whether the operator can have a value there: "net.core.somaxconn", or with slashes.
bool has_sysctl(std::string_view key);

}  // namespace sentry::fs::proc
