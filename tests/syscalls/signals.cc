// signal(7): sigaction(2) and its flags, masks, queues, sending, waiting, alternate stacks, default actions.
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <ucontext.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

using check::Gate;

namespace {

sigset_t only(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : signals) sigaddset(&set, number);
  return set;
}

void block(std::initializer_list<int> signals) {
  sigset_t set = only(signals);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
}

void unblock(std::initializer_list<int> signals) {
  sigset_t set = only(signals);
  OK(sigprocmask(SIG_UNBLOCK, &set, nullptr));
}

bool blocked(int number) {
  sigset_t set;
  OK(sigprocmask(SIG_BLOCK, nullptr, &set));
  return sigismember(&set, number) == 1;
}

bool is_pending(int number) {
  sigset_t set;
  OK(sigpending(&set));
  return sigismember(&set, number) == 1;
}

volatile sig_atomic_t count = 0;
volatile sig_atomic_t last_signal = 0;
siginfo_t last_info;

void on(int number, void (*handler)(int), int flags = 0, std::initializer_list<int> mask = {}) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  action.sa_mask = only(mask);
  OK(sigaction(number, &action, nullptr));
}

void on_info(int number, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = flags | SA_SIGINFO;
  OK(sigaction(number, &action, nullptr));
}

void count_it(int number) {
  count = count + 1;
  last_signal = number;
}

void keep_info(int, siginfo_t* info, void*) {
  count = count + 1;
  last_info = *info;
}

TEST(handler_runs_before_raise_returns) {
  on(SIGUSR1, count_it);
  for (int i = 1; i <= 100; ++i) {
    OK(kill(getpid(), SIGUSR1));
    CHECK_EQ(count, i);
  }
  CHECK_EQ(last_signal, SIGUSR1);
}

TEST(sigaction_returns_the_old_one) {
  on(SIGUSR1, count_it, SA_RESTART, {SIGHUP});
  struct sigaction old;
  OK(sigaction(SIGUSR1, nullptr, &old));
  CHECK(old.sa_handler == count_it);
  CHECK(old.sa_flags & SA_RESTART);
  CHECK(sigismember(&old.sa_mask, SIGHUP));
  struct sigaction action = {};
  action.sa_handler = SIG_IGN;
  FAILS(EINVAL, sigaction(SIGKILL, &action, nullptr));
  FAILS(EINVAL, sigaction(SIGSTOP, &action, nullptr));
  FAILS(EINVAL, sigaction(0, &action, nullptr));
  FAILS(EINVAL, sigaction(65, &action, nullptr));
  FAILS(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, nullptr, nullptr, 4));
}

// struct sigaction as the call has it: what a C library adds shows.
struct RawAction {
  uint64_t handler, flags, restorer, mask;
  bool operator==(const RawAction&) const = default;
};
// From one place in the code, often: sites that are known may be treated in another way.
[[gnu::noinline]] long raw_sigaction(int signo, const RawAction* in, RawAction* out, size_t size = 8) {
  return syscall(SYS_rt_sigaction, signo, in, out, size);
}
void expect_action(int signo, const RawAction& expected) {
  RawAction now{1, 2, 3, 4};
  OK(raw_sigaction(signo, nullptr, &now));
  CHECK_EQ(now.handler, expected.handler);
  CHECK_EQ(now.flags, expected.flags);
  CHECK_EQ(now.restorer, expected.restorer);
  CHECK_EQ(now.mask, expected.mask);
}

constexpr uint64_t kRestorer = 0x04000000;
constexpr RawAction kReset{0, kRestorer, 0x1234'5000, 0}, kOtherReset{0, kRestorer, 0x1234'6000, 0};

CHILD(expect_plain_actions) {
  for (int signo = 1; signo <= 64; ++signo)
    for (int times = 0; times < 3; ++times) expect_action(signo, {});
  return 0;
}

