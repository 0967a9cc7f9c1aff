// What the operator's sysctls (linux.sysctl) are to a sandbox, as far as the runtime says it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sentry::boot {

// A sysctl that is checked and shown, and changes nothing: the guest's network is a loopback in memory, which
// loses, delays and forwards no packet and has no windows to fill.
struct RedundantSysctl {
  std::string_view path;  // below /proc/sys
  size_t count;           // of numbers
  std::array<uint64_t, 3> initial;
  uint64_t least, most;
};

inline constexpr uint64_t kMostSysctl = 0x7fff'ffff;  // of those that are an int in Linux

inline constexpr auto kRedundantSysctls = std::to_array<RedundantSysctl>({
    {"net/ipv4/conf/all/forwarding", 1, {0}, 0, 1},
    {"net/ipv4/conf/default/forwarding", 1, {0}, 0, 1},
    {"net/ipv4/conf/lo/forwarding", 1, {0}, 0, 1},
    {"net/ipv4/ip_forward", 1, {0}, 0, 1},
    {"net/ipv4/ping_group_range", 2, {1, 0}, 0, 0x7fff'ffff},
    {"net/ipv4/tcp_max_syn_backlog", 1, {512}, 0, kMostSysctl},
    {"net/ipv4/tcp_mem", 3, {23040, 30721, 46080}, 0, ~uint64_t{0} >> 1},
    {"net/ipv4/tcp_retries1", 1, {3}, 0, 255},
    {"net/ipv4/tcp_retries2", 1, {15}, 0, 255},
    {"net/ipv4/tcp_rmem", 3, {4096, 131072, 6291456}, 1, kMostSysctl},
    {"net/ipv4/tcp_sack", 1, {1}, 0, 255},
    {"net/ipv4/tcp_syncookies", 1, {1}, 0, 255},
    {"net/ipv4/tcp_timestamps", 1, {1}, 0, 2},
    {"net/ipv4/tcp_tw_reuse", 1, {2}, 0, 2},
    {"net/ipv4/tcp_window_scaling", 1, {1}, 0, 255},
    {"net/ipv4/tcp_wmem", 3, {4096, 16384, 4194304}, 1, kMostSysctl},
    {"net/ipv6/conf/all/forwarding", 1, {0}, 0, 1},
    {"net/ipv6/conf/default/forwarding", 1, {0}, 0, 1},
});

}  // namespace sentry::boot
