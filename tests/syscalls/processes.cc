// fork(2), vfork(2), clone(2), clone3, exit(2), wait4(2), waitid(2).
#include <linux/sched.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

TEST(fork_returns_twice) {
  pid_t parent = getpid();
  pid_t child = check::fork_child([&] {
    CHECK(getpid() != parent);
    CHECK_EQ(getppid(), parent);
    _exit(42);
  });
  CHECK(child > 0);
  CHECK_EXITED(WAIT_STATUS(child), 42);
  FAILS(ECHILD, waitpid(child, nullptr, 0));
}

TEST(fork_copies_memory) {
  std::string text(1 << 20, 'p');
  int local = 1;
  pid_t child = check::fork_child([&] {
    CHECK_EQ(text, std::string(1 << 20, 'p'));
    text.assign(1 << 20, 'c');
    local = 2;
    CHECK_EQ(text[77'777], 'c');
  });
  JOIN(child);
  CHECK_EQ(text, std::string(1 << 20, 'p'));
  CHECK_EQ(local, 1);
}

TEST(child_does_not_see_the_parents_later_writes) {
  std::string text(100'000, 'a');
  Gate go;
  pid_t child = check::fork_child([&] {
    go.wait();
    CHECK_EQ(text, std::string(100'000, 'a'));
  });
  text.assign(100'000, 'b');
  go.notify();
  JOIN(child);
}

TEST(forks_of_forks) {
  Gate done;
  pid_t child = check::fork_child([&] {
    pid_t grandchild = check::fork_child([&] { JOIN(check::fork_child([&] { done.notify(); })); });
    JOIN(grandchild);
  });
  JOIN(child);
  done.wait();
}

TEST(a_hundred_children_at_once) {
  Gate go;
  std::vector<pid_t> children;
  for (int i = 0; i < 100; ++i) {
    children.push_back(check::fork_child([&, i] {
      go.wait();
      _exit(i);
    }));
  }
  for (int i = 0; i < 100; ++i) go.notify();
  for (int i = 0; i < 100; ++i) CHECK_EXITED(WAIT_STATUS(children[size_t(i)]), i);
}

TEST(exit_status_is_eight_bits) {
  CHECK_EXITED(WAIT_STATUS(check::fork_child([] { _exit(0x1234); })), 0x34);
  CHECK_EXITED(WAIT_STATUS(check::fork_child([] { _exit(-1); })), 255);
  CHECK_EXITED(WAIT_STATUS(check::fork_child([] { syscall(SYS_exit, 7); })), 7);
  CHECK_EXITED(WAIT_STATUS(check::fork_child([] { exit(3); })), 3);
}

TEST(death_by_signal_is_told) {
  for (int number : {SIGKILL, SIGTERM, SIGUSR1, SIGHUP, SIGALRM, SIGRTMIN + 3}) {
    pid_t child = check::fork_child([&] {
      raise(number);
      _exit(1);
    });
    CHECK_KILLED(WAIT_STATUS(child), number);
  }
}

TEST(wait_for_any_child) {
  pid_t a = check::fork_child([] { _exit(1); });
  pid_t b = check::fork_child([] { _exit(2); });
  int seen = 0;
  for (int i = 0; i < 2; ++i) {
    int status;
    pid_t pid = OK(wait(&status));
    CHECK(pid == a || pid == b);
    CHECK_EXITED(status, pid == a ? 1 : 2);
    seen += pid == a ? 1 : 2;
  }
  CHECK_EQ(seen, 3);
  FAILS(ECHILD, wait(nullptr));
}

TEST(wait_options) {
  FAILS(ECHILD, waitpid(-1, nullptr, WNOHANG));
  FAILS(EINVAL, waitpid(-1, nullptr, 0x100));
  FAILS(ECHILD, waitpid(1, nullptr, 0));
  Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  CHECK_EQ(OK(waitpid(child, nullptr, WNOHANG)), 0);
  leave.notify();
  CHECK_EQ(OK(waitpid(child, nullptr, 0)), child);
}

TEST(wait_by_group) {
  Gate leave;
  pid_t a = check::fork_child([&] {
    OK(setpgid(0, 0));
    leave.wait();
    _exit(5);
  });
  OK(setpgid(a, a) == 0 || errno == EACCES ? 0 : -1);
  pid_t b = check::fork_child([] { _exit(6); });
  int status;
  CHECK_EQ(OK(waitpid(0, &status, 0)), b);
  FAILS(ECHILD, waitpid(0, &status, WNOHANG));
  CHECK_EQ(OK(waitpid(-a, &status, WNOHANG)), 0);
  leave.notify();
  CHECK_EQ(OK(waitpid(-a, &status, 0)), a);
  CHECK_EXITED(status, 5);
}

TEST(stop_and_continue_are_told) {
  pid_t child = check::fork_child([] {
    for (;;) pause();
  });
  OK(kill(child, SIGSTOP));
  int status;
  CHECK_EQ(OK(waitpid(child, &status, WUNTRACED)), child);
  CHECK(WIFSTOPPED(status));
  CHECK_EQ(WSTOPSIG(status), SIGSTOP);
  CHECK_EQ(check::process_state(child), 'T');
  CHECK_EQ(OK(waitpid(child, &status, WUNTRACED | WNOHANG)), 0);
  OK(kill(child, SIGCONT));
  CHECK_EQ(OK(waitpid(child, &status, WCONTINUED)), child);
  CHECK(WIFCONTINUED(status));
  CHECK_EQ(OK(waitpid(child, &status, WCONTINUED | WNOHANG)), 0);
  OK(kill(child, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(child), SIGKILL);
}

TEST(waitid_tells_all) {
  siginfo_t info = {};
  pid_t child = check::fork_child([] { _exit(9); });
  OK(waitid(P_PID, id_t(child), &info, WEXITED | WNOWAIT));
  FAILS(ECHILD, waitid(P_PID, id_t(child), nullptr, WSTOPPED | WNOHANG));
  CHECK_EQ(info.si_signo, SIGCHLD);
  CHECK_EQ(info.si_pid, child);
  CHECK_EQ(info.si_uid, getuid());
  CHECK_EQ(info.si_code, CLD_EXITED);
  CHECK_EQ(info.si_status, 9);
  // WNOWAIT leaves the zombie.
  CHECK_EQ(check::process_state(child), 'Z');
  info = {};
  OK(waitid(P_ALL, 0, &info, WEXITED));
  CHECK_EQ(info.si_pid, child);
  FAILS(ECHILD, waitid(P_PID, id_t(child), &info, WEXITED));

  child = check::fork_child([] {
    for (;;) pause();
  });
  info.si_pid = 77;
  OK(waitid(P_PID, id_t(child), &info, WEXITED | WNOHANG));
  CHECK_EQ(info.si_pid, 0);
  OK(kill(child, SIGSTOP));
  OK(waitid(P_PID, id_t(child), &info, WSTOPPED));
  CHECK_EQ(info.si_code, CLD_STOPPED);
  CHECK_EQ(info.si_status, SIGSTOP);
  OK(kill(child, SIGCONT));
  OK(waitid(P_PID, id_t(child), &info, WCONTINUED));
  CHECK_EQ(info.si_code, CLD_CONTINUED);
  OK(kill(child, SIGTERM));
  OK(waitid(P_PID, id_t(child), &info, WEXITED));
  CHECK_EQ(info.si_code, CLD_KILLED);
  CHECK_EQ(info.si_status, SIGTERM);
  FAILS(EINVAL, waitid(P_ALL, 0, &info, 0));
  FAILS(EINVAL, syscall(SYS_waitid, 99, 0, &info, WEXITED, nullptr));
}

TEST(wait4_gives_usage) {
  pid_t child = check::fork_child([] {
    volatile uint64_t sum = 0;
    while (check::now_ns(CLOCK_PROCESS_CPUTIME_ID) < 20'000'000) sum = sum + 1;
  });
  int status;
  rusage usage = {};
  CHECK_EQ(OK(wait4(child, &status, 0, &usage)), child);
  CHECK(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec > 0 ||
        usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 5000);
}

TEST(zombie_until_reaped) {
  pid_t child = check::fork_child([] {});
  WAIT_UNTIL(check::process_state(child) == 'Z');
  OK(kill(child, 0));
  OK(kill(child, SIGKILL));
  CHECK_EXITED(WAIT_STATUS(child), 0);
  FAILS(ESRCH, kill(child, 0));
  CHECK_EQ(check::process_state(child), 0);
}

TEST(ignored_children_vanish) {
  signal(SIGCHLD, SIG_IGN);
  pid_t child = check::fork_child([] {});
  // wait(2): blocks until all are gone, then says ECHILD.
  FAILS(ECHILD, waitpid(child, nullptr, 0));
  FAILS(ESRCH, kill(child, 0));
}

TEST(wait_is_interrupted_by_a_signal) {
  pid_t waiter = check::fork_child([] {
    pid_t child = check::fork_child([] {
      for (;;) pause();
    });
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    WRITE_FILE("ready", "");
    FAILS(EINTR, waitpid(child, nullptr, 0));
    OK(kill(child, SIGKILL));
    CHECK_KILLED(WAIT_STATUS(child), SIGKILL);
  });
  WAIT_UNTIL(access("ready", F_OK) == 0);
  WAIT_BLOCKED(waiter);
  OK(kill(waiter, SIGUSR1));
  JOIN(waiter);
}

TEST(one_thread_waits_for_anothers_child) {
  pid_t child = 0;
  std::thread([&] { child = check::fork_child([] { _exit(4); }); }).join();
  CHECK_EXITED(WAIT_STATUS(child), 4);
}

TEST(wnothread_waits_only_for_own_children) {
  pid_t child = 0;
  check::Gate made, leave;
  std::thread other([&] {
    child = check::fork_child([] {});
    made.notify();
    leave.wait();
  });
  made.wait();
  FAILS(ECHILD, waitpid(child, nullptr, __WNOTHREAD));
  JOIN(child);
  leave.notify();
  other.join();
}

constexpr size_t kStackSize = 256 * 1024;

struct Stack {
  Stack() {
    base = OK(static_cast<char*>(
        mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  }
  ~Stack() { munmap(base, kStackSize); }
  char* top() { return base + kStackSize; }
  char* base;
};

TEST(clone_with_shared_memory_and_files) {
  Stack stack;
  static int value, opened;
  value = 0;
  pid_t pid = OK(clone(
      [](void*) {
        value = 11;
        opened = open("/dev/null", O_RDONLY);
        return 12;
      },
      stack.top(), CLONE_VM | CLONE_FILES | SIGCHLD, nullptr));
  CHECK_EXITED(WAIT_STATUS(pid), 12);
  CHECK_EQ(value, 11);
  OK(fcntl(opened, F_GETFD));
}

TEST(clone_without_shared_files) {
  Stack stack;
  static int opened;
  pid_t pid = OK(clone(
      [](void*) {
        opened = open("/dev/null", O_RDONLY);
        return 0;
      },
      stack.top(), CLONE_VM | SIGCHLD, nullptr));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
  FAILS(EBADF, fcntl(opened, F_GETFD));
}

TEST(clone_with_shared_cwd_and_umask) {
  Stack stack;
  OK(mkdir("d", 0755));
  pid_t pid = OK(clone(
      [](void*) {
        umask(0123);
        return chdir("d") == 0 ? 0 : 1;
      },
      stack.top(), CLONE_FS | SIGCHLD, nullptr));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
  OK(access("../d", F_OK));
  CHECK_EQ(umask(022), 0123u);
}

TEST(clone_with_another_exit_signal) {
  Stack stack;
  signal(SIGUSR2, [](int) {});
  pid_t pid = OK(clone([](void*) { return 0; }, stack.top(), SIGUSR2, nullptr));
  // waitpid(2): a child with another signal than SIGCHLD is a "clone" child.
  FAILS(ECHILD, waitpid(pid, nullptr, 0));
  int status;
  CHECK_EQ(OK(waitpid(pid, &status, __WALL)), pid);
  CHECK_EXITED(status, 0);
}

TEST(clone_sets_tids) {
  Stack stack;
  static pid_t parent_tid, child_tid;
  parent_tid = child_tid = 0;
  pid_t pid = OK(clone([](void*) { return child_tid == static_cast<pid_t>(syscall(SYS_gettid)) ? 0 : 1; },
                       stack.top(), CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, nullptr, &parent_tid,
                       nullptr, &child_tid));
  CHECK_EQ(parent_tid, pid);
  CHECK_EQ(child_tid, 0);
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(clone_flag_rules) {
  Stack stack;
  auto body = [](void*) { return 0; };
  FAILS(EINVAL, clone(body, stack.top(), CLONE_THREAD | SIGCHLD, nullptr));
  FAILS(EINVAL, clone(body, stack.top(), CLONE_SIGHAND | SIGCHLD, nullptr));
  FAILS(EINVAL, clone(body, stack.top(), CLONE_THREAD | CLONE_SIGHAND | SIGCHLD, nullptr));
  FAILS(EINVAL, clone(body, stack.top(), CLONE_FS | CLONE_NEWNS | SIGCHLD, nullptr));
}

TEST(clone_parent_makes_a_sibling) {
  Stack stack;
  Gate told;
  int fds[2];
  OK(pipe(fds));
  pid_t middle = check::fork_child([&] {
    pid_t pid = OK(clone([](void*) { return 33; }, stack.top(), CLONE_PARENT | SIGCHLD, nullptr));
    FAILS(ECHILD, waitpid(pid, nullptr, 0));
    CHECK_EQ(OK(write(fds[1], &pid, sizeof pid)), ssize_t(sizeof pid));
  });
  pid_t sibling;
  CHECK_EQ(OK(read(fds[0], &sibling, sizeof sibling)), ssize_t(sizeof sibling));
  CHECK_EXITED(WAIT_STATUS(sibling), 33);
  JOIN(middle);
}

TEST(clone3_as_fork) {
  clone_args args = {};
  args.exit_signal = SIGCHLD;
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0 && errno == ENOSYS) SKIP_OPTIONAL("no clone3");
  if (pid == 0) _exit(17);
  OK(pid);
  CHECK_EXITED(WAIT_STATUS(static_cast<pid_t>(pid)), 17);
  FAILS(EINVAL, syscall(SYS_clone3, &args, 8));
  args.flags = CLONE_THREAD;
  FAILS(EINVAL, syscall(SYS_clone3, &args, sizeof args));
}

TEST(clone3_refuses_what_it_does_not_know) {
  const auto fails_with = [](uint64_t flags, uint64_t cgroup, size_t size) {
    clone_args args = {};
    args.flags = flags;
    args.exit_signal = SIGCHLD;
    args.cgroup = cgroup;
    const long pid = syscall(SYS_clone3, &args, size);
    if (pid == 0) _exit(0);
    if (pid < 0) return errno;
    (void)WAIT_STATUS(static_cast<pid_t>(pid));
    return 0;
  };
  for (int bit = 34; bit < 64; ++bit) CHECK_EQ(fails_with(uint64_t{1} << bit, 0, sizeof(clone_args)), EINVAL);
  // CSIGNAL's bits, which have a member of their own here; but for CLONE_NEWTIME's.
  for (int bit = 0; bit < 7; ++bit) CHECK_EQ(fails_with(uint64_t{1} << bit, 0, sizeof(clone_args)), EINVAL);
  CHECK(fails_with(CLONE_NEWTIME, 0, sizeof(clone_args)) != EINVAL);
  Fd directory(OK(open("/tmp", O_RDONLY | O_DIRECTORY))), null(OK(open("/dev/null", O_RDONLY)));
  CHECK_EQ(fails_with(CLONE_INTO_CGROUP, 999, sizeof(clone_args)), EBADF);
  CHECK_EQ(fails_with(CLONE_INTO_CGROUP, uint64_t(int(directory)), sizeof(clone_args)), EBADF);
  CHECK_EQ(fails_with(CLONE_INTO_CGROUP, uint64_t(int(null)), sizeof(clone_args)), EBADF);
  CHECK_EQ(fails_with(CLONE_INTO_CGROUP, uint64_t{1} << 31, sizeof(clone_args)), EINVAL);
  CHECK_EQ(fails_with(CLONE_INTO_CGROUP, ~uint64_t{0}, sizeof(clone_args)), EINVAL);
  CHECK_EQ(fails_with(CLONE_INTO_CGROUP, 999, CLONE_ARGS_SIZE_VER1), EINVAL);
}

TEST(exit_group_ends_all_threads) {
  pid_t pid = check::fork_child([] {
    std::thread([] {
      for (;;) pause();
    }).detach();
    std::thread([] {
      for (;;) asm volatile("");
    }).detach();
    std::thread([] { _exit(31); }).join();
  });
  CHECK_EXITED(WAIT_STATUS(pid), 31);
}

TEST(leader_exits_first) {
  // The process lives until its last thread ends; its status is then the last one's exit_group or the
  // leader's.
  Gate go;
  pid_t pid = check::fork_child([&] {
    std::thread([&] {
      go.wait();
      _exit(8);
    }).detach();
    syscall(SYS_exit, 3);
  });
  WAIT_UNTIL(check::process_state(pid) == 'Z');
  CHECK_EQ(OK(waitpid(pid, nullptr, WNOHANG)), 0);
  go.notify();
  CHECK_EXITED(WAIT_STATUS(pid), 8);
}

TEST(killing_a_process_with_threads) {
  Gate ready;
  pid_t pid = check::fork_child([&] {
    for (int i = 0; i < 10; ++i) {
      std::thread([] {
        for (;;) pause();
      }).detach();
    }
    ready.notify();
    for (;;) asm volatile("");
  });
  ready.wait();
  OK(kill(pid, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
}

TEST(fork_in_a_thread_copies_that_thread_only) {
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) sched_yield();
  });
  std::thread([&] {
    JOIN(check::fork_child([] {
      CHECK_EQ(getpid(), check::gettid());
      std::string status = READ_FILE("/proc/self/status");
      CHECK(status.find("\nThreads:\t1\n") != std::string::npos);
    }));
  }).join();
  stop = true;
  other.join();
}

TEST(process_limit) {
  if (check::is_root()) {
    OK(setresgid(65533, 65533, 65533));
    OK(setresuid(65533, 65533, 65533));
  }
  rlimit limit = {1, 1};
  OK(setrlimit(RLIMIT_NPROC, &limit));
  FAILS(EAGAIN, fork());
}

TEST(file_offset_is_shared_after_fork) {
  WRITE_FILE("a", "0123456789");
  Fd fd(OK(open("a", O_RDONLY)));
  char text[4];
  JOIN(check::fork_child([&] { CHECK_EQ(OK(read(fd, text, 4)), 4); }));
  CHECK_EQ(OK(read(fd, text, 4)), 4);
  CHECK_EQ(std::string(text, 4), "4567");
}

TEST(signal_by_a_directory_of_proc) {
  const pid_t child = check::fork_child([] { pause(); });
  const std::string place = "/proc/" + std::to_string(child);
  const Fd directory(OK(open(place.c_str(), O_RDONLY | O_DIRECTORY)));
  const Fd task(OK(open((place + "/task").c_str(), O_RDONLY | O_DIRECTORY)));
  FAILS(EBADF, syscall(SYS_pidfd_send_signal, int{task}, 0, nullptr, 0));
  OK(syscall(SYS_pidfd_send_signal, int{directory}, 0, nullptr, 0));
  OK(syscall(SYS_pidfd_send_signal, int{directory}, SIGKILL, nullptr, 0));
  CHECK_EQ(WTERMSIG(WAIT_STATUS(child)), SIGKILL);
  FAILS(ESRCH, syscall(SYS_pidfd_send_signal, int{directory}, 0, nullptr, 0));
}

TEST(pidfds) {
  Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  int fd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  if (fd < 0 && errno == ENOSYS) SKIP_OPTIONAL("no pidfd_open");
  OK(fd);
  OK(syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0));
  leave.notify();
  siginfo_t info = {};
  OK(waitid(idtype_t(3), id_t(fd), &info, WEXITED));
  CHECK_EQ(info.si_pid, child);
  FAILS(ESRCH, syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0));
}

}  // namespace
