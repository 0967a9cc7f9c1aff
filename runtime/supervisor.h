// Watches over a running sandbox from outside: waits for its end, passes signals and the terminal through,
// enforces what is enforced from here, and says why it ended.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "runtime/failure.h"
#include "runtime/sandbox.h"
#include "runtime/terminal.h"

namespace runtime {

// Signals that the runtime takes over, so that none is lost between the start and the supervision. Those that
// the caller ignores (nohup) are among them: the program ignores them by itself, until it does not.
class ForwardedSignals {
 public:
  enum class JobControl { kOff, kOn };  // on: this process is a part of its caller's job

  // Blocks them and opens their signalfd(2).
  static Outcome<ForwardedSignals> take(JobControl job_control);
  int fd() const { return fd_.get(); }

 private:
  sentry::Fd fd_;
};

struct SuperviseOptions {
  std::optional<std::chrono::milliseconds> timeout;
  uint64_t memory_bytes = 0;      // watch the sandbox's memory from here: no cgroup does
  std::string memory_limit_text;  // for the message: "256M"
  std::string memory_option;      // where it is set: "--memory"
  // Whether a memory limit that others have set has had a process killed.
  std::function<bool()> out_of_memory;
  // Where the jailed programs' last words are, for the message: "its message is above".
  std::string last_words;
  // The log's reading end, when the log goes to a terminal that is raw: lines need their carriage return.
  sentry::Fd raw_log;
  // A terminal that the program shares with others (a pipeline's), borrowed: changes of its size are told.
  int shared_terminal = -1;
  // Commands that reach the container while it runs; -1: none do.
  sentry::Fd commands;
  // The program runs, or waits for kStart if it is held.
  std::function<void()> started;
  // What a command has changed: "running", "paused".
  std::function<void(const char* status)> status_changed;
};

// How a sandbox ended.
struct Ending {
  int status = 0;       // what to exit with
  std::string message;  // for the operator; empty if there is nothing to say
  int signal = 0;       // SIGINT or SIGQUIT of the terminal's, if the program has died of it
};

// A program that did not start, in the words that engines look for to choose their own exit status: runc's.
Failure start_failure(const Ending& ending);

// What ends a sandbox at its memory limit says, which `option` has set.
std::string out_of_memory_message(const std::string& limit, const std::string& option);

// Returns when the sandbox has ended and all its processes are reaped.
Ending supervise(Sandbox sandbox, const ForwardedSignals& signals, std::optional<Terminal> terminal,
                 SuperviseOptions options);

}  // namespace runtime
