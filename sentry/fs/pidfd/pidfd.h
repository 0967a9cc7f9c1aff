// pidfd_open(2): a descriptor for a process.
#pragma once

#include "sentry/kernel/task.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::pidfd {

class PidFile final : public vfs::File {
 public:
  PidFile(vfs::InodeRef inode, int flags, std::shared_ptr<kernel::ThreadGroup> group)
      : File({}, std::move(inode), flags), group_(std::move(group)) {}

  const std::shared_ptr<kernel::ThreadGroup>& group() const { return group_; }
  // Whether a wait(2) has taken the process away: its number may be another's by now.
  bool reaped() const;

  Result<pid_t> pidfd_process() const override { return group_->id; }
  Events poll() override;
  WaitQueue* wait_queue() override { return &group_->exit_watchers; }
  std::string fdinfo() override;

 private:
  const std::shared_ptr<kernel::ThreadGroup> group_;
};

// `flags`: PIDFD_NONBLOCK, which is O_NONBLOCK.
vfs::FileRef make_pidfd(kernel::ThreadGroup& group, int flags, const vfs::CredentialsRef& owner);

// Makes clone(2) CLONE_PIDFD work: hands the kernel its PidfdMaker.
void serve_clone();

}  // namespace sentry::fs::pidfd
