// vfork(2), and clone(2) with CLONE_VM | CLONE_VFORK: the child borrows what is the parent's, and gives it
// back as it was.
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <thread>

#include "tests/syscalls/check.h"

namespace {

using check::Gate;

// Vector registers, and what MXCSR and the x87 control word say of rounding.
struct Vectors {
  alignas(16) uint64_t xmm[16][2];
  uint32_t mxcsr;
  uint16_t control;
};

Vectors make_vectors(uint64_t seed) {
  Vectors made{};
  for (auto& half : made.xmm)
    for (uint64_t& word : half) word = seed = seed * 6364136223846793005 + 1442695040888963407;
  made.mxcsr = static_cast<uint32_t>(0x1f80 | (seed >> 32 & 3) << 13);
  made.control = static_cast<uint16_t>(0x37f | (seed >> 34 & 3) << 10);
  return made;
}

void check_vectors(const Vectors& expected, const Vectors& got) {
  for (int i = 0; i < 16; ++i)
    for (int half = 0; half < 2; ++half) CHECK_EQ(got.xmm[i][half], expected.xmm[i][half]);
  CHECK_EQ(got.mxcsr & ~0x3fu, expected.mxcsr);
  CHECK_EQ(got.control, expected.control);
}

struct Stack {
  static constexpr size_t kSize = 256 * 1024;
  std::unique_ptr<char[]> memory = std::make_unique<char[]>(kSize);
  void* top() const {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.get()) + kSize) & ~uintptr_t{63});
  }
};

#define EACH_XMM(DO) \
  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define LOAD(n) "movups " #n "*16(%%rbx), %%xmm" #n "\n"
#define STORE_IN_CHILD(n) "movups %%xmm" #n ", " #n "*16(%%r12)\n"
#define STORE(n) "movups %%xmm" #n ", " #n "*16(%%r13)\n"
#define CLOBBER(n) "pcmpeqd %%xmm" #n ", %%xmm" #n "\n"

// The child runs `body` on a stack of its own and exits with what it answers. `given` is in the registers at
// the call; what the child finds there, and the parent afterwards, is stored.
pid_t vfork_with(const Vectors& given, Vectors& in_child, Vectors& after, int (*body)(void*),
                 void* argument) {
  static_assert(offsetof(Vectors, mxcsr) == 256 && offsetof(Vectors, control) == 260);
  const Stack stack;
  const uint32_t other_mxcsr = 0x7f80;
  const uint16_t other_control = 0xf7f;
  const uint32_t usual_mxcsr = 0x1f80;
  const uint16_t usual_control = 0x37f;
  long result = 0;
  register const Vectors* rbx asm("rbx") = &given;
  register Vectors* r12 asm("r12") = &in_child;
  register Vectors* r13 asm("r13") = &after;
  register int (*r14)(void*) asm("r14") = body;
  register void* r15 asm("r15") = argument;
  register void* rsi asm("rsi") = stack.top();
  register long rdi asm("rdi") = CLONE_VM | CLONE_VFORK | SIGCHLD;
  register long rdx asm("rdx") = 0;
  register long r10 asm("r10") = 0;
  register long r8 asm("r8") = 0;
  asm volatile(EACH_XMM(LOAD)
               "ldmxcsr 256(%%rbx)\n"
               "fldcw 260(%%rbx)\n"
               "mov %[number], %%eax\n"
               "syscall\n"
               "test %%rax, %%rax\n"
               "jnz 1f\n" EACH_XMM(STORE_IN_CHILD)
               "stmxcsr 256(%%r12)\n"
               "fnstcw 260(%%r12)\n" EACH_XMM(CLOBBER)
               "ldmxcsr %[other_mxcsr]\n"
               "fldcw %[other_control]\n"
               "mov %%r15, %%rdi\n"
               "xor %%ebp, %%ebp\n"
               "call *%%r14\n"
               "mov %%eax, %%edi\n"
               "mov %[exit], %%eax\n"
               "syscall\n"
               "ud2\n"
               "1:\n" EACH_XMM(STORE)
               "stmxcsr 256(%%r13)\n"
               "fnstcw 260(%%r13)\n"
               "ldmxcsr %[usual_mxcsr]\n"
               "fldcw %[usual_control]\n"
               : "=&a"(result), "+r"(rdi), "+r"(rsi), "+r"(rdx), "+r"(r10), "+r"(r8)
               : "r"(rbx), "r"(r12), "r"(r13), "r"(r14), "r"(r15), [number] "i"(SYS_clone),
                 [exit] "i"(SYS_exit), [other_mxcsr] "m"(other_mxcsr), [other_control] "m"(other_control),
                 [usual_mxcsr] "m"(usual_mxcsr), [usual_control] "m"(usual_control)
               : "rcx", "r9", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  if (result < 0) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return static_cast<pid_t>(result);
}

// The same with checked vectors, its wait status.
int run_child(int (*body)(void*), void* argument = nullptr, uint64_t seed = 1) {
  const Vectors given = make_vectors(seed);
  Vectors in_child{}, after{};
  const pid_t pid = OK(vfork_with(given, in_child, after, body, argument));
  check_vectors(given, in_child);
  check_vectors(given, after);
  return WAIT_STATUS(pid);
}

// Often enough that a call site is known, if anybody keeps a list of them.
constexpr int kTimes = 6;

volatile int shared = 0;

// vfork's child works on the parent's stack: only what cannot return from this frame may happen in it.
[[gnu::noinline]] pid_t vfork_and_write() {
  const pid_t pid = vfork();
  if (pid == 0) {
    shared = 5;
    _exit(6);
  }
  return pid;
}

}  // namespace

