// The index of gaps against the plain definition: a set of mapped places.
#include "sentry/mm/gap_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace {

using sentry::mm::GapIndex;

constexpr uint64_t kFloor = 16, kCeiling = 400;

uint64_t nothing_reserved(uint64_t) { return 0; }

TEST(GapIndex, TakesFromTheTop) {
  GapIndex gaps(kFloor, kCeiling);
  EXPECT_EQ(gaps.highest(10, kCeiling, nothing_reserved), 390);
  EXPECT_EQ(gaps.highest(10, 200, nothing_reserved), 190);
  EXPECT_EQ(gaps.highest(kCeiling - kFloor, kCeiling, nothing_reserved), kFloor);
  EXPECT_EQ(gaps.highest(kCeiling - kFloor + 1, kCeiling, nothing_reserved), std::nullopt);
  gaps.take(100, kCeiling);
  EXPECT_EQ(gaps.highest(10, kCeiling, nothing_reserved), 90);
  gaps.give(200, 205);
  EXPECT_EQ(gaps.highest(10, kCeiling, nothing_reserved), 90);
  EXPECT_EQ(gaps.highest(5, kCeiling, nothing_reserved), 200);
  EXPECT_EQ(gaps.highest(5, 204, nothing_reserved), 95);
  gaps.give(205, 210);
  EXPECT_EQ(gaps.highest(10, kCeiling, nothing_reserved), 200);
}

TEST(GapIndex, KeepsClearOfWhatIsReserved) {
  GapIndex gaps(kFloor, kCeiling);
  gaps.take(300, 310);
  const auto reserved = [](uint64_t ceiling) { return ceiling == 300 ? uint64_t{50} : uint64_t{0}; };
  EXPECT_EQ(gaps.highest(95, kCeiling, reserved), 155);
  EXPECT_EQ(gaps.highest(90, kCeiling, reserved), 310);
  EXPECT_EQ(gaps.highest(234, kCeiling, reserved), kFloor);
  EXPECT_EQ(gaps.highest(235, kCeiling, reserved), std::nullopt);
}

TEST(GapIndex, IsWhatWalkingFinds) {
  std::mt19937 random(7);
  std::vector<bool> mapped(kCeiling, false);
  GapIndex gaps(kFloor, kCeiling);
  const auto walk = [&](uint64_t length, uint64_t top) -> std::optional<uint64_t> {
    for (uint64_t start = top - length; start >= kFloor && start < top; --start)
      if (std::none_of(mapped.begin() + static_cast<long>(start),
                       mapped.begin() + static_cast<long>(start + length), [](bool used) { return used; }))
        return start;
    return std::nullopt;
  };
  for (int round = 0; round < 20'000; ++round) {
    const uint64_t start = kFloor + random() % (kCeiling - kFloor);
    const uint64_t end = start + 1 + random() % std::min<uint64_t>(kCeiling - start, 20);
    const bool take = random() % 2 == 0;
    if (take)
      gaps.take(start, end);
    else
      gaps.give(start, end);
    std::fill(mapped.begin() + static_cast<long>(start), mapped.begin() + static_cast<long>(end), take);
    const uint64_t length = 1 + random() % 30,
                   top = kFloor + length + random() % (kCeiling - kFloor - length);
    ASSERT_EQ(gaps.highest(length, top, nothing_reserved), walk(length, top)) << "round " << round;
  }
}

}  // namespace
