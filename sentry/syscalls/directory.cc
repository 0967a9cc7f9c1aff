// Calls on names: mkdir(2), rename(2), link(2), getdents(2), chdir(2) and their kin.
#include "sentry/syscalls/directory.h"

#include <dirent.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/place.h"
#include "sentry/syscalls/table.h"
#include "sentry/vfs/notify.h"

namespace sentry::syscalls {
namespace {

// A path argument with where it begins.
struct PathArgument {
  std::string text;
  vfs::Caller caller;
};
Result<PathArgument> read_argument(Task& task, int directory, GuestPath path) {
  std::string text = TRY(read_named_path(task, path));
  vfs::Caller caller = TRY(caller_at(task, directory, text));
  return PathArgument{std::move(text), std::move(caller)};
}

Result<> do_mkdir(Task& task, int directory, GuestPath path, unsigned mode) {
  const PathArgument argument = TRY(read_argument(task, directory, path));
  return vfs::mkdir(argument.caller, argument.text, mode);
}

Result<> do_unlink(Task& task, int directory, GuestPath path) {
  const PathArgument argument = TRY(read_argument(task, directory, path));
  return vfs::unlink(argument.caller, argument.text);
}

Result<> do_rmdir(Task& task, int directory, GuestPath path) {
  const PathArgument argument = TRY(read_argument(task, directory, path));
  return vfs::rmdir(argument.caller, argument.text);
}

Result<> do_rename(Task& task, int old_directory, GuestPath old_path, int new_directory, GuestPath new_path,
                   unsigned flags) {
  // Linux looks at the flags first, and reads both names before it looks at the descriptors.
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return Errno(EINVAL);
  const std::string from = TRY(read_named_path(task, old_path)), to = TRY(read_named_path(task, new_path));
  const vfs::Caller at = TRY(caller_at(task, old_directory, from));
  return vfs::rename(at, from, TRY(caller_at(task, new_directory, to)), to, flags);
}

Result<> do_link(Task& task, int old_directory, GuestPath old_path, int new_directory, GuestPath new_path,
                 int flags) {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  const std::string from =
      TRY((flags & AT_EMPTY_PATH) != 0 ? read_path(task, old_path) : read_named_path(task, old_path));
  const std::string to = TRY(read_named_path(task, new_path));
  const vfs::Caller at = TRY(caller_at(task, old_directory, from));
  return vfs::link(at, from, TRY(caller_at(task, new_directory, to)), to, flags);
}

Result<> do_symlink(Task& task, GuestPath target, int directory, GuestPath path) {
  const std::string text = TRY(read_named_path(task, target));
  const PathArgument argument = TRY(read_argument(task, directory, path));
  return vfs::symlink(argument.caller, text, argument.text);
}

Result<> do_mknod(Task& task, int directory, GuestPath path, unsigned mode, unsigned device) {
  TRY(vfs::check_node_type(mode));
  const PathArgument argument = TRY(read_argument(task, directory, path));
  return vfs::mknod(argument.caller, argument.text, mode, device);
}

Result<size_t> do_readlink(Task& task, int directory, GuestPath path, GuestPtr<void> buffer, int size) {
  if (size <= 0) return Errno(EINVAL);
  // readlinkat(2): an empty path means the descriptor itself, opened with O_PATH | O_NOFOLLOW.
  const std::string text = TRY(read_path(task, path));
  const vfs::Caller caller = TRY(caller_at(task, directory, text));
  vfs::WalkOptions options;
  options.follow = false;
  options.empty_path = true;
  const vfs::Path place = TRY(vfs::walk(caller.fs, *caller.credentials, caller.start, text, options)).path;
  vfs::Inode& inode = *place.dentry->inode();
  if (text.empty() && (directory == AT_FDCWD || !inode.is_symlink())) return Errno(ENOENT);
  if (!inode.is_symlink()) return Errno(EINVAL);
  const std::string target = TRY(inode.readlink());
  const size_t count = std::min(target.size(), static_cast<size_t>(size));
  TRY(task.memory().write(buffer.address(), target.data(), count));
  return count;
}

// Packs entries as getdents(2) or getdents64(2) lay them out.
class EntryPacker final : public vfs::DirectorySink {
 public:
  enum class Layout { kOld, k64 };
  EntryPacker(Layout layout, size_t room) : layout_(layout), room_(room) {}

