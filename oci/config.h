// config.json of an OCI bundle as checked C++ values: OCI runtime specification 1.0 to 1.2, config.md and
// config-linux.md. Everything that can be judged without a host is judged here; what a host offers is the
// runtime's to find out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci/outcome.h"

namespace oci {

// What is wrong with a document.
struct Error {
  std::string path;     // where: "process.args[0]"; empty for the whole document
  std::string message;  // what it is and what was expected

  std::string text() const { return path.empty() ? message : path + ": " + message; }
};

template <typename T = void>
using Checked = Outcome<T, Error>;

struct Rlimit {
  int resource = 0;  // RLIMIT_*
  uint64_t soft = 0, hard = 0;
};

// Bit masks, bit N for capability N of capabilities(7).
struct Capabilities {
  uint64_t bounding = 0, effective = 0, permitted = 0, inheritable = 0, ambient = 0;
};

struct Process {
  bool terminal = false;
  uint16_t rows = 0, columns = 0;  // consoleSize; 0: not given
  std::vector<std::string> args;   // not empty
  std::vector<std::string> env;    // each NAME=value
  std::string cwd;                 // absolute
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> additional_gids;
  std::optional<uint32_t> umask;
  Capabilities capabilities;
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::optional<int32_t> oom_score_adj;
};

struct Root {
  std::string path;  // as it stands: relative to the bundle, or absolute
  bool readonly = false;
};

struct Mount {
  std::string destination;  // absolute
  std::string type;         // "bind" if an option says so
  std::string source;
  std::vector<std::string> options;  // as they stand; see mount_options.h
};

struct Hook {
  std::string path;
  std::vector<std::string> args, env;
  std::optional<uint32_t> timeout_seconds;
};

struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

struct IdMapping {
  uint32_t container_id = 0, host_id = 0, size = 0;
};

struct Device {
  std::string path;
  char type = 'c';  // c, b, p; u is c
  uint32_t major = 0, minor = 0;
  uint32_t mode = 0666;
  uint32_t uid = 0, gid = 0;
};

struct Resources {
  std::optional<int64_t> memory_limit_bytes;  // -1: no limit
  std::optional<int64_t> memory_swap_bytes;
  std::optional<int64_t> pids_limit;  // 0 or less: no limit
  std::optional<uint64_t> cpu_shares, cpu_period_us;
  std::optional<int64_t> cpu_quota_us;  // 0 or less: no limit
  std::string cpus, mems;
};

// linux.namespaces: one entry a kind.
struct Namespace {
  std::string type;  // pid network mount ipc uts user cgroup time
  std::string path;  // empty: a new one
};

struct Linux {
  std::vector<Namespace> namespaces;
  std::vector<IdMapping> uid_mappings, gid_mappings;
  std::vector<Device> devices;
  std::string cgroups_path;
  Resources resources;
  std::vector<std::pair<std::string, std::string>> sysctl;
  std::vector<std::string> masked_paths, readonly_paths;
  std::string rootfs_propagation;
};

struct Config {
  std::string oci_version;
  std::optional<Process> process;
  Root root;
  std::string hostname, domainname;
  std::vector<Mount> mounts;
  Hooks hooks;
  std::map<std::string, std::string> annotations;
  Linux linux_part;  // "linux" is a macro of GNU C++
  // JSON paths of what the document asks for and no sandbox of this version does: the runtime must say so.
  std::vector<std::string> unsupported;
};

// Reads one document. The error names the first thing that is wrong.
Checked<Config> parse_config(std::string_view json);

}  // namespace oci
