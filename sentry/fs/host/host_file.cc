#include "sentry/fs/host/host_file.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <fmt/format.h>

namespace sentry::fs::host {
namespace {

// One transfer goes through a buffer of this size; a read or write of more takes several.
constexpr size_t kBuffer = 64 * 1024;
// What a descriptor that knows no RWF_NOWAIT is offered once it is writable: PIPE_BUF is
// what pipe(7) promises to take at once then, and a terminal's room is about as much.
constexpr size_t kCautious = 512;

// fstat(2) itself: the C library's asks through newfstatat, whose path argument a filter cannot check.
Result<struct stat> host_stat(int fd) {
  struct stat status {};
  if (::syscall(SYS_fstat, fd, &status) != 0) return Errno(errno);
  return status;
}

class HostSuperblock final : public vfs::Superblock {
 public:
  const char* type() const override { return "hostfs"; }
  vfs::InodeRef root() override { return nullptr; }
  bool caches_names() const override { return false; }
};

HostSuperblock& host_superblock() {
  static HostSuperblock instance;
  return instance;
}

uint64_t next_inode() {
  static uint64_t last = 0;
  return ++last;
}

Nanoseconds nanoseconds(const timespec& time) {
  return static_cast<Nanoseconds>(time.tv_sec) * kSecond + time.tv_nsec;
}

// The host's open file description, shared by every guest file that leads to it.
class HostInode final : public vfs::Inode, public mm::Mappable {
 public:
  HostInode(EventLoop& loop, Fd fd, const struct stat& status, int host_flags, vfs::CredentialsRef owner,
            HostIoctl ioctl, std::unique_ptr<HostReadiness> readiness)
      : Inode(host_superblock()),
        loop_(loop),
        fd_(std::move(fd)),
        status_(status),
        host_flags_(host_flags),
        owner_(std::move(owner)),
        ioctl_(std::move(ioctl)),
        number_(next_inode()),
        readiness_(std::move(readiness)),
        nowait_(!S_ISREG(status.st_mode)) {}

  int fd() const { return fd_.get(); }
  int host_flags() const { return host_flags_; }
  bool regular() const { return S_ISREG(status_.st_mode); }
  bool host_readable() const { return (host_flags_ & O_ACCMODE) != O_WRONLY; }
  bool host_writable() const { return (host_flags_ & O_ACCMODE) != O_RDONLY; }

  uint32_t type() const override { return status_.st_mode & S_IFMT; }
  Result<vfs::Attributes> getattr() override;
  Result<> setattr(const vfs::AttributeChange& change) override;
  Result<> permission(const vfs::Credentials&, int mask) override;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;
  std::string description() const;

  Result<Backing> backing(uint64_t offset, uint64_t length, bool shared_write) override;
  Identity identity() const override { return {description(), 0, static_cast<uint32_t>(device()), number_}; }

  // The events that hold now, without waiting.
  Events ready_events() const;
  // Wakes at each change of readiness; null where the host's file is always ready.
  WaitQueue* queue();

  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) const {
    if (ioctl_ == nullptr) return Errno(ENOTTY);
    return ioctl_(memory, request, argument);
  }

  // One host call. EAGAIN where it would block.
  Result<size_t> transfer_in(void* buffer, size_t size, std::optional<uint64_t> offset);
  Result<size_t> transfer_out(const void* data, size_t size, std::optional<uint64_t> offset, bool append);

 private:
  uint64_t device() const { return superblock().device(); }

  EventLoop& loop_;
  Fd fd_;
  struct stat status_;
  int host_flags_;
  vfs::CredentialsRef owner_;
  HostIoctl ioctl_;
  uint64_t number_;
  std::unique_ptr<HostReadiness> readiness_;  // null where the host's file is always ready
  bool nowait_;                               // RWF_NOWAIT has not been refused
  bool watch_tried_ = false;
  std::unique_ptr<HostWatch> watch_;
  WaitQueue queue_;
};

class HostFile final : public vfs::File {
 public:
  HostFile(vfs::Path path, std::shared_ptr<HostInode> inode, int flags, bool own_position)
      : File(std::move(path), inode, flags), host_(*inode), own_position_(own_position) {}

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Result<size_t> write(mm::Source& source, const IoOptions& options) override;
  bool seekable() const override { return host_.regular(); }
  bool host_position() const override { return !own_position_; }
  Result<uint64_t> seek(int64_t offset, int whence) override;
  Events poll() override { return host_.ready_events(); }
  WaitQueue* wait_queue() override { return host_.queue(); }
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override;
  Result<std::shared_ptr<mm::Mappable>> mmap(int prot, int flags) override;
  Result<> fsync(bool) override {
    // The guest's data is with the host's file, and whoever handed it in decides when it goes to disk.
    if (host_.regular()) return {};
    return Errno(EINVAL);
  }
  std::string description() override { return host_.description(); }

