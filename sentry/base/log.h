// The jailed programs' log: one line a message to one inherited descriptor, and the end of the sandbox when
// an invariant of ours breaks.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace sentry {

// Where messages go; a host descriptor that stays open, or -1 for none. Default: 2.
void set_log(int fd, const char* program);

// How a line looks: "PROGRAM: MESSAGE", or an object with level, msg and time as container engines read it.
enum class LogFormat { kText, kJson };
void set_log_format(LogFormat format);
enum class LogLevel { kError, kWarning, kInfo };

// Writes one line. Losing a message (full pipe, closed descriptor) is not an error.
void log_line(std::string_view message, LogLevel level = LogLevel::kError);

// The same without the program's name in front: text that is lines already (--strace).
void log_raw(std::string_view lines);

// The time as RFC 3339 has it: 2026-02-03T04:05:06Z, or with nine digits of a fraction.
std::string utc_now(bool fraction = false);

template <typename... Args>
void log(fmt::format_string<Args...> format, Args&&... args) {
  log_line(fmt::format(format, std::forward<Args>(args)...));
}

// Ends this process loudly: message, then SIGABRT by _exit(kInternalFault) where signals are not available.
[[noreturn]] void die(const char* file, int line, std::string_view message);

// Exit status of a jailed program whose own invariant broke.
inline constexpr int kInternalFault = 70;  // EX_SOFTWARE, sysexits.h

}  // namespace sentry

// Our own invariant: if it does not hold the sandbox dies, loudly and alone.
#define BULKHEAD_CHECK(condition, ...)                                \
  do {                                                                \
    if (!(condition)) [[unlikely]]                                    \
      ::sentry::die(__FILE__, __LINE__, fmt::format("" __VA_ARGS__)); \
  } while (0)
