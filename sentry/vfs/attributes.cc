// Calls that change an inode's attributes, and access(2). Rules of Linux's fs/attr.c and fs/open.c.
#include <linux/capability.h>
#include <unistd.h>

#include "sentry/vfs/attribute_change.h"
#include "sentry/vfs/lock.h"
#include "sentry/vfs/notify.h"
#include "sentry/vfs/operations.h"

namespace sentry::vfs {

void apply(const AttributeChange& change, Attributes& attributes) {
  if (change.mode) attributes.mode = (attributes.mode & S_IFMT) | (*change.mode & 07777);
  attributes.uid = change.uid.value_or(attributes.uid);
  attributes.gid = change.gid.value_or(attributes.gid);
  attributes.atime = change.atime.value_or(attributes.atime);
  attributes.mtime = change.mtime.value_or(attributes.mtime);
  attributes.ctime = read_clock(CLOCK_REALTIME);
}

Result<> writable_mount(const Path& path) {
  return path.mount->read_only || path.mount->superblock->read_only ? Result<>(Errno(EROFS)) : Result<>();
}

Result<> chmod(const Credentials& credentials, const Path& path, uint32_t mode) {
  TRY(writable_mount(path));
  Inode& inode = *path.dentry->inode();
  if (inode.is_symlink()) return Errno(EOPNOTSUPP);
  const Attributes attributes = TRY(inode.getattr());
  if (!owns(credentials, attributes.uid)) return Errno(EPERM);
  AttributeChange change;
  change.mode = mode & 07777;
  if (!credentials.in_group(attributes.gid) && !credentials.capable(CAP_FSETID))
    *change.mode &= ~uint32_t{S_ISGID};
  TRY(inode.setattr(change));
  notify(path, IN_ATTRIB);
  return {};
}

Result<> chown(const Credentials& credentials, const Path& path, uid_t uid, gid_t gid) {
  TRY(writable_mount(path));
  Inode& inode = *path.dentry->inode();
  const Attributes attributes = TRY(inode.getattr());
  const bool owner = credentials.fsuid == attributes.uid;
  AttributeChange change;
  if (uid != static_cast<uid_t>(-1)) {
    if (!(owner && uid == attributes.uid) && !credentials.capable(CAP_CHOWN)) return Errno(EPERM);
    change.uid = uid;
  }
  if (gid != static_cast<gid_t>(-1)) {
    const bool own_group = owner && (gid == attributes.gid || credentials.in_group(gid));
    if (!own_group && !credentials.capable(CAP_CHOWN)) return Errno(EPERM);
    change.gid = gid;
  }
  if (!attributes.is_directory()) {
    if (const uint32_t mode = without_set_id(attributes.mode); mode != attributes.mode)
      change.mode = mode & 07777;
    // A new owner does not inherit what the old one's program was trusted with (security_inode_killpriv).
    if (change.uid || change.gid) (void)inode.removexattr("security.capability");
  }
  TRY(inode.setattr(change));
  if (change.uid || change.gid || change.mode)
    notify(path, IN_ATTRIB);
  else
    changed(inode);  // its ctime
  return {};
}

Result<> truncate(const Credentials& credentials, const Path& path, uint64_t size) {
  Inode& inode = *path.dentry->inode();
  if (inode.is_directory()) return Errno(EISDIR);
  if (!S_ISREG(inode.type())) return Errno(EINVAL);
  TRY(writable_mount(path));
  TRY(inode.permission(credentials, W_OK));
  if (inode.has_locks() && inode.locks().executors > 0) return Errno(ETXTBSY);
  TRY(resize(inode, size, set_id_after_change(credentials)));
  notify(path, IN_MODIFY);
  return {};
}

Result<> utimens(const Credentials& credentials, const Path& path, const TimeChange& change) {
  if (!change.atime && !change.mtime && !change.atime_now && !change.mtime_now) return {};
  TRY(writable_mount(path));
  Inode& inode = *path.dentry->inode();
  const Attributes attributes = TRY(inode.getattr());
  if (!owns(credentials, attributes.uid)) {
    // Only setting both to now is open to those who may write.
    if (!change.atime_now || !change.mtime_now) return Errno(EPERM);
    TRY(inode.permission(credentials, W_OK));
  }
  const Nanoseconds now = read_clock(CLOCK_REALTIME);
  AttributeChange times;
  times.atime = change.atime_now ? std::optional(now) : change.atime;
  times.mtime = change.mtime_now ? std::optional(now) : change.mtime;
  TRY(inode.setattr(times));
  notify(path, IN_ATTRIB);
  return {};
}

Result<> access(const Credentials& credentials, const Path& path, int mask) {
  Inode& inode = *path.dentry->inode();
  const uint32_t type = inode.type();
  if ((mask & X_OK) != 0 && S_ISREG(type) && path.mount->noexec) return Errno(EACCES);
  if (mask == F_OK) return {};
  const bool special = S_ISCHR(type) || S_ISBLK(type) || S_ISFIFO(type) || S_ISSOCK(type);
  if ((mask & W_OK) != 0 && !special && path.mount->superblock->read_only) return Errno(EROFS);
  TRY(inode.permission(credentials, mask));
  if ((mask & W_OK) != 0 && !special) return writable_mount(path);
  return {};
}

}  // namespace sentry::vfs
