#include "runtime/programs.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <climits>

namespace runtime {

Outcome<Program> find_program(const std::string& name) {
  std::array<char, PATH_MAX> self;
  const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size());
  if (size <= 0 || static_cast<size_t>(size) == self.size())
    return system_failure(errno, "cannot read /proc/self/exe to find {}", name);
  const std::string command(self.data(), static_cast<size_t>(size));
  const std::string folder = command.substr(0, command.rfind('/'));
  for (const std::string& path :
       {fmt::format("{}/{}", folder, name), fmt::format("{}/../libexec/bulkhead/{}", folder, name)}) {
    sentry::Fd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (fd) return Program{path, std::move(fd)};
    if (errno != ENOENT && errno != ENOTDIR) return system_failure(errno, "cannot open {}", path);
  }
  return failure("{} is neither in {} nor in ../libexec/bulkhead beside it: the installation is incomplete",
                 name, folder);
}

}  // namespace runtime
