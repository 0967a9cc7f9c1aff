#include "call_site.h"

// Where a thread keeps what it has no register for.
extern "C" {
#define THREAD_WORD __attribute__((tls_model("local-exec"), used)) __thread
THREAD_WORD uint64_t call_own_stack = 0;
THREAD_WORD uint64_t call_out = 0;
THREAD_WORD uint64_t call_entry = 0;
THREAD_WORD uint64_t call_wide = 0;
THREAD_WORD uint64_t call_rsp = 0;
THREAD_WORD uint64_t call_rdi = 0;
}

// The stack pointer is the caller's choice, and below it lies the red zone: nothing is pushed there but the
// flags, in the place where the return address comes to lie.
asm(R"(
    .text
    .globl call_site_with
    .type call_site_with, @function
    .balign 16
call_site_with:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    pushfq
    sub $16, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    mov %rsp, %fs:call_own_stack@tpoff
    mov %rsi, %fs:call_out@tpoff
    mov %rdx, %fs:call_entry@tpoff
    mov %rcx, %fs:call_wide@tpoff
    frstor 192(%rdi)
    ldmxcsr 136(%rdi)
    test %ecx, %ecx
    jz 1f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq 320 + 8 * \n(%rdi), %k\n
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovups 384 + 64 * \n(%rdi), %zmm\n
    .endr
    jmp 2f
1:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovups 384 + 64 * \n(%rdi), %ymm\n
    .endr
2:
    mov 56(%rdi), %rsp
    pushq 128(%rdi)
    popfq
    mov (%rdi), %rax
    mov 8(%rdi), %rbx
    mov 16(%rdi), %rcx
    mov 24(%rdi), %rdx
    mov 32(%rdi), %rsi
    mov 48(%rdi), %rbp
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 40(%rdi), %rdi
    call *%fs:call_entry@tpoff
    mov %rsp, %fs:call_rsp@tpoff
    mov %rdi, %fs:call_rdi@tpoff
    mov %fs:call_own_stack@tpoff, %rsp
    pushfq
    mov %fs:call_out@tpoff, %rdi
    mov %rax, (%rdi)
    mov %rbx, 8(%rdi)
    mov %rcx, 16(%rdi)
    mov %rdx, 24(%rdi)
    mov %rsi, 32(%rdi)
    mov %rbp, 48(%rdi)
    mov %r8, 64(%rdi)
    mov %r9, 72(%rdi)
    mov %r10, 80(%rdi)
    mov %r11, 88(%rdi)
    mov %r12, 96(%rdi)
    mov %r13, 104(%rdi)
    mov %r14, 112(%rdi)
    mov %r15, 120(%rdi)
    pop %rax
    mov %rax, 128(%rdi)
    mov 16(%rsp), %rax
    push %rax
    popfq
    mov %fs:call_rdi@tpoff, %rax
    mov %rax, 40(%rdi)
    mov %fs:call_rsp@tpoff, %rax
    mov %rax, 56(%rdi)
    stmxcsr 136(%rdi)
    fnsave 192(%rdi)
    cmpl $0, %fs:call_wide@tpoff
    je 3f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq %k\n, 320 + 8 * \n(%rdi)
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovups %zmm\n, 384 + 64 * \n(%rdi)
    .endr
    jmp 4f
3:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovups %ymm\n, 384 + 64 * \n(%rdi)
    .endr
4:
    vzeroupper
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    add $16, %rsp
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size call_site_with, . - call_site_with

    .globl normalize_x87
    .type normalize_x87, @function
normalize_x87:
    sub $8, %rsp
    fnstcw (%rsp)
    frstor (%rdi)
    fnsave (%rdi)
    fldcw (%rsp)
    add $8, %rsp
    ret
    .size normalize_x87, . - normalize_x87

    .macro site name, load:vararg
    .globl site_\name, site_\name\()_after
    .balign 16
site_\name:
    \load
    syscall
site_\name\()_after:
    ret
    .endm

    site getpid, mov $39, %eax
    site gettid, mov $186, %eax
    site sched_yield, mov $24, %eax
    site fcntl, mov $72, %eax
    site sigprocmask, mov $14, %eax
    site clock_gettime, mov $228, %eax
    site lseek, mov $8, %eax
    site madvise, mov $28, %eax
    site nothing, mov $4000, %eax
    site sigaltstack, mov $131, %rax
    site close, mov $3, %eax
    site getuid, .byte 0x48, 0xc7, 0xc0, 0x66, 0, 0, 0
    site from_r15d, mov %r15d, %eax
    site from_r15, mov %r15, %rax
    site by_lea, lea (%r15), %eax
    site by_long_lea, .byte 0x49, 0x8d, 0x87, 0, 0, 0, 0
    site by_nop, nop
    site by_long_nop, .byte 0x0f, 0x1f, 0x44, 0, 0
    site by_relative_lea, lea site_getpid(%rip), %r14
    site by_stack, mov -64(%rsp), %r14
    site by_fs, mov %fs:0, %r14
)");

namespace random_program {

extern "C" {
#define SITE(name) extern const char site_##name[], site_##name##_after[]
SITE(getpid);
SITE(gettid);
SITE(sched_yield);
SITE(fcntl);
SITE(sigprocmask);
SITE(clock_gettime);
SITE(lseek);
SITE(madvise);
SITE(nothing);
SITE(sigaltstack);
SITE(close);
SITE(getuid);
SITE(from_r15d);
SITE(from_r15);
SITE(by_lea);
SITE(by_long_lea);
SITE(by_nop);
SITE(by_long_nop);
SITE(by_relative_lea);
SITE(by_stack);
SITE(by_fs);
#undef SITE
}

namespace {
#define SITE(name) #name, site_##name, site_##name##_after
constexpr Site kSites[] = {
    {SITE(getpid), Loads::kNumber, 39},
    {SITE(gettid), Loads::kNumber, 186},
    {SITE(sched_yield), Loads::kNumber, 24},
    {SITE(fcntl), Loads::kNumber, 72},
    {SITE(sigprocmask), Loads::kNumber, 14},
    {SITE(clock_gettime), Loads::kNumber, 228},
    {SITE(lseek), Loads::kNumber, 8},
    {SITE(madvise), Loads::kNumber, 28},
    {SITE(nothing), Loads::kNumber, 4000},
    {SITE(sigaltstack), Loads::kNumber, 131},
    {SITE(close), Loads::kNumber, 3},
    {SITE(getuid), Loads::kNumber, 102},
    {SITE(from_r15d), Loads::kNumberFromR15},
    {SITE(from_r15), Loads::kNumberFromR15},
    {SITE(by_lea), Loads::kNumberFromR15},
    {SITE(by_long_lea), Loads::kNumberFromR15},
    {SITE(by_nop), Loads::kNothing},
    {SITE(by_long_nop), Loads::kNothing},
    {SITE(by_relative_lea), Loads::kGetpidSite},
    {SITE(by_stack), Loads::kRedZone},
    {SITE(by_fs), Loads::kThreadPointer},
};
#undef SITE
}  // namespace

std::span<const Site> sites() { return kSites; }

Site bare(const Site& site) { return {site.name, static_cast<const char*>(site.after) - 2, site.after}; }

}  // namespace random_program
