// The memory file: what is written is read back, whichever way it goes, and a host without memory for a page
// is an error, not the sentry's end.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "sentry/base/fd.h"
#include "sentry/mm/guarded_copy.h"
#include "sentry/mm/memory_file.h"

namespace sentry::mm {
namespace {

constexpr size_t kPage = 4096;

std::vector<char> pattern(size_t size, size_t seed) {
  std::vector<char> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(1 + (i + seed) % 127);
  return bytes;
}

// What the host has allocated for it, in pages.
int64_t pages(const MemoryFile& file) {
  struct stat status {};
  EXPECT_EQ(::fstat(file.host_fd(), &status), 0);
  return status.st_blocks * 512 / static_cast<int64_t>(kPage);
}

TEST(MemoryFile, WhatIsWrittenIsReadBack) {
  MemoryFile file;
  const auto slice = *file.allocate(64 * kPage);
  std::vector<char> all(64 * kPage);
  size_t seed = 0;
  for (const size_t size : {size_t{1}, size_t{22}, kPage - 1, kPage, kPage + 1, 5 * kPage + 7}) {
    for (const uint64_t offset :
         {uint64_t{0}, uint64_t{8 * kPage}, uint64_t{20 * kPage - 11}, 58 * kPage - 7}) {
      const std::vector<char> bytes = pattern(size, ++seed);
      ASSERT_EQ(slice->write(offset, bytes.data(), size).value_or(0), size);
      std::copy(bytes.begin(), bytes.end(), all.begin() + static_cast<ptrdiff_t>(offset));
      std::vector<char> now(all.size());
      ASSERT_EQ(slice->read(0, now.data(), now.size()).value_or(0), now.size());
      ASSERT_EQ(now, all) << size << " bytes at " << offset;
    }
  }
}

TEST(MemoryFile, NothingIsWrittenBeyondASlice) {
  MemoryFile file;
  const auto slice = *file.allocate(kPage), next = *file.allocate(kPage);
  EXPECT_EQ(slice->write(kPage - 1, "ab", 2).error().value(), EFBIG);
  EXPECT_EQ(slice->write(~uint64_t{0}, "a", 1).error().value(), EFBIG);
  EXPECT_EQ(pages(file), 0);
}

TEST(MemoryFile, OnlyWritingTakesPages) {
  MemoryFile file;
  const auto slice = *file.allocate(16 * kPage);
  std::vector<char> bytes(16 * kPage);
  EXPECT_EQ(slice->read(0, bytes.data(), bytes.size()).value_or(0), bytes.size());
  EXPECT_EQ(slice->read(100, bytes.data(), 8).value_or(0), 8u);
  EXPECT_EQ(pages(file), 0);
  EXPECT_EQ(slice->write(3 * kPage + 8, "a", 1).value_or(0), 1u);
  EXPECT_EQ(pages(file), 1);
  EXPECT_TRUE(slice->discard(0, 16 * kPage).ok());
  EXPECT_EQ(pages(file), 0);
  EXPECT_EQ(slice->read(3 * kPage + 8, bytes.data(), 1).value_or(0), 1u);
  EXPECT_EQ(bytes[0], 0);
}

TEST(GuardedCopy, EndsWhereTheHostHasNoPage) {
  guard_copies();
  const Fd file(::memfd_create("one page", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), kPage), 0);
  void* const memory = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  char* const end = static_cast<char*>(memory) + kPage;
  const std::vector<char> bytes = pattern(100, 0);
  EXPECT_EQ(guarded_copy(end - 100, bytes.data(), 100), 100u);
  EXPECT_EQ(guarded_copy(end - 40, bytes.data(), 100), 40u);
  EXPECT_TRUE(std::equal(end - 40, end, bytes.begin()));
  EXPECT_EQ(guarded_copy(end, bytes.data(), 100), 0u);
  EXPECT_EQ(guarded_copy(end, bytes.data(), 0), 0u);
  ::munmap(memory, 2 * kPage);
}

TEST(GuardedCopyDeathTest, OtherFaultsAreFatal) {
  EXPECT_DEATH(
      {
        guard_copies();
        const Fd file(::memfd_create("empty", MFD_CLOEXEC));
        *static_cast<volatile char*>(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file.get(), 0));
      },
      "");
}

}  // namespace
}  // namespace sentry::mm
