// Hooks of the OCI runtime specification: programs of the operator's, told the container's state on standard
// input. config.md, "POSIX-platform Hooks".
#pragma once

#include <sys/types.h>

#include <vector>

#include "oci/state.h"
#include "runtime/failure.h"

namespace runtime {

struct HookOptions {
  int network = -1;  // the network namespace that they run in, if another one
  pid_t needed = 0;  // whose end is the end of the hooks: killed, and failed
};

// Runs them one after the other; the first that fails, or runs beyond its timeout and is killed, ends the
// series. `kind` is for messages ("createRuntime"). A hook does not outlive the process that runs it.
Outcome<> run_hooks(const char* kind, const std::vector<oci::Hook>& hooks, const oci::State& state,
                    const HookOptions& options = {});

}  // namespace runtime
