#include "sentry/fs/pipe/pipe.h"

#include <sys/epoll.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace sentry::fs::pipe {
namespace {

constexpr Events kDataEvents = EPOLLIN | EPOLLRDNORM;
constexpr Events kRoomEvents = EPOLLOUT | EPOLLWRNORM;
// Bytes fetched from the writer's memory at a time: a default pipe's worth.
constexpr size_t kFetch = Pipe::kDefaultSlots * Pipe::kPage;

std::shared_ptr<std::byte[]> allocate(size_t size) {
  return std::make_shared_for_overwrite<std::byte[]>(size);
}
constexpr size_t page_ceil(size_t size) { return (size + Pipe::kPage - 1) & ~(Pipe::kPage - 1); }

}  // namespace

bool Pipe::can_merge(size_t size) const {
  if (slots_.empty() || slots_.back().packet) return false;
  const Slot& last = slots_.back();
  return last.begin + last.length + size <= last.limit;
}

size_t Pipe::insert(const std::shared_ptr<std::byte[]>& memory, size_t size, bool packet) {
  size_t done = 0;
  while (done < size && !full()) {
    const size_t count = std::min(kPage, size - done);
    slots_.push_back({memory, done, count, done + kPage, packet});
    done += count;
  }
  bytes_ += done;
  if (done != 0) queue_.wake(kDataEvents);
  return done;
}

// Each round first learns whether there is room, then copies from the writer, which may park, and then looks
// again: nothing of the pipe is held while the copy is under way.
Result<size_t> Pipe::write(mm::Source& source, bool nonblocking, bool packets) {
  const uint64_t total = source.remaining();
  if (total == 0) return size_t{0};
  if (readers_ == 0) return Errno(EPIPE);
  size_t written = 0;

  // What is not a whole page joins the last slot where it fits, as in pipe_write(): two small writes share a
  // page.
  const size_t odd = total % kPage;
  if (!packets && odd != 0 && can_merge(odd)) {
    std::byte bytes[kPage];
    const size_t count = TRY(source.get(bytes, odd));
    if (readers_ == 0) {
      source.unget(count);
      return Errno(EPIPE);
    }
    if (can_merge(count)) {
      Slot& last = slots_.back();
      std::memcpy(last.memory.get() + last.begin + last.length, bytes, count);
      last.length += count;
      bytes_ += count;
      written += count;
      queue_.wake(kDataEvents);
      if (count < odd) return written;  // the writer's memory ended in a fault
    } else {
      source.unget(count);
    }
  }

  while (source.remaining() != 0) {
    if (readers_ == 0) {
      if (written != 0) return written;
      return Errno(EPIPE);
    }
    if (full()) {
      if (nonblocking) {
        if (written != 0) return written;
        return Errno(EAGAIN);
      }
      const Result<> waited =
          wait_until(queue_, kRoomEvents | EPOLLERR, [&] { return !full() || readers_ == 0; });
      if (!waited.ok()) {
        if (written != 0) return written;
        return waited.error();
      }
      continue;
    }
    const uint64_t room = (capacity_ - slots_.size()) * kPage;
    const size_t want = static_cast<size_t>(packets ? std::min<uint64_t>(source.remaining(), kPage)
                                                    : std::min({source.remaining(), room, uint64_t{kFetch}}));
    const auto memory = allocate(page_ceil(want));
    const Result<size_t> got = source.get(memory.get(), want);
    if (!got.ok()) {
      if (written != 0) return written;
      return got.error();
    }
    const bool gone = readers_ == 0;
    const size_t inserted = gone ? 0 : insert(memory, *got, packets);
    source.unget(*got - inserted);
    written += inserted;
    if (!gone && *got < want) return written;
  }
  return written;
}

// The bytes leave the ring before they are copied to the reader, which may park; what a fault keeps from
// being delivered goes back to the front.
Result<size_t> Pipe::read(mm::Sink& sink, bool nonblocking) {
  if (sink.remaining() == 0) return size_t{0};
  size_t done = 0;
  for (;;) {
    while (!slots_.empty() && sink.remaining() != 0) {
      const bool was_full = full();
      Slot& front = slots_.front();
      const auto memory = front.memory;
      const size_t begin = front.begin;
      const bool packet = front.packet;
      size_t count = 0;
      if (packet) {
        // The rest of a packet that is too long for the reader is lost, pipe(2) O_DIRECT.
        count = static_cast<size_t>(std::min<uint64_t>(front.length, sink.remaining()));
        bytes_ -= front.length;
        slots_.pop_front();
      } else {
        while (!slots_.empty() && count < sink.remaining()) {
          Slot& next = slots_.front();
          if (next.packet || next.memory != memory || next.begin != begin + count) break;
          const auto part = static_cast<size_t>(std::min<uint64_t>(next.length, sink.remaining() - count));
          next.begin += part;
          next.length -= part;
          count += part;
          if (next.length != 0) break;
          slots_.pop_front();
        }
        bytes_ -= count;
      }
      const Result<size_t> put = sink.put(memory.get() + begin, count);
      const size_t copied = put.value_or(0);
      if (copied < count && !packet) restore(memory, begin + copied, count - copied);
      done += copied;
      consumed(was_full);
      if (!put.ok() || copied < count) {
        if (done != 0) return done;
        return put.ok() ? Errno(EFAULT) : put.error();
      }
      if (packet) return done;
    }
    if (done != 0 || writers_ == 0) return done;
    TRY(await_data(nonblocking));
  }
}

