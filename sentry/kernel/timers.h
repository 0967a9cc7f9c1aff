// Timers that send signals: setitimer(2), timer_create(2).
#pragma once

#include <array>
#include <csignal>
#include <map>
#include <memory>

#include "sentry/base/event_loop.h"
#include "sentry/kernel/task.h"

namespace sentry::kernel {

// Nanoseconds of a clock as the guest sees it; EINVAL for one that does not exist. CPU clocks are those of
// `task`, its process, or, encoded as in clock_getcpuclockid(3), another's.
Result<Nanoseconds> read_guest_clock(Task& task, int clock);
// CPU time of all the threads that a process has had.
Nanoseconds process_cpu_time(const ThreadGroup& group);
// When a deadline on a guest clock will have come, on the host's CLOCK_MONOTONIC (an estimate for CPU
// clocks).
Result<Nanoseconds> monotonic_deadline(Task& task, int clock, Nanoseconds deadline);

class IntervalTimers {
 public:
  explicit IntervalTimers(ThreadGroup& group);
  struct Value {
    Nanoseconds remaining = 0, interval = 0;
  };
  // `which` is ITIMER_REAL, ITIMER_VIRTUAL or ITIMER_PROF.
  Value get(int which) const;
  void set(int which, const Value& value);

 private:
  struct One {
    std::unique_ptr<Timer> timer;
    Nanoseconds deadline = 0;  // on the timer's own clock; 0: disarmed
    Nanoseconds interval = 0;
  };
  Nanoseconds now(int which) const;
  void schedule(int which);
  void expired(int which);
  ThreadGroup& group_;
  std::array<One, 3> timers_;
};

// RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
class CpuLimit {
 public:
  explicit CpuLimit(ThreadGroup& group);
  // The limit has changed.
  void update();

 private:
  void look();
  ThreadGroup& group_;
  Timer timer_;
  Nanoseconds next_signal_ = 0;
};

struct PosixTimer {
  int id = 0;
  int clock = 0;
  pid_t creator = 0;  // the thread that CLOCK_THREAD_CPUTIME_ID means
  sigevent event{};
  pid_t thread = 0;  // SIGEV_THREAD_ID
  std::unique_ptr<Timer> timer;
  Nanoseconds deadline = 0;  // on the timer's own clock; 0: disarmed
  Nanoseconds interval = 0;
  int overrun = 0;            // of the signal that was queued last
  int delivered_overrun = 0;  // of the one before
};

struct PosixTimers {
  std::map<int, std::unique_ptr<PosixTimer>> timers;
  int next = 0;
};

// Arms at a moment of the timer's own clock, or disarms (0); the group gets its signal at each expiry. There
// is one signal at a time: expiries that find it still pending are its overruns, timer_getoverrun(2).
void arm_posix_timer(ThreadGroup& group, PosixTimer& timer, Nanoseconds deadline, Nanoseconds interval);
// What the timer's clock shows. EINVAL where it went with its thread.
Result<Nanoseconds> posix_timer_now(const ThreadGroup& group, const PosixTimer& timer);
// Of the signal that was delivered last.
int posix_timer_overrun(const ThreadGroup& group, const PosixTimer& timer);

}  // namespace sentry::kernel
