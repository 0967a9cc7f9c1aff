// The handlers of directory_calls(), by file.
#pragma once

#include "sentry/syscalls/file.h"

namespace sentry::syscalls {

inline constexpr FlagName kUnlinkAtNames[] = {{AT_REMOVEDIR, "AT_REMOVEDIR"}, {0, "0"}, {0, nullptr}};
inline constexpr FlagName kRenameNames[] = {
    {1, "RENAME_NOREPLACE"}, {2, "RENAME_EXCHANGE"}, {4, "RENAME_WHITEOUT"}, {0, "0"}, {0, nullptr}};

// directory.cc
Result<> sys_mkdir(Task& task, GuestPath path, Mode mode);
Result<> sys_mkdirat(Task& task, FdNumber directory, GuestPath path, Mode mode);
Result<> sys_rmdir(Task& task, GuestPath path);
Result<> sys_unlink(Task& task, GuestPath path);
Result<> sys_unlinkat(Task& task, FdNumber directory, GuestPath path, Flags<kUnlinkAtNames> flags);
Result<> sys_rename(Task& task, GuestPath old_path, GuestPath new_path);
Result<> sys_renameat(Task& task, FdNumber old_directory, GuestPath old_path, FdNumber new_directory,
                      GuestPath new_path);
Result<> sys_renameat2(Task& task, FdNumber old_directory, GuestPath old_path, FdNumber new_directory,
                       GuestPath new_path, Flags<kRenameNames> flags);
Result<> sys_link(Task& task, GuestPath old_path, GuestPath new_path);
Result<> sys_linkat(Task& task, FdNumber old_directory, GuestPath old_path, FdNumber new_directory,
                    GuestPath new_path, Flags<kAtNames> flags);
Result<> sys_symlink(Task& task, GuestPath target, GuestPath path);
Result<> sys_symlinkat(Task& task, GuestPath target, FdNumber directory, GuestPath path);
Result<size_t> sys_readlink(Task& task, GuestPath path, OutBuffer buffer, int size);
Result<size_t> sys_readlinkat(Task& task, FdNumber directory, GuestPath path, OutBuffer buffer, int size);
Result<> sys_mknod(Task& task, GuestPath path, Mode mode, unsigned device);
Result<> sys_mknodat(Task& task, FdNumber directory, GuestPath path, Mode mode, unsigned device);
Result<size_t> sys_getdents(Task& task, FdNumber fd, OutEntries buffer, unsigned size);
Result<size_t> sys_getdents64(Task& task, FdNumber fd, OutEntries buffer, unsigned size);
Result<> sys_chdir(Task& task, GuestPath path);
Result<> sys_fchdir(Task& task, FdNumber fd);
Result<size_t> sys_getcwd(Task& task, OutString buffer, size_t size);
Result<> sys_chroot(Task& task, GuestPath path);
Result<Mode> sys_umask(Task& task, Mode mask);

// mount.cc
Result<> sys_mount(Task& task, GuestPath source, GuestPath target, GuestPath type, uint64_t flags,
                   GuestPtr<const void> data);
Result<> sys_umount2(Task& task, GuestPath target, int flags);
Result<> sys_pivot_root(Task& task, GuestPath new_root, GuestPath put_old);

}  // namespace sentry::syscalls
