// Vector state in signal frames: sigreturn(2), arch/x86/kernel/fpu/signal.c. Each signal is one that the
// thread sends to itself, many times from the same place: a sandbox may come to take another way there.
#include <cpuid.h>
#include <immintrin.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <ucontext.h>

#include <cstddef>

#include "tests/syscalls/check.h"

namespace {

constexpr int kRounds = 200;
constexpr size_t kSoftwareAt = 464, kHeaderAt = 512;
constexpr uint32_t kMagic1 = 0x46505853, kMagic2 = 0x46505845;

struct Software {
  uint32_t magic1, extended_size;
  uint64_t features;
  uint32_t state_size;
};

using Handler = void (*)(int, siginfo_t*, void*);

void on(int number, Handler handler) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  OK(sigaction(number, &action, nullptr));
}

uint8_t* state_of(void* context) {
  return reinterpret_cast<uint8_t*>(static_cast<ucontext_t*>(context)->uc_mcontext.fpregs);
}

Software software_of(const uint8_t* state) {
  Software software;
  memcpy(&software, state + kSoftwareAt, sizeof software);
  return software;
}

struct Vectors {
  uint64_t xmm9[2], xmm10[2];
};

// Sends the signal to this thread, with these in its registers before, and what it finds there after.
Vectors send(int number, Vectors vectors) {
  alignas(16) Vectors held = vectors;
  const long pid = getpid(), tid = gettid();
  long result = 0;
  asm volatile(
      "movdqa (%[held]), %%xmm9\n movdqa 16(%[held]), %%xmm10\n"
      "mov %[call], %%eax\n syscall\n"
      "movdqa %%xmm9, (%[held])\n movdqa %%xmm10, 16(%[held])\n"
      : "=&a"(result)
      : [held] "r"(&held), [call] "i"(SYS_tgkill), "D"(pid), "S"(tid), "d"(long{number})
      : "rcx", "r11", "memory", "xmm9", "xmm10");
  CHECK_EQ(result, 0);
  return held;
}

Vectors numbered(int round) {
  const auto number = static_cast<uint64_t>(round);
  return {{number, ~number}, {number * 3, number * 5}};
}

void clobber() { asm volatile("pxor %%xmm9, %%xmm9\n pxor %%xmm10, %%xmm10\n" ::: "xmm9", "xmm10"); }

TEST(what_a_handler_clobbers_comes_back) {
  on(SIGUSR1, [](int, siginfo_t*, void*) { clobber(); });
  for (int round = 0; round < kRounds; ++round) {
    const Vectors in = numbered(round), out = send(SIGUSR1, in);
    CHECK(memcmp(&in, &out, sizeof in) == 0);
  }
}

TEST(a_handler_begins_with_the_state_of_a_new_program) {
  on(SIGUSR1, [](int, siginfo_t*, void*) {
    alignas(16) uint64_t xmm9[2] = {1, 1};
    uint16_t control = 0, status = 1;
    asm volatile("movdqa %%xmm9, %0\n fnstcw %1\n fnstsw %2\n" : "=m"(xmm9), "=m"(control), "=m"(status));
    CHECK_EQ(xmm9[0] | xmm9[1], 0u);
    CHECK_EQ(control, 0x37f);
    CHECK_EQ(status, 0);
    CHECK_EQ(_mm_getcsr(), 0x1f80u);
    _mm_setcsr(0x3f80);
  });
  const uint16_t control = 0xf7f;
  asm volatile("fldcw %0\n fld1\n" ::"m"(control));
  _mm_setcsr(0x7f80);
  for (int round = 0; round < kRounds; ++round) {
    const Vectors in = numbered(round), out = send(SIGUSR1, in);
    CHECK(memcmp(&in, &out, sizeof in) == 0);
    CHECK_EQ(_mm_getcsr(), 0x7f80u);
  }
  uint16_t after = 0;
  double one = 0;
  asm volatile("fnstcw %0\n fstpl %1\n" : "=m"(after), "=m"(one));
  CHECK_EQ(after, control);
  CHECK(one == 1);
}

