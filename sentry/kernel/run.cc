// The life of a task: guest code, traps, calls, signals.
#include <linux/audit.h>
#include <sys/syscall.h>

#include <algorithm>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/cycles.h"
#include "sentry/base/log.h"
#include "sentry/kernel/exit.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/trace.h"

namespace sentry::kernel {

namespace {

using abi::kTrapFlag;
constexpr int kSysSeccomp = 1;  // SYS_SECCOMP, asm-generic/siginfo.h

}  // namespace

platform::Context::Identity Task::identity() const {
  const bool filtered = seccomp_mode != SECCOMP_MODE_DISABLED;
  return {group->id,
          tid,
          group->parent != nullptr ? group->parent->id : 0,
          credentials->uid,
          credentials->euid,
          credentials->gid,
          credentials->egid,
          traced == nullptr && !filtered,
          filtered ? 0 : kernel.file_view.place_for(credentials, *fs_context)};
}

void Task::learn_identity() {
  if (in_guest_) context->set_identity(identity());
}

platform::Context::Own Task::own() const {
  platform::Context::Own own{robust_list, alt_stack.base, alt_stack.size, alt_stack.flags};
  const std::shared_ptr<SignalHandlers>& handlers = group->handlers;
  if (handlers.use_count() == 1 && group->tasks.size() == 1) {
    own.plain = handlers->plain().bits();
    own.reset = handlers->reset().bits();
    own.restorer = handlers->restorer();
  }
  return own;
}

void Task::take_own(const platform::Context::Own& given, const platform::Context::Own& left) {
  robust_list = left.robust_list;
  alt_stack = {left.stack_base, left.stack_size, left.stack_flags};
  // What was SIG_DFL still is.
  for (uint64_t reset = left.reset & given.plain; reset != 0; reset &= reset - 1)
    group->handlers->set(__builtin_ctzll(reset) + 1, reset_action(left.restorer));
}

void Task::run_loop() {
  for (;;) {
    deliver_signals();
    if (exited || group->exiting) break;
    if (group->container->frozen) {
      wait_while_frozen();
      continue;  // signals came meanwhile, perhaps
    }
    call_ = -1;
    const std::shared_ptr<Traced> tracing = traced;
    std::optional<DebugRegisters::Contents> watched;
    if (tracing != nullptr && tracing->debug.watching()) {
      watched = tracing->debug.look(memory());
      if (traced != tracing) continue;
    }
    const bool step = watched || (tracing != nullptr && tracing->step);
    const uint64_t own_trap_flag = step ? registers().eflags & kTrapFlag : 0;
    if (step) registers().eflags |= kTrapFlag;
    // Where the CPU cannot return to: a debugger may ask for it, and a frame. What has not been looked at
    // since the call is where it came from.
    if (!partial_ && registers().rip >> 47 != 0) {
      if (step) registers().eflags = (registers().eflags & ~kTrapFlag) | own_trap_flag;
      const bool canonical = registers().rip >> 47 == 0x1ffff;
      SignalInfo fault = make_signal(SIGSEGV);
      if (canonical) {
        fault.si_code = SEGV_MAPERR;
        fault.si_addr = reinterpret_cast<void*>(registers().rip);
      }
      force(fault);
      continue;
    }
    context->set_identity(identity());
    context->set_death_notice([](void* owner) { exit_group(*static_cast<Task*>(owner)->group, SIGKILL); },
                              this);
    context->set_signals({mask.bits(), (pending.pending() | group->pending.pending()).bits()});
    const platform::Context::Own given = own();
    context->set_own(given);
    in_guest_ = true;
    platform::Trap trap = context->run(registers_);
    in_guest_ = false;
    mask = SignalSet(context->signal_mask(mask.bits())) & ~kUnblockable;
    take_own(given, context->own(given));
    partial_ = trap.partial;
    if (step && own_trap_flag == 0) registers().eflags &= ~kTrapFlag;
    if (trap.kind == platform::Trap::Kind::kFault || trap.kind == platform::Trap::Kind::kInterrupted) {
      if (const auto place = memory().displaced(registers().rip)) {
        // The jump that stands for an instruction is no step of the program's.
        const bool stepped = trap.kind == platform::Trap::Kind::kFault && trap.info.si_signo == SIGTRAP;
        if (stepped && !place->executed) continue;
        // Steps and what an instruction raises itself (SIGFPE, SIGILL) name its place.
        if (trap.info.si_addr == reinterpret_cast<void*>(registers().rip))
          trap.info.si_addr = reinterpret_cast<void*>(place->address);
        registers().rip = place->address;
      }
    }
    const bool stepped = trap.kind == platform::Trap::Kind::kFault && trap.info.si_signo == SIGTRAP &&
                         trap.info.si_code == TRAP_TRACE;
    if (watched && stepped) {
      const uint64_t hits = tracing->debug.hits(*watched, tracing->debug.look(memory()), registers().rip);
      tracing->debug.report(hits);
      if (hits == 0 && !tracing->step) continue;
      if (!tracing->step) trap.info.si_code = TRAP_HWBKPT;
    }
    switch (trap.kind) {
      case platform::Trap::Kind::kSyscall:
        if (trap.costly)
          if (platform::SitePatcher* const patcher = kernel.platform.site_patcher(); patcher != nullptr)
            memory().note_costly_call(registers().rip - 2, *patcher);
        handle_syscall(trap.foreign);
        break;
      case platform::Trap::Kind::kFault:
        handle_fault(trap);
        break;
      case platform::Trap::Kind::kInterrupted:
        break;
      case platform::Trap::Kind::kExited:
        exit_group(*group, SIGKILL);
        break;  // somebody outside killed the stub
    }
  }
  finish_exit(*this);
}

// A debugger may look at the call and change it, then the filters decide. Nothing if it is not to be carried
// out; rax then holds its result.
std::optional<uint32_t> Task::admit(uint32_t number) {
  if (traced != nullptr && traced->until != Traced::Until::kEvent) {
    const bool emulated = traced->until == Traced::Until::kSysemu;
    report_call(*this, PTRACE_SYSCALL_INFO_ENTRY);
    if (exited || group->exiting || emulated) return std::nullopt;
    if (call_ == -1) return std::nullopt;  // the debugger wants it skipped
    number = static_cast<uint32_t>(call_);
  }
  if (seccomp_mode == SECCOMP_MODE_STRICT) {
    const bool basic =
        number == SYS_read || number == SYS_write || number == SYS_exit || number == SYS_rt_sigreturn;
    if (!basic) exit_group(*group, SIGKILL);
    return basic ? std::optional(number) : std::nullopt;
  }
  if (seccomp_mode == SECCOMP_MODE_FILTER) return filter(number);
  return number;
}

// SECCOMP_MODE_FILTER, seccomp(2).
std::optional<uint32_t> Task::filter(uint32_t number) {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
  data.arch = AUDIT_ARCH_X86_64;
  data.instruction_pointer = registers().rip;
  const uint64_t args[6] = {registers_.rdi, registers_.rsi, registers_.rdx,
                            registers_.r10, registers_.r8,  registers_.r9};
  std::copy(std::begin(args), std::end(args), std::begin(data.args));
  const uint32_t verdict = evaluate(*seccomp, data);
  const uint32_t value = verdict & SECCOMP_RET_DATA;
  switch (verdict & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
      return number;
    case SECCOMP_RET_ERRNO:
      registers_.rax = static_cast<uint64_t>(-static_cast<int64_t>(std::min<uint32_t>(value, 4095)));
      return std::nullopt;
    case SECCOMP_RET_TRACE: {
      registers_.rax = static_cast<uint64_t>(-ENOSYS);
      const std::shared_ptr<Traced> tracing = traced;
      if (tracing == nullptr || (tracing->options & PTRACE_O_TRACESECCOMP) == 0) return std::nullopt;
      tracing->place = PTRACE_SYSCALL_INFO_SECCOMP;
      report_event(*this, PTRACE_EVENT_SECCOMP, value);
      tracing->place = PTRACE_SYSCALL_INFO_NONE;
      if (exited || group->exiting || call_ == -1) return std::nullopt;
      return static_cast<uint32_t>(call_);
    }
    case SECCOMP_RET_TRAP: {
      SignalInfo info = make_signal(SIGSYS, kSysSeccomp);
      info.si_errno = static_cast<int>(value);
      info.si_call_addr = reinterpret_cast<void*>(registers().rip);
      info.si_syscall = data.nr;
      info.si_arch = AUDIT_ARCH_X86_64;
      registers_.rax = number;  // as it was before the call
      force(info);
      return std::nullopt;
    }
    case SECCOMP_RET_USER_NOTIF:
      registers_.rax = static_cast<uint64_t>(-ENOSYS);  // nobody listens
      return std::nullopt;
    case SECCOMP_RET_KILL_THREAD:
      if (group->tasks.size() > 1) {
        exit_task(*this, SIGSYS);
        return std::nullopt;
      }
      [[fallthrough]];
    default:
      exit_group(*group, SIGSYS);
      return std::nullopt;
  }
}

void Task::handle_syscall(bool foreign) {
  const auto number = static_cast<uint32_t>(registers_.orig_rax);  // the kernel looks at eax alone
  registers_.orig_rax = ~uint64_t{0};
  if (foreign) {  // there is no 32-bit interface here
    registers_.rax = static_cast<uint64_t>(-ENOSYS);
    return;
  }
  call_ = static_cast<int32_t>(number);
  if (traced == nullptr && seccomp_mode == SECCOMP_MODE_DISABLED) {
    perform(number);
    return;
  }
  registers_.rax = static_cast<uint64_t>(-ENOSYS);
  const std::optional<uint32_t> admitted = admit(number);
  if (exited || group->exiting) return;
  if (admitted) perform(*admitted);
  if (exited || group->exiting || traced == nullptr) return;
  if (traced->until == Traced::Until::kSyscall) {
    report_call(*this, PTRACE_SYSCALL_INFO_EXIT);
  } else if (traced->step) {
    report_step(*this);  // the CPU's trap flag is for the instructions that it executes
  }
}

// Carries the call out; its result goes to rax.
void Task::perform(uint32_t number) {
  syscall_number = static_cast<int>(number);
  in_syscall = true;
  // Another thread may give this one new ones meanwhile (SECCOMP_FILTER_FLAG_TSYNC): what the call has begun
  // to look at stays.
  const vfs::CredentialsRef credentials_at_entry = credentials;
  const uint64_t args[6] = {registers_.rdi, registers_.rsi, registers_.rdx,
                            registers_.r10, registers_.r8,  registers_.r9};
  const uint64_t start = cycles() - fiber->parked_cycles();
  const Result<uint64_t> result = kernel.dispatch(*this, number, args);
  call_cycles_ += cycles() - fiber->parked_cycles() - start;
  in_syscall = false;
  if (exited || group->exiting) return;
  if (registers_replaced_) {
    registers_replaced_ = false;  // execve, rt_sigreturn
    return;
  }
  if (result.ok()) {
    registers_.rax = *result;
    return;
  }
  const int error = result.error().value();
  switch (error) {
    case kErestartSys:
    case kErestartNoIntr:
    case kErestartNoHand:
    case kErestartRestartblock:
      restart_code_ = error;
      registers_.rax = static_cast<uint64_t>(-EINTR);
      break;
    default:
      registers_.rax = static_cast<uint64_t>(-static_cast<int64_t>(error));
  }
}

platform::Registers Task::traced_registers() {
  platform::Registers seen = registers();
  seen.orig_rax = static_cast<uint64_t>(call_);
  if (restart_code_ != 0) seen.rax = static_cast<uint64_t>(-static_cast<int64_t>(restart_code_));
  return seen;
}

void Task::set_traced_registers(const platform::Registers& wanted) {
  const auto code = -static_cast<int64_t>(wanted.rax);
  const bool restarts = code == kErestartSys || code == kErestartNoIntr || code == kErestartNoHand ||
                        code == kErestartRestartblock;
  registers() = wanted;
  registers_.orig_rax = ~uint64_t{0};
  call_ = static_cast<int32_t>(wanted.orig_rax);
  restart_code_ = 0;
  if (restarts && call_ != -1) {
    restart_code_ = static_cast<int>(code);
    syscall_number = static_cast<int>(call_);
    registers_.rax = static_cast<uint64_t>(-EINTR);
  }
}

void Task::wait_while_frozen() {
  FiberWaiter waiter;
  waiter.join(group->container->thawed);
  while (group->container->frozen && !exited && !group->exiting) Fiber::park();
}

void Task::handle_fault(const platform::Trap& trap) {
  const siginfo_t& host = trap.info;
  SignalInfo info = make_signal(host.si_signo, host.si_code);
  info.si_addr = host.si_addr;
  if (host.si_signo == SIGSEGV || host.si_signo == SIGBUS) {
    const auto answer = memory().handle_fault(reinterpret_cast<uint64_t>(host.si_addr), host, fault_retry_);
    if (answer.resolved) return;
    info.si_signo = answer.signo;
    info.si_code = answer.code;
  }
  note_fault(trap, info);
  force(info);
}

}  // namespace sentry::kernel
