// A set of pages as disjoint half-open ranges of their numbers: which of a file have memory, say.
#pragma once

#include <cstdint>
#include <map>

namespace sentry {

class ExtentSet {
 public:
  uint64_t count() const { return count_; }
  // How many pages of [start, end) are not in the set.
  uint64_t missing(uint64_t start, uint64_t end) const;
  // Adds, removes [start, end); how many pages changed.
  uint64_t add(uint64_t start, uint64_t end);
  uint64_t remove(uint64_t start, uint64_t end);
  // The first page from `page` that is (or is not) in the set; ~0 for none.
  uint64_t next(uint64_t page, bool present) const;
  bool contains(uint64_t page) const { return next(page, true) == page; }
  void clear();
  uint64_t ranges() const { return ranges_.size(); }

 private:
  using Ranges = std::map<uint64_t, uint64_t>;              // start to end
  Ranges::const_iterator first_after(uint64_t page) const;  // the first range that ends beyond `page`
  Ranges ranges_;
  uint64_t count_ = 0;
};

}  // namespace sentry