  bool add(std::string_view name, uint64_t ino, unsigned char type, uint64_t next) override {
    // struct linux_dirent64: ino, off, reclen, type, name. struct linux_dirent: ino, off, reclen, name, and
    // the type in the last byte.
    constexpr size_t kHeader64 = 8 + 8 + 2 + 1, kHeaderOld = 8 + 8 + 2;
    const size_t header = layout_ == Layout::k64 ? kHeader64 : kHeaderOld;
    const size_t tail = layout_ == Layout::k64 ? 1 : 2;
    const size_t length = (header + name.size() + tail + 7) & ~size_t{7};
    if (length > room_ - bytes_.size()) {
      full_ = true;
      return false;
    }
    const size_t start = bytes_.size();
    bytes_.resize(start + length);
    std::byte* record = bytes_.data() + start;
    const auto record_length = static_cast<uint16_t>(length);
    std::memcpy(record, &ino, 8);
    std::memcpy(record + 8, &next, 8);
    std::memcpy(record + 16, &record_length, 2);
    std::memcpy(record + header, name.data(), name.size());
    record[layout_ == Layout::k64 ? 18 : length - 1] = std::byte{type};
    return true;
  }
  bool full() const { return full_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  Layout layout_;
  size_t room_;
  bool full_ = false;
  std::vector<std::byte> bytes_;
};

Result<size_t> do_getdents(Task& task, int fd, GuestPtr<void> buffer, unsigned size,
                           EntryPacker::Layout layout) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd));
  if (file->inode() == nullptr || !file->inode()->is_directory()) return Errno(ENOTDIR);
  if (file->path() && file->path().dentry->deleted()) return Errno(ENOENT);
  // A larger buffer is not filled at once; nobody may rely on that.
  constexpr unsigned kMost = 256 * 1024;
  EntryPacker packer(layout, std::min(size, kMost));
  const uint64_t start = file->position;
  TRY(file->readdir(packer));
  vfs::notify(file->path(), IN_ACCESS);
  if (packer.bytes().empty()) {
    if (packer.full()) return Errno(EINVAL);
    return size_t{0};
  }
  const Result<> written =
      task.memory().write(buffer.address(), packer.bytes().data(), packer.bytes().size());
  if (!written.ok()) {
    file->position = start;
    return written.error();
  }
  return packer.bytes().size();
}

Result<vfs::Path> find_directory(Task& task, GuestPath path) {
  const std::string text = TRY(read_path(task, path));
  const vfs::Caller caller = TRY(caller_at(task, AT_FDCWD, text));
  vfs::WalkOptions options;
  options.directory = true;
  vfs::Path place = TRY(vfs::walk(caller.fs, *caller.credentials, caller.start, text, options)).path;
  TRY(place.dentry->inode()->permission(*task.credentials, X_OK));
  return place;
}

// After a change of what CLONE_FS shares: the others stand elsewhere now, too.
void tell_sharers(const Task& task) {
  if (task.fs_context.use_count() == 1) return;
  for (const auto& [id, group] : task.kernel.groups()) {
    for (Task* other : group->tasks) {
      if (other->fs_context == task.fs_context) other->learn_identity();
    }
  }
}

}  // namespace

Result<> sys_mkdir(Task& task, GuestPath path, Mode mode) { return do_mkdir(task, AT_FDCWD, path, mode); }
Result<> sys_mkdirat(Task& task, FdNumber directory, GuestPath path, Mode mode) {
  return do_mkdir(task, directory.value, path, mode);
}

Result<> sys_rmdir(Task& task, GuestPath path) { return do_rmdir(task, AT_FDCWD, path); }
Result<> sys_unlink(Task& task, GuestPath path) { return do_unlink(task, AT_FDCWD, path); }
Result<> sys_unlinkat(Task& task, FdNumber directory, GuestPath path, Flags<kUnlinkAtNames> flags) {
  if ((flags & ~AT_REMOVEDIR) != 0) return Errno(EINVAL);
  if ((flags & AT_REMOVEDIR) != 0) return do_rmdir(task, directory.value, path);
  return do_unlink(task, directory.value, path);
}

