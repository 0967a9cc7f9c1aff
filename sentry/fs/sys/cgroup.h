// The sandbox's own cgroup as it shows in a cgroup namespace, cgroups(7), version 2: one group, the limits
// that hold, nothing to change. Language runtimes size their heaps and pools by it.
#pragma once

#include <memory>

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace sentry::fs::sys {

// The whole of /sys/fs/cgroup. The kernel must outlive it.
std::shared_ptr<vfs::Superblock> make_cgroup(kernel::Kernel& kernel);

}  // namespace sentry::fs::sys
