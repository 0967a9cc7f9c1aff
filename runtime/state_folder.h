// The state directory of OCI containers: ROOT/ID/ exists and is locked while the container ID does. A runtime
// that was killed leaves an unlocked folder, which the next container of that name takes over.
#pragma once

#include <string>

#include "oci/state.h"
#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

// /run/bulkhead for root, else $XDG_RUNTIME_DIR/bulkhead, else /tmp/bulkhead-UID.
std::string default_state_root();

// Letters, digits, _ + - . and at most 255 of them, as runc has it; a name that is also a safe file name.
Outcome<> check_container_id(const std::string& id);

class StateFolder {
 public:
  // Makes ROOT (and what is missing above it) and ROOT/ID, and holds its lock.
  static Outcome<StateFolder> claim(const std::string& root, const std::string& id);
  StateFolder(StateFolder&& other) noexcept;
  StateFolder& operator=(StateFolder&&) = delete;
  ~StateFolder();

  Outcome<> write(const oci::State& state) const;

 private:
  StateFolder(std::string path, sentry::Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  sentry::Fd lock_;
};

}  // namespace runtime
