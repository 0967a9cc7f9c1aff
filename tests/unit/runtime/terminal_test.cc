// The terminal: raw while the program has it, restored on every way out, job control in between.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "tests/unit/runtime/command.h"

namespace {

using command::eventually;
using testing::HasSubstr;

// The command on a terminal of its own, as a shell's foreground job would be.
class OnTerminal {
 public:
  explicit OnTerminal(const command::Words& words, int stdout_fd = -1) {
    winsize size{24, 80, 0, 0};
    int master = -1;
    pid_ = ::forkpty(&master, nullptr, nullptr, &size);
    if (pid_ == 0) {
      if (stdout_fd >= 0) ::dup2(stdout_fd, 1);
      const std::string path = command::program("bulkhead");
      std::vector<char*> argv{const_cast<char*>("bulkhead")};
      for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
      argv.push_back(nullptr);
      ::execv(path.c_str(), argv.data());
      ::_exit(97);
    }
    master_ = sentry::Fd(master);
  }
  ~OnTerminal() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  int master() const { return master_.get(); }

  void type(const std::string& text) const {
    EXPECT_EQ(::write(master_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  // Waits until the screen shows `text`; what it shows until then is forgotten.
  bool shows(const std::string& text) {
    while (screen_.find(text) == screen_.npos) {
      pollfd wait{master_.get(), POLLIN, 0};
      constexpr int kPatienceMs = 10'000;
      if (::poll(&wait, 1, kPatienceMs) != 1) return false;
      std::array<char, 4096> bytes;
      const ssize_t size = ::read(master_.get(), bytes.data(), bytes.size());
      if (size <= 0) return false;
      screen_.append(bytes.data(), static_cast<size_t>(size));
    }
    screen_.erase(0, screen_.find(text) + text.size());
    return true;
  }

  bool raw() const {
    termios settings{};
    ::tcgetattr(master_.get(), &settings);
    return (settings.c_lflag & (ICANON | ECHO | ISIG)) == 0;
  }

  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = -1;
  sentry::Fd master_;
  std::string screen_;
};

TEST(Terminal, IsRawWhileTheProgramRunsAndRestoredAfter) {
  OnTerminal session({"do", "terminal"});
  ASSERT_TRUE(session.shows("ready"));
  EXPECT_TRUE(eventually([&] { return session.raw(); }));
  session.type("\x03");  // Ctrl-C is a byte: the sandbox has the line discipline
  EXPECT_TRUE(session.shows("got 3"));
  session.type("quit");
  EXPECT_TRUE(session.shows("got 116"));
  EXPECT_EQ(session.wait(), 5);
  EXPECT_FALSE(session.raw());
}

TEST(Terminal, TellsItsSize) {
  OnTerminal session({"do", "boot"});
  EXPECT_TRUE(session.shows("terminal: true 24x80"));
  EXPECT_EQ(session.wait(), 0);
  OnTerminal resized({"do", "terminal"});
  ASSERT_TRUE(resized.shows("ready"));
  const winsize size{50, 132, 0, 0};
  ASSERT_EQ(::ioctl(resized.master(), TIOCSWINSZ, &size), 0);
  EXPECT_TRUE(resized.shows("size 50x132"));
  resized.type("quit");
  EXPECT_EQ(resized.wait(), 5);
}

TEST(Terminal, IsRestoredWhenTheSandboxIsKilled) {
  OnTerminal session({"do", "terminal"});
  ASSERT_TRUE(session.shows("ready"));
  ASSERT_TRUE(eventually([&] { return session.raw(); }));
  for (const pid_t child : command::Running::children(session.pid())) ::kill(child, SIGKILL);
  EXPECT_TRUE(session.shows("was killed"));
  EXPECT_EQ(session.wait(), 137);
  EXPECT_FALSE(session.raw());
}

TEST(Terminal, SignalsFromOutsideReachTheProgram) {
  OnTerminal session({"do", "terminal"});
  ASSERT_TRUE(session.shows("ready"));
  ::kill(session.pid(), SIGTERM);
  EXPECT_TRUE(session.shows("signal 15"));
  session.type("quit");
  EXPECT_EQ(session.wait(), 5);
  EXPECT_FALSE(session.raw());
}

// A session leader's group is orphaned, so the terminal cannot stop it: the command must go on and the
// program, too.
TEST(Terminal, OrphanedGroupDoesNotStayStopped) {
  OnTerminal session({"do", "terminal"});
  ASSERT_TRUE(session.shows("ready"));
  session.type("\x1a");
  EXPECT_TRUE(session.shows("continued"));
  EXPECT_TRUE(eventually([&] { return session.raw(); }));
  session.type("quit");
  EXPECT_EQ(session.wait(), 5);
}

TEST(Terminal, HangupReachesTheProgram) {
  int status = 0;
  {
    OnTerminal session({"do", "terminal"});
    ASSERT_TRUE(session.shows("ready"));
    const pid_t pid = session.pid();
    ::close(::dup(session.master()));  // the master stays ours until the scope ends
    ::kill(pid, SIGHUP);
    EXPECT_TRUE(session.shows("signal 1"));
    session.type("quit");
    status = session.wait();
  }
  EXPECT_EQ(status, 5);
}

// In a pipeline the terminal belongs to the others as well: it is passed through and left as it is.
TEST(Terminal, IsLeftAloneInAPipeline) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const sentry::Fd reader(ends[0]);
  sentry::Fd writer(ends[1]);
  OnTerminal session({"do", "wait"}, writer.get());
  writer.reset();
  std::array<char, 6> ready{};
  ASSERT_EQ(::read(reader.get(), ready.data(), ready.size()), 6);
  EXPECT_FALSE(session.raw());
  session.type("\x03");  // the terminal's own Ctrl-C
  EXPECT_EQ(session.wait(), SIGINT);
}

// A shell with job control: the command as a job, stopped by the program's stop, continued in the foreground.
TEST(Terminal, JobControlInAShell) {
  winsize size{24, 80, 0, 0};
  int master = -1;
  const pid_t shell = ::forkpty(&master, nullptr, nullptr, &size);
  if (shell == 0) {
    ::setenv("PS1", "% ", 1);
    ::execl("/bin/bash", "bash", "--norc", "--noprofile", "-i", nullptr);
    ::_exit(97);
  }
  const sentry::Fd owned(master);
  std::string screen;
  const auto shows = [&](const std::string& text) {
    while (screen.find(text) == screen.npos) {
      pollfd wait{master, POLLIN, 0};
      if (::poll(&wait, 1, 10'000) != 1) return false;
      std::array<char, 4096> bytes;
      const ssize_t got = ::read(master, bytes.data(), bytes.size());
      if (got <= 0) return false;
      screen.append(bytes.data(), static_cast<size_t>(got));
    }
    screen.erase(0, screen.find(text) + text.size());
    return true;
  };
  const auto type = [&](const std::string& text) {
    EXPECT_EQ(::write(master, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  };
  ASSERT_TRUE(shows("% "));
  type(command::program("bulkhead") + " do terminal\n");
  ASSERT_TRUE(shows("ready")) << screen;
  type("\x1a");
  ASSERT_TRUE(shows("Stopped")) << screen;
  ASSERT_TRUE(shows("% "));
  type("echo shell $((6*7))\n");
  ASSERT_TRUE(shows("shell 42")) << screen;
  type("fg\n");
  ASSERT_TRUE(shows("continued")) << screen;
  type("a");
  EXPECT_TRUE(shows("got 97")) << screen;
  type("quit");
  ASSERT_TRUE(shows("% ")) << screen;
  type("echo status $?\n");
  EXPECT_TRUE(shows("status 5")) << screen;
  type("exit\n");
  int status = 0;
  ::waitpid(shell, &status, 0);
}

}  // namespace
