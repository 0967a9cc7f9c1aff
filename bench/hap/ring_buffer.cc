#include "bench/hap/ring_buffer.h"

#include <algorithm>
#include <cstring>

namespace hap {
namespace {

// events/header_page: a 64-bit time stamp, then a 64-bit commit word, then data.
constexpr size_t kPageHeader = 16;
// The commit word: length in the low bits, RB_MISSED_EVENTS and RB_MISSED_STORED of
// kernel/trace/ring_buffer.c.
constexpr uint64_t kLengthMask = (uint64_t{1} << 27) - 1;
constexpr uint64_t kMissedEvents = uint64_t{1} << 31;
constexpr uint64_t kMissedStored = uint64_t{1} << 30;

// events/header_event: the five low bits are a length in words or one of these.
enum : uint32_t { kLongData = 0, kLastShort = 28, kPadding = 29, kTimeExtend = 30, kTimeStamp = 31 };

template <typename T>
T load(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

void parse_event(std::span<const std::byte> event, uint16_t sys_enter_type, TraceCounts& counts) {
  if (event.size() < sizeof(EventHeader) + sizeof(uint64_t)) {
    ++counts.malformed;
    return;
  }
  const auto header = load<EventHeader>(event, 0);
  const auto first =
      load<uint64_t>(event, sizeof(EventHeader));  // the function's address, or the call's number
  ++counts.events;
  if (header.type == kTypeFunction) {
    if (header.flags & (kFlagHardIrq | kFlagNmi)) return;
    counts.functions.add(first, header.flags & kFlagSoftIrq ? FunctionCounts::Context::kSoftIrq
                                                            : FunctionCounts::Context::kTask);
  } else if (header.type == kTypePrint) {
    counts.marker_pid = header.pid;
  } else if (header.type == sys_enter_type) {
    ++counts.syscalls[static_cast<int64_t>(first)];
  }
}

}  // namespace

void FunctionCounts::add(uint64_t address, Context context) {
  const auto which = static_cast<size_t>(context);
  if (address < kTextBase) {
    Entry& entry = elsewhere_[address];
    entry.address = address;
    ++entry.counts[which];
    return;
  }
  const uint64_t offset = address - kTextBase;
  Page*& page = pages_[offset >> kPageBits];
  if (page == nullptr) page = owned_.emplace_back(std::make_unique<Page>()).get();
  ++page->counts[which][offset & ((uint64_t{1} << kPageBits) - 1)];
}

void FunctionCounts::clear() {
  std::fill(pages_.begin(), pages_.end(), nullptr);
  owned_.clear();
  elsewhere_.clear();
}

std::vector<FunctionCounts::Entry> FunctionCounts::entries() const {
  std::vector<Entry> all;
  for (const auto& [address, entry] : elsewhere_) all.push_back(entry);
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.address < b.address; });
  for (size_t number = 0; number < pages_.size(); ++number) {
    const Page* page = pages_[number];
    if (page == nullptr) continue;
    for (size_t offset = 0; offset < size_t{1} << kPageBits; ++offset) {
      const Entry entry{kTextBase + (number << kPageBits) + offset,
                        {page->counts[0][offset], page->counts[1][offset]}};
      if (entry.counts[0] != 0 || entry.counts[1] != 0) all.push_back(entry);
    }
  }
  return all;
}

void TraceCounts::clear() {
  functions.clear();
  syscalls.clear();
  marker_pid = 0;
  events = lost = malformed = 0;
}

void parse_page(std::span<const std::byte> page, uint16_t sys_enter_type, TraceCounts& counts) {
  if (page.size() < kPageHeader) {
    ++counts.malformed;
    return;
  }
  const auto commit = load<uint64_t>(page, 8);
  const std::span<const std::byte> data = page.subspan(kPageHeader);
  const size_t length = commit & kLengthMask;
  if (length > data.size()) {
    ++counts.malformed;
    return;
  }
  if (commit & kMissedEvents) {
    // The count follows the data if the page had room for it.
    const bool stored = (commit & kMissedStored) && length + sizeof(uint64_t) <= data.size();
    counts.lost += stored ? load<uint64_t>(data, length) : 1;
  }
  size_t at = 0;
  while (at + 4 <= length) {
    const auto word = load<uint32_t>(data, at);
    const uint32_t kind = word & 31;
    const uint32_t delta = word >> 5;
    size_t payload_at = at + 4;
    size_t payload = 0;
    if (kind == kTimeExtend || kind == kTimeStamp) {
      at += 8;
      continue;
    }
    if (kind > kLongData && kind <= kLastShort) {
      payload = kind * 4;
    } else {                                       // the length, itself included, is the word that follows
      if (kind == kPadding && delta == 0) return;  // nothing but padding up to the page's end
      if (at + 8 > length) break;
      const auto size = load<uint32_t>(data, at + 4);
      if (size < 4) break;
      if (kind == kPadding) {  // an event that was withdrawn
        at += 4 + size;
        continue;
      }
      payload_at = at + 8;
      payload = size - 4;
    }
    if (payload_at + payload > length) break;
    parse_event(data.subspan(payload_at, payload), sys_enter_type, counts);
    at = payload_at + payload;
  }
  if (at != length) ++counts.malformed;
}

}  // namespace hap
