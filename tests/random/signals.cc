// Random handlers, and signals to them.
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "guard.h"
#include "operations.h"

namespace random_program {
namespace {

int the_signal(size_t i) {
  const int all[] = {SIGHUP, SIGUSR1,  SIGUSR2,      SIGALRM,      SIGTERM,
                     SIGURG, SIGWINCH, SIGRTMIN + 1, SIGRTMIN + 2, SIGRTMAX};
  return all[i % std::size(all)];
}
constexpr size_t kSignals = 10;

enum class Reaction {
  kNothing,
  kRaise,
  kRaiseSame,
  kBlockOnReturn,
  kUnblock,
  kChangeRegister,
  kJump,
  kCount
};

// What the handlers do; one thread has them.
struct Handling {
  Reaction reaction[65];
  int nested, depth, left;
  bool may_jump;
  sigjmp_buf back;
  int back_depth;
  char* stack;
  size_t stack_size;
};
Handling handling;

uint64_t mask_now() {
  sigset_t set;
  must(sigprocmask(SIG_SETMASK, nullptr, &set), "sigprocmask");
  return bits(set);
}

uint64_t pending_now() {
  sigset_t set;
  must(sigpending(&set), "sigpending");
  return bits(set);
}

bool is_pending(int signal) { return (pending_now() >> (signal - 1) & 1) != 0; }

bool is_handled(int signal) {
  struct sigaction action {};
  must(sigaction(signal, nullptr, &action), "sigaction");
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

sigset_t set_of(uint64_t word) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < kSignals; i++) {
    if ((word >> i & 1) != 0) sigaddset(&set, the_signal(i));
  }
  return set;
}

void say_info(const char* what, int signal, const siginfo_t& info) {
  bool has_value = info.si_code == SI_QUEUE || info.si_code == SI_TIMER || info.si_code == SI_MESGQ;
  bool has_sender = info.si_code == SI_USER || info.si_code == SI_TKILL || info.si_code == SI_QUEUE;
  say("  %s signal %d code %d value %d%s", what, signal, info.si_code,
      has_value ? info.si_value.sival_int : 0,
      !has_sender               ? ""
      : info.si_pid == getpid() ? " from itself"
                                : " from another");
}

void send(Random& random, int signal) {
  sigval value{};
  value.sival_int = static_cast<int>(random.below(1000));
  siginfo_t info{};
  info.si_code = random.of<int>({SI_QUEUE, SI_TIMER, SI_MESGQ, -50});
  info.si_pid = getpid();
  info.si_value.sival_int = value.sival_int;
  switch (random.below(5)) {
    case 0:
      must(kill(getpid(), signal), "kill");
      return;
    case 1:
      must(raise(signal), "raise");
      return;
    case 2:
      must(sigqueue(getpid(), signal, value), "sigqueue");
      return;
    case 3:
      must(syscall(SYS_tgkill, getpid(), gettid(), signal), "tgkill");
      return;
    default:
      must(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signal, &info), "rt_tgsigqueueinfo");
  }
}

void on_signal(int signal, siginfo_t* info, void* context) {
  auto* user = static_cast<ucontext_t*>(context);
  auto at = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  bool on_stack = at - reinterpret_cast<uintptr_t>(handling.stack) < handling.stack_size;
  handling.depth++;
  say_info(">", signal, *info);
  stack_t now{};
  must(sigaltstack(nullptr, &now), "sigaltstack");
  say("  | depth %d mask %#llx before %#llx pending %#llx%s stack flags %#x", handling.depth,
      static_cast<unsigned long long>(mask_now()), static_cast<unsigned long long>(bits(user->uc_sigmask)),
      static_cast<unsigned long long>(pending_now()), on_stack ? " on the alternate stack" : "",
      static_cast<unsigned>(now.ss_flags));
  Reaction reaction =
      handling.left-- > 0 && handling.depth < 6 ? handling.reaction[signal] : Reaction::kNothing;
  switch (reaction) {
    case Reaction::kRaise:
      if (is_handled(handling.nested)) raise(handling.nested);
      break;
    case Reaction::kRaiseSame:
      if (is_handled(signal)) kill(getpid(), signal);
      break;
    case Reaction::kBlockOnReturn:
      sigaddset(&user->uc_sigmask, handling.nested);
      break;
    case Reaction::kUnblock: {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, handling.nested);
      must(sigprocmask(SIG_UNBLOCK, &set, nullptr), "sigprocmask");
      break;
    }
    case Reaction::kJump:
      if (handling.may_jump) {
        say("  < jumps");
        siglongjmp(handling.back, 1);
      }
      break;
    default:
      break;
  }
  say("  < %d", signal);
  handling.depth--;
}

