// The life of a task: guest code, traps, calls, signals.
#include <sys/syscall.h>

#include "sentry/base/log.h"
#include "sentry/kernel/exit.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"

namespace sentry::kernel {

void Task::run_loop() {
  for (;;) {
    deliver_signals();
    if (exited || group->exiting) break;
    const platform::Trap trap = context->run(registers);
    switch (trap.kind) {
      case platform::Trap::Kind::kSyscall:
        handle_syscall(trap.foreign);
        break;
      case platform::Trap::Kind::kFault:
        handle_fault(trap.info);
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

void Task::handle_syscall(bool foreign) {
  const auto number = static_cast<uint32_t>(registers.orig_rax);  // the kernel looks at eax alone
  registers.orig_rax = ~uint64_t{0};
  if (foreign) {  // there is no 32-bit interface here
    registers.rax = static_cast<uint64_t>(-ENOSYS);
    return;
  }
  syscall_number = static_cast<int>(number);
  in_syscall = true;
  const uint64_t args[6] = {registers.rdi, registers.rsi, registers.rdx,
                            registers.r10, registers.r8,  registers.r9};
  const Result<uint64_t> result = kernel.dispatch(*this, number, args);
  in_syscall = false;
  if (exited || group->exiting) return;
  if (registers_replaced_) {
    registers_replaced_ = false;  // execve, rt_sigreturn
    return;
  }
  if (result.ok()) {
    registers.rax = *result;
    return;
  }
  const int error = result.error().value();
  switch (error) {
    case kErestartSys:
    case kErestartNoIntr:
    case kErestartNoHand:
    case kErestartRestartblock:
      restart_code_ = error;
      registers.rax = static_cast<uint64_t>(-EINTR);
      break;
    default:
      registers.rax = static_cast<uint64_t>(-static_cast<int64_t>(error));
  }
}

void Task::handle_fault(const siginfo_t& host) {
  SignalInfo info = make_signal(host.si_signo, host.si_code);
  info.si_addr = host.si_addr;
  if (host.si_signo == SIGSEGV || host.si_signo == SIGBUS) {
    const auto answer = memory().handle_fault(reinterpret_cast<uint64_t>(host.si_addr), host, registers.rsp);
    if (answer.resolved) return;
    info.si_signo = answer.signo;
    info.si_code = answer.code;
  }
  force(info);
}

}  // namespace sentry::kernel