TEST(actions_that_are_the_default_already) {
  JOIN(check::fork_child([] {
    for (int signo = 1; signo <= 64; ++signo) {
      if (signo == SIGKILL || signo == SIGSTOP) {
        FAILS(EINVAL, raw_sigaction(signo, &kReset, nullptr));
        expect_action(signo, {});
        continue;
      }
      const RawAction plain{};
      OK(raw_sigaction(signo, &plain, nullptr));
    }
    for (int round = 0; round < 3; ++round) {
      for (int signo = 1; signo <= 64; ++signo) {
        if (signo == SIGKILL || signo == SIGSTOP) continue;
        expect_action(signo, round == 0 ? RawAction{} : kReset);
        RawAction old{1, 2, 3, 4};
        OK(raw_sigaction(signo, &kReset, &old));
        CHECK(old == (round == 0 ? RawAction{} : kReset));
        expect_action(signo, kReset);
      }
    }
    // Other flags, restorers, masks and handlers are kept as they are.
    const RawAction others[] = {kOtherReset,
                                {0, kRestorer | SA_RESTART, kReset.restorer, 0},
                                {0, 0, 0, 0},
                                {0, kRestorer, kReset.restorer, 0x200},
                                {1, kRestorer, kReset.restorer, 0},
                                {0x1000, kRestorer | SA_RESETHAND, kReset.restorer, 0x8000},
                                kReset};
    for (int times = 0; times < 3; ++times) {
      RawAction before = kReset;
      for (const RawAction& other : others) {
        RawAction old{};
        OK(raw_sigaction(SIGUSR1, &other, &old));
        CHECK(old == before);
        expect_action(SIGUSR1, other);
        before = other;
      }
    }
    expect_action(SIGUSR2, kReset);
    // The child of a fork has them, and a program begins without.
    JOIN(check::fork_child([] {
      expect_action(SIGUSR2, kReset);
      const RawAction plain{};
      OK(raw_sigaction(SIGUSR2, &plain, nullptr));
      expect_action(SIGUSR2, plain);
    }));
    expect_action(SIGUSR2, kReset);
    OK(execl(check::self(), check::self(), "--child", "expect_plain_actions", nullptr));
  }));
}

TEST(setting_the_default_once_more_discards_what_is_ignored) {
  JOIN(check::fork_child([] {
    const RawAction plain{};
    for (int times = 0; times < 4; ++times) {
      for (const int signo : {SIGCHLD, SIGURG, SIGWINCH, SIGUSR1}) {
        OK(raw_sigaction(signo, &plain, nullptr));
        OK(raw_sigaction(signo, &kReset, nullptr));
        sigset_t set, waiting;
        sigemptyset(&set);
        sigaddset(&set, signo);
        OK(sigprocmask(SIG_BLOCK, &set, nullptr));
        OK(kill(getpid(), signo));
        OK(sigpending(&waiting));
        CHECK_EQ(sigismember(&waiting, signo), 1);
        expect_action(signo, kReset);
        OK(raw_sigaction(signo, &kReset, nullptr));
        OK(sigpending(&waiting));
        CHECK_EQ(sigismember(&waiting, signo), signo == SIGUSR1);
        const RawAction ignored{1, 0, 0, 0};
        OK(raw_sigaction(signo, &ignored, nullptr));
        OK(sigprocmask(SIG_UNBLOCK, &set, nullptr));
      }
    }
  }));
}

