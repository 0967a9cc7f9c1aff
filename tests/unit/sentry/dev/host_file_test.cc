// Files over host descriptors that are shared with others.
#include "sentry/fs/host/host_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <csignal>
#include <thread>

#include "tests/unit/sentry/tty/local_memory.h"

namespace sentry::fs::host {
namespace {

using test::LocalMemory;

class HostFileTest : public testing::Test {
 protected:
  EventLoop loop;
  Fd near_end, far_end;

  void SetUp() override { ::signal(SIGPIPE, SIG_IGN); }
  vfs::FileRef over(int fd) {
    Result<vfs::FileRef> file =
        make_host_file(loop, Fd(::dup(fd)), ::fcntl(fd, F_GETFL),
                       std::make_shared<vfs::Credentials>(vfs::Credentials{.fsuid = 5, .fsgid = 6}));
    EXPECT_TRUE(file.ok());
    return *file;
  }
  void make_pipe() {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    near_end = Fd(ends[0]);
    far_end = Fd(ends[1]);
  }
  void make_file(int flags = O_RDWR) {
    near_end = Fd(::memfd_create("test", 0));
    ASSERT_EQ(::write(near_end.get(), "0123456789", 10), 10);
    ASSERT_EQ(::lseek(near_end.get(), 0, SEEK_SET), 0);
    if (flags != O_RDWR)
      near_end = Fd(::open(("/proc/self/fd/" + std::to_string(near_end.get())).c_str(), flags));
  }
  void run(std::function<void()> body) {
    loop.fibers().spawn([&] {
      body();
      loop.stop();
    });
    loop.run();
  }
  static Result<std::string> read(vfs::File& file, size_t size, const vfs::File::IoOptions& options = {}) {
    std::string text(size, '\0');
    mm::BufferSink sink(text.data(), size);
    text.resize(TRY(file.read(sink, options)));
    return text;
  }
  static Result<size_t> write(vfs::File& file, std::string_view text,
                              const vfs::File::IoOptions& options = {}) {
    mm::BufferSource source(text.data(), text.size());
    return file.write(source, options);
  }
};

TEST_F(HostFileTest, ReaderWaitsAndTheFlagsStayAsTheyWere) {
  make_pipe();
  const vfs::FileRef file = over(near_end.get());
  EXPECT_TRUE(read(*file, 10, {.nonblocking = true}).is(EAGAIN));
  EXPECT_EQ(file->poll() & EPOLLIN, 0u);
  std::thread writer([&] { EXPECT_EQ(::write(far_end.get(), "hello", 5), 5); });
  run([&] { EXPECT_EQ(read(*file, 10).value(), "hello"); });
  writer.join();
  far_end.reset();
  run([&] { EXPECT_EQ(read(*file, 10).value(), ""); });
  EXPECT_NE(file->poll() & EPOLLHUP, 0u);
  EXPECT_EQ(::fcntl(near_end.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(HostFileTest, WriterWaitsUntilAllIsWritten) {
  make_pipe();
  const vfs::FileRef file = over(far_end.get());
  const std::string text(1'000'000, 'w');
  std::string got;
  std::thread reader([&] {
    char buffer[5000];
    while (got.size() < text.size()) {
      const ssize_t count = ::read(near_end.get(), buffer, sizeof buffer);
      ASSERT_GT(count, 0);
      got.append(buffer, static_cast<size_t>(count));
    }
  });
  run([&] { EXPECT_EQ(write(*file, text).value(), text.size()); });
  reader.join();
  EXPECT_EQ(got, text);
}

TEST_F(HostFileTest, BrokenPipe) {
  make_pipe();
  const vfs::FileRef file = over(far_end.get());
  near_end.reset();
  EXPECT_TRUE(write(*file, "x").is(EPIPE));
}

TEST_F(HostFileTest, SocketBothWays) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  near_end = Fd(ends[0]);
  far_end = Fd(ends[1]);
  const vfs::FileRef file = over(near_end.get());
  EXPECT_EQ(write(*file, "out").value(), 3u);
  char buffer[10];
  EXPECT_EQ(::read(far_end.get(), buffer, sizeof buffer), 3);
  ASSERT_EQ(::write(far_end.get(), "in", 2), 2);
  EXPECT_EQ(read(*file, 10).value(), "in");
  EXPECT_TRUE(S_ISSOCK(file->inode()->getattr()->mode));
  EXPECT_TRUE(file->inode()->open({}, O_RDWR).is(ENXIO));
}

TEST_F(HostFileTest, RegularFilePositionIsShared) {
  make_file();
  const vfs::FileRef file = over(near_end.get());
  EXPECT_TRUE(file->seekable());
  EXPECT_EQ(read(*file, 4).value(), "0123");
  EXPECT_EQ(::lseek(near_end.get(), 0, SEEK_CUR), 4) << "outsiders go on where the guest stopped";
  ASSERT_EQ(::lseek(near_end.get(), 8, SEEK_SET), 8);
  EXPECT_EQ(read(*file, 4).value(), "89");
  EXPECT_EQ(read(*file, 4).value(), "");
  EXPECT_EQ(read(*file, 2, {.offset = 5}).value(), "56");
  EXPECT_EQ(file->seek(-1, SEEK_END).value(), 9u);
  EXPECT_EQ(write(*file, "abc").value(), 3u);
  EXPECT_EQ(file->inode()->getattr()->size, 12u);
  EXPECT_EQ(file->wait_queue(), nullptr) << "always ready";
}

TEST_F(HostFileTest, OpenedAnewHasAPositionOfItsOwn) {
  make_file();
  const vfs::FileRef file = over(near_end.get());
  EXPECT_EQ(read(*file, 4).value(), "0123");
  const vfs::FileRef again = *file->inode()->open({}, O_RDWR);
  EXPECT_EQ(read(*again, 4).value(), "0123");
  EXPECT_EQ(again->seek(2, SEEK_CUR).value(), 6u);
  EXPECT_EQ(write(*again, "XY").value(), 2u);
  EXPECT_EQ(::lseek(near_end.get(), 0, SEEK_CUR), 4);
  EXPECT_EQ(read(*file, 10).value(), "45XY89");
}

TEST_F(HostFileTest, OnlyWhatTheDescriptorWasOpenedFor) {
  make_file(O_RDONLY);
  const vfs::FileRef file = over(near_end.get());
  EXPECT_FALSE(file->writable());
  EXPECT_TRUE(file->inode()->permission(*file->credentials, W_OK).is(EACCES));
  EXPECT_TRUE(file->inode()->open({}, O_RDWR).is(EACCES));
  EXPECT_TRUE(file->inode()->setattr({.size = 0}).is(EINVAL));
  const auto mapping = file->mmap(PROT_READ, MAP_PRIVATE);
  ASSERT_TRUE(mapping.ok());
  EXPECT_TRUE((*mapping)->backing(0, 4096, true).is(EACCES));
  EXPECT_TRUE((*mapping)->backing(0, 4096, false).ok());
}

TEST_F(HostFileTest, Truncation) {
  make_file();
  const vfs::FileRef file = over(near_end.get());
  EXPECT_TRUE(file->inode()->setattr({.size = 3}).ok());
  EXPECT_EQ(file->inode()->getattr()->size, 3u);
  EXPECT_TRUE(file->inode()->setattr({.mode = 0777}).is(EPERM));
  EXPECT_TRUE(file->inode()->setattr({.size = ~0ull}).is(EFBIG));
}

TEST_F(HostFileTest, AttributesAreTheGuests) {
  make_pipe();
  const auto attributes = over(near_end.get())->inode()->getattr();
  EXPECT_TRUE(S_ISFIFO(attributes->mode));
  EXPECT_EQ(attributes->uid, 5u);
  EXPECT_EQ(attributes->gid, 6u);
}

TEST_F(HostFileTest, NullDevice) {
  near_end = Fd(::open("/dev/null", O_RDWR));
  const vfs::FileRef file = over(near_end.get());
  EXPECT_EQ(read(*file, 10).value(), "");
  EXPECT_EQ(write(*file, "gone").value(), 4u);
  EXPECT_EQ(file->inode()->getattr()->rdev, makedev(1, 3));
  EXPECT_EQ(file->description(), "/dev/null");
  EXPECT_EQ(file->wait_queue(), nullptr);
}

// A terminal refuses RWF_NOWAIT: reads and writes go by readiness.
TEST_F(HostFileTest, TerminalIsNoTerminalToTheGuest) {
  near_end = Fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY));
  if (!near_end) GTEST_SKIP() << "no /dev/ptmx here";
  const int unlocked = 0;
  ASSERT_EQ(::ioctl(near_end.get(), TIOCSPTLCK, &unlocked), 0);
  far_end = Fd(::ioctl(near_end.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY));
  const vfs::FileRef file = over(far_end.get());
  EXPECT_TRUE(read(*file, 10, {.nonblocking = true}).is(EAGAIN));
  ASSERT_EQ(::write(near_end.get(), "line\n", 5), 5);
  run([&] { EXPECT_EQ(read(*file, 10).value(), "line\n"); });
  const std::string text(20'000, 'w');
  size_t got = 0;
  std::thread reader([&] {
    char buffer[1000];
    while (got < text.size() + 6) {
      const ssize_t count = ::read(near_end.get(), buffer, sizeof buffer);
      ASSERT_GT(count, 0);
      got += static_cast<size_t>(count);
    }
  });
  run([&] { EXPECT_EQ(write(*file, text).value(), text.size()); });
  reader.join();
  LocalMemory memory;
  char settings[64];
  EXPECT_TRUE(file->ioctl(memory.map, TCGETS, LocalMemory::address(settings)).is(ENOTTY));
}

TEST_F(HostFileTest, NoDescriptor) {
  EXPECT_TRUE(make_host_file(loop, Fd(), 0, std::make_shared<vfs::Credentials>()).is(EBADF));
}

}  // namespace
}  // namespace sentry::fs::host
