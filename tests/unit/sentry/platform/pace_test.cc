#include "sentry/platform/trap/pace.h"

#include <gtest/gtest.h>

namespace sentry::platform::trap {
namespace {

void calls(Pace& pace, bool soon, int count) {
  for (int i = 0; i < count; ++i) pace.came(soon);
}

TEST(Pace, OneLateCallChangesNothing) {
  Pace pace;
  EXPECT_TRUE(pace.fast());
  for (int i = 0; i < 100; ++i) {
    pace.came(false);
    EXPECT_TRUE(pace.fast()) << i;
    calls(pace, true, 9);
  }
}

TEST(Pace, ADozenLateCallsMakeItSlow) {
  Pace pace;
  calls(pace, false, 12);
  EXPECT_FALSE(pace.fast());
}

TEST(Pace, ItTakesManySoonCallsToBeFastAgain) {
  Pace pace;
  calls(pace, false, 200);
  calls(pace, true, 16);
  EXPECT_FALSE(pace.fast());
  calls(pace, true, 48);
  EXPECT_TRUE(pace.fast());
}

// In between it stays as it was.
TEST(Pace, HalfOfThemSoonDecidesByThePast) {
  Pace fast, slow;
  calls(slow, false, 200);
  for (int i = 0; i < 100; ++i) {
    for (Pace* pace : {&fast, &slow}) {
      calls(*pace, true, 3);
      pace->came(false);
    }
    EXPECT_TRUE(fast.fast()) << i;
    EXPECT_FALSE(slow.fast()) << i;
  }
}

}  // namespace
}  // namespace sentry::platform::trap
