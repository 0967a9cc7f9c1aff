// open(2), close(2) and what else makes or ends descriptors of files.
#include <linux/close_range.h>
#include <linux/memfd.h>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/file.h"
#include "sentry/syscalls/place.h"

namespace sentry::syscalls {
namespace {

constexpr uint64_t kLargeFile = 0100000;
// VALID_OPEN_FLAGS of the kernel; O_ASYNC has no effect in open.
constexpr uint64_t kOpenFlags = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |
                                O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT | kLargeFile | O_DIRECTORY |
                                O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE;
constexpr int kUnnamed = O_TMPFILE & ~O_DIRECTORY;
constexpr uint64_t kResolveFlags = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
                                   RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED;

Result<int> do_open(Task& task, int directory, GuestPath path, int flags, unsigned mode, uint64_t resolve) {
  const std::string text = TRY(read_named_path(task, path));
  // Linux takes the descriptor before it opens: nothing is created where none is left.
  TRY(task.fds().check_room(task.group->limit(RLIMIT_NOFILE)));
  // RESOLVE_IN_ROOT: the directory is where absolute paths begin as well.
  const bool in_root = (resolve & RESOLVE_IN_ROOT) != 0;
  const vfs::Caller caller = TRY(caller_at(task, directory, in_root ? std::string_view() : text));
  vfs::FileRef file = TRY(vfs::open(caller, text, flags & ~O_ASYNC, mode, resolve));
  return task.install_fd(std::move(file), (flags & O_CLOEXEC) != 0);
}

}  // namespace

Result<int> sys_open(Task& task, GuestPath path, Flags<kOpenNames> flags, CreationMode mode) {
  return do_open(task, AT_FDCWD, path, flags & static_cast<int>(kOpenFlags), mode, 0);
}

Result<int> sys_openat(Task& task, FdNumber directory, GuestPath path, Flags<kOpenNames> flags,
                       CreationMode mode) {
  return do_open(task, directory.value, path, flags & static_cast<int>(kOpenFlags), mode, 0);
}

Result<int> sys_creat(Task& task, GuestPath path, Mode mode) {
  return do_open(task, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0);
}

// openat2(2) is strict where open is lenient.
Result<int> sys_openat2(Task& task, FdNumber directory, GuestPath path, GuestPtr<const open_how> how,
                        size_t size) {
  if (size < sizeof(open_how)) return Errno(EINVAL);
  if (size > 4096) return Errno(E2BIG);
  for (uint8_t extra : TRY(task.memory().read_array(GuestPtr<const uint8_t>(how.address() + sizeof(open_how)),
                                                    size - sizeof(open_how))))
    if (extra != 0) return Errno(E2BIG);
  const open_how request = TRY(task.memory().read(how));
  const uint64_t flags = request.flags, resolve = request.resolve;
  if ((flags & ~kOpenFlags) != 0 || (resolve & ~kResolveFlags) != 0) return Errno(EINVAL);
  if ((resolve & RESOLVE_BENEATH) != 0 && (resolve & RESOLVE_IN_ROOT) != 0) return Errno(EINVAL);
  const bool creates = (flags & (O_CREAT | kUnnamed)) != 0;
  if (creates ? (request.mode & ~uint64_t{07777}) != 0 : request.mode != 0) return Errno(EINVAL);
  constexpr uint64_t kWithPath = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if ((flags & O_PATH) != 0 && (flags & ~kWithPath) != 0) return Errno(EINVAL);
  if ((resolve & RESOLVE_CACHED) != 0 && (flags & (O_TRUNC | O_CREAT | kUnnamed)) != 0) return Errno(EAGAIN);
  return do_open(task, directory.value, path, static_cast<int>(flags), static_cast<unsigned>(request.mode),
                 resolve);
}

Result<> sys_close(Task& task, FdNumber fd) {
  const Result<> closed = task.fds().close(fd.value);
  // close(2): the descriptor is gone whatever the answer, so the call must not be restarted.
  if (!closed.ok() && closed.error().value() >= kErestartSys) return Errno(EINTR);
  return closed;
}

Result<> sys_close_range(Task& task, unsigned first, unsigned last, unsigned flags) {
  if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) != 0) return Errno(EINVAL);
  if (first > last) return Errno(EINVAL);
  if ((flags & CLOSE_RANGE_UNSHARE) != 0 && task.fd_table.use_count() > 1)
    task.fd_table = task.fd_table->clone();
  return task.fds().close_range(first, last, (flags & CLOSE_RANGE_CLOEXEC) != 0);
}

Result<int> sys_memfd_create(Task& task, GuestPath name, unsigned flags) {
  constexpr unsigned kNoexecSeal = 8, kExec = 0x10;  // MFD_NOEXEC_SEAL, MFD_EXEC: Linux 6.3
  if ((flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoexecSeal | kExec)) != 0) return Errno(EINVAL);
  if ((flags & kNoexecSeal) != 0 && (flags & kExec) != 0) return Errno(EINVAL);
  // NAME_MAX less "memfd:".
  Result<std::string> text = task.memory().read_string(name.address, 250);
  if (!text.ok()) return text.is(ENAMETOOLONG) ? Errno(EINVAL) : text.error();
  fs::tmpfs::MemfdOptions options;
  options.name = std::move(*text);
  options.sealable = (flags & MFD_ALLOW_SEALING) != 0;
  options.noexec_seal = (flags & kNoexecSeal) != 0;
  vfs::FileRef file = TRY(fs::tmpfs::make_memfd(task.kernel.memory_file, options, task.credentials));
  return task.install_fd(std::move(file), (flags & MFD_CLOEXEC) != 0);
}

}  // namespace sentry::syscalls
