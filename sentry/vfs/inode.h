// Files as the file systems see them. An implementor overrides what its files can do; what it leaves alone
// answers as Linux does when the inode operation is missing.
#pragma once

#include <sys/stat.h>
#include <sys/statfs.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/base/time.h"
#include "sentry/mm/mappable.h"
#include "sentry/vfs/changes.h"
#include "sentry/vfs/credentials.h"
#include "sentry/vfs/fiber_lock.h"

namespace sentry::vfs {

class Dentry;
class File;
class Inode;
class Mount;
using DentryRef = std::shared_ptr<Dentry>;
using FileRef = std::shared_ptr<File>;
using InodeRef = std::shared_ptr<Inode>;

// A place in the tree: a name in a mounted file system.
struct Path {
  std::shared_ptr<Mount> mount;
  DentryRef dentry;
  explicit operator bool() const { return dentry != nullptr; }
  friend bool operator==(const Path&, const Path&) = default;
};

// stat(2)'s facts. Times are nanoseconds since the epoch.
struct Attributes {
  uint64_t ino = 0;
  uint32_t mode = 0;  // type and permission bits
  uint32_t nlink = 1;
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t rdev = 0;  // Linux's encoding, makedev(3)
  uint64_t size = 0;
  uint64_t blocks = 0;  // of 512 bytes
  uint32_t blksize = 4096;
  Nanoseconds atime = 0, mtime = 0, ctime = 0, btime = 0;

