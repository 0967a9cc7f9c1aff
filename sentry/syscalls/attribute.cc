// Sizes, modes, owners and times: truncate(2), fallocate(2), chmod(2), chown(2), utimensat(2).
#include <linux/falloc.h>
#include <sys/time.h>

#include "sentry/syscalls/file.h"
#include "sentry/syscalls/place.h"
#include "sentry/vfs/notify.h"

namespace sentry::syscalls {
namespace {

Result<> do_chmod(Task& task, int directory, GuestPath path, unsigned mode, int flags) {
  return vfs::chmod(*task.credentials, TRY(find_place(task, directory, path, flags)), mode);
}

Result<> do_chown(Task& task, int directory, GuestPath path, unsigned uid, unsigned gid, int flags) {
  return vfs::chown(*task.credentials, TRY(find_place(task, directory, path, flags)), uid, gid);
}

Nanoseconds to_nanoseconds(const timespec& time) {
  // Times beyond what 64-bit nanoseconds can say (the year 2262) are held at the end, as file systems clamp
  // them.
  constexpr int64_t kMost = INT64_MAX / kSecond - 1;
  const int64_t seconds = std::max<int64_t>(std::min<int64_t>(time.tv_sec, kMost), -kMost);
  return seconds * kSecond + time.tv_nsec;
}

Result<vfs::TimeChange> to_change(const timespec (&times)[2]) {
  vfs::TimeChange change;
  for (const timespec& time : times) {
    const bool special = time.tv_nsec == UTIME_NOW || time.tv_nsec == UTIME_OMIT;
    if (!special && (time.tv_nsec < 0 || time.tv_nsec >= kSecond)) return Errno(EINVAL);
  }
  if (times[0].tv_nsec == UTIME_NOW)
    change.atime_now = true;
  else if (times[0].tv_nsec != UTIME_OMIT)
    change.atime = to_nanoseconds(times[0]);
  if (times[1].tv_nsec == UTIME_NOW)
    change.mtime_now = true;
  else if (times[1].tv_nsec != UTIME_OMIT)
    change.mtime = to_nanoseconds(times[1]);
  return change;
}

constexpr vfs::TimeChange both_now() {
  vfs::TimeChange change;
  change.atime_now = change.mtime_now = true;
  return change;
}

// utimes(2)'s microseconds.
Result<vfs::TimeChange> read_timevals(Task& task, GuestPtr<const timeval> times) {
  if (times.is_null()) return both_now();
  const std::vector<timeval> values = TRY(task.memory().read_array(times, 2));
  for (const timeval& value : values)
    if (value.tv_usec < 0 || value.tv_usec >= 1'000'000) return Errno(EINVAL);
  return to_change(
      {{values[0].tv_sec, values[0].tv_usec * 1000}, {values[1].tv_sec, values[1].tv_usec * 1000}});
}

}  // namespace

Result<> sys_truncate(Task& task, GuestPath path, int64_t size) {
  if (size < 0) return Errno(EINVAL);
  const vfs::Path place = TRY(find_place(task, AT_FDCWD, path, 0));
  const vfs::Inode& inode = *place.dentry->inode();
  if (S_ISREG(inode.type())) TRY(check_file_limit(task, static_cast<uint64_t>(size)));
  return vfs::truncate(*task.credentials, place, static_cast<uint64_t>(size));
}

Result<> sys_ftruncate(Task& task, FdNumber fd, int64_t size) {
  if (size < 0) return Errno(EINVAL);
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  if (!S_ISREG(file->inode()->type()) || !file->writable()) return Errno(EINVAL);
  TRY(check_file_limit(task, static_cast<uint64_t>(size)));
  TRY(file->truncate(static_cast<uint64_t>(size), vfs::set_id_after_change(*task.credentials)));
  vfs::notify(file->path(), IN_MODIFY);
  return {};
}

Result<> sys_fallocate(Task& task, FdNumber fd, int mode, int64_t offset, int64_t length) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  if (offset < 0 || length <= 0) return Errno(EINVAL);
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
                         FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
  if ((mode & ~kKnown) != 0) return Errno(EOPNOTSUPP);
  if ((mode & FALLOC_FL_PUNCH_HOLE) != 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0) return Errno(EOPNOTSUPP);
  if ((mode & FALLOC_FL_PUNCH_HOLE) != 0 && (mode & FALLOC_FL_ZERO_RANGE) != 0) return Errno(EOPNOTSUPP);
  if (!file->writable()) return Errno(EBADF);
  const uint32_t type = file->inode()->type();
  if (S_ISFIFO(type)) return Errno(ESPIPE);
  if (S_ISDIR(type)) return Errno(EISDIR);
  if (!S_ISREG(type) && !S_ISBLK(type)) return Errno(ENODEV);
  int64_t end = 0;
  if (__builtin_add_overflow(offset, length, &end)) return Errno(EFBIG);
  const uint64_t size = TRY(file->inode()->getattr()).size;
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && static_cast<uint64_t>(end) > size)
    TRY(check_file_limit(task, static_cast<uint64_t>(end)));
  TRY(file->fallocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length),
                      vfs::set_id_after_change(*task.credentials)));
  vfs::notify(file->path(), IN_MODIFY);
  return {};
}

