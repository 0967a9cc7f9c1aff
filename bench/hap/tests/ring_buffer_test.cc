#include "bench/hap/ring_buffer.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

namespace hap {
namespace {

constexpr uint16_t kSysEnter = 345;
constexpr uint64_t kFunction = 0xffffffff81003320, kModuleFunction = 0xffffffffc0123450;

// Builds a page as the kernel lays it out.
class PageBuilder {
 public:
  PageBuilder& word(uint32_t value) { return append(&value, sizeof value); }
  PageBuilder& function(uint64_t address, uint8_t flags) {
    const EventHeader header{kTypeFunction, flags, 0, 42};
    const uint64_t addresses[] = {address, kFunction};
    word(6 | 100 << 5);  // 24 bytes of payload
    append(&header, sizeof header);
    return append(addresses, sizeof addresses);
  }
  PageBuilder& sys_enter(int64_t number) {
    const EventHeader header{kSysEnter, 0, 0, 42};
    const int64_t fields[7] = {number};
    word(16 | 100 << 5);
    append(&header, sizeof header);
    return append(fields, sizeof fields);
  }
  // The finished page; `flags` go into the commit word, `lost` behind the data.
  std::vector<std::byte> page(uint64_t flags = 0, uint64_t lost = 0) const {
    std::vector<std::byte> bytes(4096);
    const uint64_t commit = size_ | flags;
    std::memcpy(bytes.data() + 8, &commit, sizeof commit);
    std::memcpy(bytes.data() + 16, data_.data(), size_);
    std::memcpy(bytes.data() + 16 + size_, &lost, sizeof lost);
    return bytes;
  }

 private:
  PageBuilder& append(const void* bytes, size_t size) {
    std::memcpy(data_.data() + size_, bytes, size);
    size_ += size;
    return *this;
  }
  std::array<std::byte, 4000> data_{};
  size_t size_ = 0;
};

TEST(RingBuffer, CountsFunctionsByContextAndDropsHardInterrupts) {
  TraceCounts counts;
  parse_page(PageBuilder()
                 .function(kFunction, 0)
                 .function(kFunction, 0x01)  // interrupts off is still the task
                 .function(kFunction, kFlagSoftIrq)
                 .function(kModuleFunction, kFlagSoftIrq)
                 .function(kFunction + 0x100, kFlagHardIrq)
                 .function(kFunction + 0x200, kFlagHardIrq | kFlagSoftIrq)
                 .function(kFunction + 0x300, kFlagNmi)
                 .page(),
             kSysEnter, counts);
  const auto entries = counts.functions.entries();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].address, kFunction);
  EXPECT_EQ(entries[0].counts[0], 2u);
  EXPECT_EQ(entries[0].counts[1], 1u);
  EXPECT_EQ(entries[1].address, kModuleFunction);
  EXPECT_EQ(entries[1].counts[0], 0u);
  EXPECT_EQ(entries[1].counts[1], 1u);
  EXPECT_EQ(counts.events, 7u);
  EXPECT_EQ(counts.lost, 0u);
  EXPECT_EQ(counts.malformed, 0u);
}

TEST(RingBuffer, CountsSyscallsByNumber) {
  TraceCounts counts;
  parse_page(PageBuilder().sys_enter(0).sys_enter(231).sys_enter(0).sys_enter(-1).page(), kSysEnter, counts);
  EXPECT_EQ(counts.syscalls, (std::unordered_map<int64_t, uint64_t>{{0, 2}, {231, 1}, {-1, 1}}));
}

TEST(RingBuffer, TellsWhoWroteAMarker) {
  TraceCounts counts;
  PageBuilder page;
  page.word(5 | 7 << 5).word(kTypePrint).word(4711).word(0).word(0).word(0);  // 20 bytes
  parse_page(page.page(), kSysEnter, counts);
  EXPECT_EQ(counts.marker_pid, 4711);
  EXPECT_EQ(counts.malformed, 0u);
}

TEST(RingBuffer, SkipsTimeExtensionsStampsAndWithdrawnEvents) {
  TraceCounts counts;
  PageBuilder page;
  page.word(30 | 7 << 5).word(1);                   // time extension
  page.word(31 | 7 << 5).word(1);                   // absolute time stamp
  page.word(29 | 1 << 5).word(12).word(0).word(0);  // withdrawn: 4 + 12 bytes in all
  page.function(kFunction, 0);
  page.word(29);  // padding to the end of the page
  page.word(0xdeadbeef);
  parse_page(page.page(), kSysEnter, counts);
  EXPECT_EQ(counts.events, 1u);
  EXPECT_EQ(counts.malformed, 0u);
  EXPECT_EQ(counts.functions.entries().size(), 1u);
}

TEST(RingBuffer, ReadsLongEvents) {
  TraceCounts counts;
  PageBuilder page;
  page.word(0 | 7 << 5).word(4 + 24);  // the length counts itself
  page.word(kTypeFunction).word(42);
  page.word(static_cast<uint32_t>(kFunction)).word(kFunction >> 32).word(0).word(0);
  page.function(kFunction, 0);
  parse_page(page.page(), kSysEnter, counts);
  ASSERT_EQ(counts.functions.entries().size(), 1u);
  EXPECT_EQ(counts.functions.entries()[0].counts[0], 2u);
  EXPECT_EQ(counts.malformed, 0u);
}

TEST(RingBuffer, ReportsLostEvents) {
  TraceCounts counts;
  constexpr uint64_t kMissed = uint64_t{1} << 31, kStored = uint64_t{1} << 30;
  parse_page(PageBuilder().function(kFunction, 0).page(kMissed | kStored, 17), kSysEnter, counts);
  EXPECT_EQ(counts.lost, 17u);
  parse_page(PageBuilder().function(kFunction, 0).page(kMissed), kSysEnter, counts);
  EXPECT_EQ(counts.lost, 18u);
  EXPECT_EQ(counts.functions.entries()[0].counts[0], 2u);
}

TEST(RingBuffer, ReportsBrokenPages) {
  TraceCounts counts;
  PageBuilder cut;
  cut.function(kFunction, 0).word(6 | 100 << 5).word(0);  // an event of 24 bytes with four
  parse_page(cut.page(), kSysEnter, counts);
  EXPECT_EQ(counts.malformed, 1u);
  EXPECT_EQ(counts.events, 1u);
  std::vector<std::byte> too_long(64);
  const uint64_t commit = 4080;
  std::memcpy(too_long.data() + 8, &commit, sizeof commit);
  parse_page(too_long, kSysEnter, counts);
  EXPECT_EQ(counts.malformed, 2u);
  parse_page(std::span(too_long).first(8), kSysEnter, counts);
  EXPECT_EQ(counts.malformed, 3u);
}

TEST(FunctionCounts, KeepsAddressesOutsideTheKernelsText) {
  FunctionCounts counts;
  counts.add(0x1000, FunctionCounts::Context::kTask);
  counts.add(~uint64_t{0}, FunctionCounts::Context::kSoftIrq);
  const auto entries = counts.entries();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].address, 0x1000u);
  EXPECT_EQ(entries[1].address, ~uint64_t{0});
  counts.clear();
  EXPECT_TRUE(counts.entries().empty());
}

}  // namespace
}  // namespace hap
