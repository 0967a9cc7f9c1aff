// The file system of a tree that the gofer serves.
#pragma once

#include <memory>

#include "sentry/fs/gofer/client.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace sentry::fs::gofer {

struct TreeOptions {
  uint32_t attach = 0;
  // Only this sandbox changes the tree: names, attributes and listings are kept as long as the dentry cache
  // keeps them. Otherwise each look asks the gofer.
  bool exclusive = false;
  std::string type = "gofer";                // for /proc/mounts
  std::weak_ptr<vfs::MountNamespace> space;  // where it will be mounted
};

// Attaches to a tree: on a fiber, since it asks the gofer. The client and kernel must outlive it.
Result<std::shared_ptr<vfs::Superblock>> make_tree(kernel::Kernel& kernel, std::shared_ptr<Client> client,
                                                   const TreeOptions& options);

}  // namespace sentry::fs::gofer
