#include "sentry/fs/pidfd/pidfd.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include "sentry/kernel/clone.h"
#include "sentry/kernel/kernel.h"

namespace sentry::fs::pidfd {

bool PidFile::reaped() const { return group_->kernel.find_group(group_->id) != group_.get(); }

Events PidFile::poll() {
  if (reaped()) return EPOLLIN | EPOLLRDNORM | EPOLLHUP;
  return group_->dead ? EPOLLIN | EPOLLRDNORM : 0;
}

std::string PidFile::fdinfo() {
  const pid_t id = reaped() ? -1 : group_->id;
  return fmt::format("Pid:\t{}\nNSpid:\t{}\n", id, id);
}

vfs::FileRef make_pidfd(kernel::ThreadGroup& group, int flags, const vfs::CredentialsRef& owner) {
  return std::make_shared<PidFile>(vfs::make_anonymous_inode(0600, "anon_inode:[pidfd]", owner),
                                   O_RDWR | (flags & O_NONBLOCK), group.shared_from_this());
}

void serve_clone() {
  kernel::set_pidfd_maker([](kernel::Task& task, kernel::ThreadGroup& group) -> Result<int> {
    return task.install_fd(make_pidfd(group, 0, task.credentials), true);
  });
}

}  // namespace sentry::fs::pidfd
