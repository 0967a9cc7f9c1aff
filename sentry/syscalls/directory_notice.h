// Signals to the owner of a description, fcntl(2) "Managing signals", and those for changes in a directory.
#pragma once

#include "sentry/kernel/task.h"
#include "sentry/vfs/file.h"

namespace sentry::syscalls {

// Sends a signal to the description's owner, if who has set the owner may (sigio_perm()).
void signal_owner(kernel::Kernel& kernel, const vfs::AsyncOwner& owner, const siginfo_t& info);

// F_NOTIFY: DN_* in `events`; none of them ends it. ENOTDIR.
Result<> notify_of_directory(kernel::Task& task, const vfs::FileRef& file, int fd, uint32_t events);

}  // namespace sentry::syscalls
