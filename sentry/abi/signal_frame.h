// What a signal handler finds on its stack and rt_sigreturn(2) reads back:
// arch/x86/include/uapi/asm/sigcontext.h and ucontext.h. For guest handlers' frames and for those of the trap
// platform's shim, which is compiled without a library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sentry::abi {

// struct sigcontext_64.
struct SignalContext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2, fpstate;
  uint64_t reserved[8];
};
static_assert(sizeof(SignalContext) == 256);

// struct ucontext.
struct UserContext {
  uint64_t flags, link, stack_base;
  int32_t stack_flags, stack_padding;
  uint64_t stack_size;
  SignalContext context;
  uint64_t mask;
};
static_assert(sizeof(UserContext) == 304);

// UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
inline constexpr uint64_t kContextFlags = 1 | 2 | 4;
// The selectors of 64-bit user code and data.
inline constexpr uint16_t kUserCode = 0x33, kUserData = 0x2b;

// Of eflags, the trap flag: a SIGTRAP after each instruction.
inline constexpr uint64_t kTrapFlag = 0x100;
// SA_RESTORER, sigaction(2): what C libraries add to each action's flags.
inline constexpr uint64_t kSaRestorer = 0x04000000;

// The general registers, between anything that has them by these names.
template <typename From, typename To>
void copy_registers(const From& from, To& to) {
  to.r8 = from.r8, to.r9 = from.r9, to.r10 = from.r10, to.r11 = from.r11;
  to.r12 = from.r12, to.r13 = from.r13, to.r14 = from.r14, to.r15 = from.r15;
  to.rdi = from.rdi, to.rsi = from.rsi, to.rbp = from.rbp, to.rbx = from.rbx;
  to.rdx = from.rdx, to.rax = from.rax, to.rcx = from.rcx, to.rsp = from.rsp;
  to.rip = from.rip, to.eflags = from.eflags;
}

// struct _fpx_sw_bytes: what the kernel writes into the bytes of the vector state that XSAVE leaves to
// software.
struct FrameSoftware {
  uint32_t magic1, extended_size;
  uint64_t features;
  uint32_t state_size;
  uint32_t padding[7];
};
static_assert(sizeof(FrameSoftware) == 48);
inline constexpr uint32_t kFrameMagic1 = 0x46505853, kFrameMagic2 = 0x46505845;  // FP_XSTATE_MAGIC1, 2

// The vector state itself, in XSAVE's standard format (Intel's manual, volume 1, 13.4).
inline constexpr size_t kControlWordAt = 0, kMxcsrAt = 24;
inline constexpr size_t kSoftwareAt = 464;                            // FrameSoftware
inline constexpr size_t kXsaveHeaderAt = 512, kXsaveHeaderSize = 64;  // XSTATE_BV is its first word
inline constexpr uint64_t kLegacyFeatures = 3;                        // x87 and SSE
inline constexpr uint64_t kProtectionKeys = 1 << 9;                   // PKRU
// What a new program has there, where it is not zeros: arch/x86/kernel/fpu, arch/x86/mm/pkeys.c.
inline constexpr uint16_t kInitialControlWord = 0x37f;
inline constexpr uint32_t kInitialMxcsr = 0x1f80, kInitialPkru = 0x55555554;

}  // namespace sentry::abi