Result<> sys_rename(Task& task, GuestPath old_path, GuestPath new_path) {
  return do_rename(task, AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}
Result<> sys_renameat(Task& task, FdNumber old_directory, GuestPath old_path, FdNumber new_directory,
                      GuestPath new_path) {
  return do_rename(task, old_directory.value, old_path, new_directory.value, new_path, 0);
}
Result<> sys_renameat2(Task& task, FdNumber old_directory, GuestPath old_path, FdNumber new_directory,
                       GuestPath new_path, Flags<kRenameNames> flags) {
  return do_rename(task, old_directory.value, old_path, new_directory.value, new_path,
                   static_cast<unsigned>(flags.value));
}

Result<> sys_link(Task& task, GuestPath old_path, GuestPath new_path) {
  return do_link(task, AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}
Result<> sys_linkat(Task& task, FdNumber old_directory, GuestPath old_path, FdNumber new_directory,
                    GuestPath new_path, Flags<kAtNames> flags) {
  return do_link(task, old_directory.value, old_path, new_directory.value, new_path, flags);
}

Result<> sys_symlink(Task& task, GuestPath target, GuestPath path) {
  return do_symlink(task, target, AT_FDCWD, path);
}
Result<> sys_symlinkat(Task& task, GuestPath target, FdNumber directory, GuestPath path) {
  return do_symlink(task, target, directory.value, path);
}

Result<size_t> sys_readlink(Task& task, GuestPath path, OutBuffer buffer, int size) {
  return do_readlink(task, AT_FDCWD, path, buffer, size);
}
Result<size_t> sys_readlinkat(Task& task, FdNumber directory, GuestPath path, OutBuffer buffer, int size) {
  return do_readlink(task, directory.value, path, buffer, size);
}

Result<> sys_mknod(Task& task, GuestPath path, Mode mode, unsigned device) {
  return do_mknod(task, AT_FDCWD, path, mode, device);
}
Result<> sys_mknodat(Task& task, FdNumber directory, GuestPath path, Mode mode, unsigned device) {
  return do_mknod(task, directory.value, path, mode, device);
}

Result<size_t> sys_getdents(Task& task, FdNumber fd, OutEntries buffer, unsigned size) {
  return do_getdents(task, fd.value, buffer, size, EntryPacker::Layout::kOld);
}
Result<size_t> sys_getdents64(Task& task, FdNumber fd, OutEntries buffer, unsigned size) {
  return do_getdents(task, fd.value, buffer, size, EntryPacker::Layout::k64);
}

Result<> sys_chdir(Task& task, GuestPath path) {
  vfs::Path place = TRY(find_directory(task, path));
  task.fs().cwd = std::move(place);
  tell_sharers(task);
  return {};
}

Result<> sys_fchdir(Task& task, FdNumber fd) {
  const vfs::FileRef file = TRY(task.fds().get(fd.value));
  if (file->inode() == nullptr || !file->inode()->is_directory()) return Errno(ENOTDIR);
  TRY(file->inode()->permission(*task.credentials, X_OK));
  task.fs().cwd = file->path();
  tell_sharers(task);
  return {};
}

Result<size_t> sys_getcwd(Task& task, OutString buffer, size_t size) {
  const vfs::FsContext& fs = task.fs();
  if (fs.cwd.dentry->deleted()) return Errno(ENOENT);
  const std::string text = fs.space->path_text(fs.cwd, fs.root);
  if (text.size() >= vfs::kPathMax) return Errno(ENAMETOOLONG);
  if (text.size() + 1 > size) return Errno(ERANGE);
  TRY(task.memory().write(buffer.address(), text.c_str(), text.size() + 1));
  return text.size() + 1;
}

Result<> sys_chroot(Task& task, GuestPath path) {
  vfs::Path place = TRY(find_directory(task, path));
  if (!task.credentials->capable(CAP_SYS_CHROOT)) return Errno(EPERM);
  task.fs().root = std::move(place);
  tell_sharers(task);
  return {};
}

Result<Mode> sys_umask(Task& task, Mode mask) { return Mode{std::exchange(task.fs().umask, mask & 0777u)}; }

std::span<const Entry> directory_calls() {
  static const Entry rows[] = {
      COMPLETE(mkdir, sys_mkdir),
      COMPLETE(mkdirat, sys_mkdirat),
      COMPLETE(rmdir, sys_rmdir),
      COMPLETE(unlink, sys_unlink),
      COMPLETE(unlinkat, sys_unlinkat),
      COMPLETE(rename, sys_rename),
      COMPLETE(renameat, sys_renameat),
      PARTIAL(renameat2, sys_renameat2, "no RENAME_WHITEOUT"),
      COMPLETE(link, sys_link),
      COMPLETE(linkat, sys_linkat),
      COMPLETE(symlink, sys_symlink),
      COMPLETE(symlinkat, sys_symlinkat),
      COMPLETE(readlink, sys_readlink),
      COMPLETE(readlinkat, sys_readlinkat),
      COMPLETE(mknod, sys_mknod),
      COMPLETE(mknodat, sys_mknodat),
      COMPLETE(getdents, sys_getdents),
      COMPLETE(getdents64, sys_getdents64),
      COMPLETE(chdir, sys_chdir),
      COMPLETE(fchdir, sys_fchdir),
      COMPLETE(getcwd, sys_getcwd),
      COMPLETE(chroot, sys_chroot),
      COMPLETE(umask, sys_umask),
      PARTIAL(mount, sys_mount,
              "tmpfs, proc and the like, bind, move, remount; no propagation between mounts"),
      COMPLETE(umount2, sys_umount2),
      COMPLETE(pivot_root, sys_pivot_root),
      ABSENT(open_tree, ENOSYS, "the old mount interface has to do"),
      ABSENT(move_mount, ENOSYS, "the old mount interface has to do"),
      ABSENT(fsopen, ENOSYS, "the old mount interface has to do"),
      ABSENT(fsconfig, ENOSYS, "the old mount interface has to do"),
      ABSENT(fsmount, ENOSYS, "the old mount interface has to do"),
      ABSENT(fspick, ENOSYS, "the old mount interface has to do"),
      ABSENT(mount_setattr, ENOSYS, "the old mount interface has to do"),
  };
  return rows;
}

}  // namespace sentry::syscalls
