// xattr(7).
#include <linux/capability.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sentry/syscalls/file.h"
#include "sentry/syscalls/place.h"
#include "sentry/vfs/notify.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kNameMax = 255;        // XATTR_NAME_MAX
constexpr size_t kSizeMax = 64 * 1024;  // XATTR_SIZE_MAX, XATTR_LIST_MAX

Result<std::string> read_name(Task& task, GuestPath name) {
  Result<std::string> text = task.memory().read_string(name.address, kNameMax + 1);
  if (text.is(ENAMETOOLONG)) return Errno(ERANGE);
  if (text.ok() && text->empty()) return Errno(ERANGE);
  return text;
}

// xattr_permission: who may read (R_OK) or change (W_OK) an attribute of this name.
Result<> check_name(Task& task, const vfs::Path& place, std::string_view name, int mask) {
  const vfs::Credentials& credentials = *task.credentials;
  vfs::Inode& inode = *place.dentry->inode();
  if ((mask & W_OK) != 0) TRY(vfs::writable_mount(place));
  if (name.starts_with("security.")) {
    if ((mask & W_OK) == 0) return {};
    // cap_inode_setxattr.
    const int needed = name == "security.capability" ? CAP_SETFCAP : CAP_SYS_ADMIN;
    return credentials.capable(needed) ? Result<>() : Result<>(Errno(EPERM));
  }
  if (name.starts_with("trusted.")) {
    if (credentials.capable(CAP_SYS_ADMIN)) return {};
    return Errno((mask & W_OK) != 0 ? EPERM : ENODATA);
  }
  if (name.starts_with("user.")) {
    if (!S_ISREG(inode.type()) && !inode.is_directory()) return Errno((mask & W_OK) != 0 ? EPERM : ENODATA);
    if (inode.is_directory() && (mask & W_OK) != 0) {
      const vfs::Attributes attributes = TRY(inode.getattr());
      if ((attributes.mode & S_ISVTX) != 0 && !vfs::owns(credentials, attributes.uid)) return Errno(EPERM);
    }
    return inode.permission(credentials, mask);
  }
  // "system." ones (ACLs) no file system here has, but sockets say their protocol.
  if ((mask & W_OK) == 0 && S_ISSOCK(inode.type()) && vfs::is_anonymous(place)) return {};
  return Errno(EOPNOTSUPP);
}

Result<vfs::Path> place_of_fd(Task& task, FdNumber fd) {
  return vfs::place_of(*TRY(task.fds().get_io(fd.value)));
}

Result<size_t> copy_out(Task& task, std::string_view bytes, GuestPtr<void> target, size_t size) {
  if (size == 0) return bytes.size();
  if (bytes.size() > size) return Errno(ERANGE);
  TRY(task.memory().write(target.address(), bytes.data(), bytes.size()));
  return bytes.size();
}

Result<size_t> do_get(Task& task, const vfs::Path& place, const std::string& text, GuestPtr<void> value,
                      size_t size) {
  TRY(check_name(task, place, text, R_OK));
  return copy_out(task, TRY(place.dentry->inode()->getxattr(text)), value, size);
}

// What setxattr(2) checks before it looks at the file.
struct Change {
  std::string name, value;
  int flags;
};
Result<Change> read_change(Task& task, GuestPath name, GuestPtr<const void> value, size_t size, int flags) {
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) return Errno(EINVAL);
  std::string text = TRY(read_name(task, name));
  if (size > kSizeMax) return Errno(E2BIG);
  std::string bytes(size, '\0');
  TRY(task.memory().read(value.address(), bytes.data(), size));
  return Change{std::move(text), std::move(bytes), flags};
}
Result<> do_set(Task& task, const vfs::Path& place, const Change& change) {
  TRY(check_name(task, place, change.name, W_OK));
  TRY(place.dentry->inode()->setxattr(change.name, change.value, change.flags));
  vfs::notify(place, IN_ATTRIB);
  return {};
}

Result<size_t> do_list(Task& task, const vfs::Path& place, GuestPtr<void> list, size_t size) {
  std::string names;
  for (const std::string& name : TRY(place.dentry->inode()->listxattr())) {
    if (name.starts_with("trusted.") && !task.credentials->capable(CAP_SYS_ADMIN)) continue;
    names += name;
    names += '\0';
  }
  if (names.size() > kSizeMax) return Errno(E2BIG);
  return copy_out(task, names, list, size);
}

Result<> do_remove(Task& task, const vfs::Path& place, const std::string& name) {
  TRY(check_name(task, place, name, W_OK));
  TRY(place.dentry->inode()->removexattr(name));
  vfs::notify(place, IN_ATTRIB);
  return {};
}

}  // namespace

Result<size_t> sys_getxattr(Task& task, GuestPath path, GuestPath name, OutBuffer value, size_t size) {
  const std::string text = TRY(read_name(task, name));
  return do_get(task, TRY(find_place(task, AT_FDCWD, path, 0)), text, value, size);
}
Result<size_t> sys_lgetxattr(Task& task, GuestPath path, GuestPath name, OutBuffer value, size_t size) {
  const std::string text = TRY(read_name(task, name));
  return do_get(task, TRY(find_place(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)), text, value, size);
}
Result<size_t> sys_fgetxattr(Task& task, FdNumber fd, GuestPath name, OutBuffer value, size_t size) {
  const std::string text = TRY(read_name(task, name));
  return do_get(task, TRY(place_of_fd(task, fd)), text, value, size);
}

Result<> sys_setxattr(Task& task, GuestPath path, GuestPath name, InBuffer value, size_t size, int flags) {
  const Change change = TRY(read_change(task, name, value, size, flags));
  return do_set(task, TRY(find_place(task, AT_FDCWD, path, 0)), change);
}
Result<> sys_lsetxattr(Task& task, GuestPath path, GuestPath name, InBuffer value, size_t size, int flags) {
  const Change change = TRY(read_change(task, name, value, size, flags));
  return do_set(task, TRY(find_place(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)), change);
}
Result<> sys_fsetxattr(Task& task, FdNumber fd, GuestPath name, InBuffer value, size_t size, int flags) {
  const Change change = TRY(read_change(task, name, value, size, flags));
  return do_set(task, TRY(place_of_fd(task, fd)), change);
}

Result<size_t> sys_listxattr(Task& task, GuestPath path, OutBuffer list, size_t size) {
  return do_list(task, TRY(find_place(task, AT_FDCWD, path, 0)), list, size);
}
Result<size_t> sys_llistxattr(Task& task, GuestPath path, OutBuffer list, size_t size) {
  return do_list(task, TRY(find_place(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)), list, size);
}
Result<size_t> sys_flistxattr(Task& task, FdNumber fd, OutBuffer list, size_t size) {
  return do_list(task, TRY(place_of_fd(task, fd)), list, size);
}

Result<> sys_removexattr(Task& task, GuestPath path, GuestPath name) {
  const std::string text = TRY(read_name(task, name));
  return do_remove(task, TRY(find_place(task, AT_FDCWD, path, 0)), text);
}
Result<> sys_lremovexattr(Task& task, GuestPath path, GuestPath name) {
  const std::string text = TRY(read_name(task, name));
  return do_remove(task, TRY(find_place(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)), text);
}
Result<> sys_fremovexattr(Task& task, FdNumber fd, GuestPath name) {
  const std::string text = TRY(read_name(task, name));
  return do_remove(task, TRY(place_of_fd(task, fd)), text);
}

}  // namespace sentry::syscalls
