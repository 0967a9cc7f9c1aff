// Code that changes, moves, is stepped through or interrupted where it makes system calls: whatever is done
// to make calls cheap, the program sees the instructions that it was built with or has written itself.
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <ucontext.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

// Two pages of text of their own, with a call site each that reads like the C library's.
extern "C" int first_site();
extern "C" int second_site();
extern "C" int entered_at_the_call(long number);
extern "C" int short_site(long fd);
extern "C" int entered_at_the_short_call(long number);
extern "C" int bare_site(long fd);
extern "C" int bare_site_too(long fd);
extern "C" int long_way(long fd);
extern "C" int entered_on_the_long_way(long number);
extern "C" char* relative_site();
extern "C" long relative_load();
extern "C" char relative_load_place[], far_word[];
extern "C" int patchable();
extern "C" int unaligned_patchable();
extern "C" char sites_begin[], sites_end[], first_site_call[], short_padding[], short_padding_end[];
extern "C" char __executable_start[], etext[];
asm(R"(
  .text
  .balign 4096
  .globl sites_begin, sites_end, first_site, second_site, entered_at_the_call, first_site_call
sites_begin:
  .fill 512, 1, 0x90
  .type first_site, @function
first_site:
  mov $39, %eax
first_site_call:
  syscall
  ret
  .size first_site, . - first_site
  .fill 512, 1, 0x90
  .type entered_at_the_call, @function
entered_at_the_call:
  mov %edi, %eax
  jmp first_site_call
  .size entered_at_the_call, . - entered_at_the_call
  .fill 64, 1, 0x90
  .balign 16
  .globl short_site, entered_at_the_short_call, short_padding, short_padding_end
  .type short_site, @function
short_site:
  xor %eax, %eax
short_site_call:
  syscall
  ret
short_padding:
  .byte 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00  # up to an aligned place
short_padding_end:
  .size short_site, . - short_site
  # A short site without padding near: what follows its ret is a function that begins with no-operations.
  .fill 160, 1, 0x90
  .balign 16
  .fill 11, 1, 0x90
  .globl bare_site, patchable, unaligned_patchable, bare_site_too
  .type bare_site, @function
bare_site:
  xor %eax, %eax
  syscall
  ret
  .type patchable, @function
patchable:
  .fill 8, 1, 0x90
  mov $7, %eax
  ret
  .fill 160, 1, 0x90
  .balign 16
  .type bare_site_too, @function
bare_site_too:
  xor %eax, %eax
  syscall
  ret
  .type unaligned_patchable, @function
unaligned_patchable:
  .fill 11, 1, 0x90
  mov $8, %eax
  ret
  .fill 160, 1, 0x90
  .balign 16
  .type entered_at_the_short_call, @function
entered_at_the_short_call:
  mov %edi, %eax
  jmp short_site_call
  .size entered_at_the_short_call, . - entered_at_the_short_call
  # Where what comes before the call is too short for a jump, but not what comes before that.
  .fill 160, 1, 0x90
  .balign 16
  .globl long_way, entered_on_the_long_way, relative_site, relative_load, relative_load_place
  .type long_way, @function
long_way:
  mov $0, %edx
  .byte 0x66, 0x90
long_way_middle:
  xor %r10d, %r10d
  mov %edx, %eax
  syscall
  ret
  .size long_way, . - long_way
  .fill 160, 1, 0x90
  .type entered_on_the_long_way, @function
entered_on_the_long_way:
  mov %edi, %edx
  jmp long_way_middle
  .size entered_on_the_long_way, . - entered_on_the_long_way
  # Where it names a place by the distance.
  .type relative_site, @function
relative_site:
  mov $39, %eax
  lea sites_begin(%rip), %rsi
  syscall
  mov %rsi, %rax
  ret
  .size relative_site, . - relative_site
  .type relative_load, @function
relative_load:
  mov $39, %eax
relative_load_place:
  mov far_word(%rip), %rsi
  syscall
  mov %rsi, %rax
  ret
  .size relative_load, . - relative_load
  .balign 4096
  .fill 512, 1, 0x90
  .type second_site, @function
second_site:
  mov $110, %eax
  syscall
  ret
  .size second_site, . - second_site
  .balign 4096
sites_end:
  .data
  .globl far_word
  .balign 4096
far_word:
  .quad 0x123456789
  .balign 4096
  .text
)");

