// poll(2), ppoll(2), select(2), pselect(2): readiness, timeouts, signals.
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

short poll_one(int fd, short events, int timeout_ms = 0) {
  pollfd p = {fd, events, 0};
  int n = OK(poll(&p, 1, timeout_ms));
  CHECK_EQ(n, p.revents != 0 ? 1 : 0);
  return p.revents;
}

TEST(pipe_readiness) {
  int fds[2];
  OK(pipe2(fds, O_NONBLOCK));
  CHECK_EQ(poll_one(fds[0], POLLIN), 0);
  CHECK_EQ(poll_one(fds[1], POLLOUT), POLLOUT);
  OK(write(fds[1], "x", 1));
  CHECK_EQ(poll_one(fds[0], POLLIN), POLLIN);
  std::string block(65536, 'x');
  OK(write(fds[1], block.data(), block.size()));
  CHECK_EQ(poll_one(fds[1], POLLOUT), 0);
  OK(read(fds[0], block.data(), block.size()));
  CHECK_EQ(poll_one(fds[1], POLLOUT), POLLOUT);
  OK(close(fds[1]));
  CHECK_EQ(poll_one(fds[0], 0), POLLHUP);
  OK(close(fds[0]));
  OK(pipe(fds));
  OK(close(fds[0]));
  CHECK_EQ(poll_one(fds[1], POLLOUT), POLLOUT | POLLERR);
}

TEST(files_are_always_ready) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  CHECK_EQ(poll_one(fd, POLLIN | POLLOUT), POLLIN | POLLOUT);
  Fd null(OK(open("/dev/null", O_RDWR)));
  CHECK_EQ(poll_one(null, POLLIN | POLLOUT), POLLIN | POLLOUT);
}

TEST(bad_and_negative_descriptors) {
  CHECK_EQ(poll_one(999, POLLIN), POLLNVAL);
  pollfd entries[2] = {{-1, POLLIN, 77}, {-5, POLLIN, 77}};
  CHECK_EQ(OK(poll(entries, 2, 0)), 0);
  CHECK_EQ(entries[0].revents, 0);
}

TEST(timeouts) {
  int fds[2];
  OK(pipe(fds));
  uint64_t start = check::now_ns();
  pollfd p = {fds[0], POLLIN, 0};
  CHECK_EQ(OK(poll(&p, 1, 30)), 0);
  CHECK(check::now_ns() - start >= 30'000'000);
  start = check::now_ns();
  CHECK_EQ(OK(poll(nullptr, 0, 20)), 0);
  CHECK(check::now_ns() - start >= 20'000'000);
  timespec limit = {0, 20'000'000};
  start = check::now_ns();
  CHECK_EQ(OK(ppoll(&p, 1, &limit, nullptr)), 0);
  CHECK(check::now_ns() - start >= 20'000'000);
  timespec bad = {0, -1};
  FAILS(EINVAL, ppoll(&p, 1, &bad, nullptr));
}

TEST(wakes_on_the_event) {
  int fds[2];
  OK(pipe(fds));
  pid_t waiter = check::fork_child([&] {
    pollfd entries[3] = {{fds[0], POLLIN, 0}, {-1, 0, 0}, {fds[1], 0, 0}};
    CHECK_EQ(OK(poll(entries, 3, -1)), 1);
    CHECK_EQ(entries[0].revents, POLLIN);
  });
  WAIT_BLOCKED(waiter);
  OK(write(fds[1], "x", 1));
  JOIN(waiter);
}

TEST(hangup_wakes) {
  int fds[2];
  OK(pipe(fds));
  Gate ready;
  pid_t waiter = check::fork_child([&] {
    OK(close(fds[1]));
    ready.notify();
    CHECK_EQ(poll_one(fds[0], POLLIN, -1), POLLHUP);
  });
  ready.wait();
  WAIT_BLOCKED(waiter);
  OK(close(fds[1]));
  JOIN(waiter);
}

