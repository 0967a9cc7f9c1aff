// The text files of a process's directory in /proc, as proc(5) and the kernel's fs/proc/array.c lay them out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sentry/fs/proc/subject.h"

namespace sentry::fs::proc {

Result<std::string> stat_text(const Snapshot& snapshot);
Result<std::string> status_text(const Snapshot& snapshot);
Result<std::string> limits_text(const Snapshot& snapshot);
Result<std::string> oom_score_text(const Snapshot& snapshot);
// Ranges as in a cpuset: "0-3", and the bit mask with a comma each 32 bits: "f".
std::string cpu_list(unsigned cpus);
std::string cpu_mask(unsigned cpus);
// The same of a set: bit n is CPU n.
std::string cpu_list(const std::vector<uint64_t>& cpus);
std::string cpu_mask(const std::vector<uint64_t>& cpus, unsigned count);

}  // namespace sentry::fs::proc
