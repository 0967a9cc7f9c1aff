#include "sentry/mm/address_space_map.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "sentry/base/log.h"
#include "sentry/mm/text_image.h"

namespace sentry::mm {
namespace {

// Well below the host's vm.max_map_count (65,530), so that an order never fails half way.
constexpr size_t kMaxVmas = 60'000;

// Shared anonymous memory: a slice of the memory file.
class SharedAnonymous final : public Mappable {
 public:
  SharedAnonymous(std::unique_ptr<MemorySlice> slice, uint64_t size)
      : slice_(std::move(slice)), size_(size) {}
  Result<Backing> backing(uint64_t offset, uint64_t length, bool) override {
    if (offset >= size_) return Backing{-1, 0, length};
    return Backing{slice_->host_fd(), slice_->host_offset(offset), std::min(length, size_ - offset)};
  }
  Result<> punch(uint64_t offset, uint64_t length) override {
    if (offset >= size_) return {};
    return slice_->discard(offset, std::min(length, size_ - offset));
  }
  Identity identity() const override { return {"/dev/zero (deleted)", 0, 1, 0}; }

 private:
  std::unique_ptr<MemorySlice> slice_;
  uint64_t size_;  // whole pages
};

bool mergeable(const Vma& left, uint64_t left_start, const Vma& right, uint64_t right_start) {
  return left.end == right_start && left.prot == right.prot && left.max_prot == right.max_prot &&
         left.shared == right.shared && left.grows_down == right.grows_down && left.locked == right.locked &&
         left.dont_fork == right.dont_fork && left.wipe_on_fork == right.wipe_on_fork &&
         left.no_reserve == right.no_reserve && left.file == right.file && left.name == right.name &&
         (left.file == nullptr || left.offset + (left.end - left_start) == right.offset);
}

// Pieces of memory that the host may keep apart. Only those that lie wholly inside are of no account any
// more.
using Pieces = std::set<std::pair<uint64_t, uint64_t>>;
void forget_pieces(Pieces& pieces, uint64_t start, uint64_t end) {
  auto next = pieces.lower_bound({start, 0});
  while (next != pieces.end() && next->first < end) next = next->second <= end ? pieces.erase(next) : ++next;
}
// Where they begin and end within a range, and its own ends.
std::vector<uint64_t> bounds_within(const Pieces& pieces, uint64_t start, uint64_t end) {
  std::vector<uint64_t> bounds{start, end};
  for (auto piece = pieces.begin(); piece != pieces.end() && piece->first < end; ++piece)
    for (const uint64_t bound : {piece->first, piece->second})
      if (bound > start && bound < end) bounds.push_back(bound);
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  return bounds;
}

}  // namespace

Mappable::Mappable() = default;
Mappable::~Mappable() = default;

void Mappable::text_changes() {
  if (text_image_ != nullptr) retired_images_.push_back(std::move(text_image_));
}

AddressSpaceMap::AddressSpaceMap(std::unique_ptr<platform::AddressSpace> space, MemoryFile& memory_file,
                                 bool randomize)
    : space_(std::move(space)), memory_file_(memory_file) {
  uint64_t random = 0;
  if (randomize && ::getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random = 0;
  mmap_top_ = kGuestEnd - kStackRoom - ((random & 0xfffff) << 12);
}

AddressSpaceMap::~AddressSpaceMap() {
  for (auto& [start, vma] : vmas_) detach(vma);
}

void AddressSpaceMap::attach(const Vma& vma) {
  if (vma.file != nullptr) vma.file->maps_.insert(this);
}

void AddressSpaceMap::detach(const Vma& vma) {
  if (vma.file == nullptr) return;
  const auto position = vma.file->maps_.find(this);
  if (position != vma.file->maps_.end()) vma.file->maps_.erase(position);
}

void AddressSpaceMap::keep_window(Mappable& file) { file.windowed_.insert(this); }

void AddressSpaceMap::forget_window(Mappable& file) {
  const auto position = file.windowed_.find(this);
  if (position != file.windowed_.end()) file.windowed_.erase(position);
}

const Vma* AddressSpaceMap::find(uint64_t address) const {
  auto next = vmas_.upper_bound(address);
  if (next == vmas_.begin()) return nullptr;
  --next;
  return address < next->second.end ? &next->second : nullptr;
}

// What a VMA adds to the sums that limits are about. Its bytes are counted once it is in the map.
void AddressSpaceMap::count(uint64_t start, const Vma& vma, int sign) {
  const uint64_t bytes = (vma.end - start) * static_cast<uint64_t>(static_cast<int64_t>(sign));
  mapped_bytes_ += bytes;
  if (!vma.shared && (vma.prot & PROT_WRITE) != 0 && !vma.grows_down) data_bytes_ += bytes;
  if (vma.locked) locked_bytes_ += bytes;
}

bool AddressSpaceMap::covered(uint64_t start, uint64_t end) const {
  return start >= end || mapped_from(start) >= end - start;
}

uint64_t AddressSpaceMap::mapped_from(uint64_t start) const {
  uint64_t end = start;
  auto next = vmas_.upper_bound(start);
  if (next != vmas_.begin()) --next;
  for (; next != vmas_.end() && next->first <= end; ++next) end = std::max(end, next->second.end);
  return end - start;
}

Result<uint64_t> AddressSpaceMap::find_gap(uint64_t length, uint64_t hint, uint64_t limit) const {
  const auto free_at = [&](uint64_t start) {
    if (start < kGuestStart || start > kGuestEnd || length > kGuestEnd - start) return false;
    const auto next = vmas_.lower_bound(start);
    if (next != vmas_.end()) {
      const uint64_t gap = next->second.grows_down ? kStackGap : 0;
      if (start + length + gap > next->first) return false;
    }
    return next == vmas_.begin() || std::prev(next)->second.end <= start;
  };
  if (hint != 0 && free_at(page_floor(hint))) return page_floor(hint);
  // Top down, as Linux does.
  const auto below_stack = [&](uint64_t ceiling) {
    const auto above = vmas_.find(ceiling);
    return above != vmas_.end() && above->second.grows_down ? kStackGap : uint64_t{0};
  };
  for (const uint64_t top : {std::min(mmap_top_, limit), limit})
    if (const auto start = gaps_.highest(length, top, below_stack)) return *start;
  return Errno(ENOMEM);
}

Result<> AddressSpaceMap::split_at(uint64_t address) {
  auto next = vmas_.upper_bound(address);
  if (next == vmas_.begin()) return {};
  --next;
  if (next->first >= address || next->second.end <= address) return {};
  if (vmas_.size() >= kMaxVmas) return Errno(ENOMEM);
  Vma upper = next->second;
  upper.offset += address - next->first;
  next->second.end = address;
  attach(upper);
  vmas_.emplace(address, std::move(upper));
  return {};
}

void AddressSpaceMap::forget(uint64_t start, uint64_t end) {
  ++changes_;
  auto next = vmas_.lower_bound(start);
  while (next != vmas_.end() && next->second.end <= end) {
    detach(next->second);
    if (next->second.file != nullptr && (next->second.prot & PROT_EXEC) != 0)
      lose_trampolines(*next->second.file);
    count(next->first, next->second, -1);
    gaps_.give(next->first, next->second.end);
    next = vmas_.erase(next);
  }
}

void AddressSpaceMap::insert(uint64_t start, Vma vma) {
  ++changes_;
  // Guest code changes what it may write, and text gets other pages.
  if ((vma.prot & (PROT_WRITE | PROT_EXEC)) != 0) vma.untouched = false;
  count(start, vma, 1);
  gaps_.take(start, vma.end);
  attach(vma);
  auto [here, fresh] = vmas_.emplace(start, std::move(vma));
  BULKHEAD_CHECK(fresh, "a mapping over another at {:#x}", start);
  const auto next = std::next(here);
  if (next != vmas_.end() && mergeable(here->second, here->first, next->second, next->first)) {
    here->second.end = next->second.end;
    here->second.untouched &= next->second.untouched;
    detach(next->second);
    vmas_.erase(next);
  }
  if (here != vmas_.begin()) {
    const auto previous = std::prev(here);
    if (mergeable(previous->second, previous->first, here->second, here->first)) {
      previous->second.end = here->second.end;
      previous->second.untouched &= here->second.untouched;
      detach(here->second);
      vmas_.erase(here);
    }
  }
}

bool AddressSpaceMap::shows(uint64_t start, const Vma& vma) const {
  if (vma.file == nullptr || vma.shared) return false;
  auto here = vmas_.upper_bound(start);
  if (here == vmas_.begin()) return false;
  --here;
  for (uint64_t at = start; at < vma.end; ++here) {
    if (here == vmas_.end() || here->first > at || here->second.end <= at) return false;
    const Vma& there = here->second;
    if (!there.untouched || there.file != vma.file ||
        there.offset + (at - here->first) != vma.offset + (at - start))
      return false;
    at = there.end;
  }
  return beyond_.next(start / kPageSize, true) >= vma.end / kPageSize;
}

bool AddressSpaceMap::protected_otherwise(uint64_t start, const Vma& vma) const {
  auto here = std::prev(vmas_.upper_bound(start));
  for (; here != vmas_.end() && here->first < vma.end; ++here)
    if (here->second.prot != vma.prot) return true;
  return false;
}

// Maps [from, to) of a VMA that starts at `start`; where the file's pages are shown already, nothing but what
// an image has in place of them.
Result<> AddressSpaceMap::host_map(uint64_t start, const Vma& vma, uint64_t from, uint64_t to, bool shown) {
  const int prot = vma.prot & kProtMask;
  beyond_.remove(from / kPageSize, to / kPageSize);
  // What may be promised to the guest has been looked at: the host shall not refuse it afterwards.
  if (vma.file == nullptr)
    return space_->map({from, to - from, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE});
  while (from < to) {
    const uint64_t offset = vma.offset + (from - start);
    TextImage* const image = image_for(start, vma);
    if (shown) {
      const auto own = image == nullptr ? std::nullopt : image->own_from(offset, to - from);
      if (!own) return {};
      if (*own > offset) {
        from += *own - offset;
        continue;
      }
    }
    const Mappable::Backing backing = image != nullptr
                                          ? TRY(image->backing(*vma.file, offset, to - from))
                                          : TRY(vma.file->backing(offset, to - from, vma.writes_file()));
    const uint64_t length = std::min(backing.length, to - from);
    if (length == 0 || length % kPageSize != 0) return Errno(EIO);
    if (backing.host_fd < 0) {
      TRY(map_beyond(start, vma, from, from + length));
    } else {
      TRY(space_->map({from, length, prot, vma.sharing(), backing.host_fd, backing.host_offset}));
    }
    from += length;
  }
  return {};
}

Result<> AddressSpaceMap::unmap(uint64_t start, uint64_t length) {
  beyond_.remove(start / kPageSize, (start + length) / kPageSize);
  return space_->unmap(start, length);
}

void AddressSpaceMap::await_fork() {
  if (!forking_ || Fiber::current() == nullptr) return;
  FiberWaiter waiter;
  waiter.join(forked_);
  while (forking_) Fiber::park();
}

Result<uint64_t> AddressSpaceMap::mmap(const MmapRequest& request) {
  await_fork();
  if (request.length == 0) return Errno(EINVAL);
  const uint64_t length = page_ceil(request.length);
  if (length == 0 || length > kGuestEnd) return Errno(ENOMEM);
  const bool fixed = (request.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  uint64_t start = request.address;
  if (fixed) {
    if (start % kPageSize != 0) return Errno(EINVAL);
    if (start > kGuestEnd || length > kGuestEnd - start) return Errno(ENOMEM);
    if (start < kGuestStart) return Errno(EPERM);  // vm.mmap_min_addr
    if ((request.flags & MAP_FIXED_NOREPLACE) != 0) {
      const auto next = vmas_.lower_bound(start);
      if ((next != vmas_.end() && next->first < start + length) || find(start) != nullptr)
        return Errno(EEXIST);
    }
  }
  if (vmas_.size() + 2 >= kMaxVmas) return Errno(ENOMEM);
  if (mapped_bytes_ + length > limits_.address_space) return Errno(ENOMEM);
  const bool shared = (request.flags & MAP_SHARED) != 0;
  if (!shared && (request.prot & PROT_WRITE) != 0 && limits_.data != ~0ull &&
      data_bytes_ + length > limits_.data)
    return Errno(ENOMEM);
  if (!shared && (request.prot & PROT_WRITE) != 0 && (request.flags & MAP_NORESERVE) == 0 &&
      length > limits_.overcommit)
    return Errno(ENOMEM);
  constexpr uint64_t kLow = uint64_t{1} << 31;
  const bool low = (request.flags & MAP_32BIT) != 0;
  if (!fixed) start = TRY(find_gap(length, low ? 0 : request.address, low ? kLow : kGuestEnd));

  Vma vma;
  vma.end = start + length;
  vma.prot = request.prot & kProtMask;
  vma.max_prot = request.max_prot;
  vma.shared = shared;
  vma.grows_down = (request.flags & MAP_GROWSDOWN) != 0;
  vma.locked = (request.flags & MAP_LOCKED) != 0;
  vma.no_reserve = (request.flags & MAP_NORESERVE) != 0;
  vma.file = request.file;
  vma.offset = request.file != nullptr ? request.offset : 0;
  vma.name = request.name;

  TRY(split_at(start));
  TRY(split_at(start + length));
  if (TextImage* const image = text_image(vma);
      image != nullptr && length <= TextImage::kLargestText && reach_trampolines(*image, start - vma.offset))
    image->mapped(*vma.file, vma.offset, length);
  const bool shown = shows(start, vma);
  if (shown && protected_otherwise(start, vma)) TRY(space_->protect(start, length, vma.prot));
  const Result<> mapped = host_map(start, vma, start, vma.end, shown);
  if (!mapped.ok()) {
    // What was there may be gone in part: take the whole range away, so that map and host agree.
    (void)unmap(start, length);
    forget(start, start + length);
    return mapped.error();
  }
  forget(start, start + length);
  forget_pieces(mapped_anew_, start, start + length);
  if (TextImage* const image = image_for(start, vma))
    images_[image->id()].text_mapped(image->patches_mapped(vma.offset, length));
  vma.untouched = vma.file != nullptr && !vma.shared;
  insert(start, std::move(vma));
  if ((request.flags & (MAP_POPULATE | MAP_LOCKED)) != 0 && (request.flags & MAP_NONBLOCK) == 0)
    (void)populate(start, start + length);
  return start;
}

// The image of text that is mapped so, if there is one; and the same if it can be used here.
TextImage* AddressSpaceMap::text_image(const Vma& vma) {
  if (vma.file == nullptr || vma.shared || (vma.prot & (PROT_EXEC | PROT_WRITE)) != PROT_EXEC) return nullptr;
  return vma.file->text_image().get();
}
TextImage* AddressSpaceMap::image_for(uint64_t start, const Vma& vma) {
  TextImage* const image = text_image(vma);
  if (image == nullptr) return nullptr;
  const auto known = images_.find(image->id());
  return known != images_.end() && known->second.base == start - vma.offset ? image : nullptr;
}

// Maps text as the file has it: before somebody writes into it, moves it, or looks at it as a debugger does.
// What has been written already stays.
void AddressSpaceMap::restore_text(uint64_t start, uint64_t end) {
  for (uint64_t at = start; at < end;) {
    auto here = vmas_.upper_bound(at);
    if (here != vmas_.begin() && std::prev(here)->second.end > at) --here;
    if (here == vmas_.end() || here->first >= end) return;
    const Vma& vma = here->second;
    at = std::max(at, here->first);
    TextImage* const image = image_for(here->first, vma);
    const uint64_t offset =
        image == nullptr ? ~uint64_t{0} : image->next_page(vma.offset + (at - here->first));
    if (offset == ~uint64_t{0} || offset - vma.offset >= vma.end - here->first) {
      at = vma.end;
      continue;
    }
    const uint64_t page = here->first + (offset - vma.offset), changes = changes_;
    if (page >= end) return;
    std::byte bytes[kPageSize];
    const bool known = read(page, bytes, sizeof bytes).ok();
    if (changes != changes_) continue;  // reading has let others run
    if (known && image->is_version(offset, bytes)) {
      const Result<Mappable::Backing> backing = vma.file->backing(offset, kPageSize, false);
      if (backing.ok() && backing->host_fd >= 0)
        (void)space_->map(
            {page, kPageSize, vma.prot & kProtMask, MAP_PRIVATE, backing->host_fd, backing->host_offset});
    }
    at = page + kPageSize;
  }
}

std::optional<AddressSpaceMap::Displaced> AddressSpaceMap::displaced(uint64_t address) const {
  const Vma* const vma = find(address);
  if (vma == nullptr || vma->file == nullptr) return std::nullopt;
  const uint64_t start = std::prev(vmas_.upper_bound(address))->first - vma->offset;
  if (const TextImage* const image = text_image(*vma); image != nullptr) {
    if (const auto place = image->behind_springboard(address - start))
      return Displaced{start + *place, false};
  }
  const auto origin = TextImage::origin(*vma->file, address - start);
  if (!origin) return std::nullopt;
  return Displaced{start + origin->place, origin->executed};
}

// Maps an image's trampolines where text whose offset 0 would be at `base` expects them. Whether they are
// there.
bool AddressSpaceMap::reach_trampolines(TextImage& image, uint64_t base) {
  const auto known = images_.find(image.id());
  if (known != images_.end()) return known->second.base == base;
  const uint64_t start = base + static_cast<uint64_t>(image.distance());
  if (start < kGuestStart || start > kGuestEnd - TextImage::kTrampolines) return false;
  MmapRequest request;
  request.address = start;
  request.length = TextImage::kTrampolines;
  request.prot = PROT_READ | PROT_EXEC;
  request.max_prot = PROT_READ | PROT_EXEC;
  request.flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
  request.file = image.trampolines();
  request.name = "[trampolines]";
  if (!mmap(request).ok()) return false;
  images_[image.id()] = {.base = base, .trampolines = image.trampolines().get()};
  return true;
}

size_t AddressSpaceMap::ReachedImage::patches_of(uint64_t page) const {
  const auto known =
      std::find_if(pages.begin(), pages.end(), [&](const Page& one) { return one.offset == page; });
  return std::max(patches.value_or(0), known == pages.end() ? 0 : known->patches);
}

void AddressSpaceMap::ReachedImage::page_mapped(uint64_t page, size_t when) {
  const auto known =
      std::find_if(pages.begin(), pages.end(), [&](const Page& one) { return one.offset == page; });
  if (known == pages.end())
    pages.push_back({page, when});
  else
    known->patches = when;
}

// A guest has unmapped them, or mapped over them: text that is mapped from now on must do without.
void AddressSpaceMap::lose_trampolines(const Mappable& file) {
  std::erase_if(images_, [&](const auto& one) { return one.second.trampolines == &file; });
}

void AddressSpaceMap::note_costly_call(uint64_t site, platform::SitePatcher& patcher) {
  await_fork();
  constexpr uint8_t kOften = 2;
  constexpr size_t kSites = 4096;  // that are counted
  if (costly_.size() >= kSites && !costly_.contains(site)) return;
  uint8_t& count = costly_[site];
  if (count >= kOften) return;
  ++count;
  const auto above = vmas_.upper_bound(site);
  if (above == vmas_.begin()) return;
  const uint64_t start = std::prev(above)->first;
  const Vma vma = std::prev(above)->second;  // others may change the map while we read
  if (site + 2 > vma.end || vma.file == nullptr || !vma.file->may_have_text_image() || vma.shared ||
      (vma.prot & (PROT_EXEC | PROT_WRITE)) != PROT_EXEC)
    return;
  const uint64_t page = page_floor(site), page_offset = vma.offset + (page - start);
  const uint64_t offset = page_offset + (site - page);
  if (count < kOften) {
    // What a program calls once each of its processes does: the next ones find it rewritten.
    if (TextImage* const image = vma.file->text_image().get(); image != nullptr && image->often(offset))
      (void)image->patch(*vma.file, offset);
    return;
  }
  if (vma.file->text_image() == nullptr) {
    auto made = TextImage::create(memory_file_, patcher, start - vma.offset);
    if (!made.ok()) return;
    vma.file->text_image() = std::move(*made);
  }
  TextImage* const image = vma.file->text_image().get();
  (void)image->patch(*vma.file, offset);
  if (!image->has(page_offset) || !reach_trampolines(*image, start - vma.offset)) return;
  if (auto& known = images_[image->id()].patches; !known) known = 0;  // what is mapped came before the image
  const uint64_t changes = changes_;
  map_text_page(*image, start, vma, page);
  // If others have changed anything meanwhile, the site's next call is soon enough.
  if (changes != changes_ || forking_) count = kOften - 1;
}

// Maps the latest version of a page of text. What this process has changed in it must stay; what the file or
// the image has put there is no change. Reading lets others run: nothing is done if one of them has changed
// mappings.
void AddressSpaceMap::map_text_page(TextImage& image, uint64_t start, const Vma& vma, uint64_t page) {
  const uint64_t changes = changes_, offset = vma.offset + (page - start);
  std::byte here[kPageSize];
  if (!read(page, here, sizeof here).ok() || changes != changes_ || forking_) return;
  if (vma.file->text_image().get() != &image) return;
  if (image.is_version(offset, here)) (void)host_map(start, vma, page, page + kPageSize);
  const auto reached = images_.find(image.id());
  if (reached != images_.end()) reached->second.page_mapped(offset, image.patches_of(offset));
}

// What only children execute never gets rewritten in the mapping that they inherit: before a fork the parent
// gets what has been rewritten since it mapped its text. A few pages at a time.
void AddressSpaceMap::renew_text() {
  constexpr int kMost = 4;
  int left = kMost;
  for (auto here = vmas_.begin(); here != vmas_.end(); ++here) {
    TextImage* const image = image_for(here->first, here->second);
    if (image == nullptr) continue;
    ReachedImage& reached = images_[image->id()];
    if (reached.looked_at == image->patches()) continue;
    const uint64_t start = here->first;
    const Vma vma = here->second;  // others may change the map while a page is read
    uint64_t offset = image->next_page(vma.offset);
    for (; offset < vma.offset + (vma.end - start); offset = image->next_page(offset + kPageSize)) {
      if (image->patches_of(offset) <= reached.patches_of(offset)) continue;
      if (left-- == 0) return;
      const uint64_t changes = changes_;
      map_text_page(*image, start, vma, start + (offset - vma.offset));
      if (changes != changes_) return;
    }
    reached.looked_at = image->patches();
  }
}

// A piece at a time: the sentry waits for each, and others want to be served in between.
Result<> AddressSpaceMap::populate(uint64_t start, uint64_t end, bool write) {
  constexpr int kPopulateRead = 22, kPopulateWrite = 23;  // Linux 5.14
  constexpr uint64_t kPiece = 16 << 20;
  for (uint64_t at = start; at < end; at += kPiece) {
    const uint64_t piece = std::min(kPiece, end - at), there = std::min(piece, mapped_from(at));
    if (there != 0) {
      reach(at, at + there);
      TRY(space_->advise(at, there, write ? kPopulateWrite : kPopulateRead));
    }
    if (there < piece) return Errno(ENOMEM);
    if (Fiber::current() == nullptr || end - at <= kPiece) continue;
    Fiber::yield();
    if (Fiber::current()->interrupted()) return Errno(kErestartNoIntr);
  }
  return {};
}

Result<> AddressSpaceMap::munmap(uint64_t address, uint64_t length) {
  await_fork();
  if (address % kPageSize != 0 || length == 0) return Errno(EINVAL);
  length = page_ceil(length);
  if (length == 0 || address > kGuestEnd || length > kGuestEnd - address) return Errno(EINVAL);
  const uint64_t end = address + length;
  const auto first = vmas_.lower_bound(address);
  if (find(address) == nullptr && (first == vmas_.end() || first->first >= end)) return {};
  TRY(split_at(address));
  TRY(split_at(end));
  TRY(unmap(address, length));
  forget(address, end);
  forget_pieces(mapped_anew_, address, end);
  return {};
}

Result<> AddressSpaceMap::mprotect(uint64_t address, uint64_t length, int prot) {
  const bool down = (prot & PROT_GROWSDOWN) != 0;
  if (address % kPageSize != 0) return Errno(EINVAL);
  if ((prot & ~(kProtMask | PROT_GROWSDOWN | PROT_GROWSUP | 0x8 /* PROT_SEM */)) != 0) return Errno(EINVAL);
  if (length == 0) return {};
  length = page_ceil(length);
  if (length == 0 || address > kGuestEnd || length > kGuestEnd - address) return Errno(ENOMEM);
  if ((prot & PROT_WRITE) != 0) restore_text(address, address + length);
  await_fork();
  uint64_t start = address;
  const uint64_t end = address + length;
  prot &= kProtMask;
  if (down) {
    const Vma* vma = find(address);
    if (vma == nullptr) return Errno(ENOMEM);
    if (!vma->grows_down) return Errno(EINVAL);
    start = std::prev(vmas_.upper_bound(address))->first;
  }
  if (!covered(start, end)) {
    // What comes before the hole changes nevertheless, as on Linux.
    if (const uint64_t before = mapped_from(start); before != 0) TRY(mprotect(start, before, prot));
    return Errno(ENOMEM);
  }
  for (auto vma = std::prev(vmas_.upper_bound(start)); vma != vmas_.end() && vma->first < end; ++vma) {
    const Vma& here = vma->second;
    if ((prot & ~here.max_prot) != 0) return Errno(EACCES);
    const bool more = !here.shared && !here.no_reserve && (prot & ~here.prot & PROT_WRITE) != 0;
    if (more && std::min(end, here.end) - std::max(start, vma->first) > limits_.overcommit)
      return Errno(ENOMEM);
  }
  TRY(split_at(start));
  TRY(split_at(end));
  TRY(space_->protect(start, end - start, prot));
  std::vector<std::pair<uint64_t, Vma>> changed;
  for (auto vma = vmas_.lower_bound(start); vma != vmas_.end() && vma->first < end; ++vma)
    changed.emplace_back(vma->first, vma->second);
  // All go before one comes back: it may be joined to the next, if that has been like this before.
  for (const auto& [from, vma] : changed) forget(from, vma.end);
  for (auto& [from, vma] : changed) {
    vma.prot = prot;
    insert(from, std::move(vma));
  }
  return {};
}

// mremap(2)'s move of `length` bytes to `target`, where `vma` is to be and may be longer.
Result<> AddressSpaceMap::move_pages(uint64_t source, uint64_t length, uint64_t target, const Vma& vma,
                                     bool keep) {
  if (vma.file != nullptr && vma.shared) {
    TRY(host_map(target, vma, target, vma.end));
    return keep ? Result<>() : unmap(source, length);
  }
  if (vma.file == nullptr) {
    // Where some has been mapped anew the host may have several mappings; not every host moves them at once.
    const auto bounds = bounds_within(mapped_anew_, source, source + length);
    for (size_t i = 1; i < bounds.size(); ++i) {
      const uint64_t from = bounds[i - 1], piece = bounds[i] - from, to = target + (from - source);
      TRY(space_->move(from, piece, to, keep));
      if (bounds.size() > 2) mapped_anew_.emplace(to, to + piece);
    }
    if (!keep) forget_pieces(mapped_anew_, source, source + length);
  } else {
    // Private pages of files may have been written: they move, piece by piece, since the host's mappings may
    // be several. What lies beyond the file's end is mapped anew.
    for (uint64_t done = 0; done < length;) {
      const uint64_t from = source + done, to = target + done, page = from / kPageSize;
      const bool beyond = beyond_.contains(page);
      uint64_t piece = std::min(beyond_.next(page, !beyond) - page, (length - done) / kPageSize) * kPageSize;
      if (beyond) {
        TRY(host_map(target, vma, to, to + piece));
        if (!keep) TRY(unmap(from, piece));
      } else {
        const Mappable::Backing backing = TRY(vma.file->backing(vma.offset + done, piece, false));
        piece = std::min(backing.length, piece);
        if (piece == 0) return Errno(EIO);
        TRY(space_->move(from, piece, to, keep));
      }
      done += piece;
    }
  }
  if (vma.end > target + length) TRY(host_map(target, vma, target + length, vma.end));
  return {};
}

Result<uint64_t> AddressSpaceMap::mremap(uint64_t old_address, uint64_t old_size, uint64_t new_size,
                                         int flags, uint64_t new_address) {
  const bool may_move = (flags & MREMAP_MAYMOVE) != 0;
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  const bool keep = (flags & MREMAP_DONTUNMAP) != 0;
  if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0) return Errno(EINVAL);
  if ((fixed || keep) && !may_move) return Errno(EINVAL);
  if (keep && old_size != new_size) return Errno(EINVAL);
  if (old_address % kPageSize != 0) return Errno(EINVAL);
  old_size = page_ceil(old_size);
  new_size = page_ceil(new_size);
  if (new_size == 0 || new_size > kGuestEnd) return Errno(EINVAL);
  if (fixed) {
    if (new_address % kPageSize != 0 || new_address > kGuestEnd || new_size > kGuestEnd - new_address ||
        new_address < kGuestStart)
      return Errno(EINVAL);
    if (old_address < new_address + new_size && new_address < old_address + old_size) return Errno(EINVAL);
  }
  if (old_size <= kGuestEnd) restore_text(old_address, old_address + old_size);
  await_fork();
  const auto found = vmas_.upper_bound(old_address);
  if (found == vmas_.begin()) return Errno(EFAULT);
  const auto here = std::prev(found);
  if (here->second.end <= old_address) return Errno(EFAULT);
  const bool duplicate = old_size == 0;  // an old Linux feature: a second mapping of the same shared object
  if (duplicate && !here->second.shared) return Errno(EINVAL);
  if (duplicate && !may_move) return Errno(EINVAL);
  if (old_size > here->second.end - old_address) return Errno(EFAULT);
  if (new_size > old_size && mapped_bytes_ + (new_size - old_size) > limits_.address_space)
    return Errno(ENOMEM);
  if (new_size > old_size && new_size - old_size > limits_.overcommit && !here->second.shared &&
      !here->second.no_reserve && (here->second.prot & PROT_WRITE) != 0)
    return Errno(ENOMEM);

  Vma vma = here->second;
  vma.offset = vma.file != nullptr ? vma.offset + (old_address - here->first) : 0;
  const uint64_t old_end = old_address + old_size;

  if (!fixed && !keep && !duplicate) {
    if (new_size <= old_size) {
      if (new_size < old_size) TRY(munmap(old_address + new_size, old_size - new_size));
      return old_address;
    }
    // In place, if the mapping ends here and there is room behind it.
    if (old_end == here->second.end) {
      const auto next = vmas_.lower_bound(old_end);
      const uint64_t room = (next == vmas_.end() ? kGuestEnd : next->first) - old_address;
      if (room >= new_size) {
        Vma grown = vma;
        grown.offset = vma.file != nullptr ? vma.offset + old_size : 0;
        grown.end = old_address + new_size;
        if (const Result<> mapped = host_map(old_end, grown, old_end, grown.end); !mapped.ok()) {
          (void)unmap(old_end, grown.end - old_end);
          return mapped.error();
        }
        insert(old_end, std::move(grown));
        return old_address;
      }
    }
    if (!may_move) return Errno(ENOMEM);
  }

  if (vmas_.size() + 3 >= kMaxVmas) return Errno(ENOMEM);
  const uint64_t target = fixed ? new_address : TRY(find_gap(new_size, keep ? new_address : 0, kGuestEnd));
  if (fixed) TRY(munmap(target, new_size));
  vma.end = target + new_size;
  if (duplicate) {
    if (const Result<> mapped = host_map(target, vma, target, vma.end); !mapped.ok()) {
      (void)unmap(target, new_size);
      return mapped.error();
    }
    insert(target, std::move(vma));
    return target;
  }
  TRY(split_at(old_address));
  TRY(split_at(old_end));
  const uint64_t moved = std::min(old_size, new_size);
  if (const Result<> done = move_pages(old_address, moved, target, vma, keep); !done.ok()) {
    (void)unmap(target, new_size);
    return done.error();
  }
  if (!keep) {
    if (old_size > moved) TRY(unmap(old_address + moved, old_size - moved));
    forget(old_address, old_end);
  }
  insert(target, std::move(vma));
  return target;
}

void AddressSpaceMap::set_heap(uint64_t start) { heap_start_ = heap_end_ = start; }

Result<uint64_t> AddressSpaceMap::brk(uint64_t address) {
  await_fork();
  if (address < heap_start_ || address > kGuestEnd) return heap_end_;
  const uint64_t old_end = page_ceil(heap_end_), new_end = page_ceil(address);
  if (new_end > old_end) {
    if (limits_.data != ~0ull && address - heap_start_ > limits_.data) return heap_end_;
    const auto next = vmas_.lower_bound(old_end);
    if (next != vmas_.end() && next->first < new_end + kPageSize) return heap_end_;
    MmapRequest request;
    request.address = old_end;
    request.length = new_end - old_end;
    request.prot = PROT_READ | PROT_WRITE;
    request.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    request.name = "[heap]";
    if (!mmap(request).ok()) return heap_end_;
  } else if (new_end < old_end) {
    if (!munmap(new_end, old_end - new_end).ok()) return heap_end_;
  }
  heap_end_ = address;
  return heap_end_;
}

// Private memory is dropped by mapping it anew, which needs no consent of the platform's. Whether that could
// be: the host would forget what else has been advised, and may keep apart what we take for one mapping.
bool AddressSpaceMap::map_anew(const Vma& vma, uint64_t from, uint64_t to) {
  constexpr size_t kMostApart = 2000;
  if (vma.file != nullptr || vma.shared || vma.grows_down || advised_) return false;
  const std::pair piece{from, to};
  if (mapped_anew_.size() >= kMostApart && !mapped_anew_.contains(piece)) return false;
  forget_pieces(mapped_anew_, from, to);
  mapped_anew_.insert(piece);
  return space_->map({from, to - from, vma.prot & kProtMask, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE})
      .ok();
}

Result<> AddressSpaceMap::madvise(uint64_t address, uint64_t length, int advice) {
  await_fork();
  constexpr int kPopulateRead = 22, kPopulateWrite = 23, kCollapse = 25, kGuardInstall = 102,
                kGuardRemove = 103;
  bool to_host = false;
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_COLD:
    case MADV_PAGEOUT:
      to_host = true;
      break;
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_DONTFORK:
    case MADV_DOFORK:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
    case kPopulateRead:
    case kPopulateWrite:
    case MADV_REMOVE:
      break;
    // No page merging between tenants (a side channel), no collapse, no guards.
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case kCollapse:
    case kGuardInstall:
    case kGuardRemove:
    default:
      return Errno(EINVAL);
  }
  if (address % kPageSize != 0) return Errno(EINVAL);
  if (length == 0) return {};
  length = page_ceil(length);
  if (length == 0 || address > kGuestEnd || length > kGuestEnd - address) return Errno(EINVAL);
  const uint64_t end = address + length;
  if (advice == kPopulateRead || advice == kPopulateWrite)
    return populate(address, end, advice == kPopulateWrite);
  if (advice == MADV_REMOVE) return punch(address, end);
  if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE) advised_ = true;
  const bool hole = !covered(address, end);
  if (advice == MADV_DONTFORK || advice == MADV_DOFORK || advice == MADV_WIPEONFORK ||
      advice == MADV_KEEPONFORK) {
    TRY(split_at(address));
    TRY(split_at(end));
  }
  auto vma = vmas_.upper_bound(address);
  if (vma != vmas_.begin() && std::prev(vma)->second.end > address) --vma;
  for (; vma != vmas_.end() && vma->first < end; ++vma) {
    Vma& here = vma->second;
    const uint64_t from = std::max(address, vma->first), to = std::min(end, here.end);
    switch (advice) {
      case MADV_DONTFORK:
        here.dont_fork = true;
        continue;
      case MADV_DOFORK:
        here.dont_fork = false;
        continue;
      case MADV_WIPEONFORK:
        if (here.file != nullptr || here.shared) return Errno(EINVAL);
        here.wipe_on_fork = true;
        continue;
      case MADV_KEEPONFORK:
        here.wipe_on_fork = false;
        continue;
      case MADV_FREE:
        if (here.file != nullptr || here.shared) return Errno(EINVAL);
        break;
      case MADV_DONTNEED:
      case MADV_PAGEOUT:
      case MADV_COLD:
        if (here.locked) return Errno(EINVAL);
        break;
      default:
        break;
    }
    if (to_host && !(advice == MADV_DONTNEED && map_anew(here, from, to)))
      TRY(space_->advise(from, to - from, advice));
  }
  if (hole) return Errno(ENOMEM);
  return {};
}

