#include "sentry/fs/timerfd/timerfd.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <limits>

namespace sentry::fs::timerfd {
namespace {

constexpr Nanoseconds kForever = std::numeric_limits<Nanoseconds>::max();

Nanoseconds add(Nanoseconds time, Nanoseconds duration) {
  return duration > kForever - time ? kForever : time + duration;
}

// How far the clock is ahead of CLOCK_MONOTONIC.
Nanoseconds ahead_of_monotonic(clockid_t clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM:
      return read_clock(CLOCK_REALTIME) - monotonic_now();
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
      return read_clock(CLOCK_BOOTTIME) - monotonic_now();
    default:
      return 0;
  }
}

}  // namespace

TimerFile::TimerFile(vfs::InodeRef inode, int flags, clockid_t clock)
    : File({}, std::move(inode), flags), clock_(clock), timer_(EventLoop::current(), [this] { expired(); }) {}

void TimerFile::expired() {
  rung_ = true;
  ++expirations_;
  if (interval_ == 0) next_ = 0;
  queue_.wake(EPOLLIN);
}

void TimerFile::catch_up() {
  if (!rung_) return;
  rung_ = false;
  if (interval_ == 0) return;
  const Nanoseconds passed = (monotonic_now() - next_) / interval_;  // whole periods after the one that rang
  expirations_ += static_cast<uint64_t>(passed);
  next_ = add(next_ + passed * interval_, interval_);
  timer_.arm(next_);
}

TimerFile::Setting TimerFile::get() {
  catch_up();
  // An armed timer never shows 0.
  return {interval_, next_ == 0 ? 0 : std::max<Nanoseconds>(1, next_ - monotonic_now())};
}

TimerFile::Setting TimerFile::set(int flags, const Setting& setting) {
  const Setting before = get();
  timer_.disarm();
  set_flags_ = flags;
  interval_ = setting.interval;
  next_ = 0;
  expirations_ = 0;
  rung_ = false;
  if (setting.value == 0) return before;
  const Nanoseconds now = monotonic_now();
  if ((flags & TFD_TIMER_ABSTIME) != 0)
    next_ = std::max<Nanoseconds>(1, setting.value - std::min(setting.value, ahead_of_monotonic(clock_)));
  else
    next_ = add(now, setting.value);
  if (next_ <= now)
    expired();
  else
    timer_.arm(next_);
  return before;
}

Result<size_t> TimerFile::read(mm::Sink& sink, const IoOptions& options) {
  if (sink.remaining() < sizeof expirations_) return Errno(EINVAL);
  if (expirations_ == 0) {
    if (options.nonblocking || nonblocking()) return Errno(EAGAIN);
    TRY(wait_until(queue_, EPOLLIN, [&] { return expirations_ != 0; }));
  }
  catch_up();
  const uint64_t count = std::exchange(expirations_, 0);
  if (TRY(sink.put(&count, sizeof count)) != sizeof count) return Errno(EFAULT);
  return sizeof count;
}

Events TimerFile::poll() { return expirations_ != 0 ? Events{EPOLLIN} : 0; }

std::string TimerFile::fdinfo() {
  const timespec value = to_timespec(next_ == 0 ? 0 : std::max<Nanoseconds>(0, next_ - monotonic_now()));
  const timespec interval = to_timespec(interval_);
  return fmt::format(
      "clockid: {}\nticks: {}\nsettime flags: 0{:o}\nit_value: ({}, {})\nit_interval: ({}, {})\n", clock_,
      expirations_, set_flags_, value.tv_sec, value.tv_nsec, interval.tv_sec, interval.tv_nsec);
}

Result<vfs::FileRef> make_timerfd(clockid_t clock, int flags, const vfs::CredentialsRef& owner) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
      break;
    default:
      return Errno(EINVAL);
  }
  return vfs::FileRef(
      std::make_shared<TimerFile>(vfs::make_anonymous_inode(0600, "anon_inode:[timerfd]", owner),
                                  O_RDWR | (flags & TFD_NONBLOCK), clock));
}

}  // namespace sentry::fs::timerfd
