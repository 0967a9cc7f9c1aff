#include "sentry/base/log.h"

#include <sys/uio.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "sentry/base/utf8.h"

namespace sentry {
namespace {
int log_fd = STDERR_FILENO;
const char* log_program = "bulkhead";
LogFormat log_format = LogFormat::kText;

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::string_view each = text.substr(0, utf8_length(text));
    const auto byte = static_cast<unsigned char>(text[0]);
    text.remove_prefix(each.empty() ? 1 : each.size());
    if (each == "\"" || each == "\\")
      quoted += fmt::format("\\{}", each);
    else if (each.empty() || byte < 0x20 ||
             byte == 0x7f)  // Latin-1 at worst: a log line is always valid JSON
      quoted += fmt::format("\\u{:04x}", byte);
    else
      quoted += each;
  }
  return quoted + '"';
}

std::string json_line(std::string_view message, LogLevel level) {
  constexpr const char* kNames[] = {"error", "warning", "info"};
  return fmt::format(R"({{"level":"{}","msg":{},"time":"{}"}})"
                     "\n",
                     kNames[static_cast<size_t>(level)], json_string(message), utc_now());
}
}  // namespace

// gmtime(3) would look for the host's time zone first, in a file: a jailed program that does so is killed.
std::string utc_now(bool fraction) {
  using namespace std::chrono;
  const time_point<system_clock, nanoseconds> now = system_clock::now();
  const auto day = floor<days>(now);
  const year_month_day date(day);
  const hh_mm_ss time(now - day);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                 time.hours().count(), time.minutes().count(), time.seconds().count());
  if (fraction) text += fmt::format(".{:09}", time.subseconds().count());
  return text + "Z";
}

void set_log_format(LogFormat format) { log_format = format; }

void set_log(int fd, const char* program) {
  log_fd = fd;
  log_program = program;
}

void log_line(std::string_view message, LogLevel level) {
  if (log_format == LogFormat::kJson)
    log_raw(json_line(message, level));
  else
    log_raw(fmt::format("{}: {}\n", log_program, message));
}

void log_raw(std::string_view lines) {
  if (log_fd < 0) return;
  iovec vec{const_cast<char*>(lines.data()), lines.size()};
  [[maybe_unused]] const ssize_t written = ::pwritev2(log_fd, &vec, 1, -1, 0);
}

void die(const char* file, int line, std::string_view message) {
  log("internal error at {}:{}: {}", file, line, message);
  ::_exit(kInternalFault);
}

}  // namespace sentry
