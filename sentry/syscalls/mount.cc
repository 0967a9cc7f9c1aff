// mount(2), umount2(2), pivot_root(2).
#include <linux/capability.h>
#include <sys/mount.h>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/directory.h"
#include "sentry/syscalls/place.h"
#include "sentry/vfs/filesystem_type.h"

namespace sentry::syscalls {
namespace {

constexpr uint64_t kPropagation = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
constexpr uint64_t kMagic = 0xc0ed0000, kMagicMask = 0xffff0000;  // MS_MGC_VAL, from before Linux 2.4

// What the flags say about one mount (as opposed to its file system).
void set_mount_flags(vfs::Mount& mount, uint64_t flags) {
  mount.read_only = (flags & MS_RDONLY) != 0;
  mount.nosuid = (flags & MS_NOSUID) != 0;
  mount.nodev = (flags & MS_NODEV) != 0;
  mount.noexec = (flags & MS_NOEXEC) != 0;
  mount.noatime = (flags & MS_NOATIME) != 0;
  mount.nodiratime = (flags & MS_NODIRATIME) != 0;
  mount.relatime = (flags & (MS_NOATIME | MS_STRICTATIME)) == 0;
  mount.nosymfollow = (flags & MS_NOSYMFOLLOW) != 0;
}

// A mount that the runtime restricted stays so, whatever capabilities the guest has in its sandbox (as Linux
// locks the flags of mounts that come from a more privileged namespace).
bool loosens(const vfs::Mount& mount, uint64_t flags) {
  return (mount.read_only && (flags & MS_RDONLY) == 0) || (mount.nosuid && (flags & MS_NOSUID) == 0) ||
         (mount.nodev && (flags & MS_NODEV) == 0) || (mount.noexec && (flags & MS_NOEXEC) == 0) ||
         (mount.nosymfollow && (flags & MS_NOSYMFOLLOW) == 0);
}

Result<> remount(const vfs::Path& place, uint64_t flags) {
  if (place.dentry != place.mount->root || vfs::is_anonymous(place)) return Errno(EINVAL);
  if (loosens(*place.mount, flags)) return Errno(EPERM);
  set_mount_flags(*place.mount, flags);
  return {};
}

Result<std::shared_ptr<vfs::Superblock>> make_superblock(Task& task, const std::string& type,
                                                         const std::string& data) {
  if (type != "tmpfs") return vfs::make_filesystem(type, data);
  return fs::tmpfs::make_tmpfs(task.kernel.memory_file, TRY(fs::tmpfs::parse_options(data, {})));
}

// Who has restricted itself by landlock(7) may not change what lies where.
bool may_mount(const Task& task) {
  return task.credentials->capable(CAP_SYS_ADMIN) && task.credentials->landlock == nullptr;
}

}  // namespace

Result<> sys_mount(Task& task, GuestPath source, GuestPath target, GuestPath type, uint64_t flags,
                   GuestPtr<const void> data) {
  if ((flags & kMagicMask) == kMagic) flags &= ~kMagicMask;
  std::string type_text, source_text, data_text;
  if (type.address != 0) type_text = TRY(read_path(task, type));
  if (source.address != 0) source_text = TRY(read_path(task, source));
  const bool takes_data = (flags & (MS_BIND | MS_MOVE | MS_REMOUNT | kPropagation)) == 0;
  if (takes_data && !data.is_null())
    data_text = TRY(task.memory().read_string(data.address(), vfs::kPathMax));
  const vfs::Path place = TRY(find_place(task, AT_FDCWD, target, 0));
  if (!may_mount(task)) return Errno(EPERM);

  vfs::MountNamespace& space = *task.fs().space;
  if ((flags & MS_REMOUNT) != 0) return remount(place, flags);
  if ((flags & (MS_BIND | MS_MOVE)) != 0) {
    const vfs::Caller caller = TRY(caller_at(task, AT_FDCWD, source_text));
    const vfs::Path from = TRY(vfs::walk(caller.fs, *caller.credentials, caller.start, source_text, {})).path;
    if ((flags & MS_BIND) == 0) return space.move(from, place);
    TRY(space.bind(place, from, (flags & MS_REC) != 0));
    return {};
  }
  if ((flags & kPropagation) != 0) {
    // There is one namespace: nothing propagates anywhere, whatever the type.
    return place.dentry == place.mount->root ? Result<>() : Result<>(Errno(EINVAL));
  }
  if (type_text.empty()) return Errno(EINVAL);
  const std::shared_ptr<vfs::Superblock> superblock = TRY(make_superblock(task, type_text, data_text));
  const vfs::MountRef mount = TRY(space.mount(place, superblock));
  set_mount_flags(*mount, flags);
  mount->source = source_text.empty() ? "none" : source_text;
  mount->options = data_text;
  return {};
}

Result<> sys_umount2(Task& task, GuestPath target, int flags) {
  if ((flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)) != 0) return Errno(EINVAL);
  const vfs::Path place =
      TRY(find_place(task, AT_FDCWD, target, (flags & UMOUNT_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0));
  if (!may_mount(task)) return Errno(EPERM);
  if ((flags & MNT_EXPIRE) != 0) return Errno(EINVAL);
  return task.fs().space->unmount(place, (flags & MNT_DETACH) != 0);
}

Result<> sys_pivot_root(Task& task, GuestPath new_root, GuestPath put_old) {
  if (!may_mount(task)) return Errno(EPERM);
  const vfs::Path fresh = TRY(find_place(task, AT_FDCWD, new_root, 0));
  const vfs::Path old = TRY(find_place(task, AT_FDCWD, put_old, 0));
  if (!fresh.dentry->inode()->is_directory() || !old.dentry->inode()->is_directory()) return Errno(ENOTDIR);
  const vfs::Path before = task.fs().root;
  TRY(task.fs().space->pivot_root(fresh, old));
  // chroot_fs_refs: whoever stood at the old root stands at the new one.
  for (const auto& [id, group] : task.kernel.groups()) {
    for (Task* other : group->tasks) {
      if (other->fs_context == nullptr) continue;
      if (other->fs().root == before) other->fs().root = fresh;
      if (other->fs().cwd == before) other->fs().cwd = fresh;
      other->learn_identity();
    }
  }
  return {};
}

}  // namespace sentry::syscalls
