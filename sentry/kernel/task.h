// Guest threads and processes: task_struct, signal_struct.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sentry/base/event_loop.h"
#include "sentry/base/wait_queue.h"
#include "sentry/kernel/process_group.h"
#include "sentry/kernel/signal.h"
#include "sentry/mm/address_space_map.h"
#include "sentry/platform/platform.h"
#include "sentry/vfs/credentials.h"
#include "sentry/vfs/dentry.h"
#include "sentry/vfs/fd_table.h"

namespace sentry::kernel {

class Kernel;
class Task;
class IntervalTimers;
class SemaphoreUndo;
struct PosixTimers;
class CpuLimit;
struct Traced;
struct TracedEnd;
struct SeccompFilter;
struct Container;

// A process: tasks that share a thread group id, and what outlives them until the parent reaps it.
class ThreadGroup : public std::enable_shared_from_this<ThreadGroup> {
 public:
  ThreadGroup(Kernel& kernel, pid_t id);
  ~ThreadGroup();

  Kernel& kernel;
  const pid_t id;  // tgid: the leader's tid
  std::vector<Task*> tasks;
  Task* leader = nullptr;  // null once reaped; a dead leader stays as zombie until the others are gone

  ThreadGroup* parent = nullptr;     // null: the sandbox's first process and what the runtime adds
  std::list<ThreadGroup*> children;  // zombies too
  std::shared_ptr<ProcessGroup> process_group;
  bool child_subreaper = false;
  bool has_executed = false;  // setpgid(2): EACCES for the parent
  pid_t creator = 0;          // the parent's thread that made it, for __WNOTHREAD
  int exit_signal = SIGCHLD;  // sent to the parent

  SignalQueue pending;  // process-directed
  std::shared_ptr<SignalHandlers> handlers;
  std::array<rlimit, RLIM_NLIMITS> limits{};

  // Exit: `exiting` once exit_group or a fatal signal has decided `wait_status` (as wait(2)'s).
  bool exiting = false;
  int wait_status = 0;
  bool reports_kill = false;  // SIGKILL came from a program: a debugger may still hear of the exit
  bool dead = false;          // every task is gone: a zombie
  uid_t uid = 0;              // of the zombie
  // Job control.
  bool stopped = false;
  int stop_signal = 0;
  bool stop_reported = true, continue_reported = true;  // to wait(2)
  WaitQueue resume;                                     // stopped tasks wait here
  WaitQueue child_events;                               // wait(2) waits here

  rusage usage{}, children_usage{};      // of dead threads; of reaped children
  Nanoseconds start_time = 0;            // CLOCK_MONOTONIC
  WaitQueue exit_watchers;               // pidfds
  std::list<TracedEnd> traced_ends;      // of tracees of its threads, for wait(2): kernel/trace.h
  std::weak_ptr<ThreadGroup> traced_by;  // whose thread traced the leader, now dead: it collects first
  WaitQueue signal_watchers;  // signalfds: woken when a signal is queued for the group or one of its tasks
  std::string command_line_name;  // comm of the leader after death
  std::unique_ptr<IntervalTimers> interval_timers;
  std::unique_ptr<PosixTimers> posix_timers;
  std::unique_ptr<CpuLimit> cpu_limit;  // while RLIMIT_CPU is finite
  int oom_score_adj = 0;
  bool protected_init = false;           // pid 1 of a container: unhandled signals from inside do nothing
  std::shared_ptr<Container> container;  // never null; the sandbox's first unless said otherwise
  // For what the runtime started: its end, and its stops where the runtime stops with it.
  std::function<void(int wait_status)> on_exit;
  std::function<void(int signal)> on_stop;

