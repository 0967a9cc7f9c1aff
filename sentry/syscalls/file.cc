// The table of calls on files.
#include "sentry/syscalls/file.h"

#include <sys/syscall.h>

#include "sentry/syscalls/table.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452  // Linux 6.6
#endif

namespace sentry::syscalls {

std::span<const Entry> file_calls() {
  static const Entry rows[] = {
      COMPLETE(open, sys_open),
      COMPLETE(openat, sys_openat),
      COMPLETE(openat2, sys_openat2),
      COMPLETE(creat, sys_creat),
      COMPLETE(close, sys_close),
      COMPLETE(close_range, sys_close_range),
      PARTIAL(memfd_create, sys_memfd_create, "no huge pages; F_SEAL_EXEC is kept but has no effect"),
      COMPLETE(read, sys_read),
      COMPLETE(write, sys_write),
      COMPLETE(pread64, sys_pread64),
      COMPLETE(pwrite64, sys_pwrite64),
      COMPLETE(readv, sys_readv),
      COMPLETE(writev, sys_writev),
      COMPLETE(preadv, sys_preadv),
      COMPLETE(pwritev, sys_pwritev),
      COMPLETE(preadv2, sys_preadv2),
      COMPLETE(pwritev2, sys_pwritev2),
      COMPLETE(lseek, sys_lseek),
      COMPLETE(sendfile, sys_sendfile),
      COMPLETE(copy_file_range, sys_copy_file_range),
      COMPLETE(readahead, sys_readahead),
      COMPLETE(fadvise64, sys_fadvise64),
      COMPLETE(fsync, sys_fsync),
      COMPLETE(fdatasync, sys_fdatasync),
      PARTIAL(sync, sys_sync, "does not flush the host's caches"),
      PARTIAL(syncfs, sys_syncfs, "does not flush the host's caches"),
      COMPLETE(sync_file_range, sys_sync_file_range),
      COMPLETE(flock, sys_flock),
      COMPLETE(stat, sys_stat),
      COMPLETE(lstat, sys_lstat),
      COMPLETE(fstat, sys_fstat),
      COMPLETE(newfstatat, sys_newfstatat),
      PARTIAL(statx, sys_statx, "no direct I/O alignment, of the file attributes only MOUNT_ROOT"),
      COMPLETE(access, sys_access),
      COMPLETE(faccessat, sys_faccessat),
      COMPLETE(faccessat2, sys_faccessat2),
      COMPLETE(statfs, sys_statfs),
      COMPLETE(fstatfs, sys_fstatfs),
      COMPLETE(truncate, sys_truncate),
      COMPLETE(ftruncate, sys_ftruncate),
      COMPLETE(fallocate, sys_fallocate),
      COMPLETE(chmod, sys_chmod),
      COMPLETE(fchmod, sys_fchmod),
      COMPLETE(fchmodat, sys_fchmodat),
      COMPLETE(fchmodat2, sys_fchmodat2),
      COMPLETE(chown, sys_chown),
      COMPLETE(lchown, sys_lchown),
      COMPLETE(fchown, sys_fchown),
      COMPLETE(fchownat, sys_fchownat),
      COMPLETE(utime, sys_utime),
      COMPLETE(utimes, sys_utimes),
      COMPLETE(futimesat, sys_futimesat),
      COMPLETE(utimensat, sys_utimensat),
      PARTIAL(getxattr, sys_getxattr, "no ACLs"),
      PARTIAL(lgetxattr, sys_lgetxattr, "no ACLs"),
      PARTIAL(fgetxattr, sys_fgetxattr, "no ACLs"),
      PARTIAL(setxattr, sys_setxattr, "no ACLs"),
      PARTIAL(lsetxattr, sys_lsetxattr, "no ACLs"),
      PARTIAL(fsetxattr, sys_fsetxattr, "no ACLs"),
      COMPLETE(listxattr, sys_listxattr),
      COMPLETE(llistxattr, sys_llistxattr),
      COMPLETE(flistxattr, sys_flistxattr),
      PARTIAL(removexattr, sys_removexattr, "no ACLs"),
      PARTIAL(lremovexattr, sys_lremovexattr, "no ACLs"),
      PARTIAL(fremovexattr, sys_fremovexattr, "no ACLs"),
      ABSENT(name_to_handle_at, EOPNOTSUPP, "no file system here exports handles"),
      ABSENT(open_by_handle_at, EOPNOTSUPP, "no file system here exports handles"),
  };
  return rows;
}

}  // namespace sentry::syscalls