 private:
  // Where a transfer of a seekable file happens: absent means the description's own position.
  std::optional<uint64_t> place(const IoOptions& options) const {
    if (options.offset) return options.offset;
    if (own_position_) return position;
    return std::nullopt;
  }

  HostInode& host_;
  const bool
      own_position_;  // opened anew through /proc/PID/fd: not the position that is shared with outsiders
};

Result<vfs::Attributes> HostInode::getattr() {
  // Only a regular file's size and times change in a way that programs look at.
  const struct stat now = regular() ? TRY(host_stat(fd_.get())) : status_;
  vfs::Attributes attributes;
  attributes.ino = number_;
  attributes.mode = now.st_mode;
  attributes.nlink = 1;
  attributes.uid = owner_->fsuid;
  attributes.gid = owner_->fsgid;
  attributes.rdev = now.st_rdev;
  attributes.size = static_cast<uint64_t>(now.st_size);
  attributes.blocks = static_cast<uint64_t>(now.st_blocks);
  attributes.atime = nanoseconds(now.st_atim);
  attributes.mtime = nanoseconds(now.st_mtim);
  attributes.ctime = nanoseconds(now.st_ctim);
  return attributes;
}

Result<> HostInode::setattr(const vfs::AttributeChange& change) {
  // A guest may cut off the file that is its standard output; whose it is and who may open it is the host's
  // affair.
  if (change.mode || change.uid || change.gid) return Errno(EPERM);
  if (!change.size) return {};
  if (!regular() || !host_writable()) return Errno(EINVAL);
  if (*change.size > static_cast<uint64_t>(INT64_MAX)) return Errno(EFBIG);
  if (::ftruncate(fd_.get(), static_cast<off_t>(*change.size)) != 0) return Errno(errno);
  return {};
}

// The description was handed to the sandbox as it is: what it was opened for is what may be done with it.
Result<> HostInode::permission(const vfs::Credentials&, int mask) {
  if ((mask & R_OK) != 0 && !host_readable()) return Errno(EACCES);
  if ((mask & W_OK) != 0 && !host_writable()) return Errno(EACCES);
  if ((mask & X_OK) != 0) return Errno(EACCES);
  return {};
}

// Reached through /proc/PID/fd and /dev/stdin. The sentry cannot open anything, so the description stays the
// same; for a regular file the new one has at least a position of its own, as on Linux.
Result<vfs::FileRef> HostInode::open(const vfs::Path& path, int flags) {
  if (S_ISSOCK(type())) return Errno(ENXIO);
  const int mode = flags & O_ACCMODE;
  if (mode != O_WRONLY && !host_readable()) return Errno(EACCES);
  if (mode != O_RDONLY && !host_writable()) return Errno(EACCES);
  auto self = std::static_pointer_cast<HostInode>(vfs::Inode::shared_from_this());
  return vfs::FileRef(std::make_shared<HostFile>(path, std::move(self), flags, regular()));
}

std::string HostInode::description() const {
  switch (type()) {
    case S_IFIFO:
      return fmt::format("pipe:[{}]", number_);
    case S_IFSOCK:
      return fmt::format("socket:[{}]", number_);
    case S_IFCHR:
      if (status_.st_rdev == makedev(1, 3)) return "/dev/null";
      [[fallthrough]];
    default:
      return fmt::format("host:[{}]", number_);
  }
}

Result<mm::Mappable::Backing> HostInode::backing(uint64_t offset, uint64_t length, bool shared_write) {
  if (shared_write && (host_flags_ & O_ACCMODE) != O_RDWR) return Errno(EACCES);
  return Backing{fd_.get(), offset, length};  // touching what lies beyond the end is the stub's SIGBUS
}

Events HostInode::ready_events() const {
  // Regular files, /dev/null and their kin know no waiting.
  return readiness_ ? readiness_->now() : EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
}

WaitQueue* HostInode::queue() {
  if (regular()) return nullptr;
  if (!watch_tried_) {
    watch_tried_ = true;
    // Edge-triggered: a peer that floods costs one wakeup each time the guest has drained it, and nothing
    // while the guest looks elsewhere.
    auto watch = HostWatch::create(loop_, fd_.get(), EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
                                   [this](uint32_t events) {
                                     Events told = events;
                                     if ((events & EPOLLIN) != 0) told |= EPOLLRDNORM;
                                     if ((events & EPOLLOUT) != 0) told |= EPOLLWRNORM;
                                     if ((events & (EPOLLHUP | EPOLLERR)) != 0) told |= EPOLLIN | EPOLLOUT;
                                     queue_.wake(told);
                                   });
    if (watch.ok()) watch_ = std::move(*watch);
  }
  return watch_ ? &queue_ : nullptr;  // no watch (EPERM): /dev/null and its kin, always ready
}

Result<size_t> HostInode::transfer_in(void* buffer, size_t size, std::optional<uint64_t> offset) {
  const iovec piece{buffer, size};
  const off_t where = offset ? static_cast<off_t>(*offset) : -1;
  if (nowait_) {
    const ssize_t count = ::preadv2(fd_.get(), &piece, 1, where, RWF_NOWAIT);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EOPNOTSUPP) return Errno(errno);
    nowait_ = false;
  }
  if (!regular() && (ready_events() & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return Errno(EAGAIN);
  const ssize_t count = ::preadv2(fd_.get(), &piece, 1, where, 0);
  if (count < 0) return Errno(errno);
  return static_cast<size_t>(count);
}

Result<size_t> HostInode::transfer_out(const void* data, size_t size, std::optional<uint64_t> offset,
                                       bool append) {
  iovec piece{const_cast<void*>(data), size};
  const off_t where = offset ? static_cast<off_t>(*offset) : -1;
  const int flags = append ? RWF_APPEND : 0;
  if (nowait_) {
    const ssize_t count = ::pwritev2(fd_.get(), &piece, 1, where, flags | RWF_NOWAIT);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EOPNOTSUPP) return Errno(errno);
    nowait_ = false;
  }
  if (!regular()) {
    if ((ready_events() & (EPOLLOUT | EPOLLHUP | EPOLLERR)) == 0) return Errno(EAGAIN);
    piece.iov_len = std::min(piece.iov_len, kCautious);
  }
  const ssize_t count = ::pwritev2(fd_.get(), &piece, 1, where, flags);
  if (count < 0) return Errno(errno);
  return static_cast<size_t>(count);
}

// A signal that interrupts a host call of ours is not the guest's: try again.
template <typename Transfer>
Result<size_t> retried(Transfer transfer) {
  for (;;) {
    Result<size_t> count = transfer();
    if (!count.is(EINTR)) return count;
  }
}

Result<size_t> HostFile::read(mm::Sink& sink, const IoOptions& options) {
  const bool may_wait = !options.nonblocking && !nonblocking();
  const std::shared_ptr<File> alive = shared_from_this();
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(sink.remaining(), kBuffer)));
  size_t total = 0;
  std::optional<uint64_t> where = place(options);
  while (sink.remaining() > 0 || total == 0) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(sink.remaining(), buffer.size()));
    const Result<size_t> count = retried([&] { return host_.transfer_in(buffer.data(), want, where); });
    if (count.is(EAGAIN)) {
      if (total > 0) break;
      if (!may_wait || host_.queue() == nullptr) return Errno(EAGAIN);
      TRY(wait_until(*host_.queue(), EPOLLIN | EPOLLHUP | EPOLLERR,
                     [&] { return (host_.ready_events() & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0; }));
      continue;
    }
    if (!count.ok()) {
      if (total > 0) break;
      return count.error();
    }
    if (*count == 0) break;
    const Result<size_t> put = sink.put(buffer.data(), *count);
    if (!put.ok()) {
      if (total > 0) break;
      return put.error();
    }
    total += *put;
    if (where) *where += *put;
    // A stream gives what is there; only a regular file is read on until the buffer is full.
    if (*put < *count || !host_.regular()) break;
  }
  if (own_position_ && !options.offset) position += total;
  return total;
}

