// Debuggers: ptrace(2), and kcmp(2) beside it.
#include <elf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <atomic>
#include <thread>

#include "tests/syscalls/check.h"

namespace {

// The stop of a tracee, which must be a stop.
int stop_of(pid_t pid) {
  int status = 0;
  CHECK_EQ(OK(waitpid(pid, &status, __WALL)), pid);
  CHECK(WIFSTOPPED(status));
  return status >> 8;
}

long request(int what, pid_t pid, uint64_t address = 0, uint64_t data = 0) {
  return ptrace(static_cast<__ptrace_request>(what), pid, address, data);
}

// A child that is traced and has stopped itself by SIGSTOP.
pid_t traced_child(const std::function<void()>& body) {
  const pid_t pid = check::fork_child([&] {
    OK(request(PTRACE_TRACEME, 0));
    raise(SIGSTOP);
    body();
  });
  CHECK_EQ(stop_of(pid), SIGSTOP);
  return pid;
}

user_regs_struct registers_of(pid_t pid) {
  user_regs_struct registers{};
  OK(request(PTRACE_GETREGS, pid, 0, reinterpret_cast<uint64_t>(&registers)));
  return registers;
}

TEST(signals_stop_and_may_be_changed) {
  static volatile int seen = 0;
  const pid_t pid = traced_child([] {
    signal(SIGUSR2, [](int) { seen = 1; });
    raise(SIGUSR1);  // becomes SIGUSR2
    raise(SIGTERM);  // is dropped
    _exit(seen == 1 ? 7 : 8);
  });
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGUSR1);
  siginfo_t info{};
  OK(request(PTRACE_GETSIGINFO, pid, 0, reinterpret_cast<uint64_t>(&info)));
  CHECK_EQ(info.si_signo, SIGUSR1);
  CHECK_EQ(info.si_pid, pid);
  OK(request(PTRACE_CONT, pid, 0, SIGUSR2));
  CHECK_EQ(stop_of(pid), SIGTERM);
  OK(request(PTRACE_CONT, pid, 0, 0));
  CHECK_EXITED(WAIT_STATUS(pid), 7);
}