extern "C" char __executable_start[];  // by the linker: where the program is loaded

namespace {

constexpr size_t kPage = 4096;
constexpr int kOften = 200;  // calls, after which a site is what it will be
constexpr unsigned char kGetpid[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
constexpr unsigned char kGetppid[] = {0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3};
constexpr unsigned char kSeven[] = {0xb8, 7, 0, 0, 0, 0xc3};

using Function = int (*)();

unsigned char* code_pages(int prot, size_t count = 1) {
  return static_cast<unsigned char*>(
      OK(mmap(nullptr, count * kPage, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}
unsigned char* bytes_of(Function function) {
  return reinterpret_cast<unsigned char*>(reinterpret_cast<uintptr_t>(function));
}
void call_often(Function function, int expected) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(function(), expected);
}
void protect_sites(int prot) {
  OK(mprotect(sites_begin, static_cast<size_t>(sites_end - sites_begin), prot));
}

TEST(written_code_is_written_again) {
  auto* const page = code_pages(PROT_READ | PROT_WRITE | PROT_EXEC);
  const auto function = reinterpret_cast<Function>(page);
  for (int round = 0; round < 3; ++round) {
    memcpy(page, kGetpid, sizeof kGetpid);
    call_often(function, getpid());
    memcpy(page, kGetppid, sizeof kGetppid);
    call_often(function, getppid());
    memcpy(page, kSeven, sizeof kSeven);
    call_often(function, 7);
  }
}

TEST(written_code_with_two_threads) {
  auto* const page = code_pages(PROT_READ | PROT_WRITE | PROT_EXEC);
  memcpy(page + 3, kGetpid, sizeof kGetpid);  // the number lies in an aligned word
  const auto function = reinterpret_cast<Function>(page + 3);
  const int mine = getpid(), parents = getppid();
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    auto* const number = reinterpret_cast<std::atomic<uint32_t>*>(page + 4);
    for (uint32_t i = 0; !stop; ++i) {
      number->store(i % 2 == 0 ? 110 : 39);
      if (i % 64 == 0) sched_yield();
    }
    number->store(39);
  });
  for (int i = 0; i < 3000; ++i) {
    const int answer = function();
    CHECK(answer == mine || answer == parents);
  }
  stop = true;
  writer.join();
  call_often(function, mine);
}

TEST(pages_that_are_writable_or_executable) {
  auto* const page = code_pages(PROT_READ | PROT_WRITE);
  const auto function = reinterpret_cast<Function>(page);
  for (int round = 0; round < 20; ++round) {
    const bool own = round % 2 == 0;
    OK(mprotect(page, kPage, PROT_READ | PROT_WRITE));
    memcpy(page, own ? kGetpid : kGetppid, sizeof kGetpid);
    OK(mprotect(page, kPage, PROT_READ | PROT_EXEC));
    for (int i = 0; i < 20; ++i) CHECK_EQ(function(), own ? getpid() : getppid());
  }
}

TEST(program_text_is_written_over) {
  call_often(first_site, getpid());
  call_often(second_site, getppid());
  for (int round = 0; round < 3; ++round) {
    protect_sites(PROT_READ | PROT_WRITE);
    memcpy(bytes_of(first_site), kGetppid, sizeof kGetppid);
    protect_sites(PROT_READ | PROT_EXEC);
    call_often(first_site, getppid());
    call_often(second_site, getppid());
    protect_sites(PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(bytes_of(first_site), kGetpid, sizeof kGetpid);
    protect_sites(PROT_READ | PROT_EXEC);
    call_often(first_site, getpid());
  }
}

// Only the number is written: the rest of the instruction is what the program was built with.
TEST(part_of_an_instruction_of_the_text_is_written) {
  call_often(first_site, getpid());
  protect_sites(PROT_READ | PROT_WRITE | PROT_EXEC);
  CHECK(memcmp(bytes_of(first_site), kGetpid, sizeof kGetpid) == 0);
  bytes_of(first_site)[1] = 110;
  call_often(first_site, getppid());
  protect_sites(PROT_READ | PROT_EXEC);
  call_often(first_site, getppid());
  // A child inherits what was written, and a page that is dropped is the file's again.
  JOIN(check::fork_child([] { CHECK_EQ(first_site(), getppid()); }));
  OK(madvise(sites_begin, kPage, MADV_DONTNEED));
  call_often(first_site, getpid());
}

TEST(text_with_call_sites_is_moved) {
  call_often(first_site, getpid());
  call_often(second_site, getppid());
  const auto length = static_cast<size_t>(sites_end - sites_begin);
  JOIN(check::fork_child([&] {
    auto* const place = code_pages(PROT_NONE, 64);
    auto* const moved = static_cast<unsigned char*>(
        OK(mremap(sites_begin, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, place + 8 * kPage)));
    const auto at = [&](Function function) {
      return reinterpret_cast<Function>(moved +
                                        (bytes_of(function) - reinterpret_cast<unsigned char*>(sites_begin)));
    };
    call_often(at(first_site), getpid());
    call_often(at(second_site), getppid());
  }));
}

// As dlmopen(3) does: the same text once more, somewhere else.
TEST(text_is_mapped_a_second_time) {
  call_often(first_site, getpid());
  const auto offset =
      reinterpret_cast<uintptr_t>(sites_begin) - reinterpret_cast<uintptr_t>(__executable_start);
  Fd file(OK(open(check::self(), O_RDONLY)));
  const auto length = static_cast<size_t>(sites_end - sites_begin);
  auto* const again = static_cast<unsigned char*>(OK(mmap(nullptr, length, PROT_READ | PROT_EXEC, MAP_PRIVATE,
                                                          file, static_cast<off_t>(offset & ~(kPage - 1)))));
  const auto at = [&](Function function) {
    return reinterpret_cast<Function>(again +
                                      (bytes_of(function) - reinterpret_cast<unsigned char*>(sites_begin)));
  };
  CHECK(memcmp(bytes_of(at(first_site)) + 5, kGetpid + 5, 3) == 0);
  call_often(at(first_site), getpid());
  call_often(at(second_site), getppid());
  call_often(first_site, getpid());
}

// ---- text of a file that changes

// A file with one function, in the middle of its page.
class TextFile {
 public:
  explicit TextFile(const char* name) : fd_(OK(open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755))) {
    write_page(kGetpid, sizeof kGetpid);
  }
  int fd() const { return fd_; }
  void write_page(const unsigned char* code, size_t size) {
    unsigned char page[kPage];
    fill(page, code, size);
    CHECK_EQ(OK(pwrite(fd(), page, kPage, 0)), static_cast<ssize_t>(kPage));
  }
  static void fill(unsigned char* page, const unsigned char* code, size_t size) {
    memset(page, 0x90, kPage);
    memcpy(page + kPlace, code, size);
  }
  // Mapped once more.
  Function map() const {
    auto* const page =
        static_cast<unsigned char*>(OK(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd(), 0)));
    return reinterpret_cast<Function>(page + kPlace);
  }
  static constexpr size_t kPlace = 1024;

 private:
  Fd fd_;
};

TEST(text_of_a_file_that_is_written) {
  TextFile file("text");
  const int mine = getpid(), parents = getppid();
  std::vector<Function> older;
  for (int round = 0; round < 12; ++round) {
    const bool own = round % 2 == 0;
    if (own)
      file.write_page(kGetpid, sizeof kGetpid);
    else
      file.write_page(kGetppid, sizeof kGetppid);
    const Function now = file.map();
    call_often(now, own ? mine : parents);
    // Whether these have changed with the file, mmap(2) leaves open.
    for (const Function function : older) {
      const int answer = function();
      CHECK(answer == mine || answer == parents);
    }
    older.push_back(now);
  }
}

TEST(text_of_a_file_that_is_cut_and_written) {
  TextFile file("text");
  for (int round = 0; round < 4; ++round) {
    call_often(file.map(), getpid());
    OK(ftruncate(file.fd(), 0));
    file.write_page(kSeven, sizeof kSeven);
    call_often(file.map(), 7);
    file.write_page(kGetpid, sizeof kGetpid);
  }
}

TEST(text_of_a_file_that_is_written_through_a_mapping) {
  TextFile file("text");
  call_often(file.map(), getpid());
  auto* const shared =
      static_cast<unsigned char*>(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0)));
  for (int round = 0; round < 4; ++round) {
    TextFile::fill(shared, kGetppid, sizeof kGetppid);
    call_often(file.map(), getppid());
    TextFile::fill(shared, kGetpid, sizeof kGetpid);
    call_often(file.map(), getpid());
  }
  OK(munmap(shared, kPage));
  call_often(file.map(), getpid());
}

