// epoll(7).
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    OK(pipe2(fds, O_NONBLOCK));
    reader = Fd(fds[0]);
    writer = Fd(fds[1]);
  }
  void put() { OK(write(writer, "x", 1)); }
  void take() {
    char byte;
    CHECK_EQ(OK(read(reader, &byte, 1)), 1);
  }
  Fd reader, writer;
};

void add(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = data;
  OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

void modify(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = data;
  OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
}

// The events ready now, or after at most timeout_ms.
std::vector<epoll_event> ready(int epoll, int timeout_ms = 0, int most = 16) {
  std::vector<epoll_event> events(static_cast<size_t>(most));
  events.resize(static_cast<size_t>(OK(epoll_wait(epoll, events.data(), most, timeout_ms))));
  return events;
}

TEST(level_triggered) {
  Fd ep(OK(epoll_create1(EPOLL_CLOEXEC)));
  CHECK_EQ(OK(fcntl(ep, F_GETFD)), FD_CLOEXEC);
  Pipe p;
  add(ep, p.reader, EPOLLIN, 0x1234'5678'9abc'def0);
  CHECK_EQ(ready(ep).size(), 0u);
  p.put();
  for (int i = 0; i < 3; ++i) {
    auto events = ready(ep, -1);
    CHECK_EQ(events.size(), 1u);
    CHECK_EQ(events[0].events, EPOLLIN);
    CHECK_EQ(events[0].data.u64, 0x1234'5678'9abc'def0u);
  }
  p.take();
  CHECK_EQ(ready(ep).size(), 0u);
}

TEST(edge_triggered) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  add(ep, p.reader, EPOLLIN | EPOLLET, 1);
  p.put();
  CHECK_EQ(ready(ep).size(), 1u);
  CHECK_EQ(ready(ep).size(), 0u);
  // New data is a new edge though old data is unread.
  p.put();
  CHECK_EQ(ready(ep).size(), 1u);
  CHECK_EQ(ready(ep).size(), 0u);
  p.take();
  p.take();
  p.put();
  CHECK_EQ(ready(ep).size(), 1u);
  // Re-arming by EPOLL_CTL_MOD reports what is ready.
  modify(ep, p.reader, EPOLLIN | EPOLLET, 2);
  CHECK_EQ(ready(ep)[0].data.u64, 2u);
}

TEST(edge_triggered_output) {
  Fd ep(OK(epoll_create1(0)));
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
  add(ep, fds[0], EPOLLOUT | EPOLLIN | EPOLLET, 1);
  CHECK_EQ(ready(ep)[0].events, EPOLLOUT);
  CHECK_EQ(ready(ep).size(), 0u);
  OK(write(fds[1], "x", 1));
  CHECK(ready(ep)[0].events & EPOLLIN);
  std::string block(65536, 'x');
  while (write(fds[0], block.data(), block.size()) > 0) {
  }
  CHECK_EQ(errno, EAGAIN);
  (void)ready(ep);
  while (read(fds[1], block.data(), block.size()) > 0) {
  }
  auto events = ready(ep, 5000);
  CHECK_EQ(events.size(), 1u);
  CHECK(events[0].events & EPOLLOUT);
}

TEST(one_shot) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  add(ep, p.reader, EPOLLIN | EPOLLONESHOT, 1);
  p.put();
  CHECK_EQ(ready(ep).size(), 1u);
  p.put();
  CHECK_EQ(ready(ep).size(), 0u);
  modify(ep, p.reader, EPOLLIN | EPOLLONESHOT, 2);
  CHECK_EQ(ready(ep).size(), 1u);
  CHECK_EQ(ready(ep).size(), 0u);
  // A spent one-shot is still registered.
  epoll_event event = {};
  FAILS(EEXIST, epoll_ctl(ep, EPOLL_CTL_ADD, p.reader, &event));
}

TEST(control_errors) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  epoll_event event = {};
  event.events = EPOLLIN;
  FAILS(ENOENT, epoll_ctl(ep, EPOLL_CTL_MOD, p.reader, &event));
  FAILS(ENOENT, epoll_ctl(ep, EPOLL_CTL_DEL, p.reader, nullptr));
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.reader, &event));
  FAILS(EEXIST, epoll_ctl(ep, EPOLL_CTL_ADD, p.reader, &event));
  OK(epoll_ctl(ep, EPOLL_CTL_DEL, p.reader, nullptr));
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.reader, &event));
  FAILS(EBADF, epoll_ctl(ep, EPOLL_CTL_ADD, 999, &event));
  FAILS(EBADF, epoll_ctl(999, EPOLL_CTL_ADD, p.reader, &event));
  FAILS(EINVAL, epoll_ctl(p.reader, EPOLL_CTL_ADD, p.writer, &event));
  FAILS(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, ep, &event));
  FAILS(EINVAL, epoll_ctl(ep, 99, p.reader, &event));
  Fd file(OK(open("a", O_RDWR | O_CREAT, 0600)));
  FAILS(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, file, &event));
  Fd dir(OK(open(".", O_RDONLY)));
  FAILS(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, dir, &event));
  FAILS(EINVAL, epoll_wait(ep, &event, 0, 0));
  FAILS(EINVAL, epoll_wait(p.reader, &event, 1, 0));
  FAILS(EBADF, epoll_wait(999, &event, 1, 0));
  FAILS(EINVAL, epoll_create1(0x100));
  FAILS(EINVAL, epoll_create(0));
  char byte;
  FAILS(EINVAL, read(ep, &byte, 1));
}

