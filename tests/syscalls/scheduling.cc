// Scheduling attributes, I/O priorities, interval timers: what is kept, inherited and refused. sched(7),
// setitimer(2).
#include <sched.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/timex.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <thread>

#include "sentry/abi/ioprio.h"
#include "tests/syscalls/check.h"

namespace {

// ioprio_set(2). Not from linux/ioprio.h: newer ones are no C++.
enum { IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE };
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER };
constexpr int IOPRIO_PRIO_VALUE(int kind, int level) { return kind << 13 | level; }

// struct sched_attr; its header cannot be included beside <sched.h>.
struct Attributes {
  uint32_t size = 48, policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
};
long get_attributes(pid_t pid, Attributes* to, unsigned size) {
  return syscall(SYS_sched_getattr, pid, to, size, 0);
}
long set_attributes(pid_t pid, const void* from) { return syscall(SYS_sched_setattr, pid, from, 0); }

TEST(attributes) {
  Attributes now;
  OK(get_attributes(0, &now, sizeof now));
  CHECK_EQ(now.size, 48u);
  CHECK_EQ(now.policy, uint32_t{SCHED_OTHER});
  CHECK_EQ(now.nice, getpriority(PRIO_PROCESS, 0));
  Attributes wanted;
  wanted.policy = SCHED_BATCH;
  wanted.nice = std::min(19, now.nice + 2);
  OK(set_attributes(0, &wanted));
  OK(get_attributes(0, &now, sizeof now));
  CHECK_EQ(now.policy, uint32_t{SCHED_BATCH});
  CHECK_EQ(now.nice, wanted.nice);
  CHECK_EQ(getpriority(PRIO_PROCESS, 0), wanted.nice);
  FAILS(EINVAL, get_attributes(0, &now, 47));
  FAILS(EINVAL, get_attributes(-1, &now, sizeof now));
  FAILS(ESRCH, get_attributes(999'999'99, &now, sizeof now));
  FAILS(EINVAL, set_attributes(0, nullptr));
  wanted.flags = 0x1000;
  FAILS(EINVAL, set_attributes(0, &wanted));
  wanted.flags = 0;
  wanted.policy = 99;
  FAILS(EINVAL, set_attributes(0, &wanted));
  wanted.policy = SCHED_OTHER;
  wanted.priority = 1;
  FAILS(EINVAL, set_attributes(0, &wanted));
  wanted.priority = 0;
  // Attributes of a later version: accepted where they are zero, else told how far we go.
  struct {
    Attributes known;
    uint64_t later[8] = {};
  } larger;
  larger.known.size = sizeof larger;
  larger.known.nice = wanted.nice;
  OK(set_attributes(0, &larger));
  larger.later[7] = 1;
  FAILS(E2BIG, set_attributes(0, &larger));
  CHECK(larger.known.size >= 48 && larger.known.size < sizeof larger);
}

TEST(reset_on_fork) {
  sched_param none = {0};
  OK(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none));
  CHECK_EQ(OK(sched_getscheduler(0)), SCHED_BATCH | SCHED_RESET_ON_FORK);
  JOIN(check::fork_child([] { CHECK_EQ(OK(sched_getscheduler(0)) & SCHED_RESET_ON_FORK, 0); }));
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EPERM, sched_setscheduler(0, SCHED_BATCH, &none));
}

TEST(realtime_needs_a_right) {
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  rlimit limit = {0, 0};
  OK(setrlimit(RLIMIT_RTPRIO, &limit));
  sched_param param = {1};
  FAILS(EPERM, sched_setscheduler(0, SCHED_FIFO, &param));
  FAILS(EPERM, sched_setscheduler(getppid(), SCHED_FIFO, &param));
  param.sched_priority = 100;
  FAILS(EINVAL, sched_setscheduler(0, SCHED_FIFO, &param));
  param.sched_priority = 0;
  FAILS(EINVAL, sched_setscheduler(0, SCHED_FIFO, &param));
  FAILS(EINVAL, sched_setscheduler(0, -1, &param));
  FAILS(EINVAL, sched_setscheduler(-1, SCHED_OTHER, &param));
  FAILS(EINVAL, sched_setscheduler(0, SCHED_OTHER, nullptr));
  timespec slice;
  OK(sched_rr_get_interval(0, &slice));
  CHECK(slice.tv_sec == 0 && slice.tv_nsec >= 0);
  FAILS(EINVAL, sched_rr_get_interval(-1, &slice));
}

