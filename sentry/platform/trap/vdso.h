// The host's vDSO, moved into stubs' own pages: the shim reads clocks by it. vdso(7).
#pragma once

#include <cstdint>
#include <vector>

namespace sentry::platform::trap {

// A mapping of the vDSO or of its data in this process.
struct VdsoPart {
  uint64_t start, length;
};
struct Vdso {
  std::vector<VdsoPart> parts;         // in order of their addresses; empty where there is none
  uint64_t clock_gettime_offset = 0;   // of its function from the first part's start; 0: there is none

  uint64_t length() const { return parts.empty() ? 0 : parts.back().start + parts.back().length - parts.front().start; }
};
// As /proc/self/maps and the ELF image in memory tell.
Vdso find_vdso();

}  // namespace sentry::platform::trap
