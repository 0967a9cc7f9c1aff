// bulkhead exec: a further process in a container that runs.
#include "runtime/exec.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>

#include "oci/names.h"
#include "runtime/caller.h"
#include "runtime/console_socket.h"
#include "runtime/container.h"
#include "runtime/container_cgroup.h"
#include "runtime/global_options.h"
#include "runtime/manual.h"
#include "runtime/report_pipe.h"
#include "runtime/stdio.h"
#include "runtime/supervisor.h"
#include "runtime/terminal.h"
#include "runtime/text_file.h"
#include "runtime/verbs.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

using sentry::Fd;

constexpr Manual kManual{
    .name = "bulkhead-exec",
    .summary = "run a further process in a container",
    .synopsis =
        "bulkhead exec [OPTION]... ID [--] PROGRAM [ARGUMENT]...\n"
        "bulkhead exec --process FILE [OPTION]... ID",
    .description =
        "Starts a process in a container that `create` or `run` has made, with the container's tree, limits "
        "and "
        "seccomp filter. Without --detach it is the foreground job: standard streams and signals are passed "
        "through, and this command ends with its status.\n"
        "\n"
        "With --process, FILE says everything, as the \"process\" object of config.json; else what the "
        "options "
        "do not say is as for the container's first process.",
    .exit_status =
        "That of the process; 128+N if signal N ended it. Else:\n"
        "  125  bulkhead itself failed\n"
        "  126  the program cannot be executed\n"
        "  127  the program was not found",
    .see_also = "bulkhead(1), bulkhead-create(1)",
};

struct Options {
  std::string id, process, pid_file, console_socket, cwd, user, apparmor, label;
  std::vector<std::string> args, env, caps, groups, cgroups;
  unsigned preserve_fds = 0;
  bool tty = false, detach = false, no_new_privs = false, ignore_paused = false, no_subreaper = false;
};

Outcome<uint32_t> parse_id(const std::string& text, const char* option) {
  uint32_t id = 0;
  const char* const end = text.data() + text.size();
  if (text.empty() || std::from_chars(text.data(), end, id).ptr != end || id == ~0U)
    return failure("{} {}: expected the number of a user or group", option, text);
  return id;
}

Outcome<> set_user(sentry::boot::Process& process, const std::string& user) {
  const size_t colon = user.find(':');
  process.uid = TRY(parse_id(user.substr(0, colon), "--user"));
  if (colon != user.npos) process.gid = TRY(parse_id(user.substr(colon + 1), "--user"));
  return {};
}

// Not the inheritable and ambient sets: what the process starts would have them, whatever it is.
Outcome<> add_capabilities(sentry::boot::Process& process, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::string full = name;
    std::transform(full.begin(), full.end(), full.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (!full.starts_with("CAP_")) full.insert(0, "CAP_");
    const std::optional<unsigned> number = oci::capability_number(full);
    if (!number) return failure("--cap {}: there is no such capability", name);
    const uint64_t bit = uint64_t{1} << *number;
    process.cap_bounding |= bit;
    process.cap_effective |= bit;
    process.cap_permitted |= bit;
  }
  return {};
}

// NAME=value after NAME=other: the first is no more.
void set_variable(std::vector<std::string>& env, const std::string& entry) {
  const std::string name = entry.substr(0, entry.find('=') + 1);
  std::erase_if(env, [&](const std::string& old) { return old.starts_with(name); });
  env.push_back(entry);
}

// What `create` wrote down for the first process.
Outcome<sentry::boot::Process> first_process(const KnownContainer& container) {
  const std::optional<std::string> bytes = read_text_file(container.path() + "/process");
  if (!bytes) return system_failure(errno, "cannot read {}/process", container.path());
  std::optional<sentry::boot::Process> process = sentry::boot::decode_process(*bytes);
  if (!process) return failure("{}/process is of another version of bulkhead", container.path());
  return std::move(*process);
}

Outcome<sentry::boot::Process> process_of(const KnownContainer& container, const Options& options,
                                          const CommandLog& log) {
  if (!options.process.empty()) {
    const std::optional<std::string> text = read_text_file(options.process);
    if (!text) return system_failure(errno, "--process {}", options.process);
    const oci::Checked<oci::ProcessDocument> parsed = oci::parse_process(*text);
    if (!parsed) return failure("{}: {}", options.process, parsed.error().text());
    for (const std::string& path : parsed->unsupported)
      log.warn(fmt::format("{}: {}: not honoured", options.process, path));
    for (const std::string& what : parsed->without_effect)
      log.note(fmt::format("{}: {}", options.process, what));
    sentry::boot::Process process = plan_process(parsed->process);
    if (options.tty) process.terminal = true;
    return process;
  }
  if (options.args.empty()) return failure("what is to run? (PROGRAM, or --process FILE)");
  sentry::boot::Process process = TRY(first_process(container));
  process.args = options.args;
  process.terminal = options.tty;
  process.rows = process.columns = 0;
  if (!options.cwd.empty()) process.cwd = options.cwd;
  if (!process.cwd.starts_with('/')) return failure("--cwd {}: expected an absolute path", options.cwd);
  for (const std::string& entry : options.env) {
    if (entry.find('=') == entry.npos || entry.starts_with('='))
      return failure("--env {}: expected NAME=value", entry);
    set_variable(process.env, entry);
  }
  if (!options.user.empty()) TRY(set_user(process, options.user));
  for (const std::string& group : options.groups)
    process.additional_gids.push_back(TRY(parse_id(group, "--additional-gids")));
  TRY(add_capabilities(process, options.caps));
  if (options.no_new_privs) process.no_new_privs = true;
  return process;
}