  uint64_t limit(int resource) const { return limits[static_cast<size_t>(resource)].rlim_cur; }
  // An unblocked or unwanted signal for the whole process, kill(2).
  void send(const SignalInfo& info);
  Task* any_task() const { return tasks.empty() ? nullptr : tasks.front(); }
};

// How a thread wants to be scheduled: sched(7), ioprio_set(2). Kept for those who ask; the host schedules.
struct Scheduling {
  int policy = 0;  // SCHED_OTHER
  int priority = 0;
  int nice = 0;
  bool reset_on_fork = false;
  int io_priority = 0;         // IOPRIO_PRIO_VALUE; 0: none was set
  std::vector<uint64_t> cpus;  // sched_setaffinity(2): bit n is CPU n; empty: every one
  // A new thread's.
  Scheduling inherited() const {
    Scheduling child = *this;
    if (reset_on_fork) {
      child.policy = child.priority = 0;
      child.nice = std::max(child.nice, 0);
    }
    child.reset_on_fork = false;
    return child;
  }
};

// A thread.
class Task {
 public:
  Task(Kernel& kernel, pid_t tid, std::shared_ptr<ThreadGroup> group);
  ~Task();

  // The task whose fiber is running. Only on a task's fiber.
  static Task& current();
  static Task* current_or_null();

  Kernel& kernel;
  pid_t tid;  // changes only when exec makes a thread the leader
  std::shared_ptr<ThreadGroup> group;

  // The guest's. Asking for them may cost: a call's number and arguments come without.
  platform::Registers& registers() {
    if (std::exchange(partial_, false)) context->complete(registers_);
    return registers_;
  }
  std::unique_ptr<platform::Context> context;
  std::shared_ptr<mm::AddressSpaceMap> memory_map;
  std::shared_ptr<vfs::FdTable> fd_table;
  std::shared_ptr<vfs::FsContext> fs_context;
  vfs::CredentialsRef credentials;
  std::string comm;

  SignalSet mask;                       // as of the last trap: see current_mask()
  std::optional<SignalSet> saved_mask;  // sigsuspend, ppoll...: put back after the handler's frame is built
  SignalQueue pending;
  AltStack alt_stack;
  std::function<Result<uint64_t>(Task&)> restart;  // restart_syscall(2)

  uint64_t clear_child_tid = 0;  // set_tid_address(2)
  uint64_t robust_list = 0;      // set_robust_list(2), as of the last trap: see current_robust_list()
  int parent_death_signal = 0;   // prctl(PR_SET_PDEATHSIG)
  // vfork(2): the parent waits until this becomes true, at this task's exec or exit.
  struct VforkGate {
    bool open = false;
    WaitQueue opened;
  };
  std::shared_ptr<VforkGate> vfork_gate;
  // The context must have gone: it may be on the parent's host thread.
  void open_vfork_gate() {
    if (vfork_gate == nullptr) return;
    vfork_gate->open = true;
    vfork_gate->opened.wake();
    vfork_gate.reset();
  }
  bool exited = false;  // leaves its run loop; `exit_code` is exit(2)'s
  int exit_code = 0;
  Fiber* fiber = nullptr;
  uint64_t timer_slack = 50'000;
  uint32_t personality = 0;  // personality(2)
  Scheduling scheduling;
  std::shared_ptr<SemaphoreUndo> semaphore_undo;  // SEM_UNDO, semop(2); null until first used
  std::shared_ptr<Traced> traced;                 // ptrace(2); null unless somebody traces this task
  std::vector<Task*> tracees;                     // whom this task traces
  // seccomp(2): SECCOMP_MODE_*, and the newest of the filters.
  int seccomp_mode = 0;
  std::shared_ptr<const SeccompFilter> seccomp;
  bool in_syscall = false;
  int syscall_number = -1;

  mm::AddressSpaceMap& memory() { return *memory_map; }
  // Has everything written to guest memory up to now be seen by whoever shares it: before others are told of
  // it.
  void settle_memory() { (void)memory().platform_space().settle(*context); }
  vfs::FdTable& fds() { return *fd_table; }
  vfs::FsContext& fs() { return *fs_context; }
  EventLoop& loop() const;

