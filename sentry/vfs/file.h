// Open file descriptions. What an implementor leaves alone answers as Linux does when the file operation is
// missing.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "sentry/base/result.h"
#include "sentry/base/wait_queue.h"
#include "sentry/mm/address_space_map.h"
#include "sentry/mm/transfer.h"
#include "sentry/vfs/inode.h"

namespace sentry::vfs {

// Receives directory entries one by one, getdents64(2).
class DirectorySink {
 public:
  virtual ~DirectorySink() = default;
  // False when there is no room: the entry must be offered again by the next call. `next` is the position
  // behind it.
  virtual bool add(std::string_view name, uint64_t ino, unsigned char type /* DT_* */, uint64_t next) = 0;
};

// Notifies its waiters when it is destroyed: how epoll(7) forgets a description whose last reference goes.
class ReleaseQueue : public WaitQueue {
 public:
  ~ReleaseQueue() { wake(); }
};

// Who gets a description's SIGIO: fcntl(2) F_SETOWN, F_SETOWN_EX, F_SETSIG.
struct AsyncOwner {
  int type = F_OWNER_PID;
  pid_t id = 0;             // 0: nobody
  int signo = 0;            // 0: SIGIO without siginfo
  uid_t uid = 0, euid = 0;  // of the caller that set the owner, for the permission to signal
};

class File : public std::enable_shared_from_this<File> {
 public:
  // `flags` are O_* of open(2) without creation flags. `path` may be empty (pipes, sockets); then `inode`
  // says what it is.
  File(Path path, InodeRef inode, int flags)
      : path_(std::move(path)), inode_(std::move(inode)), flags_(flags) {}
  virtual ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const Path& path() const { return path_; }
  const InodeRef& inode() const { return inode_; }
  int flags() const { return flags_; }
  bool readable() const { return (flags_ & O_PATH) == 0 && (flags_ & O_ACCMODE) != O_WRONLY; }
  bool writable() const { return (flags_ & O_PATH) == 0 && (flags_ & O_ACCMODE) != O_RDONLY; }
  bool nonblocking() const { return (flags_ & O_NONBLOCK) != 0; }
  // fcntl(F_SETFL): O_APPEND, O_ASYNC, O_DIRECT, O_NOATIME, O_NONBLOCK change, others stay.
  virtual Result<> set_status_flags(int flags);

  // Reads and writes of seekable files at the file's position or, for pread and pwrite, at `offset`. Streams
  // take no offset (ESPIPE by seekable()). Blocking calls park the fiber unless `nonblocking` (EAGAIN). A
  // short count is no error; an error only if nothing was transferred. The caller has checked
  // readable()/writable().
  struct IoOptions {
    std::optional<uint64_t> offset;
    bool nonblocking =
        false;  // O_NONBLOCK or MSG_DONTWAIT: streams answer EAGAIN; files with a position take no notice
    bool nowait = false;  // RWF_NOWAIT: EAGAIN rather than waiting for storage, even for a file
    bool append = false;  // RWF_APPEND
    SetId set_id = SetId::kDropped;
  };
  virtual Result<size_t> read(mm::Sink&, const IoOptions&) { return Errno(EINVAL); }
  virtual Result<size_t> write(mm::Source&, const IoOptions&) { return Errno(EINVAL); }
  virtual bool seekable() const { return false; }
  virtual Result<uint64_t> seek(int64_t /*offset*/, int /*whence*/) { return Errno(ESPIPE); }

  // poll(2): the events that hold now. Default: a regular file's.
  virtual Events poll() { return 0x1 | 0x4 | 0x40 | 0x100; }  // IN OUT RDNORM WRNORM
  // Wakes when poll() may have changed. Null where it never does. epoll_ctl answers EPERM where `pollable` is
  // false.
  virtual WaitQueue* wait_queue() { return nullptr; }
  virtual bool pollable() { return wait_queue() != nullptr; }

