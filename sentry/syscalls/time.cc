// Clocks, sleeping, timers that send signals.
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timers.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

using kernel::IntervalTimers;
using kernel::PosixTimer;

constexpr Nanoseconds kForever = std::numeric_limits<Nanoseconds>::max();

constexpr FlagName kIntervalTimerNames[] = {{ITIMER_VIRTUAL, "ITIMER_VIRTUAL"},
                                            {ITIMER_PROF, "ITIMER_PROF"},
                                            {ITIMER_REAL, "ITIMER_REAL"},
                                            {0, nullptr}};
using Clock = Choice<kClockNames>;

// EINVAL for what is no time; a time beyond what Nanoseconds hold is the last moment they do.
Result<Nanoseconds> to_nanoseconds(const timespec& time) {
  if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
  if (time.tv_sec >= kForever / kSecond) return kForever;
  return time.tv_sec * kSecond + time.tv_nsec;
}
Result<Nanoseconds> to_nanoseconds(const timeval& time) {
  if (time.tv_usec < 0 || time.tv_usec >= 1'000'000) return Errno(EINVAL);
  return to_nanoseconds(timespec{time.tv_sec, time.tv_usec * 1000});
}
timeval to_timeval(Nanoseconds value) {
  const timespec time = to_timespec(value);
  return {time.tv_sec, time.tv_nsec / 1000};
}

Nanoseconds add(Nanoseconds time, Nanoseconds duration) {
  return duration > kForever - time ? kForever : time + duration;
}

bool is_cpu_clock(int clock) {
  return clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
}
bool is_alarm_clock(int clock) { return clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM; }
// The coarse clocks tick with the host's jiffies and CLOCK_MONOTONIC_RAW is not slewed: nothing can be timed
// by them.
bool is_read_only_clock(int clock) {
  return clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE;
}

// ---- clocks

Result<> sys_clock_gettime(Task& task, Clock clock, GuestPtr<timespec> out) {
  return task.memory().write(out, to_timespec(TRY(kernel::read_guest_clock(task, clock))));
}

Result<> sys_clock_getres(Task& task, Clock clock, GuestPtr<timespec> out) {
  TRY(kernel::read_guest_clock(task, clock));
  constexpr Nanoseconds kTick = 4 * kMillisecond;  // HZ=250, as Debian's kernels have it
  const bool coarse = clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE;
  if (out) TRY(task.memory().write(out, to_timespec(coarse ? kTick : 1)));
  return {};
}

// The clocks are the host's, for every sandbox: setting one is refused as if CAP_SYS_TIME were missing.
Result<> sys_clock_settime(Task& task, Clock clock, GuestPtr<const timespec> in) {
  if (clock != CLOCK_REALTIME && !is_cpu_clock(clock)) return Errno(EINVAL);
  TRY(kernel::read_guest_clock(task, clock));
  TRY(to_nanoseconds(TRY(task.memory().read(in))));
  return Errno(EPERM);
}

struct TimeZone {
  int32_t minutes_west, daylight_saving;
};

Result<> sys_gettimeofday(Task& task, GuestPtr<timeval> out, GuestPtr<TimeZone> zone) {
  if (out) TRY(task.memory().write(out, to_timeval(read_clock(CLOCK_REALTIME))));
  if (zone) TRY(task.memory().write(zone, TimeZone{0, 0}));
  return {};
}

Result<> sys_settimeofday(Task& task, GuestPtr<const timeval> in, GuestPtr<const TimeZone> zone) {
  if (in) TRY(to_nanoseconds(TRY(task.memory().read(in))));
  if (zone) TRY(task.memory().read(zone));
  return Errno(EPERM);
}

Result<time_t> sys_time(Task& task, GuestPtr<time_t> out) {
  const time_t now = read_clock(CLOCK_REALTIME) / kSecond;
  if (out) TRY(task.memory().write(out, now));
  return now;
}

// adjtimex(2): reading is free; the host disciplines its clock, and tells nobody here how well.
Result<int> adjust(Task& task, GuestPtr<timex> place) {
  const timex wanted = TRY(task.memory().read(place));
  const bool read_only = wanted.modes == 0 || wanted.modes == ADJ_OFFSET_SS_READ;
  if (!read_only) return Errno(EPERM);
  timex now{};
  now.modes = wanted.modes;
  now.status = STA_UNSYNC;
  now.maxerror = now.esterror = 16'000'000;  // µs: NTP_PHASE_LIMIT, the value of a clock that nobody has set
  now.constant = 2;
  now.precision = 1;
  now.tolerance = 32'768'000;  // 500 ppm, scaled by 2^16
  now.tick = 10'000;
  now.time = to_timeval(read_clock(CLOCK_REALTIME));
  TRY(task.memory().write(place, now));
  return TIME_ERROR;
}