// The process that stands for the guest's on the host.
Outcome<int> supervise_process(const KnownContainer& container, sentry::boot::Process process,
                               const std::array<int, 3>& stdio, const Options& options, ReportPipe* report) {
  using enum ForwardedSignals::JobControl;
  const ForwardedSignals signals = TRY(ForwardedSignals::take(report == nullptr ? kOn : kOff));
  if (report != nullptr) TRY(ContainerCgroup(container.record().cgroups).add(::getpid()));
  std::vector<int> more_fds;
  for (unsigned i = 0; i < options.preserve_fds; ++i) {
    more_fds.push_back(static_cast<int>(3 + i));
    if (::fcntl(more_fds.back(), F_GETFD) < 0)
      return failure("--preserve-fds: descriptor {} is not open", more_fds.back());
  }
  std::array<int, 3> streams = stdio;
  Fd tty;
  int tty_fd = -1;
  if (process.terminal && report != nullptr) {
    tty = TRY(send_console(options.console_socket, {process.rows, process.columns}));
    tty_fd = tty.get();
    streams = {-1, -1, -1};
  } else if (process.terminal) {
    if (!same_terminal(stdio[0], stdio[1]))
      return failure("--tty: standard input and output are not one terminal");
    tty_fd = stdio[0];
    const WindowSize size = window_size_of(tty_fd);
    if (process.rows == 0) {
      process.rows = size.rows;
      process.columns = size.columns;
    }
    streams[0] = streams[1] = -1;
    if (same_terminal(stdio[0], stdio[2])) streams[2] = -1;
  }
  GuestProcess guest = TRY(start_guest_process(container, std::move(process), streams, more_fds));
  std::optional<Terminal> terminal;
  if (tty_fd >= 0) terminal.emplace(TRY(Terminal::open(tty_fd, guest.sandbox.take_console())));
  SuperviseOptions supervision;
  if (report != nullptr) {
    supervision.started = [&] { report->succeed(); };
    let_go_of_stdio();
  }
  const Ending ending =
      supervise(std::move(guest.sandbox), signals, std::move(terminal), std::move(supervision));
  if (report != nullptr && report->open()) return start_failure(ending);
  if (report == nullptr && !ending.message.empty()) return Failure{ending.message, ending.status};
  return ending.status;
}

Outcome<int> exec(const GlobalOptions& globals, const CommandLog& log, const Options& options,
                  const std::array<int, 3>& stdio) {
  // A guest's tasks are the sentry's on the host: cgroups do not tell them apart.
  for (const std::string& cgroup : options.cgroups)
    if (cgroup.substr(cgroup.find(':') + 1) != "/")
      return failure("--cgroup {}: a container's processes are all in its own cgroup, \"/\"", cgroup);
  const KnownContainer container = TRY(KnownContainer::find(globals.root, options.id));
  const oci::State state = container.state();
  if (container.stopped() || state.status == "creating")
    return failure("cannot exec in the container \"{}\": container not running", options.id);
  if (state.status == "paused" && !options.ignore_paused)
    return failure("cannot exec in the container \"{}\": it is paused (--ignore-paused)", options.id);
  sentry::boot::Process process = TRY(process_of(container, options, log));
  process.ignored_signals = options.detach ? 0 : ignored_signals();
  if (options.detach && process.terminal && options.console_socket.empty())
    return failure("a process in the background with a terminal needs --console-socket");
  if (!options.console_socket.empty() && !(options.detach && process.terminal))
    return failure("--console-socket is for a process in the background with a terminal");
  if (!options.detach) {
    TRY(write_pid_file(options.pid_file, ::getpid()));
    return supervise_process(container, std::move(process), stdio, options, nullptr);
  }
  TRY(start_in_background(options.pid_file, [&](ReportPipe& report) {
    return supervise_process(container, std::move(process), stdio, options, &report);
  }));
  return 0;
}

}  // namespace

Outcome<GuestProcess> start_guest_process(const KnownContainer& container, sentry::boot::Process process,
                                          const std::array<int, 3>& stdio, const std::vector<int>& more_fds) {
  int link[2], console[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) != 0)
    return system_failure(errno, "cannot make a socket pair");
  Fd ours(link[0]);
  const Fd theirs(link[1]);
  if (process.terminal && ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) != 0)
    return system_failure(errno, "cannot make a socket pair");
  Fd our_console(console[0]);
  const Fd their_console(console[1]);
  Request request;
  request.kind = Request::Kind::kAddProcess;
  request.fds = {theirs.get(), -1};
  const auto place = [&](int fd) {
    if (fd < 0) return -1;
    request.fds.push_back(fd);
    return static_cast<int>(request.fds.size()) - 1;
  };
  name_terminals(process, stdio);
  name_open_flags(process, stdio, more_fds);
  for (size_t i = 0; i < 3; ++i) process.stdio_fds[i] = place(stdio[i]);
  for (const int fd : more_fds) process.more_fds.push_back(place(fd));
  process.console_fd = place(their_console.get());
  const Fd document = TRY(document_file(sentry::boot::encode(process)));
  request.fds[1] = document.get();
  ControlConnection connection = TRY(ControlConnection::open(container.path()));
  TRY(connection.ask(request));
  return GuestProcess{Sandbox::attached(std::move(ours), std::move(our_console)), std::move(connection)};
}

