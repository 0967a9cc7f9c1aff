#include "runtime/global_options.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "runtime/container_folder.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

constexpr int kFirstFreeFd = 100;  // out of the way of a guest's descriptors

}  // namespace

Outcome<GlobalOptions> take_global_options(std::vector<std::string>& arguments) {
  GlobalOptions globals;
  while (!arguments.empty() && arguments[0].starts_with("--")) {
    const std::string& first = arguments[0];
    const size_t equals = first.find('=');
    const std::string name = first.substr(0, equals);
    if (name == "--help" || name == "--version") break;
    const auto flag = [&](bool& to) {
      to = equals == std::string::npos || first.substr(equals + 1) == "true";
      arguments.erase(arguments.begin());
    };
    if (name == "--debug") {
      flag(globals.debug);
      continue;
    }
    if (name == "--systemd-cgroup") {
      flag(globals.systemd_cgroup);
      continue;
    }
    std::string* to = nullptr;
    std::string ignored;
    if (name == "--root") to = &globals.root;
    if (name == "--log") to = &globals.log;
    if (name == "--log-format") to = &globals.log_format;
    if (name == "--rootless") to = &globals.rootless;
    if (name == "--criu") to = &ignored;
    if (to == nullptr) return failure("there is no option {} (`bulkhead --help`)", name);
    if (equals != std::string::npos) {
      *to = first.substr(equals + 1);
      arguments.erase(arguments.begin());
    } else {
      if (arguments.size() < 2) return failure("{}: requires an argument", name);
      *to = arguments[1];
      arguments.erase(arguments.begin(), arguments.begin() + 2);
    }
  }
  if (globals.log_format != "text" && globals.log_format != "json")
    return failure("--log-format {}: expected text or json", globals.log_format);
  if (globals.root.empty()) globals.root = default_state_root();
  return globals;
}

void add_global_options(CLI::App& parser, GlobalOptions& globals) {
  parser
      .add_option("--root", globals.root,
                  "Where containers' state is kept; default: /run/bulkhead, or $XDG_RUNTIME_DIR/bulkhead.")
      ->type_name("DIR");
  parser.add_option("--log", globals.log, "Append messages to FILE, too; a sandbox's go there alone.")
      ->type_name("FILE");
  parser.add_option("--log-format", globals.log_format, "How they look there: text or json; default: text.")
      ->type_name("FORMAT");
}

Outcome<CommandLog> CommandLog::open(const GlobalOptions& globals) {
  CommandLog log;
  log.json_ = globals.log_format == "json";
  if (globals.log.empty()) return log;
  const sentry::Fd file(
      ::open(globals.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
  if (!file) return system_failure(errno, "--log {}", globals.log);
  log.file_ = sentry::Fd(::fcntl(file.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (!log.file_) return system_failure(errno, "--log {}", globals.log);
  return log;
}

void CommandLog::write(int fd, bool json, const std::string& message, sentry::LogLevel level) {
  sentry::set_log(fd, "bulkhead");
  sentry::set_log_format(json ? sentry::LogFormat::kJson : sentry::LogFormat::kText);
  sentry::log_line(message, level);
  sentry::set_log_format(sentry::LogFormat::kText);
  sentry::set_log(STDERR_FILENO, "bulkhead");
}

int CommandLog::report(const Failure& failed) const {
  write(STDERR_FILENO, false, failed.message, sentry::LogLevel::kError);
  if (file_) write(file_.get(), json_, failed.message, sentry::LogLevel::kError);
  return failed.status;
}

void CommandLog::warn(const std::string& message) const {
  write(fd(), json_ && file_, message, sentry::LogLevel::kWarning);
}

void CommandLog::note(const std::string& message) const {
  if (file_) write(file_.get(), json_, message, sentry::LogLevel::kInfo);
}

int report_in_log(const Failure& failed, const GlobalOptions& globals) {
  const Outcome<CommandLog> log = CommandLog::open(globals);
  if (!log) report(log.error());
  return log ? log->report(failed) : report(failed);
}

}  // namespace runtime
