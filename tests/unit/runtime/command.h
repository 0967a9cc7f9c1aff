// Runs the `bulkhead` command beside the stand-ins for its jailed programs, and looks at what it does.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sentry/base/fd.h"

namespace command {

using Words = std::vector<std::string>;

enum class User { kSelf, kNobody };

struct Setup {
  User user = User::kSelf;  // kNobody needs root
  std::string input;        // standard input; then end of file
  std::string directory;    // to start in; empty: where the test is
  bool close_stdin = false;
  int stdout_fd = -1;  // instead of a pipe; borrowed
  std::vector<std::string> environment;
  std::vector<int> ignored_signals;
};

struct Finished {
  int status = -1;  // exit status; 128+N if a signal ended the command itself
  std::string out, err;
};

// A command that runs.
class Running {
 public:
  // `words` are the command's arguments: {"do", "--", "exit", "3"}.
  static Running start(const Words& words, const Setup& setup = {});
  Running(Running&&) noexcept = default;
  Running& operator=(Running&&) = delete;
  ~Running();

  pid_t pid() const { return pid_; }
  // The sentry and the gofer, by the name of their program; waits until both have been executed.
  std::map<std::string, pid_t> jailed() const;
  // Children of a process, as the kernel lists them.
  static std::vector<pid_t> children(pid_t pid);
  // Waits for a line of standard output.
  std::string read_line();
  void signal(int number) const;
  Finished wait();

 private:
  Running() = default;

  pid_t pid_ = -1;
  sentry::Fd out_, err_;
  std::string read_;
};

Finished run(const Words& words, const Setup& setup = {});

// Path of a stand-in folder's program.
std::string program(const std::string& name);

// "name: value" lines.
std::map<std::string, std::string> facts(const std::string& text);

// A line of /proc/PID/status, without its name and surrounding space.
std::string proc_status(pid_t pid, const std::string& name);

// What a sandbox may not leave behind on this host: mounts, cgroups, state directories, temporary files.
std::vector<std::string> leftovers();

// True if this test can become another user.
bool is_root();

// Waits until `condition` holds; false after `patience`.
template <typename Condition>
bool eventually(Condition condition, std::chrono::seconds patience = std::chrono::seconds(10)) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    const timespec pause{0, 500'000};
    ::nanosleep(&pause, nullptr);
  }
  return true;
}

}  // namespace command
