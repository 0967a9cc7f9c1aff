// open(2), openat2(2): in the order in which Linux checks (fs/namei.c, path_openat), since that decides the
// errno.
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <unistd.h>

#include <mutex>

#include "sentry/vfs/landlock.h"
#include "sentry/vfs/lock.h"
#include "sentry/vfs/notify.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/walker.h"

namespace sentry::vfs {
namespace {

// The kernel's O_LARGEFILE, which a 64-bit open always has; glibc's is 0.
constexpr int kLargeFile = 0100000;
constexpr int kUnnamed = O_TMPFILE & ~O_DIRECTORY;

bool wants_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

// R_OK and W_OK that an open needs. Access mode 3 asks for both, open(2).
int wanted_access(int flags) {
  const int mode = flags & O_ACCMODE;
  int mask = mode == O_RDONLY ? R_OK : mode == O_WRONLY ? W_OK : R_OK | W_OK;
  if ((flags & O_TRUNC) != 0) mask |= W_OK;
  return mask;
}

// may_open.
Result<> may_open(const Credentials& credentials, const Path& path, int flags) {
  Inode& inode = *path.dentry->inode();
  const int mask = wanted_access(flags);
  switch (inode.type()) {
    case S_IFLNK:
      return Errno(ELOOP);
    case S_IFDIR:
      if ((mask & W_OK) != 0) return Errno(EISDIR);
      break;
    case S_IFCHR:
    case S_IFBLK:
      if (path.mount->nodev) return Errno(EACCES);
      break;
    case S_IFREG:
      if ((mask & W_OK) != 0 && inode.superblock().read_only) return Errno(EROFS);
      break;
    default:
      break;
  }
  TRY(inode.permission(credentials, mask));
  if ((flags & O_NOATIME) != 0 && !owns(credentials, TRY(inode.getattr()).uid)) return Errno(EPERM);
  return {};
}

// What an open asks landlock for.
uint64_t landlock_opening(const Inode& inode, int flags) {
  if (inode.is_directory()) return LANDLOCK_ACCESS_FS_READ_DIR;
  const int mode = flags & O_ACCMODE;
  uint64_t accesses = 0;
  if (mode == O_RDONLY || mode == O_RDWR) accesses |= LANDLOCK_ACCESS_FS_READ_FILE;
  if (mode == O_WRONLY || mode == O_RDWR) accesses |= LANDLOCK_ACCESS_FS_WRITE_FILE;
  return accesses;
}

// do_open's last part: an inode that may be opened becomes a file.
Result<FileRef> make_file(const Caller& caller, const Path& path, int flags, bool truncate) {
  const InodeRef& inode = path.dentry->inode();
  const bool writes_regular = S_ISREG(inode->type()) && (wants_write(flags) || truncate);
  if (writes_regular) {
    TRY(writable_mount(path));
    if (inode->has_locks() && inode->locks().executors > 0) return Errno(ETXTBSY);
  }
  TRY(landlock_check(*caller.credentials, path, landlock_opening(*inode, flags)));
  constexpr int kCreation = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;
  // A terminal wants to know of O_NOCTTY; nothing else does.
  const int kept = S_ISCHR(inode->type()) ? flags & ~(kCreation & ~O_NOCTTY) : flags & ~kCreation;
  FileRef file = TRY(inode->open(path, kept | kLargeFile));
  if (file->credentials == nullptr) file->credentials = caller.credentials;
  if (writes_regular && wants_write(flags) && file->inode() == inode && !file->counts_as_writer) {
    ++inode->locks().writers;
    file->counts_as_writer = true;
  }
  if (truncate) {
    TRY(resize(*inode, 0, set_id_after_change(*caller.credentials)));
    notify(path, IN_MODIFY);
  }
  notify(path, IN_OPEN);
  return file;
}

Result<FileRef> open_existing(const Caller& caller, const Path& path, int flags) {
  const InodeRef& inode = path.dentry->inode();
  if ((flags & O_CREAT) != 0) {
    if ((flags & O_EXCL) != 0) return Errno(EEXIST);
    if (inode->is_directory()) return Errno(EISDIR);
  }
  if ((flags & O_DIRECTORY) != 0 && !inode->is_directory()) return Errno(ENOTDIR);
  const bool truncate = (flags & O_TRUNC) != 0 && S_ISREG(inode->type());
  if (truncate) TRY(writable_mount(path));
  TRY(may_open(*caller.credentials, path, flags));
  return make_file(caller, path, flags, truncate);
}

Result<FileRef> open_unnamed(const Caller& caller, std::string_view path, int flags, uint32_t mode,
                             uint64_t resolve) {
  Walker walker(caller.fs, *caller.credentials, caller.start, resolve);
  TRY(walker.to_parent(path));
  TRY(walker.finish((flags & O_NOFOLLOW) == 0, true));
  const Path directory = walker.take_place();
  TRY(writable_mount(directory));
  Inode& parent = *directory.dentry->inode();
  TRY(parent.permission(*caller.credentials, W_OK | X_OK));
  NewNode node =
      prepare_node(caller.fs, *caller.credentials, TRY(parent.getattr()), S_IFREG | (mode & 07777));
  node.linkable = (flags & O_EXCL) == 0;
  InodeRef inode = TRY(parent.tmpfile(node));
  const uint64_t ino = TRY(inode->getattr()).ino;
  const Path place{directory.mount, DentryCache::make_unnamed(directory.dentry, std::move(inode), ino)};
  return make_file(caller, place, flags, false);
}

// The last component with O_CREAT, absent so far. `existed`: somebody else made it meanwhile, and here it is.
struct Created {
  Path path;
  bool existed = false;
};
Result<Created> create_last(const Caller& caller, const Walker& walker, uint32_t mode) {
  const Path& directory = walker.place();
  DentryCache& dentries = caller.fs.space->dentries();
  const std::unique_lock lock(directory.dentry->names_lock());
  if (directory.dentry->deleted()) return Errno(ENOENT);
  const DentryRef present = TRY(dentries.lookup_locked(directory.dentry, walker.last()));
  if (!present->negative()) return Created{caller.fs.space->descend({directory.mount, present}), true};
  TRY(writable_mount(directory));
  TRY(landlock_check(*caller.credentials, directory, LANDLOCK_ACCESS_FS_MAKE_REG));
  Inode& parent = *directory.dentry->inode();
  TRY(parent.permission(*caller.credentials, W_OK | X_OK));
  const NewNode node =
      prepare_node(caller.fs, *caller.credentials, TRY(parent.getattr()), S_IFREG | (mode & 07777));
  InodeRef inode = TRY(parent.create(walker.last(), node));
  Created created{{directory.mount, dentries.instantiate(directory.dentry, walker.last(), std::move(inode))},
                  false};
  notify_created(*directory.dentry, walker.last(), *created.path.dentry->inode());
  return created;
}

}  // namespace

NewNode prepare_node(const FsContext& fs, const Credentials& credentials, const Attributes& directory,
                     uint32_t mode) {
  NewNode node;
  node.mode = mode & ~(fs.umask & 0777);
  node.uid = credentials.fsuid;
  node.gid = credentials.fsgid;
  if (S_ISLNK(mode)) node.mode = mode;
  if ((directory.mode & S_ISGID) == 0) return node;
  // A set-group-id directory hands its group down, and itself to directories.
  node.gid = directory.gid;
  if (S_ISDIR(mode))
    node.mode |= S_ISGID;
  else if ((node.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !credentials.in_group(node.gid) &&
           !credentials.capable(4 /* CAP_FSETID */))
    node.mode &= ~uint32_t{S_ISGID};
  return node;
}

Result<FileRef> open(const Caller& caller, std::string_view path, int flags, uint32_t mode,
                     uint64_t resolve) {
  if ((flags & O_PATH) != 0) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if ((flags & kUnnamed) != 0) {
    if ((flags & O_TMPFILE) != O_TMPFILE || (flags & O_CREAT) != 0 || !wants_write(flags))
      return Errno(EINVAL);
    return open_unnamed(caller, path, flags, mode, resolve);
  }
  if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY)) return Errno(EINVAL);

