#include "sentry/kernel/timers.h"

#include <sys/time.h>

#include <algorithm>
#include <cstring>

#include "sentry/kernel/kernel.h"

namespace sentry::kernel {
namespace {

// Timers do not fire more often than this, Linux's timer slack: shorter periods show as overruns.
constexpr Nanoseconds kShortestPeriod = 50'000;

Nanoseconds advance(Nanoseconds time, Nanoseconds duration) {
  return duration > INT64_MAX - time ? INT64_MAX : time + duration;
}

}  // namespace

Nanoseconds process_cpu_time(const ThreadGroup& group) {
  Nanoseconds sum = to_nanoseconds(group.usage.ru_utime) + to_nanoseconds(group.usage.ru_stime);
  for (const Task* task : group.tasks) sum += task->cpu_time();
  return sum;
}

Result<Nanoseconds> read_guest_clock(Task& task, int clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_TAI:
      return read_clock(clock == CLOCK_REALTIME_ALARM ? CLOCK_REALTIME : clock);
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
      return read_clock(clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock);
    case CLOCK_PROCESS_CPUTIME_ID:
      return process_cpu_time(*task.group);
    case CLOCK_THREAD_CPUTIME_ID:
      return task.cpu_time();
    default:
      break;
  }
  if (clock >= 0) return Errno(EINVAL);
  // ~pid << 3 | per-thread << 2 | which: include/linux/posix-timers.h.
  const pid_t id = static_cast<pid_t>(~(clock >> 3));
  const bool thread = (clock & 4) != 0;
  if ((clock & 3) == 3) return Errno(EINVAL);
  if (thread) {
    Task* other = id == 0 ? &task : task.kernel.find_task(id);
    if (other == nullptr || other->group != task.group) return Errno(EINVAL);
    return other->cpu_time();
  }
  ThreadGroup* group = id == 0 ? task.group.get() : task.kernel.find_group(id);
  if (group == nullptr) return Errno(EINVAL);
  return process_cpu_time(*group);
}

Result<Nanoseconds> monotonic_deadline(Task& task, int clock, Nanoseconds deadline) {
  const Nanoseconds now = TRY(read_guest_clock(task, clock));
  if (clock == CLOCK_MONOTONIC) return deadline;
  const Nanoseconds mono = monotonic_now();
  if (deadline <= now) return mono;
  if (deadline - now > INT64_MAX - mono) return INT64_MAX;
  return mono + (deadline - now);
}

CpuLimit::CpuLimit(ThreadGroup& group) : group_(group), timer_(group.kernel.loop, [this] { look(); }) {
  update();
}

void CpuLimit::update() {
  const rlimit& limit = group_.limits[RLIMIT_CPU];
  timer_.disarm();
  if (limit.rlim_cur == RLIM_INFINITY && limit.rlim_max == RLIM_INFINITY) return;
  next_signal_ =
      limit.rlim_cur > INT64_MAX / kSecond ? INT64_MAX : static_cast<Nanoseconds>(limit.rlim_cur) * kSecond;
  look();
}

void CpuLimit::look() {
  const rlimit& limit = group_.limits[RLIMIT_CPU];
  const Nanoseconds spent = process_cpu_time(group_);
  const Nanoseconds hard =
      limit.rlim_max > INT64_MAX / kSecond ? INT64_MAX : static_cast<Nanoseconds>(limit.rlim_max) * kSecond;
  if (spent >= hard) {
    group_.send(make_signal(SIGKILL));
    return;
  }
  if (spent >= next_signal_) {
    group_.send(make_signal(SIGXCPU));
    next_signal_ += kSecond;
  }
  // CPU time passes at most as fast as all threads running.
  const auto threads =
      static_cast<Nanoseconds>(std::clamp<size_t>(group_.tasks.size(), 1, group_.kernel.cpus));
  const Nanoseconds rest = (std::min(next_signal_, hard) - spent) / threads;
  timer_.arm(advance(monotonic_now(), std::max(rest, 10 * kMillisecond)));
}

IntervalTimers::IntervalTimers(ThreadGroup& group) : group_(group) {
  for (int which = 0; which < 3; ++which)
    timers_[static_cast<size_t>(which)].timer =
        std::make_unique<Timer>(group.kernel.loop, [this, which] { expired(which); });
}

Nanoseconds IntervalTimers::now(int which) const {
  return which == ITIMER_REAL ? monotonic_now() : process_cpu_time(group_);
}

IntervalTimers::Value IntervalTimers::get(int which) const {
  const One& one = timers_[static_cast<size_t>(which)];
  if (one.deadline == 0) return {0, one.interval};
  return {std::max<Nanoseconds>(one.deadline - now(which), 1000), one.interval};
}

void IntervalTimers::set(int which, const Value& value) {
  One& one = timers_[static_cast<size_t>(which)];
  one.timer->disarm();
  one.interval = value.interval;
  const Nanoseconds start = now(which);
  one.deadline = value.remaining == 0                  ? 0
                 : value.remaining > INT64_MAX - start ? INT64_MAX
                                                       : start + value.remaining;
  if (one.deadline != 0) schedule(which);
}

void IntervalTimers::schedule(int which) {
  One& one = timers_[static_cast<size_t>(which)];
  if (which == ITIMER_REAL) {
    one.timer->arm(one.interval > 0 ? std::max(one.deadline, monotonic_now() + kShortestPeriod)
                                    : one.deadline);
    return;
  }
  // CPU time passes at most as fast as all threads running: look again when it could have come, not more than
  // 1 kHz.
  const auto threads =
      static_cast<Nanoseconds>(std::clamp<size_t>(group_.tasks.size(), 1, group_.kernel.cpus));
  const Nanoseconds rest = std::max<Nanoseconds>((one.deadline - now(which)) / threads, kMillisecond);
  one.timer->arm(advance(monotonic_now(), rest));
}