TEST(modify_changes_the_interest) {
  Fd ep(OK(epoll_create1(0)));
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  add(ep, fds[0], EPOLLOUT, 1);
  CHECK_EQ(ready(ep)[0].events, EPOLLOUT);
  modify(ep, fds[0], EPOLLIN, 2);
  CHECK_EQ(ready(ep).size(), 0u);
  OK(write(fds[1], "x", 1));
  CHECK_EQ(ready(ep)[0].data.u64, 2u);
  modify(ep, fds[0], 0, 3);
  CHECK_EQ(ready(ep).size(), 0u);
  OK(close(fds[1]));
  // Errors and hangups are reported whatever is asked for.
  CHECK(ready(ep)[0].events & EPOLLHUP);
}

TEST(closing_the_last_descriptor_removes) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  add(ep, p.reader, EPOLLIN, 1);
  p.put();
  p.reader.close();
  CHECK_EQ(ready(ep).size(), 0u);
  // epoll(7), Q6: with a duplicate left, events go on.
  Pipe q;
  add(ep, q.reader, EPOLLIN, 2);
  Fd copy(OK(dup(q.reader)));
  q.put();
  q.reader.close();
  CHECK_EQ(ready(ep)[0].data.u64, 2u);
  copy.close();
  CHECK_EQ(ready(ep).size(), 0u);
}

TEST(duplicates_are_separate_entries) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  Fd copy(OK(dup(p.reader)));
  add(ep, p.reader, EPOLLIN, 1);
  add(ep, copy, EPOLLIN, 2);
  p.put();
  CHECK_EQ(ready(ep).size(), 2u);
}

TEST(many_ready_rotate) {
  Fd ep(OK(epoll_create1(0)));
  std::vector<Pipe> pipes(20);
  for (size_t i = 0; i < pipes.size(); ++i) {
    add(ep, pipes[i].reader, EPOLLIN, i);
    pipes[i].put();
  }
  CHECK_EQ(ready(ep, 0, 64).size(), 20u);
  // With fewer places than events, a level-triggered set takes turns.
  std::vector<bool> seen(20);
  for (int round = 0; round < 10; ++round) {
    for (const epoll_event& event : ready(ep, 0, 4)) seen[event.data.u64] = true;
  }
  for (bool one : seen) CHECK(one);
}

TEST(waiting_wakes_on_the_event) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  add(ep, p.reader, EPOLLIN, 7);
  pid_t waiter = check::fork_child([&] { CHECK_EQ(ready(ep, -1)[0].data.u64, 7u); });
  WAIT_BLOCKED(waiter);
  p.put();
  JOIN(waiter);
}

TEST(entries_added_during_a_wait_count) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  p.put();
  pid_t waiter = check::fork_child([&] { CHECK_EQ(ready(ep, -1)[0].data.u64, 8u); });
  WAIT_BLOCKED(waiter);
  add(ep, p.reader, EPOLLIN, 8);
  JOIN(waiter);
}

