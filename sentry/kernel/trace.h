// Guest debuggers: ptrace(2). A traced task stops where its tracer wants to hear of it, tells the tracer by
// SIGCHLD and wait(2), and goes on by its order. Nothing of this is the host's ptrace.
#pragma once

#include <sys/ptrace.h>

#include "sentry/kernel/debug_registers.h"
#include "sentry/kernel/task.h"

namespace sentry::kernel {

// PTRACE_O_*: bit n reports event n, and two that report nothing.
inline constexpr uint64_t kTraceExitKill = 1u << 20, kTraceOptions = 0xff | kTraceExitKill;

// What a tracer knows of one tracee. While a task has one, its tracer lives.
struct Traced {
  Traced(Task& tracer_in, uint64_t options_in, bool seized_in)
      : tracer(&tracer_in), options(options_in), seized(seized_in) {}

  Task* tracer;
  uint64_t options;
  bool seized;
  bool stopped = false;    // waits for its tracer's order
  bool listening = false;  // PTRACE_LISTEN: a group stop goes on, and its end is told
  bool reported = true;    // wait(2) has told of this stop
  int status = 0;          // of the stop: the signal, and the event above 8 bits
  SignalInfo info{};
  bool group_stop = false;  // of all stops the one that has no siginfo
  uint64_t message = 0;     // PTRACE_GETEVENTMSG
  // Where it stands, for PTRACE_GET_SYSCALL_INFO (PTRACE_SYSCALL_INFO_*).
  uint8_t place = PTRACE_SYSCALL_INFO_NONE;
  // The last order.
  enum class Until { kEvent, kSyscall, kSysemu } until = Until::kEvent;
  bool step = false;
  int deliver = 0;         // the signal that the tracer wants delivered
  bool interrupt = false;  // a PTRACE_EVENT_STOP is due
  DebugRegisters debug;
  bool past_group_stop = false;  // runs although its group is stopped, by its tracer's order
  WaitQueue resumed;
};

// The end of a tracee that only its tracer hears of, or hears of before the parent does.
struct TracedEnd {
  pid_t tid;
  int wait_status;
  uid_t uid;
  std::shared_ptr<ThreadGroup> whole;  // a process, which its parent may wait for after this
};

// PTRACE_MODE_ATTACH_REALCREDS, ptrace(2), "Ptrace access mode checking".
bool may_attach(const Task& task, const Task& target);

// PTRACE_TRACEME, ATTACH and SEIZE, DETACH.
Result<> trace_me(Task& task);
Result<> trace(Task& tracer, Task& target, bool seize, uint64_t options);
void stop_tracing(Task& target, int signo);
// A new child of a tracee: traced by the same tracer, and about to stop.
void trace_child(Task& parent, Task& child);
// Lets a stopped tracee go on.
void resume_traced(Task& target);
// The tracer ends: its tracees are free, or die by PTRACE_O_EXITKILL.
void release_tracees(Task& tracer);

// Stops the task until its tracer lets it go on, or something ends it.
void stop_traced(Task& task, int status, const SignalInfo* info);
// A stop for PTRACE_EVENT_`event`, if the tracer asked for it. Whether it did.
bool report_event(Task& task, int event, uint64_t message);
// exec is done: its event, or the SIGTRAP of old.
void report_exec(Task& task, pid_t former_tid);
// A stop of PTRACE_SYSCALL: PTRACE_SYSCALL_INFO_ENTRY or _EXIT.
void report_call(Task& task, uint8_t place);
// A step of PTRACE_SINGLESTEP ended where the CPU does not tell.
void report_step(Task& task);
// A signal for a tracee: what the tracer makes of it, if anything.
std::optional<SignalInfo> report_signal(Task& task, const SignalInfo& info);
// The task is gone; called before its process learns of it.
void report_end(Task& task, int wait_status);
// Whether a tracer outside the parent must collect this zombie first; it is told then.
bool withhold_from_parent(ThreadGroup& group);
// SIGCONT for a tracee: one that is seized reports it by a PTRACE_EVENT_STOP, also if it listens.
void report_continued(Task& task);

}  // namespace sentry::kernel
