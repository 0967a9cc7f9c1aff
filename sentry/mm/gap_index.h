// The unmapped ranges of an address space, found by size without walking over the mappings between them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace sentry::mm {

class GapIndex {
 public:
  // All of [floor, ceiling) is unmapped.
  GapIndex(uint64_t floor, uint64_t ceiling) { add(floor, ceiling); }

  // The range is mapped now, whatever of it was before; the range is not any more.
  void take(uint64_t start, uint64_t end);
  void give(uint64_t start, uint64_t end);

  // The highest start of `length` unmapped bytes that end at `top` at most. `reserved` says how many bytes
  // must stay free at the end of a gap with this ceiling: below a stack.
  std::optional<uint64_t> highest(uint64_t length, uint64_t top,
                                  const std::function<uint64_t(uint64_t ceiling)>& reserved) const;

 private:
  void add(uint64_t floor, uint64_t ceiling);
  void remove(std::map<uint64_t, uint64_t>::iterator gap);
  // The first gap that ends at `start` or above it.
  std::map<uint64_t, uint64_t>::iterator reaching(uint64_t start);

  std::map<uint64_t, uint64_t> gaps_;  // floor to ceiling
  // The same by the bits of their size, then by their floor: of a request's own class some are too small, of
  // those above none is, but for what `top` and `reserved` cut off.
  std::set<std::pair<int, uint64_t>> by_size_;
};

}  // namespace sentry::mm
