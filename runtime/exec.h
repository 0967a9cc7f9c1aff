// A further process in a container that runs.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "runtime/container_folder.h"
#include "runtime/control_socket.h"
#include "runtime/failure.h"
#include "runtime/sandbox.h"

namespace runtime {

struct GuestProcess {
  Sandbox sandbox;               // its link and console
  ControlConnection connection;  // to be kept: the supervisor counts the container's processes by them
};

// Has the sentry start it. How that went comes over the link.
Outcome<GuestProcess> start_guest_process(const KnownContainer& container, sentry::boot::Process process,
                                          const std::array<int, 3>& stdio, const std::vector<int>& more_fds);

// Runs a startContainer hook in the container, as a process with the first one's credentials and environment
// of its own. Its exit status.
Outcome<int> run_guest_hook(const KnownContainer& container, const oci::Hook& hook);

}  // namespace runtime
