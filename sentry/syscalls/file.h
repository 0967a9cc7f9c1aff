// The handlers of file_calls(), by file.
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <utime.h>

#include "sentry/syscalls/handler.h"
#include "sentry/syscalls/names.h"

namespace sentry::syscalls {

inline constexpr FlagName kOpenNames[] = {{O_RDONLY, "O_RDONLY", O_ACCMODE},
                                          {O_WRONLY, "O_WRONLY", O_ACCMODE},
                                          {O_RDWR, "O_RDWR", O_ACCMODE},
                                          {O_CREAT, "O_CREAT"},
                                          {O_EXCL, "O_EXCL"},
                                          {O_NOCTTY, "O_NOCTTY"},
                                          {O_TRUNC, "O_TRUNC"},
                                          {O_APPEND, "O_APPEND"},
                                          {O_NONBLOCK, "O_NONBLOCK"},
                                          {O_SYNC, "O_SYNC"},
                                          {O_DSYNC, "O_DSYNC"},
                                          {O_ASYNC, "O_ASYNC"},
                                          {O_DIRECT, "O_DIRECT"},
                                          {0100000, "O_LARGEFILE"},
                                          {O_TMPFILE, "O_TMPFILE"},
                                          {O_DIRECTORY, "O_DIRECTORY"},
                                          {O_NOFOLLOW, "O_NOFOLLOW"},
                                          {O_NOATIME, "O_NOATIME"},
                                          {O_CLOEXEC, "O_CLOEXEC"},
                                          {O_PATH, "O_PATH"},
                                          {0, nullptr}};
inline constexpr FlagName kAtNames[] = {{AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
                                        {AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"},
                                        {AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
                                        {AT_EMPTY_PATH, "AT_EMPTY_PATH"},
                                        {0, "0"},
                                        {0, nullptr}};
inline constexpr FlagName kStatxFlagNames[] = {
    {0, "AT_STATX_SYNC_AS_STAT", AT_STATX_SYNC_TYPE},
    {AT_STATX_FORCE_SYNC, "AT_STATX_FORCE_SYNC", AT_STATX_SYNC_TYPE},
    {AT_STATX_DONT_SYNC, "AT_STATX_DONT_SYNC", AT_STATX_SYNC_TYPE},
    {AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
    {AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
    {AT_EMPTY_PATH, "AT_EMPTY_PATH"},
    {0, nullptr}};
// faccessat2(2) and unlinkat(2) give 0x200 names of their own.
inline constexpr FlagName kAccessAtNames[] = {{AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
                                              {AT_EACCESS, "AT_EACCESS"},
                                              {AT_EMPTY_PATH, "AT_EMPTY_PATH"},
                                              {0, "0"},
                                              {0, nullptr}};
inline constexpr FlagName kAccessNames[] = {{4, "R_OK"}, {2, "W_OK"}, {1, "X_OK"}, {0, "F_OK"}, {0, nullptr}};
inline constexpr FlagName kSeekNames[] = {{1, "SEEK_CUR"},  {2, "SEEK_END"}, {3, "SEEK_DATA"},
                                          {4, "SEEK_HOLE"}, {0, "SEEK_SET"}, {0, nullptr}};

// open.cc
Result<int> sys_open(Task& task, GuestPath path, Flags<kOpenNames> flags, CreationMode mode);
Result<int> sys_openat(Task& task, FdNumber directory, GuestPath path, Flags<kOpenNames> flags,
                       CreationMode mode);
Result<int> sys_openat2(Task& task, FdNumber directory, GuestPath path, GuestPtr<const open_how> how,
                        size_t size);
Result<int> sys_creat(Task& task, GuestPath path, Mode mode);
Result<> sys_close(Task& task, FdNumber fd);
Result<> sys_close_range(Task& task, unsigned first, unsigned last, unsigned flags);
Result<int> sys_memfd_create(Task& task, GuestPath name, unsigned flags);

// transfer.cc
Result<size_t> sys_read(Task& task, FdNumber fd, OutBuffer buffer, size_t count);
Result<size_t> sys_write(Task& task, FdNumber fd, InBuffer buffer, size_t count);
Result<size_t> sys_pread64(Task& task, FdNumber fd, OutBuffer buffer, size_t count, int64_t offset);
Result<size_t> sys_pwrite64(Task& task, FdNumber fd, InBuffer buffer, size_t count, int64_t offset);
Result<size_t> sys_readv(Task& task, FdNumber fd, Scatter pieces, size_t count);
Result<size_t> sys_writev(Task& task, FdNumber fd, Gather pieces, size_t count);
Result<size_t> sys_preadv(Task& task, FdNumber fd, Scatter pieces, size_t count, int64_t offset,
                          uint64_t offset_high);
Result<size_t> sys_pwritev(Task& task, FdNumber fd, Gather pieces, size_t count, int64_t offset,
                           uint64_t offset_high);
Result<size_t> sys_preadv2(Task& task, FdNumber fd, Scatter pieces, size_t count, int64_t offset,
                           uint64_t offset_high, int flags);
Result<size_t> sys_pwritev2(Task& task, FdNumber fd, Gather pieces, size_t count, int64_t offset,
                            uint64_t offset_high, int flags);
Result<uint64_t> sys_lseek(Task& task, FdNumber fd, int64_t offset, Choice<kSeekNames> whence);
Result<size_t> sys_sendfile(Task& task, FdNumber out, FdNumber in, GuestPtr<int64_t> offset, size_t count);
Result<size_t> sys_copy_file_range(Task& task, FdNumber in, GuestPtr<int64_t> in_offset, FdNumber out,
                                   GuestPtr<int64_t> out_offset, size_t length, unsigned flags);
Result<> sys_readahead(Task& task, FdNumber fd, int64_t offset, size_t count);
Result<> sys_fadvise64(Task& task, FdNumber fd, int64_t offset, int64_t length, int advice);

// sync.cc
Result<> sys_fsync(Task& task, FdNumber fd);
Result<> sys_fdatasync(Task& task, FdNumber fd);
Result<> sys_sync(Task& task);
Result<> sys_syncfs(Task& task, FdNumber fd);
Result<> sys_sync_file_range(Task& task, FdNumber fd, int64_t offset, int64_t length, unsigned flags);
Result<> sys_flock(Task& task, FdNumber fd, Flags<kFlockNames> operation);

// stat.cc
Result<> sys_stat(Task& task, GuestPath path, GuestPtr<struct stat> answer);
Result<> sys_lstat(Task& task, GuestPath path, GuestPtr<struct stat> answer);
Result<> sys_fstat(Task& task, FdNumber fd, GuestPtr<struct stat> answer);
Result<> sys_newfstatat(Task& task, FdNumber directory, GuestPath path, GuestPtr<struct stat> answer,
                        Flags<kAtNames> flags);
Result<> sys_statx(Task& task, FdNumber directory, GuestPath path, Flags<kStatxFlagNames> flags,
                   Flags<kStatxMaskNames> mask, GuestPtr<struct statx> answer);
Result<> sys_access(Task& task, GuestPath path, Flags<kAccessNames> mode);
Result<> sys_faccessat(Task& task, FdNumber directory, GuestPath path, Flags<kAccessNames> mode);
Result<> sys_faccessat2(Task& task, FdNumber directory, GuestPath path, Flags<kAccessNames> mode,
                        Flags<kAccessAtNames> flags);
Result<> sys_statfs(Task& task, GuestPath path, GuestPtr<struct statfs> answer);
Result<> sys_fstatfs(Task& task, FdNumber fd, GuestPtr<struct statfs> answer);

// attribute.cc
Result<> sys_truncate(Task& task, GuestPath path, int64_t size);
Result<> sys_ftruncate(Task& task, FdNumber fd, int64_t size);
Result<> sys_fallocate(Task& task, FdNumber fd, int mode, int64_t offset, int64_t length);
Result<> sys_chmod(Task& task, GuestPath path, Mode mode);
Result<> sys_fchmod(Task& task, FdNumber fd, Mode mode);
Result<> sys_fchmodat(Task& task, FdNumber directory, GuestPath path, Mode mode);
Result<> sys_fchmodat2(Task& task, FdNumber directory, GuestPath path, Mode mode, Flags<kAtNames> flags);
Result<> sys_chown(Task& task, GuestPath path, unsigned uid, unsigned gid);
Result<> sys_lchown(Task& task, GuestPath path, unsigned uid, unsigned gid);
Result<> sys_fchown(Task& task, FdNumber fd, unsigned uid, unsigned gid);
Result<> sys_fchownat(Task& task, FdNumber directory, GuestPath path, unsigned uid, unsigned gid,
                      Flags<kAtNames> flags);
Result<> sys_utime(Task& task, GuestPath path, GuestPtr<const utimbuf> times);
Result<> sys_utimes(Task& task, GuestPath path, GuestPtr<const timeval> times);
Result<> sys_futimesat(Task& task, FdNumber directory, GuestPath path, GuestPtr<const timeval> times);
Result<> sys_utimensat(Task& task, FdNumber directory, GuestPath path, GuestPtr<const timespec> times,
                       Flags<kAtNames> flags);

// xattr.cc
Result<size_t> sys_getxattr(Task& task, GuestPath path, GuestPath name, OutBuffer value, size_t size);
Result<size_t> sys_lgetxattr(Task& task, GuestPath path, GuestPath name, OutBuffer value, size_t size);
Result<size_t> sys_fgetxattr(Task& task, FdNumber fd, GuestPath name, OutBuffer value, size_t size);
Result<> sys_setxattr(Task& task, GuestPath path, GuestPath name, InBuffer value, size_t size, int flags);
Result<> sys_lsetxattr(Task& task, GuestPath path, GuestPath name, InBuffer value, size_t size, int flags);
Result<> sys_fsetxattr(Task& task, FdNumber fd, GuestPath name, InBuffer value, size_t size, int flags);
Result<size_t> sys_listxattr(Task& task, GuestPath path, OutBuffer list, size_t size);
Result<size_t> sys_llistxattr(Task& task, GuestPath path, OutBuffer list, size_t size);
Result<size_t> sys_flistxattr(Task& task, FdNumber fd, OutBuffer list, size_t size);
Result<> sys_removexattr(Task& task, GuestPath path, GuestPath name);
Result<> sys_lremovexattr(Task& task, GuestPath path, GuestPath name);
Result<> sys_fremovexattr(Task& task, FdNumber fd, GuestPath name);

// transfer.cc: what RLIMIT_FSIZE leaves of a change that reaches up to `end`: SIGXFSZ and EFBIG beyond.
Result<> check_file_limit(Task& task, uint64_t end);

}  // namespace sentry::syscalls
