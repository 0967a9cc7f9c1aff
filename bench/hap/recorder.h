// One traced run of one workload under one runtime: starts the command, follows it and all its descendants
// with a private ftrace instance, and keeps what they reach before and after the workload says it is ready.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "bench/hap/ring_buffer.h"

namespace hap {

enum class Mode {
  kFunctions,  // every kernel function, by the function tracer
  kSyscalls,   // every syscall that gets past seccomp and ptrace, by raw_syscalls:sys_enter
  kNothing,    // the protocol alone: to warm the page cache
};

struct Request {
  std::string tracefs;   // where tracefs is mounted
  std::string instance;  // name of the private instance, made if absent and left in place
  Mode mode = Mode::kFunctions;
  unsigned buffer_kib = 96 << 10;
  unsigned timeout_s = 600;  // for the whole run
  std::vector<std::string> command;
  std::string
      external;  // shell command for the load that comes from outside; empty: the workload works by itself
  std::function<void(pid_t)> at_ready;  // called with the command's pid between set-up and the work
  std::function<void(pid_t)> at_work;   // called with it now and then during the work
  std::function<void(pid_t)> at_done;   // called with the command's pid while its processes still live
  bool kill_at_end = false;             // rather than wait for the command's own end
};

struct Recording {
  TraceCounts setup;   // from exec to the ready line
  TraceCounts steady;  // from the line that starts the work to the done line
  double setup_s = 0;
  double steady_s = 0;
  int exit_status = 0;  // as wait(2) gives it
  std::string output;   // what the command wrote to standard output, protocol lines included
};

// The workload protocol on standard streams.
inline constexpr char kReadyLine[] = "hap: ready";
inline constexpr char kGoLine[] = "hap: go";
inline constexpr char kDoneLine[] = "hap: done";

// Runs it. Throws std::runtime_error with what was wrong (no tracer, the command ended early, out of time).
Recording record(const Request& request);

// Throws if this kernel does not let the function tracer run (none built in, locked down, not root).
void probe(const std::string& tracefs);

// Leaves the tracer and removes the instance. Absent is fine.
void remove_instance(const std::string& tracefs, const std::string& instance);

// All processes below `root` and itself, by /proc.
std::vector<pid_t> process_tree(pid_t root);

}  // namespace hap
