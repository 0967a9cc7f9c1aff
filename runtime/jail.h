// A jailed program: a process in namespaces of its own with an empty root, no capabilities but those named,
// only the descriptors listed, and no_new_privs, that dies with the runtime. The programs put on their
// seccomp filters themselves; everything else is done here, before they are executed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

// How the ids of the jail's user namespace stand to those of the runtime's: contents of /proc/PID/uid_map and
// gid_map, user_namespaces(7), and the ids that the jailed process takes in it.
struct Identity {
  std::string uid_map, gid_map;
  uid_t uid = 0;
  gid_t gid = 0;
  bool privileged = false;  // the runtime may map ids that are not its own, so setgroups(2) works inside
};

// True if this process may give user namespaces any ids: root with its capabilities. Not the root of a user
// namespace that has but one user: it is as limited as that user. Found out once: no process of the runtime
// gains any.
bool may_map_ids();

// The sentry's: one unprivileged id. For root it is an id that no other sandbox and no user has, so that
// limits counted by user (RLIMIT_NPROC, pending signals) do not couple sandboxes; for a user it is the user.
Identity sentry_identity();

// The gofer's: for root every id as it is, for a user the user alone.
Identity gofer_identity();

// The capabilities that serving a root-owned file tree takes, to read or also to write; in force only on what
// the user namespace maps. None for a user.
enum class TreeAccess { kRead, kWrite };
uint64_t gofer_capabilities(TreeAccess access);

// time_namespaces(7): how far a clock of the jail is ahead of the host's.
struct ClockOffsets {
  struct Offset {
    int64_t seconds = 0;
    uint32_t nanoseconds = 0;
  };
  Offset monotonic, boottime;
};

struct JailSpec {
  const char* name = "";          // "sentry" or "gofer", for messages
  int program_fd = -1;            // O_PATH descriptor of the program; borrowed
  std::vector<std::string> args;  // argv
  std::vector<int> fds;           // fds[i] becomes descriptor i of the program, -1 leaves it closed; borrowed
  Identity identity;
  uint64_t capabilities = 0;  // bit mask of those kept
  bool own_clocks = false;    // a time namespace whose clocks start near zero: hides the host's uptime
  std::optional<ClockOffsets> clocks;  // with own_clocks: the clocks are these, instead
  // Runs in the jail while the caller's mount tree is still the root (a private copy of it), with every
  // capability of the new namespaces; may fill in fds. Descriptors that it opens live until exec.
  std::function<Outcome<>(JailSpec&)> prepare;
};

// A process started in a jail. Its owner must wait() for it; a process that is still there at destruction is
// killed and reaped.
class Jailed {
 public:
  Jailed() = default;
  Jailed(Jailed&&) noexcept = default;
  Jailed& operator=(Jailed&& other) noexcept;
  ~Jailed() { kill_and_reap(); }

  // Makes the process. It waits for release() before it does anything.
  static Outcome<Jailed> start(JailSpec spec);

  // Gives the process its ids and lets it go.
  Outcome<> release(const Identity& identity);

  pid_t pid() const { return pid_; }
  // Readable when the process has ended.
  int pidfd() const { return pidfd_.get(); }
  // Readable when the jail could not be built, or at end of file once the program is executing.
  int report_fd() const { return report_.get(); }
  // What the process had to say about its jail: a Failure, or fine. Call when report_fd() is readable.
  Outcome<> read_report();
  // The same as far as it has said something: without waiting, and to be read again.
  Outcome<> report_so_far() const;

  bool running() const { return static_cast<bool>(pidfd_); }
  void kill();
  // Blocks until the process has ended; its wait status, wait(2).
  int reap();

 private:
  void kill_and_reap();

  pid_t pid_ = -1;
  sentry::Fd pidfd_, report_;
};

}  // namespace runtime
