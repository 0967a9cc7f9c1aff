// Processes: fork, exec, exit, wait, groups and sessions, limits, prctl.
#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

#include "sentry/kernel/clone.h"
#include "sentry/kernel/exec.h"
#include "sentry/kernel/exit.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timers.h"
#include "sentry/syscalls/debug.h"
#include "sentry/syscalls/file.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/place.h"
#include "sentry/syscalls/process_vm.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

using kernel::CloneRequest;
using kernel::ThreadGroup;
using mm::kGuestEnd;

Result<pid_t> sys_clone(Task& task, CloneFlags flags, CloneStack stack, CloneParentTid parent_tid,
                        CloneChildTid child_tid, CloneTls tls) {
  CloneRequest request;
  request.exit_signal = flags & 0xff;
  request.flags = static_cast<unsigned>(flags.value) & ~0xffu;
  if ((request.flags & CLONE_PIDFD) != 0 && (request.flags & CLONE_PARENT_SETTID) != 0) return Errno(EINVAL);
  request.stack = stack.address();
  request.parent_tid = parent_tid.address();
  request.pidfd = parent_tid.address();
  request.child_tid = child_tid.address();
  request.tls = tls;
  if ((request.flags & CLONE_SETTLS) != 0 && tls >= kGuestEnd) return Errno(EPERM);
  return kernel::clone(task, request);
}

Result<pid_t> sys_clone3(Task& task, CloneArguments arguments, uint64_t size) {
  if (size < CLONE_ARGS_SIZE_VER0) return Errno(EINVAL);
  if (size > mm::kPageSize) return Errno(E2BIG);
  std::vector<uint8_t> raw(static_cast<size_t>(size));
  TRY(task.memory().read(arguments.address(), raw.data(), raw.size()));
  clone_args args{};
  for (size_t i = sizeof args; i < raw.size(); ++i)
    if (raw[i] != 0) return Errno(E2BIG);
  std::memcpy(&args, raw.data(), std::min(raw.size(), sizeof args));
  constexpr uint64_t kAllFlags = 0xffffffff | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
  constexpr uint64_t kNewTime =
      0x80;  // CLONE_NEWTIME: among the bits of clone(2)'s signal, which are none here
  if ((args.flags & ~kAllFlags) != 0 || (args.flags & (0xff & ~kNewTime)) != 0 ||
      (args.flags & CLONE_DETACHED) != 0)
    return Errno(EINVAL);
  const bool into_cgroup = (args.flags & CLONE_INTO_CGROUP) != 0;
  if (into_cgroup && (size < CLONE_ARGS_SIZE_VER2 || args.cgroup > INT32_MAX)) return Errno(EINVAL);
  if (args.exit_signal > kernel::kSignals) return Errno(EINVAL);
  if ((args.flags & (CLONE_THREAD | CLONE_PARENT)) != 0 && args.exit_signal != 0) return Errno(EINVAL);
  if ((args.stack == 0) != (args.stack_size == 0)) return Errno(EINVAL);
  if (args.stack > kGuestEnd || args.stack_size > kGuestEnd - args.stack) return Errno(EINVAL);
  if (into_cgroup) {
    const vfs::FileRef place = TRY(task.fds().get(static_cast<int>(args.cgroup)));
    // The cgroups that a guest sees are the container's own, and nothing can be moved between them.
    const bool cgroup = place->inode() != nullptr && place->inode()->is_directory() &&
                        std::string_view(place->inode()->superblock().type()) == "cgroup2";
    return Errno(cgroup ? EOPNOTSUPP : EBADF);
  }
  CloneRequest request;
  request.flags = args.flags;
  request.exit_signal = static_cast<int>(args.exit_signal);
  request.stack = args.stack == 0 ? 0 : args.stack + args.stack_size;
  request.parent_tid = args.parent_tid;
  request.child_tid = args.child_tid;
  request.pidfd = args.pidfd;
  request.tls = args.tls;
  if ((request.flags & CLONE_SETTLS) != 0 && args.tls >= kGuestEnd) return Errno(EPERM);
  if (args.set_tid_size > 1) return Errno(EINVAL);
  if ((args.set_tid == 0) != (args.set_tid_size == 0)) return Errno(EINVAL);
  if (args.set_tid_size == 1) {
    if (!task.credentials->capable(CAP_SYS_ADMIN)) return Errno(EPERM);
    request.set_tid = TRY(task.memory().read(GuestPtr<const pid_t>(args.set_tid)));
    if (request.set_tid <= 0) return Errno(EINVAL);
  }
  return kernel::clone(task, request);
}

