// The general registers of a guest thread.
#pragma once

#include <cstdint>

namespace sentry::platform {

// In the order of the kernel's struct user_regs_struct (arch/x86/include/asm/user_64.h).
struct Registers {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags,
      rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};

// What a call is made of: its number and its arguments. rax holds the number before the call and its result
// after.
inline void copy_call(const Registers& from, Registers& to) {
  to.rax = from.rax, to.orig_rax = from.orig_rax;
  to.rdi = from.rdi, to.rsi = from.rsi, to.rdx = from.rdx;
  to.r10 = from.r10, to.r8 = from.r8, to.r9 = from.r9;
}

}  // namespace sentry::platform
