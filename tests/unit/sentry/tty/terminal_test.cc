// Terminals as a program and its master see them, without guests.
#include "sentry/fs/tty/terminal.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <csignal>

#include "local_memory.h"
#include "sentry/fs/tty/devpts.h"
#include "sentry/fs/tty/terminal_file.h"

namespace sentry::fs::tty {
namespace {

using test::LocalMemory;

constexpr char kEof = 'D' & 0x1f;

class TerminalTest : public testing::Test {
 protected:
  EventLoop loop;
  LocalMemory memory;
  std::shared_ptr<Devpts> devpts = Devpts::create();
  vfs::FileRef master, slave;

  void SetUp() override {
    master = open_master();
    slave = open_slave(0);
  }
  vfs::FileRef open_master() {
    Result<vfs::FileRef> file = devpts->open_master({}, nullptr, O_RDWR);
    EXPECT_TRUE(file.ok());
    const int unlocked = 0;
    EXPECT_TRUE((*file)->ioctl(memory.map, TIOCSPTLCK, LocalMemory::address(&unlocked)).ok());
    return *file;
  }
  vfs::FileRef open_slave(int index) {
    Result<vfs::FileRef> file = open_terminal(devpts->find(index), {}, devpts->node(index), O_RDWR);
    EXPECT_TRUE(file.ok());
    return *file;
  }
  Settings settings() {
    Settings now{};
    EXPECT_TRUE(slave->ioctl(memory.map, TCGETS2, LocalMemory::address(&now)).ok());
    return now;
  }
  void set(const Settings& next) {
    ASSERT_TRUE(slave->ioctl(memory.map, TCSETS2, LocalMemory::address(&next)).ok());
  }
  void make_raw() {
    Settings raw = settings();
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    set(raw);
  }
  int query(vfs::File& file, unsigned request) {
    int value = -1;
    EXPECT_TRUE(file.ioctl(memory.map, request, LocalMemory::address(&value)).ok());
    return value;
  }
  static Result<std::string> read(vfs::File& file, size_t size = 4096, bool nonblocking = true) {
    std::string text(size, '\0');
    mm::BufferSink sink(text.data(), size);
    text.resize(TRY(file.read(sink, {.nonblocking = nonblocking})));
    return text;
  }
  static Result<size_t> write(vfs::File& file, std::string_view text, bool nonblocking = true) {
    mm::BufferSource source(text.data(), text.size());
    return file.write(source, {.nonblocking = nonblocking});
  }
  // Runs `body` on a fiber until it returns.
  void run(std::function<void()> body) {
    loop.fibers().spawn([&] {
      body();
      loop.stop();
    });
    loop.run();
  }
};

TEST_F(TerminalTest, LineIsReadWholeAndEchoed) {
  EXPECT_EQ(write(*master, "abc").value(), 3u);
  EXPECT_TRUE(read(*slave).is(EAGAIN));
  EXPECT_EQ(write(*master, "\rdef\n").value(), 5u);
  EXPECT_EQ(query(*slave, FIONREAD), 8);
  EXPECT_EQ(read(*slave).value(), "abc\n");
  EXPECT_EQ(read(*slave, 2).value(), "de");
  EXPECT_EQ(read(*slave).value(), "f\n");
  EXPECT_TRUE(read(*slave).is(EAGAIN));
  EXPECT_EQ(read(*master).value(), "abc\r\ndef\r\n");
}

TEST_F(TerminalTest, EndOfFileCharacter) {
  ASSERT_TRUE(write(*master, std::string("ab") + kEof + kEof).ok());
  EXPECT_EQ(read(*slave).value(), "ab");
  EXPECT_EQ(read(*slave).value(), "");
  EXPECT_TRUE(read(*slave).is(EAGAIN));
}

TEST_F(TerminalTest, OutputIsProcessed) {
  EXPECT_EQ(write(*slave, "one\ntwo\n").value(), 8u);
  EXPECT_EQ(read(*master).value(), "one\r\ntwo\r\n");
}

TEST_F(TerminalTest, WriterWaitsForTheMaster) {
  make_raw();
  const std::string much(100'000, 'x');
  std::string got;
  bool written = false;
  loop.fibers().spawn([&] {
    EXPECT_EQ(write(*slave, much, false).value(), much.size());
    written = true;
  });
  run([&] {
    while (got.size() < much.size()) got += read(*master, 1000, false).value();
  });
  EXPECT_TRUE(written);
  EXPECT_EQ(got, much);
}

TEST_F(TerminalTest, TypistWaitsForTheProgram) {
  make_raw();
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += static_cast<char>('a' + i % 26);
  loop.fibers().spawn([&] { EXPECT_EQ(write(*master, text, false).value(), text.size()); });
  std::string got;
  run([&] {
    while (got.size() < text.size()) got += read(*slave, 777, false).value();
  });
  EXPECT_EQ(got, text);
}

TEST_F(TerminalTest, StopAndStartCharacters) {
  ASSERT_TRUE(write(*master, "\x13").ok());
  EXPECT_TRUE(write(*slave, "held").is(EAGAIN));
  EXPECT_EQ(slave->poll() & EPOLLOUT, 0u);
  ASSERT_TRUE(write(*master, "x").ok());
  EXPECT_TRUE(read(*master).is(EAGAIN)) << "echo is held too";
  ASSERT_TRUE(write(*master, "\x11").ok());
  EXPECT_EQ(read(*master).value(), "x");
  EXPECT_EQ(write(*slave, "free").value(), 4u);
}

TEST_F(TerminalTest, MinimumWithoutTime) {
  make_raw();
  Settings raw = settings();
  raw.c_cc[VMIN] = 4;
  raw.c_cc[VTIME] = 0;
  set(raw);
  ASSERT_TRUE(write(*master, "abc").ok());
  EXPECT_EQ(slave->poll() & EPOLLIN, 0u);
  loop.fibers().spawn([&] {
    Fiber::yield();
    EXPECT_TRUE(write(*master, "de").ok());
  });
  run([&] { EXPECT_EQ(read(*slave, 100, false).value(), "abcde"); });
}

TEST_F(TerminalTest, TimeWithoutMinimum) {
  make_raw();
  Settings raw = settings();
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  set(raw);
  EXPECT_EQ(read(*slave).value(), "") << "nothing is not EAGAIN here";
  raw.c_cc[VTIME] = 1;
  set(raw);
  run([&] {
    const Nanoseconds before = monotonic_now();
    EXPECT_EQ(read(*slave, 10, false).value(), "");
    EXPECT_GE(monotonic_now() - before, 100 * kMillisecond);
  });
}

TEST_F(TerminalTest, TimeBetweenBytes) {
  make_raw();
  Settings raw = settings();
  raw.c_cc[VMIN] = 10;
  raw.c_cc[VTIME] = 1;
  set(raw);
  ASSERT_TRUE(write(*master, "ab").ok());
  run([&] { EXPECT_EQ(read(*slave, 100, false).value(), "ab"); });
}

TEST_F(TerminalTest, RawTextBecomesALine) {
  make_raw();
  ASSERT_TRUE(write(*master, "typed").ok());
  Settings canonical = settings();
  canonical.c_lflag |= ICANON;
  set(canonical);
  EXPECT_EQ(read(*slave).value(), "typed");
  EXPECT_TRUE(read(*slave).is(EAGAIN));
}

TEST_F(TerminalTest, MasterReadsUntilTheLastSlaveHasClosed) {
  EXPECT_TRUE(read(*master).is(EAGAIN));
  vfs::FileRef second = open_slave(0);
  ASSERT_TRUE(write(*slave, "bye").ok());
  slave.reset();
  EXPECT_EQ(master->poll() & EPOLLHUP, 0u);
  second.reset();
  EXPECT_NE(master->poll() & EPOLLHUP, 0u);
  EXPECT_EQ(read(*master).value(), "bye");
  EXPECT_TRUE(read(*master).is(EIO));
  slave = open_slave(0);
  EXPECT_TRUE(read(*master).is(EAGAIN)) << "a new slave brings it back";
}

TEST_F(TerminalTest, BlockedReaderLearnsOfHangup) {
  loop.fibers().spawn([&] {
    Fiber::yield();
    master.reset();
  });
  run([&] { EXPECT_TRUE(read(*slave, 10, false).is(EIO)); });
  EXPECT_EQ(read(*slave).value(), "") << "afterwards it is at its end";
  EXPECT_TRUE(write(*slave, "x").is(EIO));
  EXPECT_EQ(slave->poll() & (EPOLLHUP | EPOLLERR), static_cast<Events>(EPOLLHUP | EPOLLERR));
  Settings now{};
  EXPECT_TRUE(slave->ioctl(memory.map, TCGETS2, LocalMemory::address(&now)).is(EIO));
}

TEST_F(TerminalTest, LockedSlaveCannotBeOpened) {
  Result<vfs::FileRef> other = devpts->open_master({}, nullptr, O_RDWR);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(query(**other, TIOCGPTN), 1);
  EXPECT_TRUE(open_terminal(devpts->find(1), {}, devpts->node(1), O_RDWR).is(EIO));
}

TEST_F(TerminalTest, NumbersAreListedAndReused) {
  vfs::FileRef second = open_master();
  const auto names = [&] {
    std::string text;
    const auto entries = static_cast<pseudo::Directory&>(*devpts->root()).list();
    for (const auto& entry : *entries) text += entry.name + " ";
    return text;
  };
  EXPECT_EQ(names(), "ptmx 0 1 ");
  slave.reset();
  master.reset();
  EXPECT_EQ(names(), "ptmx 1 ");
  EXPECT_TRUE(devpts->root()->lookup("0").is(ENOENT));
  master = open_master();
  EXPECT_EQ(query(*master, TIOCGPTN), 0);
}

TEST_F(TerminalTest, PacketMode) {
  const int on = 1;
  ASSERT_TRUE(master->ioctl(memory.map, TIOCPKT, LocalMemory::address(&on)).ok());
  ASSERT_TRUE(write(*slave, "hi").ok());
  EXPECT_EQ(read(*master).value(), std::string("\0hi", 3));
  ASSERT_TRUE(slave->ioctl(memory.map, TCXONC, TCOOFF).ok());
  ASSERT_TRUE(slave->ioctl(memory.map, TCXONC, TCOON).ok());
  ASSERT_TRUE(write(*master, "\x13").ok());
  EXPECT_NE(master->poll() & EPOLLPRI, 0u);
  EXPECT_EQ(read(*master).value()[0] & TIOCPKT_STOP, TIOCPKT_STOP);
  Settings plain = settings();
  plain.c_iflag &= ~static_cast<tcflag_t>(IXON);
  set(plain);
  EXPECT_EQ(read(*master).value()[0] & TIOCPKT_NOSTOP, TIOCPKT_NOSTOP);
}

TEST_F(TerminalTest, WindowSize) {
  winsize window{};
  window.ws_row = 24;
  window.ws_col = 80;
  ASSERT_TRUE(master->ioctl(memory.map, TIOCSWINSZ, LocalMemory::address(&window)).ok());
  winsize seen{};
  ASSERT_TRUE(slave->ioctl(memory.map, TIOCGWINSZ, LocalMemory::address(&seen)).ok());
  EXPECT_EQ(seen.ws_row, 24);
  EXPECT_EQ(seen.ws_col, 80);
}

TEST_F(TerminalTest, FlushDropsWhatWaits) {
  ASSERT_TRUE(write(*master, "abc\n").ok());
  ASSERT_TRUE(slave->ioctl(memory.map, TCFLSH, TCIFLUSH).ok());
  EXPECT_TRUE(read(*slave).is(EAGAIN));
  EXPECT_EQ(read(*master).value(), "abc\r\n");
  ASSERT_TRUE(write(*slave, "out").ok());
  ASSERT_TRUE(slave->ioctl(memory.map, TCFLSH, TCOFLUSH).ok());
  EXPECT_TRUE(read(*master).is(EAGAIN));
  EXPECT_TRUE(slave->ioctl(memory.map, TCFLSH, 17).is(EINVAL));
}

TEST_F(TerminalTest, SpeedsAreWorkedOut) {
  Settings fast = settings();
  EXPECT_EQ(fast.c_ospeed, 38400u);
  fast.c_cflag = (fast.c_cflag & ~static_cast<tcflag_t>(CBAUD | CIBAUD)) | B115200;
  set(fast);
  EXPECT_EQ(settings().c_ospeed, 115200u);
  EXPECT_EQ(settings().c_ispeed, 115200u);
}

TEST_F(TerminalTest, NothingCanBeFaked) {
  const char c = 'x';
  EXPECT_TRUE(slave->ioctl(memory.map, TIOCSTI, LocalMemory::address(&c)).is(EIO));
  EXPECT_TRUE(slave->ioctl(memory.map, 0x5499, 0).is(ENOTTY));
}

}  // namespace
}  // namespace sentry::fs::tty
