// Filters on oneself: seccomp(2), prctl(PR_SET_SECCOMP).
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include <thread>

#include "tests/syscalls/check.h"

namespace {

long seccomp(unsigned operation, unsigned flags, void* argument) {
  return syscall(SYS_seccomp, operation, flags, argument);
}

// Answers `action` to one call, and lets the others pass.
long install(long number, uint32_t action, unsigned flags = 0) {
  sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(sizeof steps / sizeof *steps), steps};
  return seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
}

void no_new_privileges() { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

TEST(errno_by_filter) {
  no_new_privileges();
  CHECK_EQ(prctl(PR_GET_SECCOMP), 0);
  OK(install(SYS_getppid, SECCOMP_RET_ERRNO | EDOM));
  FAILS(EDOM, syscall(SYS_getppid));
  CHECK_EQ(prctl(PR_GET_SECCOMP), 2);
  CHECK(READ_FILE("/proc/self/status").find("\nSeccomp:\t2\nSeccomp_filters:\t1\n") != std::string::npos);
  // Children and programs inherit it; the strictest of all filters decides.
  JOIN(check::fork_child([] {
    OK(install(SYS_getppid, SECCOMP_RET_ALLOW));
    FAILS(EDOM, syscall(SYS_getppid));
    OK(install(SYS_getppid, SECCOMP_RET_ERRNO | 0));
    CHECK_EQ(syscall(SYS_getppid), 0);  // the newer of two that are equally strict
  }));
}

TEST(arguments_are_seen) {
  no_new_privileges();
  sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup2, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 50, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(sizeof steps / sizeof *steps), steps};
  OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
  CHECK_EQ(OK(dup2(1, 101)), 101);
  FAILS(EXDEV, dup2(1, 102));
}

TEST(killing) {
  CHECK_KILLED(WAIT_STATUS(check::fork_child([] {
                 no_new_privileges();
                 OK(install(SYS_getppid, SECCOMP_RET_KILL_PROCESS));
                 syscall(SYS_getppid);
               })),
               SIGSYS);
  CHECK_EXITED(WAIT_STATUS(check::fork_child([] {
                 no_new_privileges();
                 OK(install(SYS_getppid, SECCOMP_RET_KILL_THREAD));
                 pid_t tid = 0;
                 check::Gate gate;
                 std::thread thread([&] {
                   tid = check::gettid();
                   gate.notify();
                   syscall(SYS_getppid);
                   _exit(9);  // not reached
                 });
                 thread.detach();
                 gate.wait();
                 WAIT_UNTIL(syscall(SYS_tgkill, getpid(), tid, 0) == -1);
                 _exit(3);
               })),
               3);
}

volatile int caught_number = 0, caught_value = 0, caught_code = 0;

TEST(trap) {
  no_new_privileges();
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    caught_number = info->si_syscall;
    caught_value = info->si_errno;
    caught_code = info->si_code;
  };
  OK(sigaction(SIGSYS, &action, nullptr));
  OK(install(SYS_getppid, SECCOMP_RET_TRAP | 42));
  syscall(SYS_getppid);
  CHECK_EQ(static_cast<int>(caught_number), static_cast<int>(SYS_getppid));
  CHECK_EQ(static_cast<int>(caught_value), 42);
  CHECK_EQ(static_cast<int>(caught_code), 1);  // SYS_SECCOMP
}

TEST(strict_mode) {
  CHECK_KILLED(WAIT_STATUS(check::fork_child([] {
                 OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
                 write(1, "", 0);
                 syscall(SYS_getppid);
               })),
               SIGKILL);
  CHECK_EXITED(WAIT_STATUS(check::fork_child([] {
                 OK(seccomp(SECCOMP_SET_MODE_STRICT, 0, nullptr));
                 syscall(SYS_exit, 5);
               })),
               5);
}

TEST(thread_synchronization) {
  no_new_privileges();
  check::Gate ready, go;
  long answer = 0;
  int error = 0;
  std::thread other([&] {
    ready.notify();
    go.wait();
    answer = syscall(SYS_getppid);
    error = errno;
  });
  ready.wait();
  CHECK_EQ(OK(install(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_FILTER_FLAG_TSYNC)), 0);
  go.notify();
  other.join();
  CHECK_EQ(answer, -1);
  CHECK_EQ(error, EXDEV);
}

TEST(a_tracer_decides) {
  const pid_t pid = check::fork_child([] {
    OK(ptrace(PTRACE_TRACEME, 0, 0, 0));
    raise(SIGSTOP);
    no_new_privileges();
    OK(install(SYS_getppid, SECCOMP_RET_TRACE | 77));
    CHECK_EQ(syscall(SYS_getppid), static_cast<long>(getpid()));
  });
  int status = 0;
  OK(waitpid(pid, &status, 0));
  OK(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP));
  OK(ptrace(PTRACE_CONT, pid, 0, 0));
  OK(waitpid(pid, &status, 0));
  CHECK_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
  unsigned long value = 0;
  OK(ptrace(PTRACE_GETEVENTMSG, pid, 0, &value));
  CHECK_EQ(value, 77ul);
  OK(ptrace(PTRACE_POKEUSER, pid, 15 * 8 /* orig_rax */, SYS_getpid));
  OK(ptrace(PTRACE_CONT, pid, 0, 0));
  JOIN(pid);
}

TEST(without_a_tracer) {
  no_new_privileges();
  OK(install(SYS_getppid, SECCOMP_RET_TRACE));
  FAILS(ENOSYS, syscall(SYS_getppid));
}

TEST(what_is_refused) {
  uint32_t action = SECCOMP_RET_ERRNO;
  CHECK_EQ(OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action)), 0);
  action = 0x12340000;
  FAILS(EOPNOTSUPP, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
  FAILS(EINVAL, seccomp(99, 0, nullptr));
  FAILS(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 1, nullptr));
  FAILS(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, nullptr));
  FAILS(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 1u << 20, nullptr));
  no_new_privileges();
  const auto refused = [](std::vector<sock_filter> steps) {
    sock_fprog program{static_cast<unsigned short>(steps.size()), steps.data()};
    FAILS(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
  };
  refused({});
  refused({BPF_STMT(BPF_LD | BPF_IMM, 1)});                                         // no end
  refused({BPF_JUMP(BPF_JMP | BPF_JA, 5, 0, 0), BPF_STMT(BPF_RET | BPF_K, 0)});     // beyond it
  refused({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)});  // no such word
  refused({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), BPF_STMT(BPF_RET | BPF_K, 0)});   // misaligned
  refused({BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0)});  // by zero
  refused({BPF_STMT(BPF_LD | BPF_MEM, 16), BPF_STMT(BPF_RET | BPF_K, 0)});          // no such cell
  refused({BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, 0)});   // bytes
  refused({BPF_STMT(0xffff, 0), BPF_STMT(BPF_RET | BPF_K, 0)});
}

TEST(privilege_is_asked_for) {
  if (check::is_root()) {
    OK(setresgid(65534, 65534, 65534));
    OK(setresuid(65534, 65534, 65534));
  }
  FAILS(EACCES, install(SYS_getppid, SECCOMP_RET_ALLOW));
}

}  // namespace
