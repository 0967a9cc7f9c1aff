#include "gofer/ring.h"

#include <fcntl.h>
#include <unistd.h>

#include "sentry/base/log.h"

namespace gofer {

Result<std::unique_ptr<Ring>> Ring::create(int at_fd) {
  std::unique_ptr<Ring> made(new Ring);
  io_uring& ring = made->ring_;
  if (const int status = io_uring_queue_init(kTransfers, &ring, IORING_SETUP_R_DISABLED); status < 0) {
    ring.ring_fd = -1;
    return Errno(-status);
  }
  io_uring_restriction allowed[5] = {};
  const uint8_t operations[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
  for (size_t i = 0; i < std::size(operations); ++i) {
    allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[i].sqe_op = operations[i];
  }
  allowed[4].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  allowed[4].sqe_flags = 0;
  if (const int status = io_uring_register_restrictions(&ring, allowed, std::size(allowed)); status < 0)
    return Errno(-status);
  if (const int status = io_uring_enable_rings(&ring); status < 0) return Errno(-status);

  // A fixed number, so that the surface list can name it.
  if (::dup3(ring.ring_fd, at_fd, O_CLOEXEC) < 0) return Errno(errno);
  ::close(ring.ring_fd);
  ring.ring_fd = ring.enter_ring_fd = at_fd;
  return made;
}

Ring::~Ring() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

Transfer& Ring::claim() {
  for (unsigned i = 0; i < kTransfers; ++i) {
    if (used_[i]) continue;
    used_[i] = true;
    ++in_flight_;
    if (!transfers_[i].packet) transfers_[i].packet = std::make_unique<std::array<uint8_t, kMaxMessage>>();
    return transfers_[i];
  }
  BULKHEAD_CHECK(false, "a transfer was claimed from a full ring");
  __builtin_unreachable();
}

io_uring_sqe* Ring::next_entry(Transfer& transfer) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  BULKHEAD_CHECK(entry != nullptr, "the submission queue is full though every entry was submitted");
  io_uring_sqe_set_data(entry, &transfer);
  return entry;
}

void Ring::submit() {
  int status;
  do status = io_uring_submit(&ring_);
  while (status == -EINTR || status == -EAGAIN);
  BULKHEAD_CHECK(status == 1, "io_uring_enter: {}", status);
}

// liburing's prep functions set the user data to zero in some versions and keep it in others: it is set
// after.
void Ring::read(Transfer& transfer, int fd, void* to, uint32_t length, uint64_t offset) {
  io_uring_sqe* entry = next_entry(transfer);
  io_uring_prep_read(entry, fd, to, length, offset);
  io_uring_sqe_set_data(entry, &transfer);
  submit();
}

void Ring::write(Transfer& transfer, int fd, const void* from, uint32_t length, uint64_t offset,
                 int rwf_flags) {
  io_uring_sqe* entry = next_entry(transfer);
  io_uring_prep_write(entry, fd, from, length, offset);
  entry->rw_flags = rwf_flags;
  io_uring_sqe_set_data(entry, &transfer);
  submit();
}

void Ring::fsync(Transfer& transfer, int fd, bool data_only) {
  io_uring_sqe* entry = next_entry(transfer);
  io_uring_prep_fsync(entry, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
  io_uring_sqe_set_data(entry, &transfer);
  submit();
}

void Ring::fallocate(Transfer& transfer, int fd, int mode, uint64_t offset, uint64_t length) {
  io_uring_sqe* entry = next_entry(transfer);
  io_uring_prep_fallocate(entry, fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length));
  io_uring_sqe_set_data(entry, &transfer);
  submit();
}

std::optional<Ring::Finished> Ring::reap() {
  if (in_flight_ == 0) return std::nullopt;
  io_uring_cqe* completion = nullptr;
  if (io_uring_peek_cqe(&ring_, &completion) != 0) return std::nullopt;
  const Finished finished{static_cast<Transfer*>(io_uring_cqe_get_data(completion)), completion->res};
  io_uring_cqe_seen(&ring_, completion);
  return finished;
}

void Ring::wait() {
  io_uring_cqe* completion = nullptr;
  int status;
  do status = io_uring_wait_cqe(&ring_, &completion);
  while (status == -EINTR);
  BULKHEAD_CHECK(status == 0, "io_uring_enter: {}", status);
}

void Ring::release(Transfer& transfer) {
  used_[static_cast<size_t>(&transfer - transfers_.data())] = false;
  --in_flight_;
}

}  // namespace gofer
