// The bytes of a file in the sandbox's memory: what tmpfs files, memfds and the overlay's changed files
// consist of.
//
// Small contents lie in the sentry's own heap, so that most files cost no host call. Once a content grows or
// is mapped it moves, for good, into slices of the memory file. Slices never move again, since a mapping
// holds on to them and a private one may have pages of its own that a remapping would lose: a content grows
// by adding slices, each fifteen times as large as all before, so that eight are enough for the largest file;
// the memory file is sparse and has room for it. A file whose size is set first (ftruncate, then mmap) has
// one slice.
#pragma once

#include <memory>
#include <vector>

#include "sentry/base/extent_set.h"
#include "sentry/base/result.h"
#include "sentry/fs/tmpfs/quota.h"
#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"
#include "sentry/mm/transfer.h"
#include "sentry/vfs/fiber_lock.h"

namespace sentry::vfs {
class Inode;
}

namespace sentry::fs::tmpfs {

class Content {
 public:
  static constexpr uint64_t kMaxSize = mm::MemoryFile::kLargestSlice;  // EFBIG beyond
  static constexpr uint64_t kInlineLimit = 64 * 1024;

  // `owner` is what guests map, if they do: it is told where the content shrinks. `inode` has this size.
  Content(mm::MemoryFile& memory, std::shared_ptr<Quota> quota, mm::Mappable* owner,
          const vfs::Inode* inode = nullptr)
      : memory_(memory), quota_(std::move(quota)), owner_(owner), inode_(inode) {}
  ~Content();
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  uint64_t size() const { return size_; }
  uint64_t blocks() { return 8 * pages(); }  // of 512 bytes, stat(2)
  // Whether blocks() changes by calls alone: there is nothing to touch, or no hole where it would make a
  // page.
  bool keeps_blocks() const;

  // Writers and whoever changes the size hold it exclusively (i_rwsem): the methods that change take it for
  // granted.
  vfs::FiberLock& lock() { return lock_; }

  // Copies from `offset`, 0 at the end. May park where guest memory is written. `mapping`: the owner, to be
  // mapped.
  Result<size_t> read(mm::Sink& sink, uint64_t offset, const mm::MappableOpener& mapping);
  // Stores all that the source has, or as much as fits. ENOSPC, EFBIG, EFAULT if nothing could be stored.
  Result<size_t> write(mm::Source& source, uint64_t offset);
  Result<> resize(uint64_t size);
  // fallocate(2) with mode 0 or FALLOC_FL_KEEP_SIZE.
  Result<> allocate(uint64_t offset, uint64_t length, bool keep_size);
  // FALLOC_FL_PUNCH_HOLE: zeros without memory.
  Result<> punch(uint64_t offset, uint64_t length);
  // lseek(2) SEEK_DATA and SEEK_HOLE for an offset below size(); ENXIO where no data follow.
  Result<uint64_t> find(uint64_t offset, bool data);
  // mm::Mappable::backing.
  Result<mm::Mappable::Backing> backing(uint64_t offset, uint64_t length);

 private:
  struct Segment {
    uint64_t start;
    std::unique_ptr<mm::MemorySlice> slice;
    uint64_t end() const { return start + slice->size(); }
  };
  bool in_heap() const { return segments_.empty(); }
  uint64_t pages();
  void set_size(uint64_t size);
  void count_change();
  void finish_reads();
  uint64_t filled(uint64_t offset) const;
  Segment& segment_of(uint64_t offset);
  Result<> leave_heap(uint64_t end);
  Result<> cover(uint64_t end);
  Result<> grow_heap(uint64_t end);
  Result<uint64_t> reserve(uint64_t offset, uint64_t length);
  Result<size_t> write_heap(mm::Source& source, uint64_t offset, size_t size);
  size_t write_straight(mm::Source& source, uint64_t at, bool& straight);
  Result<size_t> write_slices(mm::Source& source, uint64_t offset);
  Result<> store(uint64_t offset, const std::byte* data, size_t size, size_t& stored);
  void discard(uint64_t start, uint64_t end);
  void rescan();

  mm::MemoryFile& memory_;
  std::shared_ptr<Quota> quota_;
  mm::Mappable* owner_;
  const vfs::Inode* inode_;
  uint64_t size_ = 0;
  // Never reallocated while a parked reader may look at it: growing makes a new one.
  std::shared_ptr<std::vector<std::byte>> heap_;  // the first bytes; what is missing up to size_ are zeros
  std::vector<Segment> segments_;
  ExtentSet allocated_;            // pages of the segments
  bool exposed_ = false;           // mapped since the last rescan: the host may have allocated pages
  bool written_straight_ = false;  // by a guest's own thread, into pages that it was given
  vfs::FiberLock lock_;
};

}  // namespace sentry::fs::tmpfs
