// Handlers that process.cc lists. Errors as in process_vm_readv(2).
#pragma once

#include <sys/uio.h>

#include "sentry/syscalls/handler.h"

namespace sentry::syscalls {

Result<uint64_t> sys_process_vm_readv(Task& task, pid_t pid, GuestPtr<const iovec> local,
                                      uint64_t local_count, GuestPtr<const iovec> remote,
                                      uint64_t remote_count, uint64_t flags);
Result<uint64_t> sys_process_vm_writev(Task& task, pid_t pid, GuestPtr<const iovec> local,
                                       uint64_t local_count, GuestPtr<const iovec> remote,
                                       uint64_t remote_count, uint64_t flags);

}  // namespace sentry::syscalls
