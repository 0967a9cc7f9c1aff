#include "runtime/printable.h"

#include <gtest/gtest.h>

namespace runtime {
namespace {

TEST(Printable, KeepsText) {
  EXPECT_EQ(printable("plain"), "plain");
  EXPECT_EQ(printable("äß€\xf0\x9f\x98\x80"), "äß€\xf0\x9f\x98\x80");
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, IsOneLine) {
  EXPECT_EQ(printable("a\nb\tc\r\n"), "a b c");
  EXPECT_EQ(printable("\x1b[31mred\x7f"), "?[31mred?");
  EXPECT_EQ(printable("\xc2\x9b"), "?");  // CSI in eight bits
}

TEST(Printable, IsUtf8) {
  EXPECT_EQ(printable("\xff"), "?");
  EXPECT_EQ(printable("\x80"), "?");
  EXPECT_EQ(printable("a\xc3"), "a?");
  EXPECT_EQ(printable("\xc0\xaf"), "??");            // longer than needed
  EXPECT_EQ(printable("\xed\xa0\x80"), "???");       // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "????");  // beyond the last
  EXPECT_EQ(printable("\xe2\x82x"), "??x");
}

}  // namespace
}  // namespace runtime