// MADV_REMOVE: holes in the files that are mapped here.
Result<> AddressSpaceMap::punch(uint64_t start, uint64_t end) {
  bool hole = false;
  for (uint64_t at = start; at < end;) {
    const auto above = vmas_.upper_bound(at);
    if (above == vmas_.begin() || std::prev(above)->second.end <= at) {
      hole = true;
      at = above == vmas_.end() ? end : above->first;
      continue;
    }
    const auto& [first, vma] = *std::prev(above);
    if (vma.locked || vma.file == nullptr) return Errno(EINVAL);
    if (!vma.shared || (vma.max_prot & PROT_WRITE) == 0) return Errno(EACCES);
    const uint64_t offset = vma.offset + (at - first), length = std::min(end, vma.end) - at;
    const std::shared_ptr<Mappable> file = vma.file;  // it may be unmapped meanwhile
    TRY(file->punch(offset, length));
    at += length;
  }
  if (hole) return Errno(ENOMEM);
  return {};
}

Result<> AddressSpaceMap::msync(uint64_t address, uint64_t length, int flags) {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) != 0 || address % kPageSize != 0) return Errno(EINVAL);
  if ((flags & MS_ASYNC) != 0 && (flags & MS_SYNC) != 0) return Errno(EINVAL);
  length = page_ceil(length);
  if (address > kGuestEnd || length > kGuestEnd - address) return Errno(ENOMEM);
  const uint64_t end = address + length;
  if (length == 0) return {};
  if ((flags & MS_SYNC) != 0) {
    std::vector<std::tuple<std::shared_ptr<Mappable>, uint64_t, uint64_t>> files;
    auto vma = vmas_.upper_bound(address);
    if (vma != vmas_.begin() && std::prev(vma)->second.end > address) --vma;
    for (; vma != vmas_.end() && vma->first < end; ++vma) {
      if (!vma->second.shared || vma->second.file == nullptr) continue;
      const uint64_t from = std::max(address, vma->first), to = std::min(end, vma->second.end);
      files.emplace_back(vma->second.file, vma->second.offset + (from - vma->first), to - from);
    }
    const bool whole = covered(address, end);
    for (auto& [file, offset, size] : files) TRY(file->sync(offset, size));
    if (!whole) return Errno(ENOMEM);
    return {};
  }
  if (!covered(address, end)) return Errno(ENOMEM);
  return {};
}

