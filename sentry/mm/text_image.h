// Program text with cheaper call sites, for platforms that make them so (platform::SitePatcher).
//
// An image belongs to a file. Its pages are the file's with some call sites rewritten; they and the
// trampolines that the sites jump to are the sandbox's own memory, shared by every process that maps the
// file. A page that is mapped anywhere never changes: one more site makes another version of it. What a
// process itself has written into its text never gets into an image.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "sentry/mm/mappable.h"
#include "sentry/mm/memory_file.h"
#include "sentry/platform/platform.h"

namespace sentry::mm {

class TextImage {
 public:
  static constexpr uint64_t kTrampolines = 0x10000;   // bytes
  static constexpr uint64_t kLargestText = 64 << 20;  // that is mapped from an image

  // ENOSPC where there is no memory for the trampolines. `base` is where the file's offset 0 would be mapped
  // by the first that needs the image.
  static Result<std::unique_ptr<TextImage>> create(MemoryFile& memory, platform::SitePatcher& patcher,
                                                   uint64_t base);

  // Unlike a pointer never used again.
  uint64_t id() const { return id_; }
  // How far the trampolines are from where the file's offset 0 would be mapped; negative: below it, as they
  // are but for programs whose place is fixed and low.
  int64_t distance() const { return distance_; }
  const std::shared_ptr<Mappable>& trampolines() const { return trampolines_; }

  // Rewrites the site of the `syscall` instruction at this offset of the file, which has been executed.
  // Whether there is a new version of its page. Each site is tried once.
  bool patch(Mappable& file, uint64_t site);

  // Counts a call that would be cheaper rewritten: whether there have been many, in whatever processes.
  bool often(uint64_t site) {
    constexpr size_t kSites = 4096;  // that are counted
    constexpr uint8_t kOften = 4;
    if (hits_.size() >= kSites && !hits_.contains(site)) return false;
    uint8_t& hits = hits_[site];
    return hits >= kOften || ++hits >= kOften;
  }

  // Whether the page at this offset has rewritten sites; and the first such page from an offset on, or ~0.
  bool has(uint64_t page) const { return pages_.contains(page); }
  uint64_t next_page(uint64_t offset) const {
    const auto next = pages_.lower_bound(offset);
    return next == pages_.end() ? ~uint64_t{0} : next->first;
  }
  // How many sites have been rewritten, and of which of them a page's latest version, or what a whole text is
  // mapped from, is the last.
  size_t patches() const { return patches_; }
  size_t patches_of(uint64_t page) const {
    const auto found = pages_.find(page);
    return found == pages_.end() ? 0 : found->second.patches;
  }
  size_t patches_mapped(uint64_t offset, uint64_t length) const {
    return whole_for(offset, length) != nullptr ? wholes_.back().patches : patches_;
  }
  // Whether these bytes are what the file has at this page, or what this image has made of it at some time.
  bool is_version(uint64_t page, std::span<const std::byte> bytes) const;

  // What a place in the trampolines stands for. Before one of the displaced instructions: that instruction's
  // place in the file; after them: the `syscall` behind them.
  struct Origin {
    uint64_t place;         // from the trampolines' start to there
    bool executed = false;  // the first displaced instruction
  };
  // The displaced instruction that a place in the text stands for, if that is on the way to a trampoline.
  std::optional<uint64_t> behind_springboard(uint64_t offset) const {
    const auto found = springboards_.find(offset);
    return found == springboards_.end() ? std::nullopt : std::optional(found->second);
  }
  // nullopt if `file` is no image's trampolines, or nothing is there.
  static std::optional<Origin> origin(const Mappable& file, uint64_t offset);

  // Where to map [offset, offset + length) from: the image's memory or, where it has none, the file's.
  Result<Mappable::Backing> backing(Mappable& file, uint64_t offset, uint64_t length);
  // Where in there the image's memory comes first.
  std::optional<uint64_t> own_from(uint64_t offset, uint64_t length) const {
    if (whole_for(offset, length) != nullptr) return offset;
    const uint64_t next = next_page(offset);
    return next < offset + length ? std::optional(next) : std::nullopt;
  }
  // The text is being mapped once more; from some number of times on one run of memory for all of it is worth
  // having.
  void mapped(Mappable& file, uint64_t offset, uint64_t length);

 private:
  class Trampolines;
  struct Page {
    std::vector<std::byte> original, current;
    std::vector<std::unique_ptr<MemorySlice>> versions;
    size_t patches = 0;  // of the image, with the last of this page's
  };
  struct Whole {
    uint64_t offset = 0, length = 0;
    size_t patches = 0;
    std::unique_ptr<MemorySlice> slice;
  };

  TextImage(MemoryFile& memory, platform::SitePatcher& patcher) : memory_(memory), patcher_(patcher) {}

  std::vector<std::byte> context_of(Mappable& file, uint64_t page);
  const Whole* whole_for(uint64_t offset, uint64_t length) const;

  static uint64_t last_id_;
  const uint64_t id_ = ++last_id_;
  MemoryFile& memory_;
  platform::SitePatcher& patcher_;
  int64_t distance_ = 0;
  std::shared_ptr<Mappable> trampolines_;
  Trampolines* own_trampolines_ = nullptr;
  uint64_t trampolines_used_ = 0;
  std::map<uint64_t, Page> pages_;
  std::set<uint64_t> tried_;
  std::unordered_map<uint64_t, uint8_t> hits_;
  std::map<uint64_t, uint64_t> springboards_;
  size_t patches_ = 0;
  size_t mapped_ = 0;
  std::vector<Whole> wholes_;  // the last is the one in use; earlier ones may still be mapped
};

}  // namespace sentry::mm