Outcome<int> run_guest_hook(const KnownContainer& container, const oci::Hook& hook) {
  sentry::boot::Process process = TRY(first_process(container));
  process.args = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
  // The path says which program; the first argument is what it is called.
  process.path = hook.path;
  process.env = hook.env;
  process.find_home = false;
  process.cwd = "/";
  process.terminal = false;
  process.ignored_signals = ignored_signals();
  const Fd state = TRY(document_file(oci::to_json(container.state())));
  const Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!null) return system_failure(errno, "cannot open /dev/null");
  const ForwardedSignals signals = TRY(ForwardedSignals::take(ForwardedSignals::JobControl::kOn));
  SuperviseOptions supervision;
  if (hook.timeout_seconds) supervision.timeout = std::chrono::seconds(*hook.timeout_seconds);
  GuestProcess guest =
      TRY(start_guest_process(container, std::move(process), {state.get(), null.get(), null.get()}, {}));
  const Ending ending = supervise(std::move(guest.sandbox), signals, std::nullopt, std::move(supervision));
  if (!ending.message.empty()) return Failure{ending.message, ending.status};
  return ending.status;
}

int exec_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  const std::array<int, 3> stdio = inherited_stdio();
  Options options;
  CLI::App parser;
  parser.set_help_flag("--help", "Show this page.");
  parser.prefix_command();
  add_global_options(parser, globals);
  parser.add_option("-p,--process", options.process, "What to run: a \"process\" object of config.json.")
      ->type_name("FILE");
  parser.add_flag("-t,--tty", options.tty, "Give it a terminal.");
  parser.add_flag("-d,--detach", options.detach, "Leave it in the background.");
  parser.add_option("--pid-file", options.pid_file, "Write the pid that stands for it to FILE.")
      ->type_name("FILE");
  parser
      .add_option("--console-socket", options.console_socket,
                  "Send the terminal's other side to this socket.")
      ->type_name("PATH");
  parser.add_option("--cwd", options.cwd, "Its working directory.")->type_name("DIR");
  parser.add_option("-e,--env", options.env, "Set a variable; may be given often.")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  parser.add_option("-u,--user", options.user, "Its user, and group.")->type_name("UID[:GID]");
  parser.add_option("-g,--additional-gids", options.groups, "Further groups of it.")
      ->type_name("GID")
      ->allow_extra_args(false);
  parser.add_option("-c,--cap", options.caps, "Give it a capability; may be given often.")
      ->type_name("NAME")
      ->allow_extra_args(false);
  parser.add_flag("--no-new-privs", options.no_new_privs, "Set no_new_privs.");
  parser.add_option("--cgroup", options.cgroups, "Its cgroup: only the container's own, \"/\".")
      ->type_name("[CONTROLLER:]PATH")
      ->allow_extra_args(false);
  parser.add_option("--preserve-fds", options.preserve_fds, "Pass on descriptors 3 to 2+N, too.")
      ->type_name("N");
  parser.add_flag("--ignore-paused", options.ignore_paused, "Even in a paused container, where it waits.");
  parser.add_option("--apparmor", options.apparmor, "Accepted: redundant in a sandbox.")
      ->type_name("PROFILE");
  parser.add_option("--process-label", options.label, "Accepted: redundant in a sandbox.")
      ->type_name("LABEL");
  parser.add_flag("--no-subreaper", options.no_subreaper, "Accepted: there is nothing to reap.");
  const auto refuse = [&](const Failure& failed) { return report_in_log(failed, globals); };
  if (const std::optional<int> status = parse(parser, kManual, arguments, refuse)) return *status;
  const Outcome<CommandLog> log = CommandLog::open(globals);
  if (!log) return report(log.error());
  // From the first word that is no option on everything belongs to the program.
  options.args = parser.remaining();
  if (!options.args.empty() && options.args[0] == "--") options.args.erase(options.args.begin());
  if (options.args.empty() || options.args[0].starts_with('-'))
    return log->report(options.args.empty()
                           ? failure("which container? (`bulkhead exec --help`)")
                           : failure("there is no option {} (`bulkhead exec --help`)", options.args[0]));
  options.id = options.args[0];
  options.args.erase(options.args.begin());
  if (!options.args.empty() && options.args[0] == "--") options.args.erase(options.args.begin());
  const Outcome<int> status = exec(globals, *log, options, stdio);
  return status ? *status : log->report(status.error());
}

}  // namespace runtime
