// The file system of POSIX message queues, mq_overview(7): one directory of queues. mq_open(2) goes to it
// whether or not it is mounted on /dev/mqueue.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "sentry/fs/mqueue/queue.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::mqueue {

inline constexpr unsigned kMaxPriority = 32'768;  // MQ_PRIO_MAX: priorities are below

// The sandbox's one, made on first use and kept by the kernel.
std::shared_ptr<vfs::Superblock> superblock_of(kernel::Kernel& kernel);

// An open queue.
class QueueFile final : public vfs::SeekableFile {
 public:
  QueueFile(const vfs::Path& path, vfs::InodeRef inode, int flags, std::shared_ptr<Queue> queue,
            std::shared_ptr<Memory> memory)
      : SeekableFile(path, std::move(inode), flags), queue_(std::move(queue)), memory_(std::move(memory)) {}

  Events poll() override { return queue_->poll(); }
  WaitQueue* wait_queue() override { return &queue_->changed(); }
  // close(2) of any descriptor ends the process's notification.
  Result<> flush() override;

  const std::shared_ptr<Queue>& queue() const { return queue_; }
  const std::shared_ptr<Memory>& memory() const { return memory_; }

 protected:
  // The queue's status as text.
  Result<size_t> read_at(mm::Sink& sink, uint64_t offset, bool nonblocking) override;
  Result<uint64_t> size() override;

 private:
  std::shared_ptr<Queue> queue_;
  std::shared_ptr<Memory> memory_;
};

// mq_open(2) without the descriptor. `attributes` are those of a queue that is to be made; null: the
// defaults.
Result<vfs::FileRef> open(kernel::Task& task, std::string_view name, int flags, uint32_t mode,
                          const std::optional<mq_attr>& attributes);
Result<> unlink(kernel::Task& task, std::string_view name);

}  // namespace sentry::fs::mqueue