Result<pid_t> sys_fork(Task& task) {
  CloneRequest request;
  request.exit_signal = SIGCHLD;
  return kernel::clone(task, request);
}

Result<pid_t> sys_vfork(Task& task) {
  CloneRequest request;
  request.flags = CLONE_VM | CLONE_VFORK;
  request.exit_signal = SIGCHLD;
  return kernel::clone(task, request);
}

// A null-terminated array of strings. An absent array counts as empty, as Linux has it.
Result<std::vector<std::string>> read_strings(Task& task, GuestPtr<const uint64_t> array) {
  constexpr size_t kMaxStrings = 0x7fff'ffff / 8, kMaxTotal = 8 << 20, kMaxString = 32 * mm::kPageSize;
  std::vector<std::string> strings;
  if (!array) return strings;
  size_t total = 0;
  for (size_t i = 0; i < kMaxStrings; ++i) {
    const uint64_t address = TRY(task.memory().read(array.at(i)));
    if (address == 0) return strings;
    Result<std::string> text = task.memory().read_string(address, kMaxString);
    if (!text.ok()) return Errno(text.is(ENAMETOOLONG) ? E2BIG : text.error().value());
    total += text->size() + 9;
    if (total > kMaxTotal) return Errno(E2BIG);
    strings.push_back(std::move(*text));
  }
  return Errno(E2BIG);
}

Result<> execute(Task& task, int directory, GuestPath path, GuestPtr<const uint64_t> argv,
                 GuestPtr<const uint64_t> envp, int flags) {
  kernel::ExecRequest request;
  request.filename = TRY(read_path(task, path));
  const bool empty = (flags & AT_EMPTY_PATH) != 0;
  if (request.filename.empty() && !empty) return Errno(ENOENT);
  if ((flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) != 0) return Errno(EINVAL);
  const vfs::Caller caller = TRY(caller_at(task, directory, request.filename));
  request.file = TRY(kernel::open_executable(task, caller.start, request.filename,
                                             (flags & AT_SYMLINK_NOFOLLOW) == 0, empty));
  if (directory != AT_FDCWD && !request.filename.starts_with('/')) {
    const std::string name = "/dev/fd/" + std::to_string(directory);
    request.filename = request.filename.empty() ? name : name + "/" + request.filename;
  }
  request.args = TRY(read_strings(task, argv));
  request.env = TRY(read_strings(task, envp));
  TRY(kernel::exec(task, std::move(request)));
  kernel::mark_registers_replaced(task);
  return {};
}

Result<> sys_execve(Task& task, GuestPath path, ArgumentStrings argv, EnvironmentStrings envp) {
  return execute(task, AT_FDCWD, path, argv, envp, 0);
}

Result<> sys_execveat(Task& task, FdNumber dirfd, GuestPath path, ArgumentStrings argv,
                      EnvironmentStrings envp, Flags<kAtNames> flags) {
  return execute(task, dirfd.value, path, argv, envp, flags);
}

Result<NoReturn> sys_exit(Task& task, int code) {
  kernel::exit_task(task, code);
  return NoReturn{};
}
Result<NoReturn> sys_exit_group(Task& task, int code) {
  kernel::exit_group(*task.group, (code & 0xff) << 8);
  return NoReturn{};
}

