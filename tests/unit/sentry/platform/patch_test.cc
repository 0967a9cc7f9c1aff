// Where a call site is rewritten, and how: by a jump in the place of the instruction before it.
#include "sentry/platform/trap/patch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <vector>

namespace sentry::platform::trap {
namespace {

constexpr int64_t kDistance = -0x1000'0000;

class Text {
 public:
  Text& add(std::initializer_list<uint8_t> bytes) {
    for (const uint8_t byte : bytes) bytes_.push_back(static_cast<std::byte>(byte));
    return *this;
  }
  Text& add(size_t times, std::initializer_list<uint8_t> bytes) {
    while (times-- > 0) add(bytes);
    return *this;
  }
  Text& function() { return add(23, {0x48, 0x89, 0xe5}).add({0xc3}); }  // mov %rsp, %rbp …; ret
  Text& number() { return add({0xb8, 1, 1, 0, 0}); }                    // mov $257, %eax
  Text& short_number() { return add({0x31, 0xc0}); }                    // xor %eax, %eax
  // The rest of a function, from the call on, and where that is.
  size_t call() {
    const size_t site = bytes_.size();
    add({0x0f, 0x05, 0xc3});
    return site;
  }
  // Behind function(), to the next multiple of 16: cs nopw
  Text& padding() { return add({0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}); }
  size_t size() const { return bytes_.size(); }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

std::optional<SitePatcher::Patch> patch(const Text& text, size_t site, size_t first) {
  CallSitePatcher patcher;
  return patcher.patch({text.bytes(), text.bytes(), first}, site, kDistance, kDistance - 0x1000);
}

TEST(CallSites, GiveTheInstructionBeforeThemForAJump) {
  Text text;
  const size_t site = text.function().number().call();
  const auto found = patch(text, site, 0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->displaced, site - 5);
  EXPECT_FALSE(found->springboard);
  ASSERT_EQ(found->edits.size(), 1u);
  EXPECT_EQ(found->edits[0].offset, site - 5);
  EXPECT_EQ(found->edits[0].code.size(), 5u);
  EXPECT_EQ(found->edits[0].code[0], std::byte{0xe9});
}

TEST(CallSites, AtTheBeginningOfAPageAreReadWithWhatIsBeforeIt) {
  Text text;
  const size_t page = text.function().size();
  const size_t site = text.number().call();
  const auto found = patch(text, site, page);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->displaced, page);
  // Alone, nobody knows where an instruction begins.
  Text alone;
  EXPECT_FALSE(patch(alone, alone.number().call(), 0));
}

TEST(CallSites, WhoseInstructionBeginsInThePageBeforeStayAsTheyAre) {
  Text text;
  const size_t page = text.function().size() + 1;
  const size_t site = text.number().call();
  EXPECT_FALSE(patch(text, site, page));
}

TEST(CallSites, OfAShorterInstructionTakeAJumpInPaddingOfTheSamePage) {
  Text before;
  const size_t board = before.function().size(), page = before.padding().size();
  const size_t site = before.short_number().call();
  const auto found = patch(before, site, 0);
  ASSERT_TRUE(found);
  ASSERT_TRUE(found->springboard);
  EXPECT_GE(*found->springboard, board);
  EXPECT_LT(*found->springboard, page);
  EXPECT_EQ(found->edits.size(), 2u);
  EXPECT_FALSE(patch(before, site, page)) << "the padding is in the page before";
}

// The instruction before it is too short, the one before that is not: all from there on are moved.
TEST(CallSites, TakeShortInstructionsAlong) {
  Text text;
  const size_t start = text.function().size();
  const size_t site = text.add({0xba, 0x3c, 0, 0, 0}).add({0x66, 0x90, 0x31, 0xff}).add({0x89, 0xd0}).call();
  const auto found = patch(text, site, 0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->displaced, start);
  EXPECT_FALSE(found->springboard);
  ASSERT_EQ(found->edits.size(), 1u);
  EXPECT_EQ(found->edits[0].offset, start);
  EXPECT_EQ(found->edits[0].code.size(), 5u);
  ASSERT_GT(found->outside.size(), site - start);
  for (size_t i = start; i < site; ++i) EXPECT_EQ(found->outside[i - start], text.bytes()[i]);
  EXPECT_FALSE(patch(text, site, start + 1)) << "it begins in the page before";
  Text branch;
  branch.function().add({0xba, 0x3c, 0, 0, 0}).add({0x74, 0x00}).add({0x89, 0xd0});
  EXPECT_FALSE(patch(branch, branch.call(), 0)) << "a branch cannot be moved";
}

TEST(CallSites, MoveWhatIsRelativeToThePlace) {
  Text text;
  const size_t start = text.function().size();
  const size_t site = text.add({0x48, 0x8d, 0x35, 0x10, 0x20, 0, 0}).call();  // lea 0x2010(%rip), %rsi
  const auto found = patch(text, site, 0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->displaced, start);
  int32_t operand = 0;
  ASSERT_GT(found->outside.size(), 7u);
  std::memcpy(&operand, &found->outside[3], sizeof operand);
  EXPECT_EQ(kDistance + 7 + operand, static_cast<int64_t>(start) + 7 + 0x2010);
  Text far;
  far.function().add({0x48, 0x8d, 0x35, 0xff, 0xff, 0xff, 0x7f});
  EXPECT_FALSE(patch(far, far.call(), 0)) << "out of reach from there";
}

// What has been rewritten nearby is no code that anybody could be in step with.
TEST(CallSites, AreToldByWhatTheFileHas) {
  Text original;
  const size_t site = original.function().number().call();
  std::vector<std::byte> current(original.bytes().begin(), original.bytes().end());
  for (size_t i = site - 40; i < site - 10; ++i) current[i] = std::byte{0x06};  // none in 64-bit mode
  CallSitePatcher patcher;
  EXPECT_FALSE(patcher.patch({current, current, 0}, site, kDistance, kDistance - 0x1000));
  EXPECT_TRUE(patcher.patch({original.bytes(), current, 0}, site, kDistance, kDistance - 0x1000));
  current[site - 3] = std::byte{0xcc};
  EXPECT_FALSE(patcher.patch({original.bytes(), current, 0}, site, kDistance, kDistance - 0x1000));
}

TEST(CallSites, WithoutACallAreNone) {
  Text text;
  const size_t place = text.function().number().size();
  text.add({0xff, 0xd0, 0xc3});  // call *%rax
  EXPECT_FALSE(patch(text, place, 0));
}

TEST(CallSites, StayBehindWhatCannotBeDoneElsewhere) {
  for (const std::initializer_list<uint8_t> one : {
           std::initializer_list<uint8_t>{0xf0, 0x83, 0x05, 0, 0, 0, 0, 1},  // lock addl $1, 0(%rip)
           {0x67, 0x48, 0x8d, 0x35, 0, 0, 0, 0},                             // lea 0(%eip), %rsi
           {0x9d},                                                           // popf
       }) {
    Text text;
    const size_t site = text.function().number().add(one).call();
    EXPECT_FALSE(patch(text, site, 0)) << one.size() << " bytes";
  }
}

TEST(CallSites, MoveNothingFromBeforeAFunction) {
  Text text;
  text.function().add(5, {0x90}).number();
  ASSERT_EQ(text.size() % 16, 0u);
  const size_t site = text.short_number().call();
  EXPECT_FALSE(patch(text, site, 0));
}

}  // namespace
}  // namespace sentry::platform::trap
