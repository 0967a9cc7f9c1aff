// Calls whose trace does not depend on the kernel that answers: strace_test.sh compares what strace(1) and
// `bulkhead do --strace` print of them. What differs from run to run (addresses, ids) it makes alike.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buffer[4096];

static void handler(int signo) { (void)signo; }

static void files(void) {
  int fd = (int)syscall(SYS_open, "file", O_RDWR | O_CREAT | O_TRUNC, 0640);
  write(fd, "a line\n\ttab \"quoted\" \\ \0011\377", 26);
  lseek(fd, 0, SEEK_SET);
  read(fd, buffer, sizeof buffer);
  pread(fd, buffer, 5, 2);
  struct iovec pieces[2] = {{"first ", 6}, {"second, which is longer than what is shown of it", 48}};
  writev(fd, pieces, 2);
  lseek(fd, 3, SEEK_SET);
  struct iovec rooms[2] = {{buffer, 4}, {buffer + 100, 200}};
  readv(fd, rooms, 2);
  struct stat status;
  syscall(SYS_fstat, fd, &status);
  fchmod(fd, 04711);
  syscall(SYS_newfstatat, AT_FDCWD, "file", &status, AT_SYMLINK_NOFOLLOW);
  ftruncate(fd, 100);
  fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_GETFD);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 9};
  fcntl(fd, F_SETLK, &lock);
  flock(fd, LOCK_EX | LOCK_NB);
  flock(fd, LOCK_UN);
  flock(fd, 99);
  flock(fd, 0);
  close(fcntl(fd, F_DUPFD_CLOEXEC, 20));
  ioctl(fd, TIOCGWINSZ, buffer);
  ioctl(fd, FIONREAD, buffer);
  close(fd);
  syscall(SYS_open, "absent", O_RDONLY | O_CLOEXEC);
  syscall(SYS_access, "file", R_OK | W_OK);
  syscall(SYS_mkdir, "directory", 0755);
  syscall(SYS_symlink, "file", "link");
  syscall(SYS_readlink, "link", buffer, sizeof buffer);
  syscall(SYS_rename, "link", "directory/link");
  syscall(SYS_unlinkat, AT_FDCWD, "directory/link", 0);
  fd = openat(AT_FDCWD, "directory", O_RDONLY | O_DIRECTORY);
  syscall(SYS_getdents64, fd, buffer, sizeof buffer);
  syscall(SYS_getdents64, fd, buffer, sizeof buffer);
  close(fd);
  syscall(SYS_rmdir, "directory");
  syscall(SYS_unlink, "file");
  umask(027);
  close(-1);
}

static void memory(void) {
  void* place = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(place, 4096, PROT_READ);
  madvise(place, 8192, MADV_DONTNEED);
  mremap(place, 8192, 16384, MREMAP_MAYMOVE);
  munmap(NULL, 0);
  mmap(NULL, 4096, PROT_NONE, MAP_SHARED, 99, 0x3000);
}

static void signals(void) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
  sigaddset(&action.sa_mask, SIGINT);
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR1, NULL, &old);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, &old);
  sigset_t set;
  sigfillset(&set);
  sigprocmask(SIG_BLOCK, &set, NULL);
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_SETMASK, &set, &set);
  kill(getpid(), SIGUSR1);
  kill(getpid(), 0);
  kill(-12345678, SIGTERM);
}

static void clone3_and_wait(struct clone_args* made) {
  pid_t child = (pid_t)syscall(SYS_clone3, made, sizeof *made);
  if (child == 0) _exit(0);
  wait4(child, NULL, 0, NULL);
}

static void processes(void) {
  int fds[2], status;
  syscall(SYS_pipe2, fds, O_CLOEXEC);
  syscall(SYS_pipe, fds);
  pid_t child = (pid_t)syscall(SYS_fork);
  if (child == 0) _exit(3);
  wait4(child, &status, 0, NULL);
  wait4(-1, &status, WNOHANG | WUNTRACED, NULL);
  struct clone_args made = {.exit_signal = SIGCHLD};
  clone3_and_wait(&made);
  made.flags = CLONE_PIDFD | CLONE_PARENT_SETTID;
  made.pidfd = (uintptr_t)&fds[0], made.parent_tid = (uintptr_t)&fds[1];
  clone3_and_wait(&made);
  made.flags = CLONE_VM | CLONE_THREAD | CLONE_CHILD_CLEARTID | CLONE_SETTLS | CLONE_CLEAR_SIGHAND;
  made.exit_signal = 0, made.stack_size = 4096, made.tls = 0x123456, made.child_tid = (uintptr_t)&fds[0];
  syscall(SYS_clone3, &made, sizeof made);
  syscall(SYS_clone3, &made, 8);
  syscall(SYS_clone3, NULL, sizeof made);
  memset(buffer, 0, 100);
  syscall(SYS_clone3, buffer, 100, buffer[95] = 1);
  uint64_t processors = 1;
  syscall(SYS_sched_setaffinity, 0, sizeof processors, &processors);
  syscall(SYS_sched_getaffinity, 0, sizeof processors, &processors);
  syscall(SYS_sched_getaffinity, 0, 1, &processors);
  processors = 0;
  syscall(SYS_sched_setaffinity, 0, sizeof processors, &processors);
  struct rlimit limit = {64 * 1024, RLIM_INFINITY};
  syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, NULL);
  syscall(SYS_setrlimit, RLIMIT_FSIZE, &limit);
  syscall(SYS_getrlimit, RLIMIT_FSIZE, &limit);
  prctl(PR_SET_NAME, "renamed");
  syscall(SYS_set_robust_list, NULL, 7);
  char* arguments[] = {"absent", "one \"two\"", NULL};
  execve("/absent", arguments, (char*[]){"A=1", "B=2", NULL});
}