uint32_t protection_keys() {
  uint32_t low = 0, high = 0;
  asm volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

TEST(protection_keys_are_the_programs_and_the_handlers_own) {
  constexpr unsigned kOsPke = 1u << 4;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (c & kOsPke) == 0) SKIP("no protection keys");
  constexpr uint32_t kAtFirst = 0x55555554, kMine = 0x55555550;
  static uint32_t seen;
  on(SIGUSR1, [](int, siginfo_t*, void*) { seen = protection_keys(); });
  CHECK_EQ(protection_keys(), kAtFirst);
  asm volatile("wrpkru" ::"a"(kMine), "c"(0), "d"(0));
  for (int round = 0; round < kRounds; ++round) {
    send(SIGUSR1, numbered(round));
    CHECK_EQ(seen, kAtFirst);
    CHECK_EQ(protection_keys(), kMine);
  }
}

TEST(what_a_handler_writes_into_the_frame_counts) {
  on(SIGUSR1, [](int, siginfo_t*, void* context) {
    clobber();
    static_cast<ucontext_t*>(context)->uc_mcontext.fpregs->_xmm[10].element[0] = 0xdeadbeef;
  });
  for (int round = 0; round < kRounds; ++round) {
    const Vectors in = numbered(round), out = send(SIGUSR1, in);
    CHECK(memcmp(in.xmm9, out.xmm9, sizeof in.xmm9) == 0);
    CHECK_EQ(static_cast<uint32_t>(out.xmm10[0]), 0xdeadbeefu);
    CHECK_EQ(out.xmm10[1], in.xmm10[1]);
  }
}

TEST(frames_tell_what_they_hold) {
  static Vectors expected;
  on(SIGUSR1, [](int, siginfo_t*, void* context) {
    const uint8_t* const state = state_of(context);
    CHECK_EQ(reinterpret_cast<uintptr_t>(state) % 64, 0u);
    const Software software = software_of(state);
    CHECK_EQ(software.magic1, kMagic1);
    CHECK_EQ(software.extended_size, software.state_size + 4);
    CHECK_EQ(software.features & 3, 3u);
    uint32_t magic2 = 0;
    memcpy(&magic2, state + software.state_size, sizeof magic2);
    CHECK_EQ(magic2, kMagic2);
    uint64_t header[8];
    memcpy(header, state + kHeaderAt, sizeof header);
    CHECK_EQ(header[0] & 3, 3u);
    CHECK_EQ(header[0] & ~software.features, 0u);
    for (int i = 1; i < 8; ++i) CHECK_EQ(header[i], 0u);
    const auto* const fpregs = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs;
    CHECK(memcmp(fpregs->_xmm[9].element, expected.xmm9, 16) == 0);
    CHECK(memcmp(fpregs->_xmm[10].element, expected.xmm10, 16) == 0);
  });
  for (int round = 0; round < kRounds; ++round) {
    expected = numbered(round);
    send(SIGUSR1, expected);
  }
}

// Both frames are pushed before either handler runs: the second is that of the first handler's beginning.
TEST(two_signals_at_once) {
  static int seen;
  static Vectors expected;
  const auto handler = [](int number, siginfo_t*, void* context) {
    const auto* const fpregs = static_cast<ucontext_t*>(context)->uc_mcontext.fpregs;
    const Vectors none{};
    CHECK(memcmp(fpregs->_xmm[9].element, number == SIGUSR1 ? expected.xmm9 : none.xmm9, 16) == 0);
    ++seen;
  };
  on(SIGUSR1, handler);
  on(SIGUSR2, handler);
  sigset_t both, old;
  sigemptyset(&both);
  sigaddset(&both, SIGUSR1);
  sigaddset(&both, SIGUSR2);
  for (int round = 0; round < kRounds; ++round) {
    OK(sigprocmask(SIG_BLOCK, &both, &old));
    expected = numbered(round);
    send(SIGUSR1, expected);
    send(SIGUSR2, expected);
    alignas(16) Vectors held = expected;
    long result = 0;
    register long size asm("r10") = 8;
    asm volatile(
        "movdqa (%[held]), %%xmm9\n"
        "mov %[call], %%eax\n syscall\n"
        "movdqa %%xmm9, (%[held])\n"
        : "=&a"(result)
        : [held] "r"(&held), [call] "i"(SYS_rt_sigprocmask), "D"(long{SIG_UNBLOCK}), "S"(&both), "d"(0L),
          "r"(size)
        : "rcx", "r11", "memory", "xmm9");
    CHECK_EQ(result, 0);
    CHECK(memcmp(&held, &expected, sizeof held) == 0);
    CHECK_EQ(seen, 2 * (round + 1));
  }
}

