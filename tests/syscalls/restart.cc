// What a signal does to a call that waits: signal(7), "Interruption of system calls". Each case blocks a
// child in a call, sends it a handled signal, and then lets the call's condition come true.
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

// Seen by parent and child.
struct Shared {
  volatile int handled;
  volatile int word;
};

Shared* shared() {
  static Shared* memory = static_cast<Shared*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  return memory;
}

void catch_usr1(int flags) {
  struct sigaction action = {};
  action.sa_handler = [](int) { shared()->handled = shared()->handled + 1; };
  action.sa_flags = flags;
  OK(sigaction(SIGUSR1, &action, nullptr));
}

// Starts `call` in a child with SIGUSR1 handled under these flags, and sends it the signal once it waits.
pid_t interrupt_once(int flags, const std::function<void()>& call) {
  shared()->handled = 0;
  Gate ready;
  pid_t child = check::fork_child([&] {
    catch_usr1(flags);
    ready.notify();
    call();
  });
  ready.wait();
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  WAIT_UNTIL(shared()->handled == 1);
  return child;
}

TEST(read_restarts_or_not) {
  int fds[2];
  OK(pipe(fds));
  auto interrupted = [&] {
    char byte;
    FAILS(EINTR, read(fds[0], &byte, 1));
  };
  JOIN(interrupt_once(0, interrupted));
  pid_t child = interrupt_once(SA_RESTART, [&] {
    char byte;
    CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
    CHECK_EQ(byte, 'r');
  });
  OK(write(fds[1], "r", 1));
  JOIN(child);
}

TEST(read_restarts_many_times) {
  int fds[2];
  OK(pipe(fds));
  pid_t child = interrupt_once(SA_RESTART, [&] {
    char byte;
    CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  });
  for (int i = 2; i < 12; ++i) {
    WAIT_BLOCKED(child);
    OK(kill(child, SIGUSR1));
    WAIT_UNTIL(shared()->handled == i);
  }
  OK(write(fds[1], "r", 1));
  JOIN(child);
}