Result<int> sys_adjtimex(Task& task, GuestPtr<timex> place) { return adjust(task, place); }

Result<int> sys_clock_adjtime(Task& task, Clock clock, GuestPtr<timex> place) {
  TRY(task.memory().read(place));
  if (clock != CLOCK_REALTIME) {
    TRY(kernel::read_guest_clock(task, clock));
    return Errno(EOPNOTSUPP);
  }
  return adjust(task, place);
}

// ---- sleeping

// When to look at a guest clock again that shall show `deadline`, on the host's CLOCK_MONOTONIC. A CPU clock
// advances at most as fast as all the process's threads together, and is not looked at more than a thousand
// times a second.
Result<Nanoseconds> next_look(Task& task, int clock, Nanoseconds deadline) {
  if (!is_cpu_clock(clock)) return kernel::monotonic_deadline(task, clock, deadline);
  const Nanoseconds left = deadline - TRY(kernel::read_guest_clock(task, clock));
  return add(monotonic_now(), std::max(left / std::max<Nanoseconds>(task.kernel.cpus, 1), kMillisecond));
}

// Until the clock shows `deadline`. ERESTARTSYS.
Result<> sleep_until(Task& task, int clock, Nanoseconds deadline) {
  while (TRY(kernel::read_guest_clock(task, clock)) < deadline) {
    const Result<> parked = park_interruptible(TRY(next_look(task, clock, deadline)));
    if (!parked.ok() && !parked.is(ETIMEDOUT)) return parked;
  }
  return {};
}

// A relative sleep that ends when `clock` shows `deadline`. A signal that is handled ends it with EINTR; one
// that is not lets it go on to the same moment (restart_syscall(2)). `left`, if there is one, then holds the
// time not slept.
Result<> sleep_to(Task& task, int clock, Nanoseconds deadline, GuestPtr<timespec> left) {
  const Result<> slept = sleep_until(task, clock, deadline);
  if (!slept.is(kErestartSys)) return slept;
  const Nanoseconds rest = deadline - TRY(kernel::read_guest_clock(task, clock));
  if (rest <= 0) return {};
  if (left) TRY(task.memory().write(left, to_timespec(rest)));
  task.restart = [clock, deadline, left](Task& again) -> Result<uint64_t> {
    TRY(sleep_to(again, clock, deadline, left));
    return uint64_t{0};
  };
  return Errno(kErestartRestartblock);
}

Result<> sys_nanosleep(Task& task, GuestPtr<const timespec> duration, GuestPtr<timespec> left) {
  const Nanoseconds time = TRY(to_nanoseconds(TRY(task.memory().read(duration))));
  return sleep_to(task, CLOCK_MONOTONIC, add(monotonic_now(), time), left);
}

Result<> sys_clock_nanosleep(Task& task, Clock clock, Flags<kTimerSetNames> flags,
                             GuestPtr<const timespec> when, GuestPtr<timespec> left) {
  const Nanoseconds now = TRY(kernel::read_guest_clock(task, clock));
  if (is_read_only_clock(clock) || clock == CLOCK_THREAD_CPUTIME_ID) return Errno(EOPNOTSUPP);
  const Nanoseconds time = TRY(to_nanoseconds(TRY(task.memory().read(when))));
  // One's own thread cannot use up the time that it waits for.
  constexpr int kPerThread = 4;
  if (clock < 0 && (clock & kPerThread) != 0) {
    const pid_t id = static_cast<pid_t>(~(clock >> 3));
    if (id == 0 || id == task.tid) return Errno(EINVAL);
  }
  if (is_alarm_clock(clock) && !task.credentials->capable(CAP_WAKE_ALARM)) return Errno(EPERM);
  if ((flags & TIMER_ABSTIME) == 0) return sleep_to(task, clock, add(now, time), left);
  const Result<> slept = sleep_until(task, clock, time);
  return slept.is(kErestartSys) ? Errno(kErestartNoHand) : slept;
}

Result<uint64_t> sys_restart_syscall(Task& task) {
  const auto restart = std::exchange(task.restart, nullptr);
  if (!restart) return Errno(EINTR);
  return restart(task);
}

