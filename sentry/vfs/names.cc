// Calls that change names: mknod, mkdir, symlink, link, unlink, rmdir, rename. The order of the checks is
// that of Linux's fs/namei.c, since it decides the errno.
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <unistd.h>

#include <mutex>

#include "sentry/vfs/landlock.h"
#include "sentry/vfs/notify.h"
#include "sentry/vfs/operations.h"
#include "sentry/vfs/special.h"

namespace sentry::vfs {
namespace {

bool is_name(std::string_view last) { return !last.empty() && last != "." && last != ".."; }

Result<Walked> walk_to_parent(const Caller& caller, std::string_view path) {
  WalkOptions options;
  options.parent = true;
  return walk(caller.fs, *caller.credentials, caller.start, path, options);
}

// may_delete's rule of sticky directories.
Result<> check_sticky(const Credentials& credentials, const Attributes& directory, Inode& victim) {
  if ((directory.mode & S_ISVTX) == 0 || credentials.capable(CAP_FOWNER) ||
      directory.uid == credentials.fsuid)
    return {};
  if (TRY(victim.getattr()).uid == credentials.fsuid) return {};
  return Errno(EPERM);
}

// may_delete: whether a name may be taken out of a directory; `directory` says whether it must be one.
Result<> may_delete(const Credentials& credentials, Inode& parent, Inode& victim, bool directory) {
  TRY(parent.permission(credentials, W_OK | X_OK));
  TRY(check_sticky(credentials, TRY(parent.getattr()), victim));
  if (directory && !victim.is_directory()) return Errno(ENOTDIR);
  if (!directory && victim.is_directory()) return Errno(EISDIR);
  return {};
}

// Makes a name with `make(parent inode, name, node)`, which answers the new inode. `forbid(directory)` is
// what landlock has against it.
template <typename Forbid, typename Make>
Result<Path> create(const Caller& caller, std::string_view path, uint32_t mode, Forbid forbid, Make make) {
  const Walked walked = TRY(walk_to_parent(caller, path));
  if (!is_name(walked.last)) return Errno(EEXIST);
  DentryCache& dentries = caller.fs.space->dentries();
  const DentryRef& directory = walked.path.dentry;
  const std::unique_lock lock(directory->names_lock());
  if (directory->deleted()) return Errno(ENOENT);
  const DentryRef present = TRY(dentries.lookup_locked(directory, walked.last));
  if (!present->negative()) return Errno(EEXIST);
  if (walked.trailing_slash && !S_ISDIR(mode)) return Errno(ENOENT);
  TRY(writable_mount(walked.path));
  TRY(forbid(walked.path));
  Inode& parent = *directory->inode();
  TRY(parent.permission(*caller.credentials, W_OK | X_OK));
  const NewNode node = prepare_node(caller.fs, *caller.credentials, TRY(parent.getattr()), mode);
  InodeRef inode = TRY(make(parent, walked.last, node));
  const Path made{walked.path.mount, dentries.instantiate(directory, walked.last, std::move(inode))};
  notify_created(*directory, walked.last, *made.dentry->inode());
  return made;
}

template <typename Make>
Result<Path> create(const Caller& caller, std::string_view path, uint32_t mode, Make make) {
  const auto forbid = [&](const Path& directory) {
    return landlock_check(*caller.credentials, directory, landlock_making(mode));
  };
  return create(caller, path, mode, forbid, make);
}

// Both directories of a rename, locked.
class RenameLock {
 public:
  RenameLock(const DentryRef& one, const DentryRef& other) {
    if (one == other) {
      first_ = std::unique_lock(one->names_lock());
      return;
    }
    // Renames between directories take turns; who else holds two goes from a directory to one in it.
    tree_ = std::unique_lock(one->inode()->superblock().rename_lock);
    const bool above = other->is_ancestor_of(*one);
    first_ = std::unique_lock((above ? other : one)->names_lock());
    second_ = std::unique_lock((above ? one : other)->names_lock());
  }