TEST(text_of_a_file_with_a_hole_made_in_it) {
  TextFile file("text");
  const Function before = file.map();
  call_often(before, getpid());
  if (fallocate(file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage) != 0) SKIP("no holes here");
  const auto* const now = static_cast<const unsigned char*>(
      OK(mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.fd(), 0)));
  for (size_t i = 0; i < kPage; ++i) CHECK_EQ(now[i], 0);
}

TEST(jumps_to_the_call_instruction_itself) {
  call_often(first_site, getpid());
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(entered_at_the_call(SYS_getppid), getppid());
    CHECK_EQ(entered_at_the_call(SYS_getpid), getpid());
    CHECK_EQ(entered_at_the_call(9999), -ENOSYS);
  }
}

TEST(jumps_to_the_call_instruction_of_a_short_site) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(short_site(-1), -EBADF);
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(entered_at_the_short_call(SYS_getppid), getppid());
    CHECK_EQ(entered_at_the_short_call(9999), -ENOSYS);
    CHECK_EQ(short_site(-1), -EBADF);
  }
}

TEST(jumps_among_the_instructions_before_a_call) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(long_way(-1), -EBADF);
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(entered_on_the_long_way(SYS_getppid), getppid());
    CHECK_EQ(entered_on_the_long_way(9999), -ENOSYS);
    CHECK_EQ(long_way(-1), -EBADF);
  }
}

