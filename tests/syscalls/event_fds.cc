// eventfd(2), timerfd_create(2), signalfd(2).
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

bool readable(int fd, int timeout_ms = 0) {
  pollfd p = {fd, POLLIN, 0};
  return OK(poll(&p, 1, timeout_ms)) == 1;
}

uint64_t read_count(int fd) {
  uint64_t value = 0;
  CHECK_EQ(OK(read(fd, &value, sizeof value)), 8);
  return value;
}

void write_count(int fd, uint64_t value) { CHECK_EQ(OK(write(fd, &value, sizeof value)), 8); }

TEST(eventfd_counts) {
  Fd fd(OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC)));
  CHECK_EQ(OK(fcntl(fd, F_GETFD)), FD_CLOEXEC);
  write_count(fd, 4);
  CHECK(readable(fd));
  CHECK_EQ(read_count(fd), 7u);
  CHECK(!readable(fd));
  uint64_t value = 0;
  FAILS(EAGAIN, read(fd, &value, 8));
  FAILS(EINVAL, read(fd, &value, 4));
  FAILS(EINVAL, write(fd, &value, 4));
  value = ~uint64_t(0);
  FAILS(EINVAL, write(fd, &value, 8));
  write_count(fd, ~uint64_t(0) - 1);
  value = 1;
  FAILS(EAGAIN, write(fd, &value, 8));
  pollfd p = {fd, POLLIN | POLLOUT, 0};
  OK(poll(&p, 1, 0));
  CHECK_EQ(p.revents, POLLIN);
  CHECK_EQ(read_count(fd), ~uint64_t(0) - 1);
  FAILS(EINVAL, eventfd(0, 0x100));
}

TEST(eventfd_as_a_semaphore) {
  Fd fd(OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK)));
  CHECK_EQ(read_count(fd), 1u);
  CHECK_EQ(read_count(fd), 1u);
  uint64_t value;
  FAILS(EAGAIN, read(fd, &value, 8));
}

TEST(eventfd_blocks) {
  Fd fd(OK(eventfd(0, 0)));
  pid_t reader = check::fork_child([&] { CHECK_EQ(read_count(fd), 9u); });
  WAIT_BLOCKED(reader);
  write_count(fd, 9);
  JOIN(reader);
  write_count(fd, ~uint64_t(0) - 1);
  pid_t writer = check::fork_child([&] { write_count(fd, 5); });
  WAIT_BLOCKED(writer);
  CHECK_EQ(read_count(fd), ~uint64_t(0) - 1);
  JOIN(writer);
  CHECK_EQ(read_count(fd), 5u);
}

itimerspec in_ms(long first, long interval) {
  return {{interval / 1000, interval % 1000 * 1'000'000}, {first / 1000, first % 1000 * 1'000'000}};
}

TEST(timerfd_once) {
  Fd fd(OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)));
  uint64_t value;
  FAILS(EAGAIN, read(fd, &value, 8));
  itimerspec spec = in_ms(20, 0), now;
  uint64_t start = check::now_ns();
  OK(timerfd_settime(fd, 0, &spec, nullptr));
  OK(timerfd_gettime(fd, &now));
  CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 20'000'000);
  CHECK(readable(fd, 5000));
  CHECK(check::now_ns() - start >= 20'000'000);
  CHECK_EQ(read_count(fd), 1u);
  OK(timerfd_gettime(fd, &now));
  CHECK_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
  FAILS(EINVAL, read(fd, &value, 4));
}

TEST(timerfd_interval_counts_expirations) {
  Fd fd(OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  itimerspec spec = in_ms(5, 5);
  uint64_t start = check::now_ns();
  OK(timerfd_settime(fd, 0, &spec, nullptr));
  uint64_t total = 0;
  while (total < 6) total += read_count(fd);
  uint64_t elapsed = check::now_ns() - start;
  CHECK(elapsed >= 30'000'000);
  // Expirations that nobody reads are counted, not lost.
  timespec pause = {0, 30'000'000};
  OK(nanosleep(&pause, nullptr));
  CHECK(read_count(fd) >= 5);
  spec = in_ms(0, 0);
  itimerspec old;
  OK(timerfd_settime(fd, 0, &spec, &old));
  CHECK_EQ(old.it_interval.tv_nsec, 5'000'000);
  CHECK(!readable(fd));
}

TEST(timerfd_absolute) {
  Fd fd(OK(timerfd_create(CLOCK_REALTIME, 0)));
  itimerspec spec = {};
  OK(clock_gettime(CLOCK_REALTIME, &spec.it_value));
  spec.it_value.tv_sec -= 1;
  OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, nullptr));
  CHECK_EQ(read_count(fd), 1u);
  spec.it_value.tv_sec += 100;
  OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, nullptr));
  itimerspec left;
  OK(timerfd_gettime(fd, &left));
  CHECK(left.it_value.tv_sec >= 90 && left.it_value.tv_sec < 100);
}