TEST(sigaction_with_bad_arguments) {
  JOIN(check::fork_child([] {
    const RawAction plain{};
    char* const page = OK(
        static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(munmap(page + 4096, 4096));
    auto* const edge = reinterpret_cast<RawAction*>(page + 4096 - 16);
    OK(raw_sigaction(SIGUSR2, &plain, nullptr));
    for (int times = 0; times < 4; ++times) {
      FAILS(EINVAL, raw_sigaction(0, nullptr, nullptr));
      FAILS(EINVAL, raw_sigaction(65, nullptr, nullptr));
      FAILS(EINVAL, raw_sigaction(-1, &kReset, nullptr));
      FAILS(EINVAL, raw_sigaction(SIGUSR2, &kReset, nullptr, 16));
      FAILS(EFAULT, raw_sigaction(SIGUSR2, edge, nullptr));
      FAILS(EFAULT, raw_sigaction(SIGUSR2, nullptr, edge));
      expect_action(SIGUSR2, times == 0 ? plain : kReset);
      // What cannot be told has been done.
      FAILS(EFAULT, raw_sigaction(SIGUSR2, &kReset, edge));
      expect_action(SIGUSR2, kReset);
      // Read before it is written, where both overlap.
      RawAction both[2] = {kReset, kReset};
      auto* const shifted = reinterpret_cast<RawAction*>(reinterpret_cast<char*>(both) + 8);
      OK(raw_sigaction(SIGUSR2, both, shifted));
      CHECK(*shifted == kReset);
      expect_action(SIGUSR2, kReset);
    }
  }));
}

TEST(threads_see_each_others_actions_at_once) {
  JOIN(check::fork_child([] {
    const RawAction plain{};
    std::atomic<int> turn = 0;
    std::thread other([&] {
      for (int i = 0; i < 200; ++i) {
        while (turn != 2 * i + 1) sched_yield();
        expect_action(SIGUSR2, i % 2 == 0 ? kReset : plain);
        turn = 2 * i + 2;
      }
    });
    for (int i = 0; i < 200; ++i) {
      OK(raw_sigaction(SIGUSR2, i % 2 == 0 ? &kReset : &plain, nullptr));
      turn = 2 * i + 1;
      while (turn != 2 * i + 2) sched_yield();
    }
    other.join();
    // Alone again.
    OK(raw_sigaction(SIGUSR2, &kReset, nullptr));
    expect_action(SIGUSR2, kReset);
    std::thread([] { expect_action(SIGUSR2, kReset); }).join();
    // CLONE_SIGHAND without CLONE_THREAD: two processes with the same actions.
    std::vector<char> stack(65536);
    const pid_t sharing = OK(clone(
        [](void*) {
          OK(raw_sigaction(SIGUSR2, &kOtherReset, nullptr));
          return 0;
        },
        stack.data() + stack.size(), CLONE_VM | CLONE_SIGHAND | SIGCHLD, nullptr));
    CHECK_EXITED(WAIT_STATUS(sharing), 0);
    expect_action(SIGUSR2, kOtherReset);
  }));
}

TEST(siginfo_of_kill_and_sigqueue_and_tgkill) {
  on_info(SIGUSR1, keep_info);
  OK(kill(getpid(), SIGUSR1));
  CHECK_EQ(last_info.si_code, SI_USER);
  CHECK_EQ(last_info.si_pid, getpid());
  CHECK_EQ(last_info.si_uid, getuid());
  sigval value = {};
  value.sival_ptr = reinterpret_cast<void*>(0x1122'3344'5566'7788);
  OK(sigqueue(getpid(), SIGUSR1, value));
  CHECK_EQ(last_info.si_code, SI_QUEUE);
  CHECK_EQ(last_info.si_value.sival_ptr, value.sival_ptr);
  OK(syscall(SYS_tgkill, getpid(), check::gettid(), SIGUSR1));
  CHECK_EQ(last_info.si_code, SI_TKILL);
  FAILS(ESRCH, syscall(SYS_tgkill, getpid(), 999'999'99, SIGUSR1));
  FAILS(ESRCH, syscall(SYS_tgkill, getpid() + 1, check::gettid(), 0));
  FAILS(EINVAL, syscall(SYS_tgkill, -1, check::gettid(), 0));
  // rt_sigqueueinfo(2): a process cannot pretend to another that a signal came from the kernel or kill.
  siginfo_t forged = {};
  forged.si_code = SI_USER;
  FAILS(EPERM, syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &forged));
}

TEST(masks) {
  on(SIGUSR1, count_it);
  block({SIGUSR1});
  CHECK(blocked(SIGUSR1));
  OK(raise(SIGUSR1));
  OK(raise(SIGUSR1));
  CHECK_EQ(count, 0);
  CHECK(is_pending(SIGUSR1));
  unblock({SIGUSR1});
  // A standard signal pends once.
  CHECK_EQ(count, 1);
  CHECK(!is_pending(SIGUSR1));
  sigset_t all;
  sigfillset(&all);
  OK(sigprocmask(SIG_SETMASK, &all, nullptr));
  CHECK(!blocked(SIGKILL));
  CHECK(!blocked(SIGSTOP));
  sigset_t old;
  FAILS(EINVAL, syscall(SYS_rt_sigprocmask, 99, &all, nullptr, 8));
  FAILS(EINVAL, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, 4));
}

TEST(mask_during_a_handler) {
  static bool saw_self, saw_other, saw_third;
  on(SIGUSR1,
     [](int) { saw_self = blocked(SIGUSR1), saw_other = blocked(SIGUSR2), saw_third = blocked(SIGHUP); }, 0,
     {SIGUSR2});
  OK(raise(SIGUSR1));
  CHECK(saw_self && saw_other && !saw_third);
  CHECK(!blocked(SIGUSR1) && !blocked(SIGUSR2));
  on(
      SIGUSR1, [](int) { saw_self = blocked(SIGUSR1), saw_other = blocked(SIGUSR2); }, SA_NODEFER);
  OK(raise(SIGUSR1));
  CHECK(!saw_self && !saw_other);
}

