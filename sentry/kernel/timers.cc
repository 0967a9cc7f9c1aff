#include "sentry/kernel/timers.h"

#include <sys/time.h>

#include <algorithm>
#include <cstring>

#include "sentry/kernel/kernel.h"

namespace sentry::kernel {

Nanoseconds process_cpu_time(const ThreadGroup& group) {
  Nanoseconds sum = static_cast<Nanoseconds>(group.usage.ru_utime.tv_sec) * kSecond +
                    static_cast<Nanoseconds>(group.usage.ru_utime.tv_usec) * 1000;
  for (const Task* task : group.tasks) sum += task->cpu_time();
  return sum;
}

Result<Nanoseconds> read_guest_clock(Task& task, int clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_TAI: return read_clock(clock == CLOCK_REALTIME_ALARM ? CLOCK_REALTIME : clock);
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
      return read_clock(clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock);
    case CLOCK_PROCESS_CPUTIME_ID: return process_cpu_time(*task.group);
    case CLOCK_THREAD_CPUTIME_ID: return task.cpu_time();
    default: break;
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
  one.deadline = value.remaining == 0 ? 0 : value.remaining > INT64_MAX - start ? INT64_MAX : start + value.remaining;
  if (one.deadline != 0) schedule(which);
}

void IntervalTimers::schedule(int which) {
  One& one = timers_[static_cast<size_t>(which)];
  if (which == ITIMER_REAL) {
    one.timer->arm(one.deadline);
    return;
  }
  // CPU time passes at most as fast as all threads running: look again when it could have come, not more than 1 kHz.
  const auto threads = static_cast<Nanoseconds>(std::clamp<size_t>(group_.tasks.size(), 1, group_.kernel.cpus));
  const Nanoseconds rest = std::max<Nanoseconds>((one.deadline - now(which)) / threads, kMillisecond);
  one.timer->arm(monotonic_now() + rest);
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
    one.deadline += (missed + 1) * one.interval;
    schedule(which);
  } else {
    one.deadline = 0;
  }
  group_.send(make_signal(kSignal[which], SI_KERNEL));
}

void arm_posix_timer(ThreadGroup& group, PosixTimer& timer, Nanoseconds deadline, Nanoseconds interval) {
  timer.interval = interval;
  timer.deadline = deadline;
  if (timer.timer == nullptr) {
    PosixTimer* raw = &timer;
    timer.timer = std::make_unique<Timer>(group.kernel.loop, [&group, raw] {
      const Nanoseconds now = monotonic_now();
      raw->overrun = 0;
      if (raw->interval > 0) {
        const Nanoseconds missed = (now - raw->deadline) / raw->interval;
        raw->overrun = static_cast<int>(std::min<Nanoseconds>(missed, INT32_MAX));
        raw->deadline += (missed + 1) * raw->interval;
        raw->timer->arm(raw->deadline);
      } else {
        raw->deadline = 0;
      }
      if (raw->event.sigev_notify == SIGEV_NONE) return;
      SignalInfo info = make_signal(raw->event.sigev_signo, SI_TIMER);
      info.si_timerid = raw->id;
      info.si_overrun = raw->overrun;
      info.si_value = raw->event.sigev_value;
      if (raw->event.sigev_notify == SIGEV_THREAD_ID) {
        Task* task = group.kernel.find_task(raw->thread);
        if (task != nullptr && task->group.get() == &group) task->send(info);
      } else {
        group.send(info);
      }
    });
  }
  timer.timer->disarm();
  if (deadline != 0) timer.timer->arm(deadline);
}

}  // namespace sentry::kernel
