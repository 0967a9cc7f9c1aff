// The x86-64 system call convention as code relies on it: which registers a call keeps, the red zone, flags,
// and the floating point and vector state; other entries into the kernel.
#include <emmintrin.h>
#include <sched.h>
#include <setjmp.h>

#include "tests/syscalls/check.h"

namespace {

struct Registers {
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};

extern "C" void call_with_registers(const Registers* in, Registers* out);

// Loads all registers but rsp from *rdi, executes `syscall`, stores them to *rsi.
asm(R"(
  .text
  .type call_with_registers, @function
call_with_registers:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  push %rsi
  mov %rdi, %rax
  pushq 120(%rax)
  popfq
  mov 8(%rax), %rbx
  mov 16(%rax), %rcx
  mov 24(%rax), %rdx
  mov 32(%rax), %rsi
  mov 40(%rax), %rdi
  mov 48(%rax), %rbp
  mov 56(%rax), %r8
  mov 64(%rax), %r9
  mov 72(%rax), %r10
  mov 80(%rax), %r11
  mov 88(%rax), %r12
  mov 96(%rax), %r13
  mov 104(%rax), %r14
  mov 112(%rax), %r15
  mov (%rax), %rax
  syscall
  pushfq
  push %rax
  mov 16(%rsp), %rax
  mov %rbx, 8(%rax)
  mov %rcx, 16(%rax)
  mov %rdx, 24(%rax)
  mov %rsi, 32(%rax)
  mov %rdi, 40(%rax)
  mov %rbp, 48(%rax)
  mov %r8, 56(%rax)
  mov %r9, 64(%rax)
  mov %r10, 72(%rax)
  mov %r11, 80(%rax)
  mov %r12, 88(%rax)
  mov %r13, 96(%rax)
  mov %r14, 104(%rax)
  mov %r15, 112(%rax)
  pop %rbx
  mov %rbx, (%rax)
  pop %rbx
  mov %rbx, 120(%rax)
  cld
  pop %rsi
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
  .size call_with_registers, . - call_with_registers
)");

constexpr uint64_t kDirectionFlag = 0x400, kCarryFlag = 1, kZeroFlag = 0x40, kSignFlag = 0x80;

Registers pattern(uint64_t number) {
  Registers r;
  auto* words = reinterpret_cast<uint64_t*>(&r);
  for (uint64_t i = 0; i < 15; ++i) words[i] = 0x1111'1111'1111'1111 * (i + 1);
  r.rax = number;
  r.flags = 0x202;
  return r;
}

// Everything but rax, rcx and r11 must come back.
void check_kept(const Registers& in, const Registers& out) {
  CHECK_EQ(out.rbx, in.rbx);
  CHECK_EQ(out.rdx, in.rdx);
  CHECK_EQ(out.rsi, in.rsi);
  CHECK_EQ(out.rdi, in.rdi);
  CHECK_EQ(out.rbp, in.rbp);
  CHECK_EQ(out.r8, in.r8);
  CHECK_EQ(out.r9, in.r9);
  CHECK_EQ(out.r10, in.r10);
  CHECK_EQ(out.r12, in.r12);
  CHECK_EQ(out.r13, in.r13);
  CHECK_EQ(out.r14, in.r14);
  CHECK_EQ(out.r15, in.r15);
  CHECK_EQ(out.flags & ~uint64_t(0x10000), in.flags);  // but RF
}

TEST(registers_are_kept) {
  for (int number : {SYS_getpid, SYS_sched_yield, SYS_getppid, SYS_gettid, 9999}) {
    Registers in = pattern(static_cast<uint64_t>(number)), out;
    call_with_registers(&in, &out);
    check_kept(in, out);
    if (number == SYS_getpid) CHECK_EQ(out.rax, uint64_t(getpid()));
    if (number == 9999) CHECK_EQ(static_cast<int64_t>(out.rax), -ENOSYS);
  }
}

TEST(registers_are_kept_by_calls_with_arguments) {
  WRITE_FILE("a", "0123456789");
  int fd = OK(open("a", O_RDONLY));
  char text[8];
  Registers in = pattern(SYS_read), out;
  in.rdi = static_cast<uint64_t>(fd);
  in.rsi = reinterpret_cast<uint64_t>(text);
  in.rdx = 8;
  call_with_registers(&in, &out);
  CHECK_EQ(out.rax, 8u);
  check_kept(in, out);
  in = pattern(SYS_mmap);
  in.rdi = 0;
  in.rsi = 4096;
  in.rdx = PROT_READ;
  in.r10 = MAP_PRIVATE | MAP_ANONYMOUS;
  in.r8 = ~0ul;
  in.r9 = 0;
  call_with_registers(&in, &out);
  CHECK(static_cast<int64_t>(out.rax) > 0);
  check_kept(in, out);
}

TEST(registers_are_kept_when_the_call_waits) {
  timespec pause = {0, 5'000'000};
  Registers in = pattern(SYS_nanosleep), out;
  in.rdi = reinterpret_cast<uint64_t>(&pause);
  in.rsi = 0;
  call_with_registers(&in, &out);
  CHECK_EQ(out.rax, 0u);
  check_kept(in, out);
}

TEST(registers_are_kept_in_the_child_of_a_fork) {
  Registers in = pattern(SYS_fork), out;
  call_with_registers(&in, &out);
  check_kept(in, out);
  if (out.rax == 0) _exit(0);
  JOIN(static_cast<pid_t>(out.rax));
}

TEST(flags_are_kept) {
  for (uint64_t flags : {kDirectionFlag, kCarryFlag, kZeroFlag, kSignFlag, kCarryFlag | kDirectionFlag}) {
    Registers in = pattern(SYS_getpid), out;
    in.flags = 0x202 | flags;
    call_with_registers(&in, &out);
    check_kept(in, out);
  }
}

TEST(rcx_and_r11_are_the_return_address_and_flags) {
  // What `syscall` itself leaves; programs may not rely on it, but debuggers and sanitizers have been seen to
  // look.
  Registers in = pattern(SYS_getpid), out;
  call_with_registers(&in, &out);
  auto* at = reinterpret_cast<const unsigned char*>(out.rcx);
  CHECK_EQ(at[-2], 0x0f);
  CHECK_EQ(at[-1], 0x05);
  CHECK_EQ(out.r11, 0x202u);
}

TEST(upper_halves_of_int_arguments_are_ignored) {
  int fd = OK(open("a", O_RDWR | O_CREAT, 0600));
  CHECK_EQ(OK(syscall(SYS_write, 0x1234'5678'0000'0000 | static_cast<uint64_t>(fd), "x", 1)), 1);
  CHECK_EQ(OK(syscall(SYS_close, 0xdead'beef'0000'0000 | static_cast<uint64_t>(fd))), 0);
}

TEST(number_is_32_bits) {
  // The upper half of rax is ignored (Linux 5.16 and later take the number as an int).
  long pid = 0;
  asm volatile("syscall" : "=a"(pid) : "a"(0x1'0000'0000 | SYS_getpid) : "rcx", "r11", "memory");
  CHECK(pid == getpid() || pid == -ENOSYS);
}

TEST(red_zone_is_untouched) {
  long bad = 0;
  asm volatile(
      "sub $512, %%rsp\n"
      "mov $16, %%ecx\n"
      "mov $-128, %%rdx\n"
      "1: mov %%rdx, (%%rsp,%%rdx)\n"
      "add $8, %%rdx\n"
      "jnz 1b\n"
      "mov $39, %%eax\n syscall\n"
      "mov $24, %%eax\n syscall\n"
      "xor %%ebx, %%ebx\n"
      "mov $-128, %%rdx\n"
      "2: cmp %%rdx, (%%rsp,%%rdx)\n"
      "je 3f\n"
      "inc %%rbx\n"
      "3: add $8, %%rdx\n"
      "jnz 2b\n"
      "mov %%rbx, %0\n"
      "add $512, %%rsp\n"
      : "=r"(bad)::"rax", "rbx", "rcx", "rdx", "r11", "memory", "cc");
  CHECK_EQ(bad, 0);
}

TEST(xmm_registers_are_kept) {
  alignas(16) uint64_t in[32], out[32] = {};
  for (uint64_t i = 0; i < 32; ++i) in[i] = i * 0x0123'4567'89ab'cdef;
  for (long number : {SYS_getpid, SYS_sched_yield}) {
    asm volatile(
        "movdqa (%1), %%xmm0\n movdqa 16(%1), %%xmm1\n movdqa 32(%1), %%xmm2\n movdqa 48(%1), %%xmm3\n"
        "movdqa 64(%1), %%xmm4\n movdqa 80(%1), %%xmm5\n movdqa 96(%1), %%xmm6\n movdqa 112(%1), %%xmm7\n"
        "movdqa 128(%1), %%xmm8\n movdqa 144(%1), %%xmm9\n movdqa 160(%1), %%xmm10\n movdqa 176(%1), "
        "%%xmm11\n"
        "movdqa 192(%1), %%xmm12\n movdqa 208(%1), %%xmm13\n movdqa 224(%1), %%xmm14\n movdqa 240(%1), "
        "%%xmm15\n"
        "syscall\n"
        "movdqa %%xmm0, (%2)\n movdqa %%xmm1, 16(%2)\n movdqa %%xmm2, 32(%2)\n movdqa %%xmm3, 48(%2)\n"
        "movdqa %%xmm4, 64(%2)\n movdqa %%xmm5, 80(%2)\n movdqa %%xmm6, 96(%2)\n movdqa %%xmm7, 112(%2)\n"
        "movdqa %%xmm8, 128(%2)\n movdqa %%xmm9, 144(%2)\n movdqa %%xmm10, 160(%2)\n movdqa %%xmm11, "
        "176(%2)\n"
        "movdqa %%xmm12, 192(%2)\n movdqa %%xmm13, 208(%2)\n movdqa %%xmm14, 224(%2)\n movdqa %%xmm15, "
        "240(%2)\n"
        : "+a"(number)
        : "r"(in), "r"(out)
        : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
          "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    for (int i = 0; i < 32; ++i) CHECK_EQ(out[i], in[i]);
  }
}

TEST(ymm_registers_are_kept) {
  if (!__builtin_cpu_supports("avx")) SKIP("no AVX");
  alignas(32) uint64_t in[8], out[8] = {};
  for (uint64_t i = 0; i < 8; ++i) in[i] = i * 0x0123'4567'89ab'cdef;
  long number = SYS_sched_yield;
  asm volatile(
      "vmovdqa (%1), %%ymm1\n vmovdqa 32(%1), %%ymm14\n"
      "syscall\n"
      "vmovdqa %%ymm1, (%2)\n vmovdqa %%ymm14, 32(%2)\n vzeroupper\n"
      : "+a"(number)
      : "r"(in), "r"(out)
      : "rcx", "r11", "memory", "xmm1", "xmm14");
  for (int i = 0; i < 8; ++i) CHECK_EQ(out[i], in[i]);
}

TEST(zmm_and_mask_registers_are_kept) {
  if (!__builtin_cpu_supports("avx512f")) SKIP("no AVX-512");
  alignas(64) uint64_t in[16], out[16] = {};
  for (uint64_t i = 0; i < 16; ++i) in[i] = i * 0x0123'4567'89ab'cdef;
  uint32_t mask = 0;
  long number = SYS_sched_yield;
  asm volatile(
      "mov $0x5a5a, %%ecx\n kmovw %%ecx, %%k3\n"
      "vmovdqa64 (%2), %%zmm1\n vmovdqa64 64(%2), %%zmm30\n"
      "syscall\n"
      "vmovdqa64 %%zmm1, (%3)\n vmovdqa64 %%zmm30, 64(%3)\n"
      "kmovw %%k3, %%ecx\n mov %%ecx, %1\n vzeroupper\n"
      : "+a"(number), "=m"(mask)
      : "r"(in), "r"(out)
      : "rcx", "r11", "memory", "xmm1");
  for (int i = 0; i < 16; ++i) CHECK_EQ(out[i], in[i]);
  CHECK_EQ(mask, 0x5a5au);
}

TEST(vector_registers_over_a_wait_and_a_switch) {
  // Two processes with different contents take turns.
  check::Gate a_turn, b_turn;
  auto play = [&](uint64_t seed, check::Gate& mine, check::Gate& other) {
    for (int round = 0; round < 50; ++round) {
      alignas(16) uint64_t in[2] = {seed, seed * 3}, out[2] = {};
      mine.wait();
      asm volatile(
          "movdqa (%0), %%xmm9\n"
          "mov $24, %%eax\n syscall\n"
          "movdqa %%xmm9, (%1)\n" ::"r"(in),
          "r"(out)
          : "rax", "rcx", "r11", "memory", "xmm9");
      CHECK_EQ(out[0], in[0]);
      CHECK_EQ(out[1], in[1]);
      other.notify();
    }
  };
  pid_t child = check::fork_child([&] { play(0x1111'2222, b_turn, a_turn); });
  a_turn.notify();
  play(0x3333'4444, a_turn, b_turn);
  JOIN(child);
}

TEST(control_words_are_kept) {
  unsigned short control = 0x0b7f, after = 0;
  asm volatile("fldcw %0" ::"m"(control));
  _mm_setcsr(0x5f80 | 0x20);
  OK(syscall(SYS_sched_yield));
  asm volatile("fnstcw %0" : "=m"(after));
  CHECK_EQ(after, 0x0b7f);
  CHECK_EQ(_mm_getcsr(), 0x5fa0u);
  JOIN(check::fork_child([] {
    unsigned short inherited = 0;
    asm volatile("fnstcw %0" : "=m"(inherited));
    CHECK_EQ(inherited, 0x0b7f);
    CHECK_EQ(_mm_getcsr() & 0xff80u, 0x5f80u);
  }));
}

TEST(x87_stack_is_kept) {
  double a = 3.25, b = -7.5, first = 0, second = 0;
  asm volatile(
      "fldl %2\n fldl %3\n"
      "mov $24, %%eax\n syscall\n"
      "fstpl %0\n fstpl %1\n"
      : "=m"(first), "=m"(second)
      : "m"(a), "m"(b)
      : "rax", "rcx", "r11", "memory");
  CHECK(first == -7.5 && second == 3.25);
}

CHILD(fresh_state) {
  unsigned short control;
  asm volatile("fnstcw %0" : "=m"(control));
  if (control != 0x37f) return 1;
  if (_mm_getcsr() != 0x1f80) return 2;
  return 0;
}

TEST(exec_resets_the_floating_point_state) {
  JOIN(check::fork_child([] {
    unsigned short control = 0x0b7f;
    asm volatile("fldcw %0" ::"m"(control));
    _mm_setcsr(0x7f80);
    execl(check::self(), check::self(), "--child", "fresh_state", nullptr);
  }));
}

TEST(restarted_call_keeps_its_arguments) {
  // A restart executes the instruction again with the number in rax and every argument as it was.
  int fds[2];
  OK(pipe(fds));
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  check::Gate ready;
  pid_t child = check::fork_child([&] {
    OK(sigaction(SIGUSR1, &action, nullptr));
    char byte = 0;
    Registers in = pattern(SYS_read), out;
    in.rdi = static_cast<uint64_t>(fds[0]);
    in.rsi = reinterpret_cast<uint64_t>(&byte);
    in.rdx = 1;
    ready.notify();
    call_with_registers(&in, &out);
    CHECK_EQ(out.rax, 1u);
    CHECK_EQ(byte, 'r');
    check_kept(in, out);
  });
  ready.wait();
  for (int i = 0; i < 3; ++i) {
    WAIT_BLOCKED(child);
    OK(kill(child, SIGUSR1));
  }
  WAIT_BLOCKED(child);
  OK(write(fds[1], "r", 1));
  JOIN(child);
}

sigjmp_buf escape;

TEST(int80_is_never_taken_for_a_64_bit_call) {
  // Number 20 is getpid for i386 and writev for x86-64. A kernel without i386 calls answers ENOSYS or a
  // signal.
  for (int number : {SIGSEGV, SIGSYS, SIGILL}) signal(number, [](int) { siglongjmp(escape, 1); });
  if (sigsetjmp(escape, 1) != 0) return;
  long result = 20;
  asm volatile("int $0x80" : "+a"(result)::"memory", "r8", "r9", "r10", "r11");
  CHECK(result == getpid() || result == -ENOSYS);
}

TEST(int80_write_does_nothing_surprising) {
  // i386's 4 is write, x86-64's 4 is stat: the file must get the bytes, or nothing.
  int fd = OK(open("a", O_RDWR | O_CREAT, 0600));
  char* low = static_cast<char*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0)));
  strcpy(low, "text");
  for (int number : {SIGSEGV, SIGSYS, SIGILL}) signal(number, [](int) { siglongjmp(escape, 1); });
  if (sigsetjmp(escape, 1) != 0) return;
  long result = 4;
  asm volatile("int $0x80"
               : "+a"(result)
               : "b"(long(fd)), "c"(low), "d"(4l)
               : "memory", "r8", "r9", "r10", "r11");
  CHECK(result == 4 || result == -ENOSYS);
  CHECK_EQ(READ_FILE("a"), result == 4 ? "text" : "");
}

TEST(x32_numbers_are_no_calls) {
  constexpr long kX32 = 0x4000'0000;
  for (int number : {SYS_getpid, SYS_read, SYS_write, 512, 547}) {
    errno = 0;
    long result = syscall(kX32 | number, -1, nullptr, 0);
    // Where x32 is configured the calls exist; nowhere do they act on another number.
    CHECK((result == -1 && (errno == ENOSYS || errno == EBADF || errno == EFAULT || errno == EINVAL)) ||
          (number == SYS_getpid && result == getpid()));
  }
}

TEST(sysenter_is_no_way_in) {
  pid_t child = check::fork_child([] {
    asm volatile("mov $39, %%eax\n mov %%rsp, %%rbp\n sysenter\n" ::: "memory", "rax");
  });
  CHECK(WIFSIGNALED(WAIT_STATUS(child)));
}

TEST(vsyscall_page) {
  // Legacy time(): emulated, absent, or execute-only; never something else.
  for (int number : {SIGSEGV}) signal(number, [](int) { siglongjmp(escape, 1); });
  if (sigsetjmp(escape, 1) != 0) return;
  // From the same place again and again, which holds no `syscall`.
  for (int i = 0; i < 50; ++i) {
    time_t now = time(nullptr), then = 0;
    asm volatile(
        "xor %%edi, %%edi\n"
        "mov $0xffffffffff600400, %%rax\n"
        "call *%%rax\n"
        : "=&a"(then)::"rdi", "rcx", "r11", "memory", "cc");
    CHECK(then >= now - 1 && then <= now + 2);
  }
}

TEST(call_at_the_end_of_a_page) {
  // The instruction straddles nothing but ends exactly where the next page begins, which is not mapped.
  char* page = static_cast<char*>(
      OK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  const unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};  // mov $39, %eax; syscall; ret
  memcpy(page + 4096 - 7, code, sizeof code);
  auto* function = reinterpret_cast<int (*)()>(page + 4096 - 7);
  CHECK_EQ(function(), getpid());
}

TEST(call_from_written_code) {
  // As a JIT does, and changed between two runs.
  unsigned char* page = static_cast<unsigned char*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  const unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
  memcpy(page, code, sizeof code);
  auto* function = reinterpret_cast<int (*)()>(page);
  for (int i = 0; i < 100; ++i) CHECK_EQ(function(), getpid());
  page[1] = 110;  // getppid
  for (int i = 0; i < 100; ++i) CHECK_EQ(function(), getppid());
}

TEST(jump_to_the_instruction_after_a_number_load) {
  // `syscall` reached with different numbers by a jump, as hand-written code does.
  long a, b;
  asm volatile(
      "mov $39, %%eax\n"
      "jmp 1f\n"
      "2: mov %%rax, %0\n"
      "mov $110, %%eax\n"
      "lea 3f(%%rip), %%rdx\n"
      "jmp 4f\n"
      "1: lea 2b(%%rip), %%rdx\n"
      "4: syscall\n"
      "jmp *%%rdx\n"
      "3: mov %%rax, %1\n"
      : "=&r"(a), "=&r"(b)::"rax", "rcx", "rdx", "r11", "memory");
  CHECK_EQ(a, getpid());
  CHECK_EQ(b, getppid());
}

TEST(call_with_any_stack_pointer) {
  // A call does not touch the stack: rsp may be anything.
  long pid;
  asm volatile(
      "mov %%rsp, %%rbx\n"
      "mov $8, %%rsp\n"
      "mov $39, %%eax\n"
      "syscall\n"
      "mov %%rbx, %%rsp\n"
      : "=a"(pid)::"rbx", "rcx", "r11", "memory");
  CHECK_EQ(pid, getpid());
}

TEST(cpuid_and_rdtsc_work) {
  unsigned a, b, c, d;
  asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
  CHECK(a >= 1);
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  CHECK(low != 0 || high != 0);
}

}  // namespace