Result<size_t> HostFile::write(mm::Source& source, const IoOptions& options) {
  const bool may_wait = !options.nonblocking && !nonblocking();
  const std::shared_ptr<File> alive = shared_from_this();
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(source.remaining(), kBuffer)));
  const bool append = options.append || (own_position_ && (flags_ & O_APPEND) != 0);
  size_t total = 0;
  std::optional<uint64_t> where = place(options);
  // A pipe takes up to PIPE_BUF bytes whole or not at all; without RWF_NOWAIT the pieces are the host's to
  // choose.
  while (source.remaining() > 0 || total == 0) {
    const Result<size_t> got = source.get(buffer.data(), buffer.size());
    if (!got.ok()) {
      if (total > 0) break;
      return got.error();
    }
    const Result<size_t> count =
        retried([&] { return host_.transfer_out(buffer.data(), *got, where, append); });
    const size_t written = count.ok() ? *count : 0;
    if (written < *got) source.unget(*got - written);
    total += written;
    if (where) *where += written;
    if (count.is(EAGAIN)) {
      if (!may_wait || host_.queue() == nullptr) {
        if (total > 0) break;
        return Errno(EAGAIN);
      }
      const Result<> waited = wait_until(*host_.queue(), EPOLLOUT | EPOLLHUP | EPOLLERR, [&] {
        return (host_.ready_events() & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
      });
      if (waited.ok()) continue;
      if (total > 0) break;
      return waited.error();
    }
    if (!count.ok()) {
      if (total > 0) break;
      return count.error();
    }
    if (*got == 0) break;                          // an empty write
    if (written == 0 && *got > 0) break;           // the host takes no more
    if (host_.regular() && written < *got) break;  // a full disk: the next write says so
  }
  if (own_position_ && !options.offset) {
    position += total;
    if (append) position = TRY(host_.getattr()).size;
  }
  return total;
}

