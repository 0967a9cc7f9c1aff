// Names: the dentry cache, mounts, and path_resolution(7).
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/vfs/inode.h"

namespace sentry::vfs {

// A name in a directory and what it stands for; inode null: known to be absent. The cache keeps unused ones on a list
// and drops the oldest; a file system that must hold on to an inode does so itself.
class Dentry : public std::enable_shared_from_this<Dentry> {
 public:
  Dentry(DentryRef parent, std::string name, InodeRef inode);
  ~Dentry();

  const DentryRef& parent() const { return parent_; }  // null for a root
  const std::string& name() const { return name_; }
  const InodeRef& inode() const { return inode_; }
  bool negative() const { return inode_ == nullptr; }
  // Unlinked, or its directory was: the path shows " (deleted)".
  bool deleted() const { return deleted_; }
  bool is_ancestor_of(const Dentry& other) const;

  // The cached child, or null if the cache does not know.
  DentryRef find_child(std::string_view name) const;

 private:
  friend class DentryCache;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  DentryRef parent_;
  std::string name_;
  InodeRef inode_;
  bool deleted_ = false;
  bool hashed_ = false;     // in the parent's table
  unsigned mounted_ = 0;    // mounts on top
  std::unordered_map<std::string, Dentry*, Hash, std::equal_to<>> children_;
  friend class MountNamespace;
};

// Keeps recently used dentries alive, so that names need not be looked up again.
class DentryCache {
 public:
  explicit DentryCache(size_t capacity) : capacity_(capacity) {}
  ~DentryCache();

  // The child dentry, from the cache or by the directory's lookup. A negative dentry for an absent name.
  Result<DentryRef> lookup(const DentryRef& directory, std::string_view name);

  // What the inode operations did, told by the caller after their success.
  DentryRef instantiate(const DentryRef& directory, std::string_view name, InodeRef inode);
  void remove(const DentryRef& dentry);
  void move(const DentryRef& dentry, const DentryRef& new_directory, std::string_view new_name);
  void exchange(const DentryRef& one, const DentryRef& other);
  void touch(const DentryRef& dentry);
  void trim(size_t keep);

 private:
  void unhash(Dentry& dentry);
  void hash(Dentry& dentry);
  size_t capacity_;
  std::list<DentryRef> recent_;  // most recent first
  std::unordered_map<Dentry*, std::list<DentryRef>::iterator> positions_;
};

// mount_namespaces(7): a file system at a place.
class Mount : public std::enable_shared_from_this<Mount> {
 public:
  std::shared_ptr<Superblock> superblock;
  DentryRef root;
  std::shared_ptr<Mount> parent;  // null: the namespace's root
  DentryRef mountpoint;           // in the parent
  uint32_t id = 0;
  bool read_only = false, nosuid = false, nodev = false, noexec = false, noatime = false, nodiratime = false,
       relatime = true;
  std::string source, type;       // for /proc/mounts
  std::string options;            // superblock options for /proc/mounts: "size=64k,mode=755"
  std::string options_text() const;
};
using MountRef = std::shared_ptr<Mount>;

// The mounts of a container and its name cache.
class MountNamespace {
 public:
  MountNamespace();

  DentryCache& dentries() { return dentries_; }
  const std::vector<MountRef>& mounts() const { return mounts_; }
  MountRef root_mount() const { return mounts_.front(); }
  Path root() const { return {root_mount(), root_mount()->root}; }

  // Mounts on `place` (on nothing for the first). EBUSY, ENOTDIR as mount(2).
  Result<MountRef> mount(const Path& place, std::shared_ptr<Superblock> superblock, InodeRef root_inode = nullptr);
  // A bind mount of `from`.
  Result<MountRef> bind(const Path& place, const Path& from);
  Result<> unmount(const Path& mounted, bool lazy);
  // The mount whose mountpoint is this place, topmost; or the place itself.
  Path descend(Path place) const;
  // `..` of a place, staying below `root`.
  Path ascend(const Path& place, const Path& root) const;
  // The path's text as seen from `root`: getcwd(2), /proc. "(unreachable)" and " (deleted)" as Linux writes them.
  std::string path_text(const Path& path, const Path& root) const;

 private:
  DentryCache dentries_;
  std::vector<MountRef> mounts_;
  std::map<std::pair<const Mount*, const Dentry*>, MountRef> covered_;
  uint32_t next_id_ = 1;
};

// A task's view of the tree: root, working directory, umask (fs_struct).
struct FsContext {
  std::shared_ptr<MountNamespace> space;
  Path root;
  Path cwd;
  uint32_t umask = 022;
};

// How a path is resolved.
struct WalkOptions {
  bool follow = true;             // the last component, if a symbolic link
  bool directory = false;         // ENOTDIR unless it ends at one
  bool parent = false;            // stop at the directory that holds the last component (creation, removal)
  bool empty_path = false;        // AT_EMPTY_PATH
  uint64_t resolve = 0;           // RESOLVE_* of openat2(2)
};

// Where a walk ended.
struct Walked {
  Path path;             // the place; with WalkOptions::parent the directory
  std::string last;      // with parent: the last component, never empty; may be "." or ".."
  bool trailing_slash = false;
};

// path_resolution(7) from `start` (or the root, for an absolute path): ENOENT, ENOTDIR, ELOOP, EACCES, ENAMETOOLONG.
// The place of an absent last component is ENOENT unless `parent`.
Result<Walked> walk(const FsContext& context, const Credentials& credentials, const Path& start, std::string_view path,
                    const WalkOptions& options);

}  // namespace sentry::vfs
