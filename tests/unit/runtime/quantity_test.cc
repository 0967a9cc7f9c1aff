#include "runtime/quantity.h"

#include <gtest/gtest.h>

namespace runtime {
namespace {

TEST(Quantity, Sizes) {
  EXPECT_EQ(*parse_size("--option", "1"), 1U);
  EXPECT_EQ(*parse_size("--option", "4096B"), 4096U);
  EXPECT_EQ(*parse_size("--option", "1k"), 1024U);
  EXPECT_EQ(*parse_size("--option", "256M"), 256ULL << 20);
  EXPECT_EQ(*parse_size("--option", "256MiB"), 256ULL << 20);
  EXPECT_EQ(*parse_size("--option", "2GB"), 2ULL << 30);
  EXPECT_EQ(*parse_size("--option", "1T"), 1ULL << 40);
  for (const char* bad :
       {"", "0", "M", "1X", "1MX", "-1", "+1", " 1", "1 ", "1.5G", "99999999T", "18446744073709551616"})
    EXPECT_FALSE(parse_size("--option", bad).ok()) << bad;
}

TEST(Quantity, ErrorsNameTheOption) {
  EXPECT_TRUE(parse_size("--memory", "x").error().message.starts_with("--memory: \"x\" is not"));
  EXPECT_TRUE(parse_count("--pids", "x").error().message.starts_with("--pids: \"x\" is not"));
  EXPECT_TRUE(parse_cpus("--cpus", "x").error().message.starts_with("--cpus: \"x\" is not"));
  EXPECT_TRUE(parse_seconds("--timeout", "x").error().message.starts_with("--timeout: \"x\" is not"));
}

TEST(Quantity, Seconds) {
  EXPECT_EQ(parse_seconds("--option", "90")->count(), 90'000);
  EXPECT_EQ(parse_seconds("--option", "0.5")->count(), 500);
  for (const char* bad : {"", "0", "-1", "inf", "nan", "1s", "1e99"})
    EXPECT_FALSE(parse_seconds("--option", bad).ok()) << bad;
}

TEST(Quantity, Counts) {
  EXPECT_EQ(*parse_count("--option", "4294967295"), 4294967295U);
  for (const char* bad : {"", "0", "-1", "1.0", "4294967296", "x"})
    EXPECT_FALSE(parse_count("--option", bad).ok()) << bad;
}

TEST(Quantity, Cpus) {
  EXPECT_EQ(*parse_cpus("--option", "0.5"), 0.5);
  EXPECT_EQ(*parse_cpus("--option", "2"), 2.0);
  for (const char* bad : {"", "0", "0.001", "-1", "inf", "nan", "two"})
    EXPECT_FALSE(parse_cpus("--option", bad).ok()) << bad;
}

}  // namespace
}  // namespace runtime
