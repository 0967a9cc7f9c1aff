// The gofer's view of the host: the trees that it may serve, as detached copies of mounts (open_tree(2)) from
// which nothing else can be reached, with what the sandbox must not see covered by empty directories and
// files. Covering is done by the kernel: a gofer taken over by its sandbox cannot look underneath.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

// A tree or a single file that the gofer serves.
struct Attach {
  std::string source;     // absolute path on the host
  bool writable = false;  // else the mount itself is read-only
  std::vector<std::string>
      covers;  // paths in `source` (absolute, from its root) that are hidden if they exist
};

// Opens every attach point, in order. To be called in the gofer's own mount namespace, with CAP_SYS_ADMIN
// over it, before its root is emptied; covers what is to be covered in that namespace for good.
Outcome<std::vector<sentry::Fd>> open_attaches(const std::vector<Attach>& attaches);

// The mount points strictly below `source` that hold no files but kernel interfaces (proc, sysfs, devpts,
// cgroup, debugfs…), as paths in `source`: a host's tree must not bring those along.
std::vector<std::string> kernel_mounts_below(const std::string& source);

// Where `source` itself lies on such a file system: its type and its mount point. Nothing there is for a
// sandbox: it is the host's own state, the processes of others among it.
struct KernelInterface {
  std::string type, mount_point;
};
std::optional<KernelInterface> kernel_interface_at(const std::string& source);

// All mount points strictly below `source`: what a bind mount that is not recursive leaves out.
std::vector<std::string> mounts_below(const std::string& source);

}  // namespace runtime
