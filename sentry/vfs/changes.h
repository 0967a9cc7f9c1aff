// Counts what may make another answer of stat(2) out of the same path: names, attributes, mounts. There are
// many counts: the first is of whatever may change anything, the others are of the inodes that somebody has
// asked about, several of which may share one. An answer is right as long as the first count and those of all
// that it rests on are the same (Grounds).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sentry::vfs {

class Inode;

// Which count. Of an inode: kNobodyAsked until somebody does.
using ChangeKey = uint16_t;
inline constexpr ChangeKey kNobodyAsked = 0, kEverything = 0xffff;

namespace detail {
extern std::span<uint64_t> counts;
inline uint64_t& count(ChangeKey key) { return counts[key == kEverything ? 0 : key]; }
}  // namespace detail

// From now on counts there: in memory that others read as well. At most kEverything counts.
void count_changes_at(std::span<uint64_t> place);
// For one more inode.
ChangeKey next_change_key();

inline void changed(ChangeKey key = kEverything) {
  if (key == kNobodyAsked) return;
  uint64_t& count = detail::count(key);
  __atomic_store_n(&count, count + 1, __ATOMIC_SEQ_CST);
}
// What is true of this inode: its attributes, a directory's names.
void changed(const Inode& inode);

// What an answer rests on. Each inode is to be added before it is looked at.
class Grounds {
 public:
  static constexpr size_t kMost = 14;

  void add(Inode& inode);
  // Not if there are too many, or something that is not counted.
  bool complete() const { return complete_; }
  void give_up() { complete_ = false; }
  // Those beside the first, and the sum of all as it was: counts only grow, so the same sum is the same
  // counts.
  std::span<const ChangeKey> keys() const { return {keys_.data(), size_}; }
  uint64_t changes() const { return changes_; }

 private:
  std::array<ChangeKey, kMost> keys_{};
  size_t size_ = 0;
  uint64_t changes_ = detail::count(kEverything);
  bool complete_ = true;
};

}  // namespace sentry::vfs
