#include "sentry/kernel/trace.h"

#include <linux/capability.h>
#include <sys/wait.h>

#include <algorithm>

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/landlock.h"

namespace sentry::kernel {
namespace {

constexpr uint64_t kMessageEntry = 1, kMessageExit = 2;  // PTRACE_EVENTMSG_SYSCALL_*, linux/ptrace.h

// The tracer hears of a stop: SIGCHLD and wait(2).
void tell_tracer(Task& task) {
  const Traced& traced = *task.traced;
  ThreadGroup& tracer = *traced.tracer->group;
  tracer.child_events.wake();
  if (((*tracer.handlers)[SIGCHLD].flags & SA_NOCLDSTOP) != 0) return;
  SignalInfo info =
      make_signal(SIGCHLD, traced.group_stop ? CLD_STOPPED : CLD_TRAPPED, task.tid, task.credentials->uid);
  info.si_status = traced.status & 0x7f;
  tracer.send(info);
}

void tell_of_end(ThreadGroup& tracer, const TracedEnd& end) {
  SignalInfo info =
      make_signal(SIGCHLD, WIFEXITED(end.wait_status) ? CLD_EXITED : CLD_KILLED, end.tid, end.uid);
  info.si_status = WIFEXITED(end.wait_status) ? WEXITSTATUS(end.wait_status) : WTERMSIG(end.wait_status);
  tracer.traced_ends.push_back(end);
  tracer.child_events.wake();
  tracer.send(info);
}

SignalInfo trap_info(const Task& task, int code) {
  return make_signal(SIGTRAP, code, task.group->id, task.credentials->uid);
}

void begin_tracing(Task& tracer, Task& target, uint64_t options, bool seized) {
  target.traced = std::make_shared<Traced>(tracer, options, seized);
  tracer.tracees.push_back(&target);
}

}  // namespace

bool may_attach(const Task& task, const Task& target) {
  const vfs::Credentials &mine = *task.credentials, &its = *target.credentials;
  if (task.group == target.group) return true;
  if (!vfs::landlock_may_trace(mine, its)) return false;
  if (mine.capable(CAP_SYS_PTRACE)) return true;
  return mine.uid == its.euid && mine.uid == its.suid && mine.uid == its.uid && mine.gid == its.egid &&
         mine.gid == its.sgid && mine.gid == its.gid && target.memory_map->dumpable &&
         (its.cap_permitted & ~mine.cap_permitted) == 0;
}

Result<> trace_me(Task& task) {
  ThreadGroup* parent = task.group->parent;
  if (task.traced != nullptr || parent == nullptr || parent->leader == nullptr) return Errno(EPERM);
  if (!vfs::landlock_may_trace(*parent->leader->credentials, *task.credentials)) return Errno(EPERM);
  begin_tracing(*parent->leader, task, 0, false);
  return {};
}

Result<> trace(Task& tracer, Task& target, bool seize, uint64_t options) {
  if (target.group == tracer.group || target.memory_map == nullptr || target.traced != nullptr)
    return Errno(EPERM);
  if (!may_attach(tracer, target)) return Errno(EPERM);
  if (target.exited || target.group->exiting) return Errno(ESRCH);
  begin_tracing(tracer, target, options, seize);
  if (!seize) target.send(make_signal(SIGSTOP, SI_USER, tracer.group->id, tracer.credentials->uid));
  if (target.group->stopped) {
    // It waits in its group's stop already, and shall report that.
    target.group->resume.wake();
  }
  return {};
}

void trace_child(Task& parent, Task& child) {
  begin_tracing(*parent.traced->tracer, child, parent.traced->options, parent.traced->seized);
  if (parent.traced->seized) {
    child.traced->interrupt = true;
  } else {
    child.pending.push(make_signal(SIGSTOP, SI_KERNEL));
  }
}

void resume_traced(Task& target) {
  Traced& traced = *target.traced;
  traced.stopped = traced.listening = false;
  traced.reported = true;
  traced.resumed.wake();
}

void stop_tracing(Task& target, int signo) {
  const std::shared_ptr<Traced> traced = target.traced;
  std::erase(traced->tracer->tracees, &target);
  traced->deliver = signo;
  target.traced.reset();
  traced->stopped = traced->listening = false;
  traced->resumed.wake();
  target.kick();
}

void release_tracees(Task& tracer) {
  while (!tracer.tracees.empty()) {
    Task& tracee = *tracer.tracees.back();
    const bool kill = (tracee.traced->options & kTraceExitKill) != 0;
    const std::shared_ptr<ThreadGroup> group = tracee.group;
    stop_tracing(tracee, 0);
    if (kill) exit_group(*group, SIGKILL);
  }
}

void stop_traced(Task& task, int status, const SignalInfo* info) {
  const std::shared_ptr<Traced> traced = task.traced;
  if (traced == nullptr) return;
  traced->stopped = true;
  traced->reported = false;
  traced->status = status;
  traced->group_stop = info == nullptr;
  traced->info = info != nullptr ? *info : SignalInfo{};
  traced->deliver = 0;
  traced->step = false;
  tell_tracer(task);
  // A process that is told to exit, be it by another's SIGKILL, still reports its PTRACE_EVENT_EXIT.
  const bool leaving = status >> 8 == PTRACE_EVENT_EXIT;
  FiberWaiter waiter;
  waiter.join(traced->resumed);
  while (traced->stopped) {
    const bool killed =
        task.group->exiting && task.group->wait_status == SIGKILL && !task.group->reports_kill;
    if (killed || (!leaving && (task.exited || task.group->exiting))) break;
    Fiber::park();
  }
  traced->stopped = traced->listening = false;
  traced->reported = true;
}

bool report_event(Task& task, int event, uint64_t message) {
  if (task.traced == nullptr || (task.traced->options >> event & 1) == 0) return false;
  task.traced->message = message;
  const SignalInfo info = trap_info(task, SIGTRAP | event << 8);
  stop_traced(task, SIGTRAP | event << 8, &info);
  return true;
}

void report_exec(Task& task, pid_t former_tid) {
  if (task.traced == nullptr || report_event(task, PTRACE_EVENT_EXEC, static_cast<uint64_t>(former_tid)))
    return;
  if (!task.traced->seized) task.send(make_signal(SIGTRAP, SI_USER, task.group->id, task.credentials->uid));
}

void report_call(Task& task, uint8_t place) {
  const std::shared_ptr<Traced> traced = task.traced;
  const bool entry = place == PTRACE_SYSCALL_INFO_ENTRY;
  traced->place = place;
  traced->message = entry ? kMessageEntry : kMessageExit;
  const int stop = SIGTRAP | ((traced->options & PTRACE_O_TRACESYSGOOD) != 0 ? 0x80 : 0);
  const SignalInfo info = trap_info(task, stop);
  stop_traced(task, stop, &info);
  traced->place = PTRACE_SYSCALL_INFO_NONE;
  // A signal that the tracer wants delivered at such a stop comes from nobody.
  if (traced->deliver != 0) task.send(make_signal(traced->deliver, SI_USER));
}

void report_step(Task& task) {
  SignalInfo info = make_signal(SIGTRAP, TRAP_TRACE);
  info.si_addr = reinterpret_cast<void*>(task.registers().rip);
  task.force(info);
}

std::optional<SignalInfo> report_signal(Task& task, const SignalInfo& info) {
  const std::shared_ptr<Traced> traced = task.traced;
  stop_traced(task, info.si_signo, &info);
  if (task.exited || task.group->exiting || traced->deliver == 0) return std::nullopt;
  SignalInfo chosen = traced->info;  // PTRACE_SETSIGINFO may have changed it
  if (chosen.si_signo != traced->deliver) {
    const Task* tracer = task.traced == traced ? traced->tracer : nullptr;  // one that has gone is nobody
    chosen = make_signal(traced->deliver, SI_USER, tracer != nullptr ? tracer->group->id : 0,
                         tracer != nullptr ? tracer->credentials->uid : 0);
  }
  if (task.mask.contains(chosen.si_signo)) {
    task.pending.push(chosen);
    return std::nullopt;
  }
  return chosen;
}

void report_end(Task& task, int wait_status) {
  const std::shared_ptr<Traced> traced = task.traced;
  if (traced == nullptr) return;
  const std::shared_ptr<ThreadGroup> tracer = traced->tracer->group;
  std::erase(traced->tracer->tracees, &task);
  task.traced.reset();
  if (task.tid != task.group->id) {
    tell_of_end(*tracer, {task.tid, wait_status, task.credentials->uid, nullptr});
  } else if (tracer.get() != task.group->parent) {
    task.group->traced_by = tracer;  // heard of when the last thread is gone
  }
}

bool withhold_from_parent(ThreadGroup& group) {
  const std::shared_ptr<ThreadGroup> tracer = group.traced_by.lock();
  if (tracer == nullptr || tracer->dead || tracer->exiting) {
    group.traced_by.reset();
    return false;
  }
  tell_of_end(*tracer, {group.id, group.wait_status, group.uid, group.shared_from_this()});
  return true;
}

void report_continued(Task& task) {
  if (task.traced == nullptr || !task.traced->seized) return;
  task.traced->interrupt = true;
  if (task.traced->listening)
    resume_traced(task);
  else if (!task.traced->stopped)
    task.kick();
}

}  // namespace sentry::kernel