TEST(priorities_of_many) {
  int start = getpriority(PRIO_PROCESS, 0);
  OK(setpgid(0, 0));
  check::Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  int lower = std::min(19, start + 2);
  OK(setpriority(PRIO_PROCESS, id_t(child), lower));
  CHECK_EQ(getpriority(PRIO_PROCESS, id_t(child)), lower);
  CHECK_EQ(getpriority(PRIO_PGRP, 0), start);  // the best of them
  OK(setpriority(PRIO_PGRP, 0, 19));
  CHECK_EQ(getpriority(PRIO_PROCESS, id_t(child)), 19);
  CHECK_EQ(getpriority(PRIO_PGRP, id_t(getpid())), 19);
  FAILS(ESRCH, getpriority(PRIO_PGRP, 999'999'99));
  leave.notify();
  JOIN(child);
}

TEST(nice_is_each_threads) {
  const int start = getpriority(PRIO_PROCESS, 0);
  if (start > 17) SKIP("too nice already");
  std::atomic<pid_t> other = 0;
  std::atomic<bool> done = false;
  std::thread thread([&] {
    OK(setpriority(PRIO_PROCESS, 0, start + 1));
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), start + 1);
    other = check::gettid();
    while (!done) usleep(1000);
  });
  WAIT_UNTIL(other != 0);
  CHECK_EQ(getpriority(PRIO_PROCESS, 0), start);
  CHECK_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(other)), start + 1);
  OK(setpriority(PRIO_PROCESS, static_cast<id_t>(other), start + 2));
  CHECK_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(other)), start + 2);
  CHECK_EQ(getpriority(PRIO_PROCESS, 0), start);
  done = true;
  thread.join();
}

TEST(affinity_is_checked) {
  unsigned long mask[128] = {};
  long size = OK(syscall(SYS_sched_getaffinity, 0, sizeof mask, mask));
  CHECK(size >= 8 && size % 8 == 0);
  FAILS(EINVAL, syscall(SYS_sched_getaffinity, 0, 12, mask));
  FAILS(ESRCH, syscall(SYS_sched_getaffinity, 999'999'99, sizeof mask, mask));
  FAILS(EFAULT, syscall(SYS_sched_getaffinity, 0, sizeof mask, 8));
  // CPUs that are not there do not count, alone they are an error.
  unsigned long before = mask[0];
  unsigned long more[128];
  std::fill(std::begin(more), std::end(more), ~0ul);
  OK(syscall(SYS_sched_setaffinity, 0, sizeof more, more));
  OK(syscall(SYS_sched_getaffinity, 0, sizeof mask, mask));
  CHECK((mask[0] & before) == before);
  std::fill(std::begin(more), std::end(more), 0);
  more[127] = 1ul << 63;
  FAILS(EINVAL, syscall(SYS_sched_setaffinity, 0, sizeof more, more));
  // proc(5) shows what was chosen.
  int first = std::countr_zero(before);
  unsigned long one = 1ul << first;
  OK(syscall(SYS_sched_setaffinity, 0, sizeof one, &one));
  std::string status = READ_FILE("/proc/thread-self/status");
  CHECK(status.find("Cpus_allowed_list:\t" + std::to_string(first) + "\n") != std::string::npos);
}

TEST(io_priorities) {
  auto get = [](int which, int who) { return int(syscall(SYS_ioprio_get, which, who)); };
  auto set = [](int which, int who, int value) { return int(syscall(SYS_ioprio_set, which, who, value)); };
  int value = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6);
  OK(set(IOPRIO_WHO_PROCESS, 0, value));
  CHECK_EQ(OK(get(IOPRIO_WHO_PROCESS, 0)), value);
  CHECK_EQ(OK(get(IOPRIO_WHO_PROCESS, getpid())), value);
  JOIN(check::fork_child([&] { CHECK_EQ(OK(get(IOPRIO_WHO_PROCESS, 0)), value); }));
  FAILS(EINVAL, set(IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(7, 0)));
  FAILS(EINVAL, set(99, 0, value));
  FAILS(EINVAL, get(99, 0));
  FAILS(ESRCH, get(IOPRIO_WHO_PROCESS, 999'999'99));
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EPERM, set(IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0)));
}

