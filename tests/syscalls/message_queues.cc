// POSIX message queues, mq_overview(7).
#include <grp.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>

#include "tests/syscalls/check.h"

namespace {

std::string fresh_name() { return "/bulkhead-test-" + std::to_string(getpid()); }

// A queue that is unlinked at once.
struct Queue {
  explicit Queue(long messages = 4, long size = 32, int flags = O_RDWR) {
    (void)unshare(CLONE_NEWIPC);  // as root, natively: what a failing case leaves goes with it
    mq_attr attributes = {};
    attributes.mq_maxmsg = messages;
    attributes.mq_msgsize = size;
    std::string name = fresh_name();
    fd = OK(mq_open(name.c_str(), flags | O_CREAT | O_EXCL, 0600, &attributes));
    OK(mq_unlink(name.c_str()));
  }
  ~Queue() { mq_close(fd); }
  void send(const std::string& text, unsigned priority = 0) const {
    OK(mq_send(fd, text.data(), text.size(), priority));
  }
  std::string receive() const {
    char text[8192];
    unsigned priority = 77;
    auto size = OK(mq_receive(fd, text, sizeof text, &priority));
    return std::to_string(priority) + std::string(text, size_t(size));
  }
  mq_attr attributes() const {
    mq_attr now;
    OK(mq_getattr(fd, &now));
    return now;
  }
  mqd_t fd;
};

TEST(names_and_flags) {
  (void)unshare(CLONE_NEWIPC);
  std::string name = fresh_name();
  FAILS(ENOENT, mq_open(name.c_str(), O_RDWR));
  FAILS(ENOENT, mq_unlink(name.c_str()));
  mqd_t queue = OK(mq_open(name.c_str(), O_RDWR | O_CREAT, 0600, nullptr));
  CHECK_EQ(OK(fcntl(queue, F_GETFD)), FD_CLOEXEC);
  FAILS(EEXIST, mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr));
  mq_attr attributes;
  OK(mq_getattr(queue, &attributes));
  CHECK_EQ(attributes.mq_maxmsg, 10);
  CHECK_EQ(attributes.mq_msgsize, 8192);
  CHECK_EQ(attributes.mq_flags, 0);
  struct stat info;
  OK(fstat(queue, &info));
  CHECK(S_ISREG(info.st_mode));
  CHECK_EQ(info.st_mode & 0777, 0600);
  mqd_t other = OK(mq_open(name.c_str(), O_WRONLY | O_NONBLOCK));
  OK(mq_send(other, "x", 1, 0));
  char text[8192];
  FAILS(EBADF, mq_receive(other, text, sizeof text, nullptr));
  CHECK_EQ(OK(mq_receive(queue, text, sizeof text, nullptr)), 1);
  OK(mq_unlink(name.c_str()));
  FAILS(ENOENT, mq_open(name.c_str(), O_RDWR));
  // It lives on for those who have it.
  OK(mq_send(other, "y", 1, 0));
  CHECK_EQ(OK(mq_receive(queue, text, sizeof text, nullptr)), 1);
  OK(mq_close(queue));
  OK(mq_close(other));
  FAILS(EACCES, mq_open("/a/b", O_RDWR | O_CREAT, 0600, nullptr));
  FAILS(EACCES, syscall(SYS_mq_open, "..", O_RDWR, 0, nullptr));
  FAILS(ENOENT, syscall(SYS_mq_open, "", O_RDWR, 0, nullptr));
  FAILS(ENAMETOOLONG, mq_open(("/" + std::string(256, 'a')).c_str(), O_RDWR | O_CREAT, 0600, nullptr));
  FAILS(EINVAL, mq_open("no-slash", O_RDWR | O_CREAT, 0600, nullptr));
  check::Fd file(OK(open("file", O_RDWR | O_CREAT, 0600)));
  FAILS(EBADF, mq_send(file, "x", 1, 0));
  FAILS(EBADF, mq_send(-1, "x", 1, 0));
}

