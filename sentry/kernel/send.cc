// Generating signals: who gets them, what they undo, whom they wake. signal(7), kill(2).
#include <linux/capability.h>

#include <algorithm>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/trace.h"

namespace sentry::kernel {
namespace {

// A tracee's signals are its tracer's to see, also those that would do nothing.
bool ignored(const ThreadGroup& group, const Task* receiver, int signo) {
  if (kUnblockable.contains(signo) || (receiver != nullptr && receiver->traced != nullptr)) return false;
  const SignalAction& action = (*group.handlers)[signo];
  if (action.handler == reinterpret_cast<uint64_t>(SIG_IGN)) return true;
  return action.handler == reinterpret_cast<uint64_t>(SIG_DFL) &&
         default_action(signo) == DefaultAction::kIgnore;
}

// The parent hears of a stop or a continuation, unless it does not want to.
void tell_parent(ThreadGroup& group, int code, int status) {
  ThreadGroup* parent = group.parent;
  if (parent == nullptr) return;
  parent->child_events.wake();
  const SignalAction& action = (*parent->handlers)[SIGCHLD];
  if ((action.flags & SA_NOCLDSTOP) != 0) return;
  SignalInfo info =
      make_signal(SIGCHLD, code, group.id, group.any_task() ? group.any_task()->credentials->uid : 0);
  info.si_status = status;
  parent->send(info);
}

// What generating a signal does to the process before anybody handles it.
void prepare(ThreadGroup& group, int signo) {
  if (kStopSignals.contains(signo)) {
    const SignalSet cont = signal_set({SIGCONT});
    group.pending.discard(cont);
    for (Task* task : group.tasks) task->pending.discard(cont);
  } else if (signo == SIGCONT) {
    group.pending.discard(kStopSignals);
    for (Task* task : group.tasks) {
      task->pending.discard(kStopSignals);
      report_continued(*task);
    }
    if (group.stopped) {
      group.stopped = false;
      group.stop_reported = true;
      group.continue_reported = false;
      group.resume.wake();
      tell_parent(group, CLD_CONTINUED, SIGCONT);
    }
  }
}

bool blocked_or_awaited(const Task& task, int signo) {
  return task.current_mask().contains(signo) || (task.saved_mask && task.saved_mask->contains(signo));
}

// pid_namespaces(7): a pid 1 is safe from what its own container sends. The runtime's signals have no sender.
bool from_inside(const SignalInfo& info) { return info.si_code <= 0 && info.si_pid != 0; }

constexpr size_t kQueueLimit = 65'536;  // entries a process may hold, whatever RLIMIT_SIGPENDING says

}  // namespace

void stop_group(ThreadGroup& group, int signo) {
  if (group.stopped || group.exiting) return;
  group.stopped = true;
  group.stop_signal = signo;
  group.stop_reported = false;
  group.continue_reported = true;
  for (Task* task : group.tasks) {
    if (task->traced != nullptr) task->traced->past_group_stop = false;
    task->kick();
  }
  tell_parent(group, CLD_STOPPED, signo);
  if (group.on_stop) group.on_stop(signo);
}

void ThreadGroup::send(const SignalInfo& info) {
  const int signo = info.si_signo;
  if (dead || exiting || signo == 0) return;
  prepare(*this, signo);
  if (signo == SIGKILL) {
    if (protected_init && from_inside(info)) return;
    reports_kill = container->first != this;  // which ends the container, whatever a debugger in it does
    exit_group(*this, SIGKILL);
    return;
  }
  const bool held =
      std::all_of(tasks.begin(), tasks.end(), [&](Task* task) { return blocked_or_awaited(*task, signo); });
  if (!held && ignored(*this, leader, signo)) return;
  if (pending.size() >= kQueueLimit) return;
  if (!pending.push(info)) return;
  signal_watchers.wake();
  for (Task* task : tasks) task->hold_pending();
  // One thread that wants it is enough; prefer the leader, as Linux does.
  Task* chosen = nullptr;
  if (leader != nullptr && !leader->exited && !leader->current_mask().contains(signo)) chosen = leader;
  for (Task* task : tasks) {
    if (chosen != nullptr) break;
    if (!task->exited && !task->current_mask().contains(signo)) chosen = task;
  }
  if (chosen != nullptr) chosen->kick();
}

void Task::send(const SignalInfo& info) {
  const int signo = info.si_signo;
  if (exited || group->dead || group->exiting || signo == 0) return;
  prepare(*group, signo);
  if (signo == SIGKILL) {
    if (group->protected_init && from_inside(info)) return;
    group->reports_kill = group->container->first != group.get();
    exit_group(*group, SIGKILL);
    return;
  }
  if (!blocked_or_awaited(*this, signo) && ignored(*group, this, signo)) return;
  if (pending.size() >= kQueueLimit || !pending.push(info)) return;
  group->signal_watchers.wake();
  hold_pending();
  if (!current_mask().contains(signo)) kick();
}

void Task::force(const SignalInfo& info) {
  const int signo = info.si_signo;
  SignalHandlers& handlers = *group->handlers;
  if (mask.contains(signo) || handlers[signo].handler == reinterpret_cast<uint64_t>(SIG_IGN)) {
    handlers.set_handler(signo, reinterpret_cast<uint64_t>(SIG_DFL));
    mask.remove(signo);
  }
  if (!pending.push(info)) {
    pending.discard(signal_set({signo}));
    pending.push(info);
  }
}

void Task::kick() {
  wake();
  if (context != nullptr && fiber != Fiber::current()) context->interrupt();
}

bool Task::wanted() const {
  const bool stop = group->stopped && !in_stop_ && (traced == nullptr || !traced->past_group_stop);
  return exited || group->exiting || stop || (traced != nullptr && traced->interrupt) || signal_pending();
}

SignalSet Task::current_mask() const {
  return in_guest_ ? SignalSet(context->signal_mask(mask.bits())) & ~kUnblockable : mask;
}

uint64_t Task::current_robust_list() const {
  return in_guest_ ? context->own(own()).robust_list : robust_list;
}

void Task::hold_pending() {
  if (in_guest_) context->hold_signals((pending.pending() | group->pending.pending()).bits());
}

bool Task::signal_pending() const {
  const SignalSet ready = (pending.pending() | group->pending.pending()) & ~mask;
  return !ready.empty();
}

void Task::set_mask(SignalSet wanted) {
  mask = wanted & ~kUnblockable;
  // What this task no longer takes another one may.
  const SignalSet left = group->pending.pending() & mask;
  if (left.empty()) return;
  for (Task* task : group->tasks)
    if (task != this && !(left & ~task->current_mask()).empty()) task->kick();
}

bool may_signal(const Task& sender, const ThreadGroup& target, int signo) {
  const vfs::Credentials& own = *sender.credentials;
  if (own.capable(CAP_KILL) || sender.group.get() == &target) return true;
  const Task* task = target.any_task();
  if (task == nullptr)
    return own.euid == target.uid || own.uid == target.uid;  // a zombie, or the sandbox's own pid 1
  const vfs::Credentials& other = *task->credentials;
  if (own.euid == other.suid || own.euid == other.uid || own.uid == other.suid || own.uid == other.uid)
    return true;
  return signo == SIGCONT && target.process_group->session == sender.group->process_group->session;
}

void signal_process_group(ProcessGroup& group, const SignalInfo& info) {
  const std::vector<ThreadGroup*> members(group.members.begin(), group.members.end());
  std::vector<std::shared_ptr<ThreadGroup>> alive;
  for (ThreadGroup* member : members) alive.push_back(member->shared_from_this());
  for (const auto& member : alive) member->send(info);
}

size_t queued_signals(const Kernel& kernel, uid_t uid) {
  size_t sum = 0;
  for (const auto& [id, group] : kernel.groups()) {
    bool counted = false;
    for (const Task* task : group->tasks) {
      if (task->credentials->uid != uid) continue;
      sum += task->pending.size() + (counted ? 0 : group->pending.size());
      counted = true;
    }
  }
  return sum;
}

Result<> kill(Task& sender, pid_t pid, int signo, const SignalInfo* given) {
  if (signo < 0 || signo > kSignals) return Errno(EINVAL);
  // sigqueue(3): EAGAIN at RLIMIT_SIGPENDING, for what would have to be queued.
  if (given != nullptr && signo >= kFirstRealtime &&
      queued_signals(sender.kernel, sender.credentials->uid) >= sender.group->limit(RLIMIT_SIGPENDING))
    return Errno(EAGAIN);
  const SignalInfo info =
      given != nullptr ? *given : make_signal(signo, SI_USER, sender.group->id, sender.credentials->uid);
  Kernel& kernel = sender.kernel;
  const auto deliver = [&](ThreadGroup& target) -> Result<> {
    if (!may_signal(sender, target, signo)) return Errno(EPERM);
    if (signo != 0) target.send(info);
    return {};
  };
  if (pid > 0) {
    ThreadGroup* target = kernel.find_group(pid);
    if (target == nullptr) {
      Task* task = kernel.find_task(pid);  // kill(2) takes any thread's id for its process
      if (task == nullptr) return Errno(ESRCH);
      target = task->group.get();
    }
    return deliver(*target);
  }
  std::vector<std::shared_ptr<ThreadGroup>> targets;
  if (pid == -1) {
    for (const auto& [id, group] : kernel.groups())
      if (group->container == sender.group->container && group.get() != sender.group.get() &&
          group.get() != group->container->init)
        targets.push_back(group);
  } else {
    const pid_t pgid = pid == 0 ? sender.group->process_group->id : -pid;
    const auto group = kernel.find_process_group(pgid);
    if (group == nullptr || group->members.empty()) return Errno(ESRCH);
    for (ThreadGroup* member : group->members) targets.push_back(member->shared_from_this());
  }
  bool any = false, refused = false;
  for (const auto& target : targets) {
    if (deliver(*target).ok())
      any = true;
    else
      refused = true;
  }
  if (any) return {};
  return Errno(refused ? EPERM : ESRCH);
}

}  // namespace sentry::kernel
