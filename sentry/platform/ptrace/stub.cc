#include "sentry/platform/ptrace/stub.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "sentry/base/log.h"
#include "sentry/platform/ptrace/tracee.h"
#include "sentry/platform/stub_process.h"

namespace sentry::platform::ptrace {
namespace {

// Runs in the child, on a copy of the sentry's stack. Never returns; the parent takes its memory away.
[[noreturn]] void become_zygote(pid_t parent, int go) {
  if (!forget_the_sentry(parent)) ::_exit(1);
  char traced = 0;
  if (::read(go, &traced, 1) != 1) ::_exit(4);
  void* page = ::mmap(reinterpret_cast<void*>(kStubPage), kPageSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (page != reinterpret_cast<void*>(kStubPage)) ::_exit(2);
  static constexpr unsigned char kCode[] = {0x0f, 0x05, 0xcc};
  std::memcpy(page, kCode, sizeof kCode);
  if (::mprotect(page, kPageSize, PROT_READ | PROT_EXEC) != 0) ::_exit(3);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  enter_surface(surface());
  for (;;) asm volatile("int3");  // stops here for good, traced
}

}  // namespace

Surface surface() {
  Surface list{.program = "stub (ptrace)", .calls = {}, .otherwise = Surface::Otherwise::kTrap};
  list.calls = {
      HOST_CALL(mmap, "maps guest memory, by the sentry's order"),
      HOST_CALL(munmap, "unmaps guest memory, by order"),
      HOST_CALL(mprotect, "protects guest memory, by order"),
      HOST_CALL(mremap, "moves guest memory, by order"),
      HOST_CALL(madvise, "drops or hints guest memory, by order"),
      HOST_CALL(clone, {arg_equals(0, kForkFlags)}, "flags == FS|FILES|PARENT|SIGCHLD",
                "guest fork, pristine address spaces"),
      HOST_CALL(clone, {arg_equals(0, kThreadFlags)}, "flags == a thread's", "a guest thread"),
      HOST_CALL(exit, "ends a guest thread, by order"),
  };
  return list;
}

pid_t start_zygote() {
  int go[2];
  BULKHEAD_CHECK(::pipe2(go, O_CLOEXEC) == 0, "no pipe for the first stub: {}", std::strerror(errno));
  const pid_t sentry = ::getpid();
  const pid_t child = fork_stub();
  if (child == 0) become_zygote(sentry, go[0]);
  constexpr unsigned long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                     PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  BULKHEAD_CHECK(::ptrace(PTRACE_SEIZE, child, 0, kOptions) == 0,
                 "the host does not let the sentry trace its stub: {} (is a debugger or strace -f following "
                 "it already? is "
                 "Yama's ptrace_scope 3?)",
                 std::strerror(errno));
  const char traced = 1;
  BULKHEAD_CHECK(::write(go[1], &traced, 1) == 1, "the first stub is not listening");
  int status = 0;
  BULKHEAD_CHECK(
      ::wait4(child, &status, __WALL, nullptr) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP,
      "the first stub did not get ready: wait status {:#x}", status);
  ::close(go[0]);
  ::close(go[1]);
  BULKHEAD_CHECK(inject(child, SYS_munmap, {0, kStubPage}).value_or(1) == 0,
                 "the first stub keeps its memory");
  BULKHEAD_CHECK(
      inject(child, SYS_munmap, {kStubPage + kPageSize, kUserEnd - kStubPage - kPageSize}).value_or(1) == 0,
      "the first stub keeps its stack");
  return child;
}

}  // namespace sentry::platform::ptrace
