// The first stub gets ready wherever the host has put the sentry's stack and vDSO.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>

#include "sentry/platform/trap/stub.h"
#include "sentry/platform/trap/vdso.h"

namespace sentry::platform::trap {
namespace {

constexpr uint64_t kStackSize = 0x40000;

struct Placement {
  const char* name;
  uint64_t stack_top;  // 0: where the host has put it
  uint64_t vdso;
};

// Prints the placement's name in failures.
void PrintTo(const Placement& placement, std::ostream* out) { *out << placement.name; }

// One place at a time may be where the host has put something of this process, too: that is taken out of the
// way, and this process ends afterwards.
ZygoteSpec spec;
pid_t zygote;

void start() {
  zygote = start_zygote(spec).pid;
  const bool ready = spec.area->reported != 0;
  ::kill(zygote, SIGKILL);
  ::waitpid(zygote, nullptr, 0);
  ::_exit(ready ? 0 : 1);
}

[[noreturn]] void start_from(const Placement& placement) {
  const int areas = ::memfd_create("areas", 0), notice = ::memfd_create("notice", 0);
  if (::ftruncate(areas, kAreaSize) != 0 || ::ftruncate(notice, kPageSize) != 0) ::_exit(2);
  void* const area = ::mmap(nullptr, kAreaSize, PROT_READ | PROT_WRITE, MAP_SHARED, areas, 0);
  uint64_t vdso = find_vdso();
  if (placement.vdso != 0) {
    if (!move_vdso(vdso, placement.vdso)) ::_exit(3);
    vdso = placement.vdso;
  }
  spec = {areas, notice, static_cast<Area*>(area), vdso};
  if (placement.stack_top == 0) start();
  void* const stack =
      ::mmap(reinterpret_cast<void*>(placement.stack_top - kStackSize), kStackSize, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (stack == MAP_FAILED) ::_exit(4);
  static ucontext_t context;
  ::getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = kStackSize;
  ::makecontext(&context, start, 0);
  ::setcontext(&context);
  ::_exit(5);
}

class Zygote : public testing::TestWithParam<Placement> {};

TEST_P(Zygote, GetsReady) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) start_from(GetParam());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

INSTANTIATE_TEST_SUITE_P(
    Places, Zygote,
    testing::Values(Placement{"everything where it is", 0, 0},
                    Placement{"the stack where the text goes", kShimText + kShimTextSize, 0},
                    Placement{"the stack where the area goes", kAreas + kAreaSize, 0},
                    Placement{"the stack across the process page", kProcessPage + 0x2000, 0},
                    Placement{"the stack where the vDSO goes", kVdso + kVdsoRoom, 0},
                    Placement{"the vDSO where it goes", 0, kVdso + kVdsoRoom / 2},
                    Placement{"the vDSO a page from where it goes", 0, kVdso + kVdsoRoom / 2 + kPageSize},
                    Placement{"the vDSO where the text goes", 0, kShimText},
                    Placement{"the vDSO where the notice page goes", 0, kNoticePage}));

}  // namespace
}  // namespace sentry::platform::trap
