// bulkhead run: bundles into boot documents, and bundles refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/runtime/command.h"

namespace {

using command::Finished;
using command::run;
using command::Running;
using nlohmann::json;
using testing::HasSubstr;

class Bundle : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
    std::filesystem::create_directories(folder_ + "/rootfs/etc");
    config_ = {{"ociVersion", "1.0.2"},
               {"process",
                {{"args", {"boot"}}, {"cwd", "/x"}, {"env", {"A=b"}}, {"user", {{"uid", 5}, {"gid", 6}}}}},
               {"root", {{"path", "rootfs"}}},
               {"mounts", json::array()},
               {"linux", {{"namespaces", json::array({{{"type", "network"}}})}}}};
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  command::Words words() const { return {"run", "--root", folder_ + "/state", "--bundle", folder_, "box"}; }
  void save() const { std::ofstream(folder_ + "/config.json") << config_; }
  Finished run_it() const {
    save();
    return run(words());
  }

  std::string folder_ = "/tmp/bulkhead-test-XXXXXX";
  json config_;
};

TEST_F(Bundle, BecomesABootDocument) {
  config_["hostname"] = "box";
  config_["process"]["rlimits"] = {{{"type", "RLIMIT_NOFILE"}, {"soft", 10}, {"hard", 20}}};
  config_["process"]["user"]["umask"] = 077;
  config_["process"]["noNewPrivileges"] = true;
  config_["process"]["capabilities"] = {
      {"bounding", {"CAP_KILL"}}, {"permitted", {"CAP_KILL"}}, {"effective", {"CAP_KILL"}}};
  config_["mounts"] = {{{"destination", "/proc"}, {"type", "proc"}},
                       {{"destination", "/dev"}, {"type", "tmpfs"}, {"options", {"mode=755"}}},
                       {{"destination", "/etc2"}, {"source", "rootfs/etc"}, {"options", {"bind", "ro"}}}};
  const Finished boot = run_it();
  ASSERT_EQ(boot.status, 0) << boot.err;
  for (const char* line :
       {"hostname: box\n", "cwd: /x\n", "ids: 5 6\n", "umask: 77\n", "env: A=b\n", "no-new-privs: true\n",
        "capabilities: 20 20\n", "mount: / kind=0 attach=0 overlay=false ro=false ", "mount: /proc kind=2 ",
        "mount: /dev kind=4 ", "mount: /etc2 kind=0 attach=1 overlay=false ro=true "})
    EXPECT_THAT(boot.out, HasSubstr(line));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/state"));
}

TEST_F(Bundle, RootIsWritableUnlessReadOnly) {
  config_["process"]["args"] = {"gofer", "write", "0", "new"};
  EXPECT_EQ(run_it().out, "ok\nend\n");
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/rootfs/new"));
  config_["root"]["readonly"] = true;
  EXPECT_EQ(run_it().out, "error 30\nend\n");
}

TEST_F(Bundle, IdIsTakenWhileItRuns) {
  config_["process"]["args"] = {"wait"};
  save();
  Running first = Running::start(words());
  ASSERT_EQ(first.read_line(), "ready");
  json document;
  // The program may be heard before the command has written down that it runs.
  EXPECT_TRUE(command::eventually([&] {
    std::ifstream state(folder_ + "/state/box/state.json");
    document = json::parse(state)["state"];
    return document["status"] == "running";
  }));
  EXPECT_EQ(document["pid"], first.pid());
  EXPECT_EQ(document["bundle"], folder_);
  const Finished second = run(words());
  EXPECT_EQ(second.status, 125);
  EXPECT_THAT(second.err, HasSubstr("the id \"box\" exists already"));
  // A killed runtime leaves its folder, and the next container takes it over.
  first.signal(SIGKILL);
  first.wait();
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/state/box"));
  config_["process"]["args"] = {"exit", "4"};
  EXPECT_TRUE(command::eventually([&] { return run_it().status == 4; }));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/state/box"));
}

