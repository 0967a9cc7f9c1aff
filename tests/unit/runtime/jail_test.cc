// The jails, seen from inside by the jailed programs and from outside through /proc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/unit/runtime/command.h"

namespace {

using command::facts;
using command::Finished;
using command::proc_status;
using command::run;
using command::Running;
using command::User;
using testing::HasSubstr;
using testing::Not;

// Sanitized programs are dynamic and find their libraries in the jail.
#ifdef BULKHEAD_SANITIZE
constexpr const char* kRoot = "[lib lib64 proc usr ]";
#else
constexpr const char* kRoot = "[]";
#endif

class Jail : public testing::TestWithParam<User> {
 protected:
  void SetUp() override {
    if (GetParam() == User::kNobody && !command::is_root()) GTEST_SKIP() << "needs root";
  }
  Finished run_as(const command::Words& words, const std::string& directory = "") const {
    return run(words, {.user = GetParam(), .directory = directory});
  }
  bool as_root() const { return GetParam() == User::kSelf && command::is_root(); }
};

INSTANTIATE_TEST_SUITE_P(Users, Jail, testing::Values(User::kSelf, User::kNobody),
                         [](const auto& user) { return user.param == User::kSelf ? "Self" : "Nobody"; });

void expect_common(std::map<std::string, std::string> inside) {
  EXPECT_EQ(inside["pid"], "1");
  EXPECT_EQ(inside["ppid"], "0");
  EXPECT_EQ(inside["session-leader"], "true");
  EXPECT_EQ(inside["no-new-privs"], "1");
  EXPECT_EQ(inside["death-signal"], "9");
  EXPECT_EQ(inside["inheritable"], "0");
  EXPECT_EQ(inside["root"], kRoot);
  EXPECT_EQ(inside["root-writable"], "false");
  EXPECT_EQ(inside["core"], "0");
  EXPECT_EQ(inside["files-soft-is-hard"], "true");
  EXPECT_EQ(inside["environment"], "empty");
}

TEST_P(Jail, OfTheSentryFromInside) {
  const auto inside = facts(run_as({"do", "jail"}).out);
  expect_common(inside);
  EXPECT_EQ(inside.at("effective"), "0");
  EXPECT_EQ(inside.at("permitted"), "0");
  EXPECT_EQ(inside.at("bounding-count"), "0");
  EXPECT_EQ(inside.at("fds"), "0 1 2 3 4 5 6 7 8");
  // The host's is hidden: clocks start at 100 s.
  EXPECT_GE(std::stol(inside.at("uptime")), 100);
  EXPECT_LT(std::stol(inside.at("uptime")), 130);
}

TEST_P(Jail, OfTheGoferFromInside) {
  const auto inside = facts(run_as({"do", "gofer", "jail"}, "/").out);
  expect_common(inside);
  EXPECT_EQ(inside.at("fds"), "0 1 2 3 4 5");  // nothing, nothing, log, socket, root, its /proc/self/fd
  // DAC_READ_SEARCH; with something to write to CHOWN, DAC_OVERRIDE, FOWNER and FSETID instead.
  EXPECT_EQ(inside.at("permitted"), as_root() ? "4" : "0");
  EXPECT_EQ(inside.at("bounding-count"), as_root() ? "1" : "0");
  const auto writing = facts(run_as({"do", "--bind", "/tmp:/x", "gofer", "jail"}, "/").out);
  EXPECT_EQ(writing.at("permitted"), as_root() ? "1b" : "0");
  EXPECT_EQ(writing.at("bounding-count"), as_root() ? "4" : "0");
}

TEST_P(Jail, FromOutside) {
  Running sandbox = Running::start({"do", "stubs", "1"}, {.user = GetParam()});
  ASSERT_EQ(sandbox.read_line(), "ready");
  const auto jailed = sandbox.jailed();
  ASSERT_EQ(jailed.size(), 2U);
  const std::vector<pid_t> stubs = Running::children(jailed.at("sentry"));
  ASSERT_EQ(stubs.size(), 1U);
  const auto ns = [](pid_t pid, const std::string& kind) {
    return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind).string();
  };
  for (const auto& [name, pid] : jailed) {
    EXPECT_EQ(proc_status(pid, "NoNewPrivs"), "1") << name;
    EXPECT_EQ(proc_status(pid, "CapInh"), "0000000000000000") << name;
    EXPECT_EQ(proc_status(pid, "CapAmb"), "0000000000000000") << name;
    const std::string capabilities = name == "gofer" && as_root() ? "0000000000000004" : "0000000000000000";
    for (const char* set : {"CapPrm", "CapEff", "CapBnd"})
      EXPECT_EQ(proc_status(pid, set), capabilities) << name << set;
    for (const char* kind : {"user", "pid", "net", "ipc", "uts", "mnt", "cgroup"})
      EXPECT_NE(ns(pid, kind), ns(::getpid(), kind)) << name << " " << kind;
    EXPECT_EQ(std::filesystem::is_empty("/proc/" + std::to_string(pid) + "/root/"),
              std::string(kRoot) == "[]")
        << name;
  }
  EXPECT_NE(ns(jailed.at("sentry"), "time"), ns(::getpid(), "time"));
  for (const char* kind : {"user", "pid", "net", "ipc", "uts", "mnt"})
    EXPECT_NE(ns(jailed.at("sentry"), kind), ns(jailed.at("gofer"), kind)) << kind;
  EXPECT_EQ(ns(stubs[0], "pid"), ns(jailed.at("sentry"), "pid"));
  // For root the sentry is a user of its own, for a user it is that user.
  if (as_root()) {
    EXPECT_EQ(proc_status(jailed.at("sentry"), "Uid").substr(0, 10),
              std::to_string(0x70000000 + sandbox.pid()));
    EXPECT_EQ(proc_status(jailed.at("gofer"), "Uid"), "0\t0\t0\t0");
  } else if (GetParam() == User::kNobody) {
    EXPECT_EQ(proc_status(jailed.at("sentry"), "Uid"), "65534\t65534\t65534\t65534");
  }
  EXPECT_EQ(proc_status(jailed.at("sentry"), "Groups"), "");
  sandbox.signal(SIGTERM);
  EXPECT_EQ(sandbox.wait().status, SIGTERM);
  EXPECT_NE(::kill(stubs[0], 0), 0);
}