TEST(ignored_and_stop_signals_do_not_interrupt) {
  int fds[2];
  OK(pipe(fds));
  Gate ready;
  pid_t child = check::fork_child([&] {
    signal(SIGUSR2, SIG_IGN);
    ready.notify();
    char byte;
    CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  });
  ready.wait();
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR2));
  OK(kill(child, SIGURG));
  OK(kill(child, SIGSTOP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  OK(kill(child, SIGCONT));
  OK(waitpid(child, &status, WCONTINUED));
  WAIT_BLOCKED(child);
  OK(write(fds[1], "r", 1));
  JOIN(child);
}

TEST(wait_restarts) {
  int fds[2];
  OK(pipe(fds));
  pid_t child = interrupt_once(SA_RESTART, [&] {
    pid_t grandchild = check::fork_child([&] {
      char byte;
      CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
      _exit(9);
    });
    int status;
    CHECK_EQ(OK(waitpid(grandchild, &status, 0)), grandchild);
    CHECK_EXITED(status, 9);
  });
  OK(write(fds[1], "r", 1));
  JOIN(child);
}

TEST(nanosleep_tells_what_is_left) {
  uint64_t start = check::now_ns();
  pid_t child = interrupt_once(SA_RESTART, [] {
    timespec time = {20, 0}, left = {};
    FAILS(EINTR, nanosleep(&time, &left));
    CHECK(left.tv_sec >= 1 && left.tv_sec <= 20);  // 20 and a timer slack, at most
  });
  JOIN(child);
  CHECK(check::now_ns() - start < 15'000'000'000);
}

TEST(nanosleep_goes_on_after_a_stop) {
  pid_t child = check::fork_child([] {
    uint64_t start = check::now_ns();
    timespec time = {0, 100'000'000}, left = {};
    OK(nanosleep(&time, &left));
    CHECK(check::now_ns() - start >= 100'000'000);
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGSTOP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  CHECK(WIFSTOPPED(status));
  OK(kill(child, SIGCONT));
  JOIN(child);
}

TEST(absolute_sleep) {
  JOIN(interrupt_once(SA_RESTART, [] {
    timespec until;
    OK(clock_gettime(CLOCK_MONOTONIC, &until));
    until.tv_sec += 20;
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr), EINTR);
  }));
}

TEST(poll_goes_on_after_a_stop) {
  int fds[2];
  OK(pipe(fds));
  pid_t child = check::fork_child([&] {
    pollfd p = {fds[0], POLLIN, 0};
    CHECK_EQ(OK(poll(&p, 1, 20'000)), 1);
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGSTOP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  OK(kill(child, SIGCONT));
  OK(waitpid(child, &status, WCONTINUED));
  WAIT_BLOCKED(child);
  OK(write(fds[1], "r", 1));
  JOIN(child);
}

TEST(never_restarted) {
  // signal(7): these fail with EINTR even under SA_RESTART.
  JOIN(interrupt_once(SA_RESTART, [] { FAILS(EINTR, poll(nullptr, 0, -1)); }));
  JOIN(interrupt_once(SA_RESTART, [] { FAILS(EINTR, select(0, nullptr, nullptr, nullptr, nullptr)); }));
  JOIN(interrupt_once(SA_RESTART, [] {
    Fd ep(OK(epoll_create1(0)));
    epoll_event event;
    FAILS(EINTR, epoll_wait(ep, &event, 1, -1));
  }));
  JOIN(interrupt_once(SA_RESTART, [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    FAILS(EINTR, sigwaitinfo(&set, nullptr));
  }));
  JOIN(interrupt_once(SA_RESTART, [] { FAILS(EINTR, pause()); }));
  JOIN(interrupt_once(SA_RESTART, [] {
    sigset_t none;
    sigemptyset(&none);
    FAILS(EINTR, sigsuspend(&none));
  }));
}

TEST(futex_wait_restarts) {
  shared()->word = 0;
  auto wait = [] { return syscall(SYS_futex, &shared()->word, FUTEX_WAIT, 0, nullptr, nullptr, 0); };
  JOIN(interrupt_once(0, [&] { FAILS(EINTR, wait()); }));
  pid_t child = interrupt_once(SA_RESTART, [&] {
    long result = wait();
    // Woken, or restarted after the value had changed.
    CHECK(result == 0 || errno == EAGAIN);
  });
  WAIT_BLOCKED(child);
  shared()->word = 1;
  OK(syscall(SYS_futex, &shared()->word, FUTEX_WAKE, 1, nullptr, nullptr, 0));
  JOIN(child);
}

TEST(futex_wait_with_a_timeout) {
  shared()->word = 0;
  // With a timeout the call is only restarted when no handler ran (a restart block), and keeps its deadline.
  JOIN(interrupt_once(SA_RESTART, [] {
    timespec limit = {20, 0};
    FAILS(EINTR, syscall(SYS_futex, &shared()->word, FUTEX_WAIT, 0, &limit, nullptr, 0));
  }));
  uint64_t start = check::now_ns();
  pid_t child = check::fork_child([] {
    timespec limit = {0, 150'000'000};
    FAILS(ETIMEDOUT, syscall(SYS_futex, &shared()->word, FUTEX_WAIT, 0, &limit, nullptr, 0));
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGSTOP));
  int status;
  OK(waitpid(child, &status, WUNTRACED));
  OK(kill(child, SIGCONT));
  JOIN(child);
  uint64_t elapsed = check::now_ns() - start;
  CHECK(elapsed >= 150'000'000 && elapsed < 10'000'000'000);
}

TEST(socket_calls) {
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  char byte;
  JOIN(interrupt_once(0, [&] { FAILS(EINTR, recv(fds[0], &byte, 1, 0)); }));
  pid_t child = interrupt_once(SA_RESTART, [&] { CHECK_EQ(OK(recv(fds[0], &byte, 1, 0)), 1); });
  OK(send(fds[1], "x", 1, 0));
  JOIN(child);
  // socket(7): with a receive timeout, never restarted.
  timeval limit = {20, 0};
  OK(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
  JOIN(interrupt_once(SA_RESTART, [&] { FAILS(EINTR, recv(fds[0], &byte, 1, 0)); }));
}

TEST(accept_restarts) {
  Fd listener(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, "s");
  OK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address));
  OK(listen(listener, 5));
  pid_t child = interrupt_once(SA_RESTART, [&] { OK(accept(listener, nullptr, nullptr)); });
  Fd client(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  OK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address));
  JOIN(child);
}

TEST(partial_transfers_are_not_restarted) {
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  OK(write(fds[1], "abc", 3));
  // MSG_WAITALL wants more than is there; the signal ends it with what has come.
  JOIN(interrupt_once(SA_RESTART, [&] {
    char text[10];
    CHECK_EQ(OK(recv(fds[0], text, 10, MSG_WAITALL)), 3);
  }));
}

TEST(record_lock_wait) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  OK(fcntl(fd, F_SETLK, &lock));
  JOIN(interrupt_once(0, [&] { FAILS(EINTR, fcntl(fd, F_SETLKW, &lock)); }));
  pid_t child = interrupt_once(SA_RESTART, [&] { OK(fcntl(fd, F_SETLKW, &lock)); });
  lock.l_type = F_UNLCK;
  OK(fcntl(fd, F_SETLK, &lock));
  JOIN(child);
}

TEST(fifo_open) {
  OK(mkfifo("f", 0600));
  JOIN(interrupt_once(0, [] { FAILS(EINTR, open("f", O_RDONLY)); }));
  pid_t child = interrupt_once(SA_RESTART, [] { OK(open("f", O_RDONLY)); });
  Fd writer(OK(open("f", O_WRONLY)));
  JOIN(child);
}

TEST(semaphore_wait) {
  auto* semaphore = reinterpret_cast<sem_t*>(reinterpret_cast<char*>(shared()) + 512);
  OK(sem_init(semaphore, 1, 0));
  JOIN(interrupt_once(0, [&] { FAILS(EINTR, sem_wait(semaphore)); }));
  pid_t child = interrupt_once(SA_RESTART, [&] { OK(sem_wait(semaphore)); });
  OK(sem_post(semaphore));
  JOIN(child);
}

TEST(handler_that_jumps_leaves_the_call) {
  // A call abandoned by siglongjmp leaves nothing behind: the next read gets the data.
  int fds[2];
  OK(pipe(fds));
  shared()->handled = 0;
  Gate ready;
  pid_t child = check::fork_child([&] {
    struct sigaction action = {};
    static sigjmp_buf target;
    action.sa_handler = [](int) { siglongjmp(target, 1); };
    OK(sigaction(SIGUSR1, &action, nullptr));
    char byte;
    ready.notify();
    if (sigsetjmp(target, 1) == 0) {
      (void)!read(fds[0], &byte, 1);
      CHECK(false);
    }
    shared()->handled = 1;
    CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  });
  ready.wait();
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  WAIT_UNTIL(shared()->handled == 1);
  OK(write(fds[1], "x", 1));
  JOIN(child);
}

TEST(signal_arriving_before_the_wait_is_not_lost_with_pselect) {
  // The race that pselect exists for: block, test, wait with the mask open.
  pid_t parent = getpid();
  catch_usr1(0);
  sigset_t set, open_mask;
  sigemptyset(&open_mask);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  for (int i = 0; i < 100; ++i) {
    shared()->handled = 0;
    pid_t child = check::fork_child([&] { OK(kill(parent, SIGUSR1)); });
    timespec limit = {10, 0};
    if (shared()->handled == 0) FAILS(EINTR, ppoll(nullptr, 0, &limit, &open_mask));
    CHECK_EQ(shared()->handled, 1);
    JOIN(child);
  }
}

}  // namespace
