// Files over host descriptors that the runtime hands in: the standard streams of a program that was started
// without a terminal of its own. The open file description behind such a descriptor is shared with whoever
// started us, so its flags are never changed (an O_NONBLOCK that stays behind breaks the caller's shell) and
// every transfer is made not to block by other means.
#pragma once

#include "sentry/base/event_loop.h"
#include "sentry/base/fd.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::host {

// A file over `descriptor`, which it owns. Asks the host once for its type and access mode; EBADF if it is
// none.
//
// Guests see the host's type (fifo, socket, character device, regular file), owner `credentials`, and an
// inode number of ours. A terminal is an ordinary character device here: it answers ENOTTY to what isatty(3)
// asks, since the sandbox has no part in the job control of the terminal's session.
//
// Host calls: preadv2 and pwritev2 (RWF_NOWAIT; plain for regular files), poll with timeout 0, fstat,
// fcntl(F_GETFL), and for regular files lseek and ftruncate.
Result<vfs::FileRef> make_host_file(EventLoop& loop, Fd descriptor, vfs::CredentialsRef credentials);

}  // namespace sentry::fs::host
