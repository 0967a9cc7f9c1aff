// What is reachable: every x86-64 syscall number, each with three sets of dull arguments (zeros, minus ones,
// a file descriptor with a buffer). `sweep nofork` leaves out the calls that make a process.
//
// Left out altogether: calls that end the program (exit, exit_group, rt_sigreturn), and those argument sets
// that would take away the means to go on (strict seccomp, being traced, losing ids, closing all files).
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kIn = 100, kOut = 101, kFile = 102, kLastNumber = 462 };

static void say(const char* line) {
  if (write(kOut, line, strlen(line)) < 0) _exit(1);
}

// Interrupts calls that wait for ever. Not SA_RESTART.
static void nudge(int number) { (void)number; }

static bool forks(long number) {
  return number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3;
}

enum Set { kZeros, kMinusOnes, kFileAndBuffer };

static bool left_out(long number, enum Set set) {
  if (number > 334 && number < 424) return true;  // no such numbers on x86-64
  switch (number) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_rt_sigreturn:
      return true;
    case SYS_seccomp:  // (0, 0, 0) is SECCOMP_SET_MODE_STRICT
    case SYS_ptrace:   // (0, …) is PTRACE_TRACEME
      return set == kZeros;
    case SYS_setuid:
    case SYS_setgid:
    case SYS_setreuid:
    case SYS_setregid:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_setfsuid:
    case SYS_setfsgid:
    case SYS_setgroups:
    case SYS_personality:
    case SYS_mlockall:
    case SYS_close_range:
      return set == kFileAndBuffer;
    default:
      return false;
  }
}

static void fork_like(long number) {
  pid_t pid = -1;
  if (number == SYS_fork) {
    pid = (pid_t)syscall(SYS_fork);
    if (pid == 0) _exit(0);
  } else if (number == SYS_vfork) {
    pid = vfork();
    if (pid == 0) _exit(0);
  } else if (number == SYS_clone) {
    pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
  } else {
    uint64_t args[8] = {[4] = SIGCHLD};  // struct clone_args: exit_signal is the fifth
    pid = (pid_t)syscall(SYS_clone3, args, sizeof args);
    if (pid == 0) _exit(0);
  }
  if (pid > 0) {
    while (waitpid(pid, NULL, 0) < 0) {
    }
  }
}

// A program in its steady state has called, forked and taken signals before.
static void warm_up(bool nofork) {
  char none[1];
  for (int i = 0; i < 32; ++i) {
    if (fcntl(kFile, F_GETFD) < 0 || dup2(kFile, 3) < 0 || syscall(SYS_getppid) < 0) _exit(1);
    if (read(kFile, none, 0) != 0 || write(kFile, none, 0) != 0) _exit(1);
    raise(SIGALRM);
  }
  if (nofork) return;
  for (int i = 0; i < 4; ++i) {
    fork_like(SYS_fork);
    fork_like(SYS_vfork);
    fork_like(SYS_clone);
    fork_like(SYS_clone3);
  }
}

int main(int argc, char** argv) {
  const bool nofork = argc > 1 && strcmp(argv[1], "nofork") == 0;
  static char buffer[4096];
  if (dup2(0, kIn) < 0 || dup2(1, kOut) < 0) return 1;
  char path[] = "/var/hap/sweep-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0 || dup2(file, kFile) < 0 || unlink(path) != 0) return 1;
  dup2(kFile, 0);
  dup2(kFile, 1);

  struct sigaction action = {.sa_handler = nudge};
  sigaction(SIGALRM, &action, NULL);
  // Timer 0 is one for the sweep to take away; the second nudges.
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  timer_t decoy, timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &decoy) != 0 ||
      timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
    return 1;
  const struct itimerspec every = {{0, 100000000}, {0, 100000000}};

  warm_up(nofork);
  say("hap: ready\n");
  if (read(kIn, buffer, sizeof buffer) <= 0) return 1;
  if (timer_settime(timer, 0, &every, NULL) != 0) return 1;
  for (int set = kZeros; set <= kFileAndBuffer; ++set) {
    for (long number = 0; number <= kLastNumber; ++number) {
      if (left_out(number, (enum Set)set)) continue;
      if (forks(number)) {
        if (!nofork && set == kZeros) fork_like(number);
        continue;
      }
      // What an earlier call closed or filled.
      if (fcntl(3, F_GETFD) < 0) dup2(kFile, 3);
      memset(buffer, 0, 64);
      switch (set) {
        case kZeros:
          syscall(number, 0L, 0L, 0L, 0L, 0L, 0L);
          break;
        case kMinusOnes:
          syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
          break;
        default:
          syscall(number, 3L, buffer, 8L, 0L, 0L, 0L);
          break;
      }
    }
  }
  say("hap: done\n");
  for (;;) {
    const ssize_t got = read(kIn, buffer, sizeof buffer);
    if (got == 0) break;  // a negative answer is the timer's
  }
  return 0;
}
