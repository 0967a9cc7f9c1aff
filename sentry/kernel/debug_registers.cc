#include "sentry/kernel/debug_registers.h"

namespace sentry::kernel {
namespace {

constexpr uint64_t kStatusReserved = 0xffff0ff0;  // DR6_RESERVED: bits that read as ones

}  // namespace

size_t DebugRegisters::length(uint64_t control, size_t place) {
  constexpr size_t kLengths[] = {1, 2, 8, 4};  // by DR7's LEN field
  return kLengths[control >> (18 + 4 * place) & 3];
}

uint64_t DebugRegisters::get(size_t number) const {
  if (number < kPlaces) return addresses_[number];
  if (number == kStatus) return status_ ^ kStatusReserved;
  return number == kControl ? control_ : 0;
}

Result<> DebugRegisters::check(uint64_t control) const {
  for (size_t place = 0; place < kPlaces; ++place) {
    if ((control >> (2 * place) & 3) == 0) continue;
    const size_t size = length(control, place);
    switch (kind(control, place)) {
      case Kind::kExecute:
        if (size != 1) return Errno(EINVAL);
        break;
      case Kind::kWrite:
        break;
      case Kind::kPort:
        return Errno(EINVAL);
      case Kind::kAccess:
        return Errno(EIO);
    }
    if (addresses_[place] % size != 0) return Errno(EINVAL);
  }
  return {};
}

Result<> DebugRegisters::set(size_t number, uint64_t value) {
  if (number < kPlaces) {
    if (value >= mm::kGuestEnd) return Errno(EINVAL);
    addresses_[number] = value;
    return {};
  }
  switch (number) {
    case kStatus:
      status_ = value ^ kStatusReserved;
      return {};
    case kControl:
      TRY(check(value));
      control_ = value;
      return {};
    default:
      return Errno(EIO);
  }
}

DebugRegisters::Contents DebugRegisters::look(mm::AddressSpaceMap& memory) const {
  Contents contents{};
  const DebugRegisters wanted = *this;  // the debugger may change them meanwhile
  for (size_t place = 0; place < kPlaces; ++place)
    if (wanted.enabled(place) && kind(wanted.control_, place) == Kind::kWrite)
      (void)memory.read_forced(wanted.addresses_[place], &contents[place], length(wanted.control_, place));
  return contents;
}

uint64_t DebugRegisters::hits(const Contents& before, const Contents& after, uint64_t rip) const {
  uint64_t hits = 0;
  for (size_t place = 0; place < kPlaces; ++place) {
    if (!enabled(place)) continue;
    const bool hit =
        kind(control_, place) == Kind::kExecute ? addresses_[place] == rip : before[place] != after[place];
    hits |= uint64_t{hit} << place;
  }
  return hits;
}

}  // namespace sentry::kernel
