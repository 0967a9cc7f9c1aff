#include "sentry/vfs/notify.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

namespace sentry::vfs {

size_t detail::watches = 0;

namespace {

std::unordered_map<const Inode*, std::vector<InodeWatch*>>& registry() {
  // Outlives every watch: descriptors may close while the process ends.
  static auto& watched = *new std::unordered_map<const Inode*, std::vector<InodeWatch*>>;
  return watched;
}

void tell(const Inode* inode, uint32_t mask, uint32_t cookie, std::string_view name, bool unlinked) {
  const auto found = registry().find(inode);
  if (found == registry().end()) return;
  // A watch may end by being told.
  const std::vector<InodeWatch*> watchers = found->second;
  for (InodeWatch* watcher : watchers) {
    const auto still = registry().find(inode);
    if (still == registry().end()) return;
    if (std::find(still->second.begin(), still->second.end(), watcher) != still->second.end())
      watcher->notify(mask, cookie, name, unlinked);
  }
}

bool anybody_watches(const Inode* inode) { return registry().contains(inode); }

uint32_t with_type(const Inode& inode, uint32_t mask) {
  return inode.is_directory() ? mask | IN_ISDIR : mask;
}

// An object that has lost a name: its last one, or one of several.
void tell_unlinked(const DentryRef& dentry) {
  Inode& object = *dentry->inode();
  if (!anybody_watches(&object)) return;
  const Result<Attributes> attributes = object.getattr();
  const bool gone = object.is_directory() || !attributes.ok() || attributes->nlink == 0;
  if (!object.is_directory()) tell(&object, IN_ATTRIB, 0, {}, gone);
  if (!gone) return;
  const auto found = registry().find(&object);
  if (found == registry().end()) return;
  for (InodeWatch* const watcher : found->second) watcher->let_go_of_name();
  // d_delete(): open files, working directories and mappings keep the object in use.
  if (dentry.use_count() == 1)
    notify_gone(object);
  else
    dentry->tell_when_gone();
}

}  // namespace

void watch(Inode& inode, InodeWatch& watch) {
  registry()[&inode].push_back(&watch);
  ++detail::watches;
}

void unwatch(Inode& inode, InodeWatch& watch) {
  const auto found = registry().find(&inode);
  std::erase(found->second, &watch);
  if (found->second.empty()) registry().erase(found);
  --detail::watches;
}

void detail::notify(const Dentry& dentry, uint32_t mask) {
  const InodeRef inode = dentry.inode();
  if (inode == nullptr) return;
  mask = with_type(*inode, mask);
  if (const DentryRef parent = dentry.parent(); parent != nullptr)
    tell(parent->inode().get(), mask, 0, dentry.name(), dentry.deleted());
  tell(inode.get(), mask, 0, {}, dentry.deleted());
}

void detail::notify_entry(const Dentry& directory, std::string_view name, const Inode& object,
                          uint32_t mask) {
  tell(directory.inode().get(), with_type(object, mask), 0, name, false);
}

void detail::notify_link_count(const Inode& object) { tell(&object, IN_ATTRIB, 0, {}, false); }

void notify_gone(const Inode& object) { tell(&object, IN_DELETE_SELF, 0, {}, true); }

void detail::notify_removed(const Dentry& directory, std::string_view name, const DentryRef& object) {
  tell_unlinked(object);
  tell(directory.inode().get(), with_type(*object->inode(), IN_DELETE), 0, name, false);
}

void detail::notify_moved(const Dentry& old_directory, std::string_view old_name, const Dentry& new_directory,
                          std::string_view new_name, Inode& object, const DentryRef& replaced) {
  static uint32_t last_cookie = 0;
  const uint32_t cookie = ++last_cookie;
  tell(old_directory.inode().get(), with_type(object, IN_MOVED_FROM), cookie, old_name, false);
  tell(new_directory.inode().get(), with_type(object, IN_MOVED_TO), cookie, new_name, false);
  if (replaced != nullptr) tell_unlinked(replaced);
  tell(&object, IN_MOVE_SELF, 0, {}, false);
}

}  // namespace sentry::vfs
