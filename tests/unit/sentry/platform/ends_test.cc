// Stubs that end: whoever killed them, the sentry hears of it and keeps nothing of theirs.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <vector>

#include "sentry/base/event_loop.h"
#include "sentry/base/time.h"
#include "sentry/platform/trap/trap_platform.h"

namespace sentry::platform::trap {
namespace {

// Those of this process, and those that have ended and have not been waited for.
std::set<pid_t> children() {
  std::ifstream file("/proc/thread-self/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

// Parks the fiber until it is so; the loop sleeps in between.
void wait_until(EventLoop& loop, const std::function<bool()>& so) {
  Fiber* const self = Fiber::current();
  Timer timer(loop, [self] { self->wake(); });
  while (!so()) {
    timer.arm(monotonic_now() + 1'000'000);
    Fiber::park();
  }
}

void on_fiber(const std::function<void(EventLoop&, TrapPlatform&)>& body) {
  EventLoop loop;
  TrapPlatform platform(loop);
  loop.set_trap_source(&platform);
  loop.fibers().spawn([&] {
    body(loop, platform);
    loop.stop();
  });
  loop.run();
}

// Guest code that computes for ever, in a stub that is killed meanwhile.
void kill_while_it_runs(EventLoop& loop, TrapPlatform& platform) {
  const std::set<pid_t> before = children();
  auto forked = platform.new_address_space();
  ASSERT_TRUE(forked.ok());
  std::set<pid_t> now = children();
  for (const pid_t one : before) now.erase(one);
  ASSERT_EQ(now.size(), 1u);
  const pid_t stub = *now.begin();
  constexpr uint64_t kCode = 0x10000;
  constexpr uint8_t kForEver[] = {0xeb, 0xfe};  // jmp .
  ASSERT_TRUE(
      forked->space->map({kCode, kPageSize, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS})
          .ok());
  ASSERT_TRUE(forked->space->write(kCode, kForEver, sizeof kForEver).ok());
  Timer killer(loop, [stub] { ::kill(stub, SIGKILL); });
  killer.arm(monotonic_now() + 10'000'000);
  Registers registers{};
  registers.rip = kCode;
  EXPECT_EQ(forked->context->run(registers).kind, Trap::Kind::kExited);
  EXPECT_EQ(children(), before);
}

TEST(Ends, AStubThatSomebodyElseKills) {
  on_fiber([](EventLoop& loop, TrapPlatform& platform) { kill_while_it_runs(loop, platform); });
}

// The sentry never sleeps: no signal comes.
TEST(Ends, AStubThatSomebodyElseKillsInAFloodOfEvents) {
  on_fiber([](EventLoop& loop, TrapPlatform& platform) {
    const Fd always(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    const auto watch = HostWatch::create(loop, always.get(), EPOLLIN, [](uint32_t) {});
    ASSERT_TRUE(watch.ok());
    kill_while_it_runs(loop, platform);
  });
}

TEST(Ends, ManyAtOnceAreAllReaped) {
  on_fiber([](EventLoop& loop, TrapPlatform& platform) {
    const std::set<pid_t> before = children();
    constexpr size_t kMany = 100;
    for (int round = 0; round < 3; ++round) {
      std::vector<AddressSpace::Forked> all;
      for (size_t i = 0; i < kMany; ++i) {
        auto forked = platform.new_address_space();
        ASSERT_TRUE(forked.ok());
        all.push_back(std::move(*forked));
      }
      EXPECT_EQ(children().size(), before.size() + kMany);
      for (AddressSpace::Forked& one : all) one.context.reset();
      all.clear();
      wait_until(loop, [&] { return children() == before; });
    }
  });
}

}  // namespace
}  // namespace sentry::platform::trap
