#include "sentry/fs/eventfd/eventfd.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace sentry::fs::eventfd {

Result<size_t> EventFile::read(mm::Sink& sink, const IoOptions& options) {
  if (sink.remaining() < sizeof count_) return Errno(EINVAL);
  if (count_ == 0) {
    if (options.nonblocking || nonblocking()) return Errno(EAGAIN);
    TRY(wait_until(queue_, EPOLLIN, [&] { return count_ != 0; }));
  }
  const uint64_t value = semaphore_ ? 1 : count_;
  count_ -= value;
  queue_.wake(EPOLLOUT);
  if (TRY(sink.put(&value, sizeof value)) != sizeof value) return Errno(EFAULT);
  return sizeof value;
}

Result<size_t> EventFile::write(mm::Source& source, const IoOptions& options) {
  uint64_t value = 0;
  if (source.remaining() < sizeof value) return Errno(EINVAL);
  if (TRY(source.get(&value, sizeof value)) != sizeof value) return Errno(EFAULT);
  if (value > kMaximum) return Errno(EINVAL);
  if (value > kMaximum - count_) {
    if (options.nonblocking || nonblocking()) return Errno(EAGAIN);
    TRY(wait_until(queue_, EPOLLOUT, [&] { return value <= kMaximum - count_; }));
  }
  count_ += value;
  queue_.wake(EPOLLIN);
  return sizeof value;
}

Events EventFile::poll() {
  Events events = 0;
  if (count_ > 0) events |= EPOLLIN;
  if (count_ < kMaximum) events |= EPOLLOUT;
  return events;
}

std::string EventFile::fdinfo() {
  return fmt::format("eventfd-count: {:16x}\neventfd-semaphore: {}\n", count_, semaphore_ ? 1 : 0);
}

vfs::FileRef make_eventfd(uint64_t initial, int flags, const vfs::CredentialsRef& owner) {
  return std::make_shared<EventFile>(vfs::make_anonymous_inode(0600, "anon_inode:[eventfd]", owner),
                                     O_RDWR | (flags & EFD_NONBLOCK), initial, (flags & EFD_SEMAPHORE) != 0);
}

}  // namespace sentry::fs::eventfd
