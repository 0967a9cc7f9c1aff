#include "runtime/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

#include "runtime/caller.h"
#include "runtime/console_socket.h"
#include "runtime/container.h"
#include "runtime/container_cgroup.h"
#include "runtime/control_socket.h"
#include "runtime/exec.h"
#include "runtime/foreground.h"
#include "runtime/hooks.h"
#include "runtime/host_calls.h"
#include "runtime/namespace_file.h"
#include "runtime/report_pipe.h"
#include "runtime/supervisor.h"
#include "runtime/systemd_scope.h"
#include "runtime/terminal.h"
#include "runtime/text_file.h"
#include "sentry/abi/ioprio.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

using sentry::Fd;

constexpr const char* kMemoryOption = "linux.resources.memory.limit in config.json";

// What systemd made it removes.
Outcome<> remove_cgroup(const std::optional<SystemdScope>& scope, const ContainerCgroup& cgroup) {
  if (scope) return scope->stop();
  return cgroup.remove();
}

// A container from its bundle to its end, from the point of view of whoever supervises it.
class Launch {
 public:
  Launch(const GlobalOptions& globals, const CommandLog& log, const LaunchOptions& options)
      : globals_(globals), log_(log), options_(options) {}
  ~Launch() { undo(); }

  // Everything that can be done, or refused, before there is a process.
  Outcome<> prepare(bool detached) {
    TRY(check_container_id(options_.id));
    container_.emplace(TRY(load_container(options_.bundle, options_.id)));
    TRY(check_terminal(detached));
    folder_.emplace(TRY(ContainerFolder::claim(globals_.root, options_.id)));
    for (const std::string& warning : container_->warnings) log_.warn(warning);
    for (const std::string& note : container_->notes) log_.note(note);
    record_.detached = detached;
    record_.sandbox = container_->sandbox_id;
    oci::State& state = record_.state;
    state.oci_version = container_->config.oci_version;
    state.id = options_.id;
    state.status = "creating";
    if (!detached) state.pid = ::getpid();
    state.bundle = container_->bundle;
    state.rootfs = container_->rootfs;
    state.created = sentry::utc_now(true);
    state.annotations = container_->config.annotations;
    record_.poststart = container_->config.hooks.poststart;
    record_.poststop = container_->config.hooks.poststop;
    record_.start_container = container_->config.hooks.start_container;
    TRY(make_cgroup(detached));
    TRY(folder_->write_file("process", sentry::boot::encode(container_->plan.boot.process)));
    TRY(folder_->write(record_));
    return fill_plan();
  }

  Container& container() { return *container_; }
  const ContainerCgroup& cgroup() const { return cgroup_; }
  ContainerFolder& folder() { return *folder_; }
  SandboxPlan& plan() { return container_->plan; }
  bool has_terminal() const { return container_->config.process->terminal; }
  const oci::Hooks& hooks() const { return container_->config.hooks; }

  // Puts a process into the container's cgroup. A scope of systemd's comes to be with its first one.
  Outcome<> enter_cgroup(pid_t pid) {
    if (!scope_ || cgroup_.any()) return cgroup_.add(pid);
    const oci::Resources& resources = container_->config.linux_part.resources;
    TRY(scope_->start(pid, resources));
    record_.scope = scope_->unit();
    TRY(folder_->write(record_));
    cgroup_ = TRY(ContainerCgroup::of_process(pid));
    record_.cgroups = cgroup_.directories();
    return set_limits();
  }

  // What is to be so before there is a sandbox, in the supervisor. Its hooks are run by the command that
  // started it, if there is another one: outside of the container's cgroup and priorities.
  Outcome<> settle(pid_t pid, ReportPipe* starter) {
    record_.state.pid = pid;
    TRY(folder_->write(record_));  // whom to kill, if hooks take too long
    TRY(join_network());
    if (starter == nullptr)
      TRY(run_first_hooks(pid));
    else if (has_first_hooks())
      TRY(starter->wait_for_outside());
    take_priorities();
    if (!hooks().create_container.empty())
      plan().before_trees = [this] {
        return run_hooks("createContainer", hooks().create_container, record_.state);
      };
    return {};
  }