void arrange(Random& random, bool doomed) {
  handling.nested = the_signal(random.below(kSignals));
  handling.left = 12;
  for (size_t i = 0; i < kSignals; i++) {
    int signal = the_signal(i);
    handling.reaction[signal] = static_cast<Reaction>(random.below(static_cast<uint64_t>(Reaction::kCount)));
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    for (int flag :
         {static_cast<int>(SA_NODEFER), static_cast<int>(SA_ONSTACK), static_cast<int>(SA_RESTART)}) {
      if (random.one_in(3)) action.sa_flags |= flag;
    }
    if (doomed && random.one_in(3)) action.sa_flags |= static_cast<int>(SA_RESETHAND);
    if (doomed && random.one_in(8)) action.sa_handler = SIG_DFL;
    if (random.one_in(8)) action.sa_handler = SIG_IGN;
    action.sa_mask = set_of(random.next() & random.next());
    must(sigaction(signal, &action, nullptr), "sigaction");
  }
}

// Nothing pending, nothing blocked, nothing handled.
void clean_up(const sigset_t& mask) {
  itimerval none{};
  must(setitimer(ITIMER_REAL, &none, nullptr), "setitimer");
  for (size_t i = 0; i < kSignals; i++) {
    must(reinterpret_cast<intptr_t>(signal(the_signal(i), SIG_IGN)), "signal");
    must(reinterpret_cast<intptr_t>(signal(the_signal(i), SIG_DFL)), "signal");
  }
  must(sigprocmask(SIG_SETMASK, &mask, nullptr), "sigprocmask");
  stack_t no_stack{};
  no_stack.ss_flags = SS_DISABLE;
  must(sigaltstack(&no_stack, nullptr), "sigaltstack");
}

