// Files over host descriptors that the runtime hands in: the standard streams of a program that was started
// without a terminal of its own. The open file description behind such a descriptor is shared with whoever
// started us, so its flags are never changed (an O_NONBLOCK that stays behind breaks the caller's shell) and
// every transfer is made not to block by other means.
#pragma once

#include <functional>

#include "sentry/base/event_loop.h"
#include "sentry/base/fd.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::host {

// A file over `descriptor`, which it owns, opened with `flags` (fcntl(2), F_GETFL). Asks the host once for
// its type; EBADF if it is none.
//
// Guests see the host's type (fifo, socket, character device, regular file), owner `credentials`, and an
// inode number of ours. `ioctl` answers what the file does not: ENOTTY where there is none.
//
// Host calls: preadv2 and pwritev2 (RWF_NOWAIT; plain for regular files), epoll_ctl and epoll_pwait2, fstat,
// and for regular files lseek and ftruncate.
using HostIoctl = std::function<Result<uint64_t>(mm::AddressSpaceMap&, unsigned request, uint64_t argument)>;
Result<vfs::FileRef> make_host_file(EventLoop& loop, Fd descriptor, int flags,
                                    vfs::CredentialsRef credentials, HostIoctl ioctl = nullptr);

}  // namespace sentry::fs::host
