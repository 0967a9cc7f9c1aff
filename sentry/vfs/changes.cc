#include "sentry/vfs/changes.h"

#include <algorithm>

#include "sentry/vfs/inode.h"

namespace sentry::vfs {
namespace {

uint64_t own_count = 1;

}  // namespace

std::span<uint64_t> detail::counts{&own_count, 1};

void count_changes_at(std::span<uint64_t> place) {
  place[0] = detail::counts[0] + 1;
  detail::counts = place;
}

ChangeKey next_change_key() {
  static size_t last = 0;
  const size_t keys = detail::counts.size() - 1;
  return keys == 0 ? kEverything : static_cast<ChangeKey>(1 + last++ % keys);
}

void changed(const Inode& inode) { changed(inode.asked_change_key()); }

void Grounds::add(Inode& inode) {
  const ChangeKey key = inode.change_key();
  const auto known = keys();
  if (key == kEverything || std::find(known.begin(), known.end(), key) != known.end()) return;
  if (size_ == kMost) return give_up();
  keys_[size_++] = key;
  changes_ += detail::count(key);
}

}  // namespace sentry::vfs
