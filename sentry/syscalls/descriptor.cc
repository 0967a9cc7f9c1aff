// Descriptors themselves: dup(2), fcntl(2), ioctl(2), pipe(2).
#include "sentry/syscalls/descriptor.h"

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <climits>
#include <limits>

#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/kernel/kernel.h"
#include "sentry/net/socket.h"
#include "sentry/syscalls/directory_notice.h"
#include "sentry/syscalls/file.h"
#include "sentry/syscalls/table.h"
#include "sentry/vfs/lock.h"

namespace sentry::syscalls {
namespace {

using vfs::FileRef;

// Not yet in Debian 12's <fcntl.h>: include/uapi/linux/fcntl.h.
constexpr int kDupfdQuery = 1024 + 3;

constexpr int64_t kOffsetMaximum = std::numeric_limits<int64_t>::max();

// Names for --strace.
constexpr FlagName kPipeFlags[] = {
    {O_CLOEXEC, "O_CLOEXEC"}, {O_NONBLOCK, "O_NONBLOCK"}, {O_DIRECT, "O_DIRECT"}, {0, nullptr}};

Result<int> sys_dup(Task& task, FdNumber fd) {
  const FileRef file = TRY(task.fds().get(fd.value));
  return task.install_fd(file, false);
}

Result<int> replace(Task& task, FdNumber old_fd, FdNumber new_fd, bool cloexec) {
  const FileRef file = TRY(task.fds().get(old_fd.value));
  TRY(task.fds().install_at(new_fd.value, file, cloexec, task.group->limit(RLIMIT_NOFILE)));
  return new_fd.value;
}

Result<int> sys_dup2(Task& task, FdNumber old_fd, FdNumber new_fd) {
  if (old_fd.value != new_fd.value) return replace(task, old_fd, new_fd, false);
  TRY(task.fds().get(old_fd.value));
  return new_fd.value;
}

Result<int> sys_dup3(Task& task, FdNumber old_fd, FdNumber new_fd, Flags<kOpenNames> flags) {
  if ((flags & ~O_CLOEXEC) != 0 || old_fd.value == new_fd.value) return Errno(EINVAL);
  return replace(task, old_fd, new_fd, (flags & O_CLOEXEC) != 0);
}

// pipe2(2). Both descriptors are withdrawn if the guest cannot receive them.
Result<> make_pipe(Task& task, GuestPtr<int> out, int flags) {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) != 0) return Errno(EINVAL);
  const bool cloexec = (flags & O_CLOEXEC) != 0;
  fs::pipe::Ends ends = fs::pipe::make_pipe(flags, task.credentials);
  const int reader = TRY(task.install_fd(ends.reader, cloexec));
  const Result<int> writer = task.install_fd(ends.writer, cloexec);
  if (!writer.ok()) {
    task.fds().remove(reader);
    return writer.error();
  }
  const int fds[2] = {reader, *writer};
  const Result<> written = task.memory().write(out.address(), fds, sizeof fds);
  if (!written.ok()) {
    task.fds().remove(reader);
    task.fds().remove(*writer);
  }
  return written;
}

Result<> sys_pipe(Task& task, OutFdPair out) { return make_pipe(task, out, 0); }
Result<> sys_pipe2(Task& task, OutFdPair out, Flags<kPipeFlags> flags) { return make_pipe(task, out, flags); }

// SIGIO -------------------------------------------------------------------------------------------

// Tells the owner of a description of urgent data, and with O_ASYNC of each change: fcntl(2) F_SETOWN,
// F_SETSIG.
class AsyncNotifier final : public Waiter {
 public:
  AsyncNotifier(kernel::Kernel& kernel, vfs::File& file, int fd) : kernel_(kernel), file_(file), fd_(fd) {
    join(*file.wait_queue());
  }
  void notify(Events events) override {
    const vfs::AsyncOwner& owner = file_.async_owner;
    if (owner.id == 0) return;
    if ((events & EPOLLPRI) != 0 && dynamic_cast<const net::Socket*>(&file_) != nullptr)
      signal_owner(kernel_, owner, kernel::make_signal(SIGURG));
    if ((file_.flags() & O_ASYNC) == 0) return;
    siginfo_t info = kernel::make_signal(owner.signo == 0 ? SIGIO : owner.signo);
    if (owner.signo != 0) {
      info.si_code = (events & EPOLLIN) != 0 ? POLL_IN : POLL_OUT;
      info.si_band = (events & EPOLLIN) != 0 ? POLLIN | POLLRDNORM : POLLOUT | POLLWRNORM | POLLWRBAND;
      info.si_fd = fd_;
    }
    signal_owner(kernel_, owner, info);
  }