CHILD(exit_with) { return argc > 0 ? atoi(argv[0]) : 99; }

TEST(vfork_shares_memory_and_suspends_the_parent) {
  for (int i = 0; i < kTimes; ++i) {
    shared = 0;
    const pid_t pid = OK(vfork_and_write());
    CHECK_EQ(shared, 5);
    CHECK_EXITED(WAIT_STATUS(pid), 6);
  }
}

TEST(vfork_and_exec) {
  const char* path = check::self();
  for (int i = 0; i < 20; ++i) {
    const pid_t pid = vfork();
    if (pid == 0) {
      execl(path, path, "--child", "exit_with", "21", nullptr);
      _exit(127);
    }
    OK(pid);
    CHECK_EXITED(WAIT_STATUS(pid), 21);
  }
}

TEST(vfork_child_killed) {
  const pid_t pid = vfork();
  if (pid == 0) {
    kill(getpid(), SIGKILL);
    _exit(1);
  }
  CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
}

TEST(siblings_of_a_vforking_thread_go_on) {
  std::atomic<int> ticks = 0;
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) {
      ticks = ticks + 1;
      sched_yield();
    }
  });
  Gate go, told;
  std::thread forker([&] {
    const pid_t pid = vfork();
    if (pid == 0) {
      told.notify();
      go.wait();
      _exit(0);
    }
    CHECK_EXITED(WAIT_STATUS(pid), 0);
  });
  told.wait();
  const int before = ticks;
  WAIT_UNTIL(ticks > before + 10);
  go.notify();
  forker.join();
  stop = true;
  other.join();
}

// ---- what the child does to registers is its own

TEST(vectors_are_inherited_and_kept_over_an_exit) {
  for (uint64_t i = 0; i < kTimes; ++i) CHECK_EXITED(run_child([](void*) { return 3; }, nullptr, i), 3);
}

TEST(vectors_are_kept_over_an_exec) {
  for (uint64_t i = 0; i < kTimes; ++i) {
    const int status = run_child(
        [](void*) {
          const char* path = check::self();
          execl(path, path, "--child", "exit_with", "21", nullptr);
          return 1;
        },
        nullptr, i);
    CHECK_EXITED(status, 21);
  }
}

TEST(vectors_are_kept_over_a_failed_exec) {
  for (uint64_t i = 0; i < kTimes; ++i) {
    const int status = run_child(
        [](void*) {
          for (int tries = 0; tries < 3; ++tries) execl("/nowhere/to/be/found", "found", nullptr);
          return errno == ENOENT ? 5 : 6;
        },
        nullptr, i);
    CHECK_EXITED(status, 5);
  }
}

TEST(vectors_are_kept_over_a_death) {
  for (uint64_t i = 0; i < kTimes; ++i) {
    CHECK_KILLED(run_child([](void*) { return raise(SIGKILL); }, nullptr, i), SIGKILL);
    CHECK_KILLED(run_child(
                     [](void*) {
                       *reinterpret_cast<volatile int*>(16) = 1;
                       return 1;
                     },
                     nullptr, i),
                 SIGSEGV);
  }
}

