// The filters against their lists: a jailed program's filter is sent every system call number, with arguments
// that keep and that break each rule, and must answer what the list says (Surface::admits).
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include <gtest/gtest.h>

#include "gofer/surface.h"
#include "sentry/base/surface.h"
#include "sentry/boot/boot.h"
#include "sentry/init/surface.h"
#include "sentry/platform/platform.h"

namespace {

using sentry::ArgRule;
using sentry::HostCall;
using sentry::Surface;
using Args = std::array<uint64_t, 6>;

constexpr int kNumbers = 480;  // a little beyond the last call that any kernel has

enum class Stage : int { kNone, kCalling, kReturned, kRefused };
std::atomic<Stage>* stage() {
  static auto* shared = static_cast<std::atomic<Stage>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return shared;
}

// Whether the filter is to answer the call with this error.
bool is_refused(const Surface& surface, int nr, int error) {
  return std::any_of(surface.refused.begin(), surface.refused.end(),
                     [&](const sentry::RefusedCall& call) { return call.nr == nr && call.error == error; });
}

// Whether the filter lets the call through, found out by issuing it under the filter in a process of its own.
// The call does happen: with no descriptors, null or absurd addresses, and in namespaces of its own (see
// main).
bool filter_admits(const Surface& surface, int nr, const Args& args, bool i386 = false) {
  *stage() = Stage::kNone;
  pid_t child = fork();
  if (child == 0) {
    rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    close_range(0, ~0u, 0);
    // What waits for ever was let through.
    itimerval limit = {{0, 0}, {0, 200'000}};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setitimer(ITIMER_REAL, &limit, nullptr) != 0)
      _exit(99);
    sentry::enter_surface(surface);
    *stage() = Stage::kCalling;
    if (i386) {
      long result = nr;
      asm volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0) : "memory");
    } else {
      const long result = syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
      if ((result == -1 || result == 0) && is_refused(surface, nr, result == 0 ? 0 : errno)) {
        *stage() = Stage::kRefused;
        _exit(0);
      }
    }
    *stage() = Stage::kReturned;
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_NE(*stage(), Stage::kNone) << "the filter could not be installed; wait status " << status;
  if (*stage() == Stage::kRefused) return false;
  return *stage() == Stage::kReturned || !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

std::string describe(const Surface& surface, int nr, const Args& args) {
  std::string text = std::string(surface.program) + ": call " + std::to_string(nr) + " (";
  for (uint64_t arg : args) text += std::to_string(arg) + " ";
  return text + ")";
}

uint64_t keeping(const ArgRule& rule) {
  switch (rule.op) {
    case ArgRule::Op::kEqual:
      return rule.value;
    case ArgRule::Op::kNotEqual:
      return rule.value + 1;
    case ArgRule::Op::kLess:
      return rule.value - 1;
    case ArgRule::Op::kLessEqual:
      return rule.value;
    case ArgRule::Op::kMasked:
      return rule.value;
  }
  return 0;
}

uint64_t breaking(const ArgRule& rule) {
  switch (rule.op) {
    case ArgRule::Op::kEqual:
      return rule.value + 1;
    case ArgRule::Op::kNotEqual:
      return rule.value;
    case ArgRule::Op::kLess:
      return rule.value;
    case ArgRule::Op::kLessEqual:
      return rule.value + 1;
    case ArgRule::Op::kMasked:
      return ~rule.value & rule.mask;
  }
  return 0;
}

void compare(const Surface& surface) {
  int admitted = 0, refused = 0;
  auto check = [&](int nr, const Args& args) {
    uint64_t plain[6];
    for (size_t i = 0; i < 6; ++i) plain[i] = args[i];
    const bool expected = surface.admits(nr, plain);
    EXPECT_EQ(filter_admits(surface, nr, args), expected) << describe(surface, nr, args);
    ++(expected ? admitted : refused);
  };
  for (int nr = 0; nr < kNumbers; ++nr) {
    // uretprobe(2) and uprobe pass every filter by the kernel's own rule (kernel/seccomp.c, since
    // Linux 6.14), and raise SIGILL or SIGSEGV unless they come from a probe's trampoline.
    if (nr == 335 || nr == 336) continue;
    check(nr, {});
    bool listed = false;
    for (const HostCall& call : surface.calls) {
      if (call.nr != nr) continue;
      listed = true;
      Args good = {};
      for (const ArgRule& rule : call.rules) good[rule.index] = keeping(rule);
      check(nr, good);
      for (const ArgRule& rule : call.rules) {
        Args bad = good;
        bad[rule.index] = breaking(rule);
        check(nr, bad);
        // A rule counts all 64 bits, or says by its mask which.
        bad[rule.index] = good[rule.index] | 1ull << 63;
        check(nr, bad);
      }
    }
    if (listed) check(nr, {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull});
  }
  EXPECT_GE(admitted, static_cast<int>(surface.count()));
  EXPECT_GT(refused, 300);
  // The other ways to number a call: x32, i386, negative.
  for (int nr : {0, 1, 39, 60, 231}) {
    EXPECT_FALSE(filter_admits(surface, 0x4000'0000 | nr, {})) << "x32 " << nr;
    EXPECT_FALSE(filter_admits(surface, nr, {}, true)) << "i386 " << nr;
  }
  EXPECT_FALSE(filter_admits(surface, -1, {}));
  for (const sentry::RefusedCall& call : surface.refused) {
    EXPECT_FALSE(filter_admits(surface, call.nr, {})) << call.name;
    EXPECT_EQ(*stage(), Stage::kRefused) << call.name;  // the process goes on
  }
}

TEST(Surface, TheGofersFilterIsItsList) { compare(gofer::surface()); }
TEST(Surface, TheSentrysFilterIsItsList) { compare(sentry::init::sentry_surface("ptrace")); }

TEST(Surface, TheRuntimeKnowsThePlatforms) {
  const auto names = sentry::platform::platform_names();
  EXPECT_TRUE(std::equal(names.begin(), names.end(), sentry::boot::kPlatforms.begin(),
                         sentry::boot::kPlatforms.end()));
}

TEST(Surface, EveryCallHasAReasonAndItsName) {
  for (const Surface& surface : {gofer::surface(), sentry::init::sentry_surface("ptrace")}) {
    for (const HostCall& call : surface.calls) {
      EXPECT_GT(std::string(call.reason).size(), 2u) << call.name;
      EXPECT_EQ(call.rules.empty(), std::string(call.rule_text).empty()) << call.name;
      EXPECT_NE(surface.to_text().find(call.name), std::string::npos) << call.name;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // The admitted calls do happen, a kill or a reboot among them perhaps: where they reach nothing.
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS) != 0) {
    perror("namespaces to try the calls in");
    return 77;
  }
  stage();
  pid_t child = fork();
  if (child == 0) {
    setsid();  // kill(0, SIGKILL) is one of the calls, and process groups span pid namespaces
    _exit(RUN_ALL_TESTS());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