 private:
  kernel::Kernel& kernel_;
  vfs::File& file_;
  const int fd_;
};

// Files without an owner, or that cannot be polled, tell nobody.
void renew_notifier(Task& task, vfs::File& file, int fd) {
  if (file.async_owner.id == 0 || file.wait_queue() == nullptr)
    file.async_notifier.reset();
  else if (file.async_notifier == nullptr)
    file.async_notifier = std::make_unique<AsyncNotifier>(task.kernel, file, fd);
}

Result<> set_status_flags(Task& task, vfs::File& file, int fd, int flags) {
  // Only files that can be polled know asynchronous notification; the others forget the flag (fasync_helper).
  const bool async = (flags & O_ASYNC) != 0 && file.wait_queue() != nullptr;
  if (async && (file.flags() & O_ASYNC) == 0)
    file.async_notifier.reset();  // it has another descriptor's number
  TRY(file.set_status_flags(async ? flags : flags & ~O_ASYNC));
  renew_notifier(task, file, fd);
  return {};
}

// A thread's id does for a process, and init has no thread.
bool owner_exists(Task& task, int type, pid_t id) {
  if (type == F_OWNER_PGRP) return task.kernel.find_process_group(id) != nullptr;
  return task.kernel.find_task(id) != nullptr || task.kernel.find_group(id) != nullptr;
}

Result<> set_owner(Task& task, vfs::File& file, int fd, int type, pid_t id) {
  if (id != 0 && !owner_exists(task, type, id)) return Errno(ESRCH);
  file.async_owner.type = type;
  file.async_owner.id = id;
  file.async_owner.uid = task.credentials->uid;
  file.async_owner.euid = task.credentials->euid;
  renew_notifier(task, file, fd);
  return {};
}

// The owner if it still exists, else 0.
pid_t owner_id(Task& task, const vfs::AsyncOwner& owner) {
  return owner_exists(task, owner.type, owner.id) ? owner.id : 0;
}

// Locks -------------------------------------------------------------------------------------------

// A record lock's place as flock_to_posix_lock() computes it: EINVAL before the file's start, EOVERFLOW
// beyond what an offset can say.
Result<vfs::RecordLock> to_record_lock(vfs::File& file, const struct flock& request) {
  int64_t base = 0;
  switch (request.l_whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = static_cast<int64_t>(file.position);
      break;
    case SEEK_END:
      base = static_cast<int64_t>(TRY(file.inode()->getattr()).size);
      break;
    default:
      return Errno(EINVAL);
  }
  if (request.l_start > kOffsetMaximum - base) return Errno(EOVERFLOW);
  int64_t start = base + request.l_start;
  if (start < 0) return Errno(EINVAL);
  vfs::RecordLock lock{};
  lock.end = ~uint64_t{0};
  if (request.l_len > 0) {
    if (request.l_len - 1 > kOffsetMaximum - start) return Errno(EOVERFLOW);
    const int64_t last = start + (request.l_len - 1);
    if (last != kOffsetMaximum) lock.end = static_cast<uint64_t>(last);
  } else if (request.l_len < 0) {
    if (start + request.l_len < 0) return Errno(EINVAL);
    lock.end = static_cast<uint64_t>(start - 1);
    start += request.l_len;
  }
  lock.start = static_cast<uint64_t>(start);
  switch (request.l_type) {
    case F_RDLCK:
    case F_UNLCK:
      break;
    case F_WRLCK:
      lock.exclusive = true;
      break;
    default:
      return Errno(EINVAL);
  }
  return lock;
}

void set_lock_owner(Task& task, const vfs::File& file, bool open_file_description, vfs::RecordLock& lock) {
  lock.owner = open_file_description ? static_cast<const void*>(&file) : task.fd_table.get();
  lock.pid = open_file_description ? -1 : task.group->id;
}