  // Those that find the container's namespaces and cgroup by its pid.
  Outcome<> run_first_hooks(pid_t pid) {
    hooks_ran_ = true;
    record_.state.pid = pid;
    const HookOptions options{.network = host_network_.get(), .needed = pid};
    TRY(run_hooks("prestart", hooks().prestart, record_.state, options));
    return run_hooks("createRuntime", hooks().create_runtime, record_.state, options);
  }

  // For a process that runs hooks on the host's behalf, forked from the supervisor.
  void return_to_network() const {
    if (host_network_) ::setns(host_network_.get(), CLONE_NEWNET);
  }

  // Writes down what the next command finds.
  Outcome<> record_status(const char* status) {
    record_.state.status = status;
    return folder_->write(record_);
  }
  void record_sandbox(Sandbox& sandbox) {
    record_.sentry = sandbox.sentry().running() ? sandbox.sentry().pid() : 0;
    record_.gofer = sandbox.gofer().pid();
  }

  // The supervisor is another process: what it began is this one's to undo.
  void supervised_elsewhere() { hooks_ran_ = true; }
  // The container is `delete`'s to remove.
  void leave() {
    folder_->leave();
    left_ = true;
  }

 private:
  Outcome<> check_terminal(bool detached) const {
    if (!detached) return {};
    if (has_terminal_config() && options_.console_socket.empty())
      return failure("config.json: process.terminal: a container in the background needs --console-socket");
    if (!has_terminal_config() && !options_.console_socket.empty())
      return failure("--console-socket: config.json has no process.terminal");
    return {};
  }
  bool has_terminal_config() const { return container_->config.process->terminal; }

  Outcome<> make_cgroup(bool detached) {
    const oci::Linux& part = container_->config.linux_part;
    if (globals_.systemd_cgroup) {
      TRY(SystemdScope::check_host());
      scope_ = TRY(SystemdScope::parse(part.cgroups_path, options_.id));
      return {};
    }
    if (!may_map_ids()) {
      if (part.resources.cpu_quota_us.value_or(0) > 0)
        return failure(
            "config.json: linux.resources.cpu.quota: needs a cgroup, which an ordinary user cannot set up");
      if (container_->wants_cgroup)
        log_.warn(
            "config.json: linux.resources: an ordinary user has no cgroups: memory and tasks are limited by "
            "the sandbox, other limits are not in force");
      return {};
    }
    if (!detached && !container_->wants_cgroup) return {};
    cgroup_ = TRY(ContainerCgroup::create(part.cgroups_path, options_.id));
    record_.cgroups = cgroup_.directories();
    return set_limits();
  }

  Outcome<> set_limits() const {
    const Outcome<> set = cgroup_.set(container_->config.linux_part.resources, true);
    if (!set) return failure("config.json: {}", set.error().message);
    return {};
  }

  Outcome<> fill_plan() {
    SandboxPlan& plan = container_->plan;
    plan.boot.platform = options_.platform;
    plan.boot.strace = options_.strace;
    plan.boot.log_json = log_.json() && !globals_.log.empty();
    plan.log_fd = log_.fd();
    for (unsigned i = 0; i < options_.preserve_fds; ++i) {
      const int fd = static_cast<int>(3 + i);
      if (::fcntl(fd, F_GETFD) < 0) return failure("--preserve-fds: descriptor {} is not open", fd);
      plan.more_fds.push_back(fd);
    }
    const oci::Linux& part = container_->config.linux_part;
    if (!may_map_ids()) {
      plan.gofer_identity = own_identity(part, *container_->config.process);
    } else if (!part.uid_mappings.empty() || !part.gid_mappings.empty()) {
      if (part.uid_mappings.empty() || part.gid_mappings.empty())
        return failure("config.json: linux.{}: required, since the other kind of ids is mapped",
                       part.uid_mappings.empty() ? "uidMappings" : "gidMappings");
      plan.gofer_identity = mapped_identity(part);
    }
    return {};
  }

