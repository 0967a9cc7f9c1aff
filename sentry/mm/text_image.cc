#include "sentry/mm/text_image.h"

#include <sys/random.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

namespace sentry::mm {
namespace {

using platform::kPageSize;

// Reads a run of the file's pages without waiting: what is being executed is in the host's cache, or in the
// sandbox's memory. False otherwise.
bool read_pages(const MemoryFile& memory, Mappable& file, uint64_t offset, std::span<std::byte> to) {
  while (!to.empty()) {
    const Result<Mappable::Backing> backing = file.backing(offset, to.size(), false);
    if (!backing.ok() || backing->host_fd < 0) return false;
    const size_t want = static_cast<size_t>(std::min<uint64_t>(to.size(), backing->length));
    const iovec piece{to.data(), want};
    const int flags = backing->host_fd == memory.host_fd() ? 0 : RWF_NOWAIT;  // which memory does not know
    const ssize_t got =
        ::preadv2(backing->host_fd, &piece, 1, static_cast<off_t>(backing->host_offset), flags);
    if (got <= 0) return false;
    offset += static_cast<uint64_t>(got);
    to = to.subspan(static_cast<size_t>(got));
    // The file's last page ends in zeros.
    if (offset % kPageSize != 0 && to.size() < kPageSize && static_cast<size_t>(got) < want) {
      std::memset(to.data(), 0, to.size());
      return true;
    }
  }
  return true;
}

}  // namespace

uint64_t TextImage::last_id_ = 0;

class TextImage::Trampolines final : public Mappable {
 public:
  explicit Trampolines(std::unique_ptr<MemorySlice> slice) : slice_(std::move(slice)) {}
  Result<Backing> backing(uint64_t offset, uint64_t length, bool) override {
    if (offset >= kTrampolines) return Backing{-1, 0, length};
    return Backing{slice_->host_fd(), slice_->host_offset(offset), std::min(length, kTrampolines - offset)};
  }
  Identity identity() const override { return {"[trampolines]", 0, 0, 0}; }
  MemorySlice& slice() { return *slice_; }

  // One site's: [start, end), by its start. Distances are from the trampolines' start.
  struct Entry {
    uint64_t end;
    uint64_t displaced;  // bytes of the instructions it begins with
    int64_t site;        // the `syscall`
  };
  void add(uint64_t start, const Entry& entry) { entries_.emplace(start, entry); }
  std::optional<Origin> origin(uint64_t offset) const {
    auto next = entries_.upper_bound(offset);
    if (next == entries_.begin()) return std::nullopt;
    const auto& [start, entry] = *--next;
    if (offset >= entry.end) return std::nullopt;
    const uint64_t left = entry.displaced - std::min(offset - start, entry.displaced);
    return Origin{static_cast<uint64_t>(entry.site) - left, offset != start};
  }

