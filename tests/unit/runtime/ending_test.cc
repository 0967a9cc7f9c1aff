// How sandboxes end: the status, what is said, and that nothing stays.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "tests/unit/runtime/command.h"

namespace {

using command::eventually;
using command::Finished;
using command::leftovers;
using command::run;
using command::Running;
using command::User;
using testing::HasSubstr;

class Ending : public testing::TestWithParam<User> {
 protected:
  void SetUp() override {
    if (GetParam() == User::kNobody && !command::is_root()) GTEST_SKIP() << "needs root";
    before_ = leftovers();
  }
  void TearDown() override { EXPECT_EQ(leftovers(), before_); }

  Finished run_as(const command::Words& words, command::Setup setup = {}) const {
    setup.user = GetParam();
    return run(words, setup);
  }
  Running start_as(const command::Words& words) const { return Running::start(words, {.user = GetParam()}); }

  std::vector<std::string> before_;
};

INSTANTIATE_TEST_SUITE_P(Users, Ending, testing::Values(User::kSelf, User::kNobody),
                         [](const auto& user) { return user.param == User::kSelf ? "Self" : "Nobody"; });

TEST_P(Ending, StatusIsTheProgramsOwn) {
  EXPECT_EQ(run_as({"do", "exit", "0"}).status, 0);
  EXPECT_EQ(run_as({"do", "exit", "7"}).status, 7);
  EXPECT_EQ(run_as({"do", "exit", "255"}).status, 255);
  EXPECT_EQ(run_as({"do", "signal", "15"}).status, 128 + 15);
  EXPECT_EQ(run_as({"do", "signal", "9"}).status, 128 + 9);
}

TEST_P(Ending, MissingProgramIs127) {
  const Finished missing = run_as({"do", "missing", "nosuch: not found\033[31m"});
  EXPECT_EQ(missing.status, 127);
  EXPECT_EQ(missing.err, "bulkhead: nosuch: not found?[31m\n");  // no control characters from inside
}

TEST_P(Ending, BrokenSentryIs125WithTheReason) {
  for (const auto& [how, what] :
       {std::pair{"fault", "crashed (signal 4)"}, std::pair{"sys", "not on its list"},
        std::pair{"status", "gave up (status 70)"}, std::pair{"silent", "without saying"}}) {
    const Finished broken = run_as({"do", "crash", how});
    EXPECT_EQ(broken.status, 125) << how;
    EXPECT_THAT(broken.err, HasSubstr(what));
    EXPECT_THAT(broken.err, HasSubstr("sentry"));
  }
}

TEST_P(Ending, SaysWhereTheLastWordsOfASentryAre) {
  EXPECT_THAT(run_as({"do", "crash", "status"}).err, HasSubstr("; its message is above\n"));
  EXPECT_THAT(run_as({"do", "--log", "/dev/null", "crash", "status"}).err,
              HasSubstr("; its message is in the log\n"));
}

TEST_P(Ending, BrokenGoferIs125WithTheReason) {
  const Finished broken = run_as({"do", "gofer", "die"});
  EXPECT_EQ(broken.status, 125);
  EXPECT_THAT(broken.err, HasSubstr("the gofer"));
}

TEST_P(Ending, KilledProgramsAreNamed) {
  for (const char* victim : {"sentry", "gofer"}) {
    Running sandbox = start_as({"do", "stubs", "3"});
    ASSERT_EQ(sandbox.read_line(), "ready");
    ::kill(sandbox.jailed().at(victim), SIGKILL);
    const Finished killed = sandbox.wait();
    EXPECT_EQ(killed.status, 137) << victim;
    EXPECT_THAT(killed.err, HasSubstr(std::string("the ") + victim + " was killed (signal 9)"));
  }
}

TEST_P(Ending, TimeoutIs124) {
  const Finished late = run_as({"do", "--timeout", "0.2", "stubs", "2"});
  EXPECT_EQ(late.status, 124);
  EXPECT_THAT(late.err, HasSubstr("--timeout allows (0.2 s)"));
  EXPECT_EQ(run_as({"do", "--timeout", "60", "exit", "3"}).status, 3);
}

TEST_P(Ending, SignalsReachTheProgram) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGRTMIN + 3}) {
    Running sandbox = start_as({"do", "wait"});
    ASSERT_EQ(sandbox.read_line(), "ready");
    sandbox.signal(number);
    EXPECT_EQ(sandbox.wait().status, number);
  }
}

// By the program, which may change its mind: the command passes them on.
TEST_P(Ending, TheProgramIgnoresWhatTheCommandWasStartedToIgnore) {
  Running sandbox = Running::start({"do", "wait"}, {.user = GetParam(), .ignored_signals = {SIGHUP}});
  ASSERT_EQ(sandbox.read_line(), "ready");
  sandbox.signal(SIGHUP);
  sandbox.signal(SIGTERM);
  EXPECT_EQ(sandbox.wait().status, SIGTERM);
}

