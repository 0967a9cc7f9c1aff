#include "sentry/init/program.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include "sentry/fs/host/host_file.h"
#include "sentry/init/home.h"
#include "sentry/init/not_executable.h"
#include "sentry/kernel/exec.h"
#include "sentry/kernel/timers.h"
#include "sentry/vfs/operations.h"

namespace sentry::init {
namespace {

vfs::CredentialsRef credentials_of(const boot::Process& process) {
  auto credentials = std::make_shared<vfs::Credentials>();
  credentials->uid = credentials->euid = credentials->suid = credentials->fsuid = process.uid;
  credentials->gid = credentials->egid = credentials->sgid = credentials->fsgid = process.gid;
  credentials->groups.assign(process.additional_gids.begin(), process.additional_gids.end());
  credentials->cap_bounding = process.cap_bounding;
  credentials->cap_effective = process.cap_effective;
  credentials->cap_permitted = process.cap_permitted;
  credentials->cap_inheritable = process.cap_inheritable;
  credentials->cap_ambient = process.cap_ambient;
  credentials->no_new_privs = process.no_new_privs;
  return credentials;
}

// user_namespaces(7): nobody is somebody whom the container does not map.
std::optional<Failure> check_ids(const ProgramRequest& request) {
  const kernel::Kernel& kernel = request.kernel;
  const boot::Process& process = request.process;
  const auto unmapped = [&](const char* field, uint32_t id, const char* mappings) {
    return Failure{EINVAL,
                   fmt::format("{}process.user.{}: {} is not in linux.{}",
                               request.first ? "config.json: " : "", field, id, mappings),
                   125};
  };
  if (!boot::has_id(kernel.uid_mappings, process.uid)) return unmapped("uid", process.uid, "uidMappings");
  if (!boot::has_id(kernel.gid_mappings, process.gid)) return unmapped("gid", process.gid, "gidMappings");
  for (const uint32_t gid : process.additional_gids)
    if (!boot::has_id(kernel.gid_mappings, gid)) return unmapped("additionalGids", gid, "gidMappings");
  return std::nullopt;
}

// What Linux gives to pid 1, where the document says nothing.
void set_limits(kernel::ThreadGroup& group, const boot::Process& process) {
  const auto set = [&](int resource, rlim_t soft, rlim_t hard) {
    group.limits[static_cast<size_t>(resource)] = {soft, hard};
  };
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) set(resource, RLIM_INFINITY, RLIM_INFINITY);
  set(RLIMIT_STACK, 8 << 20, RLIM_INFINITY);
  set(RLIMIT_CORE, 0, RLIM_INFINITY);
  set(RLIMIT_NOFILE, 1024, 1 << 20);
  set(RLIMIT_NPROC, group.kernel.max_tasks, group.kernel.max_tasks);
  set(RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
  set(RLIMIT_SIGPENDING, 65536, 65536);
  set(RLIMIT_MSGQUEUE, 819200, 819200);
  set(RLIMIT_NICE, 0, 0);
  set(RLIMIT_RTPRIO, 0, 0);
  for (const boot::Rlimit& limit : process.rlimits)
    if (limit.resource < RLIM_NLIMITS) set(static_cast<int>(limit.resource), limit.soft, limit.hard);
  if (group.limits[RLIMIT_CPU].rlim_cur != RLIM_INFINITY)
    group.cpu_limit = std::make_unique<kernel::CpuLimit>(group);
}

// The host's streams where the document names them; the console for the rest.
Result<> install_stdio(kernel::Task& task, const ProgramRequest& request) {
  const boot::Process& process = request.process;
  fs::tty::Console* const console = request.console;
  vfs::FileRef terminal;
  if (console != nullptr) {
    terminal = TRY(console->open(*task.fs().space, task.credentials));
    console->make_controlling(task.group->process_group);
  }
  for (int number = 0; number < 3; ++number) {
    if (process.stdio_fds[number] < 0) {
      if (terminal != nullptr && (process.console_streams >> number & 1) != 0)
        TRY(task.fds().install_at(number, terminal, false, 3));
      continue;
    }
    fs::host::HostIoctl ioctl;
    if ((process.host_terminals >> number & 1) != 0)
      ioctl = [host = request.host_terminal](mm::AddressSpaceMap& memory, unsigned what, uint64_t argument) {
        return host->ioctl(memory, what, argument);
      };
    vfs::FileRef file =
        TRY(fs::host::make_host_file(task.loop(), Fd(process.stdio_fds[number]), process.stdio_flags[number],
                                     task.credentials, std::move(ioctl)));
    TRY(task.fds().install_at(number, std::move(file), false, 3));
  }
  if (process.more_flags.size() != process.more_fds.size()) return Errno(EINVAL);
  for (size_t i = 0; i < process.more_fds.size(); ++i) {
    const int number = 3 + static_cast<int>(i);
    vfs::FileRef file = TRY(fs::host::make_host_file(task.loop(), Fd(process.more_fds[i]),
                                                     process.more_flags[i], task.credentials));
    TRY(task.fds().install_at(number, std::move(file), false, static_cast<uint64_t>(number) + 1));
  }
  return {};
}

std::string variable(const std::vector<std::string>& env, std::string_view name) {
  for (const std::string& entry : env)
    if (entry.size() > name.size() && entry.compare(0, name.size(), name) == 0 && entry[name.size()] == '=')
      return entry.substr(name.size() + 1);
  return {};
}

// The program as a shell finds it: by PATH if its name has no slash. ENOENT if nowhere; EACCES if only as
// something that cannot be executed.
Result<vfs::FileRef> find_program(kernel::Task& task, const boot::Process& process, std::string& path) {
  const std::string& name = process.path.empty() ? process.args.front() : process.path;
  if (name.find('/') != std::string::npos) {
    path = name;
    return kernel::open_executable(task, task.fs().cwd, path);
  }
  if (name.empty()) return Errno(ENOENT);
  std::string search = variable(process.env, "PATH");
  if (search.empty()) search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  int error = ENOENT;
  for (size_t start = 0; start <= search.size();) {
    const size_t colon = std::min(search.find(':', start), search.size());
    const std::string directory = search.substr(start, colon - start);
    path = (directory.empty() ? "." : directory) + "/" + name;
    auto file = kernel::open_executable(task, task.fs().cwd, path);
    if (file.ok()) return file;
    if (!file.is(ENOENT) && !file.is(ENOTDIR)) error = file.error().value();
    start = colon + 1;
  }
  path = name;
  return Errno(error);
}

// The process, with a session of its own; a pid 1 or a child of the container's own init, else without a
// parent, as what enters a pid namespace from outside.
std::shared_ptr<kernel::ThreadGroup> make_group(const ProgramRequest& request, pid_t id) {
  kernel::Kernel& kernel = request.kernel;
  kernel::Container& container = *request.container;
  auto group = std::make_shared<kernel::ThreadGroup>(kernel, id);
  group->container = request.container;
  group->handlers = std::make_shared<kernel::SignalHandlers>();
  for (int signo = 1; signo <= kernel::kSignals; ++signo)
    if ((request.process.ignored_signals >> (signo - 1) & 1) != 0)
      group->handlers->set_handler(signo, reinterpret_cast<uint64_t>(SIG_IGN));
  group->oom_score_adj = request.process.oom_score_adj;
  auto session = std::make_shared<kernel::Session>();
  session->id = id;
  session->leader = group.get();
  group->process_group = kernel.make_process_group(id, session);
  group->process_group->members.insert(group.get());
  set_limits(*group, request.process);
  if (request.first && container.init == nullptr) {
    container.init = group.get();
    group->protected_init = true;
  } else if (request.first) {
    group->parent = container.init;
    group->parent->children.push_back(group.get());
  }
  if (request.first) container.first = group.get();
  kernel.add(group);
  return group;
}

std::unique_ptr<kernel::Task> make_task(const ProgramRequest& request,
                                        const std::shared_ptr<kernel::ThreadGroup>& group) {
  const boot::Process& process = request.process;
  auto task = std::make_unique<kernel::Task>(request.kernel, group->id, group);
  group->tasks.push_back(task.get());
  group->leader = task.get();
  request.kernel.add(*task);
  task->credentials = credentials_of(process);
  task->fd_table = std::make_shared<vfs::FdTable>();
  task->fs_context = std::make_shared<vfs::FsContext>();
  task->fs_context->space = request.container->mount_space;
  task->fs_context->root = task->fs_context->cwd = request.container->mount_space->root();
  task->fs_context->umask = process.umask;
  task->scheduling.policy = process.scheduling_policy;
  task->scheduling.priority = process.scheduling_priority;
  task->scheduling.nice = process.nice;
  task->scheduling.io_priority = process.io_priority;
  task->personality = process.personality;
  return task;
}

// Takes back what make_group and make_task did.
void discard(const ProgramRequest& request, std::unique_ptr<kernel::Task> task) {
  const std::shared_ptr<kernel::ThreadGroup> group = task->group;
  kernel::Container& container = *request.container;
  std::erase(group->tasks, task.get());
  group->leader = nullptr;
  request.kernel.remove(*task);
  task.reset();
  if (container.first == group.get()) container.first = nullptr;
  if (container.init == group.get()) container.init = nullptr;
  group->dead = true;
  request.kernel.reap(*group);
}

Failure load(kernel::Task& task, const ProgramRequest& request) {
  const boot::Process& process = request.process;
  vfs::WalkOptions walk;
  walk.directory = true;
  const auto cwd = vfs::walk(*task.fs_context, *task.credentials, task.fs_context->root, process.cwd, walk);
  if (!cwd.ok()) return {cwd.error().value(), fmt::format("working directory {}", process.cwd)};
  task.fs_context->cwd = cwd->path;
  const Result<> stdio = install_stdio(task, request);
  if (!stdio.ok()) return {stdio.error().value(), "standard streams"};

  kernel::ExecRequest program;
  auto file = find_program(task, process, program.filename);
  if (!file.ok())
    return {file.error().value(), process.args.front(), file.is(ENOENT) || file.is(ENOTDIR) ? 127 : 126};
  const vfs::FileRef opened = *file;
  program.file = std::move(*file);
  const std::string filename = program.filename;
  program.args = process.args;
  program.env = process.env;
  if (process.find_home && variable(process.env, "HOME").empty()) {
    std::erase_if(program.env, [](const std::string& entry) { return entry.starts_with("HOME="); });
    program.env.push_back("HOME=" + home_of(*task.fs_context, process.uid));
  }
  const Result<> loaded = kernel::exec(task, std::move(program));
  if (!loaded.ok())
    return {loaded.error().value(), process.args.front() + explain_refusal(task, opened, loaded.error()),
            126};
  task.seccomp = request.seccomp;
  if (task.seccomp != nullptr) task.seccomp_mode = SECCOMP_MODE_FILTER;
  task.group->has_executed = false;
  if (request.kernel.observer != nullptr)
    request.kernel.observer->started(task, filename, process.args, process.env.size());
  return {0, ""};
}

}  // namespace

std::unique_ptr<kernel::Task> load_program(const ProgramRequest& request, std::optional<Failure>& failure) {
  if (request.process.args.empty()) {
    failure = Failure{EINVAL, "no program is named"};
    return nullptr;
  }
  failure = check_ids(request);
  if (failure) return nullptr;
  const Result<pid_t> id = request.kernel.allocate_tid();
  if (!id.ok()) {
    failure = Failure{id.error().value(), "making a process"};
    return nullptr;
  }
  auto task = make_task(request, make_group(request, *id));
  Failure result = load(*task, request);
  if (result.error == 0) return task;
  failure = std::move(result);
  discard(request, std::move(task));
  return nullptr;
}

}  // namespace sentry::init
