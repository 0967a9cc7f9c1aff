// Instructions that are carried out elsewhere since they come before a system call: each does what it does in
// its own place, once, whatever comes in between.
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <ucontext.h>

#include "tests/syscalls/check.h"

// Each site in a neighbourhood without padding, so that it is the instructions that have to move.
#define SITE(name) \
  ".fill 160, 1, 0x90\n .balign 16\n .type " #name ", @function\n .globl " #name "\n" #name ":\n"

extern "C" long low_address_site();
extern "C" int divided_site(int divisor);
extern "C" int undefined_site();
extern "C" int flags_site();
extern "C" int prefix_site(int locked);
extern "C" int table_site(long fd);
extern "C" int stack_site(long value);
extern "C" int string_site(void* to, const void* from, long length);
extern "C" int counting_site(long number);
extern "C" int vector_site(const void* from);
extern "C" char divided_place[], undefined_place[], flags_place[], string_place[], counting_begin[],
    counting_move[], counting_call[], table_begin[], vector_place[];
extern "C" volatile int prefix_count, counted;
extern "C" char far_vector[];
asm(R"(
  .text
  .globl divided_place, undefined_place, flags_place, string_place
  .globl counting_begin, counting_move, counting_call, table_begin, vector_place
)"
    // A place relative to the instruction, cut to 32 bits.
    SITE(low_address_site) R"(
  mov $39, %eax
  lea low_address_site(%eip), %rsi
  syscall
  mov %rsi, %rax
  ret
)" SITE(divided_site) R"(
  mov $39, %eax
  xor %edx, %edx
divided_place:
  div %edi
  syscall
  ret
)" SITE(undefined_site) R"(
  mov $39, %eax
undefined_place:
  ud2
  syscall
  ret
)" SITE(flags_site) R"(
  pushfq
  orl $0x100, (%rsp)
  mov $39, %eax
  popfq
flags_place:
  syscall
  pushfq
  andl $~0x100, (%rsp)
  popfq
  ret
)"
    // As C libraries do: without other threads the prefix is jumped over.
    SITE(prefix_site) R"(
  mov $39, %eax
  test %edi, %edi
  je 1f
  lock
1:
  addl $1, prefix_count(%rip)
  syscall
  ret
)"
                      R"(
  .fill 160, 1, 0x90
  .balign 16
table_begin:
  .set number, 45  # odd numbers, which happen to read like instructions
  .rept 32
  .long number
  .set number, number + 2
  .endr
  .type table_site, @function
  .globl table_site
table_site:
  xor %eax, %eax
  syscall
  ret
)" SITE(stack_site) R"(
  mov $39, %eax
  push %rdi
  pop %rsi
  mov %rsi, -8(%rsp)
  syscall
  cmp %rsi, -8(%rsp)
  jne 1f
  cmp %rdi, %rsi
  jne 1f
  ret
1:
  ud2
)" SITE(string_site) R"(
  mov %rdx, %rcx
  mov $39, %eax
string_place:
  rep movsb
  syscall
  ret
)" SITE(counting_site) R"(
counting_begin:
  mov $39, %edx
counting_move:
  incl counted(%rip)
  mov %edi, %eax
counting_call:
  syscall
  ret
)" SITE(vector_site) R"(
  movups (%rdi), %xmm1
  mov $39, %eax
vector_place:
  movups %xmm1, far_vector(%rip)
  syscall
  ret
)"
                     R"(
  .fill 160, 1, 0x90
  .data
  .globl prefix_count, counted, far_vector
  .balign 4
prefix_count:
  .long 0
counted:
  .long 0
  .balign 4096
far_vector:
  .fill 16, 1, 0
  .balign 4096
  .text
)");

namespace {

constexpr int kOften = 200;  // calls, after which a site is what it will be
constexpr size_t kPage = 4096;

uint64_t address_of(const void* place) { return reinterpret_cast<uint64_t>(place); }

struct Seen {
  volatile int count;
  volatile uint64_t rip, address;
} seen;

void on(int signal, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  OK(sigaction(signal, &action, nullptr));
}

greg_t& note(siginfo_t* info, void* context, int which) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  seen.count = seen.count + 1;
  seen.rip = static_cast<uint64_t>(registers[REG_RIP]);
  seen.address = address_of(info->si_addr);
  return registers[which];
}

