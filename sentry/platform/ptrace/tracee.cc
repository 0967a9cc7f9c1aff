#include "sentry/platform/ptrace/tracee.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/platform/ptrace/stub.h"

namespace sentry::platform::ptrace {
namespace {

static_assert(sizeof(Registers) == sizeof(user_regs_struct));

// Continues the thread until the int3 behind the call. Stops on the way are an interrupt that was already
// under way (passed over) and the birth of the clone (`born`).
Result<uint64_t> run_to_breakpoint(pid_t tid, pid_t* born) {
  for (;;) {
    if (::ptrace(PTRACE_CONT, tid, 0, 0) != 0) return Errno(ESRCH);
    int status = 0;
    pid_t waited;
    do waited = ::wait4(tid, &status, __WALL, nullptr);
    while (waited < 0 && errno == EINTR);
    if (waited != tid || !WIFSTOPPED(status)) return Errno(ESRCH);
    const int event = status >> 16;
    if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
      unsigned long message = 0;
      ::ptrace(PTRACE_GETEVENTMSG, tid, 0, &message);
      if (born != nullptr) *born = static_cast<pid_t>(message);
      continue;
    }
    if (event != 0 || WSTOPSIG(status) != SIGTRAP) continue;
    Registers registers;
    get_registers(tid, registers);
    if (registers.rip != kStubReturn) continue;
    const auto result = static_cast<int64_t>(registers.rax);
    if (result < 0 && result > -4096) return Errno(static_cast<int>(-result));
    return registers.rax;
  }
}

bool prepare(pid_t tid, long number, const CallArguments& arguments) {
  Registers registers{};
  registers.cs = abi::kUserCode;
  registers.ss = abi::kUserData;
  registers.eflags = 0x202;
  registers.rip = kStubCall;
  registers.rax = static_cast<uint64_t>(number);
  registers.orig_rax = ~uint64_t{0};
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  return set_registers(tid, registers);
}

}  // namespace

void get_registers(pid_t tid, Registers& registers) { ::ptrace(PTRACE_GETREGS, tid, 0, &registers); }

bool set_registers(pid_t tid, const Registers& registers) {
  return ::ptrace(PTRACE_SETREGS, tid, 0, &registers) == 0;
}

Result<uint64_t> inject(pid_t tid, long number, const CallArguments& arguments) {
  if (!prepare(tid, number, arguments)) return Errno(ESRCH);
  return run_to_breakpoint(tid, nullptr);
}

Result<Cloned> inject_clone(pid_t tid, uint64_t flags) {
  if (!prepare(tid, SYS_clone, {flags, 0, 0, 0, 0, 0})) return Errno(ESRCH);
  pid_t born = 0;
  TRY(run_to_breakpoint(tid, &born));
  BULKHEAD_CHECK(born > 0, "a clone without its event");
  int status = 0;
  pid_t waited;
  do waited = ::wait4(born, &status, __WALL, nullptr);
  while (waited < 0 && errno == EINTR);
  if (waited != born || !WIFSTOPPED(status)) return Errno(EAGAIN);
  return Cloned{born};
}

}  // namespace sentry::platform::ptrace
