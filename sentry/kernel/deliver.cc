// Delivering signals: default actions, and frames on the guest's stack exactly as arch/x86/kernel/signal_64.c
// lays them out.
#include <sys/syscall.h>

#include <cstddef>
#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/trace.h"
#include "sentry/platform/vector_state.h"

namespace sentry::kernel {
namespace {

constexpr uint64_t kRedZone = 128;
constexpr uint64_t kUserFlags =
    0xdd5 | 0x40000;  // what a frame may set: status flags, TF, DF, AC (FIX_EFLAGS less RF)
constexpr uint64_t kDirectionFlag = 0x400, kResumeFlag = 0x10000;

struct SignalFrame {
  uint64_t return_address;
  abi::UserContext user;
  SignalInfo info;
};
static_assert(sizeof(SignalFrame) == 8 + 304 + 128);

uint64_t trap_number(int signo, int code) {
  constexpr uint64_t kGeneralProtection = 13;
  if (signo == SIGSEGV && code == SI_KERNEL) return kGeneralProtection;
  switch (signo) {
    case SIGFPE:
      return 0;
    case SIGTRAP:
      return 3;
    case SIGILL:
      return 6;
    case SIGSEGV:
    case SIGBUS:
      return 14;
    default:
      return 0;
  }
}

bool on_stack(const AltStack& stack, uint64_t pointer) {
  return (stack.flags & SS_DISABLE) == 0 && pointer > stack.base && pointer - stack.base <= stack.size;
}

// Into a signal frame. The handler begins with the state of a new program.
Result<> save_vector_state(Task& task, uint64_t place, size_t size) {
  if (task.memory().defers_write(place, size + platform::kFrameEnd) && task.context->save_frame(place))
    return {};
  std::vector<std::byte> state(size + platform::kFrameEnd);
  task.context->read_fpstate(std::span(state).first(size));
  // x87 and SSE count as in use, so that what a handler writes into them is honoured (the kernel does the
  // same).
  uint64_t in_use = 0;
  std::memcpy(&in_use, &state[abi::kXsaveHeaderAt], sizeof in_use);
  in_use |= abi::kLegacyFeatures;
  std::memcpy(&state[abi::kXsaveHeaderAt], &in_use, sizeof in_use);
  platform::seal_frame_state(state);
  task.context->reset_fpstate();
  return task.memory().write(place, state.data(), state.size());
}

// What its words say it is and what it ends with decide how much of it counts: check_xstate_in_sigframe() of
// arch/x86/kernel/fpu/signal.c. The CPU wants it aligned.
bool load_vector_state(Task& task, uint64_t place) {
  constexpr uint64_t kXsaveAlignment = 64, kFxsaveAlignment = 16;
  std::vector<std::byte> state(task.kernel.platform.fpstate_size());
  if (!task.memory().read(place, state.data(), abi::kXsaveHeaderAt).ok()) return false;
  abi::FrameSoftware software;
  std::memcpy(&software, &state[abi::kSoftwareAt], sizeof software);
  bool whole = software.magic1 == abi::kFrameMagic1 && software.state_size == state.size() &&
               software.state_size <= software.extended_size;
  if (whole) {
    uint32_t end = 0;
    if (!task.memory().read(place + state.size(), &end, sizeof end).ok()) return false;
    whole = end == abi::kFrameMagic2;
  }
  if (place % (whole ? kXsaveAlignment : kFxsaveAlignment) != 0) return false;
  uint64_t in_use = abi::kLegacyFeatures;
  if (whole) {
    if (!task.memory().read(place, state.data(), state.size()).ok()) return false;
    std::memcpy(&in_use, &state[abi::kXsaveHeaderAt], sizeof in_use);
    // Components that the frame does not have to offer begin anew.
    in_use &= software.features | ~platform::enabled_features();
  }
  std::memcpy(&state[abi::kXsaveHeaderAt], &in_use, sizeof in_use);
  std::memset(&state[abi::kSoftwareAt], 0, sizeof software);
  return task.context->write_fpstate(state).ok();
}

}  // namespace

// sigaltstack(2)'s view of the stack that the task runs on.
int alt_stack_flags(Task& task) {
  if ((task.alt_stack.flags & SS_DISABLE) != 0) return SS_DISABLE;
  return on_stack(task.alt_stack, task.registers().rsp) ? SS_ONSTACK : 0;
}

void Task::note_fault(const platform::Trap& trap, const SignalInfo& info) {
  constexpr uint64_t kPageFault = 14;
  const auto address = reinterpret_cast<uint64_t>(info.si_addr);
  if (trap.cpu) {
    fault_.trap = trap.cpu->trap;
    fault_.error = trap.cpu->error;
  } else {
    fault_.trap = trap_number(info.si_signo, info.si_code);
    fault_.error = 0;
    if (fault_.trap == kPageFault) {
      // User mode; present where the mapping is. What is mapped readable was written to.
      const mm::Vma* vma = memory().find(address);
      const bool written = info.si_code == SEGV_ACCERR && vma != nullptr && (vma->prot & 1) != 0;
      fault_.error = 4u | (info.si_code == SEGV_ACCERR ? 1u : 0u) | (written ? 2u : 0u);
    }
  }
  if (fault_.trap == kPageFault) fault_.address = address;
}

bool Task::push_frame(const SignalInfo& info, const SignalAction& action, SignalSet old_mask) {
  const size_t fp_size = kernel.platform.fpstate_size();
  platform::Registers& registers = this->registers();
  uint64_t stack = registers.rsp - kRedZone;
  bool nested = false;
  if ((action.flags & SA_ONSTACK) != 0 && (alt_stack.flags & SS_DISABLE) == 0) {
    nested = on_stack(alt_stack, registers.rsp);
    if (!nested) stack = alt_stack.base + alt_stack.size;
  }
  const uint64_t fp_place = (stack - fp_size - platform::kFrameEnd) & ~uint64_t{63};
  const uint64_t frame_place = ((fp_place - sizeof(SignalFrame)) & ~uint64_t{15}) - 8;
  // A handler on the alternate stack that would overrun it dies instead (the kernel's check).
  if (((action.flags & SA_ONSTACK) != 0) && (alt_stack.flags & SS_DISABLE) == 0 &&
      (frame_place < alt_stack.base || frame_place - alt_stack.base > alt_stack.size) &&
      (nested || stack == alt_stack.base + alt_stack.size))
    return false;

  SignalFrame frame;
  std::memset(&frame, 0, sizeof frame);
  frame.return_address = action.restorer;
  frame.user.flags = abi::kContextFlags;
  frame.user.stack_base = alt_stack.base;
  frame.user.stack_size = alt_stack.size;
  frame.user.stack_flags = alt_stack.flags;
  abi::SignalContext& saved = frame.user.context;
  abi::copy_registers(registers, saved);
  saved.cs = static_cast<uint16_t>(registers.cs), saved.ss = static_cast<uint16_t>(registers.ss);
  saved.oldmask = old_mask.bits();
  saved.trapno = fault_.trap;
  saved.err = fault_.error;
  saved.cr2 = fault_.address;
  saved.fpstate = fp_place;
  frame.user.mask = old_mask.bits();
  frame.info = info;

  if (!save_vector_state(*this, fp_place, fp_size).ok()) return false;
  if (!memory().write(frame_place, &frame, sizeof frame).ok()) return false;

  registers.rsp = frame_place;
  registers.rip = action.handler;
  registers.rdi = static_cast<uint64_t>(info.si_signo);
  registers.rsi = frame_place + offsetof(SignalFrame, info);
  registers.rdx = frame_place + offsetof(SignalFrame, user);
  registers.rax = 0;
  registers.cs = abi::kUserCode;
  registers.ss = abi::kUserData;
  registers.eflags &= ~(kDirectionFlag | abi::kTrapFlag | kResumeFlag);
  if ((alt_stack.flags & static_cast<int>(0x80000000u)) != 0) alt_stack = AltStack{};  // SS_AUTODISARM
  return true;
}

bool restore_frame(Task& task) {
  const uint64_t place = task.registers().rsp - 8;
  SignalFrame frame;
  if (!task.memory().read(place, &frame, offsetof(SignalFrame, info)).ok()) return false;
  const abi::SignalContext& saved = frame.user.context;
  platform::Registers& registers = task.registers();
  if (saved.rip >= 1ull << 47 || saved.rsp >= 1ull << 47) return false;  // what the CPU could not return to
  const uint64_t flags = registers.eflags;
  abi::copy_registers(saved, registers);
  registers.eflags = (flags & ~kUserFlags) | (saved.eflags & kUserFlags);
  registers.orig_rax = ~uint64_t{0};
  task.set_mask(SignalSet(frame.user.mask));
  if ((frame.user.stack_flags & SS_DISABLE) != 0) {
    task.alt_stack = AltStack{};
  } else {
    task.alt_stack = {frame.user.stack_base, frame.user.stack_size, frame.user.stack_flags & ~SS_ONSTACK};
  }
  if (task.context->frame_restored()) return true;
  if (saved.fpstate == 0) {
    task.context->reset_fpstate();
    return true;
  }
  return load_vector_state(task, saved.fpstate);
}

std::optional<SignalInfo> Task::next_signal() {
  const SignalSet deliverable = ~mask;
  auto own = pending.pop(deliverable);
  if (own) return own;
  return group->pending.pop(deliverable);
}

void Task::wait_while_stopped() {
  in_stop_ = true;
  while (group->stopped && !group->exiting && !exited) {
    if (traced != nullptr) {
      if (traced->past_group_stop) break;
      const std::shared_ptr<Traced> tracing = traced;
      stop_traced(*this, group->stop_signal | (tracing->seized ? PTRACE_EVENT_STOP << 8 : 0), nullptr);
      tracing->past_group_stop = true;
      continue;
    }
    FiberWaiter waiter;
    waiter.join(group->resume);
    Fiber::park();
  }
  in_stop_ = false;
}

void Task::deliver_signals() {
  for (;;) {
    // Who is told of a stop may look at what this task has written to shared memory, frames as well.
    const SignalSet waiting = (pending.pending() | group->pending.pending()) & ~mask;
    if (!(traced != nullptr ? waiting : waiting & kStopSignals).empty()) settle_memory();
    if (group->stopped && (traced == nullptr || !traced->past_group_stop)) wait_while_stopped();
    if (exited || group->exiting) return;
    if (traced != nullptr && traced->interrupt) {
      traced->interrupt = false;
      const int status = (group->stopped ? group->stop_signal : SIGTRAP) | PTRACE_EVENT_STOP << 8;
      const SignalInfo trap = make_signal(status & 0xff, status, group->id, credentials->uid);
      stop_traced(*this, status, &trap);
      continue;
    }
    auto info = next_signal();
    if (!info) break;
    if (traced != nullptr) {
      info = report_signal(*this, *info);
      if (!info) continue;
    }
    deliver(*info);
    if (exited || group->exiting) return;
  }
  // Nothing was handled: an interrupted call starts again.
  if (restart_code_ != 0) {
    registers().rip -= 2;
    registers().rax =
        restart_code_ == kErestartRestartblock ? SYS_restart_syscall : static_cast<uint64_t>(syscall_number);
    restart_code_ = 0;
  }
  if (saved_mask) {
    set_mask(*saved_mask);
    saved_mask.reset();
    if (signal_pending()) deliver_signals();
  }
}

void Task::deliver(const SignalInfo& info) {
  const int signo = info.si_signo;
  if (kernel.observer != nullptr && signo != SIGKILL) kernel.observer->signalled(*this, info);
  const SignalAction action = (*group->handlers)[signo];
  if (action.handler == reinterpret_cast<uint64_t>(SIG_IGN)) return;
  if (action.handler == reinterpret_cast<uint64_t>(SIG_DFL)) {
    switch (default_action(signo)) {
      case DefaultAction::kIgnore:
      case DefaultAction::kContinue:
        return;
      case DefaultAction::kStop:
        // POSIX: terminal stops do nothing to an orphaned group.
        if (signo != SIGSTOP && group->process_group != nullptr && group->process_group->orphaned()) return;
        stop_group(*group, signo);
        return;
      case DefaultAction::kTerminate:
      case DefaultAction::kCore:
        if (group->protected_init && info.si_code <= 0)
          return;  // pid_namespaces(7): init ignores what it does not handle
        exit_group(*group, signo);
        return;
    }
  }
  // A handler: settle an interrupted call first.
  if (restart_code_ != 0) {
    const bool again = restart_code_ == kErestartNoIntr ||
                       (restart_code_ == kErestartSys && (action.flags & SA_RESTART) != 0);
    if (again) {
      registers().rip -= 2;
      registers().rax = static_cast<uint64_t>(syscall_number);
    } else {
      registers().rax = static_cast<uint64_t>(-EINTR);
    }
    restart_code_ = 0;
  }
  const SignalSet old_mask = saved_mask ? *saved_mask : mask;
  if ((action.flags & SA_RESETHAND) != 0)
    group->handlers->set_handler(signo, reinterpret_cast<uint64_t>(SIG_DFL));
  if (!push_frame(info, action, old_mask)) {
    // Somebody outside has killed the host's process.
    if (!context->alive()) {
      exit_group(*group, SIGKILL);
      return;
    }
    // No room for the frame: a SIGSEGV that cannot be handled on that stack, deadly if it was one already.
    if (signo == SIGSEGV) {
      exit_group(*group, SIGSEGV);
    } else {
      SignalInfo fault = make_signal(SIGSEGV, SI_KERNEL);
      force(fault);
    }
    return;
  }
  if (traced != nullptr && traced->step) report_step(*this);  // at the handler's first instruction
  saved_mask.reset();
  SignalSet next = mask | action.mask;
  if ((action.flags & SA_NODEFER) == 0) next.add(signo);
  set_mask(next);
}

}  // namespace sentry::kernel