TEST_P(Jail, GoferSeesTheHostReadOnlyWithoutWhatIsHidden) {
  EXPECT_THAT(run_as({"do", "gofer", "list", "0"}).out, HasSubstr("usr\n"));
  for (const char* place : {"proc", "sys", "dev", "tmp", "home", "root", "run", "var/tmp"})
    EXPECT_EQ(run_as({"do", "gofer", "list", "0", place}).out, "end\n") << place;
  for (const char* file : {"etc/x", "tmp/x", "root/x", "usr/x"})
    EXPECT_EQ(run_as({"do", "gofer", "write", "0", file}).out, "error 30\nend\n") << file;
  EXPECT_THAT(run_as({"do", "gofer", "read", "0", "etc/passwd"}).out, HasSubstr("root:"));
  const std::string shadow = run_as({"do", "gofer", "read", "0", "etc/shadow"}).out;
  EXPECT_EQ(shadow, as_root() ? "end\n" : "error 13\nend\n");
}

TEST_P(Jail, GoferCannotLeaveAnAttachPoint) {
  EXPECT_EQ(run_as({"do", "--bind", "/usr/share:/x:ro", "gofer", "up", "1"}, "/").out,
            run_as({"do", "--bind", "/usr/share:/x:ro", "gofer", "list", "1"}, "/").out);
  EXPECT_THAT(run_as({"do", "--bind", "/usr/share:/x:ro", "gofer", "list", "1", "../.."}, "/").out,
              Not(HasSubstr("etc\n")));
}

TEST_P(Jail, BindsAreWritableUnlessReadOnly) {
  std::string folder = "/tmp/bulkhead-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  ASSERT_EQ(::chmod(folder.c_str(), 0777), 0);
  EXPECT_EQ(run_as({"do", "--bind", folder + ":/x:ro", "gofer", "write", "1", "a"}, "/").out,
            "error 30\nend\n");
  EXPECT_FALSE(std::filesystem::exists(folder + "/a"));
  EXPECT_EQ(run_as({"do", "--bind", folder + ":/x", "gofer", "write", "1", "a"}, "/").out, "ok\nend\n");
  EXPECT_TRUE(std::filesystem::exists(folder + "/a"));
  EXPECT_EQ(run_as({"do", "--bind", folder + "/a:/x", "gofer", "read", "1"}, "/").out,
            "file of 7 bytes\nend\n");
  // The current directory comes back read-only under the cover of /tmp.
  EXPECT_EQ(run_as({"do", "gofer", "list", "1"}, folder).out, "a\nend\n");
  EXPECT_EQ(run_as({"do", "gofer", "write", "1", "b"}, folder).out, "error 30\nend\n");
  EXPECT_EQ(run_as({"do", "--root", folder, "--writable", "gofer", "write", "0", "c"}, "/").out, "ok\nend\n");
  EXPECT_TRUE(std::filesystem::exists(folder + "/c"));
  std::filesystem::remove_all(folder);
}

TEST_P(Jail, HomesOpenOnRequestAndShowNoDotFiles) {
  if (!as_root()) GTEST_SKIP() << "needs root's home";
  const std::string folder = "/root/bulkhead-test", file = "/root/.bulkhead-test";
  std::filesystem::create_directory(folder);
  std::ofstream(file) << "secret";
  EXPECT_THAT(run_as({"do", "--home", "gofer", "list", "0", "root"}, "/").out, HasSubstr("bulkhead-test\n"));
  // With the home directory as the current one it is there, and its dot files are empty.
  EXPECT_THAT(run_as({"do", "gofer", "list", "1"}, "/root").out, HasSubstr("bulkhead-test\n"));
  EXPECT_EQ(run_as({"do", "gofer", "read", "1", ".bulkhead-test"}, "/root").out, "end\n");
  EXPECT_EQ(run_as({"do", "gofer", "list", "0", "root"}, "/root").out, "end\n");
  // A directory below it is there alone.
  EXPECT_EQ(run_as({"do", "gofer", "list", "1"}, folder).out, "end\n");
  std::filesystem::remove(file);
  std::filesystem::remove(folder);
}

TEST(Programs, MustBeThere) {
  std::string folder = "/tmp/bulkhead-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::filesystem::copy(command::program("bulkhead"), folder + "/bulkhead");
  const std::string log = folder + "/log";
  const int status = std::system((folder + "/bulkhead do x 2>" + log).c_str());
  EXPECT_EQ(WEXITSTATUS(status), 125);
  std::ifstream text(log);
  std::string line;
  std::getline(text, line);
  EXPECT_THAT(line, HasSubstr("bulkhead-sentry is neither in " + folder));
  std::filesystem::remove_all(folder);
}

}  // namespace
