// Times are signed nanoseconds. Deadlines are of the host's CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>

namespace sentry {

using Nanoseconds = int64_t;
inline constexpr Nanoseconds kSecond = 1'000'000'000;
inline constexpr Nanoseconds kMillisecond = 1'000'000;

// A point on CLOCK_MONOTONIC, or never.
using Deadline = std::optional<Nanoseconds>;

inline Nanoseconds read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<Nanoseconds>(now.tv_sec) * kSecond + now.tv_nsec;
}
inline Nanoseconds monotonic_now() { return read_clock(CLOCK_MONOTONIC); }
inline timespec to_timespec(Nanoseconds value) {
  timespec time{};
  time.tv_sec = value / kSecond;
  time.tv_nsec = value % kSecond;
  return time;
}

}  // namespace sentry
