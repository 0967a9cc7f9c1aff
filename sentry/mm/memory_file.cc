#include "sentry/mm/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "sentry/base/log.h"
#include "sentry/mm/guarded_copy.h"
#include "sentry/platform/platform.h"

namespace sentry::mm {
namespace {
constexpr uint64_t kPage = platform::kPageSize;
constexpr uint64_t up(uint64_t value) { return (value + kPage - 1) & ~(kPage - 1); }
constexpr uint64_t down(uint64_t value) { return value & ~(kPage - 1); }
// Up to this size a copy and, at times, a fault are less than a call; of a larger one each page would be a
// fault.
constexpr size_t kSmall = kPage;
// What the host says when it has no memory for a page of the file.
Errno host_error() { return Errno(errno == ENOMEM || errno == EDQUOT ? ENOSPC : errno); }
}  // namespace

MemoryFile::MemoryFile() : fd_(::memfd_create("sandbox", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  BULKHEAD_CHECK(fd_, "memfd_create: error {}", errno);
  BULKHEAD_CHECK(::ftruncate(fd_.get(), static_cast<off_t>(kRoom)) == 0, "sizing the memory file: error {}",
                 errno);
  BULKHEAD_CHECK(::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
                 "sealing the memory file: error {}", errno);
  // At the first write the host looks for privileges that a file gives, and that writing takes away: not
  // while a guest has it write.
  const iovec first{const_cast<char*>(""), 1};
  BULKHEAD_CHECK(::pwritev2(fd_.get(), &first, 1, 0, 0) == 1 && punch(0, kPage).ok(),
                 "writing to the memory file: error {}", errno);
  void* const window = ::mmap(nullptr, kWindow, PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (window == MAP_FAILED) return;
  window_ = static_cast<std::byte*>(window);
  guard_copies();
}

MemoryFile::~MemoryFile() {
  if (window_ != nullptr) ::munmap(window_, kWindow);
}

Result<std::unique_ptr<MemorySlice>> MemoryFile::allocate(uint64_t size) {
  if (size > kLargestSlice) return Errno(EFBIG);
  const uint64_t rounded = std::bit_ceil(size < kPage ? kPage : size);
  const auto size_class = static_cast<unsigned>(std::countr_zero(rounded));
  if (!free_[size_class].empty()) {
    const uint64_t start = free_[size_class].back();
    free_[size_class].pop_back();
    return std::make_unique<MemorySlice>(*this, start, rounded, size_class);
  }
  if (rounded > kRoom - next_) return Errno(ENOSPC);
  const uint64_t start = next_;
  next_ += rounded;
  return std::make_unique<MemorySlice>(*this, start, rounded, size_class);
}

Result<std::unique_ptr<MemorySlice>> MemoryFile::allocate_shared(uint64_t size) {
  auto slice = TRY(allocate(size));
  slice->shared_bytes_ = size;
  shared_bytes_ += size;
  return slice;
}

MemorySlice::MemorySlice(MemoryFile& file, uint64_t start, uint64_t size, unsigned size_class)
    : file_(file), start_(start), size_(size), size_class_(size_class) {}

MemorySlice::~MemorySlice() {
  file_.shared_bytes_ -= shared_bytes_;
  if (touched_) (void)file_.punch(start_, size_);
  if (reached_)
    file_.retire({start_, size_class_});
  else
    file_.free_[size_class_].push_back(start_);
}

std::byte* MemoryFile::window_on(uint64_t start, uint64_t size) const {
  const bool within = window_ != nullptr && start < kWindow && size <= kWindow - start;
  return within ? window_ + start : nullptr;
}

Result<> MemoryFile::punch(uint64_t start, uint64_t size) {
  std::byte* const here = window_on(start, size);
  const int failed = here != nullptr ? ::madvise(here, size, MADV_REMOVE)
                                     : ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                   static_cast<off_t>(start), static_cast<off_t>(size));
  if (failed != 0) return host_error();
  return {};
}

void MemoryFile::retire(Retired slice) {
  retired_.push_back(slice);
  if (waiting_.empty()) wait_for_retired();
}

void MemoryFile::wait_for_retired() {
  waiting_ = std::exchange(retired_, {});
  platform::when_let_go([this] {
    for (const Retired& slice : std::exchange(waiting_, {})) {
      (void)punch(slice.start, uint64_t{1} << slice.size_class);  // they may have been written to since
      free_[slice.size_class].push_back(slice.start);
    }
    if (!retired_.empty()) wait_for_retired();
  });
}

int MemorySlice::host_fd() const { return file_.fd_.get(); }

Result<size_t> MemorySlice::read(uint64_t offset, void* buffer, size_t size) const {
  if (offset > size_ || size > size_ - offset) return Errno(EINVAL);
  const iovec piece{buffer, size};
  const ssize_t count = ::preadv2(file_.fd_.get(), &piece, 1, static_cast<off_t>(start_ + offset), 0);
  if (count < 0) return host_error();
  return static_cast<size_t>(count);
}

Result<size_t> MemorySlice::write(uint64_t offset, const void* data, size_t size) {
  if (offset > size_ || size > size_ - offset) return Errno(EFBIG);
  touched_ = true;
  if (size <= kSmall) {
    if (std::byte* const here = file_.window_on(start_ + offset, size); here != nullptr) {
      const size_t count = guarded_copy(here, data, size);
      if (count == 0 && size != 0) return Errno(ENOSPC);
      return count;
    }
  }
  const iovec piece{const_cast<void*>(data), size};
  const ssize_t count = ::pwritev2(file_.fd_.get(), &piece, 1, static_cast<off_t>(start_ + offset), 0);
  if (count < 0) return host_error();
  return static_cast<size_t>(count);
}

Result<> MemorySlice::discard(uint64_t offset, uint64_t length) {
  if (offset > size_ || length > size_ - offset) return Errno(EINVAL);
  const uint64_t end = offset + length, first = up(offset), last = down(end);
  if (first > last) return zero(offset, length);
  TRY(zero(offset, first - offset));
  if (first < last) TRY(file_.punch(start_ + first, last - first));
  return zero(last, end - last);
}

Result<> MemorySlice::zero(uint64_t offset, uint64_t length) {
  if (length == 0) return {};
  // A page that is not there stays so.
  constexpr std::array<std::byte, kPage> kZeros{};
  std::array<std::byte, kPage> now;
  TRY(read(offset, now.data(), length));
  if (std::memcmp(now.data(), kZeros.data(), length) != 0) TRY(write(offset, kZeros.data(), length));
  return {};
}

Result<> MemorySlice::allocate(uint64_t offset, uint64_t length) {
  if (offset > size_ || length > size_ - offset) return Errno(EFBIG);
  touched_ = true;
  const uint64_t from = down(start_ + offset), to = up(start_ + offset + length);
  if (::fallocate(file_.fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                  static_cast<off_t>(to - from)) != 0)
    return host_error();
  return {};
}

Result<uint64_t> MemorySlice::seek(uint64_t offset, bool data) const {
  if (offset >= size_) return Errno(ENXIO);
  const off_t found =
      ::lseek(file_.fd_.get(), static_cast<off_t>(start_ + offset), data ? SEEK_DATA : SEEK_HOLE);
  if (found < 0) return host_error();
  const auto place = static_cast<uint64_t>(found);
  if (place >= start_ + size_) {
    if (data) return Errno(ENXIO);
    return size_;
  }
  return place - start_;
}

}  // namespace sentry::mm
