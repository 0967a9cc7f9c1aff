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

// sched(7), sched_setattr(2).
struct Scheduler {
  int policy = 0;  // SCHED_*
  int nice = 0, priority = 0;
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
  std::optional<Scheduler> scheduler;
  int io_priority = 0;  // IOPRIO_PRIO_VALUE of ioprio_set(2); 0: none was set
  // Accepted, and without a meaning for what runs on a kernel of its own.
  std::string apparmor_profile, selinux_label;
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

// A rule of the devices controller; absent numbers mean any.
struct DeviceRule {
  bool allow = false;
  char type = 'a';  // a, c, b
  std::optional<int64_t> major, minor;
  uint32_t access = 7;  // 1 to read, 2 to write, 4 to make a node
};

// linux.resources.blockIO: a rate for a device of the host.
struct Throttle {
  std::string file;  // of the v1 controller, "blkio.throttle.read_bps_device"
  int64_t major = 0, minor = 0;
  uint64_t rate = 0;
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;
};

struct Resources {
  std::optional<int64_t> memory_limit_bytes;  // -1: no limit
  std::optional<int64_t> memory_swap_bytes;
  std::optional<int64_t> pids_limit;  // 0 or less: no limit
  std::optional<uint64_t> cpu_shares, cpu_period_us;
  std::optional<int64_t> cpu_quota_us;  // 0 or less: no limit
  std::string cpus, mems;
  std::optional<uint64_t> cpu_burst_us, cpu_idle;
  std::optional<int64_t> cpu_realtime_runtime_us;
  std::optional<uint64_t> cpu_realtime_period_us;
  std::optional<int64_t> memory_reservation_bytes;
  std::optional<uint64_t> memory_swappiness;
  std::optional<bool> memory_disable_oom_killer;
  std::optional<uint16_t> blkio_weight, blkio_leaf_weight;
  std::vector<Throttle> throttles;
  std::vector<HugepageLimit> hugepage_limits;
  std::vector<std::pair<std::string, std::string>> unified;
  std::vector<DeviceRule> devices;
};

// linux.seccomp. Names stay as they are: which of them exist is the platform's to say.
struct SeccompArgument {
  uint32_t index = 0;
  uint64_t value = 0, value_two = 0;
  std::string op;  // SCMP_CMP_*
};

struct SeccompRule {
  std::vector<std::string> names;
  std::string action;  // SCMP_ACT_*
  std::optional<uint32_t> errno_value;
  std::vector<SeccompArgument> arguments;
};

struct Seccomp {
  std::string default_action;
  std::optional<uint32_t> default_errno;
  std::vector<std::string> architectures;  // SCMP_ARCH_*
  std::vector<SeccompRule> rules;
};

// linux.timeOffsets: a clock's distance from the host's.
struct ClockOffset {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
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
  std::optional<Seccomp> seccomp;
  std::string mount_label;  // accepted and redundant, as apparmor_profile
  std::optional<uint32_t> personality;
  std::optional<ClockOffset> monotonic, boottime;
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
  // The same of what is without effect on Linux, too, with the reason.
  std::vector<std::string> without_effect;
};

// Reads one document. The error names the first thing that is wrong.
Checked<Config> parse_config(std::string_view json);

// A process alone, as `exec --process FILE` has it.
struct ProcessDocument {
  Process process;
  std::vector<std::string> unsupported, without_effect;  // as Config's
};
Checked<ProcessDocument> parse_process(std::string_view json);

// Reads linux.resources alone, as `update --resources FILE` has it.
Checked<Resources> parse_resources(std::string_view json);

}  // namespace oci
