// A container's cgroup as a transient unit of systemd, systemd.scope(5): what container engines call the
// systemd driver. systemd makes the cgroup, keeps its limits and removes it once nothing runs there.
// bulkhead-systemd speaks with it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "oci/config.h"
#include "runtime/failure.h"

namespace runtime {

class SystemdScope {
 public:
  // A failure where there is no systemd, or none with cgroups of version 2, and for ordinary users.
  static Outcome<> check_host();
  // `path` is linux.cgroupsPath as this driver has it: "SLICE:PREFIX:NAME" for the unit PREFIX-NAME.scope;
  // empty: ":bulkhead:ID".
  static Outcome<SystemdScope> parse(const std::string& path, const std::string& id);
  // One that is there, by its unit's name.
  explicit SystemdScope(std::string unit) : unit_(std::move(unit)) {}

  const std::string& unit() const { return unit_; }

  // Makes the unit with a process in it, and the limits that systemd knows.
  Outcome<> start(pid_t pid, const oci::Resources& resources) const;
  // Changes its limits.
  Outcome<> set(const oci::Resources& resources) const;
  // Returns once there is none of this name, also where there was none.
  Outcome<> stop() const;

 private:
  std::string slice_, unit_;
};

// The limits as systemd's properties, NAME=VALUE. What it has no property for is written to the cgroup alone.
Outcome<std::vector<std::string>> systemd_properties(const oci::Resources& resources);

}  // namespace runtime
