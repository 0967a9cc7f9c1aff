#include "runtime/failure.h"

#include <cerrno>
#include <cstdio>

#include "sentry/base/log.h"

namespace runtime {

int report(const Failure& failed) {
  sentry::log_line(failed.message);
  return failed.status;
}

int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  return report(system_failure(errno, "cannot write to standard output"));
}

}  // namespace runtime