TEST(nested_handlers) {
  static int depth, deepest;
  depth = deepest = 0;
  on(
      SIGUSR1,
      [](int) {
        if (++depth > deepest) deepest = depth;
        if (depth < 5) raise(SIGUSR1);
        --depth;
      },
      SA_NODEFER);
  OK(raise(SIGUSR1));
  CHECK_EQ(deepest, 5);
  CHECK_EQ(depth, 0);
  // A handler interrupted by another signal's.
  static std::string trace;
  trace = "";
  on(SIGUSR1, [](int) {
    trace += "(";
    raise(SIGUSR2);
    trace += ")";
  });
  on(SIGUSR2, [](int) { trace += "2"; });
  OK(raise(SIGUSR1));
  CHECK_EQ(trace, "(2)");
}

TEST(a_blocked_signal_arrives_when_the_handler_returns) {
  static std::string trace;
  trace = "";
  on(SIGUSR1, [](int) {
    trace += "(";
    if (trace.size() < 2) raise(SIGUSR1);
    trace += ")";
  });
  OK(raise(SIGUSR1));
  CHECK_EQ(trace, "()()");
}

TEST(reset_after_one) {
  on(SIGUSR1, count_it, static_cast<int>(SA_RESETHAND));
  OK(raise(SIGUSR1));
  CHECK_EQ(count, 1);
  struct sigaction now;
  OK(sigaction(SIGUSR1, nullptr, &now));
  CHECK(now.sa_handler == SIG_DFL);
  pid_t child = check::fork_child([] { raise(SIGUSR1); });
  CHECK_KILLED(WAIT_STATUS(child), SIGUSR1);
}

TEST(ignoring_discards_pending) {
  block({SIGUSR1});
  on(SIGUSR1, count_it);
  OK(raise(SIGUSR1));
  signal(SIGUSR1, SIG_IGN);
  CHECK(!is_pending(SIGUSR1));
  on(SIGUSR1, count_it);
  unblock({SIGUSR1});
  CHECK_EQ(count, 0);
  // SIGCHLD is ignored by default, so setting that discards it too.
  block({SIGCHLD});
  OK(raise(SIGCHLD));
  signal(SIGCHLD, SIG_DFL);
  CHECK(!is_pending(SIGCHLD));
}

TEST(realtime_signals_queue_in_order) {
  static std::vector<std::pair<int, int>> seen;
  for (int number : {SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5}) {
    on_info(number, [](int n, siginfo_t* info, void*) { seen.push_back({n, info->si_value.sival_int}); });
    block({number});
  }
  int order[][2] = {{5, 1}, {0, 2}, {1, 3}, {0, 4}, {5, 5}, {0, 6}};
  for (auto [offset, text] : order) {
    sigval value = {};
    value.sival_int = text;
    OK(sigqueue(getpid(), SIGRTMIN + offset, value));
  }
  // Take them one after the other, as handlers of all three at once would nest.
  siginfo_t info;
  sigset_t all = only({SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5});
  int expected[][2] = {{0, 2}, {0, 4}, {0, 6}, {1, 3}, {5, 1}, {5, 5}};
  for (auto [offset, text] : expected) {
    CHECK_EQ(OK(sigwaitinfo(&all, &info)), SIGRTMIN + offset);
    CHECK_EQ(info.si_value.sival_int, text);
  }
  for (int i = 0; i < 50; ++i) {
    sigval value = {};
    value.sival_int = i;
    OK(sigqueue(getpid(), SIGRTMIN, value));
  }
  unblock({SIGRTMIN});
  CHECK_EQ(seen.size(), 50u);
  for (int i = 0; i < 50; ++i) CHECK_EQ(seen[size_t(i)].second, i);
}

TEST(queue_limit) {
  block({SIGRTMIN});
  rlimit limit = {5, 5};
  OK(setrlimit(RLIMIT_SIGPENDING, &limit));
  sigval value = {};
  int queued = 0;
  while (queued < 100 && sigqueue(getpid(), SIGRTMIN, value) == 0) ++queued;
  CHECK_EQ(errno, EAGAIN);
  // The limit counts the user's signals everywhere, so others may hold some of the five.
  CHECK(queued <= 5);
  // A standard signal is delivered all the same.
  on(SIGUSR1, count_it);
  OK(kill(getpid(), SIGUSR1));
  CHECK_EQ(count, 1);
}

