// /proc/PID and /proc/PID/task/TID.
#pragma once

#include "sentry/fs/proc/subject.h"
#include "sentry/fs/pseudo/node.h"

namespace sentry::fs::proc {

// `net` is /proc/PID/net: one network for all.
std::shared_ptr<pseudo::Node> make_process_directory(vfs::Superblock& superblock, const Subject& subject,
                                                     std::shared_ptr<pseudo::Node> net);

// The process whose directory /proc/PID this is: EBADF for any other inode, ESRCH once it has been reaped.
Result<std::shared_ptr<kernel::ThreadGroup>> process_of_directory(const vfs::Inode& inode);

}  // namespace sentry::fs::proc