static void waiting(void) {
  int fds[2];
  syscall(SYS_pipe2, fds, 0);
  write(fds[1], "x", 1);
  struct pollfd polled[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLOUT | POLLHUP, 0}};
  syscall(SYS_poll, polled, 2, 1000);
  syscall(SYS_poll, polled, 0, 1);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fds[0], &set);
  struct timeval time = {0, 0};
  syscall(SYS_select, fds[0] + 1, &set, NULL, NULL, NULL);
  FD_ZERO(&set);
  syscall(SYS_select, 0, NULL, NULL, NULL, &time);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u64 = 7}}, ready[4];
  epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event);
  syscall(SYS_epoll_wait, epoll, ready, 4, -1);
  epoll_ctl(epoll, EPOLL_CTL_DEL, fds[0], NULL);
  struct timespec short_time = {0, 1000};
  syscall(SYS_nanosleep, &short_time, NULL);
  syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &short_time, NULL);
  uint32_t word = 1;
  syscall(SYS_futex, &word, 128 /* FUTEX_WAIT_PRIVATE */, 2, NULL);
  syscall(SYS_futex, &word, 129 /* FUTEX_WAKE_PRIVATE */, 1);
  syscall(SYS_getrandom, buffer, 0, GRND_NONBLOCK);
}

static void options(void) {
  const int one = 1;
  const struct timeval time = {1, 500000};
  const struct linger linger = {1, 2};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, 2);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, NULL, 4);
  setsockopt(fd, SOL_SOCKET, 9999, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, 2);
  setsockopt(fd, IPPROTO_IP, IP_TOS, &one, 1);
  setsockopt(fd, 9998, 7, &one, sizeof one);
  static const struct {
    int level, option;
    socklen_t room;
  } kAsked[] = {{SOL_SOCKET, SO_REUSEADDR, 4}, {SOL_SOCKET, SO_ERROR, 64},    {SOL_SOCKET, SO_ERROR, 3},
                {SOL_SOCKET, SO_TYPE, 2},      {SOL_SOCKET, SO_RCVTIMEO, 16}, {SOL_SOCKET, SO_LINGER, 8},
                {SOL_SOCKET, SO_LINGER, 4},    {SOL_SOCKET, SO_LINGER, 100},  {SOL_SOCKET, SO_DOMAIN, 4},
                {SOL_SOCKET, SO_PROTOCOL, 4},  {SOL_SOCKET, SO_TYPE, 0},      {SOL_SOCKET, 9999, 4},
                {SOL_SOCKET, SO_LINGER, -1},   {IPPROTO_TCP, TCP_NODELAY, 4}, {IPPROTO_IP, IP_TTL, 8}};
  for (size_t i = 0; i < sizeof kAsked / sizeof kAsked[0]; ++i) {
    socklen_t room = kAsked[i].room;
    getsockopt(fd, kAsked[i].level, kAsked[i].option, buffer, &room);
  }
  getsockopt(fd, SOL_SOCKET, SO_TYPE, buffer, NULL);
  close(fd);
}

static void addresses(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
  struct sockaddr* place = (struct sockaddr*)buffer;
  bind(fd, (struct sockaddr*)&address, sizeof address);
  static const socklen_t kRooms[] = {16, 128, 0, -1};
  for (int i = 0; i < 4; ++i) {
    socklen_t room = kRooms[i];
    getsockname(fd, place, &room);
  }
  socklen_t room = sizeof address;
  getpeername(fd, place, &room);
  recvfrom(fd, buffer + 200, 100, MSG_DONTWAIT, place, &room);
  getsockname(fd, (struct sockaddr*)&address, &room);
  sendto(fd, "abc", 3, 0, (struct sockaddr*)&address, sizeof address);
  room = 128;
  recvfrom(fd, buffer + 200, 100, 0, place, &room);
  accept(fd, place, &room);
  close(fd);
  fd = socket(AF_INET, SOCK_STREAM, 0);
  listen(fd, 1);
  getsockname(fd, (struct sockaddr*)&address, &room);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  connect(client, (struct sockaddr*)&address, sizeof address);
  room = 128;
  close(accept(fd, place, &room));
  room = 0;
  recvfrom(client, buffer + 200, 100, 0, place, &room);
  accept4(fd, NULL, NULL, 0x7);
  close(client);
  close(fd);
  int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  room = 12;
  getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, buffer, &room);
  room = 8;
  getsockname(pair[0], place, &room);
  close(pair[0]);
  close(pair[1]);
}

static void sockets(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un local = {AF_UNIX, "absent"};
  connect(fd, (struct sockaddr*)&local, sizeof local);
  local.sun_path[0] = '\0';
  bind(fd, (struct sockaddr*)&local, 7);
  shutdown(fd, SHUT_RDWR);
  close(fd);
  fd = socket(AF_INET, SOCK_STREAM, 6);
  struct sockaddr_in address = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}, {0}};
  bind(fd, (struct sockaddr*)&address, 3);
  listen(fd, -1);
  close(fd);
  int pair[2];
  socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair);
  sendto(pair[0], "datagram", 8, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
  recvfrom(pair[1], buffer, 100, 0, NULL, NULL);
  recvfrom(pair[1], buffer, 100, 0, NULL, NULL);
}

int main(void) {
  syscall(SYS_close_range, 3, ~0U, 0);
  write(1, "begin\n", 6);
  files();
  memory();
  signals();
  processes();
  waiting();
  sockets();
  options();
  addresses();
  *(volatile int*)16 = 1;
  return 0;
}
