// From a directory descriptor and a path in guest memory to a place in the tree, as every *at call begins.
#pragma once

#include <string>

#include "sentry/syscalls/handler.h"
#include "sentry/vfs/operations.h"

namespace sentry::syscalls {

// The path string: EFAULT, ENAMETOOLONG from PATH_MAX on.
Result<std::string> read_path(Task& task, GuestPath path);

// The same of a call without AT_EMPTY_PATH: ENOENT for an empty one, before anything else is looked at
// (getname).
Result<std::string> read_named_path(Task& task, GuestPath path);

// What vfs operations need to know of the task. `start` is where `path` begins if it is relative: EBADF for a
// descriptor that is not open, unless the path is absolute.
Result<vfs::Caller> caller_at(Task& task, int directory, std::string_view path);

// Resolves with AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW and AT_EMPTY_PATH of `at_flags`; others are the
// caller's to check. `follow` is what happens without either flag. A null path is an empty one where
// AT_EMPTY_PATH allows.
Result<vfs::Path> find_place(Task& task, int directory, GuestPath path, int at_flags, bool follow = true);

// Its two steps: the path string, and where that leads. `grounds` as in vfs::WalkOptions.
Result<std::string> read_path_at(Task& task, GuestPath path, int at_flags);
Result<vfs::Path> resolve(Task& task, int directory, std::string_view text, int at_flags, bool follow = true,
                          vfs::Grounds* grounds = nullptr);

}  // namespace sentry::syscalls