Result<> get_lock(Task& task, vfs::File& file, GuestPtr<struct flock> place, bool open_file_description) {
  struct flock request = TRY(task.memory().read(place));
  if (request.l_type != F_RDLCK && request.l_type != F_WRLCK &&
      !(open_file_description && request.l_type == F_UNLCK))
    return Errno(EINVAL);
  if (open_file_description && request.l_pid != 0) return Errno(EINVAL);
  vfs::RecordLock lock = TRY(to_record_lock(file, request));
  set_lock_owner(task, file, open_file_description, lock);
  const vfs::RecordLock* conflict = vfs::find_conflict(*file.inode(), lock);
  if (conflict == nullptr) {
    request.l_type = F_UNLCK;
  } else {
    request.l_type = conflict->exclusive ? F_WRLCK : F_RDLCK;
    request.l_whence = SEEK_SET;
    request.l_start = static_cast<int64_t>(conflict->start);
    request.l_len =
        conflict->end == ~uint64_t{0} ? 0 : static_cast<int64_t>(conflict->end - conflict->start + 1);
    request.l_pid = conflict->pid;
  }
  return task.memory().write(place, request);
}

Result<> set_lock(Task& task, const FileRef& file, int fd, GuestPtr<struct flock> place,
                  bool open_file_description, bool wait) {
  const struct flock request = TRY(task.memory().read(place.as<const struct flock>()));
  if (open_file_description && request.l_pid != 0) return Errno(EINVAL);
  vfs::RecordLock lock = TRY(to_record_lock(*file, request));
  if ((request.l_type == F_RDLCK && !file->readable()) || (request.l_type == F_WRLCK && !file->writable()))
    return Errno(EBADF);
  set_lock_owner(task, *file, open_file_description, lock);
  const std::shared_ptr<vfs::FdTable> table = task.fd_table;
  TRY(vfs::set_record_lock(*file->inode(), lock, request.l_type == F_UNLCK, wait));
  // A close(2) of the descriptor by another thread while this one waited must have dropped the lock too.
  if (request.l_type != F_UNLCK && !open_file_description) {
    const Result<FileRef> now = table->get(fd);
    if (!now.ok() || *now != file) {
      TRY(vfs::set_record_lock(*file->inode(), lock, true, false));
      return Errno(EBADF);
    }
  }
  return {};
}

// fcntl(2).
Result<int> duplicate(Task& task, const FileRef& file, uint64_t from, bool cloexec) {
  if (from >= task.group->limit(RLIMIT_NOFILE) || from > INT_MAX) return Errno(EINVAL);
  return task.install_fd(file, cloexec, static_cast<int>(from));
}

Result<uint64_t> done(Result<> result) {
  if (!result.ok()) return result.error();
  return uint64_t{0};
}

Result<uint64_t> pipe_size(Task& task, vfs::File& file, int command, uint64_t argument) {
  fs::pipe::Pipe* pipe = fs::pipe::pipe_of(file);
  if (pipe == nullptr) return Errno(EBADF);
  if (command == F_GETPIPE_SZ) return pipe->capacity();
  return TRY(
      pipe->set_capacity(static_cast<unsigned>(argument), task.credentials->capable(CAP_SYS_RESOURCE)));
}

Result<uint64_t> owner_call(Task& task, vfs::File& file, int fd, int command, uint64_t argument) {
  vfs::AsyncOwner& owner = file.async_owner;
  switch (command) {
    case F_GETOWN: {
      const pid_t id = owner_id(task, owner);
      return static_cast<uint64_t>(int64_t{owner.type == F_OWNER_PGRP ? -id : id});
    }
    case F_SETOWN: {
      const int id = static_cast<int>(argument);
      if (id == INT_MIN) return Errno(EINVAL);
      return done(set_owner(task, file, fd, id < 0 ? F_OWNER_PGRP : F_OWNER_PID, id < 0 ? -id : id));
    }
    case F_GETOWN_EX: {
      f_owner_ex answer{};
      answer.type = static_cast<decltype(answer.type)>(owner.type);
      answer.pid = owner_id(task, owner);
      return done(task.memory().write(GuestPtr<f_owner_ex>(argument), answer));
    }
    case F_SETOWN_EX: {
      const f_owner_ex request = TRY(task.memory().read(GuestPtr<const f_owner_ex>(argument)));
      const int type = static_cast<int>(request.type);
      if (type != F_OWNER_TID && type != F_OWNER_PID && type != F_OWNER_PGRP) return Errno(EINVAL);
      return done(set_owner(task, file, fd, type, request.pid));
    }
    case F_GETSIG:
      return static_cast<uint64_t>(owner.signo);
    default: {  // F_SETSIG
      if (argument > static_cast<uint64_t>(kernel::kSignals)) return Errno(EINVAL);
      owner.signo = static_cast<int>(argument);
      return uint64_t{0};
    }
  }
}

