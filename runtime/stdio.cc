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

}  // namespace runtime
