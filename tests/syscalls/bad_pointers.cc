// EFAULT: every family's calls with addresses that are not there, not writable, half there, or not the
// user's.
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

constexpr size_t kPage = 4096;

// Addresses that must never be copied from or to.
std::vector<void*> bad_addresses() {
  char* page =
      static_cast<char*>(OK(mmap(nullptr, 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  OK(munmap(page + kPage, kPage));
  return {nullptr,
          reinterpret_cast<void*>(8),
          reinterpret_cast<void*>(0xfff8),                 // just below vm.mmap_min_addr
          page,                                            // PROT_NONE
          page + kPage,                                    // unmapped
          reinterpret_cast<void*>(0x7fff'ffff'f000),       // the first address that is no user's
          reinterpret_cast<void*>(0x8000'0000'0000),       // not canonical
          reinterpret_cast<void*>(0xffff'8000'0000'0000),  // the kernel's
          reinterpret_cast<void*>(0xffff'ffff'ff60'0000),  // vsyscall
          reinterpret_cast<void*>(~0ul)};
}

// A page that can be read and not written.
char* read_only_page() {
  return static_cast<char*>(OK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

// The last `bytes` before a page that is not there.
char* before_hole(size_t bytes) {
  char* page = static_cast<char*>(
      OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  OK(munmap(page + kPage, kPage));
  return page + kPage - bytes;
}

TEST(reads_into_bad_memory) {
  WRITE_FILE("a", "0123456789");
  Fd file(OK(open("a", O_RDONLY))), zero(OK(open("/dev/zero", O_RDONLY)));
  int fds[2], sockets[2];
  OK(pipe(fds));
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
  OK(write(fds[1], "x", 1));
  OK(write(sockets[1], "x", 1));
  auto all = bad_addresses();
  all.push_back(read_only_page());
  for (void* bad : all) {
    FAILS(EFAULT, read(file, bad, 5));
    FAILS(EFAULT, pread(file, bad, 5, 0));
    FAILS(EFAULT, read(zero, bad, 5));
    FAILS(EFAULT, read(fds[0], bad, 1));
    FAILS(EFAULT, recv(sockets[0], bad, 1, MSG_DONTWAIT));
    FAILS(EFAULT, syscall(SYS_getrandom, bad, 5, 0));
    iovec io = {bad, 5};
    FAILS(EFAULT, readv(file, &io, 1));
  }
  CHECK_EQ(OK(lseek(file, 0, SEEK_CUR)), 0);
  // What could not be delivered is still there.
  char byte;
  CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
}

TEST(writes_from_bad_memory) {
  Fd file(OK(open("a", O_RDWR | O_CREAT, 0600)));
  int fds[2], sockets[2];
  OK(pipe(fds));
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
  for (void* bad : bad_addresses()) {
    FAILS(EFAULT, write(file, bad, 5));
    FAILS(EFAULT, pwrite(file, bad, 5, 0));
    FAILS(EFAULT, write(fds[1], bad, 5));
    FAILS(EFAULT, send(sockets[0], bad, 5, 0));
    iovec io = {bad, 5};
    FAILS(EFAULT, writev(file, &io, 1));
  }
  struct stat st;
  OK(fstat(file, &st));
  CHECK_EQ(st.st_size, 0);
  // /dev/null looks at nothing.
  Fd null(OK(open("/dev/null", O_WRONLY)));
  CHECK_EQ(OK(write(null, reinterpret_cast<void*>(8), 5)), 5);
}

TEST(transfers_that_run_into_a_hole_are_short) {
  WRITE_FILE("a", std::string(1000, 'x'));
  Fd file(OK(open("a", O_RDWR)));
  char* edge = before_hole(100);
  ssize_t n = OK(read(file, edge, 1000));
  CHECK(n > 0 && n <= 100);
  CHECK_EQ(OK(lseek(file, 0, SEEK_CUR)), n);
  memset(edge, 'y', 100);
  n = OK(pwrite(file, edge, 1000, 0));
  CHECK(n > 0 && n <= 100);
  int fds[2];
  OK(pipe(fds));
  char good[8];
  iovec io[] = {{good, 8}, {reinterpret_cast<void*>(8), 8}};
  n = writev(fds[1], io, 2);
  CHECK(n == 8 || (n == -1 && errno == EFAULT));
}

TEST(paths) {
  struct stat st;
  char text[16];
  for (void* bad : bad_addresses()) {
    const char* path = static_cast<const char*>(bad);
    FAILS(EFAULT, open(path, O_RDONLY));
    FAILS(EFAULT, stat(path, &st));
    FAILS(EFAULT, access(path, F_OK));
    FAILS(EFAULT, mkdir(path, 0755));
    FAILS(EFAULT, unlink(path));
    FAILS(EFAULT, rename("a", path));
    FAILS(EFAULT, link(path, "b"));
    FAILS(EFAULT, symlink(path, "b"));
    FAILS(EFAULT, readlink(path, text, sizeof text));
    FAILS(EFAULT, chdir(path));
    FAILS(EFAULT, truncate(path, 0));
    FAILS(EFAULT, chmod(path, 0644));
    const char* args[] = {"x", nullptr};
    FAILS(EFAULT, syscall(SYS_execve, path, args, args + 1));
  }
  // A path that never ends before the hole.
  char* edge = before_hole(10);
  memset(edge, 'a', 10);
  FAILS(EFAULT, open(edge, O_RDONLY));
  edge[9] = 0;
  FAILS(ENOENT, open(edge, O_RDONLY));
}

TEST(results_of_file_calls) {
  OK(symlink("target", "link"));
  Fd dir(OK(open(".", O_RDONLY | O_DIRECTORY)));
  auto all = bad_addresses();
  all.push_back(read_only_page());
  for (void* bad : all) {
    FAILS(EFAULT, syscall(SYS_stat, ".", bad));
    FAILS(EFAULT, syscall(SYS_fstat, int(dir), bad));
    FAILS(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, ".", bad, 0));
    FAILS(EFAULT, syscall(SYS_statx, AT_FDCWD, ".", 0, STATX_BASIC_STATS, bad));
    FAILS(EFAULT, syscall(SYS_statfs, ".", bad));
    FAILS(EFAULT, readlink("link", static_cast<char*>(bad), 10));
    FAILS(EFAULT, syscall(SYS_getcwd, bad, 4096));
    FAILS(EFAULT, syscall(SYS_getdents64, int(dir), bad, 4096));
    FAILS(EFAULT, syscall(SYS_pipe2, bad, 0));
  }
}

TEST(results_of_process_calls) {
  auto all = bad_addresses();
  all.push_back(read_only_page());
  for (void* bad : all) {
    FAILS(EFAULT, syscall(SYS_uname, bad));
    FAILS(EFAULT, syscall(SYS_sysinfo, bad));
    FAILS(EFAULT, syscall(SYS_getrusage, RUSAGE_SELF, bad));
    FAILS(EFAULT, syscall(SYS_getrlimit, RLIMIT_NOFILE, bad));
    FAILS(EFAULT, syscall(SYS_getresuid, bad, bad, bad));
    FAILS(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, bad));
    if (bad != nullptr) {
      FAILS(EFAULT, syscall(SYS_times, bad));
      FAILS(EFAULT, syscall(SYS_gettimeofday, bad, nullptr));
      FAILS(EFAULT, syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, bad));
      FAILS(EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, bad, 8));
      FAILS(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, nullptr, bad, 8));
      FAILS(EFAULT, syscall(SYS_sigaltstack, nullptr, bad));
    }
    FAILS(EFAULT, syscall(SYS_rt_sigpending, bad, 8));
    FAILS(EFAULT, syscall(SYS_sched_getaffinity, 0, 128, bad));
  }
}

TEST(arguments_of_process_calls) {
  for (void* bad : bad_addresses()) {
    FAILS(EFAULT, syscall(SYS_nanosleep, bad, nullptr));
    FAILS(EFAULT, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad, nullptr));
    if (bad != nullptr) {
      FAILS(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, bad, nullptr, 8));
      FAILS(EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, nullptr, 8));
      FAILS(EFAULT, syscall(SYS_sigaltstack, bad, nullptr));
      FAILS(EFAULT, syscall(SYS_setitimer, ITIMER_REAL, bad, nullptr));
      FAILS(EFAULT, syscall(SYS_rt_sigtimedwait, bad, nullptr, nullptr, 8));
    }
    FAILS(EFAULT, syscall(SYS_rt_sigsuspend, bad, 8));
    FAILS(EFAULT, syscall(SYS_setrlimit, RLIMIT_NOFILE, bad));
    long result = syscall(SYS_clone3, bad, 64);
    CHECK(result == -1 && (errno == EFAULT || errno == ENOSYS));
  }
}

