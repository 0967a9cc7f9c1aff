// splice(2), tee(2), vmsplice(2), sendfile(2) between pipes, files and sockets; pidfd_getfd(2); SIGIO,
// fcntl(2).
#include <netinet/in.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

struct Ends {
  Fd first, second;
};

Ends make_pipe() {
  int fds[2];
  OK(pipe(fds));
  return {Fd(fds[0]), Fd(fds[1])};
}
Ends make_pair(int type = SOCK_STREAM) {
  int fds[2];
  OK(socketpair(AF_UNIX, type, 0, fds));
  return {Fd(fds[0]), Fd(fds[1])};
}

std::string take(int fd, size_t size = 100) {
  std::string text(size, '\0');
  text.resize(static_cast<size_t>(OK(read(fd, text.data(), size))));
  return text;
}

TEST(through_sockets) {
  Ends in = make_pair(), out = make_pair(), pipe = make_pipe();
  OK(write(in.first, "by way of a pipe", 16));
  CHECK_EQ(OK(splice(in.second, nullptr, pipe.second, nullptr, 100, 0)), 16);
  CHECK_EQ(OK(splice(pipe.first, nullptr, out.first, nullptr, 100, 0)), 16);
  CHECK_EQ(take(out.second), std::string("by way of a pipe"));
  in.first.close();
  CHECK_EQ(OK(splice(in.second, nullptr, pipe.second, nullptr, 100, 0)), 0);
}

TEST(waits_for_data_and_room) {
  Ends in = make_pipe(), out = make_pipe();
  pid_t child =
      check::fork_child([&] { CHECK_EQ(OK(splice(in.first, nullptr, out.second, nullptr, 100, 0)), 5); });
  WAIT_BLOCKED(child);
  OK(write(in.second, "later", 5));
  JOIN(child);
  CHECK_EQ(take(out.first), std::string("later"));
  FAILS(EAGAIN, splice(in.first, nullptr, out.second, nullptr, 100, SPLICE_F_NONBLOCK));
  in.second.close();
  CHECK_EQ(OK(splice(in.first, nullptr, out.second, nullptr, 100, 0)), 0);
}

TEST(nobody_reads) {
  Ends in = make_pipe(), out = make_pipe();
  OK(write(in.second, "x", 1));
  out.first.close();
  signal(SIGPIPE, SIG_IGN);
  FAILS(EPIPE, splice(in.first, nullptr, out.second, nullptr, 100, 0));
  CHECK_EQ(take(in.first), std::string("x"));
}

TEST(user_memory) {
  Ends pipe = make_pipe();
  char one[] = "one ", two[] = "two";
  iovec pieces[] = {{one, 4}, {two, 3}};
  CHECK_EQ(OK(vmsplice(pipe.second, pieces, 2, 0)), 7);
  CHECK_EQ(take(pipe.first), std::string("one two"));
  OK(write(pipe.second, "back", 4));
  char back[10] = {};
  iovec place = {back, sizeof back};
  CHECK_EQ(OK(vmsplice(pipe.first, &place, 1, 0)), 4);
  CHECK_EQ(std::string(back), std::string("back"));
  Fd file(OK(open("f", O_CREAT | O_RDWR, 0644)));
  FAILS(EBADF, vmsplice(file, pieces, 2, 0));
}

TEST(offsets) {
  WRITE_FILE("f", "0123456789");
  Fd file(OK(open("f", O_RDWR)));
  Ends pipe = make_pipe();
  loff_t offset = 7;
  CHECK_EQ(OK(splice(file, &offset, pipe.second, nullptr, 100, 0)), 3);
  CHECK_EQ(offset, 10);
  CHECK_EQ(OK(lseek(file, 0, SEEK_CUR)), 0);
  offset = 2;
  CHECK_EQ(OK(splice(pipe.first, nullptr, file, &offset, 100, 0)), 3);
  CHECK_EQ(READ_FILE("f"), std::string("0178956789"));
  FAILS(ESPIPE, splice(pipe.first, &offset, file, nullptr, 100, 0));
  Fd appending(OK(open("f", O_WRONLY | O_APPEND)));
  OK(write(pipe.second, "x", 1));
  FAILS(EINVAL, splice(pipe.first, nullptr, appending, nullptr, 1, 0));
  FAILS(EBADF, splice(pipe.second, nullptr, file, nullptr, 1, 0));
  FAILS(EINVAL, splice(pipe.first, nullptr, pipe.second, nullptr, 1, 0));
  FAILS(EINVAL, splice(pipe.first, nullptr, file, nullptr, 1, 0x100));
}

