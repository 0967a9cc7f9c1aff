// The sandbox's console over a real socket.
#include "sentry/fs/tty/console.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "sentry/fs/tty/terminal_file.h"

namespace sentry::fs::tty {
namespace {

class ConsoleTest : public testing::Test {
 protected:
  EventLoop loop;
  std::shared_ptr<Devpts> devpts = Devpts::create();
  Fd outside;
  std::shared_ptr<Console> console;
  vfs::FileRef file;

  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    outside = Fd(ends[0]);
    Result<std::shared_ptr<Console>> made = Console::create(loop, devpts, Fd(ends[1]), 0, 24, 80);
    ASSERT_TRUE(made.ok());
    console = *made;
    vfs::MountNamespace space;
    Result<vfs::FileRef> opened = console->open(space, std::make_shared<vfs::Credentials>());
    ASSERT_TRUE(opened.ok());
    file = *opened;
  }
  void run(std::function<void()> body) {
    loop.fibers().spawn([&] {
      body();
      loop.stop();
    });
    loop.run();
  }
  Result<std::string> read(size_t size = 4096) {
    std::string text(size, '\0');
    mm::BufferSink sink(text.data(), size);
    text.resize(TRY(file->read(sink, {})));
    return text;
  }
  Result<size_t> write(std::string_view text) {
    mm::BufferSource source(text.data(), text.size());
    return file->write(source, {});
  }
  std::string receive(size_t size) {
    std::string text(size, '\0');
    const ssize_t count = ::recv(outside.get(), text.data(), size, MSG_WAITALL);
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return text;
  }
};

TEST_F(ConsoleTest, TypedLineReachesTheProgram) {
  ASSERT_EQ(::send(outside.get(), "hello\r", 6, 0), 6);
  run([&] { EXPECT_EQ(read().value(), "hello\n"); });
  EXPECT_EQ(receive(7), "hello\r\n");
}

TEST_F(ConsoleTest, MoreOutputThanTheSocketHolds) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "0123456789";
  std::string got;
  std::thread screen([&] { got = receive(text.size()); });
  run([&] { EXPECT_EQ(write(text).value(), text.size()); });
  bool drained = false;
  console->when_drained([&] {
    drained = true;
    loop.stop();
  });
  if (!drained) loop.run();
  screen.join();
  EXPECT_EQ(got, text);
}

TEST_F(ConsoleTest, MoreInputThanTheTerminalHolds) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "line\n";
  std::thread keyboard([&] {
    size_t sent = 0;
    while (sent < text.size()) {
      const ssize_t count = ::send(outside.get(), text.data() + sent, text.size() - sent, 0);
      ASSERT_GT(count, 0);
      sent += static_cast<size_t>(count);
    }
  });
  // Echo that nobody looks at may be lost, so what comes is not counted.
  std::thread screen([&] { receive(10 * text.size()); });
  run([&] {
    for (int i = 0; i < 20'000; ++i) ASSERT_EQ(read().value(), "line\n");
  });
  keyboard.join();
  ::shutdown(outside.get(), SHUT_RDWR);
  screen.join();
}

TEST_F(ConsoleTest, ClosedStreamHangsUp) {
  outside.reset();
  run([&] { EXPECT_TRUE(read().is(EIO)); });
  EXPECT_TRUE(write("x").is(EIO));
  bool drained = false;
  console->when_drained([&] { drained = true; });
  EXPECT_TRUE(drained);
}

TEST_F(ConsoleTest, HangUpFromOutside) {
  console->hang_up();
  run([] {});  // the socket goes when the loop comes round
  EXPECT_EQ(read().value(), "");
  EXPECT_EQ(receive(1), "");
}

}  // namespace
}  // namespace sentry::fs::tty
