// An OCI bundle as a plan for a sandbox: config.json's words turned into mounts, limits and a first process.
#pragma once

#include <string>
#include <vector>

#include "oci/config.h"
#include "runtime/failure.h"
#include "runtime/sandbox.h"

namespace runtime {

struct Container {
  std::string id;
  std::string bundle;  // absolute, without symlinks
  std::string rootfs;  // likewise
  oci::Config config;
  SandboxPlan plan;
  std::string network;       // path of the network namespace that the supervisor joins; empty: none
  bool new_network = false;  // it has one of its own, for whoever configures networks by the container's pid
  // The container whose sandbox this one joins, as Kubernetes' pods have it; empty: it gets one of its own.
  std::string sandbox_id;
  bool wants_cgroup = false;  // asks for one, or for a limit that needs one
  // What the bundle asks for and does not get, or gets anyway, in words; for the log.
  std::vector<std::string> warnings, notes;
};

// Reads DIR/config.json and plans. Failures name the JSON path.
Outcome<Container> load_container(const std::string& bundle, const std::string& id);

// A process of a document as the sentry takes it, without its descriptors.
sentry::boot::Process plan_process(const oci::Process& from);

}  // namespace runtime
