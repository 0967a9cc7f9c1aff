// A container's state as OCI documents have it: runtime.md, "State".
#pragma once

#include <sys/types.h>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "oci/config.h"

namespace oci {

struct State {
  std::string oci_version = "1.0.2";
  std::string id;
  std::string status;  // creating, created, running, paused, stopped
  pid_t pid = 0;       // 0 when stopped
  std::string bundle;  // absolute
  std::map<std::string, std::string> annotations;
  // What runc adds.
  std::string rootfs, created, owner;
};

// One line of JSON, ended by a newline. Strings that are not UTF-8 have the replacement character in place of
// it.
std::string to_json(const State& state);
// An array of them.
std::string to_json(const std::vector<State>& states);

// What the runtime keeps about a container from one command to the next.
struct Record {
  State state;
  bool detached = false;  // lives until `delete`; else until its command ends
  std::string sandbox;    // the id of the container whose sandbox this one joined; empty: its own
  pid_t sentry = 0, gofer = 0;
  std::vector<std::pair<std::string, std::string>> cgroups;  // controller ("" for version 2), directory
  std::string scope;                                         // the unit of systemd that they are; empty: none
  std::vector<Hook> poststart, poststop, start_container;
};

std::string to_json(const Record& record);
// Nothing if it is no record of ours.
Checked<Record> parse_record(std::string_view json);

}  // namespace oci