TEST(vectors_are_kept_when_a_computing_child_is_killed) {
  std::atomic<pid_t> child = 0;
  std::atomic<bool> stop = false;
  std::thread killer([&] {
    while (!stop) {
      if (const pid_t pid = child.exchange(0); pid != 0) kill(pid, SIGKILL);
      sched_yield();
    }
  });
  for (uint64_t i = 0; i < kTimes; ++i) {
    const int status = run_child(
        [](void* place) {
          *static_cast<std::atomic<pid_t>*>(place) = static_cast<pid_t>(syscall(SYS_getpid));
          for (;;) asm volatile("pcmpeqd %%xmm3, %%xmm3" : : : "xmm3");
          return 1;
        },
        &child, i);
    CHECK_KILLED(status, SIGKILL);
  }
  stop = true;
  killer.join();
}

TEST(vectors_are_kept_over_signals_in_the_child) {
  static volatile int handled = 0;
  struct sigaction action {};
  action.sa_handler = [](int) {
    asm volatile("pcmpeqd %%xmm5, %%xmm5\n" : : : "xmm5");
    handled = handled + 1;
  };
  OK(sigaction(SIGUSR1, &action, nullptr));
  for (uint64_t i = 0; i < kTimes; ++i) {
    handled = 0;
    const int status = run_child(
        [](void*) {
          for (int times = 0; times < 3; ++times) raise(SIGUSR1);
          return int{handled};
        },
        nullptr, i);
    CHECK_EXITED(status, 3);
  }
}

// ---- so is what else it sets

TEST(child_and_parent_have_their_own_ids) {
  struct Ids {
    pid_t pid, tid, parent;
  };
  for (int i = 0; i < kTimes; ++i) {
    Ids seen{};
    const auto look = [](void* place) {
      *static_cast<Ids*>(place) = {static_cast<pid_t>(syscall(SYS_getpid)),
                                   static_cast<pid_t>(syscall(SYS_gettid)),
                                   static_cast<pid_t>(syscall(SYS_getppid))};
      return 0;
    };
    Ids own{};
    look(&own);
    const Vectors given = make_vectors(1);
    Vectors in_child{}, after{};
    const pid_t pid = OK(vfork_with(given, in_child, after, look, &seen));
    CHECK_EQ(seen.pid, pid);
    CHECK_EQ(seen.tid, pid);
    CHECK_EQ(seen.parent, own.pid);
    Ids again{};
    look(&again);
    CHECK_EQ(again.pid, own.pid);
    CHECK_EQ(again.tid, own.tid);
    CHECK_EQ(again.parent, own.parent);
    CHECK_EXITED(WAIT_STATUS(pid), 0);
  }
}

TEST(signal_mask_and_stack_are_the_childs_own) {
  static char stack_memory[64 * 1024], other_memory[64 * 1024];
  stack_t stack{stack_memory, 0, sizeof stack_memory};
  OK(sigaltstack(&stack, nullptr));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  OK(sigprocmask(SIG_SETMASK, &mask, nullptr));
  for (int i = 0; i < kTimes; ++i) {
    const int status = run_child([](void*) {
      stack_t now;
      sigset_t blocked;
      // It begins with the parent's.
      if (sigaltstack(nullptr, &now) != 0 || now.ss_sp != stack_memory) return 1;
      if (sigprocmask(SIG_SETMASK, nullptr, &blocked) != 0 || sigismember(&blocked, SIGUSR2) != 1 ||
          sigismember(&blocked, SIGUSR1) != 0)
        return 2;
      const stack_t other{other_memory, 0, sizeof other_memory};
      if (sigaltstack(&other, nullptr) != 0) return 3;
      sigfillset(&blocked);
      sigdelset(&blocked, SIGUSR2);
      return sigprocmask(SIG_SETMASK, &blocked, nullptr) == 0 ? 0 : 4;
    });
    CHECK_EXITED(status, 0);
    stack_t now;
    OK(sigaltstack(nullptr, &now));
    CHECK_EQ(static_cast<char*>(now.ss_sp), +stack_memory);
    sigset_t blocked;
    OK(sigprocmask(SIG_SETMASK, nullptr, &blocked));
    CHECK_EQ(sigismember(&blocked, SIGUSR1), 0);
    CHECK_EQ(sigismember(&blocked, SIGUSR2), 1);
  }
}

