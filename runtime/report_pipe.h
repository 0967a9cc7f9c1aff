// What a process that stays in the background tells the command that started it: that all is well, or why
// not.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

class ReportPipe {
 public:
  // The background process's, once: fine, or a failure.
  void succeed();
  void fail(const Failure& failed);
  bool open() const { return static_cast<bool>(socket_); }
  // Has the command do its `outside`, and waits until that is done. Fails if the command is gone.
  Outcome<> wait_for_outside();

 private:
  friend Outcome<pid_t> start_in_background(const std::string& pid_file,
                                            const std::function<Outcome<int>(ReportPipe&)>& body,
                                            const std::function<Outcome<>(pid_t)>& outside);
  sentry::Fd socket_;
};

// Forks a process in a session of its own that runs `body`, ends with its status, and reports its failure.
// Returns once that has succeeded or failed, or ended without a word; only in the first case is it still
// there, with its pid in `pid_file` unless that is empty. `outside` is what the body wants done, once, where
// the command is and not where it has put itself (namespaces, cgroups); it gets the process's pid. Its
// failure is the process's. The status of a failure is 137 if the process was killed.
Outcome<pid_t> start_in_background(
    const std::string& pid_file, const std::function<Outcome<int>(ReportPipe&)>& body,
    const std::function<Outcome<>(pid_t)>& outside = [](pid_t) { return Outcome<>(); });

// For a process that outlives the command: gives up the standard streams, which are a guest's now.
void let_go_of_stdio();

// Writes a pid in decimal digits, in place of what was there.
Outcome<> write_pid_file(const std::string& path, pid_t pid);

}  // namespace runtime
