// /proc/sys, sysctl(8).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sentry/fs/pseudo/node.h"
#include "sentry/kernel/kernel.h"

namespace sentry::fs::proc {

// The tree below /proc/sys. But for the host's name nothing can be changed from inside.
std::shared_ptr<pseudo::Node> make_sysctl_tree(pseudo::Superblock& superblock, kernel::Kernel& kernel);

// Why an operator cannot have a value.
struct SysctlRefusal {
  int error;         // errno
  std::string what;  // "net.core.somaxconn: expected a whole number from 0 to 2147483647"
};

// The operator's values, by names as "net.core.somaxconn", or with slashes: all of them, or none.
std::optional<SysctlRefusal> set_sysctls(kernel::Kernel& kernel,
                                         const std::vector<std::pair<std::string, std::string>>& wanted);

}  // namespace sentry::fs::proc
