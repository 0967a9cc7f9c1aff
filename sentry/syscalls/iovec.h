// The pieces of guest memory that readv(2), sendmsg(2) and vmsplice(2) name.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <climits>
#include <vector>

#include "sentry/mm/transfer.h"
#include "sentry/syscalls/handler.h"

namespace sentry::syscalls {

// What one call transfers at most, MAX_RW_COUNT of the kernel: read(2).
inline constexpr uint64_t kMaximumTransfer = 0x7ffff000;

// EINVAL for more than IOV_MAX pieces or a negative length, EFAULT. The sum is cut to kMaximumTransfer.
inline Result<std::vector<mm::GuestRange>> read_iovec(Task& task, GuestPtr<const iovec> pieces,
                                                      uint64_t count) {
  if (count > IOV_MAX) return Errno(EINVAL);
  std::vector<mm::GuestRange> ranges;
  ranges.reserve(count);
  uint64_t total = 0;
  for (const iovec& piece : TRY(task.memory().read_array(pieces, count))) {
    if (static_cast<int64_t>(piece.iov_len) < 0) return Errno(EINVAL);
    const uint64_t length = std::min<uint64_t>(piece.iov_len, kMaximumTransfer - total);
    total += length;
    if (length != 0) ranges.push_back({reinterpret_cast<uint64_t>(piece.iov_base), length});
  }
  return ranges;
}

}  // namespace sentry::syscalls