TEST(the_base_of_fs_is_the_childs_own) {
  constexpr int kSetFs = 0x1002, kGetFs = 0x1003;
  uint64_t before = 0;
  OK(syscall(SYS_arch_prctl, kGetFs, &before));
  for (int i = 0; i < kTimes; ++i) {
    const int status = run_child([](void*) {
      static uint64_t place[8];
      // No C library between here and the end: its thread-local data has moved.
      uint64_t seen = 0;
      long result = SYS_arch_prctl;
      asm volatile("syscall" : "+a"(result) : "D"(kSetFs), "S"(place) : "rcx", "r11", "memory");
      long second = SYS_arch_prctl;
      asm volatile("syscall" : "+a"(second) : "D"(kGetFs), "S"(&seen) : "rcx", "r11", "memory");
      long number = SYS_exit;
      const long code = result == 0 && second == 0 && seen == reinterpret_cast<uint64_t>(place) ? 7 : 8;
      asm volatile("syscall" : "+a"(number) : "D"(code) : "rcx", "r11", "memory");
      return 9;
    });
    CHECK_EXITED(status, 7);
    uint64_t after = 0;
    OK(syscall(SYS_arch_prctl, kGetFs, &after));
    CHECK_EQ(after, before);
  }
}

TEST(signals_for_the_parent_wait_for_it) {
  static volatile int handled = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { handled = handled + 1; };
  OK(sigaction(SIGUSR1, &action, nullptr));
  for (int i = 0; i < kTimes; ++i) {
    handled = 0;
    const int status = run_child([](void*) {
      const pid_t parent = getppid();
      for (int times = 0; times < 100; ++times) {
        kill(parent, SIGUSR1);
        sched_yield();
      }
      return int{handled};
    });
    CHECK_EXITED(status, 0);
    CHECK_EQ(handled, 1);
  }
}

TEST(processor_time_is_accounted_to_who_has_used_it) {
  if (getenv("BULKHEAD_TEST_PLATFORM") != nullptr)
    SKIP_OPTIONAL("a process's threads have equal shares there");
  const auto burn = [](uint64_t milliseconds) {
    const uint64_t end = check::now_ns(CLOCK_PROCESS_CPUTIME_ID) + milliseconds * 1'000'000;
    while (check::now_ns(CLOCK_PROCESS_CPUTIME_ID) < end) {
    }
  };
  const auto used = [](const rusage& usage) {
    return usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 + usage.ru_stime.tv_sec * 1000 +
           usage.ru_stime.tv_usec / 1000;
  };
  rusage before, after, child;
  burn(30);
  OK(getrusage(RUSAGE_SELF, &before));
  const pid_t pid = vfork();
  if (pid == 0) {
    burn(150);
    _exit(0);
  }
  int status = 0;
  OK(wait4(pid, &status, 0, &child));
  OK(getrusage(RUSAGE_SELF, &after));
  CHECK_EXITED(status, 0);
  CHECK(used(child) >= 120 && used(child) <= 250);
  CHECK(used(after) - used(before) < 60);
}

// ---- ends at the wrong moment

namespace {

// A process whose vfork child has begun, waits for `go`, calls a lot and then tells `done`. Where the parent
// is by then is not the child's business.
struct Orphan {
  Gate begun, go, done;
  static int body(void* place) {
    auto& orphan = *static_cast<Orphan*>(place);
    orphan.begun.notify();
    orphan.go.wait();
    for (int i = 0; i < 2000; ++i) {
      if (syscall(SYS_fcntl, 4096, F_GETFL) != -1 || errno != EBADF) return 1;
      if (syscall(SYS_getpid) != syscall(SYS_gettid)) return 2;
    }
    void* const memory = mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, 1 << 16);
    munmap(memory, 1 << 16);
    orphan.done.notify();
    return 0;
  }
  void vfork_once() {
    const Vectors given = make_vectors(1);
    Vectors in_child{}, after{};
    vfork_with(given, in_child, after, body, this);
  }
};

// A process vforks. Its end, once the child has begun, is from outside or by another thread of its own;
// either may be nothing. What becomes of its child after that is checked, and the wait status answered.
int outlived(const std::function<void(pid_t)>& from_outside, const std::function<void()>& by_a_thread) {
  Orphan orphan;
  const pid_t parent = OK(fork());
  if (parent == 0) {
    std::thread other;
    if (by_a_thread)
      other = std::thread([&] {
        orphan.begun.wait();
        by_a_thread();
      });
    orphan.vfork_once();
    if (other.joinable()) other.join();
    _exit(0);
  }
  if (from_outside) {
    orphan.begun.wait();
    from_outside(parent);
  }
  const int status = WAIT_STATUS(parent);
  orphan.go.notify();
  orphan.done.wait();
  return status;
}

}  // namespace

TEST(the_child_survives_its_parent) {
  for (int i = 0; i < kTimes; ++i)
    CHECK_KILLED(outlived([](pid_t parent) { OK(kill(parent, SIGKILL)); }, nullptr), SIGKILL);
}

TEST(the_child_survives_the_end_of_the_parents_threads) {
  for (int i = 0; i < kTimes; ++i) CHECK_EXITED(outlived(nullptr, [] { syscall(SYS_exit_group, 4); }), 4);
}

