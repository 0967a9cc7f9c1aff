// clock_gettime(2), nanosleep(2), timer_create(2), gettimeofday(2).
#include <sys/time.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

namespace {

constexpr uint64_t kMs = 1'000'000;

// Through the kernel, past the vDSO.
uint64_t by_call(clockid_t clock) {
  timespec now;
  OK(syscall(SYS_clock_gettime, clock, &now));
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

TEST(all_clocks_answer) {
  for (clockid_t clock :
       {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
        CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI}) {
    timespec now = {-1, -1}, resolution = {-1, -1};
    OK(clock_gettime(clock, &now));
    CHECK(now.tv_sec >= 0 && now.tv_nsec >= 0 && now.tv_nsec < 1'000'000'000);
    OK(clock_getres(clock, &resolution));
    CHECK(resolution.tv_sec == 0 && resolution.tv_nsec > 0);
    by_call(clock);
  }
  timespec now;
  FAILS(EINVAL, clock_gettime(99, &now));
  FAILS(EINVAL, syscall(SYS_clock_gettime, 99, &now));
}

TEST(monotonic_never_goes_back) {
  uint64_t last = check::now_ns();
  for (int i = 0; i < 10'000; ++i) {
    uint64_t now = check::now_ns();
    CHECK(now >= last);
    last = now;
  }
  for (int i = 0; i < 100; ++i) {
    uint64_t call = by_call(CLOCK_MONOTONIC);
    CHECK(call >= last);
    last = check::now_ns();
    CHECK(last >= call);
  }
}

TEST(clocks_agree) {
  uint64_t a = check::now_ns(CLOCK_REALTIME);
  timeval tv;
  OK(gettimeofday(&tv, nullptr));
  uint64_t b = uint64_t(tv.tv_sec) * 1'000'000'000 + uint64_t(tv.tv_usec) * 1000;
  uint64_t c = check::now_ns(CLOCK_REALTIME);
  CHECK(a / 1000 * 1000 <= b && b <= c);
  time_t seconds = static_cast<time_t>(syscall(SYS_time, nullptr));
  CHECK(uint64_t(seconds) >= a / 1'000'000'000 - 1 && uint64_t(seconds) <= c / 1'000'000'000 + 1);
  uint64_t coarse = check::now_ns(CLOCK_REALTIME_COARSE);
  CHECK(coarse + 100 * kMs > a && coarse < c + 100 * kMs);
}

TEST(cpu_clocks_count_work) {
  uint64_t start = check::now_ns(CLOCK_PROCESS_CPUTIME_ID), wall = check::now_ns();
  uint64_t thread_start = check::now_ns(CLOCK_THREAD_CPUTIME_ID);
  while (check::now_ns(CLOCK_PROCESS_CPUTIME_ID) < start + 20 * kMs) {
    CHECK(check::now_ns() < wall + 20'000 * kMs);
  }
  CHECK(check::now_ns(CLOCK_THREAD_CPUTIME_ID) > thread_start);
  // Sleeping does not count.
  start = check::now_ns(CLOCK_PROCESS_CPUTIME_ID);
  timespec pause = {0, 50'000'000};
  OK(nanosleep(&pause, nullptr));
  CHECK(check::now_ns(CLOCK_PROCESS_CPUTIME_ID) - start < 40 * kMs);
}

TEST(cpu_clock_of_another_process) {
  check::Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  clockid_t clock;
  CHECK_EQ(clock_getcpuclockid(child, &clock), 0);
  timespec now;
  OK(clock_gettime(clock, &now));
  leave.notify();
  JOIN(child);
  CHECK(clock_gettime(clock, &now) == -1);
}

TEST(sleeping) {
  for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME}) {
    uint64_t start = check::now_ns();
    timespec pause = {0, 10'000'000};
    CHECK_EQ(clock_nanosleep(clock, 0, &pause, nullptr), 0);
    CHECK(check::now_ns() - start >= 10 * kMs);
  }
  timespec bad = {0, 1'000'000'000};
  FAILS(EINVAL, nanosleep(&bad, nullptr));
  bad = {-1, 0};
  FAILS(EINVAL, nanosleep(&bad, nullptr));
  timespec none = {0, 0};
  OK(nanosleep(&none, nullptr));
  CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &none, nullptr), EINVAL);
}

TEST(sleeping_until) {
  timespec until;
  OK(clock_gettime(CLOCK_MONOTONIC, &until));
  until.tv_nsec += 20'000'000;
  if (until.tv_nsec >= 1'000'000'000) until.tv_nsec -= 1'000'000'000, ++until.tv_sec;
  CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr), 0);
  CHECK(check::now_ns() >= uint64_t(until.tv_sec) * 1'000'000'000 + uint64_t(until.tv_nsec));
  until.tv_sec -= 10;
  uint64_t start = check::now_ns();
  CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr), 0);
  CHECK(check::now_ns() - start < 5000 * kMs);
}