TEST(nested) {
  Fd outer(OK(epoll_create1(0)));
  Fd inner(OK(epoll_create1(0)));
  Pipe p;
  add(inner, p.reader, EPOLLIN, 1);
  add(outer, inner, EPOLLIN, 2);
  CHECK_EQ(ready(outer).size(), 0u);
  pollfd poll_entry = {inner, POLLIN, 0};
  CHECK_EQ(OK(poll(&poll_entry, 1, 0)), 0);
  p.put();
  CHECK_EQ(ready(outer)[0].data.u64, 2u);
  CHECK_EQ(OK(poll(&poll_entry, 1, 0)), 1);
  CHECK_EQ(ready(inner)[0].data.u64, 1u);
  epoll_event event = {};
  event.events = EPOLLIN;
  FAILS(ELOOP, epoll_ctl(inner, EPOLL_CTL_ADD, outer, &event));
  pid_t waiter = check::fork_child([&] { CHECK_EQ(ready(outer, -1)[0].data.u64, 2u); });
  JOIN(waiter);
  p.take();
  CHECK_EQ(ready(outer).size(), 0u);
}

TEST(exclusive) {
  Fd a(OK(epoll_create1(0)));
  Fd b(OK(epoll_create1(0)));
  Pipe p;
  add(a, p.reader, EPOLLIN | EPOLLEXCLUSIVE, 1);
  add(b, p.reader, EPOLLIN | EPOLLEXCLUSIVE, 2);
  p.put();
  CHECK(ready(a).size() + ready(b).size() >= 1);
  epoll_event event = {};
  event.events = EPOLLIN;
  FAILS(EINVAL, epoll_ctl(a, EPOLL_CTL_MOD, p.reader, &event));
  event.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
  FAILS(EINVAL, epoll_ctl(a, EPOLL_CTL_ADD, p.writer, &event));
}

TEST(timeouts_and_signals) {
  Fd ep(OK(epoll_create1(0)));
  uint64_t start = check::now_ns();
  CHECK_EQ(ready(ep, 20).size(), 0u);
  CHECK(check::now_ns() - start >= 20'000'000);
  epoll_event event;
  timespec limit = {0, 20'000'000};
  start = check::now_ns();
  long n = syscall(SYS_epoll_pwait2, int(ep), &event, 1, &limit, nullptr, 8);
  if (n < 0 && errno == ENOSYS) SKIP_OPTIONAL("no epoll_pwait2");
  CHECK_EQ(n, 0);
  CHECK(check::now_ns() - start >= 20'000'000);
}

volatile sig_atomic_t handled = 0;

TEST(pwait_takes_a_mask) {
  Fd ep(OK(epoll_create1(0)));
  struct sigaction action = {};
  action.sa_handler = [](int) { handled = 1; };
  OK(sigaction(SIGUSR1, &action, nullptr));
  sigset_t set, none;
  sigemptyset(&none);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  OK(raise(SIGUSR1));
  epoll_event event;
  FAILS(EINTR, epoll_pwait(ep, &event, 1, 5000, &none));
  CHECK_EQ(handled, 1);
  pid_t waiter = check::fork_child([&] {
    OK(sigprocmask(SIG_SETMASK, &none, nullptr));
    FAILS(EINTR, epoll_wait(ep, &event, 1, -1));
  });
  WAIT_BLOCKED(waiter);
  WAIT_UNTIL([&] {
    kill(waiter, SIGUSR1);
    return check::process_state(waiter) == 'Z';
  }());
  JOIN(waiter);
}

TEST(hangups) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  add(ep, p.reader, EPOLLIN, 1);
  p.writer.close();
  CHECK_EQ(ready(ep)[0].events, EPOLLHUP);
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  Fd ep2(OK(epoll_create1(0)));
  add(ep2, fds[0], EPOLLIN | EPOLLRDHUP, 1);
  OK(shutdown(fds[1], SHUT_WR));
  CHECK_EQ(ready(ep2)[0].events, EPOLLIN | EPOLLRDHUP);
}

TEST(shared_after_fork) {
  Fd ep(OK(epoll_create1(0)));
  Pipe p;
  add(ep, p.reader, EPOLLIN, 5);
  JOIN(check::fork_child([&] {
    p.put();
    CHECK_EQ(ready(ep)[0].data.u64, 5u);
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, p.reader, nullptr));
  }));
  CHECK_EQ(ready(ep).size(), 0u);
}

}  // namespace