// F_GET_RW_HINT and its kin: write life time hints say nothing to our file systems, so RWH_WRITE_LIFE_NOT_SET
// is always what they have.
Result<uint64_t> write_hint(Task& task, int command, uint64_t argument) {
  if (command == F_GET_RW_HINT || command == F_GET_FILE_RW_HINT)
    return done(task.memory().write(GuestPtr<uint64_t>(argument), uint64_t{RWH_WRITE_LIFE_NOT_SET}));
  const uint64_t hint = TRY(task.memory().read(GuestPtr<const uint64_t>(argument)));
  if (hint > RWH_WRITE_LIFE_EXTREME) return Errno(EINVAL);
  return uint64_t{0};
}

Result<uint64_t> sys_fcntl(Task& task, FdNumber fd, Choice<kFcntlNames> command, FcntlArgument argument) {
  const FileRef file = TRY(task.fds().get(fd.value));
  // What may be done with a mere place, open(2) O_PATH.
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return static_cast<uint64_t>(TRY(duplicate(task, file, argument, command == F_DUPFD_CLOEXEC)));
    case F_GETFD:
      return uint64_t{TRY(task.fds().cloexec(fd.value)) ? FD_CLOEXEC : 0u};
    case F_SETFD:
      return done(task.fds().set_cloexec(fd.value, (argument & FD_CLOEXEC) != 0));
    case F_GETFL:
      return static_cast<uint64_t>(static_cast<unsigned>(file->flags()));
    case kDupfdQuery:
      return uint64_t{TRY(task.fds().get(static_cast<int>(argument))) == file};
    default:
      if ((file->flags() & O_PATH) != 0) return Errno(EBADF);
  }
  const GuestPtr<struct flock> lock(argument);
  switch (command) {
    case F_SETFL:
      return done(set_status_flags(task, *file, fd.value, static_cast<int>(argument)));
    case F_GETLK:
    case F_OFD_GETLK:
      return done(get_lock(task, *file, lock, command == F_OFD_GETLK));
    case F_SETLK:
    case F_SETLKW:
      return done(set_lock(task, file, fd.value, lock, false, command == F_SETLKW));
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
      return done(set_lock(task, file, fd.value, lock, true, command == F_OFD_SETLKW));
    case F_GETOWN:
    case F_SETOWN:
    case F_GETOWN_EX:
    case F_SETOWN_EX:
    case F_GETSIG:
    case F_SETSIG:
      return owner_call(task, *file, fd.value, command, argument);
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
      return pipe_size(task, *file, command, argument);
    case F_GET_SEALS:
      return static_cast<uint64_t>(TRY(file->seals()));
    case F_ADD_SEALS:
      return done(file->add_seals(static_cast<int>(argument)));
    case F_NOTIFY:
      return done(notify_of_directory(task, file, fd.value, static_cast<uint32_t>(argument)));
    case F_GETLEASE:
      return uint64_t{F_UNLCK};  // nobody can have taken one
    case F_GET_RW_HINT:
    case F_SET_RW_HINT:
    case F_GET_FILE_RW_HINT:
    case F_SET_FILE_RW_HINT:
      return write_hint(task, command, argument);
    default:
      return Errno(EINVAL);
  }
}