TEST(timerfd_errors) {
  FAILS(EINVAL, timerfd_create(99, 0));
  FAILS(EINVAL, timerfd_create(CLOCK_MONOTONIC, 0x100));
  Fd fd(OK(timerfd_create(CLOCK_BOOTTIME, 0)));
  itimerspec bad = {{0, 0}, {0, 1'000'000'000}};
  FAILS(EINVAL, timerfd_settime(fd, 0, &bad, nullptr));
  itimerspec good = in_ms(1, 0);
  FAILS(EINVAL, timerfd_settime(fd, 0x100, &good, nullptr));
  FAILS(EINVAL, timerfd_settime(0, 0, &good, nullptr));
  FAILS(EBADF, timerfd_settime(999, 0, &good, nullptr));
}

TEST(timerfd_in_epoll) {
  Fd fd(OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  Fd ep(OK(epoll_create1(0)));
  epoll_event event = {};
  event.events = EPOLLIN;
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
  itimerspec spec = in_ms(10, 0);
  OK(timerfd_settime(fd, 0, &spec, nullptr));
  CHECK_EQ(OK(epoll_wait(ep, &event, 1, 5000)), 1);
}

sigset_t only(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : signals) sigaddset(&set, number);
  return set;
}

TEST(signalfd_reads_pending_signals) {
  sigset_t set = only({SIGUSR1, SIGRTMIN});
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  Fd fd(OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)));
  signalfd_siginfo info[4];
  FAILS(EAGAIN, read(fd, info, sizeof info));
  CHECK(!readable(fd));
  OK(kill(getpid(), SIGUSR1));
  sigval value = {};
  value.sival_int = 42;
  OK(sigqueue(getpid(), SIGRTMIN, value));
  OK(sigqueue(getpid(), SIGRTMIN, value));
  CHECK(readable(fd));
  CHECK_EQ(OK(read(fd, info, sizeof info)), ssize_t(3 * sizeof info[0]));
  CHECK_EQ(info[0].ssi_signo, uint32_t(SIGUSR1));
  CHECK_EQ(info[0].ssi_pid, uint32_t(getpid()));
  CHECK_EQ(info[0].ssi_uid, getuid());
  CHECK_EQ(info[0].ssi_code, SI_USER);
  CHECK_EQ(info[1].ssi_signo, uint32_t(SIGRTMIN));
  CHECK_EQ(info[1].ssi_int, 42);
  CHECK_EQ(info[1].ssi_code, SI_QUEUE);
  FAILS(EINVAL, read(fd, info, sizeof info[0] - 1));
  // The set can be changed.
  sigset_t other = only({SIGUSR2});
  CHECK_EQ(OK(signalfd(fd, &other, 0)), int(fd));
  OK(raise(SIGUSR1));
  CHECK(!readable(fd));
  FAILS(EINVAL, signalfd(0, &other, 0));
}

TEST(signalfd_blocks_until_a_signal) {
  sigset_t set = only({SIGUSR1, SIGCHLD});
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  pid_t reader = check::fork_child([&] {
    Fd fd(OK(signalfd(-1, &set, 0)));
    signalfd_siginfo info;
    CHECK_EQ(OK(read(fd, &info, sizeof info)), ssize_t(sizeof info));
    CHECK_EQ(info.ssi_signo, uint32_t(SIGUSR1));
    CHECK_EQ(info.ssi_pid, uint32_t(getppid()));
  });
  WAIT_BLOCKED(reader);
  OK(kill(reader, SIGUSR1));
  JOIN(reader);
  Fd fd(OK(signalfd(-1, &set, 0)));
  signalfd_siginfo info;
  CHECK_EQ(OK(read(fd, &info, sizeof info)), ssize_t(sizeof info));
  CHECK_EQ(info.ssi_signo, uint32_t(SIGCHLD));
  CHECK_EQ(info.ssi_pid, uint32_t(reader));
  CHECK_EQ(info.ssi_code, CLD_EXITED);
}

TEST(signalfd_in_epoll) {
  sigset_t set = only({SIGUSR1});
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  Fd fd(OK(signalfd(-1, &set, 0)));
  Fd ep(OK(epoll_create1(0)));
  epoll_event event = {};
  event.events = EPOLLIN;
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
  pid_t parent = getpid();
  pid_t sender = check::fork_child([&] {
    WAIT_BLOCKED(parent);
    OK(kill(parent, SIGUSR1));
  });
  CHECK_EQ(OK(epoll_wait(ep, &event, 1, -1)), 1);
  JOIN(sender);
}

}  // namespace
