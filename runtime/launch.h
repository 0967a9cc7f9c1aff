// Making a container: the state directory, the cgroups, the hooks, and the process that supervises it, in the
// background for `create` and `run --detach`, or this one for `run`.
#pragma once

#include <array>
#include <string>

#include "runtime/container_folder.h"
#include "runtime/failure.h"
#include "runtime/global_options.h"

namespace runtime {

struct LaunchOptions {
  std::string bundle = ".", id, pid_file, console_socket, platform = "trap";
  unsigned preserve_fds = 0;
  bool strace = false;
  std::array<int, 3> stdio{0, 1, 2};  // the container's; -1: closed
};

// Leaves a container that waits for start_container(), with a supervisor in the background.
Outcome<> create_container(const GlobalOptions& globals, const CommandLog& log, const LaunchOptions& options);

// Which process supervises a container: one of its own, or the command that has it as its foreground job.
enum class Supervisor { kInBackground, kInForeground };

// Lets a created container go: its startContainer hooks, its program, its poststart hooks.
Outcome<> start_container(const KnownContainer& container, const CommandLog& log,
                          Supervisor supervisor = Supervisor::kInBackground);

// The container as the foreground job, from beginning to end. Its exit status.
Outcome<int> run_container(const GlobalOptions& globals, const CommandLog& log, const LaunchOptions& options);

// Ends a container and removes what is left of it. With `force` even if it runs.
Outcome<> delete_container(const KnownContainer& container, bool force, const CommandLog& log);

}  // namespace runtime
