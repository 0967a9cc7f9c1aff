// A context on another's host thread leaves that one's vector state alone, whatever is done to it before it
// first runs.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "sentry/abi/signal_frame.h"
#include "sentry/base/event_loop.h"
#include "sentry/platform/trap/stub.h"
#include "sentry/platform/trap/trap_platform.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::trap {
namespace {

constexpr uint64_t kCode = 0x10000;
constexpr size_t kXmm0 = 160, kXmmSize = 16;  // in XSAVE's format

using Xmm = std::array<uint8_t, kXmmSize>;
constexpr Xmm filled_with(uint8_t value) {
  Xmm xmm{};
  xmm.fill(value);
  return xmm;
}

// Sets xmm0 to all ones and makes a call as a trampoline does, twice.
std::vector<uint8_t> program() {
  std::vector<uint8_t> code;
  const auto add = [&](std::initializer_list<uint8_t> bytes) { code.insert(code.end(), bytes); };
  const auto call = [&] {
    add({0x4c, 0x8d, 0x1d, 13 - 7 + 8, 0, 0, 0});  // lea data(%rip), %r11
    add({0xff, 0x25, 0, 0, 0, 0});                 // jmp *entry(%rip)
    const uint64_t entry = shim_header().jump;
    const auto* const bytes = reinterpret_cast<const uint8_t*>(&entry);
    code.insert(code.end(), bytes, bytes + sizeof entry);
    add({4, 0, 0, 0});  // data: from here to where it goes on
  };
  add({0x66, 0x0f, 0x76, 0xc0});  // pcmpeqd %xmm0, %xmm0
  call();
  call();
  return code;
}

Xmm xmm0(Context& context, size_t size) {
  std::vector<std::byte> state(size);
  context.read_fpstate(state);
  Xmm xmm;
  std::memcpy(xmm.data(), state.data() + kXmm0, xmm.size());
  return xmm;
}

void set_xmm0(Context& context, size_t size, const Xmm& xmm) {
  std::vector<std::byte> state(size);
  context.read_fpstate(state);
  std::memcpy(state.data() + kXmm0, xmm.data(), xmm.size());
  EXPECT_TRUE(context.write_fpstate(state).ok());
}

using Body = std::function<void(TrapPlatform& platform, Registers& registers, Context& borrower)>;

// On a fiber: a context that has made the first of the calls lends its thread, and has it again.
void lend(TrapPlatform& platform, const Body& body) {
  auto forked = platform.new_address_space();
  ASSERT_TRUE(forked.ok());
  const std::unique_ptr<AddressSpace> space = std::move(forked->space);
  const std::unique_ptr<Context> lender = std::move(forked->context);
  const std::vector<uint8_t> code = program();
  constexpr int kAnyUse = PROT_READ | PROT_WRITE | PROT_EXEC;
  ASSERT_TRUE(space->map({kCode, kPageSize, kAnyUse, MAP_PRIVATE | MAP_ANONYMOUS}).ok());
  ASSERT_TRUE(space->write(kCode, code.data(), code.size()).ok());
  Registers registers{};
  registers.rip = kCode;
  registers.rax = SYS_fcntl;
  const Trap trap = lender->run(registers);
  ASSERT_EQ(trap.kind, Trap::Kind::kSyscall);
  ASSERT_FALSE(trap.costly) << "came by signal";
  lender->complete(registers);
  auto borrower = space->lend_context(*lender);
  ASSERT_TRUE(borrower.ok());
  body(platform, registers, **borrower);
  borrower->reset();
  EXPECT_EQ(xmm0(*lender, platform.fpstate_size()), filled_with(0xff));
  // And it goes on with that.
  registers.rax = SYS_fcntl;
  EXPECT_EQ(lender->run(registers).kind, Trap::Kind::kSyscall);
  EXPECT_EQ(xmm0(*lender, platform.fpstate_size()), filled_with(0xff));
}

void with_borrower(const Body& body) {
  EventLoop loop;
  TrapPlatform platform(loop);
  loop.set_trap_source(&platform);
  loop.fibers().spawn([&] {
    lend(platform, body);
    loop.stop();
  });
  loop.run();
}

TEST(Lending, ToOneThatNeverRuns) {
  with_borrower([](TrapPlatform& platform, Registers&, Context& borrower) {
    EXPECT_EQ(xmm0(borrower, platform.fpstate_size()), filled_with(0xff)) << "is inherited";
  });
}

TEST(Lending, ToOneThatIsGivenOtherVectorStateAndNeverRuns) {
  with_borrower([](TrapPlatform& platform, Registers&, Context& borrower) {
    set_xmm0(borrower, platform.fpstate_size(), filled_with(0x11));
    EXPECT_EQ(xmm0(borrower, platform.fpstate_size()), filled_with(0x11));
  });
}

TEST(Lending, ToOneThatIsGivenOtherVectorStateAndRuns) {
  with_borrower([](TrapPlatform& platform, Registers& registers, Context& borrower) {
    set_xmm0(borrower, platform.fpstate_size(), filled_with(0x11));
    Registers mine = registers;
    mine.rax = SYS_fcntl;
    EXPECT_EQ(borrower.run(mine).kind, Trap::Kind::kSyscall);
    EXPECT_EQ(xmm0(borrower, platform.fpstate_size()), filled_with(0x11));
  });
}

TEST(Lending, ToOneThatIsStepped) {
  with_borrower([](TrapPlatform& platform, Registers& registers, Context& borrower) {
    Registers mine = registers;
    mine.eflags |= abi::kTrapFlag;
    const Trap trap = borrower.run(mine);
    ASSERT_EQ(trap.kind, Trap::Kind::kFault);
    EXPECT_EQ(trap.info.si_signo, SIGTRAP);
    EXPECT_EQ(xmm0(borrower, platform.fpstate_size()), filled_with(0xff)) << "is inherited";
    set_xmm0(borrower, platform.fpstate_size(), filled_with(0x22));
    mine.eflags &= ~abi::kTrapFlag;
    mine.rax = SYS_fcntl;
    EXPECT_EQ(borrower.run(mine).kind, Trap::Kind::kSyscall);
  });
}

}  // namespace
}  // namespace sentry::platform::trap