  // An ordinary user has one id to map: what the container says it is, or its first process's.
  static Identity own_identity(const oci::Linux& part, const oci::Process& process) {
    const auto inside = [](const std::vector<oci::IdMapping>& mappings, uint32_t own, uint32_t otherwise) {
      for (const oci::IdMapping& each : mappings)
        if (own >= each.host_id && own - each.host_id < each.size)
          return each.container_id + (own - each.host_id);
      return otherwise;
    };
    const uid_t uid = inside(part.uid_mappings, ::geteuid(), process.uid);
    const gid_t gid = inside(part.gid_mappings, ::getegid(), process.gid);
    return {fmt::format("{} {} 1\n", uid, ::geteuid()), fmt::format("{} {} 1\n", gid, ::getegid()), uid, gid,
            false};
  }

  // The gofer in the container's own user namespace: files have the ids there that the guest shall see.
  static Identity mapped_identity(const oci::Linux& part) {
    const auto map = [](const std::vector<oci::IdMapping>& mappings) {
      std::string text;
      for (const oci::IdMapping& each : mappings)
        text += fmt::format("{} {} {}\n", each.container_id, each.host_id, each.size);
      return text;
    };
    return {map(part.uid_mappings), map(part.gid_mappings), part.uid_mappings.front().container_id,
            part.gid_mappings.front().container_id, true};
  }

  bool has_first_hooks() const { return !hooks().prestart.empty() || !hooks().create_runtime.empty(); }

  // The guest's network is the sentry's. The namespace is for engines and hooks, which configure what they
  // find by the container's pid: that must never be the host's.
  Outcome<> join_network() {
    const std::string& path = container_->network;
    const bool seen = record_.detached || has_first_hooks() || !hooks().poststart.empty();
    const bool makes_one = path.empty() && container_->new_network && seen && may_map_ids();
    if (path.empty() && !makes_one) return {};
    host_network_ = Fd(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!host_network_) return system_failure(errno, "cannot open the network namespace");
    if (makes_one) {
      if (::unshare(CLONE_NEWNET) != 0) return system_failure(errno, "cannot make a network namespace");
      return {};
    }
    const Fd space = TRY(open_network_namespace(path));
    if (::setns(space.get(), CLONE_NEWNET) != 0)
      return system_failure(errno, "config.json: linux.namespaces: cannot join the network namespace {}",
                            path);
    return {};
  }