TEST(addresses_of_32_bits) {
  for (int i = 0; i < kOften; ++i)
    CHECK_EQ(low_address_site(),
             static_cast<long>(static_cast<uint32_t>(reinterpret_cast<uint64_t>(low_address_site))));
}

TEST(divisions_by_zero) {
  on(SIGFPE, [](int, siginfo_t* info, void* context) { note(info, context, REG_RDI) = 1; });
  for (int i = 0; i < kOften; ++i) CHECK_EQ(divided_site(1), getpid());
  for (int i = 0; i < 5; ++i) {
    seen.count = 0;
    CHECK_EQ(divided_site(0), getpid());
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(seen.rip, address_of(divided_place));
    CHECK_EQ(seen.address, address_of(divided_place));
  }
}

TEST(undefined_instructions) {
  on(SIGILL, [](int, siginfo_t* info, void* context) { note(info, context, REG_RIP) += 2; });
  for (int i = 0; i < kOften; ++i) {
    seen.count = 0;
    CHECK_EQ(undefined_site(), getpid());
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(seen.rip, address_of(undefined_place));
    CHECK_EQ(seen.address, address_of(undefined_place));
  }
}

TEST(flags_that_begin_to_step) {
  static volatile uint64_t first = 0;
  on(SIGTRAP, [](int, siginfo_t* info, void* context) {
    note(info, context, REG_RIP);
    if (seen.count == 1) first = seen.rip;
  });
  for (int i = 0; i < kOften; ++i) {
    seen.count = 0;
    CHECK_EQ(flags_site(), getpid());
    CHECK_EQ(first, address_of(flags_place) + 3);  // the call and what follows it are one step
    CHECK_EQ(seen.count, 3);
  }
}

TEST(prefixes_that_are_jumped_over) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(prefix_site(1), getpid());
  for (int i = 0; i < kOften; ++i) CHECK_EQ(prefix_site(0), getpid());
  CHECK_EQ(prefix_count, 2 * kOften);
}

TEST(tables_before_a_function_stay) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(table_site(-1), -EBADF);
  for (int i = 0; i < 32; ++i) CHECK_EQ(reinterpret_cast<const int*>(table_begin)[i], 45 + 2 * i);
}

TEST(what_lies_on_the_stack) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(stack_site(i * 0x100000001L), getpid());
}

