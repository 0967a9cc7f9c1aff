// Runs a plan as a child of the caller's shell: standard streams or the terminal passed through, signals
// passed on, and nothing left at the end.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "runtime/failure.h"
#include "runtime/sandbox.h"

namespace runtime {

struct ForegroundOptions {
  std::array<int, 3> stdio{0, 1, 2};  // the program's; -1: closed
  // Whether the program gets a terminal: kAuto when its output is one, and its input no other.
  enum class Console { kAuto, kNever } console = Console::kAuto;
  std::optional<std::chrono::milliseconds> timeout;
  std::string memory_option = "--memory";  // where the limit is set
  std::string memory_limit_text;           // plan.limits.memory_bytes as the operator put it
  // As SuperviseOptions have them.
  std::function<bool()> out_of_memory;
  sentry::Fd commands;
  std::function<void()> started;
  std::function<void(const char*)> status_changed;
  // Says why the sandbox ended, if there is something to say.
  std::function<void(const Failure&)> report = [](const Failure& failed) { runtime::report(failed); };
};

// The exit status, with a message printed if there is something to say; a failure if the sandbox did not
// start.
Outcome<int> run_in_foreground(SandboxPlan plan, ForegroundOptions options);

}  // namespace runtime
