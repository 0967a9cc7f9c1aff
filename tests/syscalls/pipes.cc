// pipe(7) and fifo(7), splice(2), tee(2).
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

struct Pipe {
  explicit Pipe(int flags = 0) {
    int fds[2];
    OK(pipe2(fds, flags));
    reader = Fd(fds[0]);
    writer = Fd(fds[1]);
  }
  Fd reader, writer;
};

// Fills a non-blocking pipe; the bytes that it took.
size_t fill(int fd) {
  std::string block(4096, 'f');
  size_t total = 0;
  for (;;) {
    ssize_t n = write(fd, block.data(), block.size());
    if (n < 0) {
      CHECK_EQ(errno, EAGAIN);
      return total;
    }
    total += size_t(n);
  }
}

TEST(bytes_go_through_in_order) {
  Pipe p;
  CHECK_EQ(OK(write(p.writer, "abc", 3)), 3);
  CHECK_EQ(OK(write(p.writer, "def", 3)), 3);
  char text[16];
  CHECK_EQ(OK(read(p.reader, text, 4)), 4);
  CHECK_EQ(std::string(text, 4), "abcd");
  CHECK_EQ(OK(read(p.reader, text, 16)), 2);
}

TEST(end_of_file_when_all_writers_are_gone) {
  Pipe p;
  Fd second(OK(dup(p.writer)));
  OK(write(p.writer, "x", 1));
  p.writer.close();
  char byte;
  CHECK_EQ(OK(read(p.reader, &byte, 1)), 1);
  Gate ready;
  pid_t reader = check::fork_child([&] {
    second.close();
    ready.notify();
    CHECK_EQ(OK(read(p.reader, &byte, 1)), 0);
    CHECK_EQ(OK(read(p.reader, &byte, 1)), 0);
  });
  ready.wait();
  WAIT_BLOCKED(reader);
  second.close();
  JOIN(reader);
}

TEST(writing_without_readers) {
  Pipe p;
  p.reader.close();
  signal(SIGPIPE, SIG_IGN);
  FAILS(EPIPE, write(p.writer, "x", 1));
  pid_t pid = check::fork_child([&] {
    signal(SIGPIPE, SIG_DFL);
    (void)!write(p.writer, "x", 1);
  });
  CHECK_KILLED(WAIT_STATUS(pid), SIGPIPE);
}

TEST(blocked_writer_learns_that_the_reader_left) {
  Pipe p;
  Gate ready;
  pid_t writer = check::fork_child([&] {
    p.reader.close();
    signal(SIGPIPE, SIG_IGN);
    OK(fcntl(p.writer, F_SETFL, O_NONBLOCK));
    fill(p.writer);
    OK(fcntl(p.writer, F_SETFL, 0));
    ready.notify();
    FAILS(EPIPE, write(p.writer, "x", 1));
  });
  ready.wait();
  WAIT_BLOCKED(writer);
  p.reader.close();
  JOIN(writer);
}

TEST(nonblocking_ends) {
  Pipe p(O_NONBLOCK | O_CLOEXEC);
  CHECK_EQ(OK(fcntl(p.reader, F_GETFD)), FD_CLOEXEC);
  char byte;
  FAILS(EAGAIN, read(p.reader, &byte, 1));
  size_t capacity = fill(p.writer);
  CHECK_EQ(capacity, 65536u);
  FAILS(EAGAIN, write(p.writer, "x", 1));
  std::string block(4096, 0);
  CHECK_EQ(OK(read(p.reader, block.data(), block.size())), 4096);
  CHECK_EQ(OK(write(p.writer, "x", 1)), 1);
  FAILS(EINVAL, static_cast<int>(syscall(SYS_pipe2, block.data(), 0x100)));
}