// ---- setitimer(2), alarm(2)

bool is_interval_timer(int which) {
  return which == ITIMER_REAL || which == ITIMER_VIRTUAL || which == ITIMER_PROF;
}

IntervalTimers& interval_timers(Task& task) {
  auto& timers = task.group->interval_timers;
  if (timers == nullptr) timers = std::make_unique<IntervalTimers>(*task.group);
  return *timers;
}

IntervalTimers::Value get_interval_timer(Task& task, int which) {
  return task.group->interval_timers == nullptr ? IntervalTimers::Value{}
                                                : task.group->interval_timers->get(which);
}

itimerval to_itimerval(const IntervalTimers::Value& value) {
  return {to_timeval(value.interval), to_timeval(value.remaining)};
}

Result<> sys_getitimer(Task& task, Choice<kIntervalTimerNames> which, GuestPtr<itimerval> out) {
  if (!is_interval_timer(which)) return Errno(EINVAL);
  return task.memory().write(out, to_itimerval(get_interval_timer(task, which)));
}

Result<> sys_setitimer(Task& task, Choice<kIntervalTimerNames> which, GuestPtr<const itimerval> in,
                       GuestPtr<itimerval> out) {
  IntervalTimers::Value value;  // no new value at all disarms: Linux's own extension, setitimer(2) BUGS
  if (in) {
    const itimerval wanted = TRY(task.memory().read(in));
    value.remaining = TRY(to_nanoseconds(wanted.it_value));
    value.interval = TRY(to_nanoseconds(wanted.it_interval));
    if (value.remaining == 0) value.interval = 0;
  }
  if (!is_interval_timer(which)) return Errno(EINVAL);
  const itimerval old = to_itimerval(get_interval_timer(task, which));
  if (value.remaining != 0 || task.group->interval_timers != nullptr) interval_timers(task).set(which, value);
  if (out) TRY(task.memory().write(out, old));
  return {};
}

Result<unsigned> sys_alarm(Task& task, unsigned seconds) {
  const Nanoseconds left = get_interval_timer(task, ITIMER_REAL).remaining;
  if (seconds != 0 || task.group->interval_timers != nullptr)
    interval_timers(task).set(ITIMER_REAL, {static_cast<Nanoseconds>(seconds) * kSecond, 0});
  // To the nearest second, and not to 0 while there is one.
  const auto rounded = static_cast<unsigned>((left + kSecond / 2) / kSecond);
  return left == 0 ? 0 : std::max(rounded, 1u);
}

// ---- timer_create(2)

constexpr size_t kMaxTimers = 65'536;  // for a process, whatever RLIMIT_SIGPENDING says

kernel::PosixTimers& posix_timers(Task& task) {
  auto& timers = task.group->posix_timers;
  if (timers == nullptr) timers = std::make_unique<kernel::PosixTimers>();
  return *timers;
}

Result<PosixTimer*> find_timer(Task& task, int id) {
  if (task.group->posix_timers == nullptr) return Errno(EINVAL);
  auto& timers = task.group->posix_timers->timers;
  const auto found = timers.find(id);
  if (found == timers.end()) return Errno(EINVAL);
  return found->second.get();
}

// sigevent(7) of a timer, checked; `thread` is SIGEV_THREAD_ID's.
Result<> check_event(Task& task, const sigevent& event, pid_t& thread) {
  switch (event.sigev_notify) {
    case SIGEV_NONE:
      return {};
    case SIGEV_THREAD_ID: {
      thread = event._sigev_un._tid;
      const Task* target = task.kernel.find_task(thread);
      if (target == nullptr || target->group != task.group) return Errno(EINVAL);
      break;
    }
    case SIGEV_SIGNAL:
    case SIGEV_THREAD:
      break;  // to the kernel both are a signal to the process
    default:
      return Errno(EINVAL);
  }
  if (event.sigev_signo <= 0 || event.sigev_signo > kernel::kSignals) return Errno(EINVAL);
  return {};
}