// ioctl(2): the requests that every file knows (do_vfs_ioctl), the others are the file's.
Result<uint64_t> sys_ioctl(Task& task, FdNumber fd, Choice<kIoctlNames> request_value, IoctlArgument value) {
  const auto request = static_cast<unsigned>(request_value.value);
  const uint64_t argument = value;
  const FileRef file = TRY(task.fds().get_io(fd.value));
  switch (request) {
    case FIOCLEX:
    case FIONCLEX:
      return done(task.fds().set_cloexec(fd.value, request == FIOCLEX));
    case FIONBIO: {
      const int on = TRY(task.memory().read(GuestPtr<const int>(argument)));
      const int flags = on != 0 ? file->flags() | O_NONBLOCK : file->flags() & ~O_NONBLOCK;
      return done(set_status_flags(task, *file, fd.value, flags));
    }
    case FIOASYNC: {
      const int on = TRY(task.memory().read(GuestPtr<const int>(argument)));
      if ((on != 0) != ((file->flags() & O_ASYNC) != 0) && file->wait_queue() == nullptr)
        return Errno(ENOTTY);
      const int flags = on != 0 ? file->flags() | O_ASYNC : file->flags() & ~O_ASYNC;
      return done(set_status_flags(task, *file, fd.value, flags));
    }
    case FIOSETOWN:
    case SIOCSPGRP:
    case FIOGETOWN:
    case SIOCGPGRP: {
      if (dynamic_cast<net::Socket*>(file.get()) == nullptr) return Errno(ENOTTY);
      const bool sets = request == FIOSETOWN || request == SIOCSPGRP;
      if (sets) {
        const int id = TRY(task.memory().read(GuestPtr<const int>(argument)));
        return owner_call(task, *file, fd.value, F_SETOWN, static_cast<uint64_t>(int64_t{id}));
      }
      const uint64_t id = TRY(owner_call(task, *file, fd.value, F_GETOWN, 0));
      return done(task.memory().write(GuestPtr<int>(argument), static_cast<int>(id)));
    }
    case FIOQSIZE: {
      const vfs::Attributes attributes = TRY(file->inode()->getattr());
      if (!attributes.is_regular() && !attributes.is_directory() && !attributes.is_symlink())
        return Errno(ENOTTY);
      return done(task.memory().write(GuestPtr<uint64_t>(argument), attributes.size));
    }
    case FIONREAD: {
      if (!S_ISREG(file->inode()->type())) return file->ioctl(task.memory(), request, argument);
      const uint64_t size = TRY(file->inode()->getattr()).size;
      return done(task.memory().write(GuestPtr<int>(argument), static_cast<int>(size - file->position)));
    }
    case FIGETBSZ: {
      const uint32_t size = TRY(file->inode()->getattr()).blksize;
      return done(task.memory().write(GuestPtr<int>(argument), static_cast<int>(size)));
    }
    case FICLONE:
    case FICLONERANGE:
      return Errno(EOPNOTSUPP);  // as where the file system cannot share blocks
    default:
      return file->ioctl(task.memory(), request, argument);
  }
}

constexpr Entry kEntries[] = {
    COMPLETE(dup, sys_dup),
    COMPLETE(dup2, sys_dup2),
    COMPLETE(dup3, sys_dup3),
    COMPLETE(pipe, sys_pipe),
    COMPLETE(pipe2, sys_pipe2),
    PARTIAL(fcntl, sys_fcntl, "no leases"),
    PARTIAL(ioctl, sys_ioctl, "the requests of files that exist here"),
    COMPLETE(poll, sys_poll),
    COMPLETE(ppoll, sys_ppoll),
    COMPLETE(select, sys_select),
    COMPLETE(pselect6, sys_pselect6),
    COMPLETE(epoll_create, sys_epoll_create),
    COMPLETE(epoll_create1, sys_epoll_create1),
    COMPLETE(epoll_ctl, sys_epoll_ctl),
    COMPLETE(epoll_wait, sys_epoll_wait),
    COMPLETE(epoll_pwait, sys_epoll_pwait),
    COMPLETE(epoll_pwait2, sys_epoll_pwait2),
    ABSENT(epoll_ctl_old, ENOSYS, "never implemented by Linux"),
    ABSENT(epoll_wait_old, ENOSYS, "never implemented by Linux"),
    COMPLETE(eventfd, sys_eventfd),
    COMPLETE(eventfd2, sys_eventfd2),
    COMPLETE(timerfd_create, sys_timerfd_create),
    COMPLETE(timerfd_settime, sys_timerfd_settime),
    COMPLETE(timerfd_gettime, sys_timerfd_gettime),
    COMPLETE(signalfd, sys_signalfd),
    COMPLETE(signalfd4, sys_signalfd4),
    COMPLETE(inotify_init, sys_inotify_init),
    COMPLETE(inotify_init1, sys_inotify_init1),
    COMPLETE(inotify_add_watch, sys_inotify_add_watch),
    COMPLETE(inotify_rm_watch, sys_inotify_rm_watch),
    COMPLETE(pidfd_open, sys_pidfd_open),
    COMPLETE(pidfd_send_signal, sys_pidfd_send_signal),
    COMPLETE(pidfd_getfd, sys_pidfd_getfd),
    COMPLETE(splice, sys_splice),
    COMPLETE(tee, sys_tee),
    COMPLETE(vmsplice, sys_vmsplice),
};

}  // namespace

std::span<const Entry> descriptor_calls() { return kEntries; }

}  // namespace sentry::syscalls
