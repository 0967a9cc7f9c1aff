// Guest addresses: [kGuestStart, kGuestEnd) is the guest's; what lies above is the platform's own.
#pragma once

#include <cstdint>

namespace sentry::platform {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kGuestStart = 0x10000;
inline constexpr uint64_t kGuestEnd = 0x7fff'0000'0000;

// Whether a mapping of the guest's can be there: where none can be, no host is to be asked.
constexpr bool in_guest_range(uint64_t address) { return address - kGuestStart < kGuestEnd - kGuestStart; }

}  // namespace sentry::platform
