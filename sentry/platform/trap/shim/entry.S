// The shim's entries and exits, and every host call that it issues.
#include <asm/unistd.h>

#include "sentry/platform/trap/shim/numbers.h"

  .section .header, "a"
  .globl shim_header
shim_header:
  .quad 0x6d6968736b6c7562
  .quad shim_signal_entry
  .quad shim_restorer
  .quad shim_start_first
  .quad shim_jump_entry

  .text

// Signals: signo in edi, siginfo in rsi, ucontext in rdx; the kernel has put the restorer's address on the stack.
  .globl shim_signal_entry
shim_signal_entry:
  endbr64
  pushfq
  andl $~EFLAGS_AC, (%rsp)
  popfq
  cld
  mov %rdx, %rbx
  call shim_signal
  mov %rbx, %rsp
  mov $__NR_rt_sigreturn, %eax
  syscall
  ud2

  .globl shim_restorer
shim_restorer:
  mov $__NR_rt_sigreturn, %eax
  syscall
  ud2

// void shim_sigreturn(ucontext)
  .globl shim_sigreturn
shim_sigreturn:
  mov %rdi, %rsp
  mov $__NR_rt_sigreturn, %eax
  syscall
  ud2

// From a patched call site, by its trampoline: r11 points at the distance from there to the return address; rcx is the
// call's to clobber, all else is the guest's, flags too. GS is the shim's unless the guest has set it: an address
// behind the guest's range tells, and is looked at without touching the flags.
  .globl shim_jump_entry
shim_jump_entry:
  endbr64
  rdgsbase %rcx
  rorx $32, %rcx, %rcx
  lea -0x7fff(%rcx), %ecx
  jrcxz 1f
  jmp shim_slow_call
1:
  rdgsbase %rcx
  mov %r15, AREA_R15(%rcx)
  mov %r14, AREA_R14(%rcx)
  mov %r13, AREA_R13(%rcx)
  mov %r12, AREA_R12(%rcx)
  mov %rbp, AREA_RBP(%rcx)
  mov %rbx, AREA_RBX(%rcx)
  mov %r10, AREA_R10(%rcx)
  mov %r9, AREA_R9(%rcx)
  mov %r8, AREA_R8(%rcx)
  mov %rax, AREA_RAX(%rcx)
  mov %rdx, AREA_RDX(%rcx)
  mov %rsi, AREA_RSI(%rcx)
  mov %rdi, AREA_RDI(%rcx)
  mov %rsp, AREA_RSP(%rcx)
  lea KSTACK_TOP(%rcx), %rsp
  pushfq
  pop %rdx
  mov %rdx, AREA_EFLAGS(%rcx)
  mov %rdx, AREA_R11(%rcx)
  test $(EFLAGS_AC | EFLAGS_DF), %edx
  jnz 3f
2:
  movslq (%r11), %rdx
  add %r11, %rdx
  mov %rdx, AREA_RIP(%rcx)
  mov %rdx, AREA_RCX(%rcx)
  mov %rcx, %rbx
  mov %rcx, %rdi
  call shim_answer
  mov %rbx, %rdi
  test %al, %al
  jnz shim_return
  call shim_jump
  ud2
3:
  push %rdx
  andl $~(EFLAGS_AC | EFLAGS_DF), (%rsp)
  popfq
  jmp 2b

// From the area that rdi points at: all but rsp, rbp and r12 to r15. Flags stay.
.macro load_registers
  mov AREA_RBX(%rdi), %rbx
  mov AREA_R11(%rdi), %r11
  mov AREA_R10(%rdi), %r10
  mov AREA_R9(%rdi), %r9
  mov AREA_R8(%rdi), %r8
  mov AREA_RAX(%rdi), %rax
  mov AREA_RCX(%rdi), %rcx
  mov AREA_RDX(%rdi), %rdx
  mov AREA_RSI(%rdi), %rsi
  mov AREA_RDI(%rdi), %rdi
.endm

// Back from a call that the shim has answered, rdi the area: C code has kept rbp and r12 to r15, and but for the
// direction flag and AC the status flags are all that it has touched. SAHF knows them but for the overflow flag.
  .globl shim_return
shim_return:
  cmpl $0, AREA_INTERRUPTED(%rdi)
  jne shim_interrupted
  mov AREA_EFLAGS(%rdi), %ecx
  test $(EFLAGS_AC | EFLAGS_DF), %ecx
  jnz shim_leave
  mov %ecx, %eax
  shr $11, %eax
  and $1, %eax
  mov %cl, %ah
  add $0x7f, %al
  sahf
  load_registers
  mov %gs:AREA_RSP, %rsp
  jmp *%gs:AREA_RIP

// void shim_leave(area): into guest code with the area's registers. A kick that comes in here, or in shim_return,
// starts it over, at shim_interrupted; before, it has set `interrupted`.
  .globl shim_leave
  .globl shim_leave_end
shim_leave:
  cmpl $0, AREA_INTERRUPTED(%rdi)
  jne shim_interrupted
  lea KSTACK_TOP(%rdi), %rsp
  pushq AREA_EFLAGS(%rdi)
  mov AREA_R15(%rdi), %r15
  mov AREA_R14(%rdi), %r14
  mov AREA_R13(%rdi), %r13
  mov AREA_R12(%rdi), %r12
  mov AREA_RBP(%rdi), %rbp
  load_registers
  popfq
  mov %gs:AREA_RSP, %rsp
  jmp *%gs:AREA_RIP
shim_leave_end:
  ud2

// A kick on the way out, or before: rdi the area.
  .globl shim_interrupted
