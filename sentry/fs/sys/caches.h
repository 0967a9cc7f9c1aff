// The CPU's caches, by the cpuid instruction.
#pragma once

#include <vector>

namespace sentry::fs::sys {

struct Cache {
  unsigned level;
  char type;  // 'D'ata, 'I'nstruction, 'U'nified
  unsigned line_bytes, ways, sets;
  unsigned sharing;  // logical CPUs that can share it, by the hardware's own layout
  unsigned size_bytes() const { return line_bytes * ways * sets; }
};

// In the order of the hardware's list; empty where it does not tell.
std::vector<Cache> list_caches();

}  // namespace sentry::fs::sys