TEST(calls_are_seen_and_changed) {
  const pid_t pid = traced_child([] {
    errno = 0;
    const long first = syscall(SYS_getppid);
    const long second = syscall(SYS_getppid);
    _exit(first == 4242 && second == -1 && errno == ENOSYS ? 0 : 9);
  });
  OK(request(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
  int found = 0;
  for (bool entry = true;; entry = !entry) {
    OK(request(PTRACE_SYSCALL, pid));
    int status = 0;
    OK(waitpid(pid, &status, 0));
    if (WIFEXITED(status)) {
      CHECK_EXITED(status, 0);
      break;
    }
    CHECK_EQ(status >> 8, SIGTRAP | 0x80);
    user_regs_struct registers = registers_of(pid);
    if (registers.orig_rax == SYS_getppid && entry) {
      CHECK_EQ(static_cast<long>(registers.rax), -static_cast<long>(ENOSYS));
      __ptrace_syscall_info call{};
      CHECK(OK(request(PTRACE_GET_SYSCALL_INFO, pid, sizeof call, reinterpret_cast<uint64_t>(&call))) > 24);
      CHECK_EQ(call.op, static_cast<uint8_t>(PTRACE_SYSCALL_INFO_ENTRY));
      CHECK_EQ(call.entry.nr, static_cast<uint64_t>(SYS_getppid));
      if (++found == 2) {
        registers.orig_rax = ~0ull;  // skipped
        OK(request(PTRACE_SETREGS, pid, 0, reinterpret_cast<uint64_t>(&registers)));
      }
    } else if (registers.orig_rax == SYS_getppid && found == 1) {
      CHECK_EQ(static_cast<pid_t>(registers.rax), getpid());
      registers.rax = 4242;
      OK(request(PTRACE_SETREGS, pid, 0, reinterpret_cast<uint64_t>(&registers)));
    }
  }
  CHECK_EQ(found, 2);
}

TEST(memory_is_read_and_written_through_protection) {
  static const char text[16] = "read-only bytes";
  static const char* volatile place = text;  // the compiler shall not know
  static volatile long value = 5;
  const pid_t pid = traced_child([] { _exit(value == 77 && place[0] == 'R' ? 0 : 1); });
  errno = 0;
  CHECK_EQ(request(PTRACE_PEEKDATA, pid, reinterpret_cast<uint64_t>(&value)), 5);
  OK(request(PTRACE_POKEDATA, pid, reinterpret_cast<uint64_t>(&value), 77));
  long word = 0;
  memcpy(&word, text, sizeof word);
  CHECK_EQ(request(PTRACE_PEEKTEXT, pid, reinterpret_cast<uint64_t>(text)), word);
  reinterpret_cast<char*>(&word)[0] = 'R';
  OK(request(PTRACE_POKETEXT, pid, reinterpret_cast<uint64_t>(text), static_cast<uint64_t>(word)));
  FAILS(EIO, request(PTRACE_PEEKDATA, pid, 16));
  FAILS(EIO, request(PTRACE_POKEDATA, pid, 16, 0));
  const std::string path = "/proc/" + std::to_string(pid) + "/mem";
  check::Fd file(OK(open(path.c_str(), O_RDWR)));
  char piece[4]{};
  CHECK_EQ(OK(pread(file, piece, 4, static_cast<off_t>(reinterpret_cast<uint64_t>(text)))), 4);
  CHECK_EQ(std::string(piece, 4), "Read");
  CHECK_EQ(OK(pwrite(file, "R", 1, static_cast<off_t>(reinterpret_cast<uint64_t>(text)))), 1);
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
  CHECK_EQ(text[0], 'r');
}

TEST(a_breakpoint) {
  const auto function = +[] { asm volatile("nop; nop; nop"); };
  const pid_t pid = traced_child([&] {
    function();
    _exit(3);
  });
  const auto place = reinterpret_cast<uint64_t>(function);
  const long old = request(PTRACE_PEEKTEXT, pid, place);
  OK(request(PTRACE_POKETEXT, pid, place, (static_cast<uint64_t>(old) & ~0xffull) | 0xcc));
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP);
  user_regs_struct registers = registers_of(pid);
  CHECK_EQ(registers.rip, place + 1);
  registers.rip = place;
  OK(request(PTRACE_SETREGS, pid, 0, reinterpret_cast<uint64_t>(&registers)));
  OK(request(PTRACE_POKETEXT, pid, place, static_cast<uint64_t>(old)));
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 3);
}

uint64_t debug_register(pid_t pid, size_t number) {
  errno = 0;
  const long value = request(PTRACE_PEEKUSER, pid, offsetof(user, u_debugreg) + 8 * number);
  CHECK_EQ(errno, 0);
  return static_cast<uint64_t>(value);
}

long set_debug_register(pid_t pid, size_t number, uint64_t value) {
  return request(PTRACE_POKEUSER, pid, offsetof(user, u_debugreg) + 8 * number, value);
}

siginfo_t trap_of(pid_t pid) {
  siginfo_t info{};
  CHECK_EQ(stop_of(pid), SIGTRAP);
  OK(request(PTRACE_GETSIGINFO, pid, 0, reinterpret_cast<uint64_t>(&info)));
  return info;
}

__attribute__((noinline)) void marked_function() { asm volatile("nop"); }