TEST(short_and_atomic_writes_when_nonblocking) {
  Pipe p(O_NONBLOCK);
  std::string block(100'000, 'x');
  // More than fits and more than PIPE_BUF: what fits is taken.
  CHECK_EQ(OK(write(p.writer, block.data(), block.size())), 65536);
  CHECK_EQ(OK(read(p.reader, block.data(), 4096)), 4096);
  // At most PIPE_BUF: all or nothing.
  CHECK_EQ(OK(write(p.writer, block.data(), 1000)), 1000);
  FAILS(EAGAIN, write(p.writer, block.data(), 4096));
}

TEST(small_writes_are_atomic) {
  Pipe p;
  std::vector<pid_t> writers;
  constexpr size_t kSize = 512, kRounds = 100;
  for (char letter = 'a'; letter < 'e'; ++letter) {
    writers.push_back(check::fork_child([&, letter] {
      std::string block(kSize, letter);
      for (size_t i = 0; i < kRounds; ++i) CHECK_EQ(OK(write(p.writer, block.data(), kSize)), ssize_t(kSize));
    }));
  }
  p.writer.close();
  std::string all;
  char block[3000];
  ssize_t n;
  while ((n = OK(read(p.reader, block, sizeof block))) > 0) all.append(block, size_t(n));
  for (pid_t pid : writers) JOIN(pid);
  CHECK_EQ(all.size(), 4 * kSize * kRounds);
  for (size_t i = 0; i < all.size(); i += kSize) CHECK_EQ(all.substr(i, kSize), std::string(kSize, all[i]));
}

TEST(large_write_blocks_until_all_is_taken) {
  Pipe p;
  pid_t writer = check::fork_child([&] {
    p.reader.close();
    std::string block(1 << 20, 'x');
    for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 7 >> 3);
    CHECK_EQ(OK(write(p.writer, block.data(), block.size())), 1 << 20);
  });
  p.writer.close();
  size_t total = 0;
  char block[10'000];
  ssize_t n;
  while ((n = OK(read(p.reader, block, sizeof block))) > 0) {
    for (ssize_t i = 0; i < n; ++i) CHECK_EQ(block[i], static_cast<char>((total + size_t(i)) * 7 >> 3));
    total += size_t(n);
  }
  CHECK_EQ(total, 1u << 20);
  JOIN(writer);
}

TEST(large_write_interrupted_answers_what_it_wrote) {
  Pipe p;
  Gate ready;
  pid_t writer = check::fork_child([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    std::string block(200'000, 'x');
    ready.notify();
    CHECK_EQ(OK(write(p.writer, block.data(), block.size())), 65536);
  });
  ready.wait();
  WAIT_UNTIL([&] {
    int bytes = 0;
    OK(ioctl(p.reader, FIONREAD, &bytes));
    return bytes == 65536;
  }());
  WAIT_BLOCKED(writer);
  OK(kill(writer, SIGUSR1));
  JOIN(writer);
}

TEST(pipe_size) {
  Pipe p(O_NONBLOCK);
  CHECK_EQ(OK(fcntl(p.writer, F_GETPIPE_SZ)), 65536);
  CHECK_EQ(OK(fcntl(p.writer, F_SETPIPE_SZ, 5000)), 8192);
  CHECK_EQ(OK(fcntl(p.reader, F_GETPIPE_SZ)), 8192);
  CHECK_EQ(fill(p.writer), 8192u);
  FAILS(EBUSY, fcntl(p.writer, F_SETPIPE_SZ, 4096));
  CHECK_EQ(OK(fcntl(p.writer, F_SETPIPE_SZ, 1 << 20)), 1 << 20);
  CHECK_EQ(fill(p.writer), (1u << 20) - 8192);
  Fd file(OK(open("a", O_RDWR | O_CREAT, 0600)));
  FAILS(EBADF, fcntl(file, F_GETPIPE_SZ));
  Pipe smallest;
  CHECK_EQ(OK(fcntl(smallest.writer, F_SETPIPE_SZ, 0)), 4096);
  FAILS(EINVAL, fcntl(smallest.writer, F_SETPIPE_SZ, -1));
}

TEST(bytes_waiting) {
  Pipe p;
  OK(write(p.writer, "12345", 5));
  int bytes = 0;
  OK(ioctl(p.reader, FIONREAD, &bytes));
  CHECK_EQ(bytes, 5);
}

TEST(stat_of_a_pipe) {
  Pipe p;
  struct stat a, b;
  OK(fstat(p.reader, &a));
  OK(fstat(p.writer, &b));
  CHECK_EQ(a.st_mode, S_IFIFO | 0600);
  CHECK_EQ(a.st_ino, b.st_ino);
}

TEST(vectors_through_a_pipe) {
  Pipe p;
  char one[] = "one", two[] = "two";
  iovec out[] = {{one, 3}, {two, 3}};
  CHECK_EQ(OK(writev(p.writer, out, 2)), 6);
  char a[4], b[4];
  iovec in[] = {{a, 4}, {b, 4}};
  CHECK_EQ(OK(readv(p.reader, in, 2)), 6);
  CHECK_EQ(std::string(a, 4) + std::string(b, 2), "onetwo");
}

TEST(wrong_direction) {
  Pipe p;
  char byte;
  FAILS(EBADF, read(p.writer, &byte, 1));
  FAILS(EBADF, write(p.reader, &byte, 1));
}

TEST(packet_mode) {
  int fds[2];
  if (pipe2(fds, O_DIRECT) != 0) SKIP_OPTIONAL("no packet pipes");
  OK(write(fds[1], "one", 3));
  OK(write(fds[1], "two", 3));
  char text[16];
  CHECK_EQ(OK(read(fds[0], text, 16)), 3);
  CHECK_EQ(OK(read(fds[0], text, 1)), 1);
}

TEST(fifo_open_waits_for_the_other_end) {
  OK(mkfifo("f", 0600));
  pid_t reader = check::fork_child([] {
    Fd fd(OK(open("f", O_RDONLY)));
    char text[8];
    CHECK_EQ(OK(read(fd, text, 8)), 5);
    CHECK_EQ(OK(read(fd, text, 8)), 0);
  });
  WAIT_BLOCKED(reader);
  Fd fd(OK(open("f", O_WRONLY)));
  OK(write(fd, "hello", 5));
  fd.close();
  JOIN(reader);
  pid_t writer = check::fork_child([] { Fd out(OK(open("f", O_WRONLY))); });
  WAIT_BLOCKED(writer);
  Fd in(OK(open("f", O_RDONLY)));
  JOIN(writer);
}

TEST(fifo_nonblocking_open) {
  OK(mkfifo("f", 0600));
  FAILS(ENXIO, open("f", O_WRONLY | O_NONBLOCK));
  Fd reader(OK(open("f", O_RDONLY | O_NONBLOCK)));
  char byte;
  // No writer yet: end of file, not EAGAIN.
  CHECK_EQ(OK(read(reader, &byte, 1)), 0);
  Fd writer(OK(open("f", O_WRONLY | O_NONBLOCK)));
  FAILS(EAGAIN, read(reader, &byte, 1));
  OK(write(writer, "x", 1));
  CHECK_EQ(OK(read(reader, &byte, 1)), 1);
  writer.close();
  CHECK_EQ(OK(read(reader, &byte, 1)), 0);
}

TEST(fifo_opened_for_both) {
  OK(mkfifo("f", 0600));
  Fd both(OK(open("f", O_RDWR)));
  OK(write(both, "x", 1));
  char byte;
  CHECK_EQ(OK(read(both, &byte, 1)), 1);
  FAILS(ESPIPE, lseek(both, 0, SEEK_SET));
}

TEST(fifo_open_is_interrupted) {
  OK(mkfifo("f", 0600));
  Gate ready;
  pid_t reader = check::fork_child([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(SIGUSR1, &action, nullptr));
    ready.notify();
    FAILS(EINTR, open("f", O_RDONLY));
  });
  ready.wait();
  WAIT_BLOCKED(reader);
  OK(kill(reader, SIGUSR1));
  JOIN(reader);
}

TEST(splice_between_pipe_and_file) {
  WRITE_FILE("a", "0123456789");
  Fd in(OK(open("a", O_RDONLY)));
  Fd out(OK(open("b", O_RDWR | O_CREAT, 0600)));
  Pipe p;
  loff_t offset = 2;
  CHECK_EQ(OK(splice(in, &offset, p.writer, nullptr, 5, 0)), 5);
  CHECK_EQ(offset, 7);
  CHECK_EQ(OK(splice(p.reader, nullptr, out, nullptr, 100, 0)), 5);
  CHECK_EQ(READ_FILE("b"), "23456");
  FAILS(EINVAL, splice(in, nullptr, out, nullptr, 5, 0));
  FAILS(EAGAIN, splice(p.reader, nullptr, out, nullptr, 5, SPLICE_F_NONBLOCK));
}

TEST(tee_copies) {
  Pipe a, b;
  OK(write(a.writer, "text", 4));
  CHECK_EQ(OK(tee(a.reader, b.writer, 100, 0)), 4);
  char text[8];
  CHECK_EQ(OK(read(a.reader, text, 8)), 4);
  CHECK_EQ(OK(read(b.reader, text, 8)), 4);
  CHECK_EQ(std::string(text, 4), "text");
}

TEST(two_readers_share_the_bytes) {
  Pipe p;
  Pipe out;
  auto reader = [&] {
    p.writer.close();
    char byte;
    while (OK(read(p.reader, &byte, 1)) == 1) OK(write(out.writer, &byte, 1));
  };
  pid_t a = check::fork_child(reader);
  pid_t b = check::fork_child(reader);
  for (int i = 0; i < 200; ++i) OK(write(p.writer, "x", 1));
  p.writer.close();
  JOIN(a);
  JOIN(b);
  out.writer.close();
  std::string block(300, 0);
  CHECK_EQ(OK(read(out.reader, block.data(), block.size())), 200);
}

}  // namespace
