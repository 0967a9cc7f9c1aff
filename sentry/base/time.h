// Times are signed nanoseconds. Deadlines are of the host's CLOCK_MONOTONIC.
#pragma once

#include <sys/time.h>

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
inline timeval to_timeval(Nanoseconds value) {
  timeval time{};
  time.tv_sec = value / kSecond;
  time.tv_usec = value % kSecond / 1000;
  return time;
}
inline Nanoseconds to_nanoseconds(const timeval& time) {
  return static_cast<Nanoseconds>(time.tv_sec) * kSecond + static_cast<Nanoseconds>(time.tv_usec) * 1000;
}
inline void add_time(timeval& sum, const timeval& more) {
  sum = to_timeval(to_nanoseconds(sum) + to_nanoseconds(more));
}

}  // namespace sentry
