#include "sentry/base/extent_set.h"

#include <algorithm>

namespace sentry {

ExtentSet::Ranges::const_iterator ExtentSet::first_after(uint64_t page) const {
  auto range = ranges_.upper_bound(page);
  if (range != ranges_.begin() && std::prev(range)->second > page) --range;
  return range;
}

uint64_t ExtentSet::missing(uint64_t start, uint64_t end) const {
  if (start >= end) return 0;
  uint64_t present = 0;
  for (auto range = first_after(start); range != ranges_.end() && range->first < end; ++range)
    present += std::min(range->second, end) - std::max(range->first, start);
  return end - start - present;
}

uint64_t ExtentSet::add(uint64_t start, uint64_t end) {
  if (start >= end) return 0;
  const uint64_t added = missing(start, end);
  if (added == 0) return 0;
  // Touching ranges become one with the new one.
  auto range = ranges_.upper_bound(start);
  if (range != ranges_.begin() && std::prev(range)->second >= start) --range;
  while (range != ranges_.end() && range->first <= end) {
    start = std::min(start, range->first);
    end = std::max(end, range->second);
    range = ranges_.erase(range);
  }
  ranges_.emplace_hint(range, start, end);
  count_ += added;
  return added;
}

uint64_t ExtentSet::remove(uint64_t start, uint64_t end) {
  if (start >= end) return 0;
  uint64_t removed = 0;
  for (auto range = first_after(start); range != ranges_.end() && range->first < end;) {
    const auto [from, to] = *range;
    range = ranges_.erase(range);
    if (from < start) ranges_.emplace(from, start);
    if (to > end) ranges_.emplace(end, to);
    removed += std::min(to, end) - std::max(from, start);
  }
  count_ -= removed;
  return removed;
}

uint64_t ExtentSet::next(uint64_t page, bool present) const {
  const auto range = first_after(page);
  if (present) return range == ranges_.end() ? ~uint64_t{0} : std::max(page, range->first);
  if (range == ranges_.end() || range->first > page) return page;
  return range->second;  // ranges do not touch
}

void ExtentSet::clear() {
  ranges_.clear();
  count_ = 0;
}

}  // namespace sentry