// The handler spoils the frame once the signal has come often enough.
void dies_of(void (*spoil)(ucontext_t& context)) {
  static void (*do_spoil)(ucontext_t&);
  do_spoil = spoil;
  const pid_t child = check::fork_child([] {
    static int rounds;
    on(SIGUSR1, [](int, siginfo_t*, void* context) {
      if (++rounds == kRounds) do_spoil(*static_cast<ucontext_t*>(context));
    });
    for (int round = 0; round < kRounds; ++round) send(SIGUSR1, numbered(round));
    _exit(0);
  });
  int status = 0;
  OK(waitpid(child, &status, 0));
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(control_bits_that_the_cpu_does_not_have) {
  dies_of([](ucontext_t& context) {
    const uint32_t bits = 0xffffffff;
    memcpy(state_of(&context) + 24, &bits, sizeof bits);  // MXCSR
  });
}

TEST(components_that_the_cpu_does_not_have) {
  dies_of([](ucontext_t& context) {
    const uint64_t bits = uint64_t{1} << 62;
    memcpy(state_of(&context) + kHeaderAt, &bits, sizeof bits);
  });
}

TEST(a_header_in_another_format) {
  dies_of([](ucontext_t& context) {
    const uint64_t bits = uint64_t{1} << 63;
    memcpy(state_of(&context) + kHeaderAt + 8, &bits, sizeof bits);  // XCOMP_BV: compacted
  });
}

TEST(a_state_that_is_not_there) {
  dies_of([](ucontext_t& context) {
    context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(uintptr_t{0x10000});
  });
}

TEST(a_state_that_is_not_aligned) {
  dies_of([](ucontext_t& context) {
    alignas(64) static uint8_t copy[16384];
    const uint8_t* const state = state_of(&context);
    memcpy(copy + 8, state, software_of(state).extended_size);
    context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(copy + 8);
  });
}

TEST(no_state_is_that_of_a_new_program) {
  on(SIGUSR1,
     [](int, siginfo_t*, void* context) { static_cast<ucontext_t*>(context)->uc_mcontext.fpregs = nullptr; });
  for (int round = 1; round < kRounds; ++round) {
    const Vectors out = send(SIGUSR1, numbered(round));
    CHECK_EQ(out.xmm9[0] | out.xmm9[1] | out.xmm10[0] | out.xmm10[1], 0u);
  }
}

// What is left of the upper halves of the registers when the handler has made this of the frame.
void loses_upper_halves(void (*spoil)(uint8_t* state)) {
  if (!__builtin_cpu_supports("avx")) SKIP("no AVX");
  static void (*do_spoil)(uint8_t*);
  do_spoil = spoil;
  on(SIGUSR1, [](int, siginfo_t*, void* context) { do_spoil(state_of(context)); });
  const long pid = getpid(), tid = gettid();
  for (int round = 0; round < kRounds; ++round) {
    alignas(32) uint64_t held[4] = {1, 2, 3, 4};
    long result = 0;
    asm volatile(
        "vmovdqa (%[held]), %%ymm9\n"
        "mov %[call], %%eax\n syscall\n"
        "vmovdqa %%ymm9, (%[held])\n vzeroupper\n"
        : "=&a"(result)
        : [held] "r"(held), [call] "i"(SYS_tgkill), "D"(pid), "S"(tid), "d"(long{SIGUSR1})
        : "rcx", "r11", "memory", "xmm9");
    CHECK_EQ(result, 0);
    CHECK_EQ(held[0], 1u);
    CHECK_EQ(held[1], 2u);
    CHECK_EQ(held[2] | held[3], 0u);
  }
}

TEST(without_its_magic_the_state_is_the_first_part_alone) {
  loses_upper_halves([](uint8_t* state) { memset(state + kSoftwareAt, 0, 4); });
}

TEST(without_the_magic_at_its_end_the_state_is_the_first_part_alone) {
  loses_upper_halves([](uint8_t* state) { memset(state + software_of(state).state_size, 0, 4); });
}

TEST(a_state_larger_than_its_frame_is_the_first_part_alone) {
  loses_upper_halves([](uint8_t* state) {
    const uint32_t less = software_of(state).state_size - 1;
    memcpy(state + kSoftwareAt + offsetof(Software, extended_size), &less, sizeof less);
  });
}

TEST(components_that_a_frame_does_not_offer_begin_anew) {
  loses_upper_halves([](uint8_t* state) {
    const uint64_t first_part = 3;
    memcpy(state + kSoftwareAt + offsetof(Software, features), &first_part, sizeof first_part);
  });
}

// One signal's frame has been pushed when the other stops the process: others find it in shared memory.
void stops_behind_its_frame(int stop, bool traced) {
  constexpr size_t kSize = 65536;
  auto* const stack =
      static_cast<uint8_t*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  CHECK(stack != MAP_FAILED);
  const pid_t child = check::fork_child([&] {
    OK(setpgid(0, 0));
    const stack_t alternate{stack, 0, kSize};
    OK(sigaltstack(&alternate, nullptr));
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t*, void*) {};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    OK(sigaction(SIGUSR1, &action, nullptr));
    for (int round = 0; round < kRounds; ++round) send(SIGUSR1, numbered(round));
    if (traced) OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    memset(stack, 0, kSize);
    sigset_t both, old;
    sigemptyset(&both);
    sigaddset(&both, SIGUSR1);
    sigaddset(&both, stop);
    OK(sigprocmask(SIG_BLOCK, &both, &old));
    OK(kill(getpid(), SIGUSR1));
    OK(kill(getpid(), stop));
    OK(sigprocmask(SIG_SETMASK, &old, nullptr));
    _exit(0);
  });
  int status = 0;
  OK(waitpid(child, &status, WUNTRACED));
  if (traced) {
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGUSR1);
    OK(ptrace(PTRACE_CONT, child, nullptr, SIGUSR1));
    OK(waitpid(child, &status, 0));
  }
  CHECK(WIFSTOPPED(status));
  CHECK_EQ(WSTOPSIG(status), stop);
  const uint32_t magic = kMagic1;
  CHECK(memmem(stack, kSize, &magic, sizeof magic) != nullptr);
  const siginfo_t* info = nullptr;
  for (size_t i = 0; i + sizeof *info <= kSize && info == nullptr; i += 8) {
    const auto* const here = reinterpret_cast<const siginfo_t*>(stack + i);
    if (here->si_signo == SIGUSR1 && here->si_code == SI_USER && here->si_pid == child) info = here;
  }
  CHECK(info != nullptr);
  if (traced)
    OK(ptrace(PTRACE_CONT, child, nullptr, nullptr));
  else
    OK(kill(child, SIGCONT));
  JOIN(child);
  OK(munmap(stack, kSize));
}

