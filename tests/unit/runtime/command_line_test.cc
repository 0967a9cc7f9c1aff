// The command line: what is accepted, what is refused and how, and what it becomes for the sentry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/runtime/command.h"

namespace {

using command::facts;
using command::Finished;
using command::run;
using command::Words;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// man-pages(7) has the order of sections.
TEST(CommandLine, HelpIsInManPageOrder) {
  for (const char* verb : {"do", "run", "check", "surface", "syscalls"}) {
    const Finished help = run({verb, "--help"});
    EXPECT_EQ(help.status, 0) << verb;
    EXPECT_THAT(help.out, StartsWith(std::string("NAME\n       bulkhead-") + verb + " - "));
    size_t last = 0;
    for (const char* section : {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"}) {
      const size_t at = help.out.find(std::string(section) + "\n");
      ASSERT_NE(at, std::string::npos) << verb << " " << section;
      EXPECT_GE(at, last) << verb << " " << section;
      last = at;
    }
  }
  EXPECT_EQ(run({"--help"}).status, 0);
  EXPECT_THAT(run({"--version"}).out, StartsWith("bulkhead "));
}

struct Refusal {
  Words words;
  const char* message;
};

class Refusals : public testing::TestWithParam<Refusal> {};

TEST_P(Refusals, SayWhatIsWrong) {
  const Finished refused = run(GetParam().words);
  EXPECT_EQ(refused.status, 125);
  EXPECT_THAT(refused.err, StartsWith("bulkhead: "));
  EXPECT_THAT(refused.err, HasSubstr(GetParam().message));
  EXPECT_EQ(refused.out, "");
}

INSTANTIATE_TEST_SUITE_P(
    CommandLine, Refusals,
    testing::Values(
        Refusal{{}, "no verb given"}, Refusal{{"fly"}, "no verb \"fly\""},
        Refusal{{"do"}, "no program given"}, Refusal{{"do", "--"}, "no program given"},
        Refusal{{"do", "--nonsense", "--", "exit", "0"}, "--nonsense"},
        Refusal{{"do", "--memory", "lots", "exit", "0"}, "\"lots\" is not a size"},
        Refusal{{"do", "--memory", "0", "exit", "0"}, "not a size"},
        Refusal{{"do", "--memory", "99999999999G", "exit", "0"}, "not a size"},
        Refusal{{"do", "--pids", "-1", "exit", "0"}, "is not a count"},
        Refusal{{"do", "--pids", "0", "exit", "0"}, "is not a count"},
        Refusal{{"do", "--cpus", "none", "exit", "0"}, "processor time"},
        Refusal{{"do", "--timeout", "0", "exit", "0"}, "is not a time"},
        Refusal{{"do", "--timeout", "nan", "exit", "0"}, "is not a time"},
        Refusal{{"do", "--root", "/nowhere", "exit", "0"}, "--root /nowhere: No such file"},
        Refusal{{"do", "--root", "/etc/passwd", "exit", "0"}, "not a directory"},
        Refusal{{"do", "--bind", "/nowhere:/x", "exit", "0"}, "--bind /nowhere: No such file"},
        Refusal{{"do", "--bind", "/etc", "exit", "0"}, "give SRC:DST"},
        Refusal{{"do", "--bind", "/etc:x", "exit", "0"}, "give SRC:DST"},
        Refusal{{"do", "--bind", "/dev/null:/x", "exit", "0"}, "neither a directory nor a regular file"},
        Refusal{{"do", "--env", "=x", "exit", "0"}, "a variable needs a name"},
        Refusal{{"do", "--hostname", "", "exit", "0"}, "1 to 64 characters"},
        Refusal{{"do", "--hostname", "two words", "exit", "0"}, "letters, digits"},
        Refusal{{"do", "--hostname", "a\nb", "exit", "0"}, "letters, digits"},
        Refusal{{"do", "--root=", "--", "exit", "0"}, "--root: give a value"},
        Refusal{{"do", "--home", "--cwd", "/", "--memory=", "--", "exit", "0"}, "--memory: give a value"},
        Refusal{{"do", "--bind", "/proc:/x", "exit", "0"}, "the host's proc is no tree of files"},
        Refusal{{"do", "--bind", "/proc/self:/x:ro", "exit", "0"}, "the host's proc is no tree of files"},
        Refusal{{"do", "--root", "/sys", "exit", "0"}, "the host's sysfs is no tree of files"},
        Refusal{{"do", "--log", "/nowhere/log", "exit", "0"}, "--log /nowhere/log: No such file"},
        Refusal{{"run"}, "ID is required"}, Refusal{{"run", "a/b"}, "may hold letters"},
        Refusal{{"run", ".."}, "may hold letters"},
        Refusal{{"run", std::string(1000, 'a')}, "1000 characters"},
        Refusal{{"run", "--bundle", "/nowhere", "x"}, "cannot use the bundle /nowhere"}));

TEST(CommandLine, ProgramsArgumentsAreItsOwn) {
  const Finished boot = run({"do", "--", "boot", "--help", "--", "-x"});
  EXPECT_EQ(boot.status, 0);
  EXPECT_THAT(boot.out, HasSubstr("arg: boot\narg: --help\narg: --\narg: -x\n"));
  EXPECT_THAT(run({"do", "boot", "--memory", "x"}).out, HasSubstr("arg: boot\narg: --memory\narg: x\n"));
}

TEST(CommandLine, OptionsReachTheSentry) {
  const Finished boot =
      run({"do",     "--hostname", "box",         "--env", "A=1",  "--env",    "B=2",        "--env",
           "A=3",    "--env",      "FROM_CALLER", "--cwd", "/usr", "--strace", "--platform", "ptrace",
           "--pids", "17",         "--memory",    "256M",  "--",   "boot"},
          {.environment = {"FROM_CALLER=x y", "SECRET=token", "TERM=vt100", "LANG=xx"}});
  EXPECT_EQ(boot.status, 0) << boot.err;
  for (const char* line :
       {"hostname: box\n", "env: B=2\n", "env: A=3\n", "env: FROM_CALLER=x y\n", "cwd: /usr\n",
        "strace: true\n", "platform: ptrace\n", "tasks: 17\n", "memory: 268435456\n", "env: LANG=xx\n",
        "env: SHELL=/bin/sh\n", "env: PATH=/usr/local/sbin:/usr/local/bin:"})
    EXPECT_THAT(boot.out, HasSubstr(line));
  for (const char* absent : {"A=1", "SECRET", "TERM"}) EXPECT_THAT(boot.out, Not(HasSubstr(absent)));
}

TEST(CommandLine, MountsOfDo) {
  const Finished boot =
      run({"do", "--bind", "/usr/share:/mnt/share:ro", "--bind", "/etc/passwd:/p", "--", "boot"},
          {.directory = "/usr"});
  EXPECT_THAT(boot.out, HasSubstr("mount: / kind=0 attach=0 overlay=true ro=false type=overlay\n"));
  for (const char* line : {"mount: /proc kind=2 ", "mount: /sys kind=3 ", "mount: /dev kind=4 ",
                           "mount: /tmp kind=1 ", "mount: /mnt/share kind=0 attach=1 overlay=false ro=true ",
                           "mount: /p kind=0 attach=2 overlay=false ro=false ", "cwd: /usr\n"})
    EXPECT_THAT(boot.out, HasSubstr(line));
  EXPECT_THAT(boot.out, Not(HasSubstr("mount: /usr ")));
  EXPECT_THAT(run({"do", "--writable", "boot"}).out,
              HasSubstr("mount: / kind=0 attach=0 overlay=false ro=false "));
}

TEST(CommandLine, CurrentDirectoryComesBackUnderACover) {
  const Finished boot = run({"do", "boot"}, {.directory = "/var/tmp"});
  EXPECT_THAT(boot.out, HasSubstr("cwd: /var/tmp\n"));
  EXPECT_THAT(boot.out, Not(HasSubstr("mount: /var/tmp ")));  // the hidden place itself stays hidden
  std::string folder = "/var/tmp/bulkhead-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  EXPECT_THAT(run({"do", "boot"}, {.directory = folder}).out,
              HasSubstr("mount: " + folder + " kind=0 attach=1 overlay=false ro=true "));
  ::rmdir(folder.c_str());
  // The sandbox's own, where it may not be: the sentry says so.
  EXPECT_THAT(run({"do", "boot"}, {.directory = "/proc/1"}).out, HasSubstr("cwd: /proc/1\n"));
  EXPECT_THAT(run({"do", "boot"}, {.directory = "/dev"}).out, HasSubstr("cwd: /dev\n"));
}

TEST(CommandLine, AnotherRootIsShownAsItIs) {
  const Finished boot = run({"do", "--root", "/usr", "boot"}, {.directory = "/var/tmp"});
  EXPECT_THAT(boot.out, HasSubstr("cwd: /\n"));
  EXPECT_THAT(boot.out, Not(HasSubstr("mount: /run ")));
  EXPECT_THAT(run({"do", "--root", "/usr", "gofer", "list", "0"}).out, HasSubstr("share\n"));
}

TEST(CommandLine, RootHasContainerCapabilitiesAndUsersNone) {
  if (!command::is_root()) GTEST_SKIP() << "needs root";
  EXPECT_EQ(facts(run({"do", "boot"}).out)["capabilities"], "a80425fb a80425fb");
  const auto user = facts(run({"do", "boot"}, {.user = command::User::kNobody}).out);
  EXPECT_EQ(user.at("capabilities"), "0 0");
  EXPECT_EQ(user.at("ids"), "65534 65534");
}

TEST(CommandLine, SurfaceAndSyscallsComeFromThePrograms) {
  const Finished surface = run({"surface"});
  EXPECT_EQ(surface.status, 0);
  EXPECT_THAT(surface.out, testing::MatchesRegex("bulkhead-sentry: .*\nbulkhead-gofer: .*\n"));
  // The stand-in knows no --syscalls and says so by its status.
  const Finished syscalls = run({"syscalls"});
  EXPECT_EQ(syscalls.status, 125);
  EXPECT_THAT(syscalls.err, HasSubstr("--syscalls failed"));
}

TEST(CommandLine, CheckSaysWhetherSandboxesRun) {
  const Finished check = run({"check"});
  EXPECT_EQ(check.status, 0) << check.out;
  for (const char* name : {"kernel", "namespaces", "seccomp filter", "ptrace", "io_uring", "pidfd",
                           "mount_setattr", "yama", "cgroup memory", "bulkhead-sentry"})
    EXPECT_THAT(check.out, HasSubstr(name));
}

}  // namespace