  // Signals.
  void send(const SignalInfo& info);  // thread-directed, tgkill(2)
  bool signal_pending() const;        // something unblocked that is not ignored waits
  void set_mask(SignalSet mask);
  // While guest code runs it may change its mask by itself.
  SignalSet current_mask() const;
  uint64_t current_robust_list() const;
  // What waits is not to be unblocked without a trap: to be called when a signal has come.
  void hold_pending();
  void force(const SignalInfo& info);  // a fault: unblocks, and resets an ignored action
  void wake() {
    if (fiber != nullptr) fiber->wake();
  }
  // Ends a run() of guest code, or a park, so that signals are looked at.
  void kick();
  // Stopped, or told to end: seen by interruptible waits.
  bool wanted() const;
  // Waits in a call for something to happen.
  bool sleeping() const { return fiber != nullptr && (in_guest_ ? context->asleep() : fiber->sleeping()); }
  // User time: the CPU time of the thread as the host accounts its stub. System time: what the sentry has
  // taken for its calls.
  Nanoseconds user_time() const;
  Nanoseconds system_time() const;
  Nanoseconds cpu_time() const { return user_time() + system_time(); }
  // The thread's part in getrusage(2). Page faults are the host's, and not counted.
  rusage usage() const;

  // The life of the task's fiber: guest code, traps, signals, until it exits. kernel/run.cc.
  void run_loop();

  // The registers as a debugger sees and sets them: with the number of the call that they are in, and what it
  // has answered so far.
  platform::Registers traced_registers();
  void set_traced_registers(const platform::Registers& wanted);

  // Who it is, or where it stands, has been changed by another: what the platform answers by that is right at
  // once, though guest code runs.
  void learn_identity();

  // Descriptors with this task's limits.
  Result<int> install_fd(vfs::FileRef file, bool cloexec, int from = 0);

 private:
  platform::Context::Identity identity() const;
  platform::Context::Own own() const;
  // After run(): what the guest has made of it.
  void take_own(const platform::Context::Own& given, const platform::Context::Own& left);
  void handle_syscall(bool foreign);
  // What a debugger and filters make of a call; nothing if it is not to be carried out.
  std::optional<uint32_t> admit(uint32_t number);
  std::optional<uint32_t> filter(uint32_t number);
  void perform(uint32_t number);
  void handle_fault(const platform::Trap& trap);
  // Waits while the container is frozen.
  void wait_while_frozen();
  // Delivers what is pending, until there is nothing more to do before guest code runs. kernel/deliver.cc.
  void deliver_signals();
  void deliver(const SignalInfo& info);
  bool push_frame(const SignalInfo& info, const SignalAction& action, SignalSet old_mask);
  void wait_while_stopped();
  std::optional<SignalInfo> next_signal();

  friend void mark_registers_replaced(Task& task);
  bool registers_replaced_ = false;
  mm::AddressSpaceMap::FaultRetry fault_retry_;
  platform::Registers registers_{};
  // Of the last fault, for the frames of all signals since: sigcontext's trapno, err and cr2.
  struct CpuFault {
    uint64_t trap = 0, error = 0, address = 0;
  };
  CpuFault fault_;
  void note_fault(const platform::Trap& trap, const SignalInfo& info);
  bool partial_ = false;  // platform::Trap::partial
  int64_t call_ = -1;     // the call that the registers are in, -1 once guest code runs again
  bool in_guest_ = false;
  uint64_t call_cycles_ = 0;  // what the sentry has taken for its calls
  int restart_code_ = 0;      // an ERESTART* that the last call answered, not yet settled
  bool in_stop_ = false;
};

// The call in progress has set every register itself: its result does not go to rax (execve, rt_sigreturn).
inline void mark_registers_replaced(Task& task) { task.registers_replaced_ = true; }

// sigaltstack(2)'s ss_flags for the stack that the task runs on now.
int alt_stack_flags(Task& task);
// The group stops, job control.
void stop_group(ThreadGroup& group, int signo);

// rt_sigreturn(2): puts back what the frame at the stack pointer holds. False if it cannot be read: SIGSEGV.
bool restore_frame(Task& task);

}  // namespace sentry::kernel
