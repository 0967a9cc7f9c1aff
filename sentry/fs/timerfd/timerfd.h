// timerfd_create(2): a timer that is read.
#pragma once

#include "sentry/base/event_loop.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::timerfd {

class TimerFile final : public vfs::File {
 public:
  TimerFile(vfs::InodeRef inode, int flags, clockid_t clock);

  // Times in nanoseconds; value 0: disarmed.
  struct Setting {
    Nanoseconds interval = 0;
    Nanoseconds value = 0;
  };
  // The time to the next expiration, and the interval.
  Setting get();
  // timerfd_settime(2): `flags` are TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET. Answers the setting
  // before.
  Setting set(int flags, const Setting& setting);

  // Eight bytes: expirations since the last read.
  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Events poll() override;
  WaitQueue* wait_queue() override { return &queue_; }
  std::string fdinfo() override;

 private:
  void expired();
  // Counts the periods that have passed since the timer rang and sets it again. It rings once until somebody
  // looks: a short interval alone costs nothing.
  void catch_up();

  const clockid_t clock_;
  int set_flags_ = 0;
  Nanoseconds interval_ = 0;
  Nanoseconds next_ = 0;  // CLOCK_MONOTONIC; 0: disarmed, or a single shot that has rung
  uint64_t expirations_ = 0;
  bool rung_ = false;
  Timer timer_;
  WaitQueue queue_;
};

// `flags`: TFD_NONBLOCK. EINVAL for clocks that have no timers.
Result<vfs::FileRef> make_timerfd(clockid_t clock, int flags, const vfs::CredentialsRef& owner);

}  // namespace sentry::fs::timerfd