Result<> AddressSpaceMap::mlock(uint64_t address, uint64_t length, bool lock) {
  await_fork();
  const uint64_t start = page_floor(address);
  length = page_ceil(length + (address - start));
  if (length == 0) return {};
  if (start > kGuestEnd || length > kGuestEnd - start) return Errno(ENOMEM);
  if (!covered(start, start + length)) return Errno(ENOMEM);
  if (lock && locked_bytes_ + length > limits_.memlock) return Errno(ENOMEM);
  TRY(split_at(start));
  TRY(split_at(start + length));
  for (auto vma = vmas_.lower_bound(start); vma != vmas_.end() && vma->first < start + length; ++vma) {
    count(vma->first, vma->second, -1);
    vma->second.locked = lock;
    count(vma->first, vma->second, 1);
  }
  // The host's swap is not a guest's to steer: locked memory is populated and otherwise like any other.
  if (lock && populate(start, start + length).is(EFAULT)) return Errno(ENOMEM);
  return {};
}

Result<std::shared_ptr<Mappable>> AddressSpaceMap::shared_anonymous(uint64_t length) {
  length = page_ceil(length);
  auto slice = TRY(memory_file_.allocate_shared(length));
  return std::shared_ptr<Mappable>(std::make_shared<SharedAnonymous>(std::move(slice), length));
}