// A timer's signal that arrives while the thread waits for nothing else.
void wait_for_alarm(Random& random) {
  if (!is_handled(SIGALRM) || is_pending(SIGALRM)) return;
  sigset_t alarm, other, before;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  sigfillset(&other);
  sigdelset(&other, SIGALRM);
  must(sigprocmask(SIG_BLOCK, &alarm, &before), "sigprocmask");
  itimerval timer{};
  timer.it_value.tv_usec = 1 + static_cast<long>(random.below(2000));
  must(setitimer(ITIMER_REAL, &timer, nullptr), "setitimer");
  if (random.one_in(2)) {
    say("  sigsuspend: %s", outcome(sigsuspend(&other)));
  } else {
    say("  ppoll: %s", outcome(ppoll(nullptr, 0, nullptr, &other)));
  }
  must(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask");
}

void timed_wait(Random& random) {
  sigset_t set = set_of(random.next());
  timespec none{};
  siginfo_t info{};
  sigset_t before;
  must(sigprocmask(SIG_BLOCK, &set, &before), "sigprocmask");
  int got = sigtimedwait(&set, &info, &none);
  if (got > 0) {
    say_info("sigtimedwait:", got, info);
  } else {
    say("  sigtimedwait: %s", outcome(got));
  }
  must(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask");
}

void signal_descriptor(Random& random) {
  sigset_t set = set_of(random.next());
  int fd = static_cast<int>(must(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd"));
  signalfd_siginfo infos[4];
  ssize_t got = read(fd, infos, sizeof infos);
  say("  signalfd: %s", outcome(got));
  for (ssize_t i = 0; i < got / static_cast<ssize_t>(sizeof infos[0]); i++) {
    say("  signalfd: %u code %d", infos[i].ssi_signo, infos[i].ssi_code);
  }
  must(close(fd), "close");
}

void one_step(Random& random, bool doomed) {
  int signal = the_signal(random.below(kSignals));
  sigset_t set = set_of(random.next());
  switch (random.below(11)) {
    case 0:
    case 1:
    case 2:
    case 3:
      if (doomed || is_handled(signal)) {
        say("  send %d", signal);
        send(random, signal);
      }
      break;
    case 4:
      must(sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask");
      break;
    case 5:
      must(sigprocmask(SIG_UNBLOCK, &set, nullptr), "sigprocmask");
      break;
    case 6:
      must(sigprocmask(SIG_SETMASK, &set, nullptr), "sigprocmask");
      break;
    case 7:
      timed_wait(random);
      break;
    case 8:
      wait_for_alarm(random);
      break;
    case 9:
      signal_descriptor(random);
      break;
    default: {
      struct sigaction action {};
      must(sigaction(signal, nullptr, &action), "sigaction");
      say("  action of %d: flags %#x mask %#llx", signal,
          static_cast<unsigned>(action.sa_flags) & ~0x4000000u,
          static_cast<unsigned long long>(bits(action.sa_mask)));
    }
  }
  say("  mask %#llx pending %#llx", static_cast<unsigned long long>(mask_now()),
      static_cast<unsigned long long>(pending_now()));
}

}  // namespace

void signal_steps(Random& random, bool doomed) {
  sigset_t before;
  must(sigprocmask(SIG_SETMASK, nullptr, &before), "sigprocmask");
  handling.depth = 0;
  handling.stack_size = 128 << 10;
  void* memory =
      mmap(nullptr, handling.stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) broken("mmap of a stack");
  handling.stack = static_cast<char*>(memory);
  if (random.one_in(2)) {
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = handling.stack_size;
    // SS_AUTODISARM, which the libc's header does not have.
    if (random.one_in(3)) stack.ss_flags = static_cast<int>(1u << 31);
    must(sigaltstack(&stack, nullptr), "sigaltstack");
  }
  arrange(random, doomed);
  uint64_t left = 3 + random.below(12);
  uint64_t sub_seed = random.next();
  volatile uint64_t i = 0;
  while (i < left) {
    Random step(sub_seed + i);
    handling.may_jump = true;
    if (sigsetjmp(handling.back, 1) == 0) {
      one_step(step, doomed);
    } else {
      handling.depth = 0;
      say("  back by a jump: mask %#llx pending %#llx", static_cast<unsigned long long>(mask_now()),
          static_cast<unsigned long long>(pending_now()));
    }
    handling.may_jump = false;
    i = i + 1;
  }
  clean_up(before);
  must(munmap(memory, handling.stack_size), "munmap");
}

void signals_operation(Random& random) { signal_steps(random, false); }

void faults_operation(Random& random) {
  auto* memory =
      static_cast<char*>(mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) broken("mmap");
  must(mprotect(memory + 4096, 4096, PROT_READ), "mprotect");
  must(mprotect(memory + 8192, 4096, PROT_NONE), "mprotect");
  must(munmap(memory + 12288, 4096), "munmap");
  memory[0] = static_cast<char>(0xc3);
  for (uint64_t left = 1 + random.below(5); left > 0; left--) {
    volatile char* at = memory + random.below(4 * 4096);
    bool writes = random.one_in(2);
    Fault fault;
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
        fault = guarded([&] {
          char byte = 1;
          if (writes) {
            *at = byte;
          } else {
            byte = *at;
          }
        });
        break;
      case 3:
        fault = guarded([&] {
          asm volatile("xor %%edx, %%edx; mov $7, %%eax; xor %%ecx, %%ecx; div %%ecx" ::
                           : "rax", "rcx", "rdx");
        });
        break;
      case 4:
        fault = guarded([] { asm volatile("ud2"); });
        break;
      case 5:
        fault = guarded([] { asm volatile("int3"); });
        break;
      case 6:
        fault = guarded([] { asm volatile("hlt"); });
        break;
      case 7:
        fault = guarded([] { asm volatile("mov (%0), %%al" ::"r"(uint64_t{1} << 63 | 0x1234) : "rax"); });
        break;
      case 8:
        fault = guarded([&] { reinterpret_cast<void (*)()>(memory)(); });
        break;  // not executable
      case 9:
        fault = guarded([] { asm volatile("int $4"); });
        break;
      case 10:
        fault = guarded([] {
          asm volatile(
              "push $0x1f00; ldmxcsr (%%rsp); pop %%rax; mov $1, %%eax; cvtsi2sd %%eax, %%xmm0; xorps "
              "%%xmm1, %%xmm1;"
              "mulsd %%xmm1, %%xmm1; divsd %%xmm1, %%xmm1" ::
                  : "rax", "xmm0", "xmm1");
        });
        asm volatile("push $0x1f80; ldmxcsr (%%rsp); pop %%rax" ::: "rax");
        break;
      default:
        fault = guarded([] { asm volatile("in $0x80, %%al" ::: "rax"); });
    }
    if (fault.signal == SIGFPE || fault.signal == SIGILL || fault.signal == SIGTRAP) {
      fault.address = fault.address == fault.instruction ? 1 : 0;  // where, the program's layout says
      say_fault("  fault", fault, nullptr);
    } else {
      say_fault("  fault", fault, memory);
    }
  }
  must(munmap(memory, 4 * 4096), "munmap");
}

void timers_operation(Random& random) {
  sigset_t set, before;
  sigemptyset(&set);
  int signal = SIGRTMIN + 1 + static_cast<int>(random.below(4));
  sigaddset(&set, signal);
  must(sigprocmask(SIG_BLOCK, &set, &before), "sigprocmask");
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  bool to_thread = random.one_in(2);
  if (to_thread) event.sigev_notify = SIGEV_THREAD_ID, event._sigev_un._tid = gettid();
  event.sigev_signo = signal;
  event.sigev_value.sival_int = static_cast<int>(random.below(1000));
  timer_t timer{};
  must(timer_create(random.of({CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}), &event, &timer),
       "timer_create");
  for (uint64_t left = 1 + random.below(3); left > 0; left--) {
    itimerspec when{};
    when.it_value.tv_nsec = 1 + static_cast<long>(random.below(2000000));
    must(timer_settime(timer, 0, &when, nullptr), "timer_settime");
    siginfo_t info{};
    must(sigwaitinfo(&set, &info), "sigwaitinfo");
    say("  timer: signal %d code %d value %d overrun %d", info.si_signo, info.si_code,
        info.si_value.sival_int, info.si_overrun);
    must(timer_gettime(timer, &when), "timer_gettime");
    say("  left: %ld.%09ld", when.it_value.tv_sec, when.it_value.tv_nsec);
  }
  must(timer_delete(timer), "timer_delete");
  must(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask");
}

}  // namespace random_program
