// A small read-only sysfs, sysfs(5): what programs ask it for to learn about CPUs, caches, memory nodes and
// the loopback interface. There are no devices behind it.
#pragma once

#include <memory>

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace sentry::fs::sys {

// The whole of /sys; fs/cgroup in it is an empty directory to mount on. The kernel must outlive it.
std::shared_ptr<vfs::Superblock> make_sysfs(kernel::Kernel& kernel);

}  // namespace sentry::fs::sys