Result<AddressSpaceMap::Forked> AddressSpaceMap::fork(platform::Context& caller) {
  await_fork();
  renew_text();
  await_fork();
  const auto windows = windows_.ranges();
  forking_ = true;
  Result<platform::AddressSpace::Forked> made = space_->fork(caller);
  forking_ = false;
  forked_.wake();
  const auto invalidated = std::exchange(invalidated_, {});
  const auto replaced = std::exchange(replaced_, {});
  platform::AddressSpace::Forked copy = TRY(std::move(made));
  constexpr bool kRandomize = false;  // it has this one's layout
  auto child = std::make_shared<AddressSpaceMap>(std::move(copy.space), memory_file_, kRandomize);
  child->vmas_ = vmas_;
  for (auto& [start, vma] : child->vmas_) child->attach(vma);
  child->gaps_ = gaps_;
  child->mapped_bytes_ = mapped_bytes_;
  child->data_bytes_ = data_bytes_;
  child->beyond_ = beyond_;
  child->advised_ = advised_;
  child->mapped_anew_ = mapped_anew_;
  child->images_ = images_;
  child->heap_start_ = heap_start_;
  child->heap_end_ = heap_end_;
  child->mmap_top_ = mmap_top_;
  child->limits_ = limits_;
  child->layout = layout;
  child->executable = executable;
  child->dumpable = dumpable;
  child->huge_pages_disabled = huge_pages_disabled;
  child->windows_.copy(windows_, windows);
  std::vector<std::pair<uint64_t, uint64_t>> drop;
  for (auto& [start, vma] : child->vmas_) {
    vma.locked = false;
    if (vma.dont_fork) drop.emplace_back(start, vma.end);
    if (vma.wipe_on_fork)
      TRY(child->space_->map(
          {start, vma.end - start, vma.prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE}));
  }
  for (const auto& [start, end] : drop) TRY(child->munmap(start, end - start));
  for (const auto& [start, end] : replaced)
    if (const Vma* const vma = child->find(start)) TRY(child->host_map(start, *vma, start, end));
  for (const Invalidated& one : invalidated) child->invalidate(*one.file, one.offset, one.length);
  return Forked{std::move(child), std::move(copy.context)};
}