TEST_F(Bundle, RefusalsNameTheJsonPath) {
  struct Case {
    const char* pointer;
    json value;
    const char* message;
  };
  std::filesystem::create_directory_symlink(folder_ + "/rootfs", folder_ + "/link");
  std::filesystem::create_directory(folder_ + "/rootfs/dir");
  for (const Case& each :
       {Case{"/process/args", "x", "config.json: process.args: expected an array, not \"x\""},
        Case{"/root/path", "nowhere", "config.json: root.path: "},
        Case{"/root/path", "../..", "is outside of the bundle"},
        Case{"/root/path", "link", "is a symbolic link"},
        Case{"/root/path", "config.json", "is not a directory"},
        Case{"/process/terminal", true, "config.json: process.terminal: true, but standard input"},
        Case{"/mounts/0", {{"destination", "/a"}, {"type", "ext4"}}, "config.json: mounts[0].type: \"ext4\""},
        Case{"/mounts/0",
             {{"destination", "/a"}, {"type", "bind"}, {"source", "/nowhere"}},
             "config.json: mounts[0].source: /nowhere: No such file"},
        Case{"/mounts/0",
             {{"destination", "/a"}, {"type", "tmpfs"}, {"options", {"size=x"}}},
             "config.json: mounts[0].options: the value in \"size=x\""},
        Case{"/hooks/prestart/0", {{"path", "/bin/false"}}, "hooks.prestart[0] (/bin/false): exit status 1"},
        Case{"/linux/namespaces/0",
             {{"type", "pid"}, {"path", "/proc/1/ns/pid"}},
             "config.json: linux.namespaces[0].path"}}) {
    const json good = config_;
    config_[json::json_pointer(each.pointer)] = each.value;
    if (std::string_view(each.pointer).starts_with("/hooks"))
      config_["hooks"] = {{"prestart", json::array({each.value})}};
    if (std::string_view(each.pointer).starts_with("/linux"))
      config_["linux"] = {{"namespaces", json::array({each.value})}};
    const Finished refused = run_it();
    EXPECT_EQ(refused.status, 125) << each.pointer;
    EXPECT_THAT(refused.err, HasSubstr(each.message));
    EXPECT_FALSE(std::filesystem::exists(folder_ + "/state/box")) << each.pointer;
    config_ = good;
  }
  std::ofstream(folder_ + "/config.json") << "{\n\"ociVersion\": ";
  EXPECT_THAT(run(words()).err, HasSubstr("config.json: not valid JSON at line 2"));
  std::filesystem::remove(folder_ + "/config.json");
  EXPECT_THAT(run(words()).err, HasSubstr("/config.json: No such file"));
}

TEST_F(Bundle, WhatIsNotDoneIsNamed) {
  config_["process"]["capabilities"] = {{"bounding", {"CAP_NO_SUCH"}}};
  const Finished warned = run_it();
  EXPECT_EQ(warned.status, 0);
  EXPECT_EQ(warned.err, "bulkhead: config.json: process.capabilities.bounding: CAP_NO_SUCH: not honoured\n");
}

TEST_F(Bundle, StateDirectoryMustBeUsable) {
  save();
  for (const auto& [root, message] : {std::pair{std::string("/proc/nowhere"), "state directory"},
                                      std::pair{folder_ + "/config.json", "is not a directory"}}) {
    const Finished refused = run({"run", "--root", root, "--bundle", folder_, "box"});
    EXPECT_EQ(refused.status, 125);
    EXPECT_THAT(refused.err, HasSubstr(message));
  }
  if (!command::is_root()) return;
  std::filesystem::create_directory(folder_ + "/other");
  ASSERT_EQ(::chown((folder_ + "/other").c_str(), 65534, 65534), 0);
  EXPECT_THAT(run({"run", "--root", folder_ + "/other", "--bundle", folder_, "box"}).err,
              HasSubstr("belongs to user 65534"));
}

}  // namespace
