// The sandbox's one network interface, lo, as netdevice(7) shows it.
#pragma once

#include <cstdint>
#include <string_view>

#include "sentry/base/result.h"
#include "sentry/mm/address_space_map.h"

namespace sentry::net {

inline constexpr std::string_view kLoopbackName = "lo";
inline constexpr int kLoopbackIndex = 1;
inline constexpr int kLoopbackMtu = 65536;

// SIOCGIFCONF, SIOCGIFFLAGS and their kin on a socket of `family`: ENODEV for other interfaces, EPERM for
// changes, ENOTTY for other requests.
Result<uint64_t> interface_ioctl(mm::AddressSpaceMap& memory, int family, unsigned request,
                                 uint64_t argument);

}  // namespace sentry::net
