// bulkhead do: a program of the host's in a sandbox that shows the host's tree.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "runtime/accounts.h"
#include "runtime/caller.h"
#include "runtime/foreground.h"
#include "runtime/guest_environment.h"
#include "runtime/hidden_places.h"
#include "runtime/host_calls.h"
#include "runtime/manual.h"
#include "runtime/platform_option.h"
#include "runtime/quantity.h"
#include "runtime/stdio.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

using sentry::boot::Mount;
using sentry::boot::MountKind;

constexpr Manual kManual{
    .name = "bulkhead-do",
    .summary = "run a program in a sandbox",
    .synopsis = "bulkhead do [OPTION]... [--] PROGRAM [ARGUMENT]...",
    .description =
        "Runs PROGRAM in a sandbox of its own: a user-space kernel, which the host sees as two processes "
        "that may make a "
        "few system calls.\n"
        "\n"
        "The program sees the host's files, read-only; what it writes stays in the sandbox's memory and is "
        "gone at the "
        "end. /proc, /sys, /dev, /tmp and /run are the sandbox's own. Home directories and the data of other "
        "users and "
        "services are hidden (SECURITY.md has the list); of them only the current directory is there, "
        "read-only; "
        "if it is a home directory its dot files are there by name, and empty. There is no network but the "
        "sandbox's loopback.\n"
        "\n"
        "The program runs as the calling user, with a short environment: PATH, HOME, USER, LOGNAME, SHELL, "
        "LANG and, on "
        "a terminal, TERM. PROGRAM is searched for in the sandbox's PATH. Standard input, output and error "
        "are passed "
        "through. If its output is a terminal the program gets a terminal of its own, connected to it: "
        "Ctrl-C, "
        "Ctrl-Z and the window's size work as ever, also for the caller's script or pipeline. If its input "
        "alone is a terminal, as at the start of a pipeline, it shares it with the other programs there: "
        "reading, isatty(3) and signals work, but there is no /dev/tty and the settings cannot be changed "
        "(a password shows). Signals sent to bulkhead reach the program. The sandbox ends with it, and what "
        "it has left running.",
    .exit_status =
        "That of PROGRAM; 128+N if signal N ended it. Else:\n"
        "  124  the time of --timeout ran out\n"
        "  125  bulkhead itself failed\n"
        "  126  PROGRAM cannot be executed\n"
        "  127  PROGRAM was not found\n"
        "  137  the sandbox was killed, also by its memory limit; a message says which",
    .notes =
        "As an ordinary user, --memory and --pids are enforced by the sandbox itself and by bulkhead "
        "watching it (which ends the whole sandbox; files in its memory are ENOSPC beyond), --cpus is "
        "refused, and files of other users appear as the user nobody's (user_namespaces(7)).",
    .examples =
        "Look around:\n"
        "  bulkhead do -- sh -c 'uname -a; ps ax; ls /home'\n"
        "Build what someone sent, and keep the result:\n"
        "  bulkhead do --bind out:/out --memory 1G --pids 200 --timeout 60 -- make DESTDIR=/out install\n"
        "See what it does:\n"
        "  bulkhead do --strace --log trace.txt -- ./a.out",
    .see_also = "bulkhead(1), bulkhead-run(1), bulkhead-check(1)",
};

struct Options {
  std::string root = "/";
  std::vector<std::string> binds, env;
  std::string cwd, hostname = "bulkhead";
  std::string memory, pids, cpus, timeout;
  bool writable = false, home = false, strace = false;
  std::string log, platform = "trap";
  std::vector<std::string> program;
};

// Container engines' usual set (Docker's default), for root: power over the sandbox's own things.
constexpr uint64_t kRootCapabilities = 0x00000000a80425fb;

Outcome<std::string> real_path(const std::string& path, const char* option) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return system_failure(errno, "{} {}", option, path);
  return std::string(real.get());
}

