// The state directory of OCI containers: ROOT/ID/ exists while the container ID does. In it:
//   state.json  what one command leaves for the next (oci::Record)
//   process     the encoded Process that exec starts from
//   control     the supervisor's socket (control_socket.h)
//   lock        locked by the supervisor as long as it lives: unlocked means stopped
#pragma once

#include <string>
#include <vector>

#include "oci/state.h"
#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

// /run/bulkhead for root, else $XDG_RUNTIME_DIR/bulkhead, else /tmp/bulkhead-UID.
std::string default_state_root();

// Letters, digits, _ + - . and at most 255 of them, as runc has it; a name that is also a safe file name.
Outcome<> check_container_id(const std::string& id);

// A container that is being made, or supervised: holds its lock.
class ContainerFolder {
 public:
  // Makes ROOT (and what is missing above it) and ROOT/ID. What a runtime that was killed has left is taken
  // over, unless it is a detached container, which `delete` removes.
  static Outcome<ContainerFolder> claim(const std::string& root, const std::string& id);
  ContainerFolder(ContainerFolder&& other) noexcept;
  ContainerFolder& operator=(ContainerFolder&&) = delete;
  // Removes the folder unless it was left to `delete`.
  ~ContainerFolder();

  const std::string& path() const { return path_; }
  Outcome<> write(const oci::Record& record) const;
  // A further file of it, complete or not at all.
  Outcome<> write_file(const std::string& name, const std::string& bytes) const;
  // The folder stays when this object goes.
  void leave() { remove_ = false; }
  // In a forked process that acts on the container from outside: its copy of the lock would keep it alive.
  void let_go_of_lock() { lock_.reset(); }

 private:
  ContainerFolder(std::string path, sentry::Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  sentry::Fd lock_;
  bool remove_ = true;
};

// A container that is there, as commands other than `create` and `run` find it.
class KnownContainer {
 public:
  // Fails with "does not exist" in its message if there is none, which is what engines look for.
  static Outcome<KnownContainer> find(const std::string& root, const std::string& id);

  const std::string& path() const { return path_; }
  const std::string& id() const { return id_; }
  const oci::Record& record() const { return record_; }
  // The state now: a container whose supervisor is gone is stopped.
  oci::State state() const;
  bool stopped() const { return !alive_; }
  // What one `start` holds until it is done; fails for another at the same time, or after one.
  Outcome<sentry::Fd> claim_start() const;
  // Waits for the supervisor's end. For `delete`, which has killed it.
  void wait_for_end() const;
  // Removes the folder's files and the folder. One caller alone does the removing: false for the others.
  bool remove() const;

 private:
  KnownContainer(std::string path, std::string id) : path_(std::move(path)), id_(std::move(id)) {}

  std::string path_, id_;
  oci::Record record_;
  bool alive_ = false;
};

// The ids in ROOT, in order.
std::vector<std::string> container_ids(const std::string& root);

}  // namespace runtime
