// What /proc says about an address space: maps and its kin, and the sums in status and statm.
#pragma once

#include <string>

#include "sentry/fs/proc/subject.h"

namespace sentry::fs::proc {

// Sizes in bytes. Page faults are the host's and the sentry never hears of them, so it does not know what is
// resident: `resident` counts everything that may be touched (PROT_NONE reservations and unreserved memory
// left out), an upper bound.
struct MemoryFacts {
  uint64_t size = 0, resident = 0, anonymous = 0, file = 0, shared = 0;
  uint64_t data = 0, stack = 0, executable = 0, libraries = 0, locked = 0;
};
MemoryFacts measure(const mm::AddressSpaceMap& memory);

Result<std::string> maps_text(const Snapshot& snapshot);
Result<std::string> smaps_text(const Snapshot& snapshot);
Result<std::string> smaps_rollup_text(const Snapshot& snapshot);
Result<std::string> statm_text(const Snapshot& snapshot);
// The bytes between two guest addresses, at most `limit`, as far as they can be read.
std::string read_range(mm::AddressSpaceMap& memory, uint64_t start, uint64_t end, size_t limit);
Result<std::string> command_line(const Snapshot& snapshot);
Result<std::string> environment(const Snapshot& snapshot);
Result<std::string> auxiliary_vector(const Snapshot& snapshot);

}  // namespace sentry::fs::proc
