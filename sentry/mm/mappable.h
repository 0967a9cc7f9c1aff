// What mmap(2) can map besides private anonymous memory.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sentry/base/result.h"

namespace sentry::mm {

class AddressSpaceMap;
class TextImage;

// Implemented by files' inodes. Kept alive by the mappings.
class Mappable {
 public:
  Mappable();
  virtual ~Mappable();

  // The host memory behind [offset, offset + length), page-aligned, for a mapping that is shared and may be
  // written
  // (`shared_write`) or not. `length` in the answer may be shorter than asked and is page-aligned; host_fd
  // stays the Mappable's. host_fd -1: nothing is there (beyond the end of the file): touching it is SIGBUS
  // until it is asked for again. Only files whose end the host does not know need to answer -1.
  struct Backing {
    int host_fd;
    uint64_t host_offset;
    uint64_t length;
  };
  virtual Result<Backing> backing(uint64_t offset, uint64_t length, bool shared_write) = 0;

  // What is in it does not change while it is mapped, as far as anybody in the sandbox can tell, or
  // text_changes() is called when it does: its text may be mapped from a TextImage.
  virtual bool stable() const { return false; }
  // Text that is mapped from now on is not what the image was made from. What is mapped stays as it is:
  // mmap(2) leaves open whether a private mapping sees later changes.
  void text_changes();

  // Where it ends for all we know, if only the host knows for certain.
  virtual uint64_t likely_end() const { return ~uint64_t{0}; }
  // fallocate(2) FALLOC_FL_PUNCH_HOLE, for madvise(2) MADV_REMOVE: by who may write. May park.
  virtual Result<> punch(uint64_t /*offset*/, uint64_t /*length*/) { return Errno(EOPNOTSUPP); }
  // msync(2) MS_SYNC.
  virtual Result<> sync(uint64_t, uint64_t) { return {}; }

  // For /proc/PID/maps.
  struct Identity {
    std::string path;
    uint32_t device_major = 0, device_minor = 0;
    uint64_t inode = 0;
  };
  virtual Identity identity() const = 0;

  // Takes [offset, offset + length), which lies beyond the end now, out of every mapping (truncation), also
  // of processes that run: the next touch asks for its backing again. May park.
  void invalidate(uint64_t offset, uint64_t length);
  // From now on `successor` is what is mapped in its place: wherever that is shared, and from this offset on
  // where it is private, with what has been written there. The caller keeps both alive. May park.
  void give_way(const std::shared_ptr<Mappable>& successor, uint64_t offset);
  // What reads of it have been promised from windows has been copied when it returns: before its bytes
  // change. May park.
  void finish_reads();
  bool mapped() const { return !maps_.empty(); }
  // Whether guest code can touch its pages: mapped by guests, or seen through windows.
  bool reached() const { return mapped() || !windowed_.empty(); }
  size_t mappings() const { return maps_.size(); }  // VMAs of it, in all address spaces
  std::unique_ptr<TextImage>& text_image() { return text_image_; }
  bool may_have_text_image() const { return stable() && retired_images_.size() < kMostRetired; }

 private:
  friend class AddressSpaceMap;
  using Maps = std::multiset<AddressSpaceMap*>;
  static void add(const Maps& from, std::vector<std::shared_ptr<AddressSpaceMap>>& to);
  std::vector<std::shared_ptr<AddressSpaceMap>> maps() const;
  // Files that are written and executed in turn are soon left as they are.
  static constexpr size_t kMostRetired = 4;
  std::unique_ptr<TextImage> text_image_;
  std::vector<std::unique_ptr<TextImage>> retired_images_;  // may still be mapped
  Maps maps_;                                               // one entry a VMA
  Maps windowed_;                                           // one entry a window (windows.h)
};

}  // namespace sentry::mm