TEST(many_sleepers_wake_in_order) {
  std::vector<std::thread> threads;
  std::atomic<int> order = 0;
  std::vector<int> place(5);
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] {
      timespec pause = {0, (5 - i) * 60'000'000L};
      OK(nanosleep(&pause, nullptr));
      place[size_t(i)] = order++;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(place[4], 0);
  CHECK_EQ(place[0], 4);
}

TEST(timer_with_a_signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN;
  event.sigev_value.sival_int = 99;
  timer_t timer;
  OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
  itimerspec spec = {{0, 0}, {0, 10'000'000}}, old;
  OK(timer_settime(timer, 0, &spec, nullptr));
  OK(timer_gettime(timer, &old));
  CHECK(old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 10'000'000);
  siginfo_t info;
  CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGRTMIN);
  CHECK_EQ(info.si_code, SI_TIMER);
  CHECK_EQ(info.si_value.sival_int, 99);
  // Expirations while the signal is pending are overruns.
  spec = {{0, 1'000'000}, {0, 1'000'000}};
  OK(timer_settime(timer, 0, &spec, nullptr));
  timespec pause = {0, 20'000'000};
  OK(nanosleep(&pause, nullptr));
  OK(sigwaitinfo(&set, &info));
  CHECK(info.si_overrun >= 5);
  CHECK(OK(timer_getoverrun(timer)) >= 5);
  OK(timer_delete(timer));
  FAILS(EINVAL, timer_delete(timer));
  FAILS(EINVAL, timer_create(99, &event, &timer));
  event.sigev_signo = 99;
  FAILS(EINVAL, timer_create(CLOCK_MONOTONIC, &event, &timer));
}

TEST(timer_without_notice_and_absolute) {
  sigevent event = {};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer;
  OK(timer_create(CLOCK_REALTIME, &event, &timer));
  itimerspec spec = {};
  OK(clock_gettime(CLOCK_REALTIME, &spec.it_value));
  spec.it_value.tv_sec += 100;
  OK(timer_settime(timer, TIMER_ABSTIME, &spec, nullptr));
  itimerspec left;
  OK(timer_gettime(timer, &left));
  CHECK(left.it_value.tv_sec >= 90 && left.it_value.tv_sec <= 100);
  OK(timer_delete(timer));
}

TEST(timer_to_a_thread) {
  static std::atomic<pid_t> handled_by;
  handled_by = 0;
  signal(SIGRTMIN + 1, [](int) { handled_by = check::gettid(); });
  std::atomic<pid_t> tid = 0;
  std::thread other([&] {
    tid = check::gettid();
    WAIT_UNTIL(handled_by != 0);
  });
  WAIT_UNTIL(tid != 0);
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN + 1;
  event._sigev_un._tid = tid;
  timer_t timer;
  OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
  itimerspec spec = {{0, 0}, {0, 5'000'000}};
  OK(timer_settime(timer, 0, &spec, nullptr));
  WAIT_UNTIL(handled_by != 0);
  CHECK_EQ(handled_by.load(), tid.load());
  other.join();
}

TEST(timers_are_not_inherited) {
  sigevent event = {};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer;
  OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
  alarm(100);
  JOIN(check::fork_child([&] {
    CHECK_EQ(alarm(0), 0u);
    itimerspec spec;
    FAILS(EINVAL, timer_gettime(timer, &spec));
  }));
  CHECK(alarm(0) > 0u);
}

TEST(cpu_timer) {
  static volatile sig_atomic_t fired;
  fired = 0;
  signal(SIGRTMIN, [](int) { fired = 1; });
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN;
  timer_t timer;
  OK(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer));
  itimerspec spec = {{0, 0}, {0, 10'000'000}};
  OK(timer_settime(timer, 0, &spec, nullptr));
  uint64_t deadline = check::now_ns() + 10'000 * kMs;
  while (!fired) CHECK(check::now_ns() < deadline);
}

}  // namespace
