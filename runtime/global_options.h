// Options that every container verb takes, before the verb as engines put them, or behind it.
#pragma once

#include <string>
#include <vector>

#include <CLI/App.hpp>

#include "runtime/failure.h"
#include "sentry/base/fd.h"
#include "sentry/base/log.h"

namespace runtime {

struct GlobalOptions {
  std::string root;  // default_state_root() unless given
  std::string log, log_format = "text";
  bool debug = false, systemd_cgroup = false;
  std::string rootless = "auto";
};

// Takes the options in front of the verb off `arguments`.
Outcome<GlobalOptions> take_global_options(std::vector<std::string>& arguments);
// The same options for a verb's parser.
void add_global_options(CLI::App& parser, GlobalOptions& globals);

// Where a command's messages go.
class CommandLog {
 public:
  // Opens --log, if given.
  static Outcome<CommandLog> open(const GlobalOptions& globals);
  // Messages of this process go to standard error, and to the file if there is one.
  int report(const Failure& failed) const;
  void warn(const std::string& message) const;
  // What a terminal need not show: to the file only.
  void note(const std::string& message) const;
  // For jailed programs: the file, or standard error.
  int fd() const { return file_ ? file_.get() : 2; }
  bool json() const { return json_; }

 private:
  static void write(int fd, bool json, const std::string& message, sentry::LogLevel level);

  sentry::Fd file_;
  bool json_ = false;
};

// CommandLog::report() where the log is not open yet.
int report_in_log(const Failure& failed, const GlobalOptions& globals);

}  // namespace runtime