TEST(places_named_by_their_distance) {
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(relative_site(), sites_begin);
    CHECK_EQ(relative_load(), 0x123456789);
  }
  // Where it cannot be read, the instruction itself is at fault.
  static volatile uintptr_t at_fault = 0, address = 0;
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void* context) {
    at_fault = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    address = reinterpret_cast<uintptr_t>(info->si_addr);
    OK(mprotect(far_word, kPage, PROT_READ | PROT_WRITE));
  };
  OK(sigaction(SIGSEGV, &action, nullptr));
  for (int i = 0; i < 5; ++i) {
    at_fault = 0;
    OK(mprotect(far_word, kPage, PROT_NONE));
    CHECK_EQ(relative_load(), 0x123456789);
    CHECK_EQ(at_fault, reinterpret_cast<uintptr_t>(relative_load_place));
    CHECK_EQ(address, reinterpret_cast<uintptr_t>(far_word));
  }
}

TEST(functions_that_begin_with_no_operations_stay) {
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(bare_site(-1), -EBADF);
    CHECK_EQ(bare_site_too(-1), -EBADF);
  }
  CHECK_EQ(reinterpret_cast<uintptr_t>(patchable) % 16, 0);
  call_often(patchable, 7);
  call_often(unaligned_patchable, 8);
}

