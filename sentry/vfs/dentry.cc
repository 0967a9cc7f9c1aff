#include "sentry/vfs/dentry.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include "sentry/vfs/notify.h"

namespace sentry::vfs {

Dentry::Dentry(DentryRef parent, std::string name, InodeRef inode)
    : parent_(std::move(parent)), name_(std::move(name)), inode_(std::move(inode)) {}

Dentry::~Dentry() {
  unhash();
  if (tells_when_gone_) notify_gone(*inode_);
  // A guest can nest directories as deep as it likes: a chain of last references must not become a recursion.
  DentryRef ancestor = std::move(parent_);
  while (ancestor != nullptr && ancestor.use_count() == 1) {
    ancestor->unhash();
    DentryRef next = std::move(ancestor->parent_);
    ancestor = std::move(next);
  }
}

Dentry::Directory& Dentry::directory() {
  if (directory_ == nullptr) directory_ = std::make_unique<Directory>();
  return *directory_;
}

FiberLock& Dentry::names_lock() { return directory().names_lock; }

void Dentry::hash() {
  Directory& above = parent_->directory();
  if (above.count == above.buckets.size()) {
    std::vector<Dentry*> larger(std::max<size_t>(8, 2 * above.buckets.size()));
    for (Dentry* child : above.buckets) {
      while (child != nullptr) {
        Dentry* next = child->next_in_bucket_;
        Dentry*& bucket = larger[child->hash_ & (larger.size() - 1)];
        child->next_in_bucket_ = bucket;
        bucket = child;
        child = next;
      }
    }
    above.buckets = std::move(larger);
  }
  hash_ = hash_of(name_);
  Dentry*& bucket = above.buckets[hash_ & (above.buckets.size() - 1)];
  next_in_bucket_ = bucket;
  bucket = this;
  ++above.count;
  hashed_ = true;
}

void Dentry::unhash() {
  if (!hashed_) return;
  Directory& above = *parent_->directory_;
  Dentry** link = &above.buckets[hash_ & (above.buckets.size() - 1)];
  while (*link != this) link = &(*link)->next_in_bucket_;
  *link = next_in_bucket_;
  --above.count;
  hashed_ = false;
}

bool Dentry::is_ancestor_of(const Dentry& other) const {
  for (const Dentry* dentry = other.parent_.get(); dentry != nullptr; dentry = dentry->parent_.get())
    if (dentry == this) return true;
  return false;
}

DentryRef Dentry::find_child(std::string_view name) const {
  if (directory_ == nullptr || directory_->count == 0) return nullptr;
  const size_t hash = hash_of(name);
  Dentry* child = directory_->buckets[hash & (directory_->buckets.size() - 1)];
  while (child != nullptr && (child->hash_ != hash || child->name_ != name)) child = child->next_in_bucket_;
  if (child == nullptr) return nullptr;
  // Copying the cache's reference is much cheaper than making one from a weak one.
  return child->kept_ != nullptr ? child->kept_ : child->shared_from_this();
}

DentryCache::~DentryCache() { trim(0); }

void DentryCache::link_newest(Dentry& dentry) {
  dentry.older_ = newest_;
  dentry.newer_ = nullptr;
  (newest_ != nullptr ? newest_->newer_ : oldest_) = &dentry;
  newest_ = &dentry;
}

void DentryCache::unlink(Dentry& dentry) {
  (dentry.newer_ != nullptr ? dentry.newer_->older_ : newest_) = dentry.older_;
  (dentry.older_ != nullptr ? dentry.older_->newer_ : oldest_) = dentry.newer_;
  dentry.newer_ = dentry.older_ = nullptr;
}

void DentryCache::keep(const DentryRef& dentry) {
  dentry->referenced_ = true;
  if (dentry->kept_ != nullptr) return;
  dentry->kept_ = dentry;
  link_newest(*dentry);
  ++size_;
  if (size_ <= capacity_) return;
  // Second chance: a name that was used since the last look goes round once more. The newest is never taken.
  for (size_t looked = 0; size_ > capacity_ && looked < size_; ++looked) {
    Dentry& candidate = *oldest_;
    if (!std::exchange(candidate.referenced_, false)) {
      drop(candidate);
      continue;
    }
    unlink(candidate);
    link_newest(candidate);
  }
  if (size_ > capacity_) drop(oldest_ == dentry.get() ? *dentry->newer_ : *oldest_);
}

void DentryCache::drop(Dentry& dentry) {
  if (dentry.kept_ == nullptr) return;
  unlink(dentry);
  --size_;
  const DentryRef last = std::move(dentry.kept_);
}

void DentryCache::trim(size_t keep) {
  while (size_ > keep) drop(*oldest_);
}

void DentryCache::forget(const Superblock& superblock) {
  for (Dentry* dentry = newest_; dentry != nullptr;) {
    Dentry* next = dentry->older_;
    const Dentry& holder = dentry->negative() && dentry->parent_ != nullptr ? *dentry->parent_ : *dentry;
    if (holder.inode_ != nullptr && &holder.inode_->superblock() == &superblock) drop(*dentry);
    dentry = next;
  }
}

DentryRef DentryCache::lookup_cached(const DentryRef& directory, std::string_view name) {
  if (!directory->inode_->superblock().caches_names()) return nullptr;
  DentryRef child = directory->find_child(name);
  if (child != nullptr) {
    child->referenced_ = true;
    if (child->kept_ == nullptr) keep(child);
  }
  return child;
}

Result<DentryRef> DentryCache::lookup(const DentryRef& directory, std::string_view name) {
  if (DentryRef child = lookup_cached(directory, name)) return child;
  const std::shared_lock lock(directory->names_lock());
  return lookup_locked(directory, name);
}

Result<DentryRef> DentryCache::lookup_locked(const DentryRef& directory, std::string_view name) {
  if (name.size() > kNameMax) return Errno(ENAMETOOLONG);
  if (DentryRef child = lookup_cached(directory, name)) return child;
  // A removed directory has no names left, and gets none.
  if (directory->deleted_) return std::make_shared<Dentry>(directory, std::string(name), nullptr);

  const bool cached = directory->inode_->superblock().caches_names();
  Result<InodeRef> found = directory->inode_->lookup(name);
  if (!found.ok() && !found.is(ENOENT)) return found.error();
  const InodeRef inode = found.ok() ? std::move(found).value() : nullptr;

  // Another lookup of this name may have been under way, and names that are not cached may still be in use.
  if (DentryRef child = directory->find_child(name)) {
    if (cached || child->inode_ == inode || child->is_mountpoint()) return child;
    child->unhash();
    child->deleted_ = inode == nullptr;
  }
  auto dentry = std::make_shared<Dentry>(directory, std::string(name), inode);
  if (inode == nullptr && !cached) return dentry;
  dentry->hash();
  if (cached) keep(dentry);
  return dentry;
}

DentryRef DentryCache::instantiate(const DentryRef& directory, std::string_view name, InodeRef inode) {
  const bool cached = inode->superblock().caches_names();
  if (DentryRef child = directory->find_child(name)) {
    if (child->negative()) child->inode_ = inode;
    if (child->inode_ == inode) return child;
    child->unhash();
  }
  auto dentry = std::make_shared<Dentry>(directory, std::string(name), std::move(inode));
  dentry->hash();
  if (cached) keep(dentry);
  return dentry;
}

DentryRef DentryCache::make_unnamed(const DentryRef& directory, InodeRef inode, uint64_t ino) {
  auto dentry = std::make_shared<Dentry>(directory, fmt::format("#{}", ino), std::move(inode));
  dentry->deleted_ = true;
  return dentry;
}

void DentryCache::remove(const DentryRef& dentry) {
  const DentryRef guard = dentry;
  dentry->unhash();
  dentry->deleted_ = true;
  drop(*dentry);
  if (dentry->directory_ == nullptr) return;
  // What is left below are absent names; they would hold the directory.
  std::vector<DentryRef> absent;
  for (Dentry* child : dentry->directory_->buckets)
    for (; child != nullptr; child = child->next_in_bucket_)
      if (child->negative()) absent.push_back(child->shared_from_this());
  for (const DentryRef& child : absent) {
    child->unhash();
    drop(*child);
  }
}

void DentryCache::move(const DentryRef& dentry, const DentryRef& new_directory, std::string_view new_name) {
  const DentryRef replaced = new_directory->find_child(new_name);
  if (replaced == dentry) return;
  if (replaced != nullptr) remove(replaced);
  dentry->unhash();
  const DentryRef old_directory = std::exchange(dentry->parent_, new_directory);
  dentry->name_ = new_name;
  dentry->hash();
}

void DentryCache::exchange(const DentryRef& one, const DentryRef& other) {
  one->unhash();
  other->unhash();
  std::swap(one->parent_, other->parent_);
  std::swap(one->name_, other->name_);
  one->hash();
  other->hash();
}

}  // namespace sentry::vfs
