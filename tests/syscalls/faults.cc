// Exceptions as signals, what a handler sees and may change, and the floating point state around it.
#include <fenv.h>
#include <setjmp.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

sigjmp_buf escape;
siginfo_t seen;
ucontext_t seen_context;

void keep_and_jump(int, siginfo_t* info, void* context) {
  seen = *info;
  memcpy(&seen_context, context, offsetof(ucontext_t, uc_sigmask));
  siglongjmp(escape, 1);
}

void on(int number, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  OK(sigaction(number, &action, nullptr));
}

// Runs `body`, which must raise `number`; the information is in `seen`.
template <typename F>
void faults_with(int number, F body) {
  seen = {};
  on(number, keep_and_jump);
  if (sigsetjmp(escape, 1) == 0) {
    body();
    check::fail(__FILE__, __LINE__, "the instruction did not fault");
  }
  CHECK_EQ(seen.si_signo, number);
}

char* pages(size_t count, int protection = PROT_READ | PROT_WRITE) {
  return static_cast<char*>(OK(mmap(nullptr, count * 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}

long trap_number() { return static_cast<long>(seen_context.uc_mcontext.gregs[REG_TRAPNO]); }
long error_code() { return static_cast<long>(seen_context.uc_mcontext.gregs[REG_ERR]); }

TEST(unmapped_address) {
  char* page = pages(1);
  OK(munmap(page, 4096));
  faults_with(SIGSEGV, [&] { *static_cast<volatile char*>(page + 5) = 1; });
  CHECK_EQ(seen.si_code, SEGV_MAPERR);
  CHECK_EQ(seen.si_addr, static_cast<void*>(page + 5));
  CHECK_EQ(trap_number(), 14);
  CHECK_EQ(seen_context.uc_mcontext.gregs[REG_CR2], reinterpret_cast<greg_t>(page + 5));
}

TEST(write_to_unmapped_address_is_told) {
  char* page = pages(1);
  OK(munmap(page, 4096));
  faults_with(SIGSEGV, [&] { *static_cast<volatile char*>(page) = 1; });
  // ptrace(2) shows a tracer no error code.
  if (getenv("BULKHEAD_TEST_SANDBOXED") && (error_code() & 2) == 0)
    SKIP_OPTIONAL("the platform does not tell a write");
  CHECK_EQ(error_code() & 2, 2);
}

TEST(null_pointer) {
  faults_with(SIGSEGV, [] { (void)*static_cast<volatile char*>(nullptr); });
  CHECK_EQ(seen.si_code, SEGV_MAPERR);
  CHECK(seen.si_addr == nullptr);
  CHECK_EQ(error_code() & 2, 0);
}

TEST(protected_address) {
  char* page = pages(1, PROT_READ);
  faults_with(SIGSEGV, [&] { *static_cast<volatile char*>(page) = 1; });
  CHECK_EQ(seen.si_code, SEGV_ACCERR);
  CHECK_EQ(seen.si_addr, static_cast<void*>(page));
  OK(mprotect(page, 4096, PROT_NONE));
  faults_with(SIGSEGV, [&] { (void)*static_cast<volatile char*>(page + 4095); });
  CHECK_EQ(seen.si_code, SEGV_ACCERR);
  CHECK_EQ(seen.si_addr, static_cast<void*>(page + 4095));
}

TEST(executing_data) {
  char* page = pages(1);
  page[0] = char(0xc3);
  faults_with(SIGSEGV, [&] { reinterpret_cast<void (*)()>(page)(); });
  CHECK_EQ(seen.si_addr, static_cast<void*>(page));
  CHECK_EQ(seen_context.uc_mcontext.gregs[REG_RIP], reinterpret_cast<greg_t>(page));
  OK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
  reinterpret_cast<void (*)()>(page)();
}

TEST(non_canonical_address) {
  faults_with(SIGSEGV, [] { (void)*reinterpret_cast<volatile char*>(0x1234'5678'9abc'def0); });
  CHECK_EQ(seen.si_code, SI_KERNEL);
  CHECK(seen.si_addr == nullptr);
  CHECK_EQ(trap_number(), 13);
}

TEST(kernel_address) {
  faults_with(SIGSEGV, [] { (void)*reinterpret_cast<volatile char*>(0xffff'8000'0000'0000); });
  CHECK_EQ(trap_number(), 14);
}

TEST(privileged_instructions) {
  faults_with(SIGSEGV, [] { asm volatile("hlt"); });
  CHECK_EQ(seen.si_code, SI_KERNEL);
  faults_with(SIGSEGV, [] { asm volatile("cli"); });
  faults_with(SIGSEGV, [] { asm volatile("mov %%cr0, %%rax" ::: "rax"); });
  faults_with(SIGSEGV, [] { asm volatile("outb %%al, $0x80" ::: "rax"); });
  faults_with(SIGSEGV, [] { asm volatile("int $0x21"); });
}

TEST(illegal_instruction) {
  faults_with(SIGILL, [] { asm volatile("ud2"); });
  CHECK_EQ(seen.si_code, ILL_ILLOPN);
  CHECK_EQ(reinterpret_cast<greg_t>(seen.si_addr), seen_context.uc_mcontext.gregs[REG_RIP]);
  CHECK_EQ(*static_cast<unsigned char*>(seen.si_addr), 0x0f);
}

TEST(integer_division) {
  faults_with(SIGFPE, [] {
    asm volatile(
        "xor %%edx, %%edx\n"
        "mov $1, %%eax\n"
        "xor %%ecx, %%ecx\n"
        "idiv %%ecx\n" ::
            : "rax", "rcx", "rdx");
  });
  CHECK_EQ(seen.si_code, FPE_INTDIV);
  CHECK_EQ(reinterpret_cast<greg_t>(seen.si_addr), seen_context.uc_mcontext.gregs[REG_RIP]);
}

TEST(floating_point_exceptions) {
  volatile double zero = 0, one = 1;
  OK(feenableexcept(FE_DIVBYZERO));
  faults_with(SIGFPE, [&] { one = one / zero; });
  CHECK_EQ(seen.si_code, FPE_FLTDIV);
  OK(fedisableexcept(FE_ALL_EXCEPT));
  feclearexcept(FE_ALL_EXCEPT);
  one = one / zero;
}

TEST(breakpoints) {
  static volatile sig_atomic_t count;
  static greg_t rip;
  count = 0;
  on(SIGTRAP, [](int, siginfo_t* info, void* context) {
    count = count + 1;
    seen = *info;
    rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
  });
  asm volatile("int3");
  CHECK_EQ(count, 1);
  CHECK_EQ(seen.si_code, SI_KERNEL);
  // After the instruction, so returning goes on.
  CHECK_EQ(*reinterpret_cast<unsigned char*>(rip - 1), 0xcc);
}

TEST(single_step_flag) {
  static volatile sig_atomic_t steps;
  steps = 0;
  on(SIGTRAP, [](int, siginfo_t* info, void* context) {
    steps = steps + 1;
    seen = *info;
    if (steps >= 3) static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~0x100;
  });
  asm volatile(
      "pushfq\n"
      "orl $0x100, (%%rsp)\n"
      "popfq\n"
      "nop\nnop\nnop\nnop\nnop\n" ::
          : "memory", "cc");
  CHECK_EQ(steps, 3);
  CHECK_EQ(seen.si_code, TRAP_TRACE);
}

TEST(bus_error_beyond_the_end_of_a_file) {
  Fd fd(OK(open("a", O_RDWR | O_CREAT, 0600)));
  OK(ftruncate(fd, 100));
  char* map = static_cast<char*>(OK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
  map[4095] = 1;  // the rest of the last page is there
  faults_with(SIGBUS, [&] { (void)*static_cast<volatile char*>(map + 4096); });
  CHECK_EQ(seen.si_code, BUS_ADRERR);
  CHECK_EQ(seen.si_addr, static_cast<void*>(map + 4096));
}

TEST(alignment_check) {
  // The flag stays set in the handler, so it is the first thing to go.
  on(SIGBUS, [](int number, siginfo_t* info, void* context) {
    asm volatile("pushfq\n andl $~0x40000, (%%rsp)\n popfq\n" ::: "memory", "cc");
    keep_and_jump(number, info, context);
  });
  if (sigsetjmp(escape, 1) == 0) {
    asm volatile(
        "pushfq\n"
        "orl $0x40000, (%%rsp)\n"
        "popfq\n"
        "mov 1(%%rsp), %%rax\n" ::
            : "memory", "cc", "rax");
    check::fail(__FILE__, __LINE__, "the instruction did not fault");
  }
  CHECK_EQ(seen.si_code, BUS_ADRALN);
}

TEST(unhandled_faults_kill) {
  auto killed_by = [](void (*body)()) { return WAIT_STATUS(check::fork_child(body)); };
  CHECK_KILLED(killed_by([] { *reinterpret_cast<volatile int*>(8) = 1; }), SIGSEGV);
  CHECK_KILLED(killed_by([] { asm volatile("ud2"); }), SIGILL);
  CHECK_KILLED(killed_by([] { asm volatile("int3"); }), SIGTRAP);
  // An exception's signal that is ignored or blocked kills all the same.
  CHECK_KILLED(killed_by([] {
                 signal(SIGSEGV, SIG_IGN);
                 *reinterpret_cast<volatile int*>(8) = 1;
               }),
               SIGSEGV);
  CHECK_KILLED(killed_by([] {
                 on(SIGSEGV, [](int, siginfo_t*, void*) { _exit(1); });
                 sigset_t set;
                 sigemptyset(&set);
                 sigaddset(&set, SIGSEGV);
                 OK(sigprocmask(SIG_BLOCK, &set, nullptr));
                 *reinterpret_cast<volatile int*>(8) = 1;
               }),
               SIGSEGV);
}

TEST(handler_mends_the_page_and_the_access_goes_on) {
  static char* page;
  page = pages(1, PROT_NONE);
  static volatile sig_atomic_t count;
  count = 0;
  on(SIGSEGV, [](int, siginfo_t* info, void*) {
    count = count + 1;
    CHECK_EQ(info->si_addr, static_cast<void*>(page + 8));
    OK(mprotect(page, 4096, PROT_READ | PROT_WRITE));
  });
  *static_cast<volatile char*>(page + 8) = 9;
  CHECK_EQ(count, 1);
  CHECK_EQ(page[8], 9);
}

TEST(handler_skips_an_instruction) {
  on(SIGILL, [](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RBX] = 0x1234;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_R15] = 0x5678;
  });
  long rbx = 0, r15 = 0;
  asm volatile(
      "xor %%rbx, %%rbx\n"
      "xor %%r15, %%r15\n"
      "ud2\n"
      "mov %%rbx, %0\n"
      "mov %%r15, %1\n"
      : "=r"(rbx), "=r"(r15)::"rbx", "r15");
  CHECK_EQ(rbx, 0x1234);
  CHECK_EQ(r15, 0x5678);
}

TEST(handler_sees_all_registers_and_they_come_back) {
  static greg_t regs[NGREG];
  on(SIGILL, [](int, siginfo_t*, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    memcpy(regs, uc->uc_mcontext.gregs, sizeof regs);
    uc->uc_mcontext.gregs[REG_RIP] += 2;
    // What the handler itself does to registers must not show afterwards.
    asm volatile(
        "xor %%r8, %%r8\nxor %%r9, %%r9\nxor %%r10, %%r10\nxor %%r11, %%r11\n"
        "xor %%rsi, %%rsi\nxor %%rdi, %%rdi\nxor %%rcx, %%rcx\nxor %%rdx, %%rdx\n" ::
            : "r8", "r9", "r10", "r11", "rsi", "rdi", "rcx", "rdx");
  });
  alignas(16) long after[15] = {};
  asm volatile(
      "push %%rbx\n push %%rbp\n"
      "mov %0, %%rax\n push %%rax\n"
      "mov $1, %%rax\n mov $2, %%rbx\n mov $3, %%rcx\n mov $4, %%rdx\n mov $5, %%rsi\n mov $6, %%rdi\n"
      "mov $7, %%rbp\n mov $8, %%r8\n mov $9, %%r9\n mov $10, %%r10\n mov $11, %%r11\n mov $12, %%r12\n"
      "mov $13, %%r13\n mov $14, %%r14\n mov $15, %%r15\n"
      "stc\n"
      "ud2\n"
      "push %%rax\n mov 8(%%rsp), %%rax\n"
      "mov %%rbx, 8(%%rax)\n mov %%rcx, 16(%%rax)\n mov %%rdx, 24(%%rax)\n mov %%rsi, 32(%%rax)\n"
      "mov %%rdi, 40(%%rax)\n mov %%rbp, 48(%%rax)\n mov %%r8, 56(%%rax)\n mov %%r9, 64(%%rax)\n"
      "mov %%r10, 72(%%rax)\n mov %%r11, 80(%%rax)\n mov %%r12, 88(%%rax)\n mov %%r13, 96(%%rax)\n"
      "mov %%r14, 104(%%rax)\n mov %%r15, 112(%%rax)\n"
      "pop %%rbx\n mov %%rbx, (%%rax)\n"
      "pop %%rax\n pop %%rbp\n pop %%rbx\n" ::"r"(after)
      : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
        "cc");
  for (int i = 0; i < 15; ++i) CHECK_EQ(after[i], i + 1);
  int order[] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_R8,
                 REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  for (int i = 0; i < 15; ++i) CHECK_EQ(regs[order[i]], i + 1);
  CHECK(regs[REG_EFL] & 1);
}

TEST(red_zone_survives_a_signal) {
  // The 128 bytes below the stack pointer belong to the interrupted function (System V ABI, 3.2.2).
  on(SIGILL, [](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  long low = 0, high = 0;
  asm volatile(
      "sub $1024, %%rsp\n"
      "movq $0x1111, -8(%%rsp)\n"
      "movq $0x2222, -128(%%rsp)\n"
      "ud2\n"
      "mov -8(%%rsp), %0\n"
      "mov -128(%%rsp), %1\n"
      "add $1024, %%rsp\n"
      : "=r"(high), "=r"(low)::"memory", "cc");
  CHECK_EQ(high, 0x1111);
  CHECK_EQ(low, 0x2222);
}

TEST(handler_starts_with_an_aligned_stack_and_clear_flags) {
  static unsigned long flags, stack;
  on(SIGILL, [](int, siginfo_t*, void* context) {
    asm volatile("pushfq\n pop %0" : "=r"(flags));
    stack = reinterpret_cast<unsigned long>(__builtin_frame_address(0));
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  unsigned long after = 0;
  asm volatile(
      "std\n"
      "ud2\n"
      "pushfq\n"
      "cld\n"
      "pop %0\n"
      : "=r"(after)::"memory", "cc");
  CHECK_EQ(flags & 0x400, 0u);  // DF is clear in the handler
  CHECK_EQ(after & 0x400, 0x400u);
  CHECK_EQ(stack % 16, 0u);
}

TEST(vector_registers_survive_a_handler) {
  on(SIGILL, [](int, siginfo_t*, void* context) {
    asm volatile("pxor %%xmm0, %%xmm0\npxor %%xmm7, %%xmm7\npxor %%xmm15, %%xmm15\n" ::
                     : "xmm0", "xmm7", "xmm15");
    if (__builtin_cpu_supports("avx")) asm volatile("vzeroall" ::: "memory");
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  alignas(32) uint64_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {};
  if (__builtin_cpu_supports("avx")) {
    asm volatile(
        "vmovdqa (%0), %%ymm0\n"
        "vmovdqa 32(%0), %%ymm15\n"
        "ud2\n"
        "vmovdqa %%ymm0, (%1)\n"
        "vmovdqa %%ymm15, 32(%1)\n"
        "vzeroupper\n" ::"r"(in),
        "r"(out)
        : "memory", "xmm0", "xmm15");
    for (int i = 0; i < 8; ++i) CHECK_EQ(out[i], in[i]);
  }
  asm volatile(
      "movdqa (%0), %%xmm0\n"
      "movdqa 16(%0), %%xmm15\n"
      "ud2\n"
      "movdqa %%xmm0, (%1)\n"
      "movdqa %%xmm15, 16(%1)\n" ::"r"(in),
      "r"(out)
      : "memory", "xmm0", "xmm15");
  for (int i = 0; i < 4; ++i) CHECK_EQ(out[i], in[i]);
}

TEST(avx512_registers_survive_a_handler) {
  if (!__builtin_cpu_supports("avx512f")) SKIP("no AVX-512");
  on(SIGILL, [](int, siginfo_t*, void* context) {
    asm volatile(
        "vpxorq %%zmm0, %%zmm0, %%zmm0\n"
        "vpxorq %%zmm31, %%zmm31, %%zmm31\n"
        "kxorw %%k1, %%k1, %%k1\n" ::
            : "memory");
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  alignas(64) uint64_t in[16], out[16] = {};
  for (uint64_t i = 0; i < 16; ++i) in[i] = i * 0x0101'0101'0101'0101;
  int mask = 0;
  asm volatile(
      "mov $0xaaaa, %%eax\n"
      "kmovw %%eax, %%k1\n"
      "vmovdqa64 (%1), %%zmm0\n"
      "vmovdqa64 64(%1), %%zmm31\n"
      "ud2\n"
      "vmovdqa64 %%zmm0, (%2)\n"
      "vmovdqa64 %%zmm31, 64(%2)\n"
      "kmovw %%k1, %%eax\n"
      "mov %%eax, %0\n"
      "vzeroupper\n"
      : "=m"(mask)
      : "r"(in), "r"(out)
      : "memory", "rax", "xmm0");
  for (int i = 0; i < 16; ++i) CHECK_EQ(out[i], in[i]);
  CHECK_EQ(mask, 0xaaaa);
}

TEST(rounding_mode_survives_and_handler_may_change_it_for_itself) {
  on(SIGILL, [](int, siginfo_t*, void* context) {
    _mm_setcsr(0x1f80);
    unsigned short control = 0x37f;
    asm volatile("fldcw %0" ::"m"(control));
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  unsigned short control = 0x0f7f, after = 0;
  asm volatile("fldcw %0" ::"m"(control));
  _mm_setcsr(0x7f80);
  asm volatile("ud2");
  CHECK_EQ(_mm_getcsr() & 0xffc0, 0x7f80u);
  asm volatile("fnstcw %0" : "=m"(after));
  CHECK_EQ(after, 0x0f7f);
  control = 0x37f;
  asm volatile("fldcw %0" ::"m"(control));
  _mm_setcsr(0x1f80);
}

TEST(x87_stack_survives_a_handler) {
  on(SIGILL, [](int, siginfo_t*, void* context) {
    asm volatile("fninit\n fldpi\n" ::: "memory");
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
  });
  double a = 1.5, b = 2.25, first = 0, second = 0;
  asm volatile(
      "fldl %2\n"
      "fldl %3\n"
      "ud2\n"
      "fstpl %0\n"
      "fstpl %1\n"
      : "=m"(first), "=m"(second)
      : "m"(a), "m"(b)
      : "memory");
  CHECK(first == 2.25 && second == 1.5);
}

TEST(handler_changes_a_vector_register_in_the_frame) {
  on(SIGILL, [](int, siginfo_t*, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    uc->uc_mcontext.fpregs->_xmm[3].element[0] = 0xdeadbeef;
    uc->uc_mcontext.gregs[REG_RIP] += 2;
  });
  uint32_t value = 0;
  asm volatile(
      "pxor %%xmm3, %%xmm3\n"
      "ud2\n"
      "movd %%xmm3, %0\n"
      : "=r"(value)::"xmm3");
  CHECK_EQ(value, 0xdeadbeefu);
}

TEST(registers_survive_asynchronous_signals) {
  static volatile sig_atomic_t count;
  count = 0;
  struct sigaction action = {};
  action.sa_handler = [](int) {
    count = count + 1;
    asm volatile("pxor %%xmm1, %%xmm1\n pxor %%xmm2, %%xmm2\n" ::: "xmm1", "xmm2");
  };
  OK(sigaction(SIGUSR1, &action, nullptr));
  check::Gate ready;
  pid_t parent = getpid();
  pid_t sender = check::fork_child([&] {
    ready.wait();
    for (int i = 0; i < 300; ++i) OK(kill(parent, SIGUSR1));
  });
  ready.notify();
  uint64_t deadline = check::now_ns() + 20'000'000'000;
  int quiet_rounds = 0;
  // A computation whose every register counts, for as long as signals come.
  while (count < 20 || quiet_rounds < 100) {
    if (count >= 20) ++quiet_rounds;
    uint64_t ok = 0;
    asm volatile(
        "mov $0x123456789, %%rax\n movq %%rax, %%xmm1\n mov %%rax, %%r8\n mov %%rax, %%r9\n mov %%rax, "
        "%%r10\n"
        "mov $2000, %%ecx\n"
        "1: add $1, %%r8\n add $2, %%r9\n add $3, %%r10\n dec %%ecx\n jnz 1b\n"
        "movq %%xmm1, %%rdx\n"
        "sub %%rax, %%r8\n sub %%rax, %%r9\n sub %%rax, %%r10\n sub %%rdx, %%rax\n"
        "sub $2000, %%r8\n sub $4000, %%r9\n sub $6000, %%r10\n"
        "or %%r8, %%rax\n or %%r9, %%rax\n or %%r10, %%rax\n mov %%rax, %0\n"
        : "=r"(ok)::"rax", "rcx", "rdx", "r8", "r9", "r10", "xmm1", "cc");
    CHECK_EQ(ok, 0u);
    CHECK(check::now_ns() < deadline);
    if (waitpid(sender, nullptr, WNOHANG) == sender) break;
  }
}

TEST(faults_in_threads_go_to_the_thread) {
  static std::atomic<pid_t> where;
  where = 0;
  on(SIGSEGV, [](int, siginfo_t*, void*) {
    where = check::gettid();
    syscall(SYS_exit, 0);
  });
  pid_t tid = 0;
  std::thread other([&] {
    tid = check::gettid();
    *reinterpret_cast<volatile int*>(16) = 1;
  });
  WAIT_UNTIL(where != 0);
  other.join();
  CHECK_EQ(where.load(), tid);
}

}  // namespace
