// An OCI bundle as a plan for a sandbox: config.json's words turned into mounts, limits and a first process.
#pragma once

#include <string>
#include <vector>

#include "oci/config.h"
#include "runtime/failure.h"
#include "runtime/sandbox.h"

namespace runtime {

struct Container {
  std::string bundle;  // absolute, without symlinks
  oci::Config config;
  SandboxPlan plan;
  // What the bundle asks for and does not get, in words; for the log.
  std::vector<std::string> warnings;
};

// Reads DIR/config.json and plans. Failures name the JSON path.
Outcome<Container> load_container(const std::string& bundle, const std::string& id);

}  // namespace runtime
