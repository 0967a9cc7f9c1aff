// The descriptor table: dup(2), fcntl(2), close_range(2), exec and RLIMIT_NOFILE, /proc/self/fd.
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <set>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

int close_range_(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(syscall(SYS_close_range, first, last, flags));
}

TEST(dup_takes_the_lowest_number) {
  int a = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
  int b = OK(dup(a));
  CHECK_EQ(b, a + 1);
  CHECK_EQ(OK(fcntl(a, F_GETFD)), FD_CLOEXEC);
  CHECK_EQ(OK(fcntl(b, F_GETFD)), 0);
  OK(close(a));
  CHECK_EQ(OK(dup(b)), a);
  FAILS(EBADF, dup(999));
}

TEST(dup2_replaces) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  int other = OK(open("/dev/null", O_RDONLY));
  CHECK_EQ(OK(dup2(a, other)), other);
  OK(write(other, "x", 1));
  CHECK_EQ(READ_FILE("a"), "x");
  CHECK_EQ(OK(dup2(a, 200)), 200);
  CHECK_EQ(OK(dup2(a, a)), int(a));
  FAILS(EBADF, dup2(999, 999));
  FAILS(EBADF, dup2(999, 5));
  FAILS(EBADF, dup2(a, -1));
  CHECK(is_open(200));
}

TEST(dup3_sets_cloexec) {
  Fd a(OK(open("/dev/null", O_RDONLY)));
  CHECK_EQ(OK(dup3(a, 100, O_CLOEXEC)), 100);
  CHECK_EQ(OK(fcntl(100, F_GETFD)), FD_CLOEXEC);
  FAILS(EINVAL, dup3(a, a, 0));
  FAILS(EINVAL, dup3(a, 101, O_NONBLOCK));
}

TEST(fcntl_dupfd) {
  Fd a(OK(open("/dev/null", O_RDONLY)));
  CHECK_EQ(OK(fcntl(a, F_DUPFD, 150)), 150);
  CHECK_EQ(OK(fcntl(a, F_DUPFD, 150)), 151);
  CHECK_EQ(OK(fcntl(a, F_DUPFD_CLOEXEC, 150)), 152);
  CHECK_EQ(OK(fcntl(150, F_GETFD)), 0);
  CHECK_EQ(OK(fcntl(152, F_GETFD)), FD_CLOEXEC);
  FAILS(EINVAL, fcntl(a, F_DUPFD, -1));
  FAILS(EINVAL, fcntl(a, F_DUPFD, 1 << 30));
  FAILS(EINVAL, fcntl(a, 9999));
}

TEST(close_on_exec_flag_belongs_to_the_descriptor) {
  Fd a(OK(open("/dev/null", O_RDONLY)));
  Fd b(OK(dup(a)));
  OK(fcntl(a, F_SETFD, FD_CLOEXEC));
  CHECK_EQ(OK(fcntl(b, F_GETFD)), 0);
  OK(fcntl(a, F_SETFD, 0));
  CHECK_EQ(OK(fcntl(a, F_GETFD)), 0);
}

TEST(status_flags_belong_to_the_description) {
  int fds[2];
  OK(pipe(fds));
  Fd copy(OK(dup(fds[0])));
  OK(fcntl(fds[0], F_SETFL, O_NONBLOCK));
  CHECK(OK(fcntl(copy, F_GETFL)) & O_NONBLOCK);
  JOIN(check::fork_child([&] { OK(fcntl(copy, F_SETFL, 0)); }));
  CHECK_EQ(OK(fcntl(fds[0], F_GETFL)) & O_NONBLOCK, 0);
}

// Exits with 0 if exactly the descriptors of the arguments are open besides 0, 1 and 2.
CHILD(open_descriptors) {
  std::set<int> expected = {0, 1, 2};
  for (int i = 0; i < argc; ++i) expected.insert(atoi(argv[i]));
  for (int fd = 0; fd < 300; ++fd) {
    if (is_open(fd) != expected.contains(fd)) {
      dprintf(2, "descriptor %d is %s\n", fd, is_open(fd) ? "open" : "closed");
      return 1;
    }
  }
  return 0;
}