TEST(limits) {
  (void)unshare(CLONE_NEWIPC);
  mq_attr attributes = {};
  FAILS(EINVAL, mq_open(fresh_name().c_str(), O_RDWR | O_CREAT, 0600, &attributes));
  attributes.mq_maxmsg = 1;
  attributes.mq_msgsize = -1;
  FAILS(EINVAL, mq_open(fresh_name().c_str(), O_RDWR | O_CREAT, 0600, &attributes));
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  attributes.mq_maxmsg = 1'000'000;
  attributes.mq_msgsize = 1;
  FAILS(EINVAL, mq_open(fresh_name().c_str(), O_RDWR | O_CREAT, 0600, &attributes));
  rlimit small = {1000, 1000};
  OK(setrlimit(RLIMIT_MSGQUEUE, &small));
  FAILS(EMFILE, mq_open(fresh_name().c_str(), O_RDWR | O_CREAT, 0600, nullptr));
}

TEST(by_priority_then_age) {
  Queue queue(6, 8192);
  queue.send("a", 1);
  queue.send("b", 5);
  queue.send("c", 5);
  queue.send("d");
  queue.send("");
  CHECK_EQ(queue.attributes().mq_curmsgs, 5);
  CHECK_EQ(queue.receive(), "5b");
  CHECK_EQ(queue.receive(), "5c");
  CHECK_EQ(queue.receive(), "1a");
  CHECK_EQ(queue.receive(), "0d");
  CHECK_EQ(queue.receive(), "0");
  FAILS(EINVAL, mq_send(queue.fd, "x", 1, 32768));
  queue.send("z", 32767);
  CHECK_EQ(queue.receive(), "32767z");
}

TEST(sizes) {
  Queue queue(2, 8);
  char text[16] = "0123456789";
  FAILS(EMSGSIZE, mq_send(queue.fd, text, 9, 0));
  OK(mq_send(queue.fd, text, 8, 0));
  FAILS(EMSGSIZE, mq_receive(queue.fd, text, 7, nullptr));
  CHECK_EQ(OK(mq_receive(queue.fd, text, 8, nullptr)), 8);
  FAILS(EFAULT, syscall(SYS_mq_timedsend, queue.fd, 8, 4, 0, nullptr));
}

TEST(without_waiting) {
  Queue queue(2, 8, O_RDWR | O_NONBLOCK);
  char text[8];
  FAILS(EAGAIN, mq_receive(queue.fd, text, 8, nullptr));
  queue.send("1");
  queue.send("2");
  FAILS(EAGAIN, mq_send(queue.fd, "3", 1, 0));
  mq_attr attributes = {}, old;
  OK(mq_setattr(queue.fd, &attributes, &old));
  CHECK_EQ(old.mq_flags, O_NONBLOCK);
  CHECK_EQ(old.mq_curmsgs, 2);
  CHECK_EQ(OK(fcntl(queue.fd, F_GETFL)) & O_NONBLOCK, 0);
  timespec past = {0, 0};
  FAILS(ETIMEDOUT, mq_timedsend(queue.fd, "3", 1, 0, &past));
  past.tv_nsec = 1'000'000'000;
  FAILS(EINVAL, mq_timedsend(queue.fd, "3", 1, 0, &past));
  attributes.mq_flags = O_APPEND;
  FAILS(EINVAL, mq_setattr(queue.fd, &attributes, nullptr));
}