TEST(threads_meet_a_site_for_the_first_time_together) {
  JOIN(check::fork_child([] {
    for (int round = 0; round < 10; ++round) {
      // As a library that is loaded anew: a private mapping of the program's own file would be the same.
      std::atomic<bool> go = false;
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
          while (!go) {
          }
          for (int n = 0; n < 200; ++n) {
            CHECK_EQ(first_site(), getpid());
            CHECK_EQ(second_site(), getppid());
            CHECK_EQ(short_site(-1), -EBADF);
          }
        });
      go = true;
      for (std::thread& thread : threads) thread.join();
    }
  }));
}

// ---- stepping

volatile int steps = 0;
volatile bool strayed = false;
volatile uintptr_t step_from = 0, step_to = 0;

bool in_short_padding(uintptr_t rip) {
  return rip >= reinterpret_cast<uintptr_t>(short_padding) &&
         rip < reinterpret_cast<uintptr_t>(short_padding_end);
}

void count_step(int, siginfo_t*, void* context) {
  const auto rip = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  steps = steps + 1;
  if (rip < step_from || rip > step_to) strayed = true;
  if (in_short_padding(rip)) strayed = true;
}

// Steps are counted from now on, and told when they leave this range or are where nothing runs.
void watch_steps(uintptr_t from, uintptr_t to) {
  struct sigaction action {};
  action.sa_sigaction = count_step;
  action.sa_flags = SA_SIGINFO;
  OK(sigaction(SIGTRAP, &action, nullptr));
  step_from = from;
  step_to = to;
}

#define WITH_TRAP_FLAG(code) \
  "sub $256, %%rsp\n"        \
  "pushfq\n"                 \
  "orl $0x100, (%%rsp)\n"    \
  "popfq\n" code             \
  "pushfq\n"                 \
  "andl $~0x100, (%%rsp)\n"  \
  "popfq\n"                  \
  "add $256, %%rsp\n"

// A program that single-steps itself sees each instruction once, and only its own.
TEST(a_program_steps_itself_over_a_call) {
  call_often(first_site, getpid());
  watch_steps(0, reinterpret_cast<uintptr_t>(sites_end) + (uintptr_t{1} << 40));
  for (int i = 0; i < 5; ++i) {
    steps = 0;
    int answer = 0;
    // From the flag's being set to its being cleared: call, mov, syscall and ret as one, mov, pushf, and,
    // popf.
    asm volatile(WITH_TRAP_FLAG("call first_site\n"
                                "mov %%eax, %0\n")
                 : "=&r"(answer)::"rax", "rcx", "r11", "memory", "cc");
    CHECK_EQ(answer, getpid());
    CHECK_EQ(steps, 7);
  }
}

TEST(a_program_steps_itself_sees_its_own_text_only) {
  call_often(first_site, getpid());
  watch_steps(reinterpret_cast<uintptr_t>(__executable_start), reinterpret_cast<uintptr_t>(etext));
  strayed = false;
  asm volatile(WITH_TRAP_FLAG("call first_site\n")::: "rax", "rcx", "r11", "memory", "cc");
  CHECK(!strayed);
}

TEST(a_program_steps_itself_over_a_short_site) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(short_site(-1), -EBADF);
  watch_steps(reinterpret_cast<uintptr_t>(__executable_start), reinterpret_cast<uintptr_t>(etext));
  for (int i = 0; i < 5; ++i) {
    steps = 0;
    strayed = false;
    int answer = 0;
    asm volatile(WITH_TRAP_FLAG("call short_site\n"
                                "mov %%eax, %0\n")
                 : "=&r"(answer)
                 : "D"(-1L)
                 : "rax", "rcx", "r11", "memory", "cc");
    CHECK_EQ(answer, -EBADF);
    CHECK_EQ(steps, 7);
    CHECK(!strayed);
  }
}