Result<> sys_timer_create(Task& task, Clock clock, GuestPtr<const sigevent> event_place, GuestPtr<int> out) {
  sigevent event{};
  if (event_place) event = TRY(task.memory().read(event_place));
  TRY(kernel::read_guest_clock(task, clock));
  if (is_read_only_clock(clock)) return Errno(EOPNOTSUPP);
  kernel::PosixTimers& timers = posix_timers(task);
  if (timers.timers.size() >= std::min<uint64_t>(kMaxTimers, task.group->limit(RLIMIT_SIGPENDING)))
    return Errno(EAGAIN);
  while (timers.timers.contains(timers.next)) timers.next = timers.next == INT32_MAX ? 0 : timers.next + 1;
  const int id = timers.next;
  auto timer = std::make_unique<PosixTimer>();
  timer->id = id;
  timer->clock = clock;
  timer->creator = task.tid;
  if (event_place) {
    TRY(check_event(task, event, timer->thread));
  } else {
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    event.sigev_value.sival_int = id;
  }
  timer->event = event;
  if (is_alarm_clock(clock) && !task.credentials->capable(CAP_WAKE_ALARM)) return Errno(EPERM);
  TRY(task.memory().write(out, id));
  timers.timers.emplace(id, std::move(timer));
  timers.next = id == INT32_MAX ? 0 : id + 1;
  return {};
}

Result<itimerspec> timer_state(const Task& task, const PosixTimer& timer) {
  itimerspec state{};
  state.it_interval = to_timespec(timer.interval);
  if (timer.deadline == 0) return state;
  const Nanoseconds now = TRY(kernel::posix_timer_now(*task.group, timer));
  state.it_value = to_timespec(std::max<Nanoseconds>(timer.deadline - now, 1));
  return state;
}

Result<> sys_timer_settime(Task& task, int id, Flags<kTimerSetNames> flags, GuestPtr<const itimerspec> in,
                           GuestPtr<itimerspec> out) {
  if (!in) return Errno(EINVAL);
  const itimerspec wanted = TRY(task.memory().read(in));
  const Nanoseconds value = TRY(to_nanoseconds(wanted.it_value));
  const Nanoseconds interval = TRY(to_nanoseconds(wanted.it_interval));
  PosixTimer* timer = TRY(find_timer(task, id));
  const itimerspec old = TRY(timer_state(task, *timer));
  Nanoseconds deadline = value;
  if (value != 0 && (flags & TIMER_ABSTIME) == 0)
    deadline = add(TRY(kernel::posix_timer_now(*task.group, *timer)), value);
  timer->overrun = timer->delivered_overrun = 0;
  kernel::arm_posix_timer(*task.group, *timer, deadline, value == 0 ? 0 : interval);
  if (out) TRY(task.memory().write(out, old));
  return {};
}

Result<> sys_timer_gettime(Task& task, int id, GuestPtr<itimerspec> out) {
  return task.memory().write(out, TRY(timer_state(task, *TRY(find_timer(task, id)))));
}

Result<int> sys_timer_getoverrun(Task& task, int id) {
  return kernel::posix_timer_overrun(*task.group, *TRY(find_timer(task, id)));
}

Result<> sys_timer_delete(Task& task, int id) {
  TRY(find_timer(task, id));
  task.group->posix_timers->timers.erase(id);
  return {};
}

constexpr Entry kCalls[] = {
    COMPLETE(clock_gettime, sys_clock_gettime),
    COMPLETE(clock_getres, sys_clock_getres),
    PARTIAL(clock_settime, sys_clock_settime, "EPERM: the clocks are the host's"),
    COMPLETE(gettimeofday, sys_gettimeofday),
    PARTIAL(settimeofday, sys_settimeofday, "EPERM: the clocks are the host's"),
    COMPLETE(time, sys_time),
    PARTIAL(adjtimex, sys_adjtimex, "reads only, and shows a clock that nobody synchronizes"),
    PARTIAL(clock_adjtime, sys_clock_adjtime, "reads only, and shows a clock that nobody synchronizes"),
    COMPLETE(nanosleep, sys_nanosleep),
    PARTIAL(clock_nanosleep, sys_clock_nanosleep,
            "a step of the host's CLOCK_REALTIME does not end a sleep early"),
    COMPLETE(restart_syscall, sys_restart_syscall),
    COMPLETE(getitimer, sys_getitimer),
    COMPLETE(setitimer, sys_setitimer),
    COMPLETE(alarm, sys_alarm),
    COMPLETE(timer_create, sys_timer_create),
    COMPLETE(timer_settime, sys_timer_settime),
    COMPLETE(timer_gettime, sys_timer_gettime),
    COMPLETE(timer_getoverrun, sys_timer_getoverrun),
    COMPLETE(timer_delete, sys_timer_delete),
};

}  // namespace

std::span<const Entry> time_calls() { return kCalls; }

}  // namespace sentry::syscalls