  // The host's share of process.oomScoreAdj, scheduler and ioPriority: inherited by all of the sandbox. The
  // guest sees what the document says even where the host refuses it.
  void take_priorities() {
    const oci::Process& process = *container_->config.process;
    const auto refused = [&](const char* what) {
      log_.warn(fmt::format("config.json: process.{}: the host refuses it ({}); only the guest sees it", what,
                            strerrordesc_np(errno)));
    };
    if (process.oom_score_adj &&
        !write_text_file("/proc/self/oom_score_adj", std::to_string(*process.oom_score_adj)))
      refused("oomScoreAdj");
    if (process.io_priority != 0 &&
        ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, process.io_priority) != 0)
      refused("ioPriority");
    if (!process.scheduler) return;
    if (process.scheduler->nice != 0 && ::setpriority(PRIO_PROCESS, 0, process.scheduler->nice) != 0)
      refused("scheduler.nice");
    sched_param parameters{};
    parameters.sched_priority = process.scheduler->priority;
    if (process.scheduler->policy != SCHED_OTHER &&
        ::sched_setscheduler(0, process.scheduler->policy, &parameters) != 0)
      refused("scheduler.policy");
  }

  // A container that has not come to be, or a foreground one at its end.
  void undo() {
    if (!folder_ || left_) return;
    if (hooks_ran_) {
      record_.state.status = "stopped";
      record_.state.pid = 0;
      if (const Outcome<> done =
              run_hooks("poststop", record_.poststop, record_.state, {.network = host_network_.get()});
          !done)
        log_.warn(done.error().message);
    }
    if (const Outcome<> removed = remove_cgroup(scope_made(), cgroup_); !removed)
      log_.warn(removed.error().message);
  }

  // The supervisor writes down that it has made one; before that, a unit of this name is somebody else's.
  std::optional<SystemdScope> scope_made() const {
    if (!scope_) return std::nullopt;
    const std::string text = read_text_file(folder_->path() + "/state.json").value_or("");
    const oci::Checked<oci::Record> written = oci::parse_record(text);
    return written && !written->scope.empty() ? scope_ : std::nullopt;
  }

  const GlobalOptions& globals_;
  const CommandLog& log_;
  const LaunchOptions& options_;
  std::optional<Container> container_;
  std::optional<ContainerFolder> folder_;
  ContainerCgroup cgroup_;
  std::optional<SystemdScope> scope_;  // with --systemd-cgroup
  oci::Record record_;
  Fd host_network_;  // where this process was before it joined the container's
  bool hooks_ran_ = false, left_ = false;
};

// The sandbox, or a place in that of the pod.
Outcome<Sandbox> start_sandbox(const GlobalOptions& globals, Launch& launch) {
  const std::string& pod = launch.container().sandbox_id;
  if (pod.empty()) return Sandbox::start(std::move(launch.plan()));
  const KnownContainer first = TRY(KnownContainer::find(globals.root, pod));
  if (first.stopped()) return failure("the pod's sandbox \"{}\" is not running", pod);
  const ControlConnection connection = TRY(ControlConnection::open(first.path()));
  Sandbox::Joining joining = TRY(Sandbox::start_container(std::move(launch.plan())));
  Request request;
  request.kind = Request::Kind::kAddContainer;
  request.fds = joining.fds;
  TRY(connection.ask(request));
  return std::move(joining.sandbox);
}

// The supervisor in the background: the container's pid as everybody else sees it.
Outcome<int> supervise_in_background(const GlobalOptions& globals, const CommandLog& log, Launch& launch,
                                     const LaunchOptions& options, ReportPipe& report) {
  const ForwardedSignals signals = TRY(ForwardedSignals::take(ForwardedSignals::JobControl::kOff));
  // First of all: what is started from here is in the cgroup, too.
  TRY(launch.enter_cgroup(::getpid()));
  TRY(launch.settle(::getpid(), &report));
  SandboxPlan& plan = launch.plan();
  plan.boot.held = true;
  plan.stdio = options.stdio;
  Fd tty;
  if (launch.has_terminal()) {
    const WindowSize size{plan.boot.process.rows, plan.boot.process.columns};
    tty = TRY(send_console(options.console_socket, size));
    plan.stdio = {-1, -1, -1};
  }
  const Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (globals.log.empty()) plan.log_fd = null.get();  // standard error is the container's
  SuperviseOptions supervision;
  supervision.last_words =
      globals.log.empty() ? "`--log FILE` would have kept its message" : "its message is in the log";
  if (!may_map_ids()) supervision.memory_bytes = plan.boot.memory_limit_bytes;
  supervision.memory_limit_text = fmt::format("{} bytes", plan.boot.memory_limit_bytes);
  supervision.memory_option = kMemoryOption;
  supervision.out_of_memory = [&] { return launch.cgroup().out_of_memory(); };
  supervision.commands = TRY(listen_for_commands(launch.folder().path()));
  Sandbox sandbox = TRY(start_sandbox(globals, launch));
  launch.record_sandbox(sandbox);
  std::optional<Terminal> terminal;
  if (tty) terminal.emplace(TRY(Terminal::open(tty.get(), sandbox.take_console())));
  supervision.status_changed = [&](const char* status) {
    if (const Outcome<> written = launch.record_status(status); !written) log.warn(written.error().message);
  };
  supervision.started = [&] {
    if (const Outcome<> written = launch.record_status("created"); !written)
      report.fail(written.error());
    else
      report.succeed();
    // A failed command kills this process.
  };
  let_go_of_stdio();
  const Ending ending = supervise(std::move(sandbox), signals, std::move(terminal), std::move(supervision));
  if (report.open()) return start_failure(ending);
  if (!ending.message.empty() && !globals.log.empty()) log.note(ending.message);
  return ending.status;
}