kernel::WaitRequest wait_request(pid_t pid, int options) {
  kernel::WaitRequest request;
  using Which = kernel::WaitRequest::Which;
  request.which = pid == -1  ? Which::kAny
                  : pid == 0 ? Which::kSelfGroup
                  : pid < 0  ? Which::kGroup
                             : Which::kPid;
  request.id = pid < 0 ? -pid : pid;
  request.options = options;
  return request;
}

Result<pid_t> sys_wait4(Task& task, pid_t pid, OutWaitStatus status, Flags<kWaitNames> options,
                        GuestPtr<rusage> usage) {
  constexpr int kAllowed =
      WNOHANG | WUNTRACED | WCONTINUED | static_cast<int>(__WCLONE) | __WALL | __WNOTHREAD;
  if ((options & ~kAllowed) != 0) return Errno(EINVAL);
  if (pid == INT32_MIN) return Errno(ESRCH);
  const kernel::WaitAnswer answer = TRY(kernel::wait_for_child(task, wait_request(pid, options | WEXITED)));
  if (answer.pid == 0) return 0;
  if (status) TRY(task.memory().write(status, answer.status));
  if (usage) TRY(task.memory().write(usage, answer.usage));
  return answer.pid;
}

// waitid(2) that has nothing to tell: Linux clears what it would have told in, and says EFAULT where it
// cannot.
Result<> unanswered(Task& task, GuestPtr<kernel::SignalInfo> info, Errno error) {
  constexpr size_t kTold = 28;  // up to si_status
  const std::array<std::byte, kTold> nothing{};
  if (info && error.value() < kErestartSys) TRY(task.memory().write(info.address(), nothing.data(), kTold));
  return error;
}

Result<> sys_waitid(Task& task, Choice<kWaitIdNames> type, pid_t id, GuestPtr<kernel::SignalInfo> info,
                    Flags<kWaitNames> options, GuestPtr<rusage> usage) {
  constexpr int kWanted = WEXITED | WSTOPPED | WCONTINUED;
  constexpr int kAllowed = WNOHANG | WNOWAIT | kWanted | static_cast<int>(__WCLONE) | __WALL | __WNOTHREAD;
  if ((options & ~kAllowed) != 0 || (options & kWanted) == 0) return unanswered(task, info, Errno(EINVAL));
  kernel::WaitRequest request;
  request.options = options;
  request.id = id;
  using Which = kernel::WaitRequest::Which;
  switch (type) {
    case P_ALL:
      request.which = Which::kAny;
      break;
    case P_PID:
      if (id <= 0) return unanswered(task, info, Errno(EINVAL));
      request.which = Which::kPid;
      break;
    case P_PGID:
      if (id < 0) return unanswered(task, info, Errno(EINVAL));
      request.which = id == 0 ? Which::kSelfGroup : Which::kGroup;
      break;
    case P_PIDFD: {
      const vfs::FileRef file = TRY(task.fds().get(id));
      const Result<pid_t> pid = file->pidfd_process();
      if (!pid.ok()) return Errno(EBADF);
      request.which = Which::kPid;
      request.id = *pid;
      if (file->nonblocking()) request.options |= WNOHANG;
      break;
    }
    default:
      return unanswered(task, info, Errno(EINVAL));
  }
  const Result<kernel::WaitAnswer> waited = kernel::wait_for_child(task, request);
  if (!waited.ok()) return unanswered(task, info, waited.error());
  const kernel::WaitAnswer& answer = *waited;
  if (answer.pid == 0 && type == P_PIDFD && (options & WNOHANG) == 0) return Errno(EAGAIN);
  if (info) {
    kernel::SignalInfo out = kernel::make_signal(0, 0);
    if (answer.pid != 0) {
      out = kernel::make_signal(SIGCHLD, answer.code, answer.pid, answer.uid);
      out.si_status = WIFEXITED(answer.status)     ? WEXITSTATUS(answer.status)
                      : WIFSIGNALED(answer.status) ? WTERMSIG(answer.status)
                      : WIFSTOPPED(answer.status)  ? WSTOPSIG(answer.status)
                                                   : SIGCONT;
      if (answer.code == CLD_TRAPPED) out.si_status = answer.status >> 8;  // with the event
    }
    TRY(task.memory().write(info, out));
  }
  if (usage && answer.pid != 0) TRY(task.memory().write(usage, answer.usage));
  return {};
}

