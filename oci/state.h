// A container's state as OCI documents have it: runtime.md, "State".
#pragma once

#include <sys/types.h>
#include <map>
#include <string>

#include "oci/config.h"

namespace oci {

struct State {
  std::string oci_version = "1.0.2";
  std::string id;
  std::string status;  // creating, created, running, stopped
  pid_t pid = 0;       // 0 when stopped
  std::string bundle;  // absolute
  std::map<std::string, std::string> annotations;
};

// One line of JSON, ended by a newline. Strings that are not UTF-8 have the replacement character in place of
// it.
std::string to_json(const State& state);

}  // namespace oci