TEST(sendfile_to_a_socket) {
  const std::string content(300000, 'x');
  WRITE_FILE("f", content);
  Fd file(OK(open("f", O_RDONLY)));
  Ends ends = make_pair();
  pid_t child = check::fork_child([&] {
    size_t got = 0;
    while (got < content.size()) got += take(ends.second, 100000).size();
    CHECK_EQ(got, content.size());
  });
  size_t sent = 0;
  while (sent < content.size())
    sent += static_cast<size_t>(OK(sendfile(ends.first, file, nullptr, content.size() - sent)));
  JOIN(child);
}

TEST(another_process_s_descriptor) {
  Ends pipe = make_pipe();
  check::Gate ready, done;
  pid_t child = check::fork_child([&] {
    OK(dup2(pipe.second, 100));
    ready.notify();
    done.wait();
  });
  ready.wait();
  Fd process(static_cast<int>(OK(syscall(SYS_pidfd_open, child, 0))));
  Fd taken(static_cast<int>(OK(syscall(SYS_pidfd_getfd, process + 0, 100, 0))));
  CHECK_EQ(OK(fcntl(taken, F_GETFD)), FD_CLOEXEC);
  OK(write(taken, "mine now", 8));
  CHECK_EQ(take(pipe.first), std::string("mine now"));
  FAILS(EBADF, syscall(SYS_pidfd_getfd, process + 0, 101, 0));
  FAILS(EINVAL, syscall(SYS_pidfd_getfd, process + 0, 100, 1));
  done.notify();
  JOIN(child);
}

volatile sig_atomic_t seen_signal = 0, seen_fd = -1;
void on_signal(int signo, siginfo_t* info, void*) {
  seen_signal = signo;
  seen_fd = info->si_fd;
}

TEST(signals_for_ready_descriptors) {
  Ends ends = make_pair();
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  OK(sigaction(SIGIO, &action, nullptr));
  OK(sigaction(SIGUSR1, &action, nullptr));
  CHECK_EQ(OK(fcntl(ends.second, F_GETOWN)), 0);
  OK(fcntl(ends.second, F_SETOWN, getpid()));
  CHECK_EQ(OK(fcntl(ends.second, F_GETOWN)), getpid());
  OK(fcntl(ends.second, F_SETFL, O_ASYNC));
  CHECK((OK(fcntl(ends.second, F_GETFL)) & O_ASYNC) != 0);
  OK(write(ends.first, "x", 1));
  WAIT_UNTIL(seen_signal == SIGIO);
  OK(fcntl(ends.second, F_SETSIG, SIGUSR1));
  CHECK_EQ(OK(fcntl(ends.second, F_GETSIG)), SIGUSR1);
  OK(write(ends.first, "x", 1));
  WAIT_UNTIL(seen_signal == SIGUSR1);
  CHECK_EQ(static_cast<int>(seen_fd), ends.second + 0);
  OK(fcntl(ends.second, F_SETFL, 0));
  seen_signal = 0;
  OK(write(ends.first, "x", 1));
  CHECK_EQ(static_cast<int>(seen_signal), 0);
  FAILS(ESRCH, fcntl(ends.second, F_SETOWN, 0x3ffffff));
  OK(fcntl(ends.second, F_SETOWN, 1));  // init
  FAILS(EINVAL, fcntl(ends.second, F_SETSIG, 65));
  f_owner_ex owner = {F_OWNER_PGRP, getpgrp()};
  OK(fcntl(ends.second, F_SETOWN_EX, &owner));
  owner = {};
  OK(fcntl(ends.second, F_GETOWN_EX, &owner));
  CHECK_EQ(static_cast<int>(owner.type), static_cast<int>(F_OWNER_PGRP));
  CHECK_EQ(owner.pid, getpgrp());
}

}  // namespace
