// The sandbox's memory that is not private to one address space: one sparse memfd, made before the guest
// starts and carved into slices. tmpfs files, memfds and shared anonymous mappings each own a slice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sentry/base/fd.h"
#include "sentry/base/result.h"

namespace sentry::mm {

class MemoryFile;

// A contiguous run of the memory file, all zeros at first; freed by destruction. Offsets are within the
// slice.
class MemorySlice {
 public:
  MemorySlice(MemoryFile& file, uint64_t start, uint64_t size, unsigned size_class);
  ~MemorySlice();
  MemorySlice(const MemorySlice&) = delete;
  MemorySlice& operator=(const MemorySlice&) = delete;

  uint64_t size() const { return size_; }
  int host_fd() const;
  uint64_t host_offset(uint64_t offset) const {
    reached_ = touched_ = true;
    return start_ + offset;
  }

  // Plain memory copies, by host calls on the memfd where they are not small writes. ENOSPC where the host
  // has no memory for it.
  Result<size_t> read(uint64_t offset, void* buffer, size_t size) const;
  Result<size_t> write(uint64_t offset, const void* data, size_t size);
  // Gives whole pages back and zeros the rest of the range.
  Result<> discard(uint64_t offset, uint64_t length);
  // Allocates pages (fallocate(2) mode 0).
  Result<> allocate(uint64_t offset, uint64_t length);
  // The next offset that holds data (or a hole), SEEK_DATA and SEEK_HOLE; ENXIO past the last.
  Result<uint64_t> seek(uint64_t offset, bool data) const;

 private:
  MemoryFile& file_;
  uint64_t start_;
  uint64_t size_;
  unsigned size_class_;
  Result<> zero(uint64_t offset, uint64_t length);  // within a page

  friend class MemoryFile;
  uint64_t shared_bytes_ = 0;     // that it counts for
  mutable bool reached_ = false;  // a guest may have it mapped
  mutable bool touched_ = false;  // it may have pages
};

class MemoryFile {
 public:
  // Before the sentry enters its surface.
  MemoryFile();
  ~MemoryFile();

  // The largest slice there is; a tmpfs file cannot grow beyond (EFBIG).
  static constexpr uint64_t kLargestSlice = uint64_t{1} << 43;  // 8 TiB
  // A slice of at least `size` bytes. ENOSPC when the file's 2^62 bytes of room are used up.
  Result<std::unique_ptr<MemorySlice>> allocate(uint64_t size);
  // The same for memory that guests share, and that no file system counts.
  Result<std::unique_ptr<MemorySlice>> allocate_shared(uint64_t size);
  // How much of that there is, touched or not.
  uint64_t shared_bytes() const { return shared_bytes_; }
  int host_fd() const { return fd_.get(); }
  // Where the memory file has ended: what is mapped from there is refused by the host as what lies beyond a
  // file's end is (SIGBUS, EFAULT), and will always be. One place for each offset of a guest's file, so that
  // the host joins what is mapped in pieces.
  static constexpr uint64_t beyond_end(uint64_t offset) { return kRoom + offset % (kRoom >> 1); }

 private:
  static constexpr uint64_t kRoom = uint64_t{1} << 62;
  friend class MemorySlice;
  static constexpr unsigned kClasses = 64;
  // Of the file from its beginning: for madvise(2), and to write a little. Never read: that would make pages
  // where there are none.
  static constexpr uint64_t kWindow = uint64_t{1} << 44;
  std::byte* window_on(uint64_t start, uint64_t size) const;  // null: it is not in the window
  Fd fd_;
  std::byte* window_ = nullptr;  // null: no room for it
  uint64_t next_ = 0;
  uint64_t shared_bytes_ = 0;
  std::vector<uint64_t> free_[kClasses];  // starts of freed slices of 2^class bytes

  // Freed, but a guest that has not done what it was told may still have them mapped: their memory is given
  // back, their place gets no other owner until that is out of the question. First those that wait to wait.
  struct Retired {
    uint64_t start;
    unsigned size_class;
  };
  void retire(Retired slice);
  void wait_for_retired();
  // Gives pages back, whole ones: MADV_REMOVE, which is fallocate(2)'s FALLOC_FL_PUNCH_HOLE by another name,
  // and no host call of its own.
  Result<> punch(uint64_t start, uint64_t size);
  std::vector<Retired> retired_, waiting_;
};

}  // namespace sentry::mm
