// The operator's errors: a message that says what was wrong, where, and what to do, and the exit status that
// `bulkhead` ends with. The guest's errors are the sentry's business.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "oci/outcome.h"
#include "sentry/base/result.h"

namespace runtime {

// Exit statuses of `bulkhead do` and `bulkhead run` that are not the program's own; as timeout(1), env(1) and
// sh(1) use them.
inline constexpr int kStatusTimeout = 124;        // --timeout ran out
inline constexpr int kStatusFailure = 125;        // bulkhead itself failed
inline constexpr int kStatusNotExecutable = 126;  // the program is there but cannot be run
inline constexpr int kStatusNotFound = 127;       // there is no such program
inline constexpr int kStatusSignal = 128;         // plus the signal that ended the program

struct Failure {
  std::string message;
  int status = kStatusFailure;
};

template <typename T = void>
using Outcome = oci::Outcome<T, Failure>;

template <typename... Args>
Failure failure(fmt::format_string<Args...> format, Args&&... args) {
  return Failure{fmt::format(format, std::forward<Args>(args)...)};
}

// A failed system call: the message, then the errno in words. `error` is a positive errno.
template <typename... Args>
Failure system_failure(int error, fmt::format_string<Args...> format, Args&&... args) {
  return Failure{
      fmt::format("{}: {}", fmt::format(format, std::forward<Args>(args)...), strerrordesc_np(error))};
}

// A failure with what to do about it behind it.
inline Failure with_advice(Failure failed, std::string_view advice) {
  failed.message += fmt::format(" ({})", advice);
  return failed;
}

// Standard output's end: what was printed has been written, or a message says why not. The status to exit
// with.
int finish_output();

// Prints "bulkhead: MESSAGE" on standard error and returns the status to exit with.
int report(const Failure& failed);

}  // namespace runtime
