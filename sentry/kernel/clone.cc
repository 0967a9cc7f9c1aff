#include "sentry/kernel/clone.h"

#include <sched.h>

#include <algorithm>

#include "sentry/base/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/sysv_semaphore.h"
#include "sentry/kernel/timers.h"
#include "sentry/kernel/trace.h"

namespace sentry::kernel {
namespace {

PidfdMaker pidfd_maker = nullptr;

constexpr uint64_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | 0x80 /* CLONE_NEWTIME */;
constexpr uint64_t kClearSighand = 0x100000000ull;

Result<> check(const Task& parent, const CloneRequest& request) {
  const uint64_t flags = request.flags;
  if ((flags & CLONE_SIGHAND) != 0 && (flags & CLONE_VM) == 0) return Errno(EINVAL);
  if ((flags & CLONE_THREAD) != 0 && (flags & CLONE_SIGHAND) == 0) return Errno(EINVAL);
  if ((flags & kClearSighand) != 0 && (flags & CLONE_SIGHAND) != 0) return Errno(EINVAL);
  if ((flags & CLONE_FS) != 0 && (flags & (CLONE_NEWNS | CLONE_NEWUSER)) != 0) return Errno(EINVAL);
  // One sandbox, one set of namespaces: as on a host that forbids them to this user.
  if ((flags & kNewNamespaces) != 0) return Errno(EPERM);
  if ((flags & CLONE_PIDFD) != 0 && (flags & (CLONE_THREAD | CLONE_DETACHED)) != 0) return Errno(EINVAL);
  if ((flags & CLONE_PARENT) != 0 && parent.group->protected_init) return Errno(EINVAL);
  return {};
}

size_t tasks_of_user(const Kernel& kernel, uid_t uid) {
  size_t count = 0;
  for (const auto& [id, group] : kernel.groups())
    for (const Task* task : group->tasks) count += task->credentials->uid == uid;
  return count;
}

std::shared_ptr<ThreadGroup> new_group(Task& parent, pid_t tid, const CloneRequest& request) {
  Kernel& kernel = parent.kernel;
  ThreadGroup& old = *parent.group;
  auto group = std::make_shared<ThreadGroup>(kernel, tid);
  group->limits = old.limits;
  group->oom_score_adj = old.oom_score_adj;
  group->container = old.container;
  group->exit_signal = request.exit_signal;
  group->creator = parent.tid;
  if ((request.flags & CLONE_SIGHAND) != 0) {
    group->handlers = old.handlers;
  } else {
    group->handlers = std::make_shared<SignalHandlers>(*old.handlers);
    if ((request.flags & kClearSighand) != 0) {
      for (int signo = 1; signo <= kSignals; ++signo) {
        if ((*group->handlers)[signo].handler != reinterpret_cast<uint64_t>(SIG_IGN))
          group->handlers->set(signo, SignalAction{});
      }
    }
  }
  ThreadGroup* above = &old;
  if ((request.flags & CLONE_PARENT) != 0) {
    above = old.parent;
    group->exit_signal = old.exit_signal;
  }
  group->parent = above;
  if (above != nullptr) above->children.push_back(group.get());
  group->process_group = old.process_group;
  if (group->process_group != nullptr) group->process_group->members.insert(group.get());
  kernel.add(group);
  if (group->limits[RLIMIT_CPU].rlim_cur != RLIM_INFINITY)
    group->cpu_limit = std::make_unique<CpuLimit>(*group);
  return group;
}

// The host thread of a child that shares memory. One that its parent waits for takes the parent's, unless a
// debugger looks at that.
Result<std::unique_ptr<platform::Context>> context_for(Task& parent, uint64_t flags) {
  platform::AddressSpace& space = parent.memory().platform_space();
  if ((flags & CLONE_VFORK) != 0 && (flags & CLONE_THREAD) == 0 && parent.traced == nullptr) {
    auto lent = space.lend_context(*parent.context);
    if (lent.ok() || !lent.is(EOPNOTSUPP)) return lent;
  }
  return space.add_context(*parent.context);
}

}  // namespace

void set_pidfd_maker(PidfdMaker maker) { pidfd_maker = maker; }

Result<pid_t> clone(Task& parent, const CloneRequest& request) {
  Kernel& kernel = parent.kernel;
  TRY(check(parent, request));
  const uint64_t flags = request.flags;
  const bool thread = (flags & CLONE_THREAD) != 0;
  const uint64_t process_limit = parent.group->limit(RLIMIT_NPROC);
  if (process_limit != RLIM_INFINITY && !parent.credentials->capable(24 /* CAP_SYS_RESOURCE */) &&
      !parent.credentials->capable(21 /* CAP_SYS_ADMIN */) && parent.credentials->uid != 0 &&
      tasks_of_user(kernel, parent.credentials->uid) >= process_limit)
    return Errno(EAGAIN);
  pid_t tid = 0;
  if (request.set_tid != 0) {
    if (kernel.find_task(request.set_tid) != nullptr || kernel.find_group(request.set_tid) != nullptr)
      return Errno(EEXIST);
    tid = request.set_tid;
  } else {
    tid = TRY(kernel.allocate_tid());
  }

  // The host's part first: nothing to undo if it refuses.
  std::shared_ptr<mm::AddressSpaceMap> memory;
  std::unique_ptr<platform::Context> context;
  const platform::Registers inherited = parent.registers();
  if ((flags & CLONE_VM) != 0) {
    memory = parent.memory_map;
    context = TRY(context_for(parent, flags));
  } else {
    mm::AddressSpaceMap::Forked forked = TRY(parent.memory().fork(*parent.context));
    memory = std::move(forked.map);
    context = std::move(forked.context);
  }
  // That took a while. Who ends this task meanwhile (another thread's exec) knows nothing of one more.
  if (parent.exited || parent.group->exiting) return Errno(kErestartNoIntr);
  if (request.set_tid != 0 && (kernel.find_task(tid) != nullptr || kernel.find_group(tid) != nullptr))
    return Errno(EEXIST);

  const std::shared_ptr<ThreadGroup> group = thread ? parent.group : new_group(parent, tid, request);
  auto child = std::make_unique<Task>(kernel, tid, group);
  group->tasks.push_back(child.get());
  if (!thread) group->leader = child.get();
  platform::Registers& registers = child->registers();
  registers = inherited;
  registers.rax = 0;
  registers.orig_rax = ~uint64_t{0};
  if (request.stack != 0) registers.rsp = request.stack;
  if ((flags & CLONE_SETTLS) != 0) registers.fs_base = request.tls;
  child->context = std::move(context);
  child->memory_map = std::move(memory);
  child->fd_table = (flags & CLONE_FILES) != 0 ? parent.fd_table : parent.fd_table->clone();
  child->fs_context =
      (flags & CLONE_FS) != 0 ? parent.fs_context : std::make_shared<vfs::FsContext>(*parent.fs_context);
  child->credentials = parent.credentials;
  child->comm = parent.comm;
  child->mask = parent.saved_mask ? *parent.saved_mask : parent.mask;
  child->timer_slack = parent.timer_slack;
  child->personality = parent.personality;
  child->scheduling = parent.scheduling.inherited();
  child->seccomp_mode = parent.seccomp_mode;
  child->seccomp = parent.seccomp;
  if ((flags & CLONE_SYSVSEM) != 0) {
    if (parent.semaphore_undo == nullptr)
      parent.semaphore_undo = std::make_shared<SemaphoreUndo>(kernel.ipc->semaphores, parent.group->id);
    child->semaphore_undo = parent.semaphore_undo;
  }
  // sigaltstack(2): a child that shares memory has none, but vfork's keeps it.
  if ((flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM) child->alt_stack = parent.alt_stack;
  if ((flags & CLONE_CHILD_CLEARTID) != 0) child->clear_child_tid = request.child_tid;
  if ((flags & CLONE_CHILD_SETTID) != 0)
    (void)child->memory().write(mm::GuestPtr<int32_t>(request.child_tid), tid);
  if ((flags & CLONE_PARENT_SETTID) != 0)
    (void)parent.memory().write(mm::GuestPtr<int32_t>(request.parent_tid), tid);
  if ((flags & CLONE_PIDFD) != 0 && pidfd_maker != nullptr) {
    const Result<int> fd = pidfd_maker(parent, *group);
    if (fd.ok()) (void)parent.memory().write(mm::GuestPtr<int32_t>(request.pidfd), *fd);
  }
  std::shared_ptr<Task::VforkGate> gate;
  if ((flags & CLONE_VFORK) != 0) gate = child->vfork_gate = std::make_shared<Task::VforkGate>();

  int event = 0;
  if (parent.traced != nullptr && (flags & CLONE_UNTRACED) == 0) {
    event = (flags & CLONE_VFORK) != 0       ? PTRACE_EVENT_VFORK
            : request.exit_signal != SIGCHLD ? PTRACE_EVENT_CLONE
                                             : PTRACE_EVENT_FORK;
    if ((parent.traced->options >> event & 1) != 0 || (flags & CLONE_PTRACE) != 0)
      trace_child(parent, *child);
  }
  ++kernel.forks;
  kernel.add(*child);
  kernel.run(std::move(child));
  if (event != 0) report_event(parent, event, static_cast<uint64_t>(tid));
  if (gate != nullptr) {
    // Only a fatal signal ends this wait (TASK_KILLABLE).
    FiberWaiter waiter;
    waiter.join(gate->opened);
    Fiber::current()->set_sleeping(true);
    while (!gate->open && !parent.group->exiting && !parent.exited) Fiber::park();
    Fiber::current()->set_sleeping(false);
    report_event(parent, PTRACE_EVENT_VFORK_DONE, static_cast<uint64_t>(tid));
  }
  return tid;
}

}  // namespace sentry::kernel