 private:
  std::unique_lock<FiberLock> tree_, first_, second_;
};

}  // namespace

Result<> check_node_type(uint32_t mode) {
  switch (mode & S_IFMT) {
    case 0:  // a regular file
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return {};
    case S_IFDIR:
      return Errno(EPERM);
    default:
      return Errno(EINVAL);
  }
}

Result<Path> make_node(const Caller& caller, std::string_view path, uint32_t mode, uint64_t rdev) {
  TRY(check_node_type(mode));
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  const bool device = S_ISCHR(mode) || S_ISBLK(mode);
  return create(caller, path, mode & (S_IFMT | 07777),
                [&](Inode& parent, std::string_view name, NewNode node) -> Result<InodeRef> {
                  if (device && !caller.credentials->capable(CAP_MKNOD)) return Errno(EPERM);
                  constexpr unsigned kMake = 4;
                  if (device && !DeviceRegistry::current().permits(mode & S_IFMT, rdev, kMake))
                    return Errno(EPERM);
                  node.rdev = device ? rdev : 0;
                  return parent.create(name, node);
                });
}

Result<> mknod(const Caller& caller, std::string_view path, uint32_t mode, uint64_t rdev) {
  (void)TRY(make_node(caller, path, mode, rdev));
  return {};
}

Result<> mkdir(const Caller& caller, std::string_view path, uint32_t mode) {
  (void)TRY(create(
      caller, path, S_IFDIR | (mode & 01777),
      [](Inode& parent, std::string_view name, const NewNode& node) { return parent.mkdir(name, node); }));
  return {};
}

Result<> symlink(const Caller& caller, std::string_view target, std::string_view path) {
  if (target.empty()) return Errno(ENOENT);
  if (target.size() >= kPathMax) return Errno(ENAMETOOLONG);
  (void)TRY(
      create(caller, path, S_IFLNK | 0777, [&](Inode& parent, std::string_view name, const NewNode& node) {
        return parent.symlink(name, node, target);
      }));
  return {};
}

Result<> link(const Caller& from, std::string_view old_path, const Caller& to, std::string_view new_path,
              int at_flags) {
  if ((at_flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) != 0) return Errno(EINVAL);
  WalkOptions options;
  options.follow = (at_flags & AT_SYMLINK_FOLLOW) != 0;
  if ((at_flags & AT_EMPTY_PATH) != 0 && old_path.empty()) {
    // linkat(2): ENOENT without the capability.
    if (!from.credentials->capable(CAP_DAC_READ_SEARCH)) return Errno(ENOENT);
    options.empty_path = true;
  }
  const Walked old = TRY(walk(from.fs, *from.credentials, from.start, old_path, options));
  const InodeRef target = old.path.dentry->inode();
  const auto forbid = [&](const Path& directory) -> Result<> {
    if (to.credentials->landlock == nullptr) return {};
    if (old.path.mount != directory.mount || old.path.dentry->parent() == nullptr) return Errno(EXDEV);
    const Path from{old.path.mount, old.path.dentry->parent()};
    return to.credentials->landlock->check_move({.from = from, .to = directory, .source = *old.path.dentry});
  };
  (void)TRY(create(to, new_path, S_IFREG, forbid,
                   [&](Inode& parent, std::string_view name, const NewNode&) -> Result<InodeRef> {
                     if (&parent.superblock() != &target->superblock()) return Errno(EXDEV);
                     if (target->is_directory()) return Errno(EPERM);
                     TRY(parent.link(name, *target));
                     notify_link_count(*target);
                     return target;
                   }));
  return {};
}

Result<> unlink(const Caller& caller, std::string_view path) {
  const Walked walked = TRY(walk_to_parent(caller, path));
  if (!is_name(walked.last)) return Errno(EISDIR);
  TRY(writable_mount(walked.path));
  DentryCache& dentries = caller.fs.space->dentries();
  const DentryRef& directory = walked.path.dentry;
  const std::unique_lock lock(directory->names_lock());
  if (directory->deleted()) return Errno(ENOENT);
  const DentryRef victim = TRY(dentries.lookup_locked(directory, walked.last));
  if (victim->negative()) return Errno(ENOENT);
  if (walked.trailing_slash) return Errno(victim->inode()->is_directory() ? EISDIR : ENOTDIR);
  TRY(landlock_check(*caller.credentials, walked.path, LANDLOCK_ACCESS_FS_REMOVE_FILE));
  TRY(may_delete(*caller.credentials, *directory->inode(), *victim->inode(), false));
  if (victim->is_mountpoint()) return Errno(EBUSY);
  const InodeRef object = victim->inode();
  TRY(directory->inode()->unlink(walked.last, *object));
  dentries.remove(victim);
  notify_removed(*directory, walked.last, victim);
  return {};
}

Result<> rmdir(const Caller& caller, std::string_view path) {
  const Walked walked = TRY(walk_to_parent(caller, path));
  if (walked.last.empty()) return Errno(EBUSY);
  if (walked.last == ".") return Errno(EINVAL);
  if (walked.last == "..") return Errno(ENOTEMPTY);
  TRY(writable_mount(walked.path));
  DentryCache& dentries = caller.fs.space->dentries();
  const DentryRef& directory = walked.path.dentry;
  const std::unique_lock lock(directory->names_lock());
  if (directory->deleted()) return Errno(ENOENT);
  const DentryRef victim = TRY(dentries.lookup_locked(directory, walked.last));
  if (victim->negative()) return Errno(ENOENT);
  TRY(landlock_check(*caller.credentials, walked.path, LANDLOCK_ACCESS_FS_REMOVE_DIR));
  TRY(may_delete(*caller.credentials, *directory->inode(), *victim->inode(), true));
  if (victim->is_mountpoint()) return Errno(EBUSY);
  // The victim's names stay as they are until it is gone or has turned out not to be empty.
  const std::unique_lock below(victim->names_lock());
  const InodeRef object = victim->inode();
  TRY(directory->inode()->rmdir(walked.last, *object));
  dentries.remove(victim);
  notify_removed(*directory, walked.last, victim);
  return {};
}

Result<> rename(const Caller& from, std::string_view old_path, const Caller& to, std::string_view new_path,
                unsigned flags) {
  // RENAME_WHITEOUT is for whoever builds an overlay by hand; no file system here makes whiteouts.
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return Errno(EINVAL);
  const bool exchange = (flags & RENAME_EXCHANGE) != 0, no_replace = (flags & RENAME_NOREPLACE) != 0;
  if (exchange && no_replace) return Errno(EINVAL);

  const Walked old_walk = TRY(walk_to_parent(from, old_path));
  const Walked new_walk = TRY(walk_to_parent(to, new_path));
  if (old_walk.path.mount != new_walk.path.mount) return Errno(EXDEV);
  if (!is_name(old_walk.last)) return Errno(EBUSY);
  if (!is_name(new_walk.last)) return Errno(no_replace ? EEXIST : EBUSY);
  TRY(writable_mount(old_walk.path));

  DentryCache& dentries = from.fs.space->dentries();
  const Credentials& credentials = *from.credentials;
  const DentryRef& old_directory = old_walk.path.dentry;
  const DentryRef& new_directory = new_walk.path.dentry;
  const RenameLock lock(old_directory, new_directory);
  if (old_directory->deleted() || new_directory->deleted()) return Errno(ENOENT);
  const DentryRef source = TRY(dentries.lookup_locked(old_directory, old_walk.last));
  if (source->negative()) return Errno(ENOENT);
  const DentryRef target = TRY(dentries.lookup_locked(new_directory, new_walk.last));
  if (no_replace && !target->negative()) return Errno(EEXIST);
  if (exchange) {
    if (target->negative()) return Errno(ENOENT);
    if (new_walk.trailing_slash && !target->inode()->is_directory()) return Errno(ENOTDIR);
  }
  const bool moves_directory = source->inode()->is_directory();
  if (!moves_directory && (old_walk.trailing_slash || (!exchange && new_walk.trailing_slash)))
    return Errno(ENOTDIR);
  if (source == new_directory || source->is_ancestor_of(*new_directory)) return Errno(EINVAL);
  if (target == old_directory || target->is_ancestor_of(*old_directory))
    return Errno(exchange ? EINVAL : ENOTEMPTY);
  if (credentials.landlock != nullptr)
    TRY(credentials.landlock->check_move({.from = old_walk.path,
                                          .to = new_walk.path,
                                          .source = *source,
                                          .target = target.get(),
                                          .removes = true,
                                          .exchanges = exchange}));

  // vfs_rename.
  if (source->inode() == target->inode()) return {};
  Inode& old_parent = *old_directory->inode();
  Inode& new_parent = *new_directory->inode();
  TRY(may_delete(credentials, old_parent, *source->inode(), moves_directory));
  if (target->negative())
    TRY(new_parent.permission(credentials, W_OK | X_OK));
  else
    TRY(may_delete(credentials, new_parent, *target->inode(),
                   exchange ? target->inode()->is_directory() : moves_directory));
  // Moving a directory elsewhere changes its "..".
  if (old_directory != new_directory) {
    if (moves_directory) TRY(source->inode()->permission(credentials, W_OK));
    if (exchange && target->inode()->is_directory()) TRY(target->inode()->permission(credentials, W_OK));
  }
  if (source->is_mountpoint() || target->is_mountpoint()) return Errno(EBUSY);
  // An empty directory that is replaced must stay empty.
  std::unique_lock<FiberLock> below;
  if (!exchange && moves_directory && !target->negative()) below = std::unique_lock(target->names_lock());
  const InodeRef moved = source->inode(), replaced = target->inode();
  TRY(old_parent.rename(old_walk.last, *moved, new_parent, new_walk.last, replaced.get(), flags));
  if (exchange) {
    dentries.exchange(source, target);
    notify_moved(*new_directory, new_walk.last, *old_directory, old_walk.last, *replaced, nullptr);
  } else {
    dentries.move(source, new_directory, new_walk.last);
  }
  notify_moved(*old_directory, old_walk.last, *new_directory, new_walk.last, *moved,
               exchange || replaced == nullptr ? nullptr : target);
  return {};
}

}  // namespace sentry::vfs
