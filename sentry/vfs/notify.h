// What inotify(7) hears of. Operations call the functions below after their success; where nobody watches
// anything they cost a comparison. What changes names or attributes is counted, too (changes.h).
#pragma once

#include <sys/inotify.h>

#include <cstdint>
#include <string_view>

#include "sentry/vfs/changes.h"
#include "sentry/vfs/dentry.h"

namespace sentry::vfs {

// Somebody who watches an inode, and keeps it alive meanwhile.
class InodeWatch {
 public:
  virtual ~InodeWatch() = default;
  // IN_* bits with IN_ISDIR where the object is a directory. `name`: the entry of a watched directory that it
  // happened to, empty for the watched object itself. `unlinked`: the object has no name any more
  // (IN_EXCL_UNLINK). Must not park; may unwatch().
  virtual void notify(uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) = 0;
  // The object has lost its last name: IN_DELETE_SELF follows once nobody uses the dentry any more, so
  // whoever keeps that shall let go of it.
  virtual void let_go_of_name() {}
};
void watch(Inode& inode, InodeWatch& watch);
void unwatch(Inode& inode, InodeWatch& watch);

namespace detail {
extern size_t watches;
void notify(const Dentry& dentry, uint32_t mask);
void notify_entry(const Dentry& directory, std::string_view name, const Inode& object, uint32_t mask);
void notify_link_count(const Inode& object);
void notify_removed(const Dentry& directory, std::string_view name, const DentryRef& object);
void notify_moved(const Dentry& old_directory, std::string_view old_name, const Dentry& new_directory,
                  std::string_view new_name, Inode& object, const DentryRef& replaced);
}  // namespace detail

// IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_OPEN, IN_CLOSE_*: something happened to the object at this place; its
// own watchers and those of its directory are told.
inline void notify(const Dentry& dentry, uint32_t mask) {
  if ((mask & (IN_MODIFY | IN_ATTRIB)) != 0) changed(*dentry.inode());
  if (detail::watches != 0) detail::notify(dentry, mask);
}
inline void notify(const Path& path, uint32_t mask) {
  if (path) notify(*path.dentry, mask);
}
// IN_CREATE: a name for `object` has come into `directory`.
inline void notify_created(const Dentry& directory, std::string_view name, const Inode& object) {
  changed(*directory.inode());
  if (detail::watches != 0) detail::notify_entry(directory, name, object, IN_CREATE);
}
// link(2): IN_ATTRIB for the object's own watchers.
inline void notify_link_count(const Inode& object) {
  changed(object);
  if (detail::watches != 0) detail::notify_link_count(object);
}
// unlink(2), rmdir(2): IN_DELETE, and IN_ATTRIB for the object, whose attributes are looked at. With the last
// name gone IN_DELETE_SELF follows, at once if only the caller's reference to the dentry is left.
inline void notify_removed(const Dentry& directory, std::string_view name, const DentryRef& object) {
  changed(*directory.inode());
  changed(*object->inode());
  if (detail::watches != 0) detail::notify_removed(directory, name, object);
}
// rename(2): IN_MOVED_FROM and IN_MOVED_TO with one cookie, IN_MOVE_SELF; the replaced object, if not null,
// has lost a name.
inline void notify_moved(const Dentry& old_directory, std::string_view old_name, const Dentry& new_directory,
                         std::string_view new_name, Inode& object, const DentryRef& replaced) {
  changed(*old_directory.inode());
  changed(*new_directory.inode());
  changed(object);
  if (replaced != nullptr) changed(*replaced->inode());
  if (detail::watches != 0)
    detail::notify_moved(old_directory, old_name, new_directory, new_name, object, replaced);
}

// The dentry of an object that had lost its last name goes.
void notify_gone(const Inode& object);

}  // namespace sentry::vfs
