// What the runtime tells a sentry when it starts it: the contract between the two, like gofer/protocol.h
// between sentry and gofer. Pure data; the runtime links this and nothing else of the sentry.
//
// The runtime starts `bulkhead-sentry --boot N` in its namespaces, N a descriptor (memfd or pipe) that holds
// one encoded Boot. Every descriptor number in it is one of the started process.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sentry::boot {

// Raise when a message or a field changes: runtime and sentry must be of one build.
inline constexpr uint32_t kBootVersion = 8;

// The ways of intercepting system calls that Boot::platform may name.
inline constexpr std::array<std::string_view, 2> kPlatforms{"trap", "ptrace"};

// Where a mount's content comes from.
enum class MountKind : uint8_t {
  kGofer,  // a tree that the gofer serves: `attach` names which
  kTmpfs,  // sentry memory; size_bytes, mode
  kProc,
  kSysfs,
  kDev,  // the sandbox's own /dev: null zero full random urandom tty ptmx console fd stdin..., pts/, shm/,
         // mqueue/
  kDevpts,
  kMqueue,
  kCgroup,
  kDevice,  // a node alone, over a file: device_major, device_minor
};

struct Mount {
  MountKind kind = MountKind::kTmpfs;
  std::string destination;  // absolute guest path; created if missing (where a dangling link leads, too): in
                            // the overlay, or on a tree that is writable
  uint32_t attach = 0;      // kGofer: index of the gofer's attach point
  bool overlay = false;  // kGofer: reads fall through, writes stay in sentry memory and are dropped at exit
  bool read_only = false, nosuid = false, nodev = false, noexec = false;
  bool noatime = false, nodiratime = false, relatime = false, strictatime = false, nosymfollow = false;
  bool exclusive = false;     // kGofer: only this sandbox changes the tree, so it may be cached without limit
  std::string source;         // what /proc/mounts shows
  std::string type;           // what /proc/mounts shows, "overlay" or "ext4", say
  uint64_t size_bytes = 0;    // kTmpfs: 0 is no limit of its own
  uint32_t size_percent = 0;  // kTmpfs: of the memory that the guest has; if size_bytes is 0
  uint64_t max_inodes = 1 << 20;                // kTmpfs: 0 is no limit
  uint32_t device_major = 0, device_minor = 0;  // kDevice
  uint32_t mode = 01777;                        // kTmpfs: of its root
  bool mode_of_place = false;  // kTmpfs: its root has the mode of what it lies on, if that was there before
  uint32_t uid = 0, gid = 0;   // kTmpfs: of its root
};

struct Rlimit {
  uint32_t resource = 0;        // RLIMIT_*
  uint64_t soft = 0, hard = 0;  // ~0 is infinity
};

// A device node that exists in the sandbox's /dev only (OCI linux.devices).
struct Device {
  std::string path;
  char type = 'c';  // c, u, b, p
  uint32_t major = 0, minor = 0, mode = 0666, uid = 0, gid = 0;
};

// A range of a user namespace as the guest sees it in /proc/self/uid_map.
struct IdMapping {
  uint32_t container_id = 0, host_id = 0, size = 0;
};
// user_namespaces(7): whether somebody can be `id`. No mapping at all: every id. (uint32_t)-1 is none.
bool has_id(const std::vector<IdMapping>& mappings, uint32_t id);

// The first process of a container, or one that exec adds.
struct Process {
  std::vector<std::string> args, env;
  std::string path;        // the program; empty: args[0], by PATH
  bool find_home = false;  // without a HOME in `env`, it is the one of /etc/passwd
  std::string cwd = "/";
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> additional_gids;
  uint32_t umask = 022;
  uint64_t cap_bounding = 0, cap_effective = 0, cap_permitted = 0, cap_inheritable = 0, cap_ambient = 0;
  std::vector<Rlimit> rlimits;
  bool no_new_privs = false;
  int32_t oom_score_adj = 0;
  // A terminal: a pts of the sandbox whose master side is the stream socket `console_fd` (bytes both ways);
  // window size comes over the control socket. It is the guest's stdin, stdout and stderr, as far as
  // `console_streams` (bit N: stream N) has them. The others are the host's descriptors, passed through:
  // their flags (O_NONBLOCK) are never changed.
  bool terminal = false;
  int32_t console_fd = -1;
  uint32_t console_streams = 7;
  uint16_t rows = 0, columns = 0;
  int32_t stdio_fds[3] = {-1, -1, -1};
  uint32_t host_terminals = 0;      // bit N: stdio_fds[N] is a terminal of the host's, of rows and columns
  std::vector<int32_t> more_fds;    // the guest's 3, 4...: the host's, passed through
  int32_t stdio_flags[3] = {};      // how each of those was opened: F_GETFL of fcntl(2)
  std::vector<int32_t> more_flags;  // as many as more_fds
  // sched(7), ioprio_set(2), personality(2)
  int32_t scheduling_policy = 0, scheduling_priority = 0, nice = 0, io_priority = 0;
  uint32_t personality = 0;
  uint64_t ignored_signals = 0;  // that it starts with as SIG_IGN: bit N-1 for signal N
};

