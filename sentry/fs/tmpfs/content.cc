#include "sentry/fs/tmpfs/content.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "sentry/vfs/bounce_buffer.h"
#include "sentry/vfs/changes.h"

namespace sentry::fs::tmpfs {
namespace {

constexpr uint64_t kPage = Quota::kPage;
constexpr uint64_t kFirstSlice = 64 * 1024;
constexpr uint64_t kGrowth = 15;
// How many runs of pages a rescan looks at: two host calls each.
constexpr int kScannedRuns = 512;

constexpr uint64_t page_of(uint64_t offset) { return offset / kPage; }
constexpr uint64_t page_after(uint64_t offset) { return (offset + kPage - 1) / kPage; }

// What is mapped as text before the change, or while it is under way, is not what is there afterwards.
class TextChange {
 public:
  explicit TextChange(mm::Mappable* file) : file_(file) { tell(); }
  ~TextChange() { tell(); }
  TextChange(const TextChange&) = delete;
  TextChange& operator=(const TextChange&) = delete;

 private:
  void tell() {
    if (file_ != nullptr) file_->text_changes();
  }
  mm::Mappable* file_;
};

}  // namespace

Content::~Content() {
  const uint64_t heap_pages = heap_ != nullptr ? page_after(heap_->size()) : 0;
  quota_->release_pages(allocated_.count() + heap_pages);
}

uint64_t Content::pages() {
  if (in_heap()) return heap_ != nullptr ? page_after(heap_->size()) : 0;
  if (!keeps_blocks()) rescan();
  return allocated_.count();
}

Content::Segment& Content::segment_of(uint64_t offset) {
  for (Segment& segment : segments_)
    if (offset < segment.end()) return segment;
  BULKHEAD_CHECK(false, "offset {} lies behind the slices of a file of {} bytes", offset, size_);
}

// Before bytes change: who has been told that it has read them gets those that were there.
void Content::finish_reads() {
  if (owner_ != nullptr) owner_->finish_reads();
}

// How many bytes from here on have pages.
uint64_t Content::filled(uint64_t offset) const {
  if (in_heap()) return heap_ != nullptr && offset < heap_->size() ? heap_->size() - offset : 0;
  const uint64_t hole = allocated_.next(page_of(offset), false);
  return hole > page_of(offset) ? std::min(hole, kMaxSize / kPage) * kPage - offset : 0;
}

Result<size_t> Content::read(mm::Sink& sink, uint64_t offset, const mm::MappableOpener& mapping) {
  size_t done = 0;
  bool straight = true, shown = true;
  while (sink.remaining() > 0 && offset + done < size_) {
    const uint64_t at = offset + done;
    const auto wanted = static_cast<size_t>(std::min(sink.remaining(), size_ - at));
    size_t offered = wanted;
    // Only what is there: touching a hole would fill it.
    if (const uint64_t there = shown ? std::min<uint64_t>(wanted, filled(at)) : 0; there != 0) {
      const size_t count = sink.put_shown(this, mapping, at, static_cast<size_t>(there)).value_or(0);
      shown = count == there;
      done += count;
      continue;
    }
    Result<size_t> put = size_t{0};
    if (in_heap()) {
      const auto bytes = heap_;  // lives on should a writer replace it while put() is parked
      if (bytes != nullptr && at < bytes->size()) {
        offered = std::min(wanted, bytes->size() - static_cast<size_t>(at));
        put = sink.put(bytes->data() + at, offered);
      } else {
        put = sink.put_zeros(wanted);
      }
    } else if (at >= segments_.back().end()) {
      put = sink.put_zeros(wanted);
    } else {
      Segment& segment = segment_of(at);
      const size_t piece = std::min(wanted, static_cast<size_t>(segment.end() - at));
      // A slice that a stub has had in its hands is long in coming back: not for what is copied anyway.
      if (straight && piece >= mm::kWorthAHostCall) {
        put = sink.put_from(segment.slice->host_fd(), segment.slice->host_offset(at - segment.start), piece);
        straight = put.value_or(0) == piece;
        done += put.value_or(0);
        continue;
      }
      vfs::BounceBuffer buffer;
      offered = std::min(piece, buffer.size());
      const Result<size_t> got = segment.slice->read(at - segment.start, buffer.data(), offered);
      if (!got.ok()) {
        if (done == 0) return got.error();
        break;
      }
      put = sink.put(buffer.data(), offered);
    }
    if (!put.ok()) {
      if (done == 0) return put.error();
      break;
    }
    done += *put;
    if (*put < offered || !sink.catch_up().ok()) break;
  }
  return done;
}

// The first `end` bytes of the heap exist. Charges for them.
Result<> Content::grow_heap(uint64_t end) {
  const uint64_t old = heap_ != nullptr ? heap_->size() : 0;
  if (end <= old) return {};
  if (!quota_->charge_pages(page_after(end) - page_after(old))) return Errno(ENOSPC);
  if (heap_ == nullptr || end > heap_->capacity()) {
    auto larger = std::make_shared<std::vector<std::byte>>();
    larger->reserve(std::min(kInlineLimit, std::max<uint64_t>(end, 2 * old)));
    if (heap_ != nullptr) larger->assign(heap_->begin(), heap_->end());
    heap_ = std::move(larger);
  }
  heap_->resize(end);
  return {};
}

// Slices for the first `end` bytes.
Result<> Content::cover(uint64_t end) {
  const uint64_t covered = segments_.empty() ? 0 : segments_.back().end();
  if (end <= covered) return {};
  uint64_t wanted = std::max({end - covered, covered * kGrowth, kFirstSlice});
  if (segments_.empty()) wanted = std::max(wanted, size_);
  segments_.push_back({covered, TRY(memory_.allocate(std::min(wanted, kMaxSize)))});
  return {};
}

// From the heap into slices. What is in the heap stays charged.
Result<> Content::leave_heap(uint64_t end) {
  if (!in_heap()) return cover(end);
  TRY(cover(std::max(end, heap_ != nullptr ? uint64_t{heap_->size()} : uint64_t{0})));
  if (heap_ == nullptr) return {};
  const auto bytes = std::move(heap_);
  size_t stored = 0;
  // The first slice holds it all. If the host has no memory, the file stays in the heap.
  if (const Result<> moved = store(0, bytes->data(), bytes->size(), stored); !moved.ok()) {
    heap_ = bytes;
    segments_.clear();
    return moved;
  }
  allocated_.add(0, page_after(bytes->size()));
  return {};
}

Result<> Content::store(uint64_t offset, const std::byte* data, size_t size, size_t& stored) {
  while (stored < size) {
    const uint64_t at = offset + stored;
    Segment& segment = segment_of(at);
    const size_t piece = std::min(size - stored, static_cast<size_t>(segment.end() - at));
    const size_t count = TRY(segment.slice->write(at - segment.start, data + stored, piece));
    if (count == 0) return Errno(ENOSPC);
    stored += count;
  }
  return {};
}

// Charges for the pages of [offset, offset + length): for how many bytes that succeeded, ENOSPC if for none.
Result<uint64_t> Content::reserve(uint64_t offset, uint64_t length) {
  const uint64_t first = page_of(offset);
  uint64_t last = page_after(offset + length);
  for (;; --last) {
    if (last <= first) return Errno(ENOSPC);
    const uint64_t missing = allocated_.missing(first, last);
    if (missing == 0 || quota_->charge_pages(missing)) break;
  }
  allocated_.add(first, last);
  return std::min(length, last * kPage - offset);
}

Result<size_t> Content::write(mm::Source& source, uint64_t offset) {
  if (source.remaining() == 0) return size_t{0};
  if (offset >= kMaxSize) return Errno(EFBIG);
  const uint64_t end = offset + std::min(source.remaining(), kMaxSize - offset);
  const TextChange change(owner_);
  finish_reads();
  // Pages that are skipped over must stay holes: only slices have those.
  const uint64_t heap_pages = heap_ != nullptr ? page_after(heap_->size()) : 0;
  if (in_heap() && end <= kInlineLimit && page_of(offset) <= heap_pages)
    return write_heap(source, offset, static_cast<size_t>(end - offset));
  return write_slices(source, offset);
}

Result<size_t> Content::write_heap(mm::Source& source, uint64_t offset, size_t size) {
  const uint64_t old = heap_ != nullptr ? heap_->size() : 0;
  TRY(grow_heap(offset + size));
  const auto bytes = heap_;
  const Result<size_t> count = source.get(bytes->data() + offset, size);
  const uint64_t end = offset + count.value_or(0);
  if (!in_heap()) {
    // Somebody mapped the file while get() was parked: what was in the heap then is in slices now.
    size_t stored = 0;
    if (count.ok()) TRY(store(offset, bytes->data() + offset, *count, stored));
  } else if (end < offset + size && offset + size > old) {
    // Less came than announced: the heap goes back to what there is.
    const uint64_t kept = std::max(old, count.ok() ? end : old);
    quota_->release_pages(page_after(heap_->size()) - page_after(kept));
    heap_->resize(kept);
  }
  if (!count.ok()) return count;
  set_size(std::max(size_, end));
  return count;
}

// As much as goes past the sentry. `straight`: whether that was all that had been asked for.
size_t Content::write_straight(mm::Source& source, uint64_t at, bool& straight) {
  straight = false;
  uint64_t wanted = std::min(source.remaining(), kMaxSize - at);
  if (!leave_heap(at + wanted).ok()) return 0;
  Segment& segment = segment_of(at);
  wanted = std::min(wanted, segment.end() - at);
  const Result<uint64_t> reserved = reserve(at, wanted);
  if (!reserved.ok()) return 0;
  written_straight_ = true;
  const size_t count = source
                           .get_to(segment.slice->host_fd(), segment.slice->host_offset(at - segment.start),
                                   static_cast<size_t>(*reserved))
                           .value_or(0);
  set_size(std::max(size_, at + count));
  straight = count == wanted;
  return count;
}

Result<size_t> Content::write_slices(mm::Source& source, uint64_t offset) {
  vfs::BounceBuffer buffer;
  size_t done = 0;
  bool straight = true;
  const auto failed = [&](Errno error) -> Result<size_t> {
    if (done == 0) return error;
    return done;
  };
  while (source.remaining() > 0) {
    const uint64_t at = offset + done;
    if (at >= kMaxSize) return failed(Errno(EFBIG));
    if (straight && source.remaining() >= mm::kWorthAHostCall) {
      done += write_straight(source, at, straight);
      continue;
    }
    const uint64_t wanted = std::min({source.remaining(), uint64_t{buffer.size()}, kMaxSize - at});
    if (const Result<> covered = leave_heap(at + wanted); !covered.ok()) return failed(covered.error());
    const Result<size_t> got = source.get(buffer.data(), static_cast<size_t>(wanted));
    if (!got.ok()) return failed(got.error());
    if (*got == 0) break;
    const Result<uint64_t> reserved = reserve(at, *got);
    size_t stored = 0;
    Result<> result;
    if (reserved.ok())
      result = store(at, buffer.data(), static_cast<size_t>(*reserved), stored);
    else
      result = reserved.error();
    source.unget(*got - stored);
    done += stored;
    set_size(std::max(size_, at + stored));
    if (!result.ok()) return failed(result.error());
    if (stored < *got) break;
    if (*got < wanted) break;
  }
  return done;
}

// Gives the whole pages of [start, end) back and zeros the rest of it. Only slices.
void Content::discard(uint64_t start, uint64_t end) {
  end = std::min(end, segments_.back().end());
  if (start >= end) return;
  // A thread that goes its own way may write later than it says: into what is given back now.
  if (written_straight_) exposed_ = true;
  if (allocated_.missing(page_of(start), page_after(end)) != page_after(end) - page_of(start) || exposed_) {
    for (Segment& segment : segments_) {
      const uint64_t from = std::max(start, segment.start), to = std::min(end, segment.end());
      // Zeroing fails only for ranges outside of the slice.
      if (from < to) (void)segment.slice->discard(from - segment.start, to - from);
    }
  }
  quota_->release_pages(allocated_.remove(page_after(start), page_of(end)));
}

void Content::count_change() {
  if (inode_ != nullptr) vfs::changed(*inode_);
}

// Before anybody can hear of it: what follows may park.
void Content::set_size(uint64_t size) {
  if (size != size_) count_change();
  size_ = size;
}

Result<> Content::resize(uint64_t size) {
  if (size > kMaxSize) return Errno(EFBIG);
  const TextChange change(owner_);
  finish_reads();
  const uint64_t old = size_;
  set_size(size);
  if (size > old) return {};
  if (in_heap()) {
    if (heap_ != nullptr && size < heap_->size()) {
      quota_->release_pages(page_after(heap_->size()) - page_after(size));
      if (size == 0)
        heap_.reset();
      else
        heap_->resize(size);  // does not move
    }
    return {};
  }
  // First nobody can reach the pages, then they go: else a guest could bring one back.
  const bool mapped = owner_ != nullptr && owner_->mapped();
  if (owner_ != nullptr && owner_->reached())
    owner_->invalidate(page_after(size) * kPage, ~uint64_t{0} - page_after(size) * kPage);
  if (size != size_) return {};  // invalidating parked, and the next change has come
  if (size == 0 && !mapped) {
    quota_->release_pages(allocated_.count());
    allocated_.clear();
    segments_.clear();
    exposed_ = written_straight_ = false;
    return {};
  }
  // Up to the end of the last page: what lies behind the size reads as zeros should the file grow again.
  discard(size, segments_.back().end());
  return {};
}

Result<> Content::allocate(uint64_t offset, uint64_t length, bool keep_size) {
  if (offset > kMaxSize || length > kMaxSize - offset) return Errno(EFBIG);
  const uint64_t end = offset + length;
  const uint64_t heap_pages = heap_ != nullptr ? page_after(heap_->size()) : 0;
  if (in_heap() && end <= kInlineLimit && page_of(offset) <= heap_pages) {
    TRY(grow_heap(end));
  } else {
    TRY(leave_heap(end));
    const uint64_t first = page_of(offset), last = page_after(end);
    const uint64_t missing = allocated_.missing(first, last);
    if (!quota_->charge_pages(missing)) return Errno(ENOSPC);
    for (Segment& segment : segments_) {
      const uint64_t from = std::max(offset, segment.start), to = std::min(end, segment.end());
      if (from >= to) continue;
      if (const Result<> allocated = segment.slice->allocate(from - segment.start, to - from);
          !allocated.ok()) {
        // Pages that the host did allocate stay.
        quota_->release_pages(missing);
        rescan();
        return allocated;
      }
    }
    allocated_.add(first, last);
  }
  if (!keep_size) set_size(std::max(size_, end));
  return {};
}

Result<> Content::punch(uint64_t offset, uint64_t length) {
  const TextChange change(owner_);
  finish_reads();
  const uint64_t end = length > ~offset ? ~uint64_t{0} : offset + length;
  if (in_heap()) {
    if (heap_ == nullptr || offset >= heap_->size()) return {};
    TRY(leave_heap(heap_->size()));
  }
  discard(offset, std::min(end, segments_.back().end()));
  return {};
}

Result<uint64_t> Content::find(uint64_t offset, bool data) {
  uint64_t found = 0;
  if (in_heap()) {
    const uint64_t heap_end = heap_ != nullptr ? page_after(heap_->size()) * kPage : 0;
    found = data ? (offset < heap_end ? offset : ~uint64_t{0}) : std::max(offset, heap_end);
  } else {
    if (!keeps_blocks()) rescan();
    const uint64_t page = allocated_.next(page_of(offset), data);
    found = page > size_ / kPage + 1 ? ~uint64_t{0} : std::max(offset, page * kPage);
  }
  if (data && found >= size_) return Errno(ENXIO);
  return std::min(found, size_);
}

bool Content::keeps_blocks() const { return !exposed_ || allocated_.missing(0, page_after(size_)) == 0; }

Result<mm::Mappable::Backing> Content::backing(uint64_t offset, uint64_t length) {
  const uint64_t end = page_after(size_) * kPage;
  if (offset >= end) return mm::Mappable::Backing{-1, 0, length};
  TRY(leave_heap(end));
  if (!std::exchange(exposed_, true)) count_change();  // a page fault has come here, perhaps
  Segment& segment = segment_of(offset);
  const uint64_t available = std::min(end, segment.end()) - offset;
  return mm::Mappable::Backing{segment.slice->host_fd(), segment.slice->host_offset(offset - segment.start),
                               std::min(length, available)};
}

// Counts the pages that guests have touched through mappings.
void Content::rescan() {
  int runs = 0;
  for (const Segment& segment : segments_) {
    uint64_t at = 0;
    while (at < segment.slice->size()) {
      if (++runs > kScannedRuns) return;  // a file so ragged keeps its old count in the rest
      const Result<uint64_t> data = segment.slice->seek(at, true);
      if (!data.ok()) break;
      const Result<uint64_t> hole = segment.slice->seek(*data, false);
      if (!hole.ok() || *hole <= *data) break;
      quota_->force_pages(allocated_.add(page_of(segment.start + *data), page_after(segment.start + *hole)));
      at = *hole;
    }
  }
  if (owner_ == nullptr || !owner_->reached()) exposed_ = false;
}

}  // namespace sentry::fs::tmpfs
