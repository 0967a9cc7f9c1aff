#pragma once
// Code that may fault, and what the fault said.
#include <csetjmp>
#include <csignal>
#include <cstdint>

namespace random_program {

struct Fault {
  int signal = 0;  // none if 0
  int code = 0;
  uint64_t address = 0, instruction = 0;
  uint64_t error = 0, trap = 0;
};

// Takes over SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGTRAP; again after a test that had them.
void guard_faults();

namespace detail {
struct Guard {
  sigjmp_buf back;
  Fault fault;
};
Guard& guard();
void enter();
void leave();
}  // namespace detail

// Runs it, to its end or its first fault. No object with a destructor may live in it.
template <typename F>
Fault guarded(F run) {
  detail::Guard& guard = detail::guard();
  guard.fault = Fault{};
  if (sigsetjmp(guard.back, 1) == 0) {
    detail::enter();
    run();
  }
  detail::leave();
  return guard.fault;
}

// Says what the fault was, with the address as an offset from `base`, if there.
void say_fault(const char* what, const Fault& fault, const void* base);

}  // namespace random_program