TEST(a_program_steps_itself_on_the_long_way_to_a_call) {
  for (int i = 0; i < kOften; ++i) CHECK_EQ(long_way(-1), -EBADF);
  watch_steps(reinterpret_cast<uintptr_t>(__executable_start), reinterpret_cast<uintptr_t>(etext));
  for (int i = 0; i < 5; ++i) {
    steps = 0;
    strayed = false;
    int answer = 0;
    asm volatile(WITH_TRAP_FLAG("call long_way\n"
                                "mov %%eax, %0\n")
                 : "=&r"(answer)
                 : "D"(-1L)
                 : "rax", "rcx", "rdx", "r10", "r11", "memory", "cc");
    CHECK_EQ(answer, -EBADF);
    CHECK_EQ(steps, 10);
    CHECK(!strayed);
  }
}

TEST(signals_do_not_see_the_way_from_a_short_site) {
  static volatile bool seen = false;
  struct sigaction action {};
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    const auto rip = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    if (in_short_padding(rip)) seen = true;
  };
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  OK(sigaction(SIGALRM, &action, nullptr));
  const itimerval often{{0, 100}, {0, 100}};
  OK(setitimer(ITIMER_REAL, &often, nullptr));
  const uint64_t end = check::now_ns() + 500'000'000;
  while (check::now_ns() < end)
    for (int i = 0; i < 100; ++i) CHECK_EQ(short_site(-1), -EBADF);
  const itimerval never{};
  OK(setitimer(ITIMER_REAL, &never, nullptr));
  CHECK(!seen);
}

TEST(a_debugger_steps_over_a_call) {
  const pid_t pid = check::fork_child([] {
    call_often(first_site, getpid());
    OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    raise(SIGSTOP);
    const int answer = first_site();
    _exit(answer == getpid() ? 6 : 5);
  });
  int status = 0;
  OK(waitpid(pid, &status, 0));
  CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
  // To the function, and then over its three instructions.
  user_regs_struct registers{};
  const auto start = reinterpret_cast<uint64_t>(bytes_of(first_site));
  for (int i = 0; registers.rip != start; ++i) {
    CHECK(i < 20'000);
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    OK(waitpid(pid, &status, 0));
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    OK(ptrace(PTRACE_GETREGS, pid, nullptr, &registers));
  }
  for (const uint64_t behind : {uint64_t{5}, uint64_t{7}}) {
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    OK(waitpid(pid, &status, 0));
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    OK(ptrace(PTRACE_GETREGS, pid, nullptr, &registers));
    CHECK_EQ(registers.rip, start + behind);
  }
  CHECK_EQ(static_cast<int>(registers.rax), pid);
  OK(ptrace(PTRACE_CONT, pid, nullptr, nullptr));
  CHECK_EXITED(WAIT_STATUS(pid), 6);
}

TEST(a_debuggers_breakpoint_on_a_call) {
  const pid_t pid = check::fork_child([] {
    call_often(first_site, getpid());
    OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    raise(SIGSTOP);
    for (int i = 0; i < 3; ++i) CHECK_EQ(first_site(), getpid());
    _exit(6);
  });
  int status = 0;
  OK(waitpid(pid, &status, 0));
  // On the `syscall` instruction; the word around it is what the program was built with.
  auto* const place = first_site_call;
  const long before = ptrace(PTRACE_PEEKTEXT, pid, place, nullptr);
  CHECK_EQ(before & 0xffffff, 0xc3050f);
  for (int i = 0; i < 3; ++i) {
    OK(ptrace(PTRACE_POKETEXT, pid, place, (before & ~0xffl) | 0xcc));
    OK(ptrace(PTRACE_CONT, pid, nullptr, nullptr));
    OK(waitpid(pid, &status, 0));
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    user_regs_struct registers{};
    OK(ptrace(PTRACE_GETREGS, pid, nullptr, &registers));
    CHECK_EQ(registers.rip, reinterpret_cast<uint64_t>(place) + 1);
    CHECK_EQ(registers.rax, uint64_t{SYS_getpid});
    registers.rip -= 1;
    OK(ptrace(PTRACE_POKETEXT, pid, place, before));
    OK(ptrace(PTRACE_SETREGS, pid, nullptr, &registers));
    OK(ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr));
    OK(waitpid(pid, &status, 0));
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
  }
  OK(ptrace(PTRACE_CONT, pid, nullptr, nullptr));
  CHECK_EXITED(WAIT_STATUS(pid), 6);
}

