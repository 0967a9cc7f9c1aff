#include "oci/state.h"

#include <nlohmann/json.hpp>

namespace oci {

std::string to_json(const State& state) {
  nlohmann::ordered_json document;
  document["ociVersion"] = state.oci_version;
  document["id"] = state.id;
  document["status"] = state.status;
  document["pid"] = state.pid;
  document["bundle"] = state.bundle;
  if (!state.annotations.empty()) document["annotations"] = state.annotations;
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace oci
