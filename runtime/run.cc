// bulkhead run: an OCI bundle in the foreground.
#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "runtime/container.h"
#include "runtime/foreground.h"
#include "runtime/manual.h"
#include "runtime/state_folder.h"
#include "runtime/stdio.h"
#include "runtime/terminal.h"
#include "runtime/verbs.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

constexpr Manual kManual{
    .name = "bulkhead-run",
    .summary = "run an OCI bundle in the foreground",
    .synopsis = "bulkhead run [--bundle DIR] [OPTION]... ID",
    .description =
        "Runs the container that DIR/config.json describes (OCI runtime specification, 1.0 to 1.2) in a "
        "sandbox, as the "
        "foreground job, and removes it when it has ended. Standard input, output and error are passed "
        "through; with "
        "process.terminal they must be a terminal, which the container's own is then connected to.\n"
        "\n"
        "A config.json that is malformed or contradicts itself is refused with the JSON path of what is "
        "wrong and what "
        "was expected. What it asks for and this version does not do is refused, or, where the container "
        "runs as well "
        "without, named in the log.",
    .exit_status =
        "That of the container's process; 128+N if signal N ended it. Else:\n"
        "  125  bulkhead itself failed, or config.json is refused\n"
        "  126  process.args[0] cannot be executed\n"
        "  127  process.args[0] was not found\n"
        "  137  the sandbox was killed, also by its memory limit; a message says which",
    .environment = "XDG_RUNTIME_DIR  where an ordinary user's state directory is",
    .files =
        "DIR/config.json    the container\n"
        "/run/bulkhead/ID   its state while it runs (root)",
    .examples =
        "Run a bundle:\n"
        "  bulkhead run --bundle /srv/box box1",
    .see_also = "bulkhead(1), bulkhead-do(1)",
};

struct Options {
  std::string bundle = ".", root = default_state_root(), log, platform = "ptrace", id;
  bool strace = false;
};

Outcome<int> run(const Options& options, const std::array<int, 3>& stdio) {
  TRY(check_container_id(options.id));
  Container container = TRY(load_container(options.bundle, options.id));
  const StateFolder folder = TRY(StateFolder::claim(options.root, options.id));
  SandboxPlan& plan = container.plan;
  plan.boot.platform = options.platform;
  plan.boot.strace = options.strace;
  sentry::Fd log;
  if (!options.log.empty()) {
    log = sentry::Fd(::open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
    if (!log) return system_failure(errno, "--log {}", options.log);
    plan.log_fd = log.get();
  }
  sentry::set_log(plan.log_fd, "bulkhead");
  for (const std::string& warning : container.warnings) sentry::log_line(warning);
  sentry::set_log(STDERR_FILENO, "bulkhead");

  ForegroundOptions foreground;
  foreground.stdio = stdio;
  foreground.memory_option = "linux.resources.memory.limit in config.json";
  foreground.memory_limit_text = fmt::format("{} bytes", plan.limits.memory_bytes);
  if (container.config.process->terminal) {
    if (!same_terminal(stdio[0], stdio[1]))
      return failure(
          "config.json: process.terminal: true, but standard input and output are not one terminal");
  } else {
    foreground.console = ForegroundOptions::Console::kNever;
  }
  TRY(folder.write({.id = options.id,
                    .status = "running",
                    .pid = ::getpid(),
                    .bundle = container.bundle,
                    .annotations = container.config.annotations}));
  return run_in_foreground(std::move(plan), std::move(foreground));
}

}  // namespace

int run_verb(const std::vector<std::string>& arguments) {
  const std::array<int, 3> stdio = inherited_stdio();
  Options options;
  CLI::App parser;
  parser.set_help_flag("--help", "Show this page.");
  parser.add_option("-b,--bundle", options.bundle, "The bundle's directory; default: the current one.")
      ->type_name("DIR");
  parser
      .add_option("--root", options.root,
                  "Where containers' state is kept; default: /run/bulkhead, or $XDG_RUNTIME_DIR/bulkhead.")
      ->type_name("DIR");
  parser.add_flag("--strace", options.strace, "Print the container's system calls as strace(1) does.");
  parser
      .add_option("--log", options.log,
                  "Append messages and --strace's output to FILE instead of standard error.")
      ->type_name("FILE");
  parser.add_option("--platform", options.platform, "How system calls are intercepted; default: ptrace.")
      ->type_name("NAME");
  parser.add_option("ID", options.id, "The container's name.")->required();
  if (const std::optional<int> status = parse(parser, kManual, arguments)) return *status;
  const Outcome<int> status = run(options, stdio);
  return status ? *status : report(status.error());
}

}  // namespace runtime