TEST(exec_closes_what_is_marked) {
  OK(close_range_(3, ~0u, 0));
  int kept = OK(open("/dev/null", O_RDONLY));
  int gone = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
  OK(dup2(kept, 250));
  OK(dup3(gone, 251, O_CLOEXEC));
  OK(dup2(gone, 252));
  JOIN(check::fork_child([&] {
    OK(execl(check::self(), check::self(), "--child", "open_descriptors", std::to_string(kept).c_str(), "250",
             "252", nullptr));
  }));
}

TEST(close_range_closes) {
  Fd a(OK(open("/dev/null", O_RDONLY)));
  for (int fd = 100; fd < 110; ++fd) OK(dup2(a, fd));
  OK(close_range_(102, 105, 0));
  for (int fd = 100; fd < 110; ++fd) CHECK_EQ(is_open(fd), fd < 102 || fd > 105);
  OK(close_range_(108, ~0u, 4));
  CHECK(is_open(108));
  CHECK_EQ(OK(fcntl(109, F_GETFD)), FD_CLOEXEC);
  CHECK_EQ(OK(fcntl(107, F_GETFD)), 0);
  FAILS(EINVAL, close_range_(10, 5, 0));
  FAILS(EINVAL, close_range_(10, 15, 0x100));
}

TEST(fork_copies_the_table) {
  Fd a(OK(open("/dev/null", O_RDONLY)));
  JOIN(check::fork_child([&] {
    CHECK(is_open(a));
    OK(close(a));
    OK(dup2(1, 100));
  }));
  CHECK(is_open(a));
  CHECK(!is_open(100));
}

TEST(descriptor_limit) {
  OK(close_range_(3, ~0u, 0));
  rlimit limit = {20, 20};
  OK(setrlimit(RLIMIT_NOFILE, &limit));
  for (int fd = 3; fd < 20; ++fd) CHECK_EQ(OK(open("/dev/null", O_RDONLY)), fd);
  FAILS(EMFILE, open("/dev/null", O_RDONLY));
  FAILS(EMFILE, dup(0));
  FAILS(EBADF, dup2(0, 20));
  FAILS(EINVAL, fcntl(0, F_DUPFD, 20));
  int fds[2];
  FAILS(EMFILE, pipe(fds));
  OK(close(7));
  // pipe needs two: with one free it takes none.
  FAILS(EMFILE, pipe(fds));
  CHECK(!is_open(7));
  CHECK_EQ(OK(dup(0)), 7);
  FAILS(EMFILE, fcntl(0, F_DUPFD, 3));
}

TEST(many_descriptors) {
  rlimit limit;
  OK(getrlimit(RLIMIT_NOFILE, &limit));
  int wanted = limit.rlim_cur < 900 ? static_cast<int>(limit.rlim_cur) - 10 : 900;
  std::vector<int> fds;
  for (int i = 0; i < wanted; ++i) fds.push_back(OK(dup(0)));
  JOIN(check::fork_child([&] {
    for (int fd : fds) CHECK(is_open(fd));
  }));
  for (int fd : fds) OK(close(fd));
}

TEST(proc_self_fd_lists_and_names) {
  OK(close_range_(3, ~0u, 0));
  WRITE_FILE("a", "text");
  int file = OK(open("a", O_RDONLY));
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  std::set<int> seen;
  DIR* dir = OK(opendir("/proc/self/fd"));
  while (dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir)) seen.insert(atoi(entry->d_name));
  }
  closedir(dir);
  for (int fd = 0; fd < 64; ++fd) CHECK_EQ(seen.contains(fd), is_open(fd));
  auto link_of = [](int fd) {
    char text[4096];
    std::string path = "/proc/self/fd/" + std::to_string(fd);
    ssize_t n = OK(readlink(path.c_str(), text, sizeof text));
    return std::string(text, size_t(n));
  };
  char cwd[4096];
  OK(getcwd(cwd, sizeof cwd));
  CHECK_EQ(link_of(file), std::string(cwd) + "/a");
  CHECK(link_of(pipe_fds[0]).starts_with("pipe:["));
  CHECK_EQ(link_of(pipe_fds[0]), link_of(pipe_fds[1]));
  struct stat st;
  FAILS(ENOENT, lstat("/proc/self/fd/63", &st));
  std::string path = "/proc/self/fd/" + std::to_string(file);
  OK(lstat(path.c_str(), &st));
  CHECK(S_ISLNK(st.st_mode));
  CHECK_EQ(st.st_mode & 0777, 0500u);
  OK(stat(path.c_str(), &st));
  CHECK_EQ(st.st_size, 4);
  // Opening makes a new description.
  char byte;
  OK(read(file, &byte, 1));
  Fd again(OK(open(path.c_str(), O_RDONLY)));
  CHECK_EQ(OK(lseek(again, 0, SEEK_CUR)), 0);
  // A pipe's end can be opened in the other direction, too.
  Fd writer(OK(open(("/proc/self/fd/" + std::to_string(pipe_fds[0])).c_str(), O_WRONLY)));
  OK(write(writer, "x", 1));
  CHECK_EQ(OK(read(pipe_fds[0], &byte, 1)), 1);
  Fd dev(OK(open(("/dev/fd/" + std::to_string(file)).c_str(), O_RDONLY)));
}