// ---- signals at any instruction

volatile sig_atomic_t storms = 0;

// Leaves everything that a handler may leave behind.
void disturb(int, siginfo_t*, void*) {
  storms = storms + 1;
  uint32_t mxcsr = 0x7f80;  // another rounding
  uint16_t control = 0x0f7f;
  asm volatile(
      "pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pxor %%xmm8, %%xmm8\n pxor %%xmm15, %%xmm15\n"
      "ldmxcsr %0\n"
      "fninit\n fldcw %1\n fld1\n fldpi\n" ::"m"(mxcsr),
      "m"(control)
      : "xmm0", "xmm7", "xmm8", "xmm15");
}

struct Timer {
  explicit Timer(long microseconds) {
    struct sigaction action {};
    action.sa_sigaction = disturb;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    OK(sigaction(SIGALRM, &action, nullptr));
    storms = 0;
    const itimerval every{{0, microseconds}, {0, microseconds}};
    OK(setitimer(ITIMER_REAL, &every, nullptr));
  }
  ~Timer() {
    const itimerval none{};
    setitimer(ITIMER_REAL, &none, nullptr);
  }
};

// Calls with everything that a program may have in its registers and below its stack pointer, looked at
// afterwards: a bit of the answer for each kind of thing that has changed.
int one_disturbed_call(long number) {
  alignas(16) static thread_local uint64_t in[8], out[8];
  for (size_t i = 0; i < 8; ++i) in[i] = 0x0123456789abcdef * (i + 3);
  uint64_t bad = 0, flags = 0;
  uint32_t mxcsr_in = 0x3f80, mxcsr_out = 0;  // round down
  uint16_t control_in = 0x077f, control_out = 0, status = 0;
  asm volatile(
      "ldmxcsr %[mxcsr_in]\n fninit\n fldcw %[control_in]\n fld1\n"
      "movdqa (%[in]), %%xmm0\n movdqa 16(%[in]), %%xmm7\n movdqa 32(%[in]), %%xmm8\n movdqa 48(%[in]), "
      "%%xmm15\n"
      "sub $512, %%rsp\n"
      "mov $-128, %%rdx\n"
      "1: mov %%rdx, (%%rsp,%%rdx)\n add $8, %%rdx\n jnz 1b\n"
      "mov %[number], %%rax\n"
      "std\n"
      "syscall\n"
      "mov $-128, %%rdx\n"
      "2: cmp %%rdx, (%%rsp,%%rdx)\n je 3f\n or $1, %[bad]\n 3: lea 8(%%rdx), %%rdx\n test %%rdx, %%rdx\n "
      "jnz 2b\n"
      "add $512, %%rsp\n"
      "pushfq\n pop %[flags]\n cld\n"
      "movdqa %%xmm0, (%[out])\n movdqa %%xmm7, 16(%[out])\n movdqa %%xmm8, 32(%[out])\n movdqa %%xmm15, "
      "48(%[out])\n"
      "stmxcsr %[mxcsr_out]\n fnstcw %[control_out]\n fnstsw %[status]\n fninit\n"
      : [bad] "+&r"(bad), [flags] "=&r"(flags), [mxcsr_out] "=m"(mxcsr_out), [control_out] "=m"(control_out),
        [status] "=m"(status)
      : [in] "r"(in), [out] "r"(out), [mxcsr_in] "m"(mxcsr_in), [control_in] "m"(control_in),
        [number] "r"(number)
      : "rax", "rcx", "rdx", "r11", "xmm0", "xmm7", "xmm8", "xmm15", "memory", "cc");
  const uint32_t usual = 0x1f80;
  asm volatile("ldmxcsr %0" ::"m"(usual));
  if ((flags & 0x400) == 0) bad |= 2;
  if (memcmp(in, out, sizeof in) != 0) bad |= 4;
  if ((mxcsr_out & ~0x3fu) != (mxcsr_in & ~0x3fu)) bad |= 8;
  if (control_out != control_in) bad |= 16;
  if ((status >> 11 & 7) != 7) bad |= 32;
  return static_cast<int>(bad);
}

