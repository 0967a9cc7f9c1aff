#include "sentry/syscalls/directory_notice.h"

#include <fcntl.h>
#include <poll.h>

#include <map>

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/notify.h"

namespace sentry::syscalls {
namespace {

bool may_signal(const vfs::AsyncOwner& owner, const kernel::ThreadGroup& group) {
  const kernel::Task* target = group.any_task();
  if (target == nullptr) return false;
  const vfs::Credentials& credentials = *target->credentials;
  return owner.euid == 0 || owner.euid == credentials.suid || owner.euid == credentials.uid ||
         owner.uid == credentials.suid || owner.uid == credentials.uid;
}

// Events of a directory's entries, as inotify(7) names them.
uint32_t to_inotify(uint32_t events) {
  uint32_t mask = 0;
  if ((events & DN_ACCESS) != 0) mask |= IN_ACCESS;
  if ((events & DN_MODIFY) != 0) mask |= IN_MODIFY;
  if ((events & DN_CREATE) != 0) mask |= IN_CREATE | IN_MOVED_TO;
  if ((events & DN_DELETE) != 0) mask |= IN_DELETE | IN_MOVED_FROM;
  if ((events & DN_RENAME) != 0) mask |= IN_MOVED_FROM;
  if ((events & DN_ATTRIB) != 0) mask |= IN_ATTRIB;
  return mask;
}

class DirectoryNotice;
// Of the sandbox's one thread: the notices, by description. Each ends with its description, which may be
// while the process ends.
std::map<const vfs::File*, std::unique_ptr<DirectoryNotice>>& notices() {
  static auto& all = *new std::map<const vfs::File*, std::unique_ptr<DirectoryNotice>>;
  return all;
}

class DirectoryNotice final : public vfs::InodeWatch {
 public:
  DirectoryNotice(kernel::Kernel& kernel, vfs::File& file, int fd, uint32_t events)
      : kernel_(kernel), file_(file), inode_(file.inode()), fd_(fd), events_(events), gone_(*this) {
    vfs::watch(*inode_, *this);
    gone_.join(file.released);
  }
  ~DirectoryNotice() override { vfs::unwatch(*inode_, *this); }

  void notify(uint32_t mask, uint32_t, std::string_view name, bool) override {
    if (name.empty() || (mask & to_inotify(events_)) == 0) return;
    const vfs::AsyncOwner& owner = file_.async_owner;
    siginfo_t info = kernel::make_signal(owner.signo == 0 ? SIGIO : owner.signo);
    if (owner.signo != 0) {
      info.si_code = POLL_MSG;
      info.si_band = POLLIN | POLLRDNORM | POLLMSG;
      info.si_fd = fd_;
    }
    signal_owner(kernel_, owner, info);
    if ((events_ & DN_MULTISHOT) == 0) notices().erase(&file_);  // deletes this
  }

 private:
  class Gone final : public Waiter {
   public:
    explicit Gone(DirectoryNotice& notice) : notice_(notice) {}
    void notify(Events) override { notices().erase(&notice_.file_); }  // deletes this

   private:
    DirectoryNotice& notice_;
  };

  kernel::Kernel& kernel_;
  vfs::File& file_;
  const vfs::InodeRef inode_;
  const int fd_;
  const uint32_t events_;
  Gone gone_;
};

}  // namespace

void signal_owner(kernel::Kernel& kernel, const vfs::AsyncOwner& owner, const siginfo_t& info) {
  if (owner.type == F_OWNER_PGRP) {
    const auto group = kernel.find_process_group(owner.id);
    if (group == nullptr) return;
    for (kernel::ThreadGroup* member : group->members)
      if (may_signal(owner, *member)) member->send(info);
  } else if (kernel::Task* target = kernel.find_task(owner.id);
             target != nullptr && may_signal(owner, *target->group)) {
    if (owner.type == F_OWNER_TID)
      target->send(info);
    else
      target->group->send(info);
  }
}

Result<> notify_of_directory(kernel::Task& task, const vfs::FileRef& file, int fd, uint32_t events) {
  if ((events & ~static_cast<uint32_t>(DN_MULTISHOT)) == 0) {
    notices().erase(file.get());
    return {};
  }
  if (!file->inode()->is_directory()) return Errno(ENOTDIR);
  vfs::AsyncOwner& owner = file->async_owner;
  if (owner.id == 0) {
    owner.type = F_OWNER_PID;
    owner.id = task.group->id;
    owner.uid = task.credentials->uid;
    owner.euid = task.credentials->euid;
  }
  notices().erase(file.get());
  notices()[file.get()] = std::make_unique<DirectoryNotice>(task.kernel, *file, fd, events);
  return {};
}

}  // namespace sentry::syscalls