shim_interrupted:
  lea KSTACK_TOP(%rdi), %rsp
  call shim_jump_interrupted
  ud2

// The guest has a GS of its own: its call goes by signal, from where no host call is let through, and the handler finds
// the trampoline below the red zone.
  .section .trapping, "ax"
  .globl shim_slow_call
  .globl shim_slow_return
shim_slow_call:
  mov %r11, -136(%rsp)
  syscall
shim_slow_return:
  ud2
  .text

// long shim_call(number, const uint64_t arguments[6])
  .globl shim_call
shim_call:
  mov %rdi, %rax
  mov %rsi, %r11
  mov (%r11), %rdi
  mov 8(%r11), %rsi
  mov 16(%r11), %rdx
  mov 24(%r11), %r10
  mov 32(%r11), %r8
  mov 40(%r11), %r9
  syscall
  ret

// long shim_wait(area, word, value): FUTEX_WAIT_PRIVATE. -EINTR as well if a kick has come before: one that comes
// between the look and the call starts at shim_wait_interrupted.
  .globl shim_wait
  .globl shim_wait_begin
  .globl shim_wait_end
  .globl shim_wait_interrupted
shim_wait:
  mov %rdi, %r9
  mov %rsi, %rdi
  mov $FUTEX_WAIT_PRIVATE, %esi
  xor %r10d, %r10d
shim_wait_begin:
  cmpl $0, AREA_INTERRUPTED(%r9)
  jne shim_wait_interrupted
  mov $__NR_futex, %eax
  syscall
shim_wait_end:
  ret
shim_wait_interrupted:
  mov $-4, %rax
  ret

// uint64_t shim_copy(to, from, count): how many bytes were not copied. A fault in the copy goes on at its end.
  .globl shim_copy
  .globl shim_copy_instruction
  .globl shim_copy_end
shim_copy:
  mov %rdx, %rcx
shim_copy_instruction:
  rep movsb
shim_copy_end:
  mov %rcx, %rax
  ret

// bool shim_load(uint64_t* to, uint64_t from), bool shim_store(uint64_t to, first), bool shim_store_two(to, first,
// second): between the shim and guest memory; false if that is not there. bool shim_load_words(uint64_t* to, from,
// count): so many, in order.
  .globl shim_load
  .globl shim_load_words
  .globl shim_store
  .globl shim_store_two
  .globl shim_touch
  .globl shim_touch_failed
shim_touch:
shim_load:
  mov (%rsi), %rax
  mov %rax, (%rdi)
  mov $1, %eax
  ret
shim_load_words:
  mov (%rsi), %rax
  mov %rax, (%rdi)
  add $8, %rsi
  add $8, %rdi
  dec %rdx
  jnz shim_load_words
  mov $1, %eax
  ret
shim_store_two:
  mov %rdx, 8(%rdi)
shim_store:
  mov %rsi, (%rdi)
  mov $1, %eax
  ret
shim_touch_failed:
  xor %eax, %eax
  ret

// clone(2) with the flags in rdi and the stack in rsi: no tid is stored, no TLS set. Goes on behind it in both.
.macro clone_call
  xor %edx, %edx
  xor %r10d, %r10d
  xor %r8d, %r8d
  xor %r9d, %r9d
  mov $__NR_clone, %eax
  syscall
  test %rax, %rax
.endm

// long shim_fork(flags, area, descriptor, offset): the parent's result of clone(2). The child has no stack until it has
// mapped its own area over the parent's.
  .globl shim_fork
shim_fork:
  push %rbx
  push %r12
  push %r13
  push %r14
  mov %rsi, %r12
  mov %rdx, %r13
  mov %rcx, %r14
  xor %esi, %esi
  clone_call
  jz 1f
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  ret
1:
  mov %r12, %rdi
  mov $KAREA_SIZE, %esi
  mov $3, %edx
  mov $0x11, %r10d
  mov %r13, %r8
  mov %r14, %r9
  mov $__NR_mmap, %eax
  syscall
  cmp %r12, %rax
  jne 2f
  lea KSTACK_TOP(%r12), %rsp
  mov %r12, %rdi
  call shim_born
2:
  ud2

// long shim_thread(flags, area, nonce): the parent's result of clone(2). The new thread runs on its area's stack.
  .globl shim_thread
shim_thread:
  push %rbx
  push %r12
  push %r13
  mov %rsi, %r12
  mov %rdx, %r13
  lea KSTACK_TOP(%r12), %rsi
  clone_call
  jz 1f
  pop %r13
  pop %r12
  pop %rbx
  ret
1:
  mov %r12, %rdi
  mov %r13, %rsi
  call shim_born_thread
  ud2

// The first stub, on the sentry's stack that is about to go: rdi its area.
  .globl shim_start_first
shim_start_first:
  lea KSTACK_TOP(%rdi), %rsp
  call shim_first
  ud2

// void shim_save_state(place), void shim_load_state(place): every component that is enabled.
  .globl shim_save_state
shim_save_state:
  mov $-1, %eax
  mov $-1, %edx
  xsave64 (%rdi)
  ret
  .globl shim_load_state
shim_load_state:
  mov $-1, %eax
  mov $-1, %edx
  xrstor64 (%rdi)
  ret

// bool shim_try_state(place): the same; false for what the CPU refuses.
  .globl shim_try_state
  .globl shim_try_instruction
  .globl shim_try_failed
shim_try_state:
  mov $-1, %eax
  mov $-1, %edx
shim_try_instruction:
  xrstor64 (%rdi)
  mov $1, %eax
  ret
shim_try_failed:
  xor %eax, %eax
  ret

  .section .note.GNU-stack, "", @progbits
