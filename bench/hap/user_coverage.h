// Which functions of a program run in live processes: the layers between a tenant and the host's kernel.
//
// Every function's first byte becomes a breakpoint once; the first thread to get there takes it out again. So
// a function costs one stop, however often it runs.
#pragma once

#include <sys/types.h>

#include <ostream>
#include <vector>

namespace hap {

// Watches the processes from a process of its own, from construction until finish().
class UserCoverage {
 public:
  // Takes those of `candidates` whose program's name contains one of `names` and that nobody traces yet, and
  // returns when the breakpoints are in. Throws std::runtime_error if there is none.
  UserCoverage(const std::vector<pid_t>& candidates, const std::vector<std::string>& names);
  UserCoverage(const UserCoverage&) = delete;
  UserCoverage& operator=(const UserCoverage&) = delete;
  ~UserCoverage();

  // Ends the watch and writes what was reached. The watched processes are killed: their code is still full of
  // breakpoints. Lines: `program NAME SOURCE all N`, then `u ADDRESS SIZE NAME` for each function reached.
  void finish(std::ostream& out);

 private:
  pid_t watcher_ = -1;
  int stop_ = -1;     // closing it ends the watch
  int results_ = -1;  // where the watcher writes
};

}  // namespace hap