 private:
  std::unique_ptr<MemorySlice> slice_;
  std::map<uint64_t, Entry> entries_;
};

std::optional<TextImage::Origin> TextImage::origin(const Mappable& file, uint64_t offset) {
  const auto* const trampolines = dynamic_cast<const Trampolines*>(&file);
  return trampolines == nullptr ? std::nullopt : trampolines->origin(offset);
}

Result<std::unique_ptr<TextImage>> TextImage::create(MemoryFile& memory, platform::SitePatcher& patcher,
                                                     uint64_t base) {
  std::unique_ptr<TextImage> image(new TextImage(memory, patcher));
  auto trampolines = std::make_shared<Trampolines>(TRY(memory.allocate(kTrampolines)));
  const std::vector<std::byte> header = patcher.region_header();
  TRY(trampolines->slice().write(0, header.data(), header.size()));
  image->trampolines_used_ = header.size();
  image->own_trampolines_ = trampolines.get();
  image->trampolines_ = std::move(trampolines);
  // Somewhere 256 to 512 MiB below: within a jump's reach, and rarely where another file's are. A program
  // that must lie low has its own 1 to 1.25 GiB above, with the heap's room in between.
  uint32_t random = 0;
  if (::getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random = 0;
  const auto spread = static_cast<int64_t>((random % 0x1000) * kTrampolines);
  const bool low = base < (uint64_t{1} << 30);
  image->distance_ = low ? (int64_t{1} << 30) + spread : -((int64_t{256} << 20) + spread);
  return image;
}

// What the file has before a page of text: where an instruction begins, the ones before it tell.
std::vector<std::byte> TextImage::context_of(Mappable& file, uint64_t page) {
  std::byte before[kPageSize];
  if (page < kPageSize || !read_pages(memory_, file, page - kPageSize, before)) return {};
  return {std::end(before) - platform::SitePatcher::kContext, std::end(before)};
}

bool TextImage::patch(Mappable& file, uint64_t site) {
  if (!tried_.insert(site).second) return false;
  const uint64_t page = site & ~(kPageSize - 1);
  const auto known = pages_.find(page);
  Page fresh;
  Page* state = &fresh;
  if (known != pages_.end()) {
    state = &known->second;
  } else {
    fresh.original.resize(kPageSize);
    if (!read_pages(memory_, file, page, fresh.original)) return false;
    fresh.current = fresh.original;
  }
  const std::vector<std::byte> before = context_of(file, page);
  const auto behind_it = [&](const std::vector<std::byte>& text) {
    std::vector<std::byte> all = before;
    all.insert(all.end(), text.begin(), text.end());
    return all;
  };
  const std::vector<std::byte> original = behind_it(state->original), current = behind_it(state->current);
  const size_t context = before.size();
  const int64_t to_region = distance_ - static_cast<int64_t>(page - context);
  const auto patch = patcher_.patch({original, current, context}, context + static_cast<size_t>(site - page),
                                    to_region + static_cast<int64_t>(trampolines_used_), to_region);
  if (!patch || trampolines_used_ + patch->outside.size() > kTrampolines) return false;
  auto slice = memory_.allocate(kPageSize);
  if (!slice.ok()) return false;
  MemorySlice& outside = own_trampolines_->slice();
  if (!outside.write(trampolines_used_, patch->outside.data(), patch->outside.size()).ok()) return false;
  std::vector<std::byte> next = state->current;
  for (const auto& edit : patch->edits)
    std::copy(edit.code.begin(), edit.code.end(),
              next.begin() + static_cast<ptrdiff_t>(edit.offset - context));
  if (!(*slice)->write(0, next.data(), next.size()).ok()) return false;
  own_trampolines_->add(trampolines_used_,
                        {trampolines_used_ + patch->outside.size(),
                         context + (site - page) - patch->displaced, static_cast<int64_t>(site) - distance_});
  const uint64_t start = page - context;
  if (patch->springboard) springboards_.emplace(start + *patch->springboard, start + patch->displaced);
  trampolines_used_ = (trampolines_used_ + patch->outside.size() + 7) & ~uint64_t{7};
  state->current = std::move(next);
  state->versions.push_back(std::move(*slice));
  state->patches = ++patches_;
  if (state == &fresh) pages_.emplace(page, std::move(fresh));
  return true;
}

bool TextImage::is_version(uint64_t page, std::span<const std::byte> bytes) const {
  const auto found = pages_.find(page);
  if (found == pages_.end() || bytes.size() != kPageSize) return false;
  const Page& known = found->second;
  const auto same = [&](const std::byte* other) { return std::memcmp(bytes.data(), other, kPageSize) == 0; };
  if (same(known.original.data()) || same(known.current.data())) return true;
  std::byte version[kPageSize];
  return std::any_of(known.versions.begin(), known.versions.end(), [&](const auto& slice) {
    return slice->read(0, version, sizeof version).ok() && same(version);
  });
}

// A site or two less are better than a mapping for each page. Who wants a single page wants the latest.
const TextImage::Whole* TextImage::whole_for(uint64_t offset, uint64_t length) const {
  if (wholes_.empty()) return nullptr;
  const Whole& whole = wholes_.back();
  const bool within = offset >= whole.offset && offset + length <= whole.offset + whole.length;
  return within && (whole.patches == patches_ || length > kPageSize) ? &whole : nullptr;
}

Result<Mappable::Backing> TextImage::backing(Mappable& file, uint64_t offset, uint64_t length) {
  if (const Whole* const whole = whole_for(offset, length))
    return Mappable::Backing{whole->slice->host_fd(), whole->slice->host_offset(offset - whole->offset),
                             length};
  const auto next = pages_.lower_bound(offset);
  if (next == pages_.end() || next->first >= offset + length) return file.backing(offset, length, false);
  if (next->first > offset) return file.backing(offset, next->first - offset, false);
  const MemorySlice& slice = *next->second.versions.back();
  return Mappable::Backing{slice.host_fd(), slice.host_offset(0), kPageSize};
}

void TextImage::mapped(Mappable& file, uint64_t offset, uint64_t length) {
  constexpr size_t kWorthIt = 6;
  if (++mapped_ < kWorthIt || patches_ == 0 || length > kLargestText / 4) return;
  const size_t have = wholes_.empty() ? 0 : wholes_.back().patches;
  // A page or two more than there were are not worth another copy.
  if (have != 0 && (patches_ == have || (mapped_ % 32 != 0 && patches_ < have + have / 4 + 4))) return;
  std::vector<std::byte> text(length);
  if (!read_pages(memory_, file, offset, text)) return;
  for (const auto& [page, state] : pages_)
    if (page >= offset && page + kPageSize <= offset + length)
      std::copy(state.current.begin(), state.current.end(),
                text.begin() + static_cast<ptrdiff_t>(page - offset));
  auto slice = memory_.allocate(length);
  if (!slice.ok() || !(*slice)->write(0, text.data(), text.size()).ok()) return;
  wholes_.push_back({offset, length, patches_, std::move(*slice)});
}

}  // namespace sentry::mm
