// Calls that the C library reaches by other numbers, or has no function for: by their own numbers.
#include <linux/futex.h>
#include <mqueue.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <utime.h>

#include <thread>

#include "tests/syscalls/check.h"

namespace {

int value_of(const check::Fd& fd) { return fd; }
template <typename T>
T value_of(T value) {
  return value;
}
template <typename... Arguments>
long call(long number, const Arguments&... arguments) {
  return syscall(number, value_of(arguments)...);
}

TEST(positioned_reads_and_writes) {
  check::Fd fd(static_cast<int>(OK(call(SYS_creat, "file", 0600))));
  CHECK_EQ(OK(call(SYS_pwrite64, fd, "hello", 5, 3)), 5);
  char text[8]{};
  FAILS(EBADF, call(SYS_pread64, fd, text, 8, 0));  // creat(2) opens for writing only
  check::Fd reader(OK(open("file", O_RDONLY)));
  CHECK_EQ(OK(call(SYS_pread64, reader, text, 5, 3)), 5);
  CHECK_EQ(std::string(text), "hello");
  CHECK_EQ(OK(lseek(reader, 0, SEEK_CUR)), 0);
  FAILS(EINVAL, call(SYS_pread64, reader, text, 5, -1l));
}

TEST(names_below_a_descriptor) {
  OK(call(SYS_mkdirat, AT_FDCWD, "folder", 0700));
  check::Fd folder(OK(open("folder", O_RDONLY | O_DIRECTORY)));
  OK(call(SYS_mknodat, folder, "fifo", S_IFIFO | 0600, 0));
  OK(call(SYS_symlinkat, "fifo", folder, "link"));
  OK(call(SYS_renameat, folder, "fifo", folder, "pipe"));
  struct stat status {};
  OK(fstatat(folder, "pipe", &status, 0));
  CHECK(S_ISFIFO(status.st_mode));
  CHECK(S_ISLNK((OK(fstatat(folder, "link", &status, AT_SYMLINK_NOFOLLOW)), status.st_mode)));
  FAILS(EEXIST, call(SYS_mkdirat, folder, "pipe", 0700));
  FAILS(EBADF, call(SYS_mkdirat, 999, "other", 0700));
}

TEST(times_of_old) {
  check::Fd fd(OK(open("file", O_CREAT | O_RDWR, 0600)));
  const auto seconds = [&] {
    struct stat status {};
    OK(fstat(fd, &status));
    return std::pair<long, long>(status.st_atim.tv_sec, status.st_mtim.tv_sec);
  };
  const utimbuf both{100, 200};
  OK(call(SYS_utime, "file", &both));
  CHECK(seconds() == std::pair(100l, 200l));
  timeval pair[2] = {{300, 0}, {400, 0}};
  OK(call(SYS_utimes, "file", pair));
  CHECK(seconds() == std::pair(300l, 400l));
  pair[0].tv_sec = 500;
  OK(call(SYS_futimesat, AT_FDCWD, "file", pair));
  CHECK(seconds() == std::pair(500l, 400l));
  pair[1].tv_usec = 1'000'000;
  FAILS(EINVAL, call(SYS_utimes, "file", pair));
  FAILS(ENOENT, call(SYS_utime, "missing", nullptr));
}

TEST(lists_of_attributes) {
  check::Fd fd(OK(open("file", O_CREAT | O_RDWR, 0600)));
  OK(symlink("file", "link"));
  if (call(SYS_setxattr, "file", "user.one", "1", 1, 0) != 0)
    SKIP_OPTIONAL("no attributes on this file system");
  char names[100]{};
  const long size = OK(call(SYS_flistxattr, fd, names, sizeof names));
  CHECK(std::string(names, static_cast<size_t>(size)).find("user.one") != std::string::npos);
  CHECK_EQ(OK(call(SYS_flistxattr, fd, nullptr, 0)), size);
  FAILS(ERANGE, call(SYS_flistxattr, fd, names, 1));
  const long of_link = OK(call(SYS_llistxattr, "link", names, sizeof names));
  CHECK(std::string(names, static_cast<size_t>(of_link)).find("user.one") == std::string::npos);
}

TEST(descriptors_of_events_and_signals) {
  check::Fd event(static_cast<int>(OK(call(SYS_eventfd2, 3, EFD_CLOEXEC | EFD_NONBLOCK))));
  uint64_t value = 0;
  CHECK_EQ(OK(read(event, &value, 8)), 8);
  CHECK_EQ(value, 3ull);
  FAILS(EAGAIN, read(event, &value, 8));
  FAILS(EINVAL, call(SYS_eventfd2, 0, 1 << 30));
  const uint64_t mask = 1ull << (SIGUSR1 - 1);
  OK(call(SYS_rt_sigprocmask, SIG_BLOCK, &mask, nullptr, 8));
  check::Fd signals(static_cast<int>(OK(call(SYS_signalfd4, -1, &mask, 8, SFD_CLOEXEC))));
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = 42;
  OK(call(SYS_rt_tgsigqueueinfo, getpid(), check::gettid(), SIGUSR1, &info));
  signalfd_siginfo seen{};
  CHECK_EQ(OK(read(signals, &seen, sizeof seen)), static_cast<ssize_t>(sizeof seen));
  CHECK_EQ(seen.ssi_signo, static_cast<uint32_t>(SIGUSR1));
  CHECK_EQ(seen.ssi_int, 42);
  OK(call(SYS_tkill, check::gettid(), SIGUSR1));
  CHECK_EQ(OK(read(signals, &seen, sizeof seen)), static_cast<ssize_t>(sizeof seen));
  CHECK_EQ(seen.ssi_code, SI_TKILL);
  FAILS(ESRCH, call(SYS_tkill, 9'999'999, 0));
}

TEST(memory_of_another_process) {
  static volatile long value = 1;
  check::Gate written, stop;
  const pid_t pid = check::fork_child([&] {
    written.wait();
    CHECK_EQ(static_cast<long>(value), 99l);
  });
  long wanted = 99;
  const iovec local{&wanted, sizeof wanted}, remote{const_cast<long*>(&value), sizeof value};
  CHECK_EQ(OK(call(SYS_process_vm_writev, pid, &local, 1, &remote, 1, 0)), static_cast<long>(sizeof wanted));
  CHECK_EQ(static_cast<long>(value), 1l);
  FAILS(EINVAL, call(SYS_process_vm_writev, pid, &local, 1, &remote, 1, 1));
  written.notify();
  JOIN(pid);
}

TEST(protection_without_a_key) {
  void* place = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  OK(call(SYS_pkey_mprotect, place, 4096, PROT_READ | PROT_WRITE, -1));  // mprotect(2)
  *static_cast<volatile char*>(place) = 1;
  FAILS(EINVAL, call(SYS_pkey_mprotect, place, 4096, PROT_READ, 15));
}

TEST(waiting_for_several_words) {
  struct Waiter {
    uint64_t value, address;
    uint32_t flags, reserved;
  };
  alignas(4) uint32_t words[2] = {5, 6};
  constexpr uint32_t kSize32 = 2, kPrivate = 128;
  Waiter waiters[2] = {{5, reinterpret_cast<uint64_t>(&words[0]), kSize32 | kPrivate, 0},
                       {7, reinterpret_cast<uint64_t>(&words[1]), kSize32 | kPrivate, 0}};
  constexpr long kFutexWaitv = 449;
  FAILS(EAGAIN, call(kFutexWaitv, waiters, 2, 0, nullptr, 0));
  waiters[1].value = 6;
  pid_t tid = 0;
  long index = -1;
  check::Gate started;
  std::thread waiter([&] {
    tid = check::gettid();
    started.notify();
    index = call(kFutexWaitv, waiters, 2, 0, nullptr, 0);
  });
  started.wait();
  WAIT_THREAD_BLOCKED(tid);
  CHECK_EQ(OK(call(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0)), 1);
  waiter.join();
  CHECK_EQ(index, 1);
  FAILS(EINVAL, call(kFutexWaitv, waiters, 0, 0, nullptr, 0));
}

TEST(identity_and_names) {
  OK(call(SYS_setregid, -1l, -1l));
  OK(call(SYS_setregid, getgid(), getegid()));
  const std::string status = READ_FILE("/proc/self/status");
  const uint64_t effective = strtoull(status.c_str() + status.find("CapEff:") + 7, nullptr, 16);
  const bool administrator = (effective >> 21 & 1) != 0;  // CAP_SYS_ADMIN
  FAILS(administrator ? EINVAL : EPERM, call(SYS_setdomainname, "x", 65));
  OK(mkdir("folder", 0700));
  FAILS(administrator ? EINVAL : EPERM, call(SYS_umount2, "folder", 0));  // no mount
  FAILS(administrator ? ENOENT : EPERM, call(SYS_pivot_root, "missing", "missing"));
  FAILS(EINVAL, call(SYS_umount2, "folder", 1 << 20));
}

TEST(mode_with_flags) {
  constexpr long kFchmodat2 = 452;
  check::Fd fd(OK(open("file", O_CREAT | O_RDWR, 0600)));
  if (call(kFchmodat2, AT_FDCWD, "file", 0640, 0) == -1 && errno == ENOSYS) SKIP("Linux before 6.6");
  struct stat status {};
  OK(fstat(fd, &status));
  CHECK_EQ(status.st_mode & 07777, 0640u);
  OK(call(kFchmodat2, fd, "", 0600, AT_EMPTY_PATH));
  OK(fstat(fd, &status));
  CHECK_EQ(status.st_mode & 07777, 0600u);
  FAILS(EINVAL, call(kFchmodat2, AT_FDCWD, "file", 0600, 1));
}

TEST(message_queue_attributes) {
  const std::string name = "/raw-" + std::to_string(getpid());
  const mqd_t queue = OK(mq_open(name.c_str(), O_CREAT | O_RDWR | O_EXCL, 0600, nullptr));
  OK(mq_unlink(name.c_str()));
  mq_attr now{}, wanted{};
  OK(call(SYS_mq_getsetattr, queue, nullptr, &now));
  CHECK_EQ(now.mq_flags, 0l);
  wanted.mq_flags = O_NONBLOCK;
  OK(call(SYS_mq_getsetattr, queue, &wanted, &now));
  OK(call(SYS_mq_getsetattr, queue, nullptr, &now));
  CHECK_EQ(now.mq_flags, static_cast<long>(O_NONBLOCK));
}

}  // namespace
