// flock(2), and fcntl(2) record locks of both kinds.
#include <sys/file.h>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

struct flock region(short type, off_t start = 0, off_t length = 0) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}

int set_lock(int fd, short type, off_t start = 0, off_t length = 0, int command = F_SETLK) {
  struct flock lock = region(type, start, length);
  return fcntl(fd, command, &lock);
}

struct flock get_lock(int fd, short type, off_t start = 0, off_t length = 0) {
  struct flock lock = region(type, start, length);
  OK(fcntl(fd, F_GETLK, &lock));
  return lock;
}

TEST(flock_between_descriptions) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  Fd b(OK(open("a", O_RDWR)));
  OK(flock(a, LOCK_EX));
  FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
  FAILS(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
  OK(flock(a, LOCK_SH));
  OK(flock(b, LOCK_SH | LOCK_NB));
  FAILS(EWOULDBLOCK, flock(a, LOCK_EX | LOCK_NB));
  OK(flock(b, LOCK_UN));
  OK(flock(a, LOCK_EX | LOCK_NB));
  FAILS(EINVAL, flock(a, 0));
  FAILS(EBADF, flock(999, LOCK_SH));
}

TEST(flock_belongs_to_the_description) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  Fd copy(OK(dup(a)));
  OK(flock(a, LOCK_EX));
  OK(flock(copy, LOCK_EX | LOCK_NB));
  a.close();
  Fd b(OK(open("a", O_RDWR)));
  FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
  copy.close();
  OK(flock(b, LOCK_EX | LOCK_NB));
}

TEST(flock_waits_and_survives_fork) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(flock(a, LOCK_EX));
  Gate done;
  pid_t waiter = check::fork_child([&] {
    // Inherited: the same description, so no conflict with the parent.
    OK(flock(a, LOCK_EX | LOCK_NB));
    a.close();
    Fd b(OK(open("a", O_RDWR)));
    FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
    done.notify();
    OK(flock(b, LOCK_EX));
  });
  done.wait();
  WAIT_BLOCKED(waiter);
  OK(flock(a, LOCK_UN));
  JOIN(waiter);
}

TEST(flock_is_interrupted_by_a_signal) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(flock(a, LOCK_EX));
  Gate ready;
  pid_t waiter = check::fork_child([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    Fd b(OK(open("a", O_RDWR)));
    ready.notify();
    FAILS(EINTR, flock(b, LOCK_EX));
  });
  ready.wait();
  WAIT_BLOCKED(waiter);
  OK(kill(waiter, SIGUSR1));
  JOIN(waiter);
}

TEST(record_locks_conflict_between_processes) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(set_lock(fd, F_WRLCK, 10, 10));
  // No conflict with oneself, even through another descriptor.
  Fd own(OK(open("a", O_RDWR)));
  OK(set_lock(own, F_WRLCK, 10, 10));
  pid_t parent = getpid();
  JOIN(check::fork_child([&] {
    FAILS(EAGAIN, set_lock(fd, F_WRLCK, 15, 1));
    FAILS(EAGAIN, set_lock(fd, F_RDLCK, 0, 0));
    OK(set_lock(fd, F_WRLCK, 0, 10));
    OK(set_lock(fd, F_WRLCK, 20, 0));
    struct flock seen = get_lock(fd, F_WRLCK, 0, 100);
    CHECK_EQ(seen.l_type, F_WRLCK);
    CHECK_EQ(seen.l_start, 10);
    CHECK_EQ(seen.l_len, 10);
    CHECK_EQ(seen.l_pid, parent);
    CHECK_EQ(get_lock(fd, F_WRLCK, 0, 5).l_type, F_UNLCK);
  }));
}

TEST(record_locks_split_and_merge) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(set_lock(fd, F_WRLCK, 0, 100));
  OK(set_lock(fd, F_UNLCK, 40, 20));
  OK(set_lock(fd, F_RDLCK, 80, 10));
  JOIN(check::fork_child([&] {
    struct flock seen = get_lock(fd, F_WRLCK, 0, 0);
    CHECK_EQ(seen.l_start, 0);
    CHECK_EQ(seen.l_len, 40);
    CHECK_EQ(get_lock(fd, F_WRLCK, 40, 20).l_type, F_UNLCK);
    seen = get_lock(fd, F_WRLCK, 50, 0);
    CHECK_EQ(seen.l_start, 60);
    CHECK_EQ(seen.l_len, 20);
    seen = get_lock(fd, F_WRLCK, 80, 5);
    CHECK_EQ(seen.l_type, F_RDLCK);
    CHECK_EQ(get_lock(fd, F_RDLCK, 80, 5).l_type, F_UNLCK);
  }));
}

TEST(any_close_drops_the_process_locks) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(set_lock(fd, F_WRLCK));
  Fd other(OK(open("a", O_RDONLY)));
  other.close();
  JOIN(check::fork_child([&] { OK(set_lock(fd, F_WRLCK)); }));
}