  bool is_directory() const { return S_ISDIR(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
  bool is_regular() const { return S_ISREG(mode); }
};

// What setattr changes; absent fields stay. ctime follows by itself. The caller has checked permissions and
// has cleared set-id bits where Linux does.
struct AttributeChange {
  std::optional<uint32_t> mode;  // permission bits only (07777)
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<uint64_t> size;
  std::optional<Nanoseconds> atime, mtime;
};

// One mounted instance of a file system.
class Superblock {
 public:
  virtual ~Superblock() = default;
  // Device number as stat(2) shows it, one for each superblock.
  uint64_t device() const { return device_; }
  virtual const char* type() const = 0;  // for /proc/mounts: "tmpfs"
  virtual Result<struct statfs> statfs();
  virtual InodeRef root() = 0;
  // Whether names may be kept in the dentry cache until the inode operations change them. False: every lookup
  // asks.
  virtual bool caches_names() const { return true; }
  // Whether attributes too change by operations of ours alone, and are the same for whoever asks.
  virtual bool keeps_attributes() const { return false; }
  bool read_only = false;
  // Held while a directory moves, so that nobody's ancestors change meanwhile (s_vfs_rename_mutex).
  FiberLock rename_lock;

 protected:
  Superblock();

 private:
  uint64_t device_;
};

// A new name's first attributes: mode with type (umask applied), owner.
struct NewNode {
  uint32_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t rdev = 0;
  bool linkable = true;  // tmpfile(): whether linkat(2) may name it later (no O_EXCL)
};

class Inode : public std::enable_shared_from_this<Inode> {
 public:
  explicit Inode(Superblock& superblock) : superblock_(superblock) {}
  virtual ~Inode();
  Superblock& superblock() const { return superblock_; }

  virtual Result<Attributes> getattr() = 0;
  // Superblock's, and no guest changes them by touching memory.
  virtual bool keeps_attributes() { return superblock_.keeps_attributes(); }
  // The type bits (S_IFMT) without a round trip; they never change.
  virtual uint32_t type() const = 0;
  bool is_directory() const { return S_ISDIR(type()); }
  bool is_symlink() const { return S_ISLNK(type()); }
  virtual Result<> setattr(const AttributeChange&) { return Errno(EPERM); }
  // Whether `mask` (R_OK | W_OK | X_OK) is allowed; default: mode bits, owner and capabilities,
  // path_resolution(7).
  virtual Result<> permission(const Credentials& credentials, int mask);

  // Directories. `name` is one component, not "." or "..". The VFS has checked permissions and, where it can,
  // existence, and holds the directory's names_lock (dentry.h). While an Inode lives, its file answers this
  // same object under every name: locks, attachments and the overlay go by identity.
  virtual Result<InodeRef> lookup(std::string_view) { return Errno(ENOTDIR); }  // ENOENT
  // A hint before a lookup: `name` in this directory is wanted, then the components of `rest` below it
  // ("b/c"; may hold "..", may cross links and mounts), and the last of all is to be opened for reading if
  // `open`. A file system that answers from far away may do it all in one go.
  virtual void expect(std::string_view /*name*/, std::string_view /*rest*/, bool /*open*/) {}
  virtual Result<InodeRef> create(std::string_view, const NewNode&) {
    return Errno(EPERM);
  }  // regular, fifo, socket, device
  virtual Result<InodeRef> mkdir(std::string_view, const NewNode&) { return Errno(EPERM); }
  virtual Result<InodeRef> symlink(std::string_view, const NewNode&, std::string_view /*target*/) {
    return Errno(EPERM);
  }
  virtual Result<> link(std::string_view, Inode& /*target, of the same superblock*/) { return Errno(EPERM); }
  virtual Result<> unlink(std::string_view, Inode& /*victim*/) { return Errno(EPERM); }
  virtual Result<> rmdir(std::string_view, Inode& /*victim*/) { return Errno(EPERM); }  // ENOTEMPTY
  // rename(2) with RENAME_* flags; `victim` is what new_name names now, or null. Both directories are of one
  // superblock.
  virtual Result<> rename(std::string_view, Inode& /*node*/, Inode& /*new_dir*/, std::string_view,
                          Inode* /*victim*/, unsigned /*flags*/) {
    return Errno(EPERM);
  }
  // An unnamed regular file (O_TMPFILE).
  virtual Result<InodeRef> tmpfile(const NewNode&) { return Errno(EOPNOTSUPP); }

  // Symbolic links.
  virtual Result<std::string> readlink() { return Errno(EINVAL); }
  // A link that leads to an object and not to a name (/proc/PID/fd/3). Absent for ordinary links.
  virtual std::optional<Result<Path>> follow() { return std::nullopt; }

  // open(2): `flags` are O_*; creation and permissions are done, truncation follows through setattr. Default:
  // what sentry/vfs/special.h says for devices and FIFOs, else ENXIO, as for a socket.
  virtual Result<FileRef> open(const Path& path, int flags);

  // xattr(7). Names with their prefix. Sizes as getxattr(2): the caller handles ERANGE.
  virtual Result<std::string> getxattr(std::string_view) { return Errno(EOPNOTSUPP); }
  virtual Result<> setxattr(std::string_view, std::string_view /*value*/, int /*flags*/) {
    return Errno(EOPNOTSUPP);
  }
  virtual Result<std::vector<std::string>> listxattr() { return std::vector<std::string>{}; }
  virtual Result<> removexattr(std::string_view) { return Errno(EOPNOTSUPP); }

  // Advisory locks live with the inode: sentry/vfs/lock.h. Made on first use.
  struct Locks;
  Locks& locks();
  bool has_locks() const { return locks_ != nullptr; }

  // Where its changes are counted (changes.h), from the first time that somebody asks.
  ChangeKey change_key();
  ChangeKey asked_change_key() const { return change_key_; }
  // They are counted there. Who shows another inode's attributes or names has its changes counted there, too.
  virtual void count_changes_at(ChangeKey key);

  // The object behind a name in the tree: a socket's (AF_UNIX bind), owned by net/, or a FIFO's pipe.
  std::shared_ptr<void> attachment;

 private:
  Superblock& superblock_;
  ChangeKey change_key_ = kNobodyAsked;
  std::unique_ptr<Locks, void (*)(Locks*)> locks_{nullptr, nullptr};
};

// The default permission check over given attributes: EACCES unless allowed.
Result<> check_permission(const Attributes& attributes, const Credentials& credentials, int mask);
// The same from the three facts that it takes.
Result<> check_permission(uint32_t mode, uid_t uid, gid_t gid, const Credentials& credentials, int mask);
// inode_owner_or_capable: the owner, or CAP_FOWNER.
inline bool owns(const Credentials& credentials, uid_t owner) {
  return credentials.fsuid == owner || credentials.capable(3 /* CAP_FOWNER */);
}
// The mode bits that remain when a file's data or owner changes (should_remove_suid): without S_ISUID, and
// without S_ISGID where it means set-group-id.
uint32_t without_set_id(uint32_t mode);
// What becomes of these bits when the data change: who has CAP_FSETID leaves them (file_remove_privs).
enum class SetId { kDropped, kKept };
inline SetId set_id_after_change(const Credentials& by) {
  return by.capable(4 /* CAP_FSETID */) ? SetId::kKept : SetId::kDropped;
}
// truncate(2), the checks done.
Result<> resize(Inode& inode, uint64_t size, SetId set_id);

}  // namespace sentry::vfs