TEST(watchpoints) {
  static volatile int watched = 0, other = 0;
  static volatile uint64_t wide = 0;
  const pid_t pid = traced_child([] {
    other = 1;
    watched = 1;
    other = 2;
    for (int i = 0; i < 10; ++i) other = i;
    marked_function();
    wide = uint64_t{1} << 63;
    OK(static_cast<int>(read(open("/dev/zero", O_RDONLY), const_cast<int*>(&watched), 4)));
    watched = 5;
    _exit(0);
  });
  constexpr uint64_t kWrite4 = 0xd, kWrite8 = 0x9, kExecute = 0x0;
  OK(set_debug_register(pid, 0, reinterpret_cast<uint64_t>(&watched)));
  OK(set_debug_register(pid, 1, reinterpret_cast<uint64_t>(&wide)));
  OK(set_debug_register(pid, 2, reinterpret_cast<uint64_t>(&marked_function)));
  if (set_debug_register(pid, 7, kWrite4 << 16 | kWrite8 << 20 | kExecute << 24 | 0x15) != 0)
    SKIP("this machine has no debug registers");
  CHECK_EQ(debug_register(pid, 0), reinterpret_cast<uint64_t>(&watched));
  const auto peek = [&](const volatile void* place) {
    return request(PTRACE_PEEKDATA, pid, reinterpret_cast<uint64_t>(place));
  };
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(trap_of(pid).si_code, TRAP_HWBKPT);
  CHECK_EQ(debug_register(pid, 6) & 0xf, 1);
  CHECK_EQ(static_cast<int>(peek(&watched)), 1);
  CHECK_EQ(static_cast<int>(peek(&other)), 1);
  OK(set_debug_register(pid, 6, 0));
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(trap_of(pid).si_code, TRAP_HWBKPT);
  CHECK_EQ(debug_register(pid, 6) & 0xf, 4);
  CHECK_EQ(registers_of(pid).rip, reinterpret_cast<uint64_t>(&marked_function));
  CHECK_EQ(static_cast<int>(peek(&other)), 9);
  OK(set_debug_register(pid, 6, 0));
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(trap_of(pid).si_code, TRAP_HWBKPT);
  CHECK_EQ(debug_register(pid, 6) & 0xf, 2);
  OK(set_debug_register(pid, 6, 0));
  // What the kernel writes is not seen.
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(trap_of(pid).si_code, TRAP_HWBKPT);
  CHECK_EQ(static_cast<int>(peek(&watched)), 5);
  OK(set_debug_register(pid, 7, 0));
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(debug_registers_are_checked) {
  const pid_t pid = traced_child([] { _exit(0); });
  FAILS(EINVAL, set_debug_register(pid, 0, ~uint64_t{0}));
  FAILS(EIO, set_debug_register(pid, 4, 1));
  FAILS(EIO, set_debug_register(pid, 5, 1));
  OK(set_debug_register(pid, 0, 0x10002));
  FAILS(EINVAL, set_debug_register(pid, 7, 0xd << 16 | 1));  // 4 bytes at an address that is not theirs
  FAILS(EINVAL, set_debug_register(pid, 7, 0x4 << 16 | 1));  // an instruction of 2 bytes
  OK(set_debug_register(pid, 7, 0));
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(steps) {
  const pid_t pid = traced_child([] {
    asm volatile("nop; nop; nop; nop");
    syscall(SYS_getpid);
    _exit(4);
  });
  // Instructions advance one by one, also over system calls, whose step ends behind them.
  uint64_t before = registers_of(pid).rip;
  for (int i = 0; i < 12; ++i) {
    OK(request(PTRACE_SINGLESTEP, pid));
    CHECK_EQ(stop_of(pid), SIGTRAP);
    const uint64_t now = registers_of(pid).rip;
    CHECK(now != before);
    before = now;
  }
  CHECK_EQ(registers_of(pid).eflags & 0x100, 0ull);
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 4);
}

TEST(registers_of_every_kind) {
  const pid_t pid = traced_child([] {
    double four = 2.0;
    asm volatile("movq %0, %%xmm7; int3; movq %%xmm7, %0" : "+r"(four) : : "xmm7");
    _exit(static_cast<int>(four));
  });
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP);
  user_fpregs_struct floats{};
  OK(request(PTRACE_GETFPREGS, pid, 0, reinterpret_cast<uint64_t>(&floats)));
  double value = 0;
  memcpy(&value, &floats.xmm_space[7 * 4], sizeof value);
  CHECK(value == 2.0);
  value = 6.0;
  memcpy(&floats.xmm_space[7 * 4], &value, sizeof value);
  OK(request(PTRACE_SETFPREGS, pid, 0, reinterpret_cast<uint64_t>(&floats)));
  user_regs_struct registers{};
  iovec area{&registers, sizeof registers};
  OK(request(PTRACE_GETREGSET, pid, NT_PRSTATUS, reinterpret_cast<uint64_t>(&area)));
  CHECK_EQ(area.iov_len, sizeof registers);
  CHECK_EQ(registers.rip, registers_of(pid).rip);
  CHECK_EQ(static_cast<uint64_t>(request(PTRACE_PEEKUSER, pid, offsetof(user_regs_struct, rsp))),
           registers.rsp);
  std::vector<char> state(16384);
  area = {state.data(), state.size()};
  OK(request(PTRACE_GETREGSET, pid, NT_X86_XSTATE, reinterpret_cast<uint64_t>(&area)));
  CHECK(area.iov_len >= 576);
  OK(request(PTRACE_SETREGSET, pid, NT_X86_XSTATE, reinterpret_cast<uint64_t>(&area)));
  FAILS(EINVAL, request(PTRACE_GETREGSET, pid, 0x12345, reinterpret_cast<uint64_t>(&area)));
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 6);
}