// Without a terminal a stopped program stops the command, and continuing the command continues the program.
TEST_P(Ending, StopsAndContinuesWithTheProgram) {
  Running sandbox = start_as({"do", "stop", std::to_string(SIGSTOP)});
  ASSERT_EQ(sandbox.read_line(), "stopping");
  int status = 0;
  ASSERT_EQ(::waitpid(sandbox.pid(), &status, WUNTRACED), sandbox.pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
  sandbox.signal(SIGCONT);
  const Finished finished = sandbox.wait();
  EXPECT_EQ(finished.out, "continued\n");
  EXPECT_EQ(finished.status, 0);
}

TEST_P(Ending, StreamsPassThroughWithTheirFlags) {
  EXPECT_EQ(run_as({"do", "cat"}, {.input = "some\0bytes"}).out, "some");
  EXPECT_EQ(run_as({"do", "boot"}, {.close_stdin = true}).out.find("stdio: true"), std::string::npos);
  // A file's open file description is shared with whoever else has it.
  std::string name = "/tmp/bulkhead-test-XXXXXX";
  const sentry::Fd file(::mkstemp(name.data()));
  ::fcntl(file.get(), F_SETFL, O_APPEND);
  const int flags = ::fcntl(file.get(), F_GETFL);
  EXPECT_EQ(run_as({"do", "cat"}, {.input = "text", .stdout_fd = file.get()}).status, 0);
  EXPECT_EQ(::fcntl(file.get(), F_GETFL), flags);
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_END), 4);
  ::unlink(name.c_str());
}

TEST_P(Ending, LogGoesWhereItIsAsked) {
  std::string name = "/tmp/bulkhead-test-XXXXXX";
  const sentry::Fd file(::mkstemp(name.data()));
  ASSERT_EQ(::fchmod(file.get(), 0666), 0);
  const Finished logged = run_as({"do", "--log", name, "say", "hello"});
  EXPECT_EQ(logged.err, "");
  std::array<char, 100> text{};
  EXPECT_GT(::pread(file.get(), text.data(), text.size(), 0), 0);
  EXPECT_STREQ(text.data(), "fake-sentry: hello\n");
  EXPECT_EQ(run_as({"do", "say", "hello"}).err, "fake-sentry: hello\n");
  ::unlink(name.c_str());
}

// Whoever dies first, and whenever: every process of the sandbox is gone afterwards.
TEST_P(Ending, NothingSurvivesAKillAtAnyMoment) {
  // The test inherits what the command leaves, and so can wait for all of it.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  std::mt19937 random(20240501);  // NOLINT(bugprone-random-generator-seed): repeatable
  for (int round = 0; round < 60; ++round) {
    Running sandbox = start_as({"do", "stubs", "2"});
    const timespec moment{0, static_cast<long>(random() % 8'000'000)};
    ::nanosleep(&moment, nullptr);
    const std::vector<pid_t> children = Running::children(sandbox.pid());
    const size_t victim = random() % 3;
    if (victim == 2 || victim >= children.size()) {
      sandbox.signal(SIGKILL);
      EXPECT_EQ(sandbox.wait().status, 137);
    } else {
      ::kill(children[victim], SIGKILL);
      const Finished finished = sandbox.wait();
      EXPECT_TRUE(finished.status == 137 || finished.status == 125) << finished.status << " " << finished.err;
      EXPECT_NE(finished.err, "");
    }
    EXPECT_TRUE(eventually([] { return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD; })) << round;
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_P(Ending, ManyRunsLeaveNothing) {
  for (int round = 0; round < 100; ++round) ASSERT_EQ(run_as({"do", "exit", "3"}).status, 3);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_P(Ending, MemoryLimitKillsTheSandboxOnly) {
  const Finished greedy = run_as({"do", "--memory", "64M", "eat", std::to_string(512 << 20)});
  EXPECT_EQ(greedy.status, 137);
  EXPECT_THAT(greedy.err, HasSubstr("reached its memory limit (64M)"));
  Running modest = start_as({"do", "--memory", "256M", "eat", std::to_string(16 << 20)});
  EXPECT_EQ(modest.read_line(), "eating");
  EXPECT_EQ(modest.read_line(), "eaten");
  modest.signal(SIGTERM);
  EXPECT_EQ(modest.wait().status, SIGTERM);
}

TEST_P(Ending, LimitsOfAllKindsTogether) {
  if (GetParam() == User::kNobody) {
    const Finished refused = run_as({"do", "--cpus", "1", "exit", "0"});
    EXPECT_EQ(refused.status, 125);
    EXPECT_THAT(refused.err, HasSubstr("--cpus needs a cgroup"));
    return;
  }
  if (!command::is_root()) GTEST_SKIP() << "needs root";
  Running sandbox = start_as({"do", "--cpus", "0.5", "--pids", "20", "--memory", "100M", "wait"});
  ASSERT_EQ(sandbox.read_line(), "ready");
  EXPECT_NE(leftovers(), before_);  // the cgroups are there while it runs
  sandbox.signal(SIGTERM);
  EXPECT_EQ(sandbox.wait().status, SIGTERM);
}

TEST(StaleCgroup, OfAKilledRuntimeIsRemovedByTheNext) {
  if (!command::is_root()) GTEST_SKIP() << "needs root";
  const std::vector<std::string> before = leftovers();
  {
    Running sandbox = Running::start({"do", "--memory", "100M", "wait"});
    ASSERT_EQ(sandbox.read_line(), "ready");
    sandbox.signal(SIGKILL);
    sandbox.wait();
  }
  EXPECT_NE(leftovers(), before);
  ASSERT_TRUE(eventually([] { return run({"do", "--memory", "100M", "exit", "0"}).status == 0; }));
  EXPECT_TRUE(eventually([&] {
    run({"do", "--memory", "100M", "exit", "0"});
    return leftovers() == before;
  }));
}

}  // namespace
