// What open files of pseudo file systems keep between two reads. A guest chooses how many it opens and how
// long their texts are (maps has a line for each mapping), so that together they may only keep so much:
// beyond that the one that was made first is dropped, and its reader goes on in a text made anew, as it would
// in Linux, which keeps a page at most.
#pragma once

#include <cstddef>
#include <list>

namespace sentry::fs::pseudo {

class SnapshotHolder {
 public:
  virtual ~SnapshotHolder() { forget(); }
  // Gives the memory back; asked at any time between two reads.
  virtual void drop() = 0;

 protected:
  SnapshotHolder() = default;
  SnapshotHolder(const SnapshotHolder&) = delete;
  SnapshotHolder& operator=(const SnapshotHolder&) = delete;
  // The holder keeps about this much from now on; others may be dropped for it.
  void account(size_t bytes);
  void forget();

 private:
  size_t bytes_ = 0;
  bool listed_ = false;
  std::list<SnapshotHolder*>::iterator position_;
};

// What all holders keep now, and may keep together.
size_t kept_bytes();
inline constexpr size_t kKeptBytesLimit = 16 << 20;

}  // namespace sentry::fs::pseudo