// What the devices cgroup would allow: cgroups(7), device controller. The last rule that fits decides.
struct DeviceRule {
  bool allow = false;
  char type = 'a';                 // a (any), c, b
  int64_t major = -1, minor = -1;  // -1: any
  uint32_t access = 7;             // 1 to read, 2 to write, 4 to make a node
};

// A container. One that joins a running sandbox leaves what concerns all of it as it is: platform, names,
// clocks, limits, and the descriptors of log and control.
struct Boot {
  uint32_t version = kBootVersion;
  std::string id;  // of the container
  std::string platform = "trap";
  std::string hostname, domainname;
  Process process;
  std::vector<Mount> mounts;  // in order; the first is "/"
  bool make_cwd = false;      // the process's working directory is made if it is missing, as a mountpoint is
  std::vector<Device> devices;
  std::vector<DeviceRule> device_rules;
  std::vector<IdMapping> uid_mappings, gid_mappings;
  std::vector<std::pair<std::string, std::string>> sysctl;
  std::vector<std::string> masked_paths, readonly_paths;
  std::string seccomp;  // struct sock_filter after sock_filter, as they stand in memory; empty: no filter
  uint64_t memory_limit_bytes =
      0;                   // 0: none. What meminfo shows, and a cap on the sentry's own tmpfs memory.
  uint32_t max_tasks = 0;  // 0: the sentry's default (16,384). fork answers EAGAIN beyond.
  // CPU time, as the guest's cpu.max tells it, in microseconds; quota 0: no limit. The host's cgroup enforces
  // it, and the guest sees as many CPUs as it takes to use it.
  uint64_t cpu_quota_us = 0, cpu_period_us = 100'000;
  bool own_init = false;     // pid 1 is the sentry's own (it reaps orphans); else the first process is
  bool held = false;         // the first process waits, loaded, for kStart
  bool job_control = false;  // the runtime is told of the first process's stops, and stops with it
  bool log_json = false;     // lines of the log are JSON objects
  bool strace = false;       // print calls as strace does, to log_fd
  int32_t gofer_fd = -1;     // the gofer's socket
  int32_t control_fd = -1;   // SOCK_SEQPACKET to the runtime: Control messages
  int32_t log_fd = 2;
};

// Encoding: explicit little-endian, length-prefixed, bounds-checked. decode() answers nullopt for anything
// that is not exactly one Boot of this version.
std::string encode(const Boot& boot);
std::optional<Boot> decode(std::string_view bytes);
// The same for a process that exec adds.
std::string encode(const Process& process);
std::optional<Process> decode_process(std::string_view bytes);

// Messages on a link: the control socket, which belongs to the first container's first process, and the link
// of each further process. One a packet, this struct as it stands in memory (both ends are one build), text
// behind it, descriptors beside it. A link that closes is the end of its process; the control socket's, of
// the sandbox.
struct Control {
  enum class Kind : uint32_t {
    // sentry to runtime
    kStarted = 1,  // the program's image is loaded and about to run; if `held`: will wait for kStart
    kStartFailed,  // value: errno; the text behind the struct says what and where. Status 126 or 127 in
                   // `status`.
    kExited,       // value: wait status as wait(2) of the first process
    kStopped,      // the first process stopped (job control): value is the signal. The runtime stops itself.
    kTyped,        // value: SIGINT or SIGQUIT, which the terminal has sent to the first process's group
    // runtime to sentry
    kSignal = 64,  // value: a signal number for the process
    kResize,       // rows, columns of the terminal
    kContinue,     // SIGCONT after kStopped
    kHangup,       // the terminal went away
    kStart,        // lets a held process go
    // The same, on the link of a container's first process only.
    kSignalAll,   // value: a signal number for every process of the container
    kFreeze,      // stops all guest code of the container
    kThaw,        // lets it go on
    kLimits,      // behind the struct: Limits
    kAddProcess,  // descriptors: its link, a file that holds an encoded Process, then those which that names
                  // by their place in this message
    kAddContainer,  // the same with a Boot; to the first container only
  };
  Kind kind = Kind::kStarted;
  int32_t value = 0;
  int32_t status = 0;
  uint16_t rows = 0, columns = 0;
};

// New limits, as the guest sees them. -1: as it is; 0: none.
struct Limits {
  int64_t tasks = -1, memory_bytes = -1;
  int64_t cpu_quota_us = -1, cpu_period_us = -1;
};

}  // namespace sentry::boot
