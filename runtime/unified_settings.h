// What cgroups of version 2 hold for linux.resources: one list, for whoever writes files and for whoever asks
// systemd to.
#pragma once

#include <string>
#include <vector>

#include "oci/config.h"
#include "runtime/failure.h"

namespace runtime {

struct UnifiedSetting {
  std::string controller;  // empty: the file is of no one in particular
  std::string file, text;
  std::string path;       // in config.json
  bool optional = false;  // passed over where the host has no such file
};

// In the order in which to write them. A failure names the JSON path of what version 2 does not have.
Outcome<std::vector<UnifiedSetting>> unified_settings(const oci::Resources& resources);

// pids.max for a limit of the guest's tasks. The sentry counts these to the letter; this is the net below it:
// stubs kept ready, the supervisor, the sentry, the gofer and its workers come on top.
std::string host_task_limit(int64_t guest_tasks);

}  // namespace runtime
