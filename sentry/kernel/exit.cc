#include "sentry/kernel/exit.h"

#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "sentry/base/log.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/sysv_semaphore.h"
#include "sentry/kernel/timers.h"
#include "sentry/kernel/trace.h"

namespace sentry::kernel {
namespace {

void add_usage(rusage& sum, const rusage& more) {
  add_time(sum.ru_utime, more.ru_utime);
  add_time(sum.ru_stime, more.ru_stime);
  sum.ru_maxrss = std::max(sum.ru_maxrss, more.ru_maxrss);
  sum.ru_minflt += more.ru_minflt;
  sum.ru_majflt += more.ru_majflt;
  sum.ru_nvcsw += more.ru_nvcsw;
  sum.ru_nivcsw += more.ru_nivcsw;
}

void account(ThreadGroup& group, const Task& task) { add_usage(group.usage, task.usage()); }

// The process that takes in a dead process's children: a living subreaper above it, or pid 1.
ThreadGroup* find_reaper(ThreadGroup& group) {
  for (ThreadGroup* up = group.parent; up != nullptr; up = up->parent)
    if (up->child_subreaper && !up->exiting && !up->dead) return up;
  ThreadGroup* init = group.container->init;
  return init == &group ? nullptr : init;
}

bool wants_no_zombies(const ThreadGroup& parent) {
  if (&parent == parent.container->init && parent.leader == nullptr) return true;  // the sandbox's own pid 1
  const SignalAction& action = (*parent.handlers)[SIGCHLD];
  return action.handler == reinterpret_cast<uint64_t>(SIG_IGN) || (action.flags & SA_NOCLDWAIT) != 0;
}

int child_code(int wait_status) {
  if (WIFEXITED(wait_status)) return CLD_EXITED;
  return WCOREDUMP(wait_status) ? CLD_DUMPED : CLD_KILLED;
}
int child_status(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : WTERMSIG(wait_status);
}

// Tells the parent of a zombie, and reaps it where nobody wants it. A debugger hears of it first.
void announce_death(ThreadGroup& group) {
  if (withhold_from_parent(group)) return;
  ThreadGroup* parent = group.parent;
  if (parent == nullptr) {
    group.kernel.reap(group);
    return;
  }
  const bool automatic = group.exit_signal == SIGCHLD && wants_no_zombies(*parent);
  if (group.exit_signal != 0 && parent->leader != nullptr) {
    SignalInfo info = make_signal(group.exit_signal, child_code(group.wait_status), group.id, group.uid);
    info.si_status = child_status(group.wait_status);
    info.si_utime = group.usage.ru_utime.tv_sec * 100 + group.usage.ru_utime.tv_usec / 10'000;
    parent->send(info);
  }
  if (automatic) group.kernel.reap(group);
  parent->child_events.wake();
}

// A group that just became orphaned and has stopped members gets SIGHUP and SIGCONT (POSIX).
void release_orphaned(ProcessGroup& group, bool was_orphaned) {
  if (was_orphaned || !group.orphaned()) return;
  const bool any_stopped = std::any_of(group.members.begin(), group.members.end(),
                                       [](const ThreadGroup* member) { return member->stopped; });
  if (!any_stopped) return;
  signal_process_group(group, make_signal(SIGHUP));
  signal_process_group(group, make_signal(SIGCONT));
}

void give_away_children(ThreadGroup& group) {
  ThreadGroup* reaper = find_reaper(group);
  while (!group.children.empty()) {
    ThreadGroup* child = group.children.front();
    group.children.pop_front();
    const auto process_group = child->process_group;
    const bool was_orphaned = process_group == nullptr || process_group->orphaned();
    child->parent = reaper;
    if (reaper != nullptr) reaper->children.push_back(child);
    for (Task* task : child->tasks)
      if (task->parent_death_signal != 0)
        task->group->send(make_signal(task->parent_death_signal, SI_USER, group.id));
    for (Task* task : child->tasks) task->kick();  // who answers getppid(2) for it must hear
    if (reaper != nullptr) child->exit_signal = SIGCHLD;
    if (child->dead) {
      announce_death(*child);
    } else if (process_group != nullptr) {
      release_orphaned(*process_group, was_orphaned);
    }
  }
}

void end_session(ThreadGroup& group) {
  const auto process_group = group.process_group;
  if (process_group == nullptr || process_group->session == nullptr) return;
  Session& session = *process_group->session;
  if (session.leader != &group) return;
  session.leader = nullptr;
  const auto terminal = session.terminal;
  if (terminal == nullptr) return;
  if (const auto foreground = terminal->foreground.lock()) {
    signal_process_group(*foreground, make_signal(SIGHUP));
    signal_process_group(*foreground, make_signal(SIGCONT));
  }
  terminal->session.reset();
  terminal->foreground.reset();
  session.terminal.reset();
}

void finish_process(ThreadGroup& group, Task& last) {
  Kernel& kernel = group.kernel;
  group.exiting = true;
  group.dead = true;
  group.stopped = false;
  group.uid = last.credentials->uid;
  group.interval_timers.reset();
  group.posix_timers.reset();
  group.cpu_limit.reset();
  end_session(group);
  const auto process_group = group.process_group;
  const bool was_orphaned = process_group == nullptr || process_group->orphaned();
  give_away_children(group);
  // Zombies that it did not collect as their tracer are now their parents'.
  for (const TracedEnd& end : std::exchange(group.traced_ends, {})) {
    if (end.whole == nullptr) continue;
    end.whole->traced_by.reset();
    announce_death(*end.whole);
  }
  if (process_group != nullptr) release_orphaned(*process_group, was_orphaned);
  group.exit_watchers.wake();
  Container& container = *group.container;
  if (container.first == &group || container.init == &group) {
    // pid_namespaces(7): the end of the first process is the end of all. The sandbox's first container takes
    // the others along.
    if (container.init == &group) container.init = nullptr;
    container.first = nullptr;
    std::vector<std::shared_ptr<Container>> ending{group.container};
    if (group.container == kernel.container)
      for (const auto& [id, other] : kernel.groups()) ending.push_back(other->container);
    for (const auto& each : ending) kernel.kill_all(*each);
  }
  const int status = group.wait_status;
  const auto on_exit = std::exchange(group.on_exit, nullptr);
  group.on_stop = nullptr;
  announce_death(group);
  if (on_exit) on_exit(status);
}

}  // namespace

void exit_task(Task& task, int code) {
  task.exited = true;
  task.exit_code = code;
}

void exit_group(ThreadGroup& group, int wait_status) {
  if (group.exiting || group.dead) return;
  group.exiting = true;
  group.wait_status = wait_status;
  group.stopped = false;
  group.resume.wake();
  for (Task* task : group.tasks) task->kick();
}

void finish_exit(Task& task) {
  const std::shared_ptr<ThreadGroup> group = task.group;
  report_event(task, PTRACE_EVENT_EXIT,
               static_cast<uint64_t>(group->exiting ? group->wait_status : (task.exit_code & 0xff) << 8));
  const int own_status = group->exiting ? group->wait_status : (task.exit_code & 0xff) << 8;
  task.exited = true;
  if (task.kernel.observer != nullptr) task.kernel.observer->ended(task, own_status);
  release_tracees(task);
  account(*group, task);
  if (task.memory_map != nullptr) release_futexes(task);
  if (task.vfork_gate != nullptr) {
    task.context.reset();
    task.open_vfork_gate();
  }
  task.semaphore_undo.reset();
  // The descriptors go before the parent hears: a pipe's reader must see its end by then.
  task.fd_table.reset();
  task.fs_context.reset();
  task.context.reset();
  task.memory_map.reset();
  group->command_line_name = task.comm;
  const bool last = group->tasks.size() == 1;
  if (last && !group->exiting) group->wait_status = (task.exit_code & 0xff) << 8;
  report_end(task, own_status);
  task.kernel.remove(task);
  std::erase(group->tasks, &task);
  if (group->leader == &task) group->leader = nullptr;
  group->exit_watchers.wake();
  if (last) finish_process(*group, task);
}

Result<> end_other_tasks(Task& task) {
  ThreadGroup& group = *task.group;
  if (task.exited || group.exiting) return Errno(kErestartNoIntr);  // another one has been first
  for (Task* other : group.tasks) {
    if (other == &task) continue;
    other->exited = true;
    other->kick();
  }
  while (group.tasks.size() > 1) {
    if (group.exiting) return Errno(kErestartNoIntr);
    FiberWaiter waiter;
    waiter.join(group.exit_watchers);
    Fiber::park();
  }
  return {};
}

rusage usage_of(const ThreadGroup& group) {
  rusage sum = group.usage;
  for (const Task* task : group.tasks) add_usage(sum, task->usage());
  return sum;
}

namespace {

// The tracees of this process's threads: their stops, and the ends that only a tracer hears of.
bool collect_traced(Task& task, const WaitRequest& request, WaitAnswer& answer, bool& candidates) {
  using Which = WaitRequest::Which;
  const auto wanted = [&](pid_t tid, const ThreadGroup* of) {
    switch (request.which) {
      case Which::kAny:
        return true;
      case Which::kPid:
        return tid == request.id;
      case Which::kGroup:
        return of != nullptr && of->process_group != nullptr && of->process_group->id == request.id;
      case Which::kSelfGroup:
        return of != nullptr && of->process_group == task.group->process_group;
    }
    return false;
  };
  for (Task* tracer : task.group->tasks) {
    if ((request.options & __WNOTHREAD) != 0 && tracer != &task) continue;
    for (Task* tracee : tracer->tracees) {
      if (!wanted(tracee->tid, tracee->group.get())) continue;
      candidates = true;
      Traced& traced = *tracee->traced;
      if (!traced.stopped || traced.reported || traced.listening) continue;
      answer.pid = tracee->tid;
      answer.uid = tracee->credentials->uid;
      answer.status = traced.status << 8 | 0x7f;
      answer.code = traced.group_stop ? CLD_STOPPED : CLD_TRAPPED;
      answer.usage = usage_of(*tracee->group);
      if ((request.options & WNOWAIT) == 0) traced.reported = true;
      return true;
    }
  }
  auto& ends = task.group->traced_ends;
  for (auto end = ends.begin(); end != ends.end(); ++end) {
    if (!wanted(end->tid, end->whole.get())) continue;
    candidates = true;
    if ((request.options & WEXITED) == 0) continue;
    answer.pid = end->tid;
    answer.uid = end->uid;
    answer.status = end->wait_status;
    answer.code = child_code(end->wait_status);
    if ((request.options & WNOWAIT) != 0) return true;
    const std::shared_ptr<ThreadGroup> whole = end->whole;
    ends.erase(end);
    if (whole != nullptr) {
      whole->traced_by.reset();
      announce_death(*whole);
    }
    return true;
  }
  // A leader whose threads still run will be heard of.
  for (const auto& [id, group] : task.kernel.groups())
    if (!group->dead && group->traced_by.lock() == task.group && wanted(id, group.get())) candidates = true;
  return false;
}

// Whether a thread of this process traces the child: wait(2) then tells of its stops as a tracee's.
bool traces(const ThreadGroup& group, const ThreadGroup& child) {
  return child.leader != nullptr && child.leader->traced != nullptr &&
         child.leader->traced->tracer->group.get() == &group;
}

bool selects(const Task& task, const WaitRequest& request, const ThreadGroup& child) {
  switch (request.which) {
    case WaitRequest::Which::kAny:
      break;
    case WaitRequest::Which::kPid:
      if (child.id != request.id) return false;
      break;
    case WaitRequest::Which::kGroup:
      if (child.process_group == nullptr || child.process_group->id != request.id) return false;
      break;
    case WaitRequest::Which::kSelfGroup:
      if (child.process_group != task.group->process_group) return false;
      break;
  }
  if ((request.options & __WNOTHREAD) != 0 && child.creator != task.tid) return false;
  if ((request.options & __WALL) != 0 || traces(*task.group, child)) return true;
  const bool clone_child = child.exit_signal != SIGCHLD;
  return clone_child == ((request.options & static_cast<int>(__WCLONE)) != 0);
}

bool collect(Task& task, ThreadGroup& child, int options, WaitAnswer& answer) {
  answer.pid = child.id;
  answer.uid = child.any_task() != nullptr ? child.any_task()->credentials->uid : child.uid;
  if (child.dead) {
    if ((options & WEXITED) == 0) return false;
    answer.status = child.wait_status;
    answer.code = child_code(child.wait_status);
    answer.usage = child.usage;
    add_usage(answer.usage, child.children_usage);
    if ((options & WNOWAIT) == 0) {
      add_usage(task.group->children_usage, answer.usage);
      task.kernel.reap(child);
    }
    return true;
  }
  if (child.stopped && !child.stop_reported && (options & WSTOPPED) != 0) {
    answer.status = child.stop_signal << 8 | 0x7f;
    answer.code = CLD_STOPPED;
    answer.usage = usage_of(child);
    if ((options & WNOWAIT) == 0) child.stop_reported = true;
    return true;
  }
  if (!child.stopped && !child.continue_reported && (options & WCONTINUED) != 0) {
    answer.status = 0xffff;
    answer.code = CLD_CONTINUED;
    answer.usage = usage_of(child);
    if ((options & WNOWAIT) == 0) child.continue_reported = true;
    return true;
  }
  return false;
}

}  // namespace

Result<WaitAnswer> wait_for_child(Task& task, const WaitRequest& request) {
  ThreadGroup& group = *task.group;
  WaitAnswer answer;
  FiberWaiter waiter;
  for (;;) {
    bool candidates = false;
    if (collect_traced(task, request, answer, candidates)) return answer;
    for (ThreadGroup* child : group.children) {
      if (!selects(task, request, *child)) continue;
      // A zombie that nobody else traces will never be anything but that.
      if (child->dead && child->traced_by.expired() && (request.options & WEXITED) == 0) continue;
      candidates = true;
      if (child->dead ? !child->traced_by.expired() : traces(group, *child)) continue;
      if (collect(task, *child, request.options, answer)) return answer;
    }
    if (!candidates) return Errno(ECHILD);
    if ((request.options & WNOHANG) != 0) return WaitAnswer{};
    if (!waiter.waiting()) waiter.join(group.child_events);
    TRY(park_interruptible());
  }
}

}  // namespace sentry::kernel