void IntervalTimers::expired(int which) {
  static constexpr int kSignal[] = {SIGALRM, SIGVTALRM, SIGPROF};
  One& one = timers_[static_cast<size_t>(which)];
  const Nanoseconds time = now(which);
  if (time < one.deadline) {
    schedule(which);
    return;
  }
  if (one.interval > 0) {
    const Nanoseconds missed = (time - one.deadline) / one.interval;
    one.deadline = advance(one.deadline + missed * one.interval, one.interval);
    schedule(which);
  } else {
    one.deadline = 0;
  }
  group_.send(make_signal(kSignal[which], SI_KERNEL));
}

namespace {

// What a timer's signal waits in: the thread's own queue, or the process's. Null where the thread has gone.
SignalQueue* target_queue(const ThreadGroup& group, const PosixTimer& timer) {
  if (timer.event.sigev_notify != SIGEV_THREAD_ID) return &const_cast<ThreadGroup&>(group).pending;
  Task* task = group.kernel.find_task(timer.thread);
  return task != nullptr && task->group.get() == &group ? &task->pending : nullptr;
}

SignalInfo* pending_signal(const ThreadGroup& group, const PosixTimer& timer) {
  SignalQueue* queue = target_queue(group, timer);
  return queue == nullptr ? nullptr : queue->find_timer(timer.id);
}

void announce(ThreadGroup& group, PosixTimer& timer, int missed) {
  if (timer.event.sigev_notify == SIGEV_NONE) return;
  if (SignalInfo* queued = pending_signal(group, timer)) {
    timer.overrun += std::min(missed, INT32_MAX - 1 - timer.overrun) + 1;  // DELAYTIMER_MAX is INT_MAX
    queued->si_overrun = timer.overrun;
    return;
  }
  timer.delivered_overrun = timer.overrun;
  timer.overrun = missed;
  SignalInfo info = make_signal(timer.event.sigev_signo, SI_TIMER);
  info.si_timerid = timer.id;
  info.si_overrun = missed;
  info.si_value = timer.event.sigev_value;
  if (timer.event.sigev_notify != SIGEV_THREAD_ID) {
    group.send(info);
  } else if (Task* task = group.kernel.find_task(timer.thread);
             task != nullptr && task->group.get() == &group) {
    task->send(info);
  }
}

void schedule(ThreadGroup& group, PosixTimer& timer) {
  const Result<Nanoseconds> now = posix_timer_now(group, timer);
  if (!now.ok()) {
    timer.deadline = 0;  // its clock has stopped for good
    return;
  }
  const bool cpu =
      timer.clock < 0 || timer.clock == CLOCK_PROCESS_CPUTIME_ID || timer.clock == CLOCK_THREAD_CPUTIME_ID;
  Nanoseconds rest = std::max<Nanoseconds>(timer.deadline - *now, 0);
  // A CPU clock is asked again when the time could have come, and not more than a thousand times a second.
  if (cpu) rest = std::max<Nanoseconds>(rest / std::max<Nanoseconds>(group.kernel.cpus, 1), kMillisecond);
  if (timer.interval > 0) rest = std::max(rest, kShortestPeriod);
  timer.timer->arm(advance(monotonic_now(), rest));
}

void posix_timer_expired(ThreadGroup& group, PosixTimer& timer) {
  const Result<Nanoseconds> now = posix_timer_now(group, timer);
  if (!now.ok() || *now < timer.deadline) {
    schedule(group, timer);  // not yet, or never
    return;
  }
  Nanoseconds missed = 0;
  if (timer.interval > 0) {
    missed = (*now - timer.deadline) / timer.interval;
    timer.deadline = advance(timer.deadline + missed * timer.interval, timer.interval);
    schedule(group, timer);
  } else {
    timer.deadline = 0;
  }
  announce(group, timer, static_cast<int>(std::min<Nanoseconds>(missed, INT32_MAX - 1)));
}

}  // namespace

Result<Nanoseconds> posix_timer_now(const ThreadGroup& group, const PosixTimer& timer) {
  if (timer.clock == CLOCK_PROCESS_CPUTIME_ID) return process_cpu_time(group);
  Task* task =
      timer.clock == CLOCK_THREAD_CPUTIME_ID ? group.kernel.find_task(timer.creator) : group.any_task();
  if (task == nullptr || task->group.get() != &group) return Errno(EINVAL);
  return read_guest_clock(*task, timer.clock);
}

int posix_timer_overrun(const ThreadGroup& group, const PosixTimer& timer) {
  return pending_signal(group, timer) != nullptr ? timer.delivered_overrun : timer.overrun;
}

void arm_posix_timer(ThreadGroup& group, PosixTimer& timer, Nanoseconds deadline, Nanoseconds interval) {
  timer.interval = interval;
  timer.deadline = deadline;
  if (timer.timer == nullptr) {
    PosixTimer* raw = &timer;
    timer.timer =
        std::make_unique<Timer>(group.kernel.loop, [&group, raw] { posix_timer_expired(group, *raw); });
  }
  timer.timer->disarm();
  if (deadline != 0) schedule(group, timer);
}

}  // namespace sentry::kernel
