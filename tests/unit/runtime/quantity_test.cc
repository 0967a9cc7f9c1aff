#include "runtime/quantity.h"

#include <gtest/gtest.h>

namespace runtime {
namespace {

TEST(Quantity, Sizes) {
  EXPECT_EQ(*parse_size("1"), 1U);
  EXPECT_EQ(*parse_size("4096B"), 4096U);
  EXPECT_EQ(*parse_size("1k"), 1024U);
  EXPECT_EQ(*parse_size("256M"), 256ULL << 20);
  EXPECT_EQ(*parse_size("256MiB"), 256ULL << 20);
  EXPECT_EQ(*parse_size("2GB"), 2ULL << 30);
  EXPECT_EQ(*parse_size("1T"), 1ULL << 40);
  for (const char* bad :
       {"", "0", "M", "1X", "1MX", "-1", "+1", " 1", "1 ", "1.5G", "99999999T", "18446744073709551616"})
    EXPECT_FALSE(parse_size(bad).ok()) << bad;
}

TEST(Quantity, Seconds) {
  EXPECT_EQ(parse_seconds("90")->count(), 90'000);
  EXPECT_EQ(parse_seconds("0.5")->count(), 500);
  for (const char* bad : {"", "0", "-1", "inf", "nan", "1s", "1e99"})
    EXPECT_FALSE(parse_seconds(bad).ok()) << bad;
}

TEST(Quantity, Counts) {
  EXPECT_EQ(*parse_count("4294967295"), 4294967295U);
  for (const char* bad : {"", "0", "-1", "1.0", "4294967296", "x"})
    EXPECT_FALSE(parse_count(bad).ok()) << bad;
}

TEST(Quantity, Cpus) {
  EXPECT_EQ(*parse_cpus("0.5"), 0.5);
  EXPECT_EQ(*parse_cpus("2"), 2.0);
  for (const char* bad : {"", "0", "0.001", "-1", "inf", "nan", "two"})
    EXPECT_FALSE(parse_cpus(bad).ok()) << bad;
}

}  // namespace
}  // namespace runtime
