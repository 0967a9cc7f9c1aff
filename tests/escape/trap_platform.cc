// A guest that turns on the trap platform itself: on the shim in its address space, on the area through which
// its threads hand over to the sentry, and on the orders that it gets there. Whatever it does, it may at most
// lose its own process, soon; the sandbox and the processes beside it go on. Only for the sandbox.
#include <setjmp.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <optional>
#include <random>
#include <thread>

#include "sentry/platform/trap/area.h"
#include "tests/syscalls/check.h"

namespace {

using namespace sentry::platform::trap;  // NOLINT: this is the enemy of all of it

// Where the shim says `syscall; ret`.
uint64_t g_gate = 0;

// A host call from within the shim's text, without an order.
long host_call(long number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0,
               uint64_t f = 0) {
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  register uint64_t r9 asm("r9") = f;
  asm volatile("sub $256, %%rsp\n call *%[gate]\n add $256, %%rsp"
               : "+a"(number)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9), [gate] "b"(g_gate)
               : "rcx", "r11", "memory", "cc");
  return number;
}

Area& own_area() {
  uint64_t base = 0;
  asm volatile("rdgsbase %0" : "=r"(base));
  return *reinterpret_cast<Area*>(base);
}

void only_on_the_trap_platform() {
  if (!check::in_sandbox()) SKIP("would harm a host");
  const pid_t probe = fork();
  if (probe == 0) {
    signal(SIGSEGV, SIG_DFL);
    _exit(*reinterpret_cast<volatile uint64_t*>(kShimText) == kShimMagic ? 0 : 1);
  }
  const int status = WAIT_STATUS(probe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) SKIP("another platform");
  const auto* text = reinterpret_cast<const unsigned char*>(kShimText);
  for (uint64_t i = 0; g_gate == 0 && i < kShimCalls; ++i)
    if (text[i] == 0x0f && text[i + 1] == 0x05 && text[i + 2] == 0xc3) g_gate = kShimText + i;
  CHECK(g_gate != 0);
}

// The thread's own shim, in the guest's hands: what the sentry orders is told to `obey`, which may do it or
// not, and says what it pretends the result was.
using Obey = std::function<int64_t(const Operation&)>;

void hand_over(Area& area, Report report) {
  area.report = static_cast<uint32_t>(report) | kReportJump | kReportWhole;
  const uint32_t mine = area.reported + 1;
  __atomic_store_n(&area.reported, mine, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&area.answered, __ATOMIC_SEQ_CST) != mine)
    host_call(kDoorbell, reinterpret_cast<uint64_t>(&area));
}

int64_t honestly(const Operation& operation) {
  Area& area = own_area();
  std::byte* const data = reinterpret_cast<std::byte*>(&area) + Area::kData;
  const uint64_t* a = operation.a;
  switch (operation.number) {
    case Operation::kCopyOut:
      memcpy(reinterpret_cast<void*>(a[0]), data + a[2], a[1]);
      return static_cast<int64_t>(a[1]);
    case Operation::kCopyIn:
      memcpy(data + a[2], reinterpret_cast<const void*>(a[0]), a[1]);
      return static_cast<int64_t>(a[1]);
    default:
      if (operation.number < Operation::kNotHost)
        return host_call(static_cast<long>(operation.number), a[0], a[1], a[2], a[3], a[4], a[5]);
      return 0;
  }
}

