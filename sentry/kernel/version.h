// What uname(2) and /proc/version call this kernel. The release is what programs compare with to learn which
// calls to expect: that of the Linux whose interfaces we follow.
#pragma once

namespace sentry::kernel {

inline constexpr char kSysname[] = "Linux";
inline constexpr char kRelease[] = "6.1.0-bulkhead";
inline constexpr char kVersion[] = "#1 SMP bulkhead " BULKHEAD_VERSION;
inline constexpr char kMachine[] = "x86_64";

}  // namespace sentry::kernel