TEST(waiting) {
  Queue queue(1, 8192);
  pid_t receiver = check::fork_child([&] { CHECK_EQ(queue.receive(), "3hello"); });
  WAIT_BLOCKED(receiver);
  queue.send("hello", 3);
  JOIN(receiver);
  queue.send("full");
  pid_t sender = check::fork_child([&] { queue.send("next", 9); });
  WAIT_BLOCKED(sender);
  CHECK_EQ(queue.receive(), "0full");
  JOIN(sender);
  CHECK_EQ(queue.receive(), "9next");
  timespec until;
  OK(clock_gettime(CLOCK_REALTIME, &until));
  until.tv_nsec += 20'000'000;
  if (until.tv_nsec >= 1'000'000'000) until.tv_nsec -= 1'000'000'000, ++until.tv_sec;
  char text[8192];
  FAILS(ETIMEDOUT, mq_timedreceive(queue.fd, text, sizeof text, nullptr, &until));
  CHECK(check::now_ns(CLOCK_REALTIME) >= uint64_t(until.tv_sec) * 1'000'000'000 + uint64_t(until.tv_nsec));
}

TEST(interrupted) {
  Queue queue(1, 8);
  pid_t child = check::fork_child([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    char text[8];
    FAILS(EINTR, mq_receive(queue.fd, text, 8, nullptr));
    action.sa_flags = SA_RESTART;
    OK(sigaction(SIGUSR1, &action, nullptr));
    CHECK_EQ(OK(mq_receive(queue.fd, text, 8, nullptr)), 1);
  });
  WAIT_BLOCKED(child);
  OK(kill(child, SIGUSR1));
  WAIT_BLOCKED(child);
  queue.send("x");
  JOIN(child);
}

TEST(polling) {
  Queue queue(2, 8192);
  pollfd entry = {queue.fd, POLLIN | POLLOUT, 0};
  CHECK_EQ(OK(poll(&entry, 1, 0)), 1);
  CHECK_EQ(entry.revents, POLLOUT);
  queue.send("1");
  CHECK_EQ(OK(poll(&entry, 1, 0)), 1);
  CHECK_EQ(entry.revents, POLLIN | POLLOUT);
  queue.send("2");
  CHECK_EQ(OK(poll(&entry, 1, 0)), 1);
  CHECK_EQ(entry.revents, POLLIN);
  pid_t child = check::fork_child([&] {
    entry.events = POLLOUT;
    CHECK_EQ(OK(poll(&entry, 1, -1)), 1);
  });
  WAIT_BLOCKED(child);
  CHECK_EQ(queue.receive(), "01");
  JOIN(child);
}

TEST(notification) {
  Queue queue(4, 8192);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  event.sigev_value.sival_int = 42;
  OK(mq_notify(queue.fd, &event));
  FAILS(EBUSY, mq_notify(queue.fd, &event));
  pid_t child = check::fork_child([&] {
    FAILS(EBUSY, mq_notify(queue.fd, &event));
    queue.send("x");
    queue.send("y");
  });
  JOIN(child);
  siginfo_t info;
  CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGUSR1);
  CHECK_EQ(info.si_code, SI_MESGQ);
  CHECK_EQ(info.si_value.sival_int, 42);
  CHECK_EQ(info.si_pid, child);
  // Once only, and only for a message that comes to an empty queue.
  timespec none = {0, 0};
  FAILS(EAGAIN, sigtimedwait(&set, &info, &none));
  OK(mq_notify(queue.fd, &event));
  queue.send("z");
  FAILS(EAGAIN, sigtimedwait(&set, &info, &none));
  for (int i = 0; i < 3; ++i) queue.receive();
  queue.send("again");
  CHECK_EQ(OK(sigwaitinfo(&set, &info)), SIGUSR1);
  queue.receive();
  // Not where somebody waits for the message.
  OK(mq_notify(queue.fd, &event));
  child = check::fork_child([&] { queue.receive(); });
  WAIT_BLOCKED(child);
  queue.send("taken");
  JOIN(child);
  FAILS(EAGAIN, sigtimedwait(&set, &info, &none));
  OK(mq_notify(queue.fd, nullptr));
  queue.send("unnoticed");
  FAILS(EAGAIN, sigtimedwait(&set, &info, &none));
  event.sigev_signo = 65;
  FAILS(EINVAL, mq_notify(queue.fd, &event));
  event.sigev_notify = 77;
  FAILS(EINVAL, mq_notify(queue.fd, &event));
}

std::atomic<int> thread_heard = 0;

TEST(notification_by_a_thread) {
  Queue queue(4, 8192);
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD;
  event.sigev_value.sival_int = 42;
  event.sigev_notify_function = [](sigval value) { thread_heard += value.sival_int; };
  OK(mq_notify(queue.fd, &event));
  FAILS(EBUSY, mq_notify(queue.fd, &event));
  queue.send("x");
  WAIT_UNTIL(thread_heard == 42);
  queue.send("y");
  queue.receive(), queue.receive();
  OK(mq_notify(queue.fd, &event));
  OK(mq_notify(queue.fd, nullptr));  // the library is told, and nobody is called
  OK(mq_notify(queue.fd, &event));
  queue.send("z");
  WAIT_UNTIL(thread_heard == 84);
}

// What the library builds on: 32 bytes to a netlink socket, the last of them saying why.
TEST(notification_by_a_message) {
  Queue queue(4, 8192);
  const check::Fd socket(OK(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)));
  char cookie[32] = "the cookie", got[40];
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD;
  event.sigev_signo = socket;
  event.sigev_value.sival_ptr = cookie;
  const auto notify = [&] { return syscall(SYS_mq_notify, queue.fd, &event); };
  OK(notify());
  queue.send("x");
  CHECK_EQ(OK(recv(socket, got, sizeof got, 0)), 32);
  CHECK_EQ(std::string(got), "the cookie");
  CHECK_EQ(got[31], 1);
  queue.receive();
  OK(notify());
  OK(mq_notify(queue.fd, nullptr));
  CHECK_EQ(OK(recv(socket, got, sizeof got, 0)), 32);
  CHECK_EQ(got[31], 2);
  FAILS(EAGAIN, recv(socket, got, sizeof got, MSG_DONTWAIT));
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(8);
  FAILS(EFAULT, notify());
  event.sigev_value.sival_ptr = cookie;
  event.sigev_signo = -1;
  FAILS(EBADF, notify());
  event.sigev_signo = queue.fd;
  FAILS(ENOTSOCK, notify());
  const check::Fd other(OK(::socket(AF_UNIX, SOCK_STREAM, 0)));
  event.sigev_signo = other;
  FAILS(EINVAL, notify());
}