TEST(a_storm_of_signals_over_calls) {
  for (const long period : {50L, 120L, 200L}) {
    const Timer timer(period);
    const uint64_t end = check::now_ns() + 150'000'000;
    int calls = 0;
    do {
      for (const long number : {long{SYS_getpid}, long{SYS_getppid}, long{SYS_gettid}, 9999L})
        for (int i = 0; i < 10; ++i, ++calls) CHECK_EQ(one_disturbed_call(number), 0);
    } while (check::now_ns() < end || storms < 20);
    CHECK(calls > 0);
  }
}

TEST(a_storm_of_signals_over_library_calls) {
  const Timer timer(70);
  Fd file(OK(open("file", O_RDWR | O_CREAT, 0600)));
  char text[64], back[64];
  for (int i = 0; i < 400 || storms < 20; ++i) {
    const int length = snprintf(text, sizeof text, "%d and %.6f", i, i * 1.25);
    CHECK_EQ(pwrite(file, text, static_cast<size_t>(length), 0), length);
    CHECK_EQ(pread(file, back, static_cast<size_t>(length), 0), length);
    CHECK(memcmp(text, back, static_cast<size_t>(length)) == 0);
    struct stat status;
    OK(fstat(file, &status));
    CHECK_EQ(getppid(), static_cast<pid_t>(syscall(SYS_getppid)));
  }
}

TEST(a_storm_of_signals_over_large_transfers) {
  constexpr size_t kSize = 4 << 20;
  Fd file(OK(open("file", O_RDWR | O_CREAT, 0600)));
  std::vector<unsigned> data(kSize / sizeof(unsigned)), back(data.size());
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<unsigned>(i * 2654435761u);
  const Timer timer(100);
  for (int round = 0; round < 4 || storms < 10; ++round) {
    CHECK_EQ(OK(pwrite(file, data.data(), kSize, 0)), static_cast<ssize_t>(kSize));
    std::fill(back.begin(), back.end(), 0u);
    CHECK_EQ(OK(pread(file, back.data(), kSize, 0)), static_cast<ssize_t>(kSize));
    CHECK(data == back);
  }
  // Through a pipe, where each call may end early.
  int ends[2];
  OK(pipe(ends));
  std::thread writer([&] {
    for (size_t done = 0; done < kSize;) {
      const ssize_t count = write(ends[1], reinterpret_cast<char*>(data.data()) + done, kSize - done);
      CHECK(count > 0 || errno == EINTR);
      if (count > 0) done += static_cast<size_t>(count);
    }
  });
  std::fill(back.begin(), back.end(), 0u);
  for (size_t done = 0; done < kSize;) {
    const ssize_t count = read(ends[0], reinterpret_cast<char*>(back.data()) + done, kSize - done);
    CHECK(count > 0 || errno == EINTR);
    if (count > 0) done += static_cast<size_t>(count);
  }
  writer.join();
  CHECK(data == back);
}

TEST(signals_between_threads_that_call) {
  static std::atomic<int> seen;
  seen = 0;
  signal(SIGUSR1, [](int) { ++seen; });
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  std::vector<pthread_t> ids;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        CHECK_EQ(one_disturbed_call(SYS_getpid), 0);
        CHECK_EQ(first_site(), getpid());
        CHECK_EQ(second_site(), getppid());
      }
    });
    ids.push_back(threads.back().native_handle());
  }
  const uint64_t end = check::now_ns() + 20'000'000'000;
  for (size_t i = 0; seen < 500 && check::now_ns() < end; ++i) {
    CHECK_EQ(pthread_kill(ids[i % ids.size()], SIGUSR1), 0);
    sched_yield();
  }
  CHECK(seen >= 500);
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