// ---- setitimer(2), alarm(2)

volatile sig_atomic_t alarms;
void count_alarm(int) { alarms = alarms + 1; }

TEST(interval_timer) {
  signal(SIGALRM, count_alarm);
  itimerval timer = {{0, 10'000}, {0, 10'000}}, old;
  OK(setitimer(ITIMER_REAL, &timer, nullptr));
  WAIT_UNTIL(alarms >= 3);
  OK(getitimer(ITIMER_REAL, &old));
  CHECK_EQ(old.it_interval.tv_usec, 10'000);
  CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 10'000);
  timer = {};
  OK(setitimer(ITIMER_REAL, &timer, &old));
  CHECK_EQ(old.it_interval.tv_usec, 10'000);
  int seen = alarms;
  OK(getitimer(ITIMER_REAL, &old));
  CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
  timespec pause = {0, 30'000'000};
  OK(nanosleep(&pause, nullptr));
  CHECK_EQ(alarms, seen);
  timer.it_value.tv_usec = 1'000'000;
  FAILS(EINVAL, setitimer(ITIMER_REAL, &timer, nullptr));
  timer.it_value.tv_usec = -1;
  FAILS(EINVAL, setitimer(ITIMER_REAL, &timer, nullptr));
  FAILS(EINVAL, getitimer(static_cast<__itimer_which>(3), &old));
}

TEST(interval_timer_of_cpu_time) {
  signal(SIGPROF, count_alarm);
  itimerval timer = {{0, 0}, {0, 20'000}};
  OK(setitimer(ITIMER_PROF, &timer, nullptr));
  // Sleeping does not count.
  timespec pause = {0, 60'000'000};
  OK(nanosleep(&pause, nullptr));
  CHECK_EQ(alarms, 0);
  uint64_t deadline = check::now_ns() + 10'000'000'000;
  while (alarms == 0) CHECK(check::now_ns() < deadline);
}

TEST(alarm_seconds) {
  CHECK_EQ(alarm(100), 0u);
  unsigned left = alarm(0);
  CHECK(left == 99 || left == 100);
  CHECK_EQ(alarm(0), 0u);
  alarm(50);
  itimerval timer;
  OK(getitimer(ITIMER_REAL, &timer));
  CHECK(timer.it_value.tv_sec >= 48 && timer.it_value.tv_sec <= 50);
  // exec keeps it, fork does not.
  JOIN(check::fork_child([] { CHECK_EQ(alarm(0), 0u); }));
  alarm(0);
}

TEST(a_very_short_period_starves_nobody) {
  signal(SIGALRM, count_alarm);
  itimerval timer = {{0, 500}, {0, 500}};
  OK(setitimer(ITIMER_REAL, &timer, nullptr));
  WAIT_UNTIL(alarms >= 10);
  timer = {};
  OK(setitimer(ITIMER_REAL, &timer, nullptr));
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  timer_t posix;
  OK(timer_create(CLOCK_MONOTONIC, &event, &posix));
  itimerspec spec = {{0, 1}, {0, 1}};
  OK(timer_settime(posix, 0, &spec, nullptr));
  timespec pause = {0, 20'000'000};
  OK(nanosleep(&pause, nullptr));
  siginfo_t info;
  CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGRTMIN);
  CHECK(info.si_overrun > 1'000'000);
  OK(timer_delete(posix));
}

TEST(clock_adjustment_can_be_read) {
  timex now = {};
  CHECK(OK(adjtimex(&now)) <= TIME_ERROR);
  CHECK(now.time.tv_sec > 1'600'000'000);
  CHECK(now.tick >= 9000 && now.tick <= 11'000);
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  now.modes = ADJ_TICK;
  FAILS(EPERM, adjtimex(&now));
}

}  // namespace