TEST(many_descriptors) {
  std::vector<pollfd> entries;
  std::vector<int> writers;
  for (int i = 0; i < 200; ++i) {
    int fds[2];
    OK(pipe(fds));
    entries.push_back({fds[0], POLLIN, 0});
    writers.push_back(fds[1]);
  }
  for (size_t i = 0; i < writers.size(); i += 10) OK(write(writers[i], "x", 1));
  CHECK_EQ(OK(poll(entries.data(), entries.size(), -1)), 20);
  for (size_t i = 0; i < entries.size(); ++i) CHECK_EQ(entries[i].revents, i % 10 == 0 ? POLLIN : 0);
  FAILS(EINVAL, poll(entries.data(), 0x7fff'ffff, 0));  // beyond RLIMIT_NOFILE
}

TEST(signal_interrupts_poll) {
  // signal(7): poll is never restarted, SA_RESTART or not.
  pid_t waiter = check::fork_child([] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    OK(sigaction(SIGUSR1, &action, nullptr));
    FAILS(EINTR, poll(nullptr, 0, -1));
    FAILS(EINTR, select(0, nullptr, nullptr, nullptr, nullptr));
  });
  for (int i = 0; i < 2; ++i) {
    WAIT_BLOCKED(waiter);
    OK(kill(waiter, SIGUSR1));
  }
  // The second signal may meet the first call's end: give until the child is gone.
  WAIT_UNTIL([&] {
    kill(waiter, SIGUSR1);
    char state = check::process_state(waiter);
    return state == 'Z' || state == 0;
  }());
  JOIN(waiter);
}

volatile sig_atomic_t handled = 0;

TEST(ppoll_unblocks_signals_only_while_waiting) {
  struct sigaction action = {};
  action.sa_handler = [](int) { handled = handled + 1; };
  OK(sigaction(SIGUSR1, &action, nullptr));
  sigset_t set, none;
  sigemptyset(&set);
  sigemptyset(&none);
  sigaddset(&set, SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  OK(raise(SIGUSR1));
  CHECK_EQ(handled, 0);
  timespec limit = {5, 0};
  FAILS(EINTR, ppoll(nullptr, 0, &limit, &none));
  CHECK_EQ(handled, 1);
  sigset_t now;
  OK(sigprocmask(SIG_BLOCK, nullptr, &now));
  CHECK(sigismember(&now, SIGUSR1));
  OK(raise(SIGUSR1));
  FAILS(EINTR, pselect(0, nullptr, nullptr, nullptr, &limit, &none));
  CHECK_EQ(handled, 2);
  // Ready descriptors win over a signal that stays blocked.
  int fds[2];
  OK(pipe(fds));
  OK(write(fds[1], "x", 1));
  OK(raise(SIGUSR1));
  pollfd p = {fds[0], POLLIN, 0};
  CHECK_EQ(OK(ppoll(&p, 1, &limit, &set)), 1);
  CHECK_EQ(handled, 2);
}

TEST(select_sets) {
  int a[2], b[2];
  OK(pipe(a));
  OK(pipe(b));
  OK(write(a[1], "x", 1));
  fd_set readers, writers;
  FD_ZERO(&readers);
  FD_ZERO(&writers);
  FD_SET(a[0], &readers);
  FD_SET(b[0], &readers);
  FD_SET(b[1], &writers);
  timeval limit = {5, 0};
  CHECK_EQ(OK(select(b[1] + 1, &readers, &writers, nullptr, &limit)), 2);
  CHECK(FD_ISSET(a[0], &readers));
  CHECK(!FD_ISSET(b[0], &readers));
  CHECK(FD_ISSET(b[1], &writers));
  // select(2): Linux writes back the time not slept.
  CHECK(limit.tv_sec <= 5);
  FD_ZERO(&readers);
  FD_SET(60, &readers);
  limit = {0, 0};
  FAILS(EBADF, select(61, &readers, nullptr, nullptr, &limit));
  FAILS(EINVAL, select(-1, nullptr, nullptr, nullptr, &limit));
  limit = {-1, 0};
  FAILS(EINVAL, select(0, nullptr, nullptr, nullptr, &limit));
}

TEST(select_times_out_and_clears) {
  int fds[2];
  OK(pipe(fds));
  fd_set readers;
  FD_ZERO(&readers);
  FD_SET(fds[0], &readers);
  timeval limit = {0, 20'000};
  uint64_t start = check::now_ns();
  CHECK_EQ(OK(select(fds[0] + 1, &readers, nullptr, nullptr, &limit)), 0);
  CHECK(check::now_ns() - start >= 20'000'000);
  CHECK(!FD_ISSET(fds[0], &readers));
  CHECK_EQ(limit.tv_sec + limit.tv_usec, 0);
  timespec nano = {0, 20'000'000};
  start = check::now_ns();
  CHECK_EQ(OK(pselect(0, nullptr, nullptr, nullptr, &nano, nullptr)), 0);
  CHECK(check::now_ns() - start >= 20'000'000);
}

TEST(socket_readiness) {
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  CHECK_EQ(poll_one(fds[0], POLLIN | POLLOUT), POLLOUT);
  OK(write(fds[1], "x", 1));
  CHECK_EQ(poll_one(fds[0], POLLIN | POLLOUT), POLLIN | POLLOUT);
  OK(shutdown(fds[1], SHUT_WR));
  CHECK_EQ(poll_one(fds[0], POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
  OK(close(fds[1]));
  CHECK(poll_one(fds[0], POLLIN) & POLLHUP);
}

}  // namespace
