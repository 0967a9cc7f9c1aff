#include "runtime/foreground.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>

#include "runtime/supervisor.h"
#include "runtime/terminal.h"

namespace runtime {
namespace {

// A program has a terminal of its own when its output is one, and its input the same or none: so has a pager
// at the end of a pipeline. With a terminal as its input alone it is at the start of one: then the other
// programs may be reading the same terminal (less(1)), so it is left alone and the descriptor is passed
// through like any other.
bool wants_console(const ForegroundOptions& options) {
  using enum ForegroundOptions::Console;
  const bool possible =
      ::isatty(options.stdio[1]) == 1 &&
      (::isatty(options.stdio[0]) != 1 || same_terminal(options.stdio[0], options.stdio[1]));
  return possible && options.console != kNever;
}

// The terminal has sent a signal to the caller's job, which sees by our end that the program has died of it:
// a shell goes on with its script otherwise.
void die_of(int signal) {
  ::prctl(PR_SET_DUMPABLE, 0);  // SIGQUIT: no core file of ours
  std::signal(signal, SIG_DFL);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  std::raise(signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace

Outcome<int> run_in_foreground(SandboxPlan plan, ForegroundOptions options) {
  const ForwardedSignals signals = TRY(ForwardedSignals::take(ForwardedSignals::JobControl::kOn));
  SuperviseOptions supervision;
  supervision.timeout = options.timeout;
  supervision.memory_limit_text = options.memory_limit_text;
  supervision.memory_option = options.memory_option;
  supervision.out_of_memory = std::move(options.out_of_memory);
  // What cgroups cannot do for an ordinary user is done from here and by the sentry.
  if (!may_map_ids()) supervision.memory_bytes = std::exchange(plan.limits, Limits{}).memory_bytes;

  supervision.commands = std::move(options.commands);
  supervision.status_changed = options.status_changed;
  plan.boot.job_control = true;
  plan.stdio = options.stdio;
  supervision.last_words =
      plan.log_fd == STDERR_FILENO ? "its message is above" : "its message is in the log";
  const bool console = wants_console(options);
  sentry::Fd log_writer;
  if (console) {
    plan.boot.process.terminal = true;
    const int tty = options.stdio[1];
    const WindowSize size = window_size_of(tty);
    if (plan.boot.process.rows == 0) {
      plan.boot.process.rows = size.rows;
      plan.boot.process.columns = size.columns;
    }
    plan.boot.process.console_streams = 0;
    for (size_t i = 0; i < plan.stdio.size(); ++i) {
      if (!same_terminal(tty, options.stdio[i])) continue;
      plan.stdio[i] = -1;
      plan.boot.process.console_streams |= 1U << i;
    }
    if (same_terminal(tty, plan.log_fd)) {
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) != 0) return system_failure(errno, "cannot make a pipe");
      supervision.raw_log = sentry::Fd(ends[0]);
      log_writer = sentry::Fd(ends[1]);
      plan.log_fd = log_writer.get();
    }
  } else {
    supervision.shared_terminal = first_terminal(options.stdio);
  }

  Sandbox sandbox = TRY(Sandbox::start(std::move(plan)));
  log_writer.reset();
  supervision.started = options.started;
  std::optional<Terminal> terminal;
  if (console) terminal.emplace(TRY(Terminal::open(options.stdio[1], sandbox.take_console())));
  const Ending ending = supervise(std::move(sandbox), signals, std::move(terminal), std::move(supervision));
  if (!ending.message.empty()) options.report({ending.message, ending.status});
  if (ending.signal != 0) die_of(ending.signal);
  return ending.status;
}

}  // namespace runtime