Result<> sys_chmod(Task& task, GuestPath path, Mode mode) { return do_chmod(task, AT_FDCWD, path, mode, 0); }
Result<> sys_fchmodat(Task& task, FdNumber directory, GuestPath path, Mode mode) {
  return do_chmod(task, directory.value, path, mode, 0);
}
Result<> sys_fchmodat2(Task& task, FdNumber directory, GuestPath path, Mode mode, Flags<kAtNames> flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  return do_chmod(task, directory.value, path, mode, flags);
}
Result<> sys_fchmod(Task& task, FdNumber fd, Mode mode) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  return vfs::chmod(*task.credentials, vfs::place_of(*file), mode);
}

Result<> sys_chown(Task& task, GuestPath path, unsigned uid, unsigned gid) {
  return do_chown(task, AT_FDCWD, path, uid, gid, 0);
}
Result<> sys_lchown(Task& task, GuestPath path, unsigned uid, unsigned gid) {
  return do_chown(task, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}
Result<> sys_fchownat(Task& task, FdNumber directory, GuestPath path, unsigned uid, unsigned gid,
                      Flags<kAtNames> flags) {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  return do_chown(task, directory.value, path, uid, gid, flags);
}
Result<> sys_fchown(Task& task, FdNumber fd, unsigned uid, unsigned gid) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  return vfs::chown(*task.credentials, vfs::place_of(*file), uid, gid);
}

Result<> sys_utime(Task& task, GuestPath path, GuestPtr<const utimbuf> times) {
  vfs::TimeChange change = both_now();
  if (!times.is_null()) {
    const utimbuf values = TRY(task.memory().read(times));
    change = TRY(to_change({{values.actime, 0}, {values.modtime, 0}}));
  }
  return vfs::utimens(*task.credentials, TRY(find_place(task, AT_FDCWD, path, 0)), change);
}

Result<> sys_utimes(Task& task, GuestPath path, GuestPtr<const timeval> times) {
  const vfs::TimeChange change = TRY(read_timevals(task, times));
  return vfs::utimens(*task.credentials, TRY(find_place(task, AT_FDCWD, path, 0)), change);
}

Result<> sys_futimesat(Task& task, FdNumber directory, GuestPath path, GuestPtr<const timeval> times) {
  const vfs::TimeChange change = TRY(read_timevals(task, times));
  if (path.address == 0) {
    const vfs::FileRef file = TRY(task.fds().get_io(directory.value));
    return vfs::utimens(*task.credentials, vfs::place_of(*file), change);
  }
  return vfs::utimens(*task.credentials, TRY(find_place(task, directory.value, path, 0)), change);
}

Result<> sys_utimensat(Task& task, FdNumber directory, GuestPath path, GuestPtr<const timespec> times,
                       Flags<kAtNames> flags) {
  vfs::TimeChange change = both_now();
  if (!times.is_null()) {
    const std::vector<timespec> values = TRY(task.memory().read_array(times, 2));
    // utimensat(2): with both omitted not even the path is looked at.
    if (values[0].tv_nsec == UTIME_OMIT && values[1].tv_nsec == UTIME_OMIT) return {};
    change = TRY(to_change({values[0], values[1]}));
  }
  if (path.address == 0 && directory.value != AT_FDCWD) {
    if (flags != 0) return Errno(EINVAL);
    const vfs::FileRef file = TRY(task.fds().get_io(directory.value));
    return vfs::utimens(*task.credentials, vfs::place_of(*file), change);
  }
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  return vfs::utimens(*task.credentials, TRY(find_place(task, directory.value, path, flags)), change);
}

}  // namespace sentry::syscalls
