// /proc/PID and /proc/PID/task/TID.
#pragma once

#include "sentry/fs/proc/subject.h"
#include "sentry/fs/pseudo/node.h"

namespace sentry::fs::proc {

// `net` is /proc/PID/net: one network for all.
std::shared_ptr<pseudo::Node> make_process_directory(vfs::Superblock& superblock, const Subject& subject,
                                                     std::shared_ptr<pseudo::Node> net);

}  // namespace sentry::fs::proc