TEST(copies_that_stop_in_the_middle) {
  auto* const to = static_cast<char*>(
      OK(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  static char* closed;
  closed = to + kPage;
  const std::string from(100, 'x');
  for (int i = 0; i < kOften; ++i) CHECK_EQ(string_site(to, from.data(), 100), getpid());
  on(SIGSEGV, [](int, siginfo_t* info, void* context) {
    note(info, context, REG_RIP);
    CHECK_EQ(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RCX], 60);
    OK(mprotect(closed, kPage, PROT_READ | PROT_WRITE));
  });
  for (int i = 0; i < 5; ++i) {
    memset(to, 0, kPage);
    OK(mprotect(closed, kPage, PROT_NONE));
    seen.count = 0;
    CHECK_EQ(string_site(closed - 40, from.data(), 100), getpid());
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(seen.rip, address_of(string_place));
    CHECK_EQ(seen.address, address_of(closed));
    CHECK(memcmp(closed - 40, from.data(), 100) == 0);
  }
}

TEST(vectors_that_cannot_be_stored) {
  const uint64_t data[2] = {0x1111222233334444, 5};
  for (int i = 0; i < kOften; ++i) CHECK_EQ(vector_site(data), getpid());
  on(SIGSEGV, [](int, siginfo_t* info, void* context) {
    note(info, context, REG_RIP);
    OK(mprotect(far_vector, kPage, PROT_READ | PROT_WRITE));
  });
  for (int i = 0; i < 5; ++i) {
    memset(far_vector, 0, sizeof data);
    OK(mprotect(far_vector, kPage, PROT_NONE));
    seen.count = 0;
    CHECK_EQ(vector_site(data), getpid());
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(seen.rip, address_of(vector_place));
    CHECK_EQ(seen.address, address_of(far_vector));
    CHECK(memcmp(far_vector, data, sizeof data) == 0);
  }
}

// What is counted in a moved instruction is counted once, and handlers see places of the text alone.
TEST(a_storm_of_signals_over_moved_instructions) {
  static volatile bool strayed = false;
  on(SIGALRM, [](int, siginfo_t*, void* context) {
    const auto rip = static_cast<uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    const uint64_t here = address_of(counting_begin);
    if (rip + (uint64_t{64} << 20) < here && rip + (uint64_t{1} << 30) > here) strayed = true;
    seen.count = seen.count + 1;
  });
  counted = 0;
  seen.count = 0;
  const itimerval often{{0, 60}, {0, 60}};
  OK(setitimer(ITIMER_REAL, &often, nullptr));
  const uint64_t end = check::now_ns() + 700'000'000;
  int calls = 0;
  while (check::now_ns() < end || seen.count < 20)
    for (int i = 0; i < 50; ++i, calls += 2) {
      CHECK_EQ(counting_site(SYS_getpid), getpid());
      CHECK_EQ(counting_site(9999), -ENOSYS);
      CHECK_EQ(counted, calls + 2);
    }
  const itimerval never{};
  OK(setitimer(ITIMER_REAL, &never, nullptr));
  CHECK(!strayed);
}

pid_t stopped_child() {
  const pid_t pid = check::fork_child([] {
    for (int i = 0; i < kOften; ++i) CHECK_EQ(counting_site(SYS_getpid), getpid());
    counted = 0;
    OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    raise(SIGSTOP);
    for (int i = 0; i < 3; ++i) counting_site(SYS_getppid);
    CHECK_EQ(counted, 3);
    _exit(6);
  });
  int status = 0;
  OK(waitpid(pid, &status, 0));
  CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
  return pid;
}

user_regs_struct go_on(pid_t pid, __ptrace_request request) {
  int status = 0;
  OK(ptrace(request, pid, nullptr, nullptr));
  OK(waitpid(pid, &status, 0));
  CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
  user_regs_struct registers{};
  OK(ptrace(PTRACE_GETREGS, pid, nullptr, &registers));
  return registers;
}

TEST(a_debuggers_breakpoints_on_moved_instructions) {
  for (char* const place : {counting_begin, counting_move, counting_move + 6}) {
    const pid_t pid = stopped_child();
    const long before = ptrace(PTRACE_PEEKTEXT, pid, place, nullptr);
    CHECK_EQ(ptrace(PTRACE_PEEKTEXT, pid, counting_begin, nullptr) & 0xffffffffff, 0x27ba);
    for (int i = 0; i < 3; ++i) {
      OK(ptrace(PTRACE_POKETEXT, pid, place, (before & ~0xffl) | 0xcc));
      user_regs_struct registers = go_on(pid, PTRACE_CONT);
      CHECK_EQ(registers.rip, address_of(place) + 1);
      registers.rip -= 1;
      OK(ptrace(PTRACE_POKETEXT, pid, place, before));
      OK(ptrace(PTRACE_SETREGS, pid, nullptr, &registers));
      // Instruction by instruction to behind the call.
      for (const char* next : {counting_move, counting_move + 6, counting_call, counting_call + 2})
        if (next > place) CHECK_EQ(go_on(pid, PTRACE_SINGLESTEP).rip, address_of(next));
    }
    OK(ptrace(PTRACE_CONT, pid, nullptr, nullptr));
    CHECK_EXITED(WAIT_STATUS(pid), 6);
  }
}

// Without anything written: the steps themselves.
TEST(a_debugger_steps_over_moved_instructions) {
  const pid_t pid = stopped_child();
  user_regs_struct registers{};
  for (int i = 0; registers.rip != address_of(counting_begin); ++i) {
    CHECK(i < 20'000);
    registers = go_on(pid, PTRACE_SINGLESTEP);
  }
  for (const char* next : {counting_move, counting_move + 6, counting_call, counting_call + 2})
    CHECK_EQ(go_on(pid, PTRACE_SINGLESTEP).rip, address_of(next));
  OK(ptrace(PTRACE_CONT, pid, nullptr, nullptr));
  CHECK_EXITED(WAIT_STATUS(pid), 6);
}

}  // namespace
