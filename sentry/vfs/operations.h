// What system calls do to the tree, with every check that Linux makes above the file systems: permissions,
// sticky directories, read-only mounts, limits on names.
#pragma once

#include <optional>
#include <string_view>

#include "sentry/vfs/dentry.h"
#include "sentry/vfs/file.h"

namespace sentry::vfs {

// Who asks, from where.
struct Caller {
  const FsContext& fs;
  const CredentialsRef& credentials;
  Path start;  // what relative paths begin at: cwd or a directory descriptor's path
};

// open(2), openat2(2): creates, truncates, checks. `mode` before umask. ELOOP for a link with O_NOFOLLOW.
Result<FileRef> open(const Caller& caller, std::string_view path, int flags, uint32_t mode,
                     uint64_t resolve = 0);
// Opens a place that is already known (exec, /proc/PID/fd): permissions and all that open() checks of an
// existing file.
Result<FileRef> open_path(const Caller& caller, const Path& path, int flags);
// The type and the owner a new node gets in `directory`: umask, set-group-id directories, mode_strip_sgid.
NewNode prepare_node(const FsContext& fs, const Credentials& credentials, const Attributes& directory,
                     uint32_t mode);

// What mknod(2) says of the type in `mode` before it looks at the path: EPERM for a directory, EINVAL.
Result<> check_node_type(uint32_t mode);
Result<> mknod(const Caller& caller, std::string_view path, uint32_t mode, uint64_t rdev);
// mknod that answers the new place (bind of a unix socket).
Result<Path> make_node(const Caller& caller, std::string_view path, uint32_t mode, uint64_t rdev);
Result<> mkdir(const Caller& caller, std::string_view path, uint32_t mode);
Result<> symlink(const Caller& caller, std::string_view target, std::string_view path);
Result<> link(const Caller& from, std::string_view old_path, const Caller& to, std::string_view new_path,
              int at_flags);
Result<> unlink(const Caller& caller, std::string_view path);
Result<> rmdir(const Caller& caller, std::string_view path);
Result<> rename(const Caller& from, std::string_view old_path, const Caller& to, std::string_view new_path,
                unsigned flags);

Result<> chmod(const Credentials& credentials, const Path& path, uint32_t mode);
Result<> chown(const Credentials& credentials, const Path& path, uid_t uid, gid_t gid);  // -1: unchanged
Result<> truncate(const Credentials& credentials, const Path& path, uint64_t size);
// utimensat(2). Absent: UTIME_OMIT; `now` flags choose the permission rule.
struct TimeChange {
  std::optional<Nanoseconds> atime, mtime;
  bool atime_now = false, mtime_now = false;
};
Result<> utimens(const Credentials& credentials, const Path& path, const TimeChange& change);
// access(2) with the given ids.
Result<> access(const Credentials& credentials, const Path& path, int mask);

// EROFS if the place cannot be written: its mount or its superblock is read-only.
Result<> writable_mount(const Path& path);

}  // namespace sentry::vfs