// ---- ids, groups, sessions

Result<pid_t> sys_getpid(Task& task) { return task.group->id; }
Result<pid_t> sys_gettid(Task& task) { return task.tid; }
Result<pid_t> sys_getppid(Task& task) { return task.group->parent == nullptr ? 0 : task.group->parent->id; }

Result<ThreadGroup*> group_of(Task& task, pid_t pid) {
  if (pid == 0) return task.group.get();
  if (pid < 0) return Errno(ESRCH);
  ThreadGroup* group = task.kernel.find_group(pid);
  if (group == nullptr) {
    Task* other = task.kernel.find_task(pid);
    if (other == nullptr) return Errno(ESRCH);
    group = other->group.get();
  }
  return group;
}

Result<pid_t> sys_getpgid(Task& task, pid_t pid) {
  ThreadGroup* group = TRY(group_of(task, pid));
  if (group->process_group == nullptr) return Errno(ESRCH);
  return group->process_group->id;
}
Result<pid_t> sys_getpgrp(Task& task) { return task.group->process_group->id; }
Result<pid_t> sys_getsid(Task& task, pid_t pid) {
  ThreadGroup* group = TRY(group_of(task, pid));
  if (group->process_group == nullptr) return Errno(ESRCH);
  return group->process_group->session->id;
}

void move_to_group(ThreadGroup& group, std::shared_ptr<kernel::ProcessGroup> target) {
  group.process_group->members.erase(&group);
  group.process_group = std::move(target);
  group.process_group->members.insert(&group);
}

Result<> sys_setpgid(Task& task, pid_t pid, pid_t pgid) {
  if (pgid < 0) return Errno(EINVAL);
  ThreadGroup* target = task.group.get();
  if (pid != 0 && pid != task.group->id) {
    target = task.kernel.find_group(pid);
    if (pid < 0 || target == nullptr) return Errno(ESRCH);
  }
  if (pgid == 0) pgid = target->id;
  if (target != task.group.get()) {
    if (target->parent != task.group.get()) return Errno(ESRCH);
    if (target->process_group->session != task.group->process_group->session) return Errno(EPERM);
    if (target->has_executed) return Errno(EACCES);
  }
  const auto session = target->process_group->session;
  if (session->leader == target) return Errno(EPERM);
  auto group = task.kernel.find_process_group(pgid);
  if (pgid != target->id) {
    if (group == nullptr || group->members.empty() || group->session != session) return Errno(EPERM);
  } else if (group == nullptr) {
    group = task.kernel.make_process_group(pgid, session);
  }
  if (group != target->process_group) move_to_group(*target, group);
  return {};
}

Result<pid_t> sys_setsid(Task& task) {
  ThreadGroup& group = *task.group;
  const auto existing = task.kernel.find_process_group(group.id);
  if (group.process_group->id == group.id || (existing != nullptr && !existing->members.empty()))
    return Errno(EPERM);
  auto session = std::make_shared<kernel::Session>();
  session->id = group.id;
  session->leader = &group;
  move_to_group(group, task.kernel.make_process_group(group.id, session));
  return group.id;
}

// ---- limits and accounts

