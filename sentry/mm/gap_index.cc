#include "sentry/mm/gap_index.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace sentry::mm {
namespace {

int size_class(uint64_t size) { return static_cast<int>(std::bit_width(size)); }

}  // namespace

void GapIndex::add(uint64_t floor, uint64_t ceiling) {
  if (floor >= ceiling) return;
  gaps_.emplace(floor, ceiling);
  by_size_.emplace(size_class(ceiling - floor), floor);
}

void GapIndex::remove(std::map<uint64_t, uint64_t>::iterator gap) {
  by_size_.erase({size_class(gap->second - gap->first), gap->first});
  gaps_.erase(gap);
}

std::map<uint64_t, uint64_t>::iterator GapIndex::reaching(uint64_t start) {
  auto gap = gaps_.upper_bound(start);
  if (gap != gaps_.begin() && std::prev(gap)->second >= start) --gap;
  return gap;
}

void GapIndex::take(uint64_t start, uint64_t end) {
  for (auto gap = reaching(start + 1); gap != gaps_.end() && gap->first < end; gap = reaching(start + 1)) {
    const auto [floor, ceiling] = *gap;
    remove(gap);
    add(floor, std::max(floor, start));
    add(std::min(ceiling, end), ceiling);
  }
}

void GapIndex::give(uint64_t start, uint64_t end) {
  for (auto gap = reaching(start); gap != gaps_.end() && gap->first <= end; gap = reaching(start)) {
    start = std::min(start, gap->first);
    end = std::max(end, gap->second);
    remove(gap);
  }
  add(start, end);
}

std::optional<uint64_t> GapIndex::highest(uint64_t length, uint64_t top,
                                          const std::function<uint64_t(uint64_t)>& reserved) const {
  std::optional<uint64_t> best;
  auto above = by_size_.end();
  while (above != by_size_.begin()) {
    const int bits = std::prev(above)->first;
    if (bits < size_class(length)) break;
    const auto first = by_size_.lower_bound({bits, 0});
    for (auto next = by_size_.lower_bound({bits, top}); next != first;) {
      --next;
      const uint64_t floor = next->second, ceiling = gaps_.at(floor);
      if (best && ceiling <= *best) break;
      const uint64_t end = ceiling > top ? top : ceiling - std::min(reserved(ceiling), ceiling - floor);
      if (end - floor < length) continue;
      best = std::max(best.value_or(0), end - length);
      break;
    }
    above = first;
  }
  return best;
}

}  // namespace sentry::mm