// Where the caller is; nothing if that has no path: it was removed, or is not below this process's root.
std::optional<std::string> current_directory() {
  std::array<char, PATH_MAX> path;
  if (::getcwd(path.data(), path.size()) == nullptr || path[0] != '/') return std::nullopt;
  return path.data();
}

// Fills in a plan step by step; the order of mounts is that of the calls.
class Planner {
 public:
  explicit Planner(const Options& options) : options_(options), accounts_(Accounts::read()) {}

  Outcome<SandboxPlan> plan() {
    account_ = accounts_.caller();
    plan_.id = fmt::format("{}.do", ::getpid());
    plan_.boot.platform = options_.platform;
    constexpr size_t kMaxHostname = 64;  // __NEW_UTS_LEN, uname(2)
    if (options_.hostname.empty() || options_.hostname.size() > kMaxHostname)
      return failure("--hostname {}: give 1 to {} characters", options_.hostname, kMaxHostname);
    // What programs put into prompts, mail and logs: hostname(7), and the underscore that many hosts have.
    const bool plain = std::all_of(options_.hostname.begin(), options_.hostname.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
    });
    if (!plain) return failure("--hostname: a name has letters, digits, '-', '.' and '_' only");
    plan_.boot.hostname = options_.hostname;
    plan_.boot.strace = options_.strace;
    plan_.boot.own_init = true;  // as on a host: the program is not pid 1, and orphans are reaped for it
    TRY(add_root());
    add_own_places();
    TRY(add_current_directory());
    TRY(add_binds());
    TRY(add_limits());
    TRY(add_process());
    return std::move(plan_);
  }

 private:
  Outcome<> add_root() {
    root_ = TRY(real_path(options_.root, "--root"));
    struct stat status {};
    if (::stat(root_.c_str(), &status) != 0) return system_failure(errno, "--root {}", options_.root);
    if (!S_ISDIR(status.st_mode)) return failure("--root {}: not a directory", options_.root);
    TRY(refuse_kernel_interface("--root", root_));
    Attach attach{root_, options_.writable, {}};
    if (on_host_root()) {
      covers_ = covers_for_host_root(accounts_, options_.home, ::geteuid() == 0);
      attach.covers = covers_;
    } else {
      attach.covers = {"/proc", "/sys", "/dev", "/tmp"};
    }
    for (std::string& path : kernel_mounts_below(root_)) attach.covers.push_back(std::move(path));
    Mount mount = gofer_mount("/", std::move(attach));
    mount.overlay = !options_.writable;
    mount.read_only = false;  // the overlay takes the writes
    mount.type = options_.writable ? "bulkhead" : "overlay";
    plan_.boot.mounts.push_back(std::move(mount));
    return {};
  }

  static Outcome<> refuse_kernel_interface(const char* option, const std::string& path) {
    const std::optional<KernelInterface> interface = kernel_interface_at(path);
    if (!interface) return {};
    return failure(
        "{} {}: the host's {} is no tree of files; the sandbox has a /proc, a /sys and a /dev of its own",
        option, path, interface->type);
  }

  bool on_host_root() const { return root_ == "/"; }

  void add_own_places() {
    add_kernel_mount(MountKind::kProc, "/proc", "proc");
    add_kernel_mount(MountKind::kSysfs, "/sys", "sysfs").read_only = true;
    // Where programs look for what memory and processors they may use.
    add_kernel_mount(MountKind::kCgroup, "/sys/fs/cgroup", "cgroup2").read_only = true;
    Mount& dev = add_kernel_mount(MountKind::kDev, "/dev", "devtmpfs");
    dev.nodev = false;
    dev.mode = 0755;
    add_tmpfs("/tmp", 01777);
    if (!on_host_root()) return;
    add_tmpfs("/run", 0755);
    // On a writable tree the covers are read-only; elsewhere writes to them go to the sandbox's memory.
    if (options_.writable && is_covered("/var/tmp")) add_tmpfs("/var/tmp", 01777);
    if (!options_.home && is_covered(account_.home)) {
      Mount& home = add_tmpfs(account_.home, 0700);
      // Nothing is lost silently: --writable is for what stays.
      home.read_only = options_.writable;
      home.uid = ::geteuid();
      home.gid = ::getegid();
    }
  }

  Mount& add_kernel_mount(MountKind kind, const char* destination, const char* type) {
    Mount mount;
    mount.kind = kind;
    mount.destination = destination;
    mount.source = mount.type = type;
    mount.nosuid = mount.nodev = mount.noexec = true;
    plan_.boot.mounts.push_back(std::move(mount));
    return plan_.boot.mounts.back();
  }

  Mount& add_tmpfs(const std::string& destination, uint32_t mode) {
    Mount mount;
    mount.destination = destination;
    mount.source = mount.type = "tmpfs";
    mount.nosuid = mount.nodev = true;
    mount.mode = mode;
    plan_.boot.mounts.push_back(std::move(mount));
    return plan_.boot.mounts.back();
  }

  Mount gofer_mount(const std::string& destination, Attach attach) {
    Mount mount;
    mount.kind = MountKind::kGofer;
    mount.destination = destination;
    mount.attach = static_cast<uint32_t>(plan_.attaches.size());
    mount.read_only = !attach.writable;
    mount.source = destination == "/" ? "bulkhead" : attach.source;
    mount.type = "bulkhead";
    mount.nodev = true;
    plan_.attaches.push_back(std::move(attach));
    return mount;
  }

  bool is_covered(const std::string& path) const {
    return std::any_of(covers_.begin(), covers_.end(),
                       [&](const std::string& cover) { return is_within(path, cover); });
  }

  bool is_home(const std::string& path) const {
    const std::vector<std::string> homes = accounts_.homes();
    return path == "/root" || path == account_.home || path.substr(0, path.rfind('/')) == "/home" ||
           std::find(homes.begin(), homes.end(), path) != homes.end();
  }

  // The current directory comes back where a cover hides it, read-only unless the tree is writable anyway.
  Outcome<> add_current_directory() {
    const bool absolute = options_.cwd.starts_with('/');
    plan_.boot.process.cwd = absolute ? options_.cwd : "/";
    if (!on_host_root() && (absolute || options_.cwd.empty())) return {};
    const std::optional<std::string> known = current_directory();
    if (!known && absolute) return {};
    if (!known)
      return failure(
          "the current directory has been removed: change to one that is there, or say with --cwd DIR where "
          "to start");
    const std::string& here = *known;
    if (!absolute) plan_.boot.process.cwd = options_.cwd.empty() ? here : here + "/" + options_.cwd;
    if (!on_host_root()) return {};
    // The sandbox's own, which may have such a directory, too; else the program does not start.
    for (const std::string_view own : {"/proc", "/sys", "/dev"})
      if (is_within(here, own)) return {};
    // The hidden places themselves stay the sandbox's own, unless it is somebody's home.
    const bool is_place = std::find(covers_.begin(), covers_.end(), here) != covers_.end();
    if (!is_covered(here) || (is_place && !is_home(here))) return {};
    Attach attach{here, options_.writable, {}};
    if (is_home(here)) attach.covers = TRY(dot_files(here));
    plan_.boot.mounts.push_back(gofer_mount(here, std::move(attach)));
    return {};
  }

  // Keys, browser profiles, tokens: what people keep in dot files is not what they run programs on.
  static Outcome<std::vector<std::string>> dot_files(const std::string& home) {
    std::vector<std::string> paths;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(home, error)) {
      const std::string name = entry.path().filename();
      if (name.starts_with('.')) paths.push_back("/" + name);
    }
    if (error) return system_failure(error.value(), "cannot list the current directory {}", home);
    return paths;
  }

  // A mount point that is missing is made where that leaves nothing behind: in the sandbox's memory.
  Outcome<> check_bind_place(const std::string& option, const std::string& destination) const {
    const Mount* below = nullptr;
    for (const Mount& mount : plan_.boot.mounts)
      if (is_within(destination, mount.destination)) below = &mount;
    if (below == nullptr || below->kind != MountKind::kGofer || below->overlay) return {};
    const Attach& tree = plan_.attaches[below->attach];
    const std::string place =
        below->destination == "/" ? destination : destination.substr(below->destination.size());
    if (below->destination == "/" && is_covered(destination) &&
        std::find(covers_.begin(), covers_.end(), destination) == covers_.end())
      return failure("--bind {}: with --writable {} is in a hidden place, where nothing can be mounted",
                     option, destination);
    if (place.empty()) return {};
    const sentry::Fd root(::open(tree.source.c_str(), O_PATH | O_CLOEXEC));
    const sentry::Fd found(open_how_resolved(root.get(), place.c_str(), O_PATH, RESOLVE_IN_ROOT));
    if (found || (errno != ENOENT && errno != ENOTDIR)) return {};  // the gofer will see
    return failure("--bind {}: {} is not there, and to make it would change the host's {}: make it first",
                   option, destination, tree.source);
  }

  Outcome<> add_binds() {
    for (const std::string& text : options_.binds) {
      std::string source = text;
      Attach attach;
      attach.writable = true;
      for (const auto& [suffix, writable] : {std::pair{":ro", false}, std::pair{":rw", true}}) {
        if (!source.ends_with(suffix)) continue;
        source.resize(source.size() - 3);
        attach.writable = writable;
        break;
      }
      const size_t colon = source.rfind(':');
      if (colon == std::string::npos || colon == 0 || source[colon + 1] != '/')
        return failure("--bind {}: give SRC:DST or SRC:DST:ro, DST an absolute path", text);
      const std::string destination = source.substr(colon + 1);
      TRY(check_bind_place(text, destination));
      if (std::all_of(destination.begin(), destination.end(), [](char c) { return c == '/'; }))
        return failure("--bind {}: / is the root itself: show another with --root DIR", text);
      attach.source = TRY(real_path(source.substr(0, colon), "--bind"));
      struct stat status {};
      if (::stat(attach.source.c_str(), &status) != 0)
        return system_failure(errno, "--bind {}", attach.source);
      if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
        return failure("--bind {}: neither a directory nor a regular file", attach.source);
      TRY(refuse_kernel_interface("--bind", attach.source));
      if (S_ISDIR(status.st_mode)) attach.covers = kernel_mounts_below(attach.source);
      plan_.boot.mounts.push_back(gofer_mount(destination, std::move(attach)));
    }
    return {};
  }

  Outcome<> add_limits() {
    const bool as_root = may_map_ids();
    if (!options_.memory.empty()) plan_.limits.memory_bytes = TRY(parse_size("--memory", options_.memory));
    constexpr uint64_t kLeastMemory = 4 << 20;  // the sandbox itself
    if (!options_.memory.empty() && plan_.limits.memory_bytes < kLeastMemory)
      return failure("--memory: {} is too little for any program: give 4M or more", options_.memory);
    if (!options_.pids.empty()) plan_.limits.tasks = TRY(parse_count("--pids", options_.pids));
    if (!options_.cpus.empty()) {
      plan_.limits.cpus = TRY(parse_cpus("--cpus", options_.cpus));
      if (!as_root)
        return failure(
            "--cpus needs a cgroup, which an ordinary user cannot set up: leave it out, or run as root");
    }
    plan_.boot.memory_limit_bytes = plan_.limits.memory_bytes;
    plan_.boot.max_tasks = plan_.limits.tasks;
    plan_.boot.cpu_quota_us =
        static_cast<uint64_t>(plan_.limits.cpus * static_cast<double>(plan_.boot.cpu_period_us));
    return {};
  }

  Outcome<> add_process() {
    sentry::boot::Process& process = plan_.boot.process;
    process.args = options_.program;
    if (process.args.front().empty()) return failure("the program's name is empty");
    process.env = TRY(guest_environment(account_, ::isatty(0) || ::isatty(1) || ::isatty(2), options_.env));
    take_caller(process);
    process.ignored_signals = ignored_signals();
    if (process.uid == 0)
      process.cap_bounding = process.cap_effective = process.cap_permitted = kRootCapabilities;
    return {};
  }

  const Options& options_;
  Accounts accounts_;
  Account account_;
  std::string root_;
  std::vector<std::string> covers_;
  SandboxPlan plan_;
};