Result<size_t> AddressSpaceMap::read_some(uint64_t address, void* buffer, size_t size) {
  if (size == 0) return size_t{0};
  if (!in_guest_range(address)) return Errno(EFAULT);
  size = static_cast<size_t>(std::min<uint64_t>(size, kGuestEnd - address));
  const Result<size_t> first = space_->read(address, buffer, size);
  size_t done = first.value_or(0);
  if (done == size || !resolve_fault(address + done)) return first;
  done += space_->read(address + done, static_cast<char*>(buffer) + done, size - done).value_or(0);
  if (done == 0) return Errno(EFAULT);
  return done;
}

// How many bytes from here on the mappings let guest code write, the stack grown if need be.
size_t AddressSpaceMap::writable(uint64_t address, size_t size) {
  const uint64_t end = address + size;
  uint64_t at = address;
  while (at < end) {
    const Vma* vma = find(at);
    if (vma == nullptr) {
      if (!resolve_fault(at)) break;
      vma = find(at);
      if (vma == nullptr) break;
    }
    if ((vma->prot & PROT_WRITE) == 0) break;
    const uint64_t stretch = std::min(vma->end, end), beyond = beyond_.next(at / kPageSize, true);
    if (beyond < page_ceil(stretch) / kPageSize) {
      if (resolve_fault(beyond * kPageSize)) continue;
      at = std::max(at, beyond * kPageSize);
      break;
    }
    const uint64_t likely_end = vma->file != nullptr ? vma->file->likely_end() : ~uint64_t{0};
    const uint64_t start = std::prev(vmas_.upper_bound(at))->first;
    if (likely_end == ~uint64_t{0} || page_ceil(likely_end) >= vma->offset + (stretch - start)) {
      at = stretch;
      continue;
    }
    // Beyond what is thought to be the end the host is asked.
    if (page_ceil(likely_end) > vma->offset) at = std::max(at, start + (page_ceil(likely_end) - vma->offset));
    std::byte there;
    if (!space_->read(at, &there, 1).ok()) break;
    at = page_floor(at) + kPageSize;
  }
  return static_cast<size_t>(std::min(at, end) - address);
}

