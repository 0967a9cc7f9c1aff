// Hooks of the OCI runtime specification: programs of the operator's, told the container's state on standard
// input. config.md, "POSIX-platform Hooks".
#pragma once

#include <vector>

#include "oci/state.h"
#include "runtime/failure.h"

namespace runtime {

// Runs them one after the other; the first that fails, or runs beyond its timeout and is killed, ends the
// series. `kind` is for messages ("createRuntime"). They run in the network namespace `network`, if it is
// given.
Outcome<> run_hooks(const char* kind, const std::vector<oci::Hook>& hooks, const oci::State& state,
                    int network = -1);

}  // namespace runtime
