#include "sentry/mm/guarded_copy.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "sentry/base/log.h"

// size_t bulkhead_guarded_copy(to, from, size): how many bytes were not copied. A fault in its one
// instruction that touches memory goes on behind it.
asm(R"(
  .text
  .type bulkhead_guarded_copy, @function
bulkhead_guarded_copy:
  mov %rdx, %rcx
bulkhead_guarded_copy_instruction:
  rep movsb
bulkhead_guarded_copy_end:
  mov %rcx, %rax
  ret
  .size bulkhead_guarded_copy, . - bulkhead_guarded_copy
)");

extern "C" {
size_t bulkhead_guarded_copy(void* to, const void* from, size_t size);
extern const char bulkhead_guarded_copy_instruction[], bulkhead_guarded_copy_end[];
}

namespace sentry::mm {
namespace {

void on_fault(int, siginfo_t*, void* raw_context) {
  greg_t& rip = static_cast<ucontext_t*>(raw_context)->uc_mcontext.gregs[REG_RIP];
  if (rip != reinterpret_cast<greg_t>(bulkhead_guarded_copy_instruction)) __builtin_trap();
  rip = reinterpret_cast<greg_t>(bulkhead_guarded_copy_end);
}

}  // namespace

void guard_copies() {
  constexpr size_t kSize = 64 << 10;  // vector state alone may be more than ten KiB
  stack_t stack{};
  stack.ss_sp = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack.ss_size = kSize;
  BULKHEAD_CHECK(stack.ss_sp != MAP_FAILED && ::sigaltstack(&stack, nullptr) == 0,
                 "a stack for signals: error {}", errno);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGBUS, &action, nullptr);
}

size_t guarded_copy(void* to, const void* from, size_t size) {
  return size - bulkhead_guarded_copy(to, from, size);
}

}  // namespace sentry::mm