long puppet_call(const Obey& obey, long number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0,
                 uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) {
  Area& area = own_area();
  sentry::platform::Registers& r = area.registers;
  r.rax = r.orig_rax = static_cast<uint64_t>(number);
  r.rdi = a, r.rsi = b, r.rdx = c, r.r10 = d, r.r8 = e, r.r9 = f;
  r.gs_base = 0;
  r.eflags = 0x202;
  asm volatile("rdfsbase %0" : "=r"(r.fs_base));
  Report report = Report::kCall;
  for (;;) {
    hand_over(area, report);
    const auto command = static_cast<Command>(area.command);
    const uint32_t count = std::min<uint32_t>(area.operation_count, Area::kOperations);
    area.operation_count = 0;
    for (uint32_t i = 0; i < count; ++i) area.operations[i].result = obey(area.operations[i]);
    if (area.sequence != 0) reinterpret_cast<Process*>(kProcessPage)->completed = area.sequence;
    if (command == Command::kResume) return static_cast<long>(area.result);
    if (command == Command::kExit)
      for (;;) host_call(SYS_exit, 0);
    report = Report::kDone;
  }
}

void spin_forever() {
  for (;;) asm volatile("pause");
}

// Is everyone else well? Another process, files, memory and threads.
void neighbours_are_well() {
  const uint64_t start = check::now_ns();
  JOIN(check::fork_child([] {
    std::vector<char> block(1 << 16, 'x'), back(1 << 16);
    check::Fd file(OK(open(".", O_TMPFILE | O_RDWR, 0600)));
    CHECK_EQ(OK(write(file, block.data(), block.size())), ssize_t(block.size()));
    CHECK_EQ(OK(pread(file, back.data(), back.size(), 0)), ssize_t(back.size()));
    CHECK(block == back);
    void* memory = OK(mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    memset(memory, 1, 1 << 20);
    OK(munmap(memory, 1 << 20));
    int done = 0;
    std::thread([&] { done = 1; }).join();
    CHECK_EQ(done, 1);
  }));
  CHECK(check::now_ns() - start < 20'000'000'000);
}

// Lets the body loose in a process of its own, kills what is left of it after a while, and has it reaped in
// good time. The wait status.
constexpr int kSurvived = 7;
int attack(const std::function<void()>& body, uint64_t milliseconds = 1000) {
  fflush(nullptr);
  const pid_t attacker = OK(fork());
  if (attacker == 0) {
    body();
    syscall(SYS_exit_group, kSurvived);
  }
  const uint64_t start = check::now_ns();
  bool killed = false;
  for (;;) {
    int status = 0;
    const pid_t got = waitpid(attacker, &status, WNOHANG);
    if (got == attacker) {
      neighbours_are_well();
      return status;
    }
    const uint64_t spent = (check::now_ns() - start) / 1'000'000;
    if (!killed && spent > milliseconds) {
      OK(kill(attacker, SIGKILL));
      killed = true;
    }
    if (spent > milliseconds + 20'000) check::fail(__FILE__, __LINE__, "the attacker cannot be killed");
    usleep(2000);
  }
}

#define CHECK_ENDED(...) CHECK_KILLED((__VA_ARGS__), SIGKILL)

// ---- calls without an order

TEST(host_calls_without_an_order_end_the_process) {
  only_on_the_trap_platform();
  const uint64_t page = reinterpret_cast<uint64_t>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  const uint64_t shared = MAP_SHARED | MAP_FIXED;
  for (const uint64_t fd : {0u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 10u})
    CHECK_ENDED(attack([&] { host_call(SYS_mmap, page, 4096, PROT_READ, shared, fd, 0); }));
  // Private memory is a tenant's own, but not in the place of the platform's pages.
  const uint64_t anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  const std::pair<uint64_t, uint64_t> places[] = {{kNoticePage, 4096},
                                                  {kShimText, 4096},
                                                  {sentry::platform::kGuestEnd, 4096},
                                                  {sentry::platform::kGuestEnd - 4096, 1 << 29},
                                                  {0x10000, 1ull << 47},
                                                  {0x10000, ~uint64_t{0xfff}}};
  for (const auto& [start, length] : places)
    CHECK_ENDED(attack([start = start, length = length] {
      host_call(SYS_mmap, start, length, PROT_READ | PROT_WRITE, anonymous, ~uint64_t{0}, 0);
    }));
  // So is its protection: of so much memory that none but the guest's is within reach.
  for (const auto& [start, length] : places)
    CHECK_ENDED(attack([start = start, length = length] { host_call(SYS_mprotect, start, length, 7); }));
  CHECK_ENDED(attack([&] { host_call(SYS_mprotect, page, 4096, PROT_READ | PROT_GROWSDOWN); }));
  CHECK_ENDED(attack([&] { host_call(SYS_mprotect, kAreas, 4096, PROT_READ); }));
  CHECK_ENDED(attack([&] { host_call(SYS_mprotect, kWindows, 4096, PROT_READ | PROT_WRITE); }));
  CHECK_ENDED(attack([&] { host_call(SYS_munmap, page, 4096); }));
  CHECK_ENDED(attack([&] { host_call(SYS_mremap, page, 4096, 8192, MREMAP_MAYMOVE); }));
  CHECK_ENDED(attack([&] { host_call(SYS_mremap, kAreas, kAreaSize, 64 * kAreaSize, 0); }));
  CHECK_ENDED(attack([&] { host_call(SYS_madvise, kAreas, kAreaSize, MADV_REMOVE); }));
  CHECK_ENDED(attack([&] { host_call(SYS_clone, SIGCHLD); }));
  CHECK_ENDED(attack([&] { host_call(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, page + 4096); }));
  CHECK_ENDED(attack([&] { host_call(SYS_exit, 0); }));
}

TEST(other_host_calls_do_not_get_through_from_the_shim) {
  only_on_the_trap_platform();
  // They come back as calls of the guest's own, wherever they are issued.
  const int status = attack([] {
    CHECK_EQ(host_call(SYS_getppid), long(getppid()));
    CHECK_EQ(host_call(SYS_ioctl, 4096, 0), -EBADF);
    CHECK_EQ(host_call(SYS_close, 4096), -EBADF);
  });
  CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == kSurvived);
}

TEST(threads_that_ring_all_the_time_hurt_nobody) {
  only_on_the_trap_platform();
  attack([] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i)
      threads.emplace_back([] {
        for (;;) host_call(kDoorbell, 0);
      });
    spin_forever();
  });
}

