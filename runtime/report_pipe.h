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
  bool open() const { return static_cast<bool>(writer_); }

 private:
  friend Outcome<pid_t> start_in_background(const std::string& pid_file,
                                            const std::function<Outcome<int>(ReportPipe&)>& body);
  sentry::Fd writer_;
};

// Forks a process in a session of its own that runs `body`, ends with its status, and reports its failure.
// Returns once that has succeeded or failed, or ended without a word; only in the first case is it still
// there, with its pid in `pid_file` unless that is empty.
Outcome<pid_t> start_in_background(const std::string& pid_file,
                                   const std::function<Outcome<int>(ReportPipe&)>& body);

// For a process that outlives the command: gives up the standard streams, which are a guest's now.
void let_go_of_stdio();

// Writes a pid in decimal digits, in place of what was there.
Outcome<> write_pid_file(const std::string& path, pid_t pid);

}  // namespace runtime