// Waits for a process that is not this one's child. `name` is its command's: a number alone may be another
// process's by now.
void wait_for_process(pid_t pid, std::string_view name) {
  if (pid <= 0) return;
  const Fd pidfd(pidfd_open(pid));
  if (!pidfd) return;
  const std::string comm = read_text_file(fmt::format("/proc/{}/comm", pid)).value_or("");
  if (!comm.starts_with(name)) return;
  pollfd wait{pidfd.get(), POLLIN, 0};
  constexpr int kPatienceMs = 10'000;
  TEMP_FAILURE_RETRY(::poll(&wait, 1, kPatienceMs));
}

// runtime.md, "Lifecycle": a container whose startContainer or poststart hook fails is stopped and destroyed.
void end_after_hook(const KnownContainer& container, const CommandLog& log, Supervisor supervisor) {
  const auto end = [&]() -> Outcome<> {
    if (supervisor == Supervisor::kInBackground) return delete_container(container, true, log);
    Request request;
    request.kind = Request::Kind::kEnd;
    request.value = kStatusFailure;
    TRY(ControlConnection::ask_once(container.path(), request));
    return {};
  };
  if (const Outcome<> ended = end(); !ended) log.warn(ended.error().message);
}

}  // namespace

Outcome<> create_container(const GlobalOptions& globals, const CommandLog& log,
                           const LaunchOptions& options) {
  Launch launch(globals, log, options);
  TRY(launch.prepare(true));
  launch.supervised_elsewhere();
  const Outcome<pid_t> started = start_in_background(
      options.pid_file,
      [&](ReportPipe& report) { return supervise_in_background(globals, log, launch, options, report); },
      [&](pid_t pid) { return launch.run_first_hooks(pid); });
  if (!started && started.error().status == kStatusSignal + SIGKILL && launch.cgroup().out_of_memory())
    return Failure{
        out_of_memory_message(fmt::format("{} bytes", launch.plan().boot.memory_limit_bytes), kMemoryOption),
        kStatusSignal + SIGKILL};
  if (!started) return started.error();
  launch.leave();
  return {};
}

Outcome<> start_container(const KnownContainer& container, const CommandLog& log, Supervisor supervisor) {
  const oci::State state = container.state();
  // Before the hooks, which are to run once whoever else starts it at the same time.
  const Fd claim = TRY(container.claim_start());
  for (size_t i = 0; i < container.record().start_container.size(); ++i) {
    const oci::Hook& hook = container.record().start_container[i];
    const Outcome<int> status = run_guest_hook(container, hook);
    if (status && *status == 0) continue;
    end_after_hook(container, log, supervisor);
    const std::string why = status ? fmt::format("exit status {}", *status) : status.error().message;
    return failure("hooks.startContainer[{}] ({}): {}", i, hook.path, why);
  }
  Request request;
  request.kind = Request::Kind::kStart;
  TRY(ControlConnection::ask_once(container.path(), request));
  oci::State running = state;
  running.status = "running";
  const Outcome<> done = run_hooks("poststart", container.record().poststart, running);
  if (!done) end_after_hook(container, log, supervisor);
  return done;
}

