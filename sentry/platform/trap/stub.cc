#include "sentry/platform/trap/stub.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/log.h"
#include "sentry/platform/stub_process.h"
#include "sentry/platform/trap/filter.h"
#include "sentry/platform/trap/vdso.h"

extern "C" const std::byte bulkhead_shim_image[], bulkhead_shim_image_end[];

namespace sentry::platform::trap {
namespace {

// How the child tells why it could not get ready: statuses of _exit(2).
enum class Step : int { kOrphan = 1, kOwnStack, kVdso, kText, kNotice, kArea, kProcess, kStack, kSignal };

[[noreturn]] void give_up(Step step) { ::_exit(static_cast<int>(step)); }

// In place of the sentry's stack, if that happens to lie there.
void map_or_give_up(uint64_t address, uint64_t length, int prot, int flags, int fd, Step step) {
  void* const wanted = reinterpret_cast<void*>(address);
  if (::mmap(wanted, length, prot, flags | MAP_FIXED, fd, 0) != wanted) give_up(step);
}

// Of the operations that the zygote begins with, the one that installs the filter: the last.
constexpr size_t kFilterOperation = 6;

// struct sigaction as rt_sigaction(2) wants it.
struct KernelSigaction {
  uint64_t handler, flags, restorer, mask;
};

void install_handlers() {
  const ShimHeader& shim = shim_header();
  // Faults may come while the handler runs (in its copies); the kick may not.
  const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1);
  for (const int signo : {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, kKick}) {
    KernelSigaction action{};
    action.handler = shim.signal_handler;
    action.restorer = shim.restorer;
    action.flags = SA_SIGINFO | SA_ONSTACK | abi::kSaRestorer;
    if (signo == SIGSEGV || signo == SIGBUS) action.flags |= SA_NODEFER;
    action.mask = ~faults;
    if (::syscall(SYS_rt_sigaction, signo, &action, nullptr, 8) != 0) give_up(Step::kSignal);
  }
}

// Runs in the child, on a stack of its own. Leaves for the shim, and never returns.
[[noreturn]] void become_zygote(const ZygoteSpec& spec, pid_t parent) {
  if (!forget_the_sentry(parent)) give_up(Step::kOrphan);
  ::prctl(PR_SET_DUMPABLE, 0);
  if (spec.vdso != 0) {
    constexpr uint64_t kPlace = kVdso + kVdsoRoom / 2;
    const uint64_t code_length = move_vdso(spec.vdso, kPlace);
    if (code_length == 0 || !keep_vdso_across_fork(kPlace, code_length)) give_up(Step::kVdso);
  }
  const auto image = shim_image();
  map_or_give_up(kShimText, kShimTextSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 Step::kText);
  std::memcpy(reinterpret_cast<void*>(kShimText), image.data(), image.size());
  if (::mprotect(reinterpret_cast<void*>(kShimText), kShimTextSize, PROT_READ | PROT_EXEC) != 0)
    give_up(Step::kText);
  map_or_give_up(kNoticePage, kPageSize + kKnownSize, PROT_READ, MAP_SHARED, spec.notice, Step::kNotice);
  map_or_give_up(kAreas, kAreaSize, PROT_READ | PROT_WRITE, MAP_SHARED, spec.areas, Step::kArea);
  map_or_give_up(kProcessPage, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 Step::kProcess);
  stack_t stack{};
  stack.ss_sp = reinterpret_cast<void*>(kAreas + Area::kAltStack);
  stack.ss_size = Area::kAltStackSize;
  if (::sigaltstack(&stack, nullptr) != 0) give_up(Step::kStack);
  install_handlers();

  // This program's memory goes by calls of the shim's, and the last of them installs the filter.
  auto& area = *reinterpret_cast<Area*>(kAreas);
  const auto operate = [&](uint64_t number, std::array<uint64_t, 3> arguments) {
    area.operations[area.operation_count++] = {number, {arguments[0], arguments[1], arguments[2]}, 0};
  };
  const auto unmap = [&](uint64_t from, uint64_t to) { operate(SYS_munmap, {from, to - from, 0}); };
  area.operation_count = 0;
  unmap(0, kShimText);
  unmap(kShimText + kShimTextSize, kProcessPage);
  unmap(kProcessPage + kPageSize, kNoticePage);
  unmap(kKnown + kKnownSize, kVdso);
  unmap(kVdso + kVdsoRoom, kAreas);
  unmap(kAreas + kAreaSize, kUserEnd);
  const std::vector<sock_filter> program = filter_program();
  constexpr uint64_t kFilter = kAreas + Area::kData, kProgram = kFilter + sizeof(sock_fprog);
  std::memcpy(reinterpret_cast<void*>(kProgram), program.data(), program.size() * sizeof(sock_filter));
  *reinterpret_cast<sock_fprog*>(kFilter) = {static_cast<unsigned short>(program.size()),
                                             reinterpret_cast<sock_filter*>(kProgram)};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (area.operation_count != kFilterOperation) give_up(Step::kArea);
  constexpr uint64_t kWaitKillable = 1UL << 5;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
  operate(SYS_seccomp, {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | kWaitKillable, kFilter});
  area.command = static_cast<uint32_t>(Command::kServe);
  area.sequence = area.wait_for = 0;
  asm volatile(
      "mov %0, %%rdi\n"
      "jmp *%1\n"
      :
      : "r"(kAreas), "r"(shim_header().start)
      : "rdi", "memory");
  __builtin_unreachable();
}

// Of all that the host places at random, the stack and the vDSO alone come to lie above the guest's range,
// where the shim's pages go: in one start of some ten thousands just there. So the child leaves the stack
// first.
[[noreturn]] void leave_stack(const ZygoteSpec& given, pid_t sentry) {
  constexpr size_t kSize = 0x40000;
  static ZygoteSpec spec;
  static pid_t parent;
  spec = given;
  parent = sentry;
  void* const memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const uint64_t top = reinterpret_cast<uint64_t>(memory) + kSize;
  if (memory == MAP_FAILED || top > kGuestEnd) give_up(Step::kOwnStack);
  void (*const go_on)() = [] { become_zygote(spec, parent); };
  asm volatile(
      "mov %0, %%rsp\n"
      "xor %%ebp, %%ebp\n"
      "call *%1\n"
      "ud2\n"
      :
      : "r"(top), "r"(go_on)
      : "memory");
  __builtin_unreachable();
}

const char* describe(int status) {
  if (!WIFEXITED(status)) return "it was killed";
  switch (static_cast<Step>(WEXITSTATUS(status))) {
    case Step::kOrphan:
      return "the sentry has gone";
    case Step::kOwnStack:
      return "no memory for its stack within the guest's range";
    case Step::kText:
    case Step::kNotice:
    case Step::kArea:
    case Step::kProcess:
      return "it cannot map its own pages above the guest's range";
    case Step::kStack:
      return "no alternate signal stack";
    case Step::kSignal:
      return "no signal handlers";
    case Step::kVdso:
      return "the vDSO cannot be moved";
  }
  return "for an unknown reason";
}

}  // namespace

