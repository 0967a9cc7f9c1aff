#include "oci/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <linux/capability.h>
#include <sys/resource.h>
#include <nlohmann/json.hpp>
#include <string>

#include "oci/state.h"

namespace oci {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// What `runc spec` writes, shortened, with a value in every field that is read.
const char* const kGood = R"json({
  "ociVersion": "1.0.2-dev",
  "process": {
    "terminal": true,
    "consoleSize": {"height": 25, "width": 80},
    "user": {"uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [5, 6]},
    "args": ["sh", "-c", ""],
    "env": ["PATH=/bin", "EMPTY=", "A=b=c"],
    "cwd": "/home",
    "capabilities": {
      "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL"],
      "effective": ["CAP_KILL"],
      "permitted": ["CAP_KILL", "CAP_CHOWN"],
      "inheritable": ["CAP_CHOWN"],
      "ambient": ["CAP_CHOWN"]
    },
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024},
                {"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 0}],
    "noNewPrivileges": true,
    "oomScoreAdj": -5,
    "apparmorProfile": "x"
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "box",
  "domainname": "example.org",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "data", "source": "/srv", "options": ["rbind", "ro"]}
  ],
  "hooks": {"poststop": [{"path": "/bin/true", "args": ["true"], "env": ["A=1"], "timeout": 5}]},
  "annotations": {"a": "b"},
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "user"}, {"type": "network", "path": "/run/netns/x"}],
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 8630, "uid": 1, "gid": 2},
                {"path": "/dev/pipe", "type": "p"}],
    "cgroupsPath": "/a/b",
    "resources": {"memory": {"limit": 1048576, "swap": 2097152}, "pids": {"limit": 7},
                  "cpu": {"shares": 5, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0"},
                  "devices": [{"allow": false, "access": "rwm"}]},
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "maskedPaths": ["/proc/kcore"],
    "readonlyPaths": ["/proc/sys"],
    "rootfsPropagation": "rprivate"
  }
})json";

TEST(Config, ReadsEveryField) {
  const Checked<Config> parsed = parse_config(kGood);
  ASSERT_TRUE(parsed.ok()) << parsed.error().text();
  const Config& config = *parsed;
  ASSERT_TRUE(config.process.has_value());
  const Process& process = *config.process;
  EXPECT_TRUE(process.terminal);
  EXPECT_EQ(process.rows, 25);
  EXPECT_EQ(process.columns, 80);
  EXPECT_THAT(process.args, ElementsAre("sh", "-c", ""));
  EXPECT_THAT(process.env, ElementsAre("PATH=/bin", "EMPTY=", "A=b=c"));
  EXPECT_EQ(process.cwd, "/home");
  EXPECT_EQ(process.uid, 1000U);
  EXPECT_EQ(process.gid, 1001U);
  EXPECT_EQ(process.umask, 022U);
  EXPECT_THAT(process.additional_gids, ElementsAre(5U, 6U));
  EXPECT_EQ(process.capabilities.bounding, 1ULL << CAP_AUDIT_WRITE | 1ULL << CAP_KILL);
  EXPECT_EQ(process.capabilities.effective, 1ULL << CAP_KILL);
  EXPECT_EQ(process.capabilities.permitted, 1ULL << CAP_KILL | 1ULL << CAP_CHOWN);
  EXPECT_EQ(process.capabilities.inheritable, 1ULL << CAP_CHOWN);
  EXPECT_EQ(process.capabilities.ambient, 1ULL << CAP_CHOWN);
  ASSERT_EQ(process.rlimits.size(), 2U);
  EXPECT_EQ(process.rlimits[0].resource, RLIMIT_NOFILE);
  EXPECT_EQ(process.rlimits[0].soft, 1024U);
  EXPECT_EQ(process.rlimits[1].hard, RLIM_INFINITY);
  EXPECT_TRUE(process.no_new_privileges);
  EXPECT_EQ(process.oom_score_adj, -5);
  EXPECT_EQ(config.root.path, "rootfs");
  EXPECT_TRUE(config.root.readonly);
  EXPECT_EQ(config.hostname, "box");
  EXPECT_EQ(config.domainname, "example.org");
  ASSERT_EQ(config.mounts.size(), 2U);
  EXPECT_EQ(config.mounts[1].destination, "/data");
  EXPECT_EQ(config.mounts[1].type, "bind");
  EXPECT_THAT(config.mounts[1].options, ElementsAre("rbind", "ro"));
  ASSERT_EQ(config.hooks.poststop.size(), 1U);
  EXPECT_EQ(config.hooks.poststop[0].timeout_seconds, 5U);
  EXPECT_EQ(config.annotations.at("a"), "b");
  const Linux& part = config.linux_part;
  EXPECT_EQ(part.namespaces.at(2).path, "/run/netns/x");
  EXPECT_EQ(part.uid_mappings.at(0).size, 10U);
  EXPECT_EQ(part.devices.at(0).minor, 229U);
  EXPECT_EQ(part.devices.at(0).mode, 0666U);
  EXPECT_EQ(part.devices.at(1).type, 'p');
  EXPECT_EQ(part.cgroups_path, "/a/b");
  EXPECT_EQ(part.resources.memory_limit_bytes, 1048576);
  EXPECT_EQ(part.resources.pids_limit, 7);
  EXPECT_EQ(part.resources.cpu_quota_us, 50000);
  EXPECT_EQ(part.sysctl.at(0).second, "1");
  EXPECT_THAT(part.masked_paths, ElementsAre("/proc/kcore"));
  EXPECT_THAT(part.readonly_paths, ElementsAre("/proc/sys"));
  EXPECT_THAT(config.unsupported, IsEmpty());
}