  // ioctl(2). `argument` is the raw third argument; memory is the caller's.
  virtual Result<uint64_t> ioctl(mm::AddressSpaceMap&, unsigned /*request*/, uint64_t /*argument*/) {
    return Errno(ENOTTY);
  }
  virtual Result<> readdir(DirectorySink&) { return Errno(ENOTDIR); }
  virtual Result<std::shared_ptr<mm::Mappable>> mmap(int /*prot*/, int /*flags*/) { return Errno(ENODEV); }
  virtual Result<> fsync(bool /*data_only*/) { return Errno(EINVAL); }
  virtual Result<> truncate(uint64_t size, SetId set_id);  // default: through the inode
  virtual Result<> fallocate(int /*mode*/, uint64_t /*offset*/, uint64_t /*length*/, SetId) {
    return Errno(ENODEV);
  }
  // Called at each close(2) of a descriptor (not at the last reference), for locks and flush errors.
  virtual Result<> flush() { return {}; }
  // File sealing, fcntl(2) F_GET_SEALS and F_ADD_SEALS: F_SEAL_* of memfds.
  virtual Result<int> seals() { return Errno(EINVAL); }
  virtual Result<> add_seals(int /*seals*/) { return Errno(EINVAL); }
  // The process that a pidfd names (pidfd_open(2)).
  virtual Result<pid_t> pidfd_process() const { return Errno(EBADF); }
  // Extra lines of /proc/PID/fdinfo/N.
  virtual std::string fdinfo() { return {}; }
  // What readlink of /proc/PID/fd/N shows: the path, or for nameless ones "pipe:[123]",
  // "anon_inode:[eventfd]".
  virtual std::string description();

  // Whether the position is the host's, shared with whoever opened the file outside: then `position` means
  // nothing.
  virtual bool host_position() const { return false; }
  // The position, for files that keep one; shared by duplicates. Directories use it as a cookie.
  uint64_t position = 0;
  // Who opened it, for later checks (sockets, /proc).
  CredentialsRef credentials;
  // Whether it counts in Inode::Locks::writers: set by open(), undone by the destructor.
  bool counts_as_writer = false;
  AsyncOwner async_owner;
  // Sends async_owner its signal while O_ASYNC is set; made by fcntl(2) and ioctl(2).
  std::unique_ptr<Waiter> async_notifier;
  // Mappings that guests do not see: they go when a descriptor is closed.
  mm::WindowOwner windows;
  // Woken once, when the last reference goes.
  ReleaseQueue released;

 private:
  Path path_;
  InodeRef inode_;

 protected:
  int flags_;
};

// A file with a position and a size: what pread, pwrite and lseek need is left to the implementor. Reads and
// writes at the shared position take turns (f_pos_lock).
class SeekableFile : public File {
 public:
  using File::File;

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) final;
  Result<size_t> write(mm::Source& source, const IoOptions& options) final;
  bool seekable() const final { return true; }
  // lseek(2) over size(); SEEK_DATA and SEEK_HOLE by find_data().
  Result<uint64_t> seek(int64_t offset, int whence) override;

 protected:
  virtual Result<size_t> read_at(mm::Sink& sink, uint64_t offset, bool nowait) = 0;
  // `append`: at the end, wherever that is when the data are there; `offset` is then where they went.
  virtual Result<size_t> write_at(mm::Source&, uint64_t& /*offset*/, bool /*append*/, bool /*nowait*/,
                                  SetId) {
    return Errno(EINVAL);
  }
  virtual Result<uint64_t> size() = 0;
  // The next data (or hole) from `offset`, which is below size(). Default: all is data, with a hole at the
  // end.
  virtual Result<uint64_t> find_data(uint64_t offset, bool data);

 private:
  FiberLock position_lock_;
};

// An open directory. Implementors write readdir() and may start with add_dots().
class DirectoryFile : public File {
 public:
  using File::File;
  // EISDIR, as read(2).
  Result<size_t> read(mm::Sink&, const IoOptions&) override { return Errno(EISDIR); }
  bool seekable() const override { return true; }
  Result<uint64_t> seek(int64_t offset, int whence) override;
  Result<> fsync(bool) override { return {}; }

 protected:
  // Adds "." at position 0 and ".." at 1, advancing `position`; false when the sink is full.
  bool add_dots(DirectorySink& sink);
};

// A file opened with O_PATH: only a place.
class PathFile final : public File {
 public:
  PathFile(Path path, InodeRef inode, int flags) : File(std::move(path), std::move(inode), flags) {}
  Result<> set_status_flags(int) override { return Errno(EBADF); }
  Events poll() override { return 0x20; }  // POLLNVAL: poll(2) treats it as not open
};

// Inode numbers and a superblock for what has no name: pipes, sockets, eventfds (the kernel's pipefs, sockfs,
// anon_inodefs). The name is what /proc shows: "pipe", "socket", "anon_inode:[eventfd]".
InodeRef make_anonymous_inode(uint32_t mode, std::string name, const CredentialsRef& owner);
std::string anonymous_name(const Inode& inode);  // "pipe:[77]"; empty for a named inode
// Where a file lies, for /proc/PID/fd: its path, or an anonymous_path() for one without.
Path place_of(const File& file);

// Whether reading a file of this mount makes its access time due (touch_atime, relatime), 24 hours and all.
// `flags` are the open file's.
bool access_time_due(const Path& path, int flags, const Attributes& attributes, Nanoseconds now);

}  // namespace sentry::vfs