TEST(proc_self_fdinfo) {
  WRITE_FILE("a", "text");
  Fd file(OK(open("a", O_RDWR | O_APPEND)));
  OK(lseek(file, 3, SEEK_SET));
  std::string info = READ_FILE(("/proc/self/fdinfo/" + std::to_string(int(file))).c_str());
  CHECK(info.find("pos:\t3\n") != std::string::npos);
  CHECK(info.find("flags:\t0102002\n") != std::string::npos ||
        info.find("flags:\t02002\n") != std::string::npos);
}

TEST(a_closed_descriptor_keeps_its_blocked_reader) {
  // A read in progress holds the description: closing the number elsewhere does not end it.
  int fds[2];
  OK(pipe(fds));
  check::Gate ready;
  pid_t pid = check::fork_child([&] {
    OK(close(fds[1]));
    ready.notify();
    char byte;
    CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  });
  ready.wait();
  WAIT_BLOCKED(pid);
  OK(close(fds[0]));
  OK(write(fds[1], "x", 1));
  JOIN(pid);
}

TEST(owner_of_a_descriptor) {
  int fds[2];
  OK(pipe(fds));
  OK(fcntl(fds[0], F_SETOWN, getpid()));
  CHECK_EQ(OK(fcntl(fds[0], F_GETOWN)), getpid());
}

TEST(kcmp_or_not) {
  Fd a(OK(open("/dev/null", O_RDONLY)));
  Fd b(OK(dup(a)));
  Fd c(OK(open("/dev/null", O_RDONLY)));
  long same = syscall(SYS_kcmp, getpid(), getpid(), 0, int(a), int(b));
  if (same < 0 && (errno == ENOSYS || errno == EPERM)) SKIP_OPTIONAL("no kcmp");
  CHECK_EQ(same, 0);
  // Objects that differ have an order.
  const long one = syscall(SYS_kcmp, getpid(), getpid(), 0, int(a), int(c));
  const long other = syscall(SYS_kcmp, getpid(), getpid(), 0, int(c), int(a));
  CHECK((one == 1 && other == 2) || (one == 2 && other == 1));
  FAILS(EBADF, syscall(SYS_kcmp, getpid(), getpid(), 0, int(a), -1));
  FAILS(EINVAL, syscall(SYS_kcmp, getpid(), getpid(), 99, 0, 0));
  // A file that an epoll instance watches.
  struct {
    uint32_t efd, tfd, toff;
  } slot{};
  const Fd epoll(OK(epoll_create1(0)));
  int fds[2];
  OK(pipe(fds));
  epoll_event event{EPOLLIN, {}};
  OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event));
  slot.efd = static_cast<uint32_t>(int{epoll});
  slot.tfd = static_cast<uint32_t>(fds[0]);
  const auto compare = [&](int fd) { return syscall(SYS_kcmp, getpid(), getpid(), 7, fd, &slot); };
  CHECK_EQ(compare(fds[0]), 0);
  CHECK(compare(fds[1]) > 0);
  FAILS(EBADF, compare(-1));
  slot.toff = 1;
  FAILS(ENOENT, compare(fds[0]));
  slot.efd = static_cast<uint32_t>(int{a});
  FAILS(EINVAL, compare(fds[0]));
  FAILS(EFAULT, syscall(SYS_kcmp, getpid(), getpid(), 7, fds[0], 8));
}

}  // namespace