TEST(the_child_survives_an_exec_of_the_parents) {
  for (int i = 0; i < kTimes; ++i) {
    const int status = outlived(nullptr, [] {
      const char* path = check::self();
      execl(path, path, "--child", "exit_with", "23", nullptr);
    });
    CHECK_EXITED(status, 23);
  }
}

TEST(children_of_the_child) {
  for (int i = 0; i < kTimes; ++i) {
    const int status = run_child([](void*) {
      // One that is vforked in turn, one that is forked, and one that executes.
      const Vectors given = make_vectors(7);
      Vectors in_child{}, after{};
      const pid_t first = vfork_with(
          given, in_child, after, [](void*) { return 11; }, nullptr);
      int end = 0;
      if (waitpid(first, &end, 0) != first || !WIFEXITED(end) || WEXITSTATUS(end) != 11) return 1;
      check_vectors(given, in_child);
      check_vectors(given, after);
      const pid_t second = static_cast<pid_t>(syscall(SYS_fork));
      if (second == 0) syscall(SYS_exit_group, 12);
      if (waitpid(second, &end, 0) != second || !WIFEXITED(end) || WEXITSTATUS(end) != 12) return 2;
      const pid_t third = vfork_with(
          given, in_child, after,
          [](void*) {
            const char* path = check::self();
            execl(path, path, "--child", "exit_with", "13", nullptr);
            return 1;
          },
          nullptr);
      if (waitpid(third, &end, 0) != third || !WIFEXITED(end) || WEXITSTATUS(end) != 13) return 3;
      check_vectors(given, after);
      return 0;
    });
    CHECK_EXITED(status, 0);
  }
}

// Whatever carries out the readers' copies has to do with memory that both of them are about to leave.
TEST(parent_and_child_die_at_once_while_others_read_their_memory) {
  static char memory[4 << 20];
  memset(memory, 1, sizeof memory);
  struct Shared {
    std::atomic<pid_t> parent;
    std::atomic<bool> begun;
  };
  void* const place =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(place != MAP_FAILED);
  auto& both = *static_cast<Shared*>(place);
  std::vector<pid_t> readers;
  for (int i = 0; i < 2; ++i) {
    readers.push_back(OK(fork()));
    if (readers.back() != 0) continue;
    std::vector<char> copy(sizeof memory);
    for (;;) {
      iovec here{copy.data(), copy.size()}, there{memory, sizeof memory};
      if (both.parent == 0 || process_vm_readv(both.parent, &here, 1, &there, 1, 0) <= 0) sched_yield();
    }
  }
  for (int i = 0; i < 60; ++i) {
    both.begun = false;
    const pid_t parent = OK(fork());
    if (parent == 0) {
      setpgid(0, 0);
      both.begun = true;
      run_child([](void*) {
        for (;;) sched_yield();
        return 0;
      });
      _exit(1);
    }
    while (!both.begun) sched_yield();
    both.parent = parent;
    const timespec a_moment{0, 500'000 + i * 37'777 % 3'000'000};
    nanosleep(&a_moment, nullptr);
    OK(kill(-parent, SIGKILL));
    CHECK_KILLED(WAIT_STATUS(parent), SIGKILL);
    both.parent = 0;
  }
  for (const pid_t reader : readers) {
    OK(kill(reader, SIGKILL));
    CHECK_KILLED(WAIT_STATUS(reader), SIGKILL);
  }
}

TEST(threads_vfork_while_signals_come) {
  struct sigaction action {};
  action.sa_handler = [](int) { asm volatile("pcmpeqd %%xmm7, %%xmm7\n" : : : "xmm7"); };
  action.sa_flags = SA_RESTART;
  OK(sigaction(SIGALRM, &action, nullptr));
  const itimerval often{{0, 300}, {0, 300}};
  OK(setitimer(ITIMER_REAL, &often, nullptr));
  std::vector<std::thread> threads;
  for (uint64_t id = 0; id < 4; ++id) {
    threads.emplace_back([id] {
      for (uint64_t i = 0; i < 150; ++i) {
        const int status = run_child(
            [](void* argument) {
              for (int times = 0; times < 5; ++times) syscall(SYS_getppid);
              return static_cast<int>(reinterpret_cast<uintptr_t>(argument));
            },
            reinterpret_cast<void*>(i % 100), id * 1000 + i);
        CHECK_EXITED(status, static_cast<int>(i % 100));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const itimerval never{};
  OK(setitimer(ITIMER_REAL, &never, nullptr));
}