Result<uint64_t> HostFile::seek(int64_t offset, int whence) {
  if (!host_.regular()) return Errno(ESPIPE);
  if (!own_position_) {
    const off_t where = ::lseek(host_.fd(), offset, whence);
    if (where < 0) return Errno(errno);
    return static_cast<uint64_t>(where);
  }
  int64_t base = 0;
  switch (whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = static_cast<int64_t>(position);
      break;
    case SEEK_END:
      base = static_cast<int64_t>(TRY(host_.getattr()).size);
      break;
    default:
      return Errno(EINVAL);
  }
  int64_t where = 0;
  if (__builtin_add_overflow(base, offset, &where) || where < 0) return Errno(EINVAL);
  position = static_cast<uint64_t>(where);
  return position;
}

Result<uint64_t> HostFile::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  // Linux knows FIONREAD of pipes and sockets too; the sentry would need ioctl(2) on the host to learn it.
  if (request != FIONREAD || !host_.regular()) return host_.ioctl(memory, request, argument);
  const uint64_t size = TRY(host_.getattr()).size;
  const uint64_t at = TRY(seek(0, SEEK_CUR));
  const int available = static_cast<int>(std::min<uint64_t>(size > at ? size - at : 0, INT32_MAX));
  TRY(memory.write(argument, &available, sizeof available));
  return uint64_t{0};
}

Result<std::shared_ptr<mm::Mappable>> HostFile::mmap(int, int flags) {
  if (!host_.regular()) return Errno(ENODEV);
  if ((flags & MAP_TYPE) != MAP_PRIVATE && writable() && (host_.host_flags() & O_ACCMODE) != O_RDWR)
    return Errno(EACCES);
  return std::shared_ptr<mm::Mappable>(std::static_pointer_cast<HostInode>(inode()));
}

}  // namespace

Result<vfs::FileRef> make_host_file(EventLoop& loop, Fd descriptor, int flags,
                                    vfs::CredentialsRef credentials, HostIoctl ioctl) {
  constexpr uint32_t kAsked = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLRDNORM | EPOLLWRNORM;
  const struct stat status = TRY(host_stat(descriptor.get()));
  Result<std::unique_ptr<HostReadiness>> readiness = HostReadiness::create(loop, descriptor.get(), kAsked);
  if (!readiness.ok() && !readiness.is(EPERM)) return readiness.error();
  auto inode =
      std::make_shared<HostInode>(loop, std::move(descriptor), status, flags, credentials, std::move(ioctl),
                                  readiness.ok() ? std::move(*readiness) : nullptr);
  // O_NONBLOCK of the host's description binds the host's callers; the guest starts with a clear one of its
  // own.
  auto file =
      std::make_shared<HostFile>(vfs::Path{}, inode, flags & (O_ACCMODE | O_APPEND | O_LARGEFILE), false);
  file->credentials = std::move(credentials);
  return vfs::FileRef(std::move(file));
}

}  // namespace sentry::fs::host