std::span<const std::byte> shim_image() {
  return {bulkhead_shim_image, static_cast<size_t>(bulkhead_shim_image_end - bulkhead_shim_image)};
}

const ShimHeader& shim_header() { return *reinterpret_cast<const ShimHeader*>(bulkhead_shim_image); }

Surface surface() {
  Surface list{.program = "stub (trap)", .calls = direct_calls(), .otherwise = Surface::Otherwise::kTrap};
  for (HostCall& call : consented_calls()) list.calls.push_back(std::move(call));
  return list;
}

Zygote start_zygote(const ZygoteSpec& spec) {
  BULKHEAD_CHECK(shim_header().magic == kShimMagic, "the shim's image is not one");
  constexpr unsigned long kFsgsbase = 2;  // AT_HWCAP2, asm/hwcap2.h
  if ((::getauxval(AT_HWCAP2) & kFsgsbase) == 0 || !__builtin_cpu_supports("bmi2"))
    refuse("the trap platform needs FSGSBASE (Linux 5.9) and BMI2 of the processor: use --platform=ptrace");
  const pid_t sentry = ::getpid();
  const pid_t child = fork_stub();
  if (child == 0) leave_stack(spec, sentry);
  // It has either come to wait in its shim, or has ended.
  uint32_t* const reported = &spec.area->reported;
  while (__atomic_load_n(reported, __ATOMIC_ACQUIRE) == 0) {
    const timespec while_starting{0, 100'000};
    ::syscall(SYS_futex, reported, FUTEX_WAIT, 0, &while_starting, nullptr, 0);
    int status = 0;
    BULKHEAD_CHECK(::waitpid(child, &status, WNOHANG) != child, "the first stub did not get ready: {}",
                   describe(status));
  }
  const auto result = [&](size_t i) { return spec.area->operations[i].result; };
  for (size_t i = 0; i < kFilterOperation; ++i)
    BULKHEAD_CHECK(result(i) == 0, "the first stub cannot unmap its memory: {}",
                   std::strerror(static_cast<int>(-result(i))));
  const auto listener = static_cast<int>(result(kFilterOperation));
  if (listener == -EBUSY)
    refuse(
        "this process already runs under a seccomp filter with a listener (a container with user "
        "notification?), and Linux has one for each: run it outside, or with --platform=ptrace");
  if (listener == -EINVAL)
    refuse("this kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19): use --platform=ptrace");
  BULKHEAD_CHECK(listener >= 0, "the host refuses the stub's seccomp filter: {}", std::strerror(-listener));
  return {child, listener};
}

}  // namespace sentry::platform::trap
