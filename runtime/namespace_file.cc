#include "runtime/namespace_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

namespace runtime {

Outcome<sentry::Fd> open_network_namespace(const std::string& path) {
  // What it is can be asked without opening it for what it is.
  const sentry::Fd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!place) return system_failure(errno, "{}", path);
  struct statfs status {};
  if (::fstatfs(place.get(), &status) != 0) return system_failure(errno, "{}", path);
  if (status.f_type != NSFS_MAGIC) return failure("{}: is not a namespace", path);
  sentry::Fd space(::open(fmt::format("/proc/self/fd/{}", place.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!space) return system_failure(errno, "{}", path);
  if (::ioctl(space.get(), NS_GET_NSTYPE) != CLONE_NEWNET)
    return failure("{}: is not a network namespace", path);
  return space;
}

}  // namespace runtime
