// fsync(2) and its family, flock(2).
#include <sys/file.h>

#include "sentry/syscalls/file.h"
#include "sentry/vfs/lock.h"

namespace sentry::syscalls {

Result<> sys_fsync(Task& task, FdNumber fd) { return TRY(task.fds().get_io(fd.value))->fsync(false); }
Result<> sys_fdatasync(Task& task, FdNumber fd) { return TRY(task.fds().get_io(fd.value))->fsync(true); }

// What guests write lies in sandbox memory, or has reached the host kernel when the write returns; flushing
// the host's caches is not a guest's to order. fsync(2) of a file does reach the disk.
Result<> sys_sync(Task&) { return {}; }
Result<> sys_syncfs(Task& task, FdNumber fd) {
  (void)TRY(task.fds().get_io(fd.value));
  return {};
}

Result<> sys_sync_file_range(Task& task, FdNumber fd, int64_t offset, int64_t length, unsigned flags) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  constexpr unsigned kKnown =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if ((flags & ~kKnown) != 0 || offset < 0 || length < 0) return Errno(EINVAL);
  int64_t end = 0;
  if (__builtin_add_overflow(offset, length, &end)) return Errno(EINVAL);
  const uint32_t type = file->inode()->type();
  if (!S_ISREG(type) && !S_ISBLK(type) && !S_ISDIR(type) && !S_ISLNK(type)) return Errno(ESPIPE);
  return (flags & SYNC_FILE_RANGE_WAIT_AFTER) != 0 ? file->fsync(true) : Result<>();
}

Result<> sys_flock(Task& task, FdNumber fd, Flags<kFlockNames> operation) {
  constexpr int kMandatory = 32;  // LOCK_MAND, which Linux ignores since 5.17
  if ((operation & kMandatory) != 0) return {};
  const int kind = operation & ~LOCK_NB;
  if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN) return Errno(EINVAL);
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  return vfs::flock(*file->inode(), file.get(), kind, (operation & LOCK_NB) != 0, task.group->id);
}

}  // namespace sentry::syscalls
