#pragma once
// A child whose trace becomes part of its parent's.
#include <sys/wait.h>
#include <unistd.h>

#include "guard.h"
#include "operations.h"
#include "trace.h"

namespace random_program {

// "exited 3", "killed by 9", ...
void say_status(const char* what, int status);
int wait_for(pid_t child);

// Forks; the child runs it and exits with what it returns.
template <typename F>
pid_t fork_child(Trace& its_trace, F run) {
  auto child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    set_trace(&its_trace);
    start(depth() + 1);
    _exit(run());
  }
  return child;
}

// Forks, waits, and says what the child said and how it ended.
template <typename F>
void say_child(F run) {
  Trace its_trace;
  int status = wait_for(fork_child(its_trace, run));
  say("  child {");
  trace().append(its_trace);
  say_status("  } child", status);
}

}  // namespace random_program
