// The files of /proc that are about the whole system.
#pragma once

#include <array>
#include <string>

#include "sentry/kernel/kernel.h"

namespace sentry::fs::proc {

// Sizes of the sandbox's memory: its limit, or the host's memory where there is none. What is used is the sum
// of what its address spaces may have touched, an upper bound that is kept below the total.
struct SystemMemory {
  uint64_t total = 0, free = 0, available = 0, cached = 0, shared = 0;
};
SystemMemory system_memory(const kernel::Kernel& kernel);

// Over 1, 5 and 15 minutes, getloadavg(3).
std::array<double, 3> load_averages(const kernel::Kernel& kernel);

std::string meminfo_text(const kernel::Kernel& kernel);
std::string uptime_text(const kernel::Kernel& kernel);
std::string loadavg_text(const kernel::Kernel& kernel);
std::string system_stat_text(const kernel::Kernel& kernel);
std::string vmstat_text(const kernel::Kernel& kernel);
std::string version_text();
// What the CPU says of itself (the cpuid instruction), once for each of the sandbox's CPUs.
std::string cpuinfo_text(const kernel::Kernel& kernel);

}  // namespace sentry::fs::proc
