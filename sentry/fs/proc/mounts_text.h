// The mounts of a process's mount namespace as proc(5) lists them, seen from that process's root.
#pragma once

#include <string>

#include "sentry/fs/proc/subject.h"

namespace sentry::fs::proc {

Result<std::string> mounts_text(const Snapshot& snapshot);
Result<std::string> mountinfo_text(const Snapshot& snapshot);
Result<std::string> mountstats_text(const Snapshot& snapshot);

}  // namespace sentry::fs::proc
