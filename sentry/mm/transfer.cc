#include "sentry/mm/transfer.h"

#include <algorithm>

#include "sentry/mm/address_space_map.h"

namespace sentry::mm {
namespace {
uint64_t total(const std::vector<GuestRange>& ranges) {
  uint64_t sum = 0;
  for (const GuestRange& range : ranges) sum += range.length;
  return sum;
}

// Walks the pieces, copying with `copy(address, done, size)` until a short copy.
template <typename Copy>
Result<size_t> walk(std::vector<GuestRange>& ranges, size_t& index, uint64_t& within, uint64_t& remaining,
                    size_t size, Copy copy) {
  size_t done = 0;
  size = static_cast<size_t>(std::min<uint64_t>(size, remaining));
  while (done < size) {
    const GuestRange& range = ranges[index];
    if (within == range.length) {
      ++index;
      within = 0;
      continue;
    }
    const auto piece = static_cast<size_t>(std::min<uint64_t>(size - done, range.length - within));
    const Result<size_t> copied = copy(range.address + within, done, piece);
    if (!copied.ok()) {
      if (done == 0) return copied.error();
      break;
    }
    done += *copied;
    within += *copied;
    remaining -= *copied;
    if (*copied < piece) break;
  }
  return done;
}
}  // namespace

Result<size_t> Sink::put_zeros(size_t size) {
  static constexpr char kZeros[16384]{};
  size_t done = 0;
  while (done < size && remaining_ > 0) {
    const Result<size_t> piece = put(kZeros, std::min(size - done, sizeof kZeros));
    if (!piece.ok()) {
      if (done == 0) return piece.error();
      break;
    }
    if (*piece == 0) break;
    done += *piece;
    if (!catch_up().ok()) break;
  }
  return done;
}

GuestSink::GuestSink(AddressSpaceMap& memory, uint64_t address, uint64_t length, WindowOwner* windows)
    : Sink(length), memory_(memory), windows_(windows), ranges_{{address, length}} {}
GuestSink::GuestSink(AddressSpaceMap& memory, std::vector<GuestRange> ranges, WindowOwner* windows)
    : Sink(total(ranges)), memory_(memory), windows_(windows), ranges_(std::move(ranges)) {}

Result<size_t> GuestSink::put(const void* data, size_t size) {
  const auto* const bytes = static_cast<const std::byte*>(data);
  return walk(ranges_, index_, within_, remaining_, size, [&](uint64_t address, size_t done, size_t count) {
    return memory_.write_some(address, bytes + done, count);
  });
}

Result<> GuestSink::catch_up() { return memory_.platform_space().catch_up(); }

Result<size_t> GuestSink::put_from(int host_fd, uint64_t offset, size_t size) {
  if (std::min<uint64_t>(size, remaining_) < kWorthAHostCall) return Errno(EOPNOTSUPP);
  return walk(ranges_, index_, within_, remaining_, size, [&](uint64_t address, size_t done, size_t count) {
    return memory_.fill_some(address, count, host_fd, offset + done);
  });
}

Result<size_t> GuestSink::put_shown(const void* file, const MappableOpener& open, uint64_t offset,
                                    size_t size) {
  const uint64_t wanted = std::min<uint64_t>(size, remaining_);
  if (windows_ == nullptr || wanted < Windows::kLeast || wanted > Windows::kMost) return Errno(EOPNOTSUPP);
  const WindowRequest request{*windows_, file, open};
  return walk(ranges_, index_, within_, remaining_, size, [&](uint64_t address, size_t done, size_t count) {
    return memory_.copy_from_window(request, offset + done, address, count);
  });
}

GuestSource::GuestSource(AddressSpaceMap& memory, uint64_t address, uint64_t length)
    : Source(length), memory_(memory), ranges_{{address, length}} {}
GuestSource::GuestSource(AddressSpaceMap& memory, std::vector<GuestRange> ranges)
    : Source(total(ranges)), memory_(memory), ranges_(std::move(ranges)) {}

Result<size_t> GuestSource::get(void* buffer, size_t size) {
  auto* const bytes = static_cast<std::byte*>(buffer);
  return walk(ranges_, index_, within_, remaining_, size, [&](uint64_t address, size_t done, size_t count) {
    return memory_.read_some(address, bytes + done, count);
  });
}

Result<size_t> GuestSource::get_to(int host_fd, uint64_t offset, size_t size) {
  if (std::min<uint64_t>(size, remaining_) < kWorthAHostCall) return Errno(EOPNOTSUPP);
  return walk(ranges_, index_, within_, remaining_, size, [&](uint64_t address, size_t done, size_t count) {
    return memory_.store_some(address, count, host_fd, offset + done);
  });
}

void GuestSource::unget(size_t size) {
  remaining_ += size;
  while (size > 0) {
    if (within_ == 0) {
      --index_;
      within_ = ranges_[index_].length;
      continue;
    }
    const uint64_t piece = std::min<uint64_t>(size, within_);
    within_ -= piece;
    size -= static_cast<size_t>(piece);
  }
}

}  // namespace sentry::mm