// ---- the platform's own pages

TEST(the_platforms_pages_cannot_be_unmapped) {
  only_on_the_trap_platform();
  const uint64_t areas = kAreaSize * 64;
  const std::pair<uint64_t, uint64_t> ranges[] = {{kShimText, kShimTextSize},
                                                  {kProcessPage, 4096},
                                                  {kNoticePage, 4096},
                                                  {kVdso, kVdsoRoom},
                                                  {kAreas, areas},
                                                  {kShimText, 1ull << 32},
                                                  {kAreas + Area::kAltStack, 0x1000}};
  for (const auto& [start, length] : ranges) {
    CHECK_ENDED(attack([start = start, length = length] { host_call(SYS_munmap, start, length); }));
    attack(
        [start = start, length = length] {
          host_call(SYS_mmap, start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                    ~uint64_t{0}, 0);
          for (int i = 0; i < 100; ++i) (void)syscall(SYS_fcntl, 0, F_GETFL);
          if (fork() == 0) _exit(0);
          spin_forever();
        },
        300);
  }
}

// ---- the area

TEST(scribbling_over_the_area_of_a_thread_that_calls) {
  only_on_the_trap_platform();
  for (unsigned round = 0; round < 12; ++round) {
    attack(
        [round] {
          std::atomic<Area*> target{nullptr};
          std::thread victim([&] {
            target = &own_area();
            char text[256];
            for (;;) {
              (void)syscall(SYS_fcntl, 0, F_GETFL);
              (void)syscall(SYS_getcwd, text, sizeof text);
              void* memory = mmap(nullptr, 8192, PROT_READ | PROT_WRITE,
                                  ((round & 1) != 0 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
              if (memory != MAP_FAILED) munmap(memory, 8192);
              if ((round & 2) != 0 && fork() == 0) _exit(0);
              if ((round & 2) != 0) waitpid(-1, nullptr, WNOHANG);
            }
          });
          while (target == nullptr) asm volatile("pause");
          std::mt19937_64 random(round);
          auto* words = reinterpret_cast<volatile uint32_t*>(target.load());
          const size_t header = offsetof(Area, registers) / 4, whole = kAreaSize / 4;
          const uint64_t end = check::now_ns() + 150'000'000;
          while (check::now_ns() < end) {
            for (int i = 0; i < 20; ++i) {
              const size_t at = random() % (round % 3 == 0 ? whole : header);
              words[at] = static_cast<uint32_t>(random() % 4 == 0 ? random() : random() % 8);
            }
            for (uint64_t wait = random() % 2000; wait != 0; --wait) asm volatile("pause");
          }
          _exit(0);
        },
        400);
  }
}

TEST(forged_reports) {
  only_on_the_trap_platform();
  const uint64_t frames[] = {0,
                             1,
                             kAreas,
                             kAreas + Area::kAltStack,
                             kAreas + Area::kAltStack + 8,
                             kAreas + Area::kData - 8,
                             ~uint64_t{7},
                             0x7fff'ffff'f000,
                             0x8000'0000'0000'0000};
  for (const uint32_t report : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 0xffu}) {
    for (const uint32_t flags : {0u, kReportJump, kReportJump | kReportAlong | kReportWhole, ~kReportMask}) {
      const uint64_t frame = frames[(report + flags / kReportJump) % std::size(frames)];
      attack(
          [=] {
            Area& area = own_area();
            area.report = report | flags;
            area.along_address = ~uint64_t{0} - 16;
            area.number = ~0u;
            area.frame = frame;
            area.failed = 0xfffffff0;
            area.operation_count = 0xffffffff;
            area.sequence = area.wait_for = 0xffffffff;
            area.fault = {-1, -1, ~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}};
            for (Operation& operation : area.operations) operation = {~uint64_t{0}, {}, INT64_MIN};
            memset(&area.registers, 0xff, sizeof area.registers);
            __atomic_store_n(&area.reported, area.reported + 1, __ATOMIC_SEQ_CST);
            host_call(kDoorbell, reinterpret_cast<uint64_t>(&area));
          },
          100);
    }
  }
}

// ---- orders that are not carried out

TEST(a_transfer_is_of_the_length_that_was_ordered) {
  only_on_the_trap_platform();
  constexpr size_t kLength = 1 << 17;
  const check::Fd file(OK(open(".", O_TMPFILE | O_RDWR, 0600)));
  std::vector<char> text(kLength, 't');
  const auto write_by = [&](const Obey& obey) {
    return puppet_call(obey, SYS_pwrite64, static_cast<uint64_t>(static_cast<int>(file)),
                       reinterpret_cast<uint64_t>(text.data()), kLength, 0);
  };
  const auto is_write = [](const Operation& operation) { return operation.number == SYS_pwritev2; };
  // The order comes as this call.
  const int status = attack([&] {
    bool came = false;
    const Obey look = [&](const Operation& operation) {
      came = came || is_write(operation);
      return honestly(operation);
    };
    if (write_by(look) != kLength || !came) syscall(SYS_exit_group, 1);
  });
  CHECK_EXITED(status, kSurvived);
  // Neither by a list of one's own,
  CHECK_ENDED(attack([&] {
    const iovec more{text.data(), kLength * 2};
    write_by([&](const Operation& operation) {
      if (!is_write(operation)) return honestly(operation);
      const uint64_t* a = operation.a;
      return int64_t{
          host_call(SYS_pwritev2, a[0], reinterpret_cast<uint64_t>(&more), a[2], a[3], a[4], a[5])};
    });
  }));
  // nor by a list of more pieces, nor by changing the one that there is.
  CHECK_ENDED(attack([&] {
    write_by([&](const Operation& operation) {
      if (!is_write(operation)) return honestly(operation);
      const uint64_t* a = operation.a;
      return int64_t{host_call(SYS_pwritev2, a[0], a[1], 2, a[3], a[4], a[5])};
    });
  }));
  const int changed = attack([&] {
    write_by([&](const Operation& operation) {
      if (is_write(operation)) reinterpret_cast<iovec*>(operation.a[1])->iov_len *= 2;
      return honestly(operation);
    });
  });
  CHECK_KILLED(changed, SIGSEGV);
}

TEST(a_puppet_can_call) {
  only_on_the_trap_platform();
  const int status = attack([] {
    if (puppet_call(honestly, SYS_fcntl, 4096, F_GETFL) != -EBADF) syscall(SYS_exit_group, 1);
    char cwd[256] = "";
    if (puppet_call(honestly, SYS_getcwd, reinterpret_cast<uint64_t>(cwd), sizeof cwd) <= 0 || cwd[0] != '/')
      syscall(SYS_exit_group, 2);
  });
  CHECK_EXITED(status, kSurvived);
}

// A clone that is said to have been made, and was not.
TEST(children_that_were_never_born) {
  only_on_the_trap_platform();
  const auto liar = [](const Operation& operation) -> int64_t {
    if (operation.number == Operation::kFork || operation.number == Operation::kThread) return 4711;
    return honestly(operation);
  };
  attack([&] { puppet_call(liar, SYS_clone, SIGCHLD); });
  const uint64_t flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  static char stack[65536];
  attack([&] { puppet_call(liar, SYS_clone, flags, reinterpret_cast<uint64_t>(stack + 65536)); });
}

// A clone that was made, and whose child runs the guest's code at once: it does not live long.
TEST(children_that_nobody_is_told_of) {
  only_on_the_trap_platform();
  auto* beats = static_cast<volatile uint64_t*>(
      OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
  for (const int64_t pretended : {-EAGAIN, -1, 0, 4711}) {
    const uint64_t before = *beats;
    attack([=] {
      puppet_call(
          [=](const Operation& operation) -> int64_t {
            if (operation.number != Operation::kFork) return honestly(operation);
            if (host_call(SYS_clone, operation.a[0]) == 0)
              for (;;) *beats = *beats + 1;
            while (*beats == before) asm volatile("pause");
            return pretended;
          },
          SYS_clone, SIGCHLD);
    });
    CHECK(*beats != before);
    WAIT_UNTIL([&] {
      const uint64_t seen = *beats;
      usleep(50'000);
      return *beats == seen;
    }());
  }
}

TEST(orders_that_are_never_answered) {
  only_on_the_trap_platform();
  // Whoever reads another process's memory has it served by that process.
  for (const bool write : {false, true}) {
    check::Gate ready;
    const pid_t attacker = OK(fork());
    if (attacker == 0) {
      Area& area = own_area();
      ready.notify();
      puppet_call(
          [&](const Operation& operation) -> int64_t {
            if (operation.number == Operation::kCopyIn || operation.number == Operation::kCopyOut)
              for (;;) host_call(SYS_futex, reinterpret_cast<uint64_t>(&area.sleeping), 0, area.sleeping);
            return honestly(operation);
          },
          SYS_pause);
      spin_forever();
    }
    ready.wait();
    usleep(50'000);
    char byte = 0;
    iovec here{&byte, 1}, there{const_cast<char*>("x"), 1};
    const uint64_t start = check::now_ns();
    const ssize_t got = write ? process_vm_writev(attacker, &here, 1, &there, 1, 0)
                              : process_vm_readv(attacker, &here, 1, &there, 1, 0);
    CHECK(got <= 0);
    CHECK(check::now_ns() - start < 15'000'000'000);
    neighbours_are_well();
    kill(attacker, SIGKILL);
    WAIT_STATUS(attacker);
  }
}

// Busy in the shim for ever: the signal that makes a thread look up finds it there and lets it go on.
TEST(kicks_that_are_never_answered) {
  only_on_the_trap_platform();
  static uint32_t word = 0;
  CHECK_ENDED(attack(
      [] {
        for (;;) host_call(SYS_futex, reinterpret_cast<uint64_t>(&word), 0, 0);
      },
      300));
  // With every signal blocked, by a forged frame: rt_sigreturn needs no order.
  CHECK_ENDED(attack(
      [] {
        Area& area = own_area();
        struct Frame {
          uint64_t flags, link, stack_base, stack_flags, stack_size;
          uint64_t registers[18];
          uint16_t cs, gs, fs, ss;
          uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8], mask;
        };
        static_assert(sizeof(Frame) == 304);
        static Frame frame;
        static uint64_t stack[1024];
        frame.stack_base = reinterpret_cast<uint64_t>(&area) + Area::kAltStack;
        frame.stack_size = Area::kAltStackSize;
        frame.registers[15] = reinterpret_cast<uint64_t>(stack + 1000);
        frame.registers[16] = reinterpret_cast<uint64_t>(&spin_forever);
        frame.registers[17] = 0x202;
        frame.cs = 0x33, frame.ss = 0x2b, frame.flags = 6;
        frame.mask = ~uint64_t{0};
        asm volatile("mov %0, %%rsp\n mov $15, %%eax\n jmp *%1" : : "r"(&frame), "b"(g_gate) : "memory");
      },
      300));
}

// Threads that are told to exit and do not; their places are not endless.
TEST(threads_that_do_not_leave) {
  only_on_the_trap_platform();
  attack(
      [] {
        for (int i = 0; i < 20'000; ++i) {
          static char stacks[16][16384];
          (void)puppet_call(
              [](const Operation& operation) -> int64_t {
                if (operation.number == Operation::kThread) return -EAGAIN;
                return honestly(operation);
              },
              SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
              reinterpret_cast<uint64_t>(stacks[i % 16] + 16384));
        }
      },
      2000);
}

// Memory that has been given back belongs to others, even if its mapping is still there.
TEST(memory_that_was_given_back_shows_nothing_of_others) {
  only_on_the_trap_platform();
  constexpr size_t kSize = 1 << 16;
  int results[2], go[2];
  OK(pipe(results));
  OK(pipe(go));
  const pid_t attacker = OK(fork());
  if (attacker == 0) {
    auto* memory = static_cast<volatile char*>(
        OK(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    memory[0] = 1;
    puppet_call(
        [](const Operation& operation) -> int64_t {
          // Neither unmapped nor mapped over.
          if (operation.number == SYS_munmap || operation.number == SYS_mmap) return 0;
          return honestly(operation);
        },
        SYS_munmap, reinterpret_cast<uint64_t>(memory), kSize);
    char byte = 'r';
    if (write(results[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(1);
    byte = 'n';
    for (size_t i = 0; i < kSize; ++i)
      if (memory[i] == 'S') byte = 'y';
    if (write(results[1], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  OK(close(results[1]));
  char byte = 0;
  if (read(results[0], &byte, 1) == 1) {
    std::vector<void*> secrets;
    for (int i = 0; i < 8; ++i) {
      secrets.push_back(OK(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
      memset(secrets.back(), 'S', kSize);
    }
    CHECK_EQ(OK(write(go[1], "g", 1)), 1);
    if (read(results[0], &byte, 1) == 1) CHECK_EQ(byte, 'n');
  }
  WAIT_STATUS(attacker);
  neighbours_are_well();
}

// Protection is the guest's own affair, so it must not be what keeps files as they are.
TEST(who_may_only_read_a_file_cannot_write_it_by_protecting_it_otherwise) {
  only_on_the_trap_platform();
  for (const std::string file : {"./only", "/dev/shm/only"}) {
    const std::string content(2 * 4096, 'f');
    WRITE_FILE(file.c_str(), content);
    check::Fd writer(OK(open(file.c_str(), O_RDWR))), reader(OK(open(file.c_str(), O_RDONLY)));
    auto* const mine =
        static_cast<char*>(OK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0)));
    for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
      const int status = attack([&] {
        auto* const p = static_cast<char*>(OK(mmap(nullptr, 8192, PROT_READ, flags, reader, 0)));
        CHECK_EQ(p[0], 'f');
        const auto at = reinterpret_cast<uint64_t>(p);
        CHECK_EQ(host_call(SYS_mprotect, at, 8192, PROT_READ | PROT_WRITE), 0);
        p[0] = p[4096] = 'W';
      });
      CHECK_EQ(WEXITSTATUS(status), kSurvived);
      CHECK(READ_FILE(file.c_str()) == content);
      CHECK_EQ(mine[4096], 'f');
    }
    OK(munmap(mine, 8192));
    OK(unlink(file.c_str()));
  }
  // Nor its own text for others.
  const int status = attack([] {
    const auto page = reinterpret_cast<uint64_t>(&getppid) & ~uint64_t{4095};
    CHECK_EQ(host_call(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    memset(reinterpret_cast<void*>(page), 0xcc, 4096);
    (void)getppid();
  });
  CHECK(WIFSIGNALED(status));
  CHECK(getppid() >= 0);
}

// What a process reads often is copied from where it may look itself: as long as it may, and nothing else.
sigjmp_buf g_fault;
std::optional<char> look_at(uint64_t address) {
  if (sigsetjmp(g_fault, 1) != 0) return std::nullopt;
  return *reinterpret_cast<volatile char*>(address);
}
bool can_write(uint64_t address) {
  if (sigsetjmp(g_fault, 1) != 0) return false;
  *reinterpret_cast<volatile char*>(address) = 'x';
  return true;
}
bool shows(char letter) {
  for (uint64_t at = kWindows; at < kWindows + kWindowsSize; at += kWindowsSize / 16)
    if (look_at(at) == letter) return true;
  return false;
}

TEST(windows_close_with_a_descriptor) {
  only_on_the_trap_platform();
  signal(SIGSEGV, [](int) { siglongjmp(g_fault, 1); });
  const auto read_often = [](int fd) {
    char bytes[4096];
    for (int i = 0; i < 30; ++i) CHECK_EQ(pread(fd, bytes, sizeof bytes, 0), 4096);
  };
  const int fd = OK(open("secret", O_CREAT | O_RDWR, 0600));
  const std::string secret(8192, 'S');
  CHECK_EQ(write(fd, secret.data(), secret.size()), 8192);
  read_often(fd);
  CHECK(shows('S'));
  signal(SIGBUS, [](int) { siglongjmp(g_fault, 1); });
  const pid_t child = fork();
  if (child == 0) {
    const bool inherited = shows('S');
    close(fd);
    _exit(!inherited ? 1 : shows('S') ? 2 : 0);
  }
  CHECK_EQ(WAIT_STATUS(child), 0);
  read_often(fd);
  CHECK(shows('S'));
  OK(ftruncate(fd, 0));
  CHECK(!shows('S'));
  CHECK_EQ(pwrite(fd, secret.data(), secret.size(), 0), 8192);
  read_often(fd);
  CHECK(shows('S'));
  OK(close(dup(fd)));
  CHECK(!shows('S'));
  read_often(fd);
  OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
  CHECK(shows('S'));
  OK(dup2(OK(open("/dev/null", O_RDONLY)), fd));
  CHECK(!shows('S'));
  // A page of it cannot be written, nor made to.
  const int again = OK(open("secret", O_RDWR));
  read_often(again);
  CHECK(shows('S'));
  CHECK(!can_write(kWindows));
  FAILS(ENOMEM, mprotect(reinterpret_cast<void*>(kWindows), 4096, PROT_READ | PROT_WRITE));
  neighbours_are_well();
}

}  // namespace