void declare(CLI::App& parser, Options& options) {
  parser
      .add_option("--root", options.root,
                  "Show DIR as the root instead of the host's. Nothing in it is hidden.")
      ->type_name("DIR");
  parser
      .add_option(
          "--bind", options.binds,
          "Show the host's directory or file SRC at DST, too. Writes go to the host unless :ro is added.")
      ->type_name("SRC:DST[:ro]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  parser.add_option("--env", options.env, "Set a variable; NAME alone takes the caller's value.")
      ->type_name("NAME[=VALUE]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  parser
      .add_option("--cwd", options.cwd,
                  "Start in DIR of the sandbox; default: the current directory, with --root /.")
      ->type_name("DIR");
  parser.add_option("--hostname", options.hostname, "The sandbox's host name; default: bulkhead.")
      ->type_name("NAME");
  parser
      .add_option("--memory", options.memory,
                  "At most SIZE (as in 512M) for the whole sandbox: what takes more is killed.")
      ->type_name("SIZE");
  parser
      .add_option("--pids", options.pids, "At most N processes and threads: beyond, fork fails with EAGAIN.")
      ->type_name("N");
  parser.add_option("--cpus", options.cpus, "At most N processors' worth of time, as in 0.5. Root only.")
      ->type_name("N");
  parser.add_option("--timeout", options.timeout, "Kill the sandbox after S seconds.")->type_name("S");
  parser.add_flag(
      "--writable", options.writable,
      "Writes go to the host's tree instead of the sandbox's memory. What is hidden stays hidden, "
      "and cannot be written to: see --home.");
  parser.add_flag("--home", options.home, "Do not hide home directories.");
  parser.add_flag("--strace", options.strace, "Print the program's system calls as strace(1) does.");
  parser
      .add_option("--log", options.log,
                  "Append messages and --strace's output to FILE instead of standard error.")
      ->type_name("FILE");
  add_platform_option(parser, options.platform, "How system calls are intercepted; default: trap.");
}

Outcome<int> run(const Options& options, const std::array<int, 3>& stdio) {
  ForegroundOptions foreground;
  foreground.stdio = stdio;
  foreground.memory_limit_text = options.memory;
  if (!options.timeout.empty()) foreground.timeout = TRY(parse_seconds("--timeout", options.timeout));
  sentry::Fd log;
  SandboxPlan plan = TRY(Planner(options).plan());
  if (!options.log.empty()) {
    log = sentry::Fd(::open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
    if (!log) return system_failure(errno, "--log {}", options.log);
    plan.log_fd = log.get();
  }
  return run_in_foreground(std::move(plan), std::move(foreground));
}

}  // namespace

int do_verb(const std::vector<std::string>& arguments) {
  const std::array<int, 3> stdio = inherited_stdio();
  Options options;
  CLI::App parser;
  parser.set_help_flag("--help", "Show this page.");
  declare(parser, options);
  // The first word that is not an option is the program; all behind it is its own.
  parser.prefix_command();
  if (const std::optional<int> status = parse(parser, kManual, arguments)) return *status;
  options.program = parser.remaining();
  if (!options.program.empty() && options.program[0] == "--")
    options.program.erase(options.program.begin());
  else if (!options.program.empty() && options.program[0].starts_with('-'))
    return report(failure("there is no option {} (`bulkhead do --help` shows them)", options.program[0]));
  if (options.program.empty())
    return report(failure("no program given: bulkhead do [OPTION]... -- PROGRAM [ARGUMENT]..."));
  const Outcome<int> status = run(options, stdio);
  return status ? *status : report(status.error());
}

}  // namespace runtime
