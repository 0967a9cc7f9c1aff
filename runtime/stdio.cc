#include "runtime/stdio.h"

#include <fcntl.h>

#include "sentry/base/log.h"

namespace runtime {

std::array<int, 3> inherited_stdio() {
  std::array<int, 3> stdio{0, 1, 2};
  for (int& fd : stdio) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // open(2) answers the lowest free number, which is this one.
    const int null = ::open("/dev/null", O_RDWR);
    BULKHEAD_CHECK(null == fd, "cannot open /dev/null as descriptor {}", fd);
    fd = -1;
  }
  return stdio;
}

void name_open_flags(sentry::boot::Process& process, const std::array<int, 3>& stdio,
                     const std::vector<int>& more_fds) {
  for (size_t i = 0; i < stdio.size(); ++i)
    process.stdio_flags[i] = stdio[i] < 0 ? 0 : ::fcntl(stdio[i], F_GETFL);
  process.more_flags.clear();
  for (const int fd : more_fds) process.more_flags.push_back(::fcntl(fd, F_GETFL));
}

}  // namespace runtime
