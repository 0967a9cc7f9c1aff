#include "guard.h"

#include <sys/ucontext.h>
#include <unistd.h>

#include <cstdio>

#include "trace.h"

namespace random_program {

namespace detail {
namespace {
thread_local Guard the_guard;
thread_local volatile bool inside = false;
}  // namespace

Guard& guard() { return the_guard; }
void enter() { inside = true; }
void leave() { inside = false; }

namespace {
void on_fault(int signal, siginfo_t* info, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (!inside) {
    dprintf(STDERR_FILENO, "random_program: signal %d, code %d, address %p, at %#llx\n", signal,
            info->si_code, info->si_addr, registers[REG_RIP]);
    _exit(98);
  }
  the_guard.fault = {signal,
                     info->si_code,
                     reinterpret_cast<uint64_t>(info->si_addr),
                     static_cast<uint64_t>(registers[REG_RIP]),
                     static_cast<uint64_t>(registers[REG_ERR]),
                     static_cast<uint64_t>(registers[REG_TRAPNO])};
  siglongjmp(the_guard.back, 1);
}
}  // namespace
}  // namespace detail

void guard_faults() {
  struct sigaction action {};
  action.sa_sigaction = detail::on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) {
    must(sigaction(signal, &action, nullptr), "sigaction");
  }
}

void say_fault(const char* what, const Fault& fault, const void* base) {
  if (fault.signal == 0) {
    say("%s: no fault", what);
    return;
  }
  say("%s: signal %d code %d at %+lld", what, fault.signal, fault.code,
      static_cast<long long>(fault.address - (fault.address == 0 ? 0 : reinterpret_cast<uint64_t>(base))));
  // Whether a page was there is the kernel's business: bit 0 is left out.
  say("  cpu: error %#llx trap %llu", static_cast<unsigned long long>(fault.error & ~uint64_t{1}),
      static_cast<unsigned long long>(fault.trap));
}

}  // namespace random_program