TEST(exec_fork_and_exit_are_events) {
  const pid_t pid = traced_child([] {
    const pid_t child = fork();
    if (child == 0) _exit(5);
    waitpid(child, nullptr, 0);
    execl("/bin/true", "true", nullptr);
    _exit(1);
  });
  OK(request(PTRACE_SETOPTIONS, pid, 0,
             PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL));
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_FORK << 8);
  unsigned long child = 0;
  OK(request(PTRACE_GETEVENTMSG, pid, 0, reinterpret_cast<uint64_t>(&child)));
  CHECK_EQ(stop_of(static_cast<pid_t>(child)), SIGSTOP);
  OK(request(PTRACE_CONT, pid));
  OK(request(PTRACE_CONT, static_cast<pid_t>(child)));
  CHECK_EQ(stop_of(static_cast<pid_t>(child)), SIGTRAP | PTRACE_EVENT_EXIT << 8);
  unsigned long status = 0;
  OK(request(PTRACE_GETEVENTMSG, static_cast<pid_t>(child), 0, reinterpret_cast<uint64_t>(&status)));
  CHECK_EQ(status, 5ul << 8);
  OK(request(PTRACE_CONT, static_cast<pid_t>(child)));
  // The tracer hears first, although it is not the parent.
  CHECK_EXITED(WAIT_STATUS(static_cast<pid_t>(child)), 5);
  int seen = stop_of(pid);
  if (seen == SIGCHLD) {
    OK(request(PTRACE_CONT, pid, 0, SIGCHLD));
    seen = stop_of(pid);
  }
  CHECK_EQ(seen, SIGTRAP | PTRACE_EVENT_EXEC << 8);
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_EXIT << 8);
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(exec_traps_without_an_option) {
  const pid_t pid = traced_child([] { execl("/bin/true", "true", nullptr); });
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP);
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(attach_and_detach) {
  const pid_t pid = check::fork_child([] {
    for (;;) pause();
  });
  WAIT_BLOCKED(pid);
  OK(request(PTRACE_ATTACH, pid));
  CHECK_EQ(stop_of(pid), SIGSTOP);
  CHECK(READ_FILE(("/proc/" + std::to_string(pid) + "/status").c_str())
            .find("TracerPid:\t" + std::to_string(getpid()) + "\n") != std::string::npos);
  CHECK_EQ(check::process_state(pid), 't');
  FAILS(EPERM, request(PTRACE_ATTACH, pid));
  OK(request(PTRACE_DETACH, pid));
  FAILS(ESRCH, request(PTRACE_CONT, pid));
  WAIT_BLOCKED(pid);
  OK(kill(pid, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
}

pid_t seized_sleeper(uint64_t options = 0) {
  const pid_t pid = check::fork_child([] {
    for (;;) pause();
  });
  WAIT_BLOCKED(pid);
  OK(request(PTRACE_SEIZE, pid, 0, options));
  return pid;
}

TEST(seize_interrupt_and_listen) {
  const pid_t pid = seized_sleeper();
  FAILS(ESRCH, request(PTRACE_CONT, pid));  // it runs
  OK(request(PTRACE_INTERRUPT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_STOP << 8);
  OK(request(PTRACE_CONT, pid));
  OK(kill(pid, SIGSTOP));
  CHECK_EQ(stop_of(pid), SIGSTOP);
  OK(request(PTRACE_CONT, pid, 0, SIGSTOP));
  CHECK_EQ(stop_of(pid), SIGSTOP | PTRACE_EVENT_STOP << 8);
  OK(request(PTRACE_LISTEN, pid));
  OK(kill(pid, SIGCONT));
  CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_STOP << 8);
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGCONT);
  OK(request(PTRACE_CONT, pid));
  OK(kill(pid, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
}

constexpr int kStop = SIGTRAP | PTRACE_EVENT_STOP << 8;

TEST(who_listens_takes_no_orders) {
  const pid_t pid = seized_sleeper();
  siginfo_t info{};
  OK(request(PTRACE_INTERRUPT, pid));
  CHECK_EQ(stop_of(pid), kStop);
  OK(request(PTRACE_LISTEN, pid));
  FAILS(ESRCH, request(PTRACE_GETSIGINFO, pid, 0, reinterpret_cast<uint64_t>(&info)));
  FAILS(ESRCH, request(PTRACE_CONT, pid));
  CHECK_EQ(OK(waitpid(pid, nullptr, __WALL | WNOHANG)), 0);
  OK(request(PTRACE_INTERRUPT, pid));
  CHECK_EQ(stop_of(pid), kStop);
  OK(request(PTRACE_GETSIGINFO, pid, 0, reinterpret_cast<uint64_t>(&info)));
  // SIGCONT is told of before PTRACE_LISTEN, while it listens, and otherwise.
  OK(kill(pid, SIGCONT));
  OK(request(PTRACE_LISTEN, pid));
  CHECK_EQ(stop_of(pid), kStop);
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGCONT);
  OK(request(PTRACE_CONT, pid));
  OK(kill(pid, SIGCONT));
  CHECK_EQ(stop_of(pid), kStop);
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGCONT);
  OK(request(PTRACE_CONT, pid));
  // In a group stop it is the group's signal that is told.
  OK(kill(pid, SIGSTOP));
  CHECK_EQ(stop_of(pid), SIGSTOP);
  OK(request(PTRACE_CONT, pid, 0, SIGSTOP));
  CHECK_EQ(stop_of(pid), SIGSTOP | PTRACE_EVENT_STOP << 8);
  OK(request(PTRACE_LISTEN, pid));
  FAILS(ESRCH, request(PTRACE_CONT, pid));
  OK(request(PTRACE_INTERRUPT, pid));
  CHECK_EQ(stop_of(pid), SIGSTOP | PTRACE_EVENT_STOP << 8);
  OK(kill(pid, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
}

TEST(the_exit_of_a_killed_tracee_is_an_event) {
  for (const bool in_a_stop : {false, true}) {
    const pid_t pid = seized_sleeper(PTRACE_O_TRACEEXIT);
    if (in_a_stop) {
      OK(request(PTRACE_INTERRUPT, pid));
      CHECK_EQ(stop_of(pid), kStop);
    }
    OK(kill(pid, SIGKILL));
    CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_EXIT << 8);
    unsigned long status = 0;
    OK(request(PTRACE_GETEVENTMSG, pid, 0, reinterpret_cast<uint64_t>(&status)));
    CHECK_EQ(status, unsigned{SIGKILL});
    (void)registers_of(pid);
    OK(request(PTRACE_CONT, pid));
    CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
  }
  // A tracer that ends without a word lets it go.
  pid_t pid = 0;
  int channel[2];
  OK(pipe(channel));
  JOIN(check::fork_child([&] {
    const pid_t tracee = seized_sleeper(PTRACE_O_TRACEEXIT);
    OK(write(channel[1], &tracee, sizeof tracee));
    OK(kill(tracee, SIGKILL));
    CHECK_EQ(stop_of(tracee), SIGTRAP | PTRACE_EVENT_EXIT << 8);
  }));
  OK(read(channel[0], &pid, sizeof pid));
  while (kill(pid, 0) == 0) sched_yield();
  CHECK_EQ(errno, ESRCH);
}

TEST(registers_that_the_cpu_would_not_take) {
  const pid_t pid = seized_sleeper();
  OK(request(PTRACE_INTERRUPT, pid));
  CHECK_EQ(stop_of(pid), kStop);
  const auto poke = [&](size_t place, uint64_t word) { return request(PTRACE_POKEUSER, pid, place, word); };
  FAILS(EIO, poke(offsetof(user_regs_struct, cs), 0x10));
  FAILS(EIO, poke(offsetof(user_regs_struct, cs), 0));
  FAILS(EIO, poke(offsetof(user_regs_struct, ss), 0x10));
  FAILS(EIO, poke(offsetof(user_regs_struct, ss), 0));
  for (const size_t place : {offsetof(user_regs_struct, ds), offsetof(user_regs_struct, es),
                             offsetof(user_regs_struct, fs), offsetof(user_regs_struct, gs)}) {
    FAILS(EIO, poke(place, 0x10));
    OK(poke(place, 0));
  }
  OK(poke(offsetof(user_regs_struct, cs), 0x33));
  OK(poke(offsetof(user_regs_struct, ss), 0x2b));
  user_regs_struct registers = registers_of(pid);
  registers.cs = 0x10;
  FAILS(EIO, request(PTRACE_SETREGS, pid, 0, reinterpret_cast<uint64_t>(&registers)));
  // An address that is none is the tracee's matter.
  OK(poke(offsetof(user_regs_struct, rip), uint64_t{1} << 60));
  CHECK_EQ(registers_of(pid).rip, uint64_t{1} << 60);
  for (int i = 0; i < 2; ++i) {
    OK(request(PTRACE_CONT, pid));
    CHECK_EQ(stop_of(pid), SIGSEGV);
    siginfo_t info{};
    OK(request(PTRACE_GETSIGINFO, pid, 0, reinterpret_cast<uint64_t>(&info)));
    CHECK_EQ(info.si_code, SI_KERNEL);
  }
  OK(request(PTRACE_CONT, pid, 0, SIGSEGV));
  CHECK_KILLED(WAIT_STATUS(pid) & ~0x80, SIGSEGV);
}

TEST(threads_are_traced_one_by_one) {
  const pid_t pid = traced_child([] {
    std::thread([] {}).join();
    _exit(0);
  });
  OK(request(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE));
  OK(request(PTRACE_CONT, pid));
  CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_CLONE << 8);
  unsigned long message = 0;
  OK(request(PTRACE_GETEVENTMSG, pid, 0, reinterpret_cast<uint64_t>(&message)));
  const auto thread = static_cast<pid_t>(message);
  CHECK_EQ(stop_of(thread), SIGSTOP);
  OK(request(PTRACE_CONT, thread));
  CHECK_EXITED(WAIT_STATUS(thread), 0);  // threads have ends of their own for a tracer
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(an_interrupted_call_starts_again) {
  check::Gate gate;
  const pid_t pid = check::fork_child([&] {
    gate.wait();
    _exit(0);
  });
  WAIT_BLOCKED(pid);
  OK(request(PTRACE_ATTACH, pid));
  CHECK_EQ(stop_of(pid), SIGSTOP);
  const user_regs_struct registers = registers_of(pid);
  CHECK_EQ(registers.orig_rax, static_cast<unsigned long long>(SYS_read));
  CHECK_EQ(static_cast<long>(registers.rax), -512l);  // ERESTARTSYS
  OK(request(PTRACE_DETACH, pid));
  gate.notify();
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(the_tracers_end) {
  // A tracee goes on, or dies by PTRACE_O_EXITKILL.
  for (const bool kill_it : {false, true}) {
    const pid_t pid = check::fork_child([] {
      for (;;) pause();
    });
    WAIT_BLOCKED(pid);
    JOIN(check::fork_child([&] {
      OK(request(PTRACE_SEIZE, pid, 0, kill_it ? PTRACE_O_EXITKILL : 0));
      OK(request(PTRACE_INTERRUPT, pid));
      CHECK_EQ(stop_of(pid), SIGTRAP | PTRACE_EVENT_STOP << 8);
    }));
    if (!kill_it) {
      WAIT_BLOCKED(pid);
      OK(kill(pid, SIGKILL));
    }
    CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
  }
}

TEST(errors) {
  FAILS(ESRCH, request(PTRACE_CONT, getppid()));
  FAILS(ESRCH, request(PTRACE_ATTACH, 999999));
  FAILS(EPERM, request(PTRACE_ATTACH, getpid()));
  FAILS(EIO, request(PTRACE_SEIZE, getppid(), 1, 0));
  const pid_t pid = traced_child([] { _exit(0); });
  FAILS(EIO, request(0x7777, pid));
  FAILS(EIO, request(PTRACE_CONT, pid, 0, 1000));
  FAILS(EINVAL, request(PTRACE_SETOPTIONS, pid, 0, 1u << 30));
  FAILS(EIO, request(PTRACE_INTERRUPT, pid));  // not seized
  FAILS(EFAULT, request(PTRACE_GETREGS, pid, 0, 16));
  OK(request(PTRACE_CONT, pid));
  CHECK_EXITED(WAIT_STATUS(pid), 0);
}

TEST(kcmp_tells_what_is_shared) {
  const auto kcmp = [](pid_t a, pid_t b, int type, uint64_t one = 0, uint64_t two = 0) {
    return syscall(SYS_kcmp, a, b, type, one, two);
  };
  check::Gate gate;
  const int copy = OK(dup(1));
  CHECK_EQ(OK(kcmp(getpid(), getpid(), KCMP_FILE, 1, static_cast<uint64_t>(copy))), 0);
  const int other = OK(open("/dev/null", O_RDONLY));
  CHECK(OK(kcmp(getpid(), getpid(), KCMP_FILE, 1, static_cast<uint64_t>(other))) != 0);
  const pid_t pid = check::fork_child([&] { gate.wait(); });
  CHECK(OK(kcmp(getpid(), pid, KCMP_VM)) != 0);
  CHECK(OK(kcmp(getpid(), pid, KCMP_FILES)) != 0);
  CHECK_EQ(OK(kcmp(getpid(), pid, KCMP_FILE, 1, 1)), 0);
  FAILS(EBADF, kcmp(getpid(), getpid(), KCMP_FILE, 1, 999));
  FAILS(EINVAL, kcmp(getpid(), getpid(), 99));
  FAILS(ESRCH, kcmp(getpid(), 999999, KCMP_VM));
  gate.notify();
  JOIN(pid);
}

// The oldest filter is number 0.
TEST(filters_of_a_tracee) {
  const pid_t pid = check::fork_child([] {
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    for (unsigned short length = 1; length <= 2; ++length) {
      sock_filter program[2];
      for (unsigned i = 0; i < length; ++i) program[i] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
      const sock_fprog filter = {length, program};
      OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
    }
    OK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    raise(SIGSTOP);
  });
  CHECK(WIFSTOPPED(WAIT_STATUS(pid)));
  constexpr auto kGetFilter = static_cast<__ptrace_request>(0x420c);  // PTRACE_SECCOMP_GET_FILTER
  sock_filter program[2] = {};
  const auto get = [&](long number) {
    return ptrace(kGetFilter, pid, reinterpret_cast<void*>(number), program);
  };
  uint64_t effective = 0;
  const std::string status = READ_FILE("/proc/self/status");
  sscanf(strstr(status.c_str(), "CapEff:"), "CapEff: %lx", &effective);
  if ((effective >> CAP_SYS_ADMIN & 1) == 0) {
    FAILS(EACCES, get(0));
  } else {
    CHECK_EQ(get(0), 1);
    CHECK_EQ(program[0].k, SECCOMP_RET_ALLOW);
    CHECK_EQ(get(1), 2);
    FAILS(ENOENT, get(2));
  }
  OK(kill(pid, SIGKILL));
  CHECK_KILLED(WAIT_STATUS(pid), SIGKILL);
}

}  // namespace