Result<> set_limit(Task& task, ThreadGroup& group, int resource, const rlimit& wanted) {
  rlimit& now = group.limits[static_cast<size_t>(resource)];
  if (wanted.rlim_cur > wanted.rlim_max) return Errno(EINVAL);
  if (resource == RLIMIT_NOFILE && wanted.rlim_max > vfs::FdTable::kMaximum) return Errno(EPERM);
  if (wanted.rlim_max > now.rlim_max && !task.credentials->capable(CAP_SYS_RESOURCE)) return Errno(EPERM);
  now = wanted;
  if (resource == RLIMIT_CPU) {
    if (group.cpu_limit == nullptr)
      group.cpu_limit = std::make_unique<kernel::CpuLimit>(group);
    else
      group.cpu_limit->update();
  }
  for (Task* member : group.tasks) {
    if (member->memory_map == nullptr) continue;
    mm::AddressSpaceMap::Limits limits = member->memory().limits();
    limits.address_space = group.limit(RLIMIT_AS);
    limits.data = group.limit(RLIMIT_DATA);
    limits.stack = group.limit(RLIMIT_STACK);
    limits.memlock = group.limit(RLIMIT_MEMLOCK);
    member->memory().set_limits(limits);
    break;
  }
  return {};
}

Result<> sys_getrlimit(Task& task, Choice<kLimitNames> resource, GuestPtr<rlimit> out) {
  if (resource < 0 || resource >= RLIM_NLIMITS) return Errno(EINVAL);
  return task.memory().write(out, task.group->limits[static_cast<size_t>(resource)]);
}
Result<> sys_setrlimit(Task& task, Choice<kLimitNames> resource, GuestPtr<const rlimit> in) {
  const rlimit wanted = TRY(task.memory().read(in));
  if (resource < 0 || resource >= RLIM_NLIMITS) return Errno(EINVAL);
  return set_limit(task, *task.group, resource, wanted);
}
Result<> sys_prlimit64(Task& task, pid_t pid, Choice<kLimitNames> resource, GuestPtr<const rlimit> in,
                       GuestPtr<rlimit> out) {
  rlimit wanted{};
  if (in) wanted = TRY(task.memory().read(in));
  ThreadGroup* group = TRY(group_of(task, pid));
  if (group != task.group.get() && !task.credentials->capable(CAP_SYS_RESOURCE)) {
    const Task* other = group->any_task();
    if (other == nullptr) return Errno(ESRCH);
    const vfs::Credentials &mine = *task.credentials, &its = *other->credentials;
    if (mine.uid != its.uid || mine.uid != its.euid || mine.uid != its.suid || mine.gid != its.gid ||
        mine.gid != its.egid || mine.gid != its.sgid)
      return Errno(EPERM);
  }
  if (resource < 0 || resource >= RLIM_NLIMITS) return Errno(EINVAL);
  const rlimit old = group->limits[static_cast<size_t>(resource)];
  if (in) TRY(set_limit(task, *group, resource, wanted));
  if (out) TRY(task.memory().write(out, old));
  return {};
}

Result<> sys_getrusage(Task& task, Choice<kUsageNames> who, GuestPtr<rusage> out) {
  rusage usage{};
  switch (who) {
    case RUSAGE_SELF:
      usage = kernel::usage_of(*task.group);
      break;
    case RUSAGE_CHILDREN:
      usage = task.group->children_usage;
      break;
    case RUSAGE_THREAD:
      usage = task.usage();
      break;
    default:
      return Errno(EINVAL);
  }
  return task.memory().write(out, usage);
}

