// eventfd(2): a counter that is waited for.
#pragma once

#include "sentry/vfs/file.h"

namespace sentry::fs::eventfd {

class EventFile final : public vfs::File {
 public:
  EventFile(vfs::InodeRef inode, int flags, uint64_t initial, bool semaphore)
      : File({}, std::move(inode), flags), count_(initial), semaphore_(semaphore) {}

  // Eight bytes each; EINVAL for less, EAGAIN or a wait while the counter is 0 or would overflow.
  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Result<size_t> write(mm::Source& source, const IoOptions& options) override;
  Events poll() override;
  WaitQueue* wait_queue() override { return &queue_; }
  std::string fdinfo() override;

 private:
  static constexpr uint64_t kMaximum = ~uint64_t{0} - 1;
  uint64_t count_;
  const bool semaphore_;
  WaitQueue queue_;
};

// `flags` are EFD_NONBLOCK and EFD_SEMAPHORE.
vfs::FileRef make_eventfd(uint64_t initial, int flags, const vfs::CredentialsRef& owner);

}  // namespace sentry::fs::eventfd
