#include "sentry/base/log.h"

#include <sys/uio.h>
#include <unistd.h>

#include <string>

namespace sentry {
namespace {
int log_fd = STDERR_FILENO;
const char* log_program = "bulkhead";
}  // namespace

void set_log(int fd, const char* program) {
  log_fd = fd;
  log_program = program;
}

void log_line(std::string_view message) { log_raw(fmt::format("{}: {}\n", log_program, message)); }

void log_raw(std::string_view lines) {
  if (log_fd < 0) return;
  iovec vec{const_cast<char*>(lines.data()), lines.size()};
  [[maybe_unused]] const ssize_t written = ::writev(log_fd, &vec, 1);
}

void die(const char* file, int line, std::string_view message) {
  log("internal error at {}:{}: {}", file, line, message);
  ::_exit(kInternalFault);
}

}  // namespace sentry
