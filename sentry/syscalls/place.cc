#include "sentry/syscalls/place.h"

#include <fcntl.h>

namespace sentry::syscalls {

Result<std::string> read_path(Task& task, GuestPath path) {
  return task.memory().read_string(path.address, vfs::kPathMax);
}

Result<std::string> read_named_path(Task& task, GuestPath path) {
  std::string text = TRY(read_path(task, path));
  if (text.empty()) return Errno(ENOENT);
  return text;
}

Result<vfs::Caller> caller_at(Task& task, int directory, std::string_view path) {
  vfs::FsContext& fs = task.fs();
  if (directory == AT_FDCWD || path.starts_with('/')) return vfs::Caller{fs, task.credentials, fs.cwd};
  const vfs::FileRef file = TRY(task.fds().get(directory));
  return vfs::Caller{fs, task.credentials, vfs::place_of(*file)};
}

Result<std::string> read_path_at(Task& task, GuestPath path, int at_flags) {
  if ((at_flags & AT_EMPTY_PATH) == 0) return read_named_path(task, path);
  if (path.address == 0) return std::string();
  return read_path(task, path);
}

Result<vfs::Path> resolve(Task& task, int directory, std::string_view text, int at_flags, bool follow,
                          vfs::Grounds* grounds) {
  const vfs::Caller caller = TRY(caller_at(task, directory, text));
  vfs::WalkOptions options;
  options.follow = (at_flags & AT_SYMLINK_NOFOLLOW) == 0 && (follow || (at_flags & AT_SYMLINK_FOLLOW) != 0);
  options.empty_path = (at_flags & AT_EMPTY_PATH) != 0;
  options.grounds = grounds;
  return TRY(vfs::walk(caller.fs, *caller.credentials, caller.start, text, options)).path;
}

Result<vfs::Path> find_place(Task& task, int directory, GuestPath path, int at_flags, bool follow) {
  return resolve(task, directory, TRY(read_path_at(task, path, at_flags)), at_flags, follow);
}

}  // namespace sentry::syscalls