bool AddressSpaceMap::defers_write(uint64_t address, size_t size) {
  return space_->defers_writes() && in_guest_range(address) && size <= kGuestEnd - address &&
         writable(address, size) == size;
}

Result<size_t> AddressSpaceMap::write_some(uint64_t address, const void* data, size_t size) {
  if (size == 0) return size_t{0};
  if (!in_guest_range(address)) return Errno(EFAULT);
  size = static_cast<size_t>(std::min<uint64_t>(size, kGuestEnd - address));
  if (space_->defers_writes()) {
    size = writable(address, size);
    if (size == 0) return Errno(EFAULT);
    return space_->write(address, data, size);
  }
  const Result<size_t> first = space_->write(address, data, size);
  size_t done = first.value_or(0);
  if (done == size || !resolve_fault(address + done)) return first;
  done += space_->write(address + done, static_cast<const char*>(data) + done, size - done).value_or(0);
  if (done == 0) return Errno(EFAULT);
  return done;
}

Result<size_t> AddressSpaceMap::fill_some(uint64_t address, size_t size, int host_fd, uint64_t offset) {
  if (!in_guest_range(address)) return Errno(EFAULT);
  size = writable(address, static_cast<size_t>(std::min<uint64_t>(size, kGuestEnd - address)));
  if (size == 0) return Errno(EFAULT);
  return space_->pread(host_fd, address, size, offset);
}