TEST(exec_arguments) {
  for (void* bad : bad_addresses()) {
    if (bad == nullptr) continue;
    const char* args[] = {"x", static_cast<const char*>(bad), nullptr};
    const char* none[] = {nullptr};
    FAILS(EFAULT, syscall(SYS_execve, "/bin/true", args, none));
    FAILS(EFAULT, syscall(SYS_execve, "/bin/true", bad, none));
    FAILS(EFAULT, syscall(SYS_execve, "/bin/true", none, bad));
    FAILS(EFAULT, syscall(SYS_execve, "/bin/true", none, args));
  }
}

TEST(wait_results) {
  for (void* bad : bad_addresses()) {
    if (bad == nullptr) continue;
    pid_t child = check::fork_child([] {});
    // The child is reaped all the same.
    FAILS(EFAULT, syscall(SYS_wait4, child, bad, 0, nullptr));
    FAILS(ECHILD, waitpid(child, nullptr, 0));
  }
}

TEST(polling_calls) {
  Fd ep(OK(epoll_create1(0)));
  int fds[2];
  OK(pipe(fds));
  epoll_event event = {};
  event.events = EPOLLOUT;
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, fds[1], &event));
  for (void* bad : bad_addresses()) {
    FAILS(EFAULT, syscall(SYS_poll, bad, 1, 0));
    FAILS(EFAULT, syscall(SYS_epoll_wait, int(ep), bad, 1, 0));
    FAILS(EFAULT, syscall(SYS_epoll_ctl, int(ep), EPOLL_CTL_ADD, fds[0], bad));
    if (bad != nullptr) {
      FAILS(EFAULT, syscall(SYS_select, 1, bad, nullptr, nullptr, nullptr));
      FAILS(EFAULT, syscall(SYS_select, 0, nullptr, nullptr, nullptr, bad));
      pollfd entry = {fds[1], POLLOUT, 0};
      FAILS(EFAULT, syscall(SYS_ppoll, &entry, 1, bad, nullptr, 8));
      FAILS(EFAULT, syscall(SYS_ppoll, &entry, 1, nullptr, bad, 8));
    }
  }
}