TEST(others_see_a_stopped_process_frame) { stops_behind_its_frame(SIGTSTP, false); }

TEST(others_see_a_debugged_process_frame) { stops_behind_its_frame(SIGUSR2, true); }

TEST(a_debugger_sees_the_frame_before_its_handler_runs) {
  const pid_t child = check::fork_child([] {
    on(SIGUSR1, [](int, siginfo_t*, void*) { clobber(); });
    OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    for (int round = 0; round < kRounds; ++round) {
      const Vectors in = numbered(round), out = send(SIGUSR1, in);
      CHECK(memcmp(&in, &out, sizeof in) == 0);
    }
    _exit(0);
  });
  int status = 0;
  for (int round = 0; round < kRounds; ++round) {
    OK(waitpid(child, &status, 0));
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGUSR1);
    OK(ptrace(PTRACE_SINGLESTEP, child, nullptr, SIGUSR1));
    OK(waitpid(child, &status, 0));
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTRAP);
    user_regs_struct registers;
    OK(ptrace(PTRACE_GETREGS, child, nullptr, &registers));
    ucontext_t context;
    iovec to{&context, sizeof context}, from{reinterpret_cast<void*>(registers.rdx), sizeof context};
    OK(process_vm_readv(child, &to, 1, &from, 1, 0));
    uint8_t state[kHeaderAt];
    to = {state, sizeof state}, from = {context.uc_mcontext.fpregs, sizeof state};
    OK(process_vm_readv(child, &to, 1, &from, 1, 0));
    CHECK_EQ(software_of(state).magic1, kMagic1);
    const Vectors expected = numbered(round);
    CHECK(memcmp(state + 160 + 9 * 16, expected.xmm9, 16) == 0);
    OK(ptrace(PTRACE_CONT, child, nullptr, nullptr));
  }
  JOIN(child);
}

}  // namespace