Result<size_t> AddressSpaceMap::store_some(uint64_t address, size_t size, int host_fd, uint64_t offset) {
  if (!in_guest_range(address)) return Errno(EFAULT);
  size = static_cast<size_t>(std::min<uint64_t>(size, kGuestEnd - address));
  return space_->pwrite(host_fd, address, size, offset);
}

Result<size_t> AddressSpaceMap::copy_from_window(const WindowRequest& request, uint64_t offset,
                                                 uint64_t address, size_t size) {
  if (address >= kGuestEnd) return Errno(EFAULT);
  size = writable(address, static_cast<size_t>(std::min<uint64_t>(size, kGuestEnd - address)));
  if (size == 0) return Errno(EFAULT);
  if (forking_) return Errno(EOPNOTSUPP);
  const std::optional<Windows::Place> place = windows_.find(request, offset, size);
  if (!place) return Errno(EOPNOTSUPP);
  return space_->copy_from_window(place->address, address, static_cast<size_t>(place->size));
}

// Copies page by page; a page that does not allow it is made to for that time. Copying may park: what was
// known of the mapping before is looked at again.
template <typename Copy>
Result<size_t> AddressSpaceMap::force(uint64_t address, size_t size, int needed, Copy copy) {
  size_t done = 0;
  if (address < kGuestEnd) reach(page_floor(address), std::min(address + size, kGuestEnd));
  while (done < size) {
    const uint64_t place = address + done, page = page_floor(place);
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(size - done, page + kPageSize - place));
    const Vma* vma = find(place);
    if (vma == nullptr || ((vma->prot & needed) == 0 && vma->shared && needed == PROT_WRITE)) break;
    const bool closed = (vma->prot & needed) == 0;
    if (closed && !space_->protect(page, kPageSize, vma->prot | PROT_READ | needed).ok()) break;
    const size_t copied = copy(place, done, piece);
    vma = find(page);
    if (closed && vma != nullptr) (void)space_->protect(page, kPageSize, vma->prot);
    done += copied;
    if (copied < piece) break;
  }
  if (done == 0 && size != 0) return Errno(EFAULT);
  return done;
}