struct GuestTimes {
  int64_t user, system, children_user, children_system;
};
Result<int64_t> sys_times(Task& task, GuestPtr<GuestTimes> out) {
  const auto ticks = [](const timeval& time) { return time.tv_sec * 100 + time.tv_usec / 10'000; };
  if (out) {
    const rusage own = kernel::usage_of(*task.group);
    const rusage& children = task.group->children_usage;
    TRY(task.memory().write(out, GuestTimes{ticks(own.ru_utime), ticks(own.ru_stime),
                                            ticks(children.ru_utime), ticks(children.ru_stime)}));
  }
  return monotonic_now() / (kSecond / 100);
}

// ---- set_tid_address, robust lists, TLS

Result<pid_t> sys_set_tid_address(Task& task, GuestPtr<void> address) {
  task.clear_child_tid = address.address();
  return task.tid;
}

Result<> sys_arch_prctl(Task& task, Choice<kArchPrctlNames> code, GuestPtr<void> place) {
  const uint64_t address = place.address();
  switch (code) {
    case ARCH_SET_FS:
      if (address >= kGuestEnd) return Errno(EPERM);
      task.registers().fs_base = address;
      return {};
    case ARCH_SET_GS:
      if (address >= kGuestEnd) return Errno(EPERM);
      task.registers().gs_base = address;
      return {};
    case ARCH_GET_FS:
      return task.memory().write(GuestPtr<uint64_t>(address), task.registers().fs_base);
    case ARCH_GET_GS:
      return task.memory().write(GuestPtr<uint64_t>(address), task.registers().gs_base);
    default:
      return Errno(EINVAL);
  }
}

// ---- prctl(2)

Result<int> sys_prctl(Task& task, Choice<kPrctlNames> option, PrctlArgument arg2, PrctlArgument arg3,
                      PrctlArgument arg4, PrctlArgument arg5) {
  const auto replace = [&](auto change) {
    auto next = std::make_shared<vfs::Credentials>(*task.credentials);
    change(*next);
    task.credentials = std::move(next);
  };
  switch (option) {
    case PR_SET_NAME: {
      char name[16]{};
      const Result<std::string> text = task.memory().read_string(arg2, 16);
      if (text.ok()) {
        task.comm = *text;
      } else if (text.is(ENAMETOOLONG)) {
        TRY(task.memory().read(arg2, name, 15));
        task.comm = std::string(name, 15);
      } else {
        return text.error();
      }
      return 0;
    }
    case PR_GET_NAME: {
      char name[16]{};
      task.comm.copy(name, 15);
      TRY(task.memory().write(arg2, name, sizeof name));
      return 0;
    }
    case PR_SET_PDEATHSIG:
      if (arg2 > kernel::kSignals) return Errno(EINVAL);
      task.parent_death_signal = static_cast<int>(arg2);
      return 0;
    case PR_GET_PDEATHSIG:
      TRY(task.memory().write(GuestPtr<int>(arg2), task.parent_death_signal));
      return 0;
    case PR_SET_DUMPABLE:
      if (arg2 > 1) return Errno(EINVAL);
      task.memory().dumpable = arg2 != 0;
      return 0;
    case PR_GET_DUMPABLE:
      return task.memory().dumpable ? 1 : 0;
    case PR_SET_NO_NEW_PRIVS:
      if (arg2 != 1 || arg3 != 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
      replace([](vfs::Credentials& next) { next.no_new_privs = true; });
      return 0;
    case PR_GET_NO_NEW_PRIVS:
      if (arg2 != 0 || arg3 != 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
      return task.credentials->no_new_privs ? 1 : 0;
    case PR_SET_CHILD_SUBREAPER:
      task.group->child_subreaper = arg2 != 0;
      return 0;
    case PR_GET_CHILD_SUBREAPER:
      TRY(task.memory().write(GuestPtr<int>(arg2), task.group->child_subreaper ? 1 : 0));
      return 0;
    case PR_CAPBSET_READ:
      if (arg2 > CAP_LAST_CAP) return Errno(EINVAL);
      return static_cast<int>(task.credentials->cap_bounding >> arg2 & 1);
    case PR_CAPBSET_DROP:
      if (!task.credentials->capable(CAP_SETPCAP)) return Errno(EPERM);
      if (arg2 > CAP_LAST_CAP) return Errno(EINVAL);
      replace([&](vfs::Credentials& next) { next.cap_bounding &= ~(uint64_t{1} << arg2); });
      return 0;
    case PR_GET_SECUREBITS:
      return static_cast<int>(task.credentials->securebits);
    case PR_SET_SECUREBITS:
      if (!task.credentials->capable(CAP_SETPCAP)) return Errno(EPERM);
      if ((arg2 & ~0xffull) != 0) return Errno(EPERM);
      replace([&](vfs::Credentials& next) { next.securebits = static_cast<uint32_t>(arg2); });
      return 0;
    case PR_GET_KEEPCAPS:
      return static_cast<int>(task.credentials->securebits >> 4 & 1);
    case PR_SET_KEEPCAPS:
      if (arg2 > 1) return Errno(EINVAL);
      replace([&](vfs::Credentials& next) {
        next.securebits = (next.securebits & ~(1u << 4)) | static_cast<uint32_t>(arg2) << 4;
      });
      return 0;
    case PR_CAP_AMBIENT: {
      const uint64_t bit = arg3 <= CAP_LAST_CAP ? uint64_t{1} << arg3 : 0;
      switch (arg2) {
        case PR_CAP_AMBIENT_CLEAR_ALL:
          if (arg3 != 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
          replace([](vfs::Credentials& next) { next.cap_ambient = 0; });
          return 0;
        case PR_CAP_AMBIENT_IS_SET:
          if (bit == 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
          return (task.credentials->cap_ambient & bit) != 0 ? 1 : 0;
        case PR_CAP_AMBIENT_RAISE:
          if (bit == 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
          if ((task.credentials->cap_permitted & task.credentials->cap_inheritable & bit) == 0)
            return Errno(EPERM);
          replace([&](vfs::Credentials& next) { next.cap_ambient |= bit; });
          return 0;
        case PR_CAP_AMBIENT_LOWER:
          if (bit == 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
          replace([&](vfs::Credentials& next) { next.cap_ambient &= ~bit; });
          return 0;
        default:
          return Errno(EINVAL);
      }
    }
    case PR_SET_TIMERSLACK:
      task.timer_slack = arg2 == 0 ? 50'000 : arg2.value;
      return 0;
    case PR_GET_TIMERSLACK:
      return static_cast<int>(std::min<uint64_t>(task.timer_slack, INT32_MAX));
    case PR_GET_TIMING:
      return PR_TIMING_STATISTICAL;
    case PR_SET_TIMING:
      return arg2 == PR_TIMING_STATISTICAL ? Result<int>(0) : Errno(EINVAL);
    case PR_GET_SECCOMP:
      return task.seccomp_mode;
    case PR_SET_SECCOMP:
      return set_seccomp_mode(task, arg2, arg3);
    case PR_SET_PTRACER:
      return 0;  // there is no Yama here: whoever may trace by ids may trace
    case PR_GET_TID_ADDRESS:
      TRY(task.memory().write(GuestPtr<uint64_t>(arg2), task.clear_child_tid));
      return 0;
    case PR_SET_THP_DISABLE:
      if (arg3 != 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
      task.memory().huge_pages_disabled = arg2 != 0;
      return 0;
    case PR_GET_THP_DISABLE:
      if (arg2 != 0 || arg3 != 0 || arg4 != 0 || arg5 != 0) return Errno(EINVAL);
      return task.memory().huge_pages_disabled ? 1 : 0;
    case PR_GET_TSC:
      TRY(task.memory().write(GuestPtr<int>(arg2), PR_TSC_ENABLE));
      return 0;
    case PR_SET_TSC:
      return arg2 == PR_TSC_ENABLE ? Result<int>(0) : Errno(EINVAL);
    case PR_MCE_KILL:
      return 0;
    case PR_MCE_KILL_GET:
      return PR_MCE_KILL_DEFAULT;
    default:
      return Errno(EINVAL);
  }
}

Result<uint32_t> sys_personality(Task& task, unsigned persona) {
  constexpr unsigned kQuery = 0xffffffff;
  const uint32_t old = task.personality;
  // Any value is kept, as Linux does; only ADDR_NO_RANDOMIZE has an effect here.
  if (persona != kQuery) task.personality = persona;
  return old;
}

Result<> sys_unshare(Task& task, Flags<kCloneNames> flags) {
  constexpr int kAllowed = CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
  constexpr unsigned kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | 0x80u;
  if ((static_cast<unsigned>(flags.value) & ~(kNamespaces | static_cast<unsigned>(kAllowed))) != 0)
    return Errno(EINVAL);
  if ((static_cast<unsigned>(flags.value) & kNamespaces) != 0) return Errno(EPERM);
  if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) != 0 && task.group->tasks.size() > 1)
    return Errno(EINVAL);
  if ((flags & CLONE_FS) != 0) task.fs_context = std::make_shared<vfs::FsContext>(task.fs());
  if ((flags & CLONE_FILES) != 0) task.fd_table = task.fd_table->clone();
  if ((flags & CLONE_SYSVSEM) != 0) task.semaphore_undo.reset();  // unshare(2): as exit_sem() would
  return {};
}

constexpr Entry kCalls[] = {
    PARTIAL(clone, sys_clone, "no new namespaces"),
    PARTIAL(clone3, sys_clone3, "no new namespaces, no CLONE_INTO_CGROUP"),
    COMPLETE(fork, sys_fork),
    COMPLETE(vfork, sys_vfork),
    COMPLETE(execve, sys_execve),
    COMPLETE(execveat, sys_execveat),
    COMPLETE(exit, sys_exit),
    COMPLETE(exit_group, sys_exit_group),
    COMPLETE(wait4, sys_wait4),
    COMPLETE(waitid, sys_waitid),
    COMPLETE(getpid, sys_getpid),
    COMPLETE(gettid, sys_gettid),
    COMPLETE(getppid, sys_getppid),
    COMPLETE(getpgid, sys_getpgid),
    COMPLETE(getpgrp, sys_getpgrp),
    COMPLETE(getsid, sys_getsid),
    COMPLETE(setpgid, sys_setpgid),
    COMPLETE(setsid, sys_setsid),
    COMPLETE(getrlimit, sys_getrlimit),
    COMPLETE(setrlimit, sys_setrlimit),
    COMPLETE(prlimit64, sys_prlimit64),
    PARTIAL(getrusage, sys_getrusage, "no counts of page faults and involuntary switches"),
    COMPLETE(times, sys_times),
    COMPLETE(set_tid_address, sys_set_tid_address),
    PARTIAL(arch_prctl, sys_arch_prctl, "FS and GS bases"),
    PARTIAL(prctl, sys_prctl, "no PR_SET_MM, PR_TSC_SIGSEGV, speculation and other controls"),
    PARTIAL(personality, sys_personality, "of the flags only ADDR_NO_RANDOMIZE has an effect"),
    PARTIAL(unshare, sys_unshare, "no new namespaces"),
    ABSENT(setns, EPERM, "one sandbox, one set of namespaces"),
    PARTIAL(ptrace, sys_ptrace, "no hardware watchpoints for reads; segment registers stay as they are"),
    COMPLETE(process_vm_readv, sys_process_vm_readv),
    COMPLETE(process_vm_writev, sys_process_vm_writev),
    COMPLETE(kcmp, sys_kcmp),
    PARTIAL(seccomp, sys_seccomp, "no user notification"),
    COMPLETE(landlock_create_ruleset, sys_landlock_create_ruleset),
    COMPLETE(landlock_add_rule, sys_landlock_add_rule),
    COMPLETE(landlock_restrict_self, sys_landlock_restrict_self),
    ABSENT(acct, EPERM, "process accounting is the host's"),
    ABSENT(modify_ldt, ENOSYS, "no 16-bit and 32-bit segments"),
    ABSENT(set_thread_area, ENOSYS, "32-bit only"),
    ABSENT(get_thread_area, ENOSYS, "32-bit only"),
    ABSENT(rseq, ENOSYS, "restartable sequences need the host's scheduler; libc does without"),
};

}  // namespace

std::span<const Entry> process_calls() { return kCalls; }

}  // namespace sentry::syscalls
