// The buffer of a pipe, pipe(7): a ring of page-sized slots, so that what poll(2), FIONREAD and F_SETPIPE_SZ
// answer agrees with Linux. Knows its ends only by number; sentry/fs/pipe/pipe_file.h has the descriptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "sentry/base/result.h"
#include "sentry/base/wait_queue.h"
#include "sentry/mm/transfer.h"

namespace sentry::fs::pipe {

class Pipe {
 public:
  static constexpr size_t kPage = 4096;                   // also PIPE_BUF
  static constexpr size_t kDefaultSlots = 16;             // 64 KiB
  static constexpr size_t kMaximumSize = 1 << 20;         // fs.pipe-max-size
  static constexpr size_t kPrivilegedMaximum = 64 << 20;  // ours; Linux sets none to the privileged

  // Reads what there is, at least one byte or one packet; waits for it unless `nonblocking`. 0: no writer is
  // left. EAGAIN, EFAULT, ERESTARTSYS.
  Result<size_t> read(mm::Sink& sink, bool nonblocking);
  // Writes everything, or what fits if `nonblocking`; up to PIPE_BUF bytes at once or not at all. `packets`:
  // each write of up to PIPE_BUF bytes is read by itself (O_DIRECT). EPIPE, EAGAIN, EFAULT, ERESTARTSYS.
  Result<size_t> write(mm::Source& source, bool nonblocking, bool packets);

  // For splice(2): waits until there is something to read (0 at the end of file) or room to write (bytes that
  // fit).
  Result<size_t> await_data(bool nonblocking);
  Result<size_t> await_room(bool nonblocking);
  // Copies up to `size` bytes without taking them, from the first one, tee(2).
  size_t peek(void* buffer, size_t size) const;
  // Takes up to `size` bytes; put_back() returns the last ones of them, which must be the very bytes.
  size_t take(void* buffer, size_t size);
  void put_back(const void* data, size_t size);
  // Appends at once, whether there is room or not: for bytes that have been taken from elsewhere.
  void append(const void* data, size_t size);

  size_t size() const { return bytes_; }                 // FIONREAD
  size_t capacity() const { return capacity_ * kPage; }  // F_GETPIPE_SZ
  // F_SETPIPE_SZ: rounds up to a power of two pages. EBUSY if what is buffered needs more, EINVAL for
  // nonsense, EPERM beyond kMaximumSize unless `privileged`, ENOMEM beyond kPrivilegedMaximum.
  Result<size_t> set_capacity(uint64_t bytes, bool privileged);
  bool empty() const { return slots_.empty(); }
  bool full() const { return slots_.size() >= capacity_; }

  // Ends. A FIFO's open waits for its partner by the totals, which only grow.
  void add_reader();
  void add_writer();
  void drop_reader();
  void drop_writer();
  unsigned readers() const { return readers_; }
  unsigned writers() const { return writers_; }
  uint64_t total_readers() const { return total_readers_; }
  uint64_t total_writers() const { return total_writers_; }

  WaitQueue& queue() { return queue_; }

 private:
  // Up to a page of bytes in memory that neighbouring slots may share.
  struct Slot {
    std::shared_ptr<std::byte[]> memory;
    size_t begin;   // of the bytes not yet read
    size_t length;  // of them
    size_t limit;   // end of this slot's page in `memory`
    bool packet;
  };
  bool can_merge(size_t size) const;
  // Moves bytes [0, size) of `memory` (whole pages) into slots, as many as fit; how many bytes did.
  size_t insert(const std::shared_ptr<std::byte[]>& memory, size_t size, bool packet);
  void restore(const std::shared_ptr<std::byte[]>& memory, size_t begin, size_t length);
  void consumed(bool was_full);

  std::deque<Slot> slots_;
  size_t bytes_ = 0;
  size_t capacity_ = kDefaultSlots;
  unsigned readers_ = 0, writers_ = 0;
  uint64_t total_readers_ = 0, total_writers_ = 0;
  WaitQueue queue_;
};

}  // namespace sentry::fs::pipe
