// Stubs that end: whoever killed them, the sentry hears of it and keeps nothing of theirs.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
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
  {
    EventLoop loop;
    TrapPlatform platform(loop);
    loop.set_trap_source(&platform);
    loop.fibers().spawn([&] {
      body(loop, platform);
      loop.stop();
    });
    loop.run();
  }
  // A sentry's end is that of its PID namespace. Here one stub may be in the making, and the others wait for
  // their parent to hear of them.
  while (::waitpid(-1, nullptr, __WALL | WNOHANG) >= 0)
    for (const pid_t pid : children()) ::kill(pid, SIGKILL);
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
      EXPECT_GE(children().size(), before.size() + kMany);
      for (AddressSpace::Forked& one : all) one.context.reset();
      all.clear();
      // One is there for the next program.
      wait_until(loop, [&] { return children().size() <= before.size() + 1; });
    }
  });
}

// The one that is made for the next program before that is wanted.
class Ready {
 public:
  Ready(EventLoop& loop, TrapPlatform& platform) : before_(children()) {
    {
      const auto first = platform.new_address_space(), second = platform.new_address_space();
      wait_until(loop, [this] { return others().size() == 3; });
    }
    wait_until(loop, [this] { return others().size() == 1; });
  }
  std::set<pid_t> others() const {
    std::set<pid_t> now = children();
    for (const pid_t one : before_) now.erase(one);
    return now;
  }
  pid_t pid() const { return *others().begin(); }

 private:
  const std::set<pid_t> before_;
};

TEST(Ready, IsTheNextProgramsOwn) {
  on_fiber([](EventLoop& loop, TrapPlatform& platform) {
    const pid_t ready = Ready(loop, platform).pid();
    auto forked = platform.new_address_space();
    ASSERT_TRUE(forked.ok());
    Registers registers{};
    registers.rip = 0x10000;  // nothing is there
    EXPECT_EQ(forked->context->run(registers).kind, Trap::Kind::kFault);
    ::kill(ready, SIGKILL);
    wait_until(loop, [&] { return !forked->context->alive(); });
  });
}

TEST(Ready, IsReplacedIfSomebodyKillsIt) {
  on_fiber([](EventLoop& loop, TrapPlatform& platform) {
    const Ready ready(loop, platform);
    ::kill(ready.pid(), SIGKILL);
    wait_until(loop, [&] { return ready.others().empty(); });
    auto forked = platform.new_address_space();
    ASSERT_TRUE(forked.ok());
    EXPECT_TRUE(forked->context->alive());
  });
}

// It holds on to nothing that others have let go of.
TEST(Ready, KeepsNobodysMemory) {
  on_fiber([](EventLoop& loop, TrapPlatform& platform) {
    const Ready ready(loop, platform);
    auto forked = platform.new_address_space();
    ASSERT_TRUE(forked.ok());
    bool gone = false;
    platform.when_let_go([&] { gone = true; });
    EXPECT_FALSE(gone);
    forked->context.reset();
    forked->space.reset();
    wait_until(loop, [&] { return gone; });
    EXPECT_EQ(ready.others().size(), 1u);
  });
}

}  // namespace
}  // namespace sentry::platform::trap