TEST(suspend) {
  on(SIGUSR1, count_it);
  block({SIGUSR1, SIGUSR2});
  OK(raise(SIGUSR1));
  sigset_t mask = only({SIGUSR2});
  FAILS(EINTR, sigsuspend(&mask));
  CHECK_EQ(count, 1);
  CHECK(blocked(SIGUSR1));
  pid_t child = check::fork_child([] {
    sigset_t none = only({});
    FAILS(EINTR, sigsuspend(&none));
    CHECK_EQ(count, 2);
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  JOIN(child);
}

TEST(pausing) {
  pid_t child = check::fork_child([] {
    on(SIGUSR1, count_it);
    FAILS(EINTR, pause());
    CHECK_EQ(count, 1);
  });
  WAIT_BLOCKED(child);
  // An ignored signal does not end pause.
  OK(kill(child, SIGURG));
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  JOIN(child);
}

TEST(timed_wait) {
  sigset_t set = only({SIGUSR1, SIGUSR2});
  block({SIGUSR1, SIGUSR2});
  timespec zero = {0, 0}, some = {0, 20'000'000};
  FAILS(EAGAIN, sigtimedwait(&set, nullptr, &zero));
  uint64_t start = check::now_ns();
  FAILS(EAGAIN, sigtimedwait(&set, nullptr, &some));
  CHECK(check::now_ns() - start >= 20'000'000);
  timespec bad = {0, -1};
  FAILS(EINVAL, sigtimedwait(&set, nullptr, &bad));
  OK(raise(SIGUSR2));
  siginfo_t info;
  CHECK_EQ(OK(sigtimedwait(&set, &info, &zero)), SIGUSR2);
  CHECK_EQ(info.si_signo, SIGUSR2);
  CHECK(!is_pending(SIGUSR2));
  pid_t child = check::fork_child([&] {
    on(SIGHUP, count_it);
    FAILS(EINTR, sigwaitinfo(&set, nullptr));
    CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGUSR1);
    CHECK_EQ(info.si_pid, getppid());
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGHUP));
  WAIT_UNTIL([&] {
    std::string status = READ_FILE(("/proc/" + std::to_string(child) + "/status").c_str());
    return status.find("ShdPnd:\t0000000000000000") != std::string::npos &&
           check::process_state(child) == 'S';
  }());
  OK(kill(child, SIGUSR1));
  JOIN(child);
}

TEST(process_signals_go_to_a_thread_that_takes_them) {
  block({SIGUSR1});
  static std::atomic<pid_t> taker = 0;
  on(SIGUSR1, [](int) { taker = check::gettid(); });
  std::atomic<pid_t> willing = 0;
  std::thread other([&] {
    sigset_t set = only({SIGUSR1});
    OK(pthread_sigmask(SIG_UNBLOCK, &set, nullptr));
    willing = check::gettid();
    WAIT_UNTIL(taker != 0);
  });
  WAIT_UNTIL(willing != 0);
  OK(kill(getpid(), SIGUSR1));
  WAIT_UNTIL(taker != 0);
  CHECK_EQ(taker.load(), willing.load());
  other.join();
}

TEST(thread_signals_stay_with_their_thread) {
  block({SIGUSR1});
  std::atomic<pid_t> tid = 0;
  Gate go;
  bool pending_there = false;
  std::thread other([&] {
    tid = check::gettid();
    go.wait();
    pending_there = is_pending(SIGUSR1);
  });
  WAIT_UNTIL(tid != 0);
  OK(syscall(SYS_tgkill, getpid(), tid.load(), SIGUSR1));
  CHECK(!is_pending(SIGUSR1));
  go.notify();
  other.join();
  CHECK(pending_there);
}

TEST(new_threads_inherit_the_mask_and_no_pending_signals) {
  block({SIGUSR1});
  OK(raise(SIGUSR1));
  bool is_blocked = false, pending = true;
  OK(syscall(SYS_tgkill, getpid(), check::gettid(), SIGUSR1));
  std::thread([&] {
    is_blocked = blocked(SIGUSR1);
    pending = is_pending(SIGUSR1);
  }).join();
  CHECK(is_blocked);
  CHECK(!pending);
  JOIN(check::fork_child([] {
    CHECK(blocked(SIGUSR1));
    CHECK(!is_pending(SIGUSR1));
  }));
}

TEST(child_signal_information) {
  on_info(SIGCHLD, keep_info);
  block({SIGCHLD});
  sigset_t set = only({SIGCHLD});
  siginfo_t info;
  pid_t child = check::fork_child([] { _exit(12); });
  OK(sigwaitinfo(&set, &info));
  CHECK_EQ(info.si_code, CLD_EXITED);
  CHECK_EQ(info.si_pid, child);
  CHECK_EQ(info.si_status, 12);
  CHECK_EQ(info.si_uid, getuid());
  CHECK_EXITED(WAIT_STATUS(child), 12);
  child = check::fork_child([] {
    for (;;) pause();
  });
  OK(kill(child, SIGSTOP));
  OK(sigwaitinfo(&set, &info));
  CHECK_EQ(info.si_code, CLD_STOPPED);
  CHECK_EQ(info.si_status, SIGSTOP);
  OK(kill(child, SIGCONT));
  OK(sigwaitinfo(&set, &info));
  CHECK_EQ(info.si_code, CLD_CONTINUED);
  OK(kill(child, SIGKILL));
  OK(sigwaitinfo(&set, &info));
  CHECK_EQ(info.si_code, CLD_KILLED);
  CHECK_EQ(info.si_status, SIGKILL);
  CHECK_KILLED(WAIT_STATUS(child), SIGKILL);
}

TEST(no_child_stop) {
  on(SIGCHLD, count_it, SA_NOCLDSTOP);
  pid_t child = check::fork_child([] {
    for (;;) pause();
  });
  OK(kill(child, SIGSTOP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  OK(kill(child, SIGCONT));
  OK(waitpid(child, &status, WCONTINUED));
  CHECK_EQ(count, 0);
  OK(kill(child, SIGKILL));
  WAIT_STATUS(child);
  CHECK_EQ(count, 1);
}

TEST(no_child_wait) {
  on(SIGCHLD, count_it, SA_NOCLDWAIT);
  pid_t child = check::fork_child([] {});
  int result;
  do {
    result = waitpid(child, nullptr, 0);
  } while (result < 0 && errno == EINTR);
  CHECK_EQ(result, -1);
  CHECK_EQ(errno, ECHILD);
  // The signal is still sent.
  CHECK_EQ(count, 1);
}

TEST(stop_and_continue) {
  Gate beat;
  int fds[2];
  OK(pipe(fds));
  pid_t child = check::fork_child([&] {
    on(SIGCONT, [](int) { count = count + 1; });
    block({SIGUSR1});
    beat.notify();
    sigset_t set = only({SIGUSR1});
    int number;
    OK(sigwait(&set, &number));
    char told = static_cast<char>('0' + count);
    OK(write(fds[1], &told, 1));
  });
  beat.wait();
  OK(kill(child, SIGTSTP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  CHECK_EQ(WSTOPSIG(status), SIGTSTP);
  // Signals wait while the process is stopped; SIGCONT wakes it and discards a pending stop.
  OK(kill(child, SIGUSR1));
  CHECK_EQ(check::process_state(child), 'T');
  OK(kill(child, SIGCONT));
  char told;
  OK(read(fds[0], &told, 1));
  CHECK_EQ(told, '1');
  JOIN(child);
}

TEST(kill_ends_a_stopped_process) {
  pid_t child = check::fork_child([] {
    for (;;) pause();
  });
  OK(kill(child, SIGSTOP));
  WAIT_UNTIL(check::process_state(child) == 'T');
  OK(kill(child, SIGTERM));
  CHECK_EQ(check::process_state(child), 'T');
  OK(kill(child, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(child), SIGKILL);
}

TEST(stop_stops_all_threads) {
  std::atomic<int>* ticks = static_cast<std::atomic<int>*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  pid_t child = check::fork_child([&] {
    std::thread([&] {
      for (;;) ++*ticks;
    }).detach();
    for (;;) pause();
  });
  WAIT_UNTIL(*ticks > 0);
  OK(kill(child, SIGSTOP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  int before = *ticks;
  timespec pause = {0, 20'000'000};
  OK(nanosleep(&pause, nullptr));  // time in which a running thread would count
  CHECK_EQ(ticks->load(), before);
  OK(kill(child, SIGCONT));
  WAIT_UNTIL(*ticks > before);
  OK(kill(child, SIGKILL));
  WAIT_STATUS(child);
}

TEST(default_actions) {
  for (int number : {SIGCHLD, SIGURG, SIGWINCH, SIGCONT}) {
    JOIN(check::fork_child([&] { OK(raise(number)); }));
  }
  for (int number : {SIGHUP, SIGINT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGIO, SIGPROF, SIGVTALRM,
                     SIGPWR, SIGSTKFLT, SIGRTMIN, SIGRTMAX}) {
    CHECK_KILLED(WAIT_STATUS(check::fork_child([&] { raise(number); })), number);
  }
  rlimit none = {0, 0};
  OK(setrlimit(RLIMIT_CORE, &none));
  for (int number : {SIGQUIT, SIGILL, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGSYS, SIGXCPU, SIGXFSZ}) {
    CHECK_KILLED(WAIT_STATUS(check::fork_child([&] { raise(number); })), number);
  }
  for (int number : {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU}) {
    pid_t child = check::fork_child([&] {
      OK(setpgid(0, 0));
      raise(number);
    });
    int status;
    OK(waitpid(child, &status, WUNTRACED));
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), number);
    OK(kill(child, SIGCONT));
    JOIN(child);
  }
}

TEST(abort_cannot_be_survived) {
  signal(SIGABRT, SIG_IGN);
  CHECK_KILLED(WAIT_STATUS(check::fork_child([] { abort(); })), SIGABRT);
  on(SIGABRT, count_it);
  CHECK_KILLED(WAIT_STATUS(check::fork_child([] { abort(); })), SIGABRT);
}

sigjmp_buf jump_target;

TEST(jump_out_of_a_handler) {
  on(SIGUSR1, [](int) { siglongjmp(jump_target, 5); });
  for (int i = 0; i < 3; ++i) {
    int value = sigsetjmp(jump_target, 1);
    if (value == 0) {
      raise(SIGUSR1);
      CHECK(false);
    }
    CHECK_EQ(value, 5);
    CHECK(!blocked(SIGUSR1));
  }
}

TEST(alternate_stack) {
  alignas(16) static char memory[65536];
  stack_t stack = {}, old;
  OK(sigaltstack(nullptr, &old));
  CHECK_EQ(old.ss_flags, SS_DISABLE);
  stack.ss_sp = memory;
  stack.ss_size = sizeof memory;
  OK(sigaltstack(&stack, nullptr));
  static bool inside;
  static int flags_there, change_errno;
  on(
      SIGUSR1,
      [](int) {
        char local;
        inside = &local >= memory && &local < memory + sizeof memory;
        stack_t now = {};
        OK(sigaltstack(nullptr, &now));
        flags_there = now.ss_flags;
        now.ss_flags = SS_DISABLE;
        change_errno = sigaltstack(&now, nullptr) < 0 ? errno : 0;
      },
      SA_ONSTACK);
  OK(raise(SIGUSR1));
  CHECK(inside);
  CHECK_EQ(flags_there, SS_ONSTACK);
  CHECK_EQ(change_errno, EPERM);
  on(SIGUSR1, [](int) {
    char local;
    inside = &local >= memory && &local < memory + sizeof memory;
  });
  OK(raise(SIGUSR1));
  CHECK(!inside);
  OK(sigaltstack(nullptr, &old));
  CHECK_EQ(old.ss_flags, 0);
  CHECK(old.ss_sp == memory);
  stack.ss_size = 100;
  FAILS(ENOMEM, sigaltstack(&stack, nullptr));
  stack.ss_flags = 0x44;
  FAILS(EINVAL, sigaltstack(&stack, nullptr));
  // A child has it too, a thread starts without.
  JOIN(check::fork_child([] {
    stack_t now;
    OK(sigaltstack(nullptr, &now));
    CHECK(now.ss_sp == memory);
  }));
  std::thread([] {
    stack_t now;
    OK(sigaltstack(nullptr, &now));
    CHECK_EQ(now.ss_flags, SS_DISABLE);
  }).join();
}

TEST(stack_overflow_is_handled_on_the_alternate_stack) {
  pid_t child = check::fork_child([] {
    static char memory[65536];
    stack_t stack = {};
    stack.ss_sp = memory;
    stack.ss_size = sizeof memory;
    OK(sigaltstack(&stack, nullptr));
    on(
        SIGSEGV, [](int) { _exit(44); }, SA_ONSTACK);
    rlimit limit = {256 << 10, 256 << 10};
    OK(setrlimit(RLIMIT_STACK, &limit));
    check::use_stack(64 << 20);
  });
  CHECK_EXITED(WAIT_STATUS(child), 44);
}

TEST(overflow_without_an_alternate_stack_kills) {
  pid_t child = check::fork_child([] {
    on(SIGSEGV, [](int) { _exit(44); });
    // The frame has no place to go.
    asm volatile(
        "xor %%rsp, %%rsp\n"
        "mov (%%rsp), %%rax\n" ::
            : "memory");
  });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

TEST(altstack_too_small_for_the_frame_kills) {
  pid_t child = check::fork_child([] {
    char* page = static_cast<char*>(
        OK(mmap(nullptr, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    OK(mprotect(page, 4096, PROT_NONE));
    stack_t stack = {};
    stack.ss_sp = page + 4096;
    stack.ss_size = 8192;
    OK(sigaltstack(&stack, nullptr));
    on(
        SIGUSR1, [](int) { check::use_stack(1 << 20); }, SA_ONSTACK);
    raise(SIGUSR1);
  });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

TEST(alarms) {
  on(SIGALRM, count_it);
  CHECK_EQ(alarm(100), 0u);
  CHECK_EQ(alarm(50), 100u);
  CHECK(alarm(0) >= 49u);
  itimerval timer = {{0, 5'000}, {0, 10'000}}, old;
  OK(setitimer(ITIMER_REAL, &timer, nullptr));
  OK(getitimer(ITIMER_REAL, &old));
  CHECK_EQ(old.it_interval.tv_usec, 5'000);
  CHECK(old.it_value.tv_usec > 0);
  WAIT_UNTIL(count >= 3);
  timer = {};
  OK(setitimer(ITIMER_REAL, &timer, &old));
  int before = count;
  timespec pause = {0, 15'000'000};
  nanosleep(&pause, nullptr);
  CHECK_EQ(count, before);
  timer.it_value.tv_usec = 1'000'000;
  FAILS(EINVAL, setitimer(ITIMER_REAL, &timer, nullptr));
  FAILS(EINVAL, syscall(SYS_setitimer, 7, &timer, nullptr));
}

TEST(cpu_timers) {
  on(SIGPROF, count_it);
  on(SIGVTALRM, count_it);
  itimerval timer = {{0, 0}, {0, 20'000}};
  OK(setitimer(ITIMER_PROF, &timer, nullptr));
  uint64_t deadline = check::now_ns() + 10'000'000'000;
  while (count < 1) CHECK(check::now_ns() < deadline);
  OK(setitimer(ITIMER_VIRTUAL, &timer, nullptr));
  volatile uint64_t sum = 0;
  while (count < 2) {
    for (int i = 0; i < 1'000'000; ++i) sum = sum + 1;
    CHECK(check::now_ns() < deadline);
  }
}

TEST(cpu_limit) {
  pid_t child = check::fork_child([] {
    rlimit limit = {1, 2};
    OK(setrlimit(RLIMIT_CPU, &limit));
    volatile uint64_t sum = 0;
    for (;;) sum = sum + 1;
  });
  CHECK_KILLED(WAIT_STATUS(child), SIGXCPU);
}

TEST(signal_storm) {
  // Two processes send to each other as fast as they can; nothing is lost of what is waited for.
  on(SIGUSR1, count_it);
  block({SIGUSR1});
  pid_t parent = getpid();
  pid_t child = check::fork_child([&] {
    sigset_t set = only({SIGUSR1});
    int number;
    for (int i = 0; i < 200; ++i) {
      OK(sigwait(&set, &number));
      OK(kill(parent, SIGUSR1));
    }
  });
  sigset_t set = only({SIGUSR1});
  int number;
  for (int i = 0; i < 200; ++i) {
    OK(kill(child, SIGUSR1));
    OK(sigwait(&set, &number));
  }
  JOIN(child);
}

TEST(a_busy_loop_is_interrupted) {
  static volatile sig_atomic_t stop;
  stop = 0;
  Gate ready;
  pid_t child = check::fork_child([&] {
    on(SIGUSR1, [](int) { stop = 1; });
    ready.notify();
    while (!stop) {
    }
  });
  ready.wait();
  OK(kill(child, SIGUSR1));
  JOIN(child);
}

TEST(handlers_may_fork) {
  on(SIGUSR1, [](int) {
    JOIN(check::fork_child([] { CHECK(blocked(SIGUSR1)); }));
    count = count + 1;
  });
  OK(raise(SIGUSR1));
  CHECK_EQ(count, 1);
}

TEST(sigreturn_restores_the_mask_from_the_frame) {
  on_info(SIGUSR1, [](int, siginfo_t*, void* context) {
    sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGHUP);
  });
  CHECK(!blocked(SIGHUP));
  OK(raise(SIGUSR1));
  CHECK(blocked(SIGHUP));
}

}  // namespace
