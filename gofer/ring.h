// The io_uring through which host I/O goes that can block, so that one slow file does not delay the other
// requests. Restricted by IORING_REGISTER_RESTRICTIONS to the four operations below before it is enabled:
// seccomp does not see what a ring does.
#pragma once

#include <liburing.h>

#include <array>
#include <memory>
#include <optional>

#include "gofer/protocol.h"
#include "sentry/base/result.h"

namespace gofer {

using sentry::Errno;
using sentry::Result;

// One operation on its way through the ring.
struct Transfer {
  uint32_t tag = 0;
  Op op = Op::kRead;
  Id handle = kNoId;
  uint32_t flags = 0;     // kWrite: as requested
  bool in_packet = true;  // kRead: the data lies in `packet`, behind the reply's headers
  std::unique_ptr<std::array<uint8_t, kMaxMessage>> packet;  // kept for the next transfer in this place
};

class Ring {
 public:
  // Transfers at once. The next one waits for one of these.
  static constexpr unsigned kTransfers = 32;

  // The ring, restricted and enabled, with descriptor `at_fd` (which is closed first). An Errno where the
  // host has no io_uring for us: ENOSYS, EPERM (sysctl kernel.io_uring_disabled, or an outer seccomp filter),
  // ENOMEM.
  static Result<std::unique_ptr<Ring>> create(int at_fd);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  int fd() const { return ring_.ring_fd; }
  unsigned in_flight() const { return in_flight_; }
  bool full() const { return in_flight_ == kTransfers; }

  // A place for a transfer; there must be one (full()).
  Transfer& claim();
  // Give the claimed transfer to the kernel. fd only needs to stay open until these return.
  void read(Transfer& transfer, int fd, void* to, uint32_t length, uint64_t offset);
  void write(Transfer& transfer, int fd, const void* from, uint32_t length, uint64_t offset, int rwf_flags);
  void fsync(Transfer& transfer, int fd, bool data_only);
  void fallocate(Transfer& transfer, int fd, int mode, uint64_t offset, uint64_t length);

  // A finished transfer and what its call returned (a negative errno if it failed), or none. Never waits.
  struct Finished {
    Transfer* transfer;
    int result;
  };
  std::optional<Finished> reap();
  // Waits until there is one to reap.
  void wait();
  // Gives the place back.
  void release(Transfer& transfer);

  // For the test that tries what the restrictions must refuse.
  io_uring& host_ring() { return ring_; }

 private:
  Ring() = default;
  io_uring_sqe* next_entry(Transfer& transfer);
  void submit();

  io_uring ring_{};
  std::array<Transfer, kTransfers> transfers_;
  std::array<bool, kTransfers> used_{};
  unsigned in_flight_ = 0;
};

}  // namespace gofer