TEST(exit_drops_the_process_locks_and_wakes_waiters) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  Gate locked, leave;
  pid_t owner = check::fork_child([&] {
    OK(set_lock(fd, F_WRLCK, 5, 5));
    locked.notify();
    leave.wait();
  });
  locked.wait();
  pid_t waiter = check::fork_child([&] { OK(set_lock(fd, F_WRLCK, 7, 1, F_SETLKW)); });
  WAIT_BLOCKED(waiter);
  leave.notify();
  JOIN(owner);
  JOIN(waiter);
}

TEST(deadlock_is_refused) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(set_lock(fd, F_WRLCK, 0, 1));
  Gate ready;
  pid_t other = check::fork_child([&] {
    OK(set_lock(fd, F_WRLCK, 1, 1));
    ready.notify();
    OK(set_lock(fd, F_WRLCK, 0, 1, F_SETLKW));
  });
  ready.wait();
  WAIT_BLOCKED(other);
  FAILS(EDEADLK, set_lock(fd, F_WRLCK, 1, 1, F_SETLKW));
  OK(set_lock(fd, F_UNLCK, 0, 1));
  JOIN(other);
}

TEST(lock_types_need_the_access_mode) {
  Fd reader(OK(open("a", O_RDONLY | O_CREAT, 0600)));
  Fd writer(OK(open("a", O_WRONLY)));
  FAILS(EBADF, set_lock(reader, F_WRLCK));
  FAILS(EBADF, set_lock(writer, F_RDLCK));
  FAILS(EINVAL, set_lock(reader, 77));
  FAILS(EINVAL, set_lock(reader, F_RDLCK, -1, 1));
}

TEST(negative_lengths_and_other_origins) {
  WRITE_FILE("a", std::string(100, 'x'));
  Fd fd(OK(open("a", O_RDWR)));
  struct flock lock = region(F_WRLCK, 50, -10);
  OK(fcntl(fd, F_SETLK, &lock));
  lock = region(F_WRLCK, -5, 5);
  lock.l_whence = SEEK_END;
  OK(fcntl(fd, F_SETLK, &lock));
  JOIN(check::fork_child([&] {
    struct flock seen = get_lock(fd, F_WRLCK, 0, 60);
    CHECK_EQ(seen.l_start, 40);
    CHECK_EQ(seen.l_len, 10);
    seen = get_lock(fd, F_WRLCK, 60, 0);
    CHECK_EQ(seen.l_start, 95);
    CHECK_EQ(seen.l_len, 5);
  }));
}

TEST(open_file_description_locks) {
  Fd a(OK(open("a", O_RDWR | O_CREAT, 0600)));
  Fd b(OK(open("a", O_RDWR)));
  OK(set_lock(a, F_WRLCK, 0, 10, F_OFD_SETLK));
  FAILS(EAGAIN, set_lock(b, F_WRLCK, 5, 1, F_OFD_SETLK));
  FAILS(EAGAIN, set_lock(a, F_WRLCK, 5, 1, F_SETLK));
  struct flock seen = region(F_WRLCK, 0, 0);
  OK(fcntl(b, F_OFD_GETLK, &seen));
  CHECK_EQ(seen.l_type, F_WRLCK);
  CHECK_EQ(seen.l_pid, -1);
  Fd copy(OK(dup(a)));
  a.close();
  FAILS(EAGAIN, set_lock(b, F_WRLCK, 5, 1, F_OFD_SETLK));
  copy.close();
  OK(set_lock(b, F_WRLCK, 5, 1, F_OFD_SETLK));
}

// The lines of proc_locks(5) about a file, without their numbers.
std::vector<std::string> locks_on(int fd) {
  struct stat status;
  OK(fstat(fd, &status));
  const std::string inode = ":" + std::to_string(status.st_ino) + " ";
  std::vector<std::string> found;
  const std::string text = READ_FILE("/proc/locks");
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (line.find(inode) != std::string::npos) found.push_back(line.substr(line.find(' ') + 1));
    at = end + 1;
  }
  return found;
}

TEST(locks_are_listed) {
  const Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  CHECK_EQ(locks_on(fd).size(), 0);
  const auto shown = [&](const char* kind, const char* type, pid_t pid, const char* range) {
    const std::vector<std::string> lines = locks_on(fd);
    CHECK_EQ(lines.size(), 1);
    const std::string start = std::string(kind) + " ADVISORY  " + type + " " + std::to_string(pid) + " ";
    CHECK_EQ(lines[0].substr(0, start.size()), start);
    CHECK_EQ(lines[0].substr(lines[0].size() - strlen(range)), range);
  };
  OK(flock(fd, LOCK_EX));
  shown("FLOCK ", "WRITE", getpid(), " 0 EOF");
  OK(flock(fd, LOCK_UN));
  CHECK_EQ(locks_on(fd).size(), 0);
  OK(set_lock(fd, F_RDLCK, 10, 5));
  shown("POSIX ", "READ", getpid(), " 10 14");
  OK(set_lock(fd, F_UNLCK, 0, 0));
  OK(set_lock(fd, F_WRLCK, 3, 0, F_OFD_SETLK));
  shown("OFDLCK", "WRITE", -1, " 3 EOF");
}

}  // namespace