Result<size_t> AddressSpaceMap::read_forced(uint64_t address, void* buffer, size_t size) {
  if (size <= kGuestEnd) restore_text(page_floor(address), address + size);
  return force(address, size, PROT_READ, [&](uint64_t place, size_t done, size_t piece) {
    return space_->read(place, static_cast<char*>(buffer) + done, piece).value_or(0);
  });
}

Result<size_t> AddressSpaceMap::write_forced(uint64_t address, const void* data, size_t size) {
  if (size <= kGuestEnd) restore_text(page_floor(address), address + size);
  ++changes_;
  auto touched = vmas_.upper_bound(address);
  if (touched != vmas_.begin()) --touched;
  for (; touched != vmas_.end() && touched->first < address + size; ++touched)
    touched->second.untouched = false;
  return force(address, size, PROT_WRITE, [&](uint64_t place, size_t done, size_t piece) {
    std::byte there;  // is there anything? The host alone may know where a file ends
    if (space_->defers_writes() && !space_->read(place, &there, 1).ok()) return size_t{0};
    return space_->write(place, static_cast<const char*>(data) + done, piece).value_or(0);
  });
}

Result<> AddressSpaceMap::read(uint64_t address, void* buffer, size_t size) {
  if (TRY(read_some(address, buffer, size)) != size) return Errno(EFAULT);
  return {};
}

Result<> AddressSpaceMap::write(uint64_t address, const void* data, size_t size) {
  if (TRY(write_some(address, data, size)) != size) return Errno(EFAULT);
  return {};
}

Result<std::string> AddressSpaceMap::read_string(uint64_t address, size_t limit) {
  if (const auto here = space_->text_at_hand(address); here && here->size() < limit) {
    // A guest may change it under our hands: what has been copied counts, up to its first NUL.
    std::string copy(*here);
    copy.resize(std::strlen(copy.c_str()));
    return copy;
  }
  std::string text;
  char piece[256];
  while (text.size() < limit) {
    // Never across a page: the next one may not be mapped, and need not be.
    const size_t room = static_cast<size_t>(kPageSize - address % kPageSize);
    const size_t want = std::min({sizeof piece, room, limit - text.size()});
    const size_t got = TRY(read_some(address, piece, want));
    const void* end = std::memchr(piece, 0, got);
    if (end != nullptr) {
      text.append(piece, static_cast<size_t>(static_cast<const char*>(end) - piece));
      return text;
    }
    text.append(piece, got);
    address += got;
    if (got < want) return Errno(EFAULT);
  }
  return Errno(ENAMETOOLONG);
}

}  // namespace sentry::mm