  Walker walker(caller.fs, *caller.credentials, caller.start, resolve);
  if ((flags & (O_ACCMODE | O_PATH | O_DIRECTORY | O_CREAT)) == O_RDONLY) walker.will_open();
  TRY(walker.to_parent(path));
  bool follow = (flags & O_NOFOLLOW) == 0;
  if ((flags & O_CREAT) == 0) {
    TRY(walker.finish(follow, (flags & O_DIRECTORY) != 0));
    Path place = walker.take_place();
    if ((flags & O_PATH) == 0) return open_existing(caller, place, flags);
    InodeRef inode = place.dentry->inode();
    FileRef file = std::make_shared<PathFile>(std::move(place), std::move(inode), flags & ~O_CLOEXEC);
    file->credentials = caller.credentials;
    return file;
  }

  if ((flags & O_EXCL) != 0) follow = false;
  for (;;) {
    if (walker.jumped() || !walker.last_is_name()) {
      TRY(walker.finish(follow, false));
      return open_existing(caller, walker.place(), flags);
    }
    if (walker.trailing_slash()) return Errno(EISDIR);
    Path found = TRY(walker.find_last());
    if (found.dentry->negative()) {
      Created created = TRY(create_last(caller, walker, mode));
      if (!created.existed) return make_file(caller, created.path, flags, false);
      found = std::move(created.path);
    }
    if (found.dentry->inode()->is_symlink() && follow) {
      TRY(walker.follow_last(found));
      continue;
    }
    return open_existing(caller, found, flags);
  }
}

Result<FileRef> open_path(const Caller& caller, const Path& path, int flags) {
  if ((flags & O_PATH) != 0) return FileRef(std::make_shared<PathFile>(path, path.dentry->inode(), flags));
  return open_existing(caller, path, flags & ~O_CREAT);
}

}  // namespace sentry::vfs