TEST(closing_ends_the_notification) {
  Queue queue(4, 8192);
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  pid_t child = check::fork_child([&] {
    OK(mq_notify(queue.fd, &event));
    OK(close(OK(dup(queue.fd))));
    OK(mq_notify(queue.fd, &event));
  });
  JOIN(child);
  OK(mq_notify(queue.fd, &event));
}

TEST(status_as_text) {
  Queue queue(4, 8192);
  queue.send("12345");
  char text[128] = {};
  CHECK(OK(read(queue.fd, text, sizeof text)) > 0);
  CHECK_EQ(std::string(text).substr(0, 8), "QSIZE:5 ");
  FAILS(EINVAL, write(queue.fd, "x", 1));
}

TEST(others_need_permission) {
  if (!check::is_root()) SKIP("needs to become somebody else");
  (void)unshare(CLONE_NEWIPC);
  std::string name = fresh_name();
  mqd_t queue = OK(mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0604, nullptr));
  JOIN(check::fork_child([&] {
    OK(setgroups(0, nullptr));
    OK(setresgid(65534, 65534, 65534));
    OK(setresuid(65534, 65534, 65534));
    FAILS(EACCES, mq_open(name.c_str(), O_RDWR));
    OK(mq_open(name.c_str(), O_RDONLY));
    CHECK(mq_unlink(name.c_str()) < 0 && (errno == EPERM || errno == EACCES));
  }));
  OK(mq_close(queue));
  OK(mq_unlink(name.c_str()));
}

}  // namespace
