// stat(2), statx(2), access(2), statfs(2).
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/file.h"
#include "sentry/syscalls/place.h"
#include "sentry/vfs/changes.h"

namespace sentry::syscalls {
namespace {

struct stat to_stat(const vfs::Attributes& attributes, uint64_t device) {
  struct stat answer {};
  answer.st_dev = device;
  answer.st_ino = attributes.ino;
  answer.st_mode = attributes.mode;
  answer.st_nlink = attributes.nlink;
  answer.st_uid = attributes.uid;
  answer.st_gid = attributes.gid;
  answer.st_rdev = attributes.rdev;
  answer.st_size = static_cast<off_t>(attributes.size);
  answer.st_blksize = attributes.blksize;
  answer.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
  answer.st_atim = to_timespec(attributes.atime);
  answer.st_mtim = to_timespec(attributes.mtime);
  answer.st_ctim = to_timespec(attributes.ctime);
  return answer;
}

Result<struct stat> stat_of(vfs::Inode& inode) {
  return to_stat(TRY(inode.getattr()), inode.superblock().device());
}

// The answer is the same for whoever asks, as long as its grounds are.
Result<struct stat> look_up(Task& task, int directory, std::string_view text, int at_flags,
                            vfs::Grounds& grounds) {
  const vfs::Path place = TRY(resolve(task, directory, text, at_flags, true, &grounds));
  vfs::Inode& inode = *place.dentry->inode();
  if (inode.keeps_attributes())
    grounds.add(inode);
  else
    grounds.give_up();
  return stat_of(inode);
}

static_assert(vfs::Grounds::kMost == platform::Platform::kGrounds);

// The platform learns what it may answer by itself the next time.
Result<> stat_at(Task& task, int directory, GuestPath path, int at_flags, GuestPtr<struct stat> answer) {
  const std::string text = TRY(read_path_at(task, path, at_flags));
  // Before the look, in which this may park: a thread that shares the working directory may change it.
  const uint64_t place = task.kernel.file_view.place_for(task.credentials, task.fs());
  vfs::Grounds grounds;
  const Result<struct stat> found = look_up(task, directory, text, at_flags, grounds);
  const bool absolute = text.starts_with('/');
  const int error = found.ok() ? 0 : found.error().value();
  if (grounds.complete() && !text.empty() && place != 0 && (absolute || directory == AT_FDCWD) &&
      (error == 0 || error == ENOENT || error == ENOTDIR)) {
    const platform::Platform::KnownPath known{absolute ? platform::Platform::kRootPlace : place,
                                              (at_flags & AT_SYMLINK_NOFOLLOW) == 0, text, grounds.keys(),
                                              grounds.changes()};
    task.kernel.platform.know_attributes(known, error, found.value_or({}));
  }
  return task.memory().write(answer, TRY(found));
}

statx_timestamp to_timestamp(Nanoseconds time) {
  const timespec split = to_timespec(time);
  statx_timestamp stamp{};
  stamp.tv_sec = split.tv_sec;
  stamp.tv_nsec = static_cast<uint32_t>(split.tv_nsec);
  return stamp;
}

Result<> write_statfs(Task& task, const vfs::Path& path, vfs::Superblock& superblock,
                      GuestPtr<struct statfs> answer) {
  struct statfs facts = TRY(superblock.statfs());
  constexpr long kValid = 0x20;          // ST_VALID: f_flags is there
  constexpr long kNoSymfollow = 0x2000;  // ST_NOSYMFOLLOW, which statvfs.h does not have yet
  long flags = kValid;
  if (path.mount != nullptr) {
    const vfs::Mount& mount = *path.mount;
    if (mount.read_only || superblock.read_only) flags |= ST_RDONLY;
    if (mount.nosuid) flags |= ST_NOSUID;
    if (mount.nodev) flags |= ST_NODEV;
    if (mount.noexec) flags |= ST_NOEXEC;
    if (mount.noatime) flags |= ST_NOATIME;
    if (mount.nodiratime) flags |= ST_NODIRATIME;
    if (mount.relatime && !mount.noatime) flags |= ST_RELATIME;
    if (mount.nosymfollow) flags |= kNoSymfollow;
  }
  facts.f_flags = flags;
  return task.memory().write(answer, facts);
}

// access(2) judges by the real ids, and by the capabilities that they would have (access_override_creds).
vfs::Credentials real_credentials(const vfs::Credentials& credentials) {
  vfs::Credentials real = credentials;
  real.fsuid = credentials.uid;
  real.fsgid = credentials.gid;
  if ((credentials.securebits & SECBIT_NO_SETUID_FIXUP) == 0)
    real.cap_effective = credentials.uid == 0 ? credentials.cap_permitted : 0;
  return real;
}

Result<> do_access(Task& task, int directory, GuestPath path, int mode, int flags) {
  if ((mode & ~(R_OK | W_OK | X_OK)) != 0) return Errno(EINVAL);
  if ((flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  auto credentials = (flags & AT_EACCESS) != 0
                         ? task.credentials
                         : std::make_shared<const vfs::Credentials>(real_credentials(*task.credentials));
  const std::string text = TRY(read_path(task, path));
  const vfs::Caller caller = TRY(caller_at(task, directory, text));
  vfs::WalkOptions options;
  options.follow = (flags & AT_SYMLINK_NOFOLLOW) == 0;
  options.empty_path = (flags & AT_EMPTY_PATH) != 0;
  const vfs::Walked walked = TRY(vfs::walk(caller.fs, *credentials, caller.start, text, options));
  return vfs::access(*credentials, walked.path, mode);
}

}  // namespace

Result<> sys_stat(Task& task, GuestPath path, GuestPtr<struct stat> answer) {
  return stat_at(task, AT_FDCWD, path, 0, answer);
}

Result<> sys_lstat(Task& task, GuestPath path, GuestPtr<struct stat> answer) {
  return stat_at(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, answer);
}

Result<> sys_fstat(Task& task, FdNumber fd, GuestPtr<struct stat> answer) {
  const vfs::FileRef file = TRY(task.fds().get(fd.value));
  return task.memory().write(answer, TRY(stat_of(*file->inode())));
}

Result<> sys_newfstatat(Task& task, FdNumber directory, GuestPath path, GuestPtr<struct stat> answer,
                        Flags<kAtNames> flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  return stat_at(task, directory.value, path, flags, answer);
}

Result<> sys_statx(Task& task, FdNumber directory, GuestPath path, Flags<kStatxFlagNames> flags,
                   Flags<kStatxMaskNames> mask, GuestPtr<struct statx> answer) {
  constexpr int kSyncType = AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC;
  if ((static_cast<unsigned>(mask) & STATX__RESERVED) != 0 || (flags & kSyncType) == kSyncType)
    return Errno(EINVAL);
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | kSyncType)) != 0)
    return Errno(EINVAL);
  const vfs::Path place = TRY(find_place(task, directory.value, path, flags));
  vfs::Inode& inode = *place.dentry->inode();
  const vfs::Attributes attributes = TRY(inode.getattr());
  struct statx facts {};
  facts.stx_mask = STATX_BASIC_STATS | (attributes.btime != 0 ? STATX_BTIME : 0u);
  facts.stx_blksize = attributes.blksize;
  facts.stx_nlink = attributes.nlink;
  facts.stx_uid = attributes.uid;
  facts.stx_gid = attributes.gid;
  facts.stx_mode = static_cast<uint16_t>(attributes.mode);
  facts.stx_ino = attributes.ino;
  facts.stx_size = attributes.size;
  facts.stx_blocks = attributes.blocks;
  facts.stx_atime = to_timestamp(attributes.atime);
  facts.stx_btime = to_timestamp(attributes.btime);
  facts.stx_ctime = to_timestamp(attributes.ctime);
  facts.stx_mtime = to_timestamp(attributes.mtime);
  facts.stx_rdev_major = major(attributes.rdev);
  facts.stx_rdev_minor = minor(attributes.rdev);
  facts.stx_dev_major = major(inode.superblock().device());
  facts.stx_dev_minor = minor(inode.superblock().device());
  facts.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
  if (place.mount != nullptr && !vfs::is_anonymous(place)) {
    if (place.dentry == place.mount->root) facts.stx_attributes |= STATX_ATTR_MOUNT_ROOT;
    facts.stx_mnt_id = place.mount->id;
    facts.stx_mask |= STATX_MNT_ID;
  }
  return task.memory().write(answer, facts);
}

Result<> sys_access(Task& task, GuestPath path, Flags<kAccessNames> mode) {
  return do_access(task, AT_FDCWD, path, mode, 0);
}
Result<> sys_faccessat(Task& task, FdNumber directory, GuestPath path, Flags<kAccessNames> mode) {
  return do_access(task, directory.value, path, mode, 0);
}
Result<> sys_faccessat2(Task& task, FdNumber directory, GuestPath path, Flags<kAccessNames> mode,
                        Flags<kAccessAtNames> flags) {
  return do_access(task, directory.value, path, mode, flags);
}

Result<> sys_statfs(Task& task, GuestPath path, GuestPtr<struct statfs> answer) {
  const vfs::Path place = TRY(find_place(task, AT_FDCWD, path, 0));
  return write_statfs(task, place, place.dentry->inode()->superblock(), answer);
}

Result<> sys_fstatfs(Task& task, FdNumber fd, GuestPtr<struct statfs> answer) {
  const vfs::FileRef file = TRY(task.fds().get(fd.value));
  return write_statfs(task, file->path(), file->inode()->superblock(), answer);
}

}  // namespace sentry::syscalls
