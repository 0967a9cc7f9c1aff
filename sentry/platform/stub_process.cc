#include "sentry/platform/stub_process.h"

#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "sentry/base/log.h"

namespace sentry::platform {
namespace {
volatile std::sig_atomic_t heard = 0;  // by the signal handler
}

void refuse(const char* why) {
  constexpr int kUnavailable = 69;  // EX_UNAVAILABLE, sysexits.h
  log("{}", why);
  ::_exit(kUnavailable);
}

pid_t fork_stub() {
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, CLONE_FS | CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
  if (child < 0 && errno == EAGAIN)
    refuse(
        "the host has no process left for the program: this user's limit (ulimit -u, RLIMIT_NPROC) or the "
        "cgroup's "
        "(pids.max) is used up");
  BULKHEAD_CHECK(child >= 0, "cannot fork the first stub: {}", std::strerror(errno));
  return child;
}

bool forget_the_sentry(pid_t sentry) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != sentry) return false;
#if defined(RSEQ_SIG)
  // The host would write to the sentry's rseq area, which is about to go.
  if (__rseq_size != 0) {
    char* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    constexpr long kRegisteredSize = 32;  // struct rseq's first version, which is what glibc 2.36 registers
    ::syscall(SYS_rseq, area, kRegisteredSize, 1 /* RSEQ_FLAG_UNREGISTER */, RSEQ_SIG);
  }
#endif
  for (int signo = 1; signo < NSIG; ++signo) ::signal(signo, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  return true;
}

sigset_t hear_of_stubs() {
  struct sigaction action {};
  action.sa_handler = [](int) { heard = 1; };
  ::sigaction(SIGCHLD, &action, nullptr);
  sigset_t child, asleep;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, &asleep);
  sigdelset(&asleep, SIGCHLD);
  return asleep;
}

bool heard_of_stubs() {
  if (heard == 0) return false;
  heard = 0;
  return true;
}

Nanoseconds process_cpu_time(pid_t process) {
  // CPUCLOCK_SCHED of a process: include/linux/posix-timers.h.
  return read_clock(static_cast<clockid_t>((~static_cast<unsigned>(process) << 3) | 2));
}

Nanoseconds share_of_cpu_time(pid_t process, size_t threads) {
  return process_cpu_time(process) / static_cast<Nanoseconds>(threads);
}

}  // namespace sentry::platform