TEST(socket_calls) {
  Fd fd(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  int sockets[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
  auto all = bad_addresses();
  for (void* bad : all) {
    FAILS(EFAULT, syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, bad));
    FAILS(EFAULT, syscall(SYS_bind, int(fd), bad, 20));
    FAILS(EFAULT, syscall(SYS_connect, int(fd), bad, 20));
    FAILS(EFAULT, syscall(SYS_getsockname, int(fd), bad, bad));
    FAILS(EFAULT, syscall(SYS_sendmsg, sockets[0], bad, 0));
    FAILS(EFAULT, syscall(SYS_recvmsg, sockets[0], bad, MSG_DONTWAIT));
    FAILS(EFAULT, syscall(SYS_setsockopt, sockets[0], SOL_SOCKET, SO_KEEPALIVE, bad, 4));
    FAILS(EFAULT, syscall(SYS_getsockopt, sockets[0], SOL_SOCKET, SO_TYPE, bad, bad));
    msghdr message = {};
    message.msg_iov = static_cast<iovec*>(bad);
    message.msg_iovlen = 1;
    FAILS(EFAULT, sendmsg(sockets[0], &message, 0));
  }
}

TEST(timer_and_futex_calls) {
  Fd fd(OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  uint32_t word = 0;
  for (void* bad : bad_addresses()) {
    FAILS(EFAULT, syscall(SYS_timerfd_settime, int(fd), 0, bad, nullptr));
    FAILS(EFAULT, syscall(SYS_timerfd_gettime, int(fd), bad));
    if (bad != nullptr) FAILS(EFAULT, syscall(SYS_futex, &word, 0, 0, bad, nullptr, 0));
    // Alignment is looked at first.
    if (reinterpret_cast<uintptr_t>(bad) % 4 == 0) {
      FAILS(EFAULT, syscall(SYS_futex, bad, 0, 0, nullptr, nullptr, 0));
    }
  }
}

// Who wakes looks at no memory of a private futex, but must not name the kernel's.
TEST(private_futexes) {
  uint32_t word = 0;
  for (void* bad : bad_addresses()) {
    const auto address = reinterpret_cast<uint64_t>(bad);
    if (address % sizeof word != 0) {
      FAILS(EINVAL, syscall(SYS_futex, bad, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0));
      FAILS(EINVAL, syscall(SYS_futex, bad, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0));
      continue;
    }
    FAILS(EFAULT, syscall(SYS_futex, bad, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0));
    FAILS(EFAULT, syscall(SYS_futex, bad, FUTEX_CMP_REQUEUE_PRIVATE, 1, 1, &word, 0));
    if (address >> 63 != 0) {
      FAILS(EFAULT, syscall(SYS_futex, bad, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0));
      FAILS(EFAULT, syscall(SYS_futex, &word, FUTEX_REQUEUE_PRIVATE, 1, 1, bad, 0));
    } else if (address < 0x7fff'ffff'f000) {  // newer kernels let a little more through
      CHECK_EQ(OK(syscall(SYS_futex, bad, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0)), 0);
      CHECK_EQ(OK(syscall(SYS_futex, &word, FUTEX_REQUEUE_PRIVATE, 1, 1, bad, 0)), 0);
    }
  }
}

TEST(pipe_withdraws_its_descriptors) {
  Fd probe(OK(dup(0)));
  int lowest = probe;
  probe.close();
  FAILS(EFAULT, syscall(SYS_pipe2, reinterpret_cast<void*>(8), 0));
  FAILS(EFAULT, syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, reinterpret_cast<void*>(8)));
  Fd again(OK(dup(0)));
  CHECK_EQ(int(again), lowest);
}

TEST(signal_frame_without_a_stack) {
  pid_t child = check::fork_child([] {
    signal(SIGUSR1, [](int) {});
    char* page = read_only_page();
    asm volatile(
        "mov %0, %%rsp\n"
        "mov $39, %%eax\n syscall\n"           // getpid
        "mov %%eax, %%edi\n mov $10, %%esi\n"  // SIGUSR1
        "mov $62, %%eax\n syscall\n"           // kill
        "ud2\n" ::"r"(page + kPage - 64)
        : "memory");
  });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

TEST(bad_signal_return) {
  // A forged frame that leads nowhere kills the process, nothing else.
  pid_t child = check::fork_child([] {
    asm volatile("mov $8, %%rsp\n mov $15, %%eax\n syscall\n ud2\n" ::: "memory");
  });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
  child = check::fork_child([] {
    alignas(64) static char frame[2048];
    memset(frame, 0xff, sizeof frame);
    asm volatile("lea (%0), %%rsp\n mov $15, %%eax\n syscall\n ud2\n" ::"r"(frame + 64) : "memory");
  });
  int status = WAIT_STATUS(child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

}  // namespace