Outcome<int> run_container(const GlobalOptions& globals, const CommandLog& log,
                           const LaunchOptions& options) {
  Launch launch(globals, log, options);
  TRY(launch.prepare(false));
  TRY(launch.settle(::getpid(), nullptr));
  ForegroundOptions foreground;
  foreground.stdio = options.stdio;
  foreground.memory_limit_text = fmt::format("{} bytes", launch.plan().boot.memory_limit_bytes);
  foreground.memory_option = kMemoryOption;
  foreground.out_of_memory = [&] { return launch.cgroup().out_of_memory(); };
  if (launch.has_terminal()) {
    if (!same_terminal(options.stdio[0], options.stdio[1]))
      return failure(
          "config.json: process.terminal: true, but standard input and output are not one terminal");
  } else {
    foreground.console = ForegroundOptions::Console::kNever;
  }
  SandboxPlan& plan = launch.plan();
  plan.boot.process.ignored_signals = ignored_signals();
  if (!may_map_ids()) plan.limits.memory_bytes = plan.boot.memory_limit_bytes;
  plan.place = [&](pid_t pid) { return launch.enter_cgroup(pid); };
  // Hooks around the start need commands, which need this process to supervise: they come from another one.
  const bool separate_start = !launch.hooks().start_container.empty() || !launch.hooks().poststart.empty();
  plan.boot.held = separate_start;
  foreground.commands = TRY(listen_for_commands(launch.folder().path()));
  const auto status_changed = [&](const char* status) {
    if (const Outcome<> written = launch.record_status(status); !written) log.warn(written.error().message);
  };
  foreground.status_changed = status_changed;
  foreground.report = [&](const Failure& failed) { log.report(failed); };
  TRY(write_pid_file(options.pid_file, ::getpid()));
  pid_t starter = 0;
  foreground.started = [&] {
    status_changed(separate_start ? "created" : "running");
    if (!separate_start) return;
    starter = ::fork();
    if (starter != 0) return;
    launch.folder().let_go_of_lock();
    launch.return_to_network();
    const Outcome<KnownContainer> known = KnownContainer::find(globals.root, options.id);
    const Outcome<> done =
        known ? start_container(*known, log, Supervisor::kInForeground) : Outcome<>(known.error());
    ::_exit(done ? 0 : log.report(done.error()));
  };
  const Outcome<int> status = run_in_foreground(std::move(plan), std::move(foreground));
  // It may have something to report: a hook that failed when the container had ended by itself.
  int reported = 0;
  if (starter > 0 && TEMP_FAILURE_RETRY(::waitpid(starter, &reported, 0)) == starter && status &&
      WIFEXITED(reported) && WEXITSTATUS(reported) != 0)
    return WEXITSTATUS(reported);
  return status;
}

Outcome<> delete_container(const KnownContainer& container, bool force, const CommandLog& log) {
  const oci::State state = container.state();
  if (!container.stopped()) {
    if (!force && state.status != "created")
      return failure("cannot delete the container \"{}\": it is {}, not stopped (--force kills it)",
                     container.id(), state.status);
    const Fd pidfd(pidfd_open(state.pid));
    if (pidfd) pidfd_send_signal(pidfd.get(), SIGKILL);
    container.wait_for_end();
  }
  wait_for_process(container.record().sentry, "bulkhead-sentry");
  wait_for_process(container.record().gofer, "bulkhead-gofer");
  const oci::Record& record = container.record();
  const std::optional<SystemdScope> scope =
      record.scope.empty() ? std::nullopt : std::optional<SystemdScope>(record.scope);
  if (const Outcome<> removed = remove_cgroup(scope, ContainerCgroup(record.cgroups)); !removed)
    log.warn(removed.error().message);
  if (!container.remove()) {
    if (force) return {};
    return failure("the container \"{}\" does not exist", container.id());
  }
  if (const Outcome<> done = run_hooks("poststop", container.record().poststop, container.state()); !done)
    log.warn(done.error().message);
  return {};
}

}  // namespace runtime