void Pipe::restore(const std::shared_ptr<std::byte[]>& memory, size_t begin, size_t length) {
  bytes_ += length;
  size_t end = begin + length;
  while (end > begin) {
    const size_t page = (end - 1) & ~(kPage - 1);
    const size_t start = std::max(page, begin);
    if (!slots_.empty() && !slots_.front().packet && slots_.front().memory == memory &&
        slots_.front().begin == end && slots_.front().limit == page + kPage) {
      slots_.front().begin = start;
      slots_.front().length += end - start;
    } else {
      slots_.push_front({memory, start, end - start, page + kPage, false});
    }
    end = start;
  }
  queue_.wake(kDataEvents);
}

void Pipe::consumed(bool was_full) {
  if (was_full && !full()) queue_.wake(kRoomEvents);
}

Result<size_t> Pipe::await_data(bool nonblocking) {
  if (slots_.empty() && writers_ != 0) {
    if (nonblocking) return Errno(EAGAIN);
    TRY(wait_until(queue_, kDataEvents | EPOLLHUP, [&] { return !slots_.empty() || writers_ == 0; }));
  }
  return bytes_;
}

Result<size_t> Pipe::await_room(bool nonblocking) {
  if (readers_ != 0 && full()) {
    if (nonblocking) return Errno(EAGAIN);
    TRY(wait_until(queue_, kRoomEvents | EPOLLERR, [&] { return readers_ == 0 || !full(); }));
  }
  if (readers_ == 0) return Errno(EPIPE);
  return (capacity_ - slots_.size()) * kPage;
}

size_t Pipe::peek(void* buffer, size_t size) const {
  size_t done = 0;
  for (const Slot& slot : slots_) {
    if (done == size) break;
    const size_t count = std::min(slot.length, size - done);
    std::memcpy(static_cast<std::byte*>(buffer) + done, slot.memory.get() + slot.begin, count);
    done += count;
  }
  return done;
}

size_t Pipe::take(void* buffer, size_t size) {
  const size_t done = peek(buffer, size);
  const bool was_full = full();
  bytes_ -= done;
  for (size_t left = done; left != 0;) {
    Slot& front = slots_.front();
    const size_t count = std::min(front.length, left);
    front.begin += count;
    front.length -= count;
    left -= count;
    if (front.length == 0) slots_.pop_front();
  }
  consumed(was_full);
  return done;
}

void Pipe::put_back(const void* data, size_t size) {
  if (size == 0) return;
  const auto memory = allocate(page_ceil(size));
  std::memcpy(memory.get(), data, size);
  restore(memory, 0, size);
}

void Pipe::append(const void* data, size_t size) {
  if (size == 0) return;
  const auto memory = allocate(page_ceil(size));
  std::memcpy(memory.get(), data, size);
  for (size_t done = 0; done < size; done += kPage)
    slots_.push_back({memory, done, std::min(kPage, size - done), done + kPage, false});
  bytes_ += size;
  queue_.wake(kDataEvents);
}

Result<size_t> Pipe::set_capacity(uint64_t bytes, bool privileged) {
  if (bytes > uint64_t{1} << 31) return Errno(EINVAL);
  const size_t slots = std::bit_ceil((static_cast<size_t>(bytes) + kPage - 1) / kPage);
  if (slots > capacity_ && slots * kPage > kMaximumSize && !privileged) return Errno(EPERM);
  if (slots * kPage > kPrivilegedMaximum) return Errno(ENOMEM);
  if (slots < slots_.size()) return Errno(EBUSY);
  const bool was_full = full();
  capacity_ = slots;
  consumed(was_full);
  return capacity();
}

void Pipe::add_reader() {
  ++readers_;
  ++total_readers_;
  queue_.wake();
}

void Pipe::add_writer() {
  ++writers_;
  ++total_writers_;
  queue_.wake();
}

void Pipe::drop_reader() {
  if (--readers_ == 0) queue_.wake(kRoomEvents | EPOLLERR | EPOLLHUP);
}

void Pipe::drop_writer() {
  if (--writers_ == 0) queue_.wake(kDataEvents | EPOLLHUP | EPOLLERR);
}

}  // namespace sentry::fs::pipe