TEST(Config, NeedsLittle) {
  const Checked<Config> parsed = parse_config(R"({"ociVersion": "1.2.0", "root": {"path": "/x"}})");
  ASSERT_TRUE(parsed.ok()) << parsed.error().text();
  EXPECT_FALSE(parsed->process.has_value());
}

TEST(Config, NamesWhatIsNotDone) {
  json document = json::parse(kGood);
  document["process"]["capabilities"]["bounding"].push_back("CAP_NONSENSE");
  const Checked<Config> parsed = parse_config(document.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.error().text();
  EXPECT_THAT(parsed->unsupported, ElementsAre("process.capabilities.bounding: CAP_NONSENSE"));
}

// Each bad value alone, in a document that is good otherwise: JSON pointer, value, and what the error must
// say.
struct BadValue {
  const char* pointer;
  const char* value;
  const char* path;      // of the error
  const char* expected;  // in its message
};

class BadValues : public testing::TestWithParam<BadValue> {};

TEST_P(BadValues, AreRefusedWithTheirPath) {
  json document = json::parse(kGood);
  document[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  const Checked<Config> parsed = parse_config(document.dump());
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().path, GetParam().path);
  EXPECT_THAT(parsed.error().message, HasSubstr(GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Config, BadValues,
    testing::Values(
        BadValue{"/linux/seccomp", R"({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["NONE"]})",
                 "linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_TSYNC"},
        BadValue{"/linux/seccomp",
                 R"({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]})",
                 "linux.seccomp.architectures[0]", "an architecture such as"},
        BadValue{"/mounts/0/uidMappings", R"([{"containerID": 0, "hostID": 1, "size": 1}])",
                 "mounts[0].uidMappings", "is not supported"},
        BadValue{"/mounts/0/gidMappings", R"([{"containerID": 0, "hostID": 1, "size": 1}])",
                 "mounts[0].gidMappings", "is not supported"},
        BadValue{"/linux/resources/memory/useHierarchy", "1", "linux.resources.memory.useHierarchy",
                 "true or false"},
        BadValue{"/linux/resources/memory/checkBeforeUpdate", R"("no")",
                 "linux.resources.memory.checkBeforeUpdate", "true or false"},
        BadValue{"/linux/sysctl", R"({"kernel": "1"})", "linux.sysctl", "\"kernel\" is not the name"},
        BadValue{"/linux/sysctl", R"({"": "1"})", "linux.sysctl", "\"\" is not the name"},
        BadValue{"/linux/sysctl", R"({"a..b": "1"})", "linux.sysctl", "\"a..b\" is not the name"},
        BadValue{"/linux/sysctl", R"({"a.b.": "1"})", "linux.sysctl", "\"a.b.\" is not the name"},
        BadValue{"/linux/sysctl", R"({"../../x": "1"})", "linux.sysctl", "\"../../x\" is not the name"},
        BadValue{"/ociVersion", "1", "ociVersion", "expected a string, not 1"},
        BadValue{"/ociVersion", R"("2.0.0")", "ociVersion", "from 1.0.0 to 1.2.x, not \"2.0.0\""},
        BadValue{"/ociVersion", R"("1.3.0")", "ociVersion", "from 1.0.0"},
        BadValue{"/ociVersion", R"("1")", "ociVersion", "from 1.0.0"},
        BadValue{"/ociVersion", R"("")", "ociVersion", "from 1.0.0"},
        BadValue{"/process", "[]", "process", "expected an object, not an array"},
        BadValue{"/process/terminal", R"("yes")", "process.terminal", "true or false"},
        BadValue{"/process/consoleSize", R"({"height": 3})", "process.consoleSize.width", "required"},
        BadValue{"/process/consoleSize/height", "70000", "process.consoleSize.height", "0 to 65535"},
        BadValue{"/process/user/uid", "-1", "process.user.uid", "not -1"},
        BadValue{"/process/user/uid", "4294967295", "process.user.uid", "0 to 4294967294"},
        BadValue{"/process/user/uid", "1.5", "process.user.uid", "a whole number"},
        BadValue{"/process/user/umask", "512", "process.user.umask", "0 to 511"},
        BadValue{"/process/user/additionalGids/1", R"("x")", "process.user.additionalGids[1]",
                 "a whole number"},
        BadValue{"/process/args", "[]", "process.args", "not an empty array"},
        BadValue{"/process/args", R"("sh")", "process.args", "expected an array"},
        BadValue{"/process/args/0", R"("")", "process.args[0]", "name of a program"},
        BadValue{"/process/args/1", "7", "process.args[1]", "a string, not 7"},
        BadValue{"/process/args/1", R"("a\u0000b")", "process.args[1]", "NUL"},
        BadValue{"/process/env/0", R"("PATH")", "process.env[0]", "NAME=value, not \"PATH\""},
        BadValue{"/process/env/0", R"("=x")", "process.env[0]", "NAME=value"},
        BadValue{"/process/cwd", R"("home")", "process.cwd", "an absolute path"},
        BadValue{"/process/capabilities", "[]", "process.capabilities", "an object"},
        BadValue{"/process/capabilities/bounding", "1", "process.capabilities.bounding", "an array"},
        BadValue{"/process/capabilities/bounding", R"([""])", "process.capabilities.bounding",
                 "an empty name"},
        BadValue{"/process/capabilities/effective", R"(["CAP_SYS_ADMIN"])", "process.capabilities.effective",
                 "\"permitted\" does not"},
        BadValue{"/process/rlimits/0/type", R"("RLIMIT_X")", "process.rlimits[0].type",
                 "such as RLIMIT_NOFILE"},
        BadValue{"/process/rlimits/0/soft", "4096", "process.rlimits[0].soft", "above the hard one"},
        BadValue{"/process/rlimits/1/type", R"("RLIMIT_NOFILE")", "process.rlimits[1].type", "a second time"},
        BadValue{"/process/rlimits/0", "{}", "process.rlimits[0].type", "required"},
        BadValue{"/process/noNewPrivileges", "1", "process.noNewPrivileges", "true or false"},
        BadValue{"/process/oomScoreAdj", "1001", "process.oomScoreAdj", "-1000 to 1000"},
        BadValue{"/root", "7", "root", "an object"}, BadValue{"/root", "{}", "root.path", "required"},
        BadValue{"/root/path", R"("")", "root.path", "not empty"},
        BadValue{"/root/readonly", "0", "root.readonly", "true or false"},
        BadValue{"/hostname", R"("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")",
                 "hostname", "64 characters"},
        BadValue{"/mounts", "{}", "mounts", "an array, not an object"},
        BadValue{"/mounts/0", R"({"type": "proc"})", "mounts[0].destination", "required"},
        BadValue{"/mounts/0", R"({"destination": "/x"})", "mounts[0].type", "required"},
        BadValue{"/mounts/0/destination", R"("")", "mounts[0].destination", "not empty"},
        BadValue{"/mounts/1/source", R"("")", "mounts[1].source", "needs one"},
        BadValue{"/mounts/1/options", R"("ro")", "mounts[1].options", "an array"},
        BadValue{"/hooks/poststop/0/path", R"("true")", "hooks.poststop[0].path", "an absolute path"},
        BadValue{"/hooks/poststop/0/timeout", "0", "hooks.poststop[0].timeout", "from 1"},
        BadValue{"/annotations", R"({"a": 1})", "annotations.a", "a string"},
        BadValue{"/linux", "[]", "linux", "an object"},
        BadValue{"/linux/namespaces/0/type", R"("nonsense")", "linux.namespaces[0].type", "one of pid"},
        BadValue{"/linux/namespaces/1/type", R"("pid")", "linux.namespaces[1].type", "there already"},
        BadValue{"/linux/namespaces/2/path", R"("x")", "linux.namespaces[2].path", "an absolute path"},
        BadValue{"/linux/namespaces", R"([{"type": "pid"}])", "linux.uidMappings", "no \"user\""},
        BadValue{"/linux/uidMappings/0/size", "0", "linux.uidMappings[0].size", "from 1"},
        BadValue{"/linux/uidMappings/0/hostID", "4294967290", "linux.uidMappings[0].size",
                 "beyond the last id"},
        BadValue{"/linux/uidMappings/1", R"({"containerID": 5, "hostID": 5000, "size": 1})",
                 "linux.uidMappings[1]", "overlaps with [0]"},
        BadValue{"/linux/devices/0/type", R"("x")", "linux.devices[0].type", "one of c, b, u, p"},
        BadValue{"/linux/devices/0", R"({"path": "/dev/a", "type": "c", "major": 1})",
                 "linux.devices[0].minor", "required"},
        BadValue{"/linux/devices/0/path", R"("fuse")", "linux.devices[0].path", "an absolute path"},
        BadValue{"/linux/resources/memory/limit", "-2", "linux.resources.memory.limit", "from -1"},
        BadValue{"/linux/resources/memory/swap", "1", "linux.resources.memory.swap", "below memory.limit"},
        BadValue{"/linux/resources/pids/limit", R"("7")", "linux.resources.pids.limit", "a whole number"},
        BadValue{"/linux/resources/cpu/quota", "1e3", "linux.resources.cpu.quota", "a whole number"},
        BadValue{"/linux/sysctl", R"({"a": 1})", "linux.sysctl.a", "a string"},
        BadValue{"/linux/maskedPaths/0", R"("kcore")", "linux.maskedPaths[0]", "an absolute path"},
        BadValue{"/linux/readonlyPaths", R"("/proc")", "linux.readonlyPaths", "an array"},
        BadValue{"/linux/rootfsPropagation", R"("sideways")", "linux.rootfsPropagation", "one of private"}));

TEST(Config, RefusesWhatIsMissing) {
  for (const auto& [pointer, path] :
       {std::pair{"/ociVersion", "ociVersion"}, std::pair{"/root", "root"},
        std::pair{"/process/args", "process.args"}, std::pair{"/process/cwd", "process.cwd"}}) {
    json document = json::parse(kGood);
    const json::json_pointer at(pointer);
    document[at.parent_pointer()].erase(at.back());
    const Checked<Config> parsed = parse_config(document.dump());
    ASSERT_FALSE(parsed.ok()) << pointer;
    EXPECT_EQ(parsed.error().path, path);
    EXPECT_THAT(parsed.error().message, StartsWith("required"));
  }
}

TEST(Config, RefusesWhatIsNotJson) {
  const auto message = [](std::string_view text) {
    const Checked<Config> parsed = parse_config(text);
    return parsed.ok() ? "parsed" : parsed.error().text();
  };
  EXPECT_EQ(message("{\n  \"a\": x}"), "not valid JSON at line 2, column 8: invalid literal");
  EXPECT_THAT(message(""), StartsWith("not valid JSON at line 1"));
  EXPECT_THAT(message("{\"a\": \"\xff\"}"), StartsWith("not valid JSON"));
  EXPECT_THAT(message("{\"a\": 1e999}"), StartsWith("not valid JSON"));
  EXPECT_EQ(message("[]"), "expected an object, not an array");
  EXPECT_EQ(message(R"({"root": {"path": "a", "path": "b"}})"),
            "the name \"path\" stands twice in one object");
  EXPECT_EQ(message(std::string(100, '[') + std::string(100, ']')), "nested too deeply");
  EXPECT_THAT(message(std::string(1'000'000, '[')), StartsWith("not valid JSON"));
}

// Every value of the good document in turn becomes one of another type: refused or read, with a path if
// refused.
TEST(Config, SurvivesEveryTypeEverywhere) {
  const json good = json::parse(kGood);
  const json places = good.flatten();
  int refused = 0;
  for (const auto& [pointer, value] : places.items()) {
    // Each prefix of the path is a place, too.
    for (std::string at = pointer; !at.empty(); at = at.substr(0, at.rfind('/'))) {
      for (const char* other : {"null", "true", "-1", "1e400", "0.5", "18446744073709551615", "\"\"", "\"x\"",
                                "[]", "[[]]", "{}", "[null]", R"({"": null})"}) {
        const json replacement = json::parse(other, nullptr, false);
        if (replacement.is_discarded()) continue;
        json document = good;
        document[json::json_pointer(at)] = replacement;
        const Checked<Config> parsed = parse_config(document.dump());
        if (parsed.ok()) continue;
        ++refused;
        EXPECT_FALSE(parsed.error().path.empty()) << at << " " << other;
      }
    }
  }
  EXPECT_GT(refused, 1000);
}

// A document cut off anywhere is refused.
TEST(Config, RefusesEveryTruncation) {
  const std::string text = kGood;
  for (size_t size = 0; size + 1 < text.size(); ++size)
    EXPECT_FALSE(parse_config(std::string_view(text).substr(0, size)).ok()) << size;
}

TEST(State, IsOneLineOfJson) {
  const std::string text =
      to_json({.id = "a\"b", .status = "running", .pid = 7, .bundle = "/x\xff", .annotations = {}});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  const json document = json::parse(text);
  EXPECT_EQ(document["id"], "a\"b");
  EXPECT_EQ(document["pid"], 7);
  EXPECT_EQ(document["status"], "running");
}

}  // namespace
}  // namespace oci
