#include "sentry/init/first_process.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include "sentry/fs/host/host_file.h"
#include "sentry/kernel/exec.h"
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

// What Linux gives to pid 1, where the document says nothing.
void set_limits(kernel::ThreadGroup& group, const boot::Boot& boot) {
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
  for (const boot::Rlimit& limit : boot.process.rlimits)
    if (limit.resource < RLIM_NLIMITS) set(static_cast<int>(limit.resource), limit.soft, limit.hard);
}

// The host's streams where the document names them; the console for the rest.
Result<> install_stdio(kernel::Task& task, const boot::Process& process, fs::tty::Console* console) {
  vfs::FileRef terminal;
  if (console != nullptr) {
    terminal = TRY(console->open(*task.fs().space, task.credentials));
    console->make_controlling(task.group->process_group);
  }
  for (int number = 0; number < 3; ++number) {
    if (process.stdio_fds[number] < 0) {
      if (terminal != nullptr) TRY(task.fds().install_at(number, terminal, false, 3));
      continue;
    }
    vfs::FileRef file =
        TRY(fs::host::make_host_file(task.loop(), Fd(process.stdio_fds[number]), task.credentials));
    TRY(task.fds().install_at(number, std::move(file), false, 3));
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
  const std::string& name = process.args.front();
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

}  // namespace

std::optional<Failure> start_first_process(kernel::Kernel& kernel, const boot::Boot& boot,
                                           fs::tty::Console* console) {
  const boot::Process& process = boot.process;
  if (process.args.empty()) return Failure{EINVAL, "no program is named", 125};
  if (boot.own_init) kernel.make_own_init();
  const pid_t id = *kernel.allocate_tid();
  auto group = std::make_shared<kernel::ThreadGroup>(kernel, id);
  group->handlers = std::make_shared<kernel::SignalHandlers>();
  group->oom_score_adj = process.oom_score_adj;
  auto session = std::make_shared<kernel::Session>();
  session->id = id;
  session->leader = group.get();
  group->process_group = kernel.make_process_group(id, session);
  group->process_group->members.insert(group.get());
  set_limits(*group, boot);
  if (kernel.init() != nullptr) {
    group->parent = kernel.init();
    group->parent->children.push_back(group.get());
  } else {
    kernel.set_init(*group);
    group->protected_init = true;
  }
  kernel.first = group.get();
  kernel.add(group);

  auto task = std::make_unique<kernel::Task>(kernel, id, group);
  group->tasks.push_back(task.get());
  group->leader = task.get();
  kernel.add(*task);
  task->credentials = credentials_of(process);
  task->fd_table = std::make_shared<vfs::FdTable>();
  task->fs_context = std::make_shared<vfs::FsContext>();
  task->fs_context->space = kernel.mount_space;
  task->fs_context->root = task->fs_context->cwd = kernel.mount_space->root();
  task->fs_context->umask = process.umask;
  const auto fail = [&](Errno error, std::string what) {
    std::erase(group->tasks, task.get());
    group->leader = nullptr;
    kernel.remove(*task);
    return Failure{error.value(), std::move(what), 125};
  };
  vfs::WalkOptions walk;
  walk.directory = true;
  const auto cwd =
      vfs::walk(*task->fs_context, *task->credentials, task->fs_context->root, process.cwd, walk);
  if (!cwd.ok()) return fail(cwd.error(), fmt::format("working directory {}", process.cwd));
  task->fs_context->cwd = cwd->path;
  const Result<> stdio = install_stdio(*task, process, console);
  if (!stdio.ok()) return fail(stdio.error(), "standard streams");

  kernel::ExecRequest request;
  auto file = find_program(*task, process, request.filename);
  if (!file.ok()) {
    Failure failure = fail(file.error(), process.args.front());
    failure.status = file.is(ENOENT) || file.is(ENOTDIR) ? 127 : 126;
    return failure;
  }
  request.file = std::move(*file);
  const std::string program = request.filename;
  request.args = process.args;
  request.env = process.env;
  const vfs::CredentialsRef wanted = task->credentials;
  const Result<> loaded = kernel::exec(*task, std::move(request));
  if (!loaded.ok()) {
    Failure failure =
        fail(loaded.error(), process.args.front() + (loaded.is(ENOENT) ? ": its interpreter" : ""));
    failure.status = 126;
    return failure;
  }
  // What the document says of capabilities is what the program starts with, not what exec would make of it.
  task->credentials = wanted;
  group->has_executed = false;
  if (kernel.observer != nullptr) kernel.observer->started(*task, program, process.args, process.env.size());
  kernel.run(std::move(task));
  return std::nullopt;
}

}  // namespace sentry::init
