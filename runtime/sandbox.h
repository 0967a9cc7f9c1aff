// One sandbox: a sentry and a gofer in their jails, with the cgroups around them. What is to run comes as a
// plan; the verbs make plans (`do` from its options, `run` from an OCI bundle).
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/cgroup.h"
#include "runtime/failure.h"
#include "runtime/jail.h"
#include "runtime/view.h"
#include "sentry/base/fd.h"
#include "sentry/boot/boot.h"

namespace runtime {

struct SandboxPlan {
  std::string id;                // unique on the host; starts with the runtime's pid and a dot
  sentry::boot::Boot boot;       // all but the descriptors
  std::vector<Attach> attaches;  // by the index that boot.mounts uses
  Limits limits;
  // Runs in the gofer's mount namespace before its trees are taken; a failure is the sandbox's.
  std::function<Outcome<>()> before_trees;
  // Called with each jailed process before it does anything: to put it where it belongs.
  std::function<Outcome<>(pid_t)> place;
  std::vector<int> more_fds;               // the guest's 3, 4...; borrowed
  std::optional<Identity> gofer_identity;  // of the ids that the container is mapped to; nothing: as they are
  std::optional<ClockOffsets> clocks;      // of the guest against the host; nothing: they start near zero
  std::array<int, 3> stdio{-1, -1, -1};  // the guest's, borrowed; -1: closed, or the console if there is one
  int log_fd = 2;                        // borrowed
};

class Sandbox {
 public:
  Sandbox() = default;
  Sandbox(Sandbox&&) noexcept = default;
  Sandbox& operator=(Sandbox&&) = delete;

  // Starts both programs. They are on their way when this returns: what they have to say about their jails
  // comes through sentry().read_report() and gofer().read_report().
  static Outcome<Sandbox> start(SandboxPlan plan);

  // A process in a sandbox that is another command's: its link, and the relay's end of its console.
  static Sandbox attached(sentry::Fd link, sentry::Fd console);
  // A container that joins such a sandbox: a gofer of its own, and what the sentry must get to take it in:
  // the link's other end, the boot document, then what that names.
  struct Joining;
  static Outcome<Joining> start_container(SandboxPlan plan);

  // Running unless this is a process or a container in another command's sandbox.
  Jailed& sentry() { return sentry_; }
  Jailed& gofer() { return gofer_; }
  // Running unless this is a process in another command's sandbox.
  const Cgroup& cgroup() const { return cgroup_; }
  // Packets of sentry::boot::Control.
  int control_fd() const { return control_.get(); }
  // The relay's end of the console, if the plan's process has a terminal.
  sentry::Fd take_console() { return std::move(console_); }

  // Tells the sentry something; a sentry that is gone or does not listen is noticed elsewhere.
  void tell(const sentry::boot::Control& message) const;

  void kill();

 private:
  // Destroyed bottom up: first the processes, then their cgroups.
  Cgroup cgroup_;
  sentry::Fd control_, console_;
  Jailed gofer_, sentry_;
};

struct Sandbox::Joining {
  Sandbox sandbox;
  std::vector<sentry::Fd> owned;  // of `fds`
  std::vector<int> fds;
};

// A document as the sentry reads it: a memfd of its bytes.
Outcome<sentry::Fd> document_file(const std::string& bytes);

}  // namespace runtime
