// Names: the dentry cache, mounts, and path_resolution(7).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/vfs/fiber_lock.h"
#include "sentry/vfs/inode.h"

namespace sentry::vfs {

inline constexpr size_t kNameMax = 255;   // NAME_MAX
inline constexpr size_t kPathMax = 4096;  // PATH_MAX, with its NUL

// A name in a directory and what it stands for; inode null: known to be absent. The cache keeps unused ones
// on a list and drops the oldest; a file system that must hold on to an inode does so itself.
class Dentry : public std::enable_shared_from_this<Dentry> {
 public:
  Dentry(DentryRef parent, std::string name, InodeRef inode);
  ~Dentry();
  Dentry(const Dentry&) = delete;
  Dentry& operator=(const Dentry&) = delete;

  const DentryRef& parent() const { return parent_; }  // null for a root
  const std::string& name() const { return name_; }
  const InodeRef& inode() const { return inode_; }
  bool negative() const { return inode_ == nullptr; }
  // Unlinked, or its directory was: the path shows " (deleted)".
  bool deleted() const { return deleted_; }
  // Watchers of the object hear IN_DELETE_SELF when this goes.
  void tell_when_gone() { tells_when_gone_ = true; }
  bool is_ancestor_of(const Dentry& other) const;
  // No other dentry's, ever.
  uint64_t id() const { return id_; }
  // Whether a mount of some namespace lies on it.
  bool is_mountpoint() const { return mounted_ != 0; }

  // The cached child, or null if the cache does not know.
  DentryRef find_child(std::string_view name) const;

  // Held shared by lookups in this directory that ask the file system, exclusively by changes of its names:
  // what the file system answered is thus what the cache records, however long the answer took. Where several
  // directories are locked, ancestors come first; unrelated ones only under Superblock::rename_lock.
  FiberLock& names_lock();

 private:
  friend class DentryCache;
  friend class MountNamespace;
  // What only directories have; made at the first lookup.
  struct Directory {
    std::vector<Dentry*> buckets;  // a power of two of them; chained by next_in_bucket_
    size_t count = 0;
    FiberLock names_lock;
  };
  Directory& directory();
  void unhash();
  void hash();

  static size_t hash_of(std::string_view name) { return std::hash<std::string_view>{}(name); }

  inline static uint64_t last_id_ = 0;
  const uint64_t id_ = ++last_id_;
  DentryRef parent_;
  std::string name_;
  InodeRef inode_;
  std::unique_ptr<Directory> directory_;
  Dentry* next_in_bucket_ = nullptr;
  size_t hash_ = 0;  // of name_, while hashed_
  bool deleted_ = false;
  bool tells_when_gone_ = false;
  bool hashed_ = false;      // in the parent's table
  bool referenced_ = false;  // used since the cache last looked
  unsigned mounted_ = 0;     // mounts on top
  // The cache's list; `kept_` is the cache's own reference.
  Dentry* newer_ = nullptr;
  Dentry* older_ = nullptr;
  DentryRef kept_;
};

// Keeps recently used dentries alive, so that names need not be looked up again.
class DentryCache {
 public:
  explicit DentryCache(size_t capacity) : capacity_(capacity) {}
  ~DentryCache();
  DentryCache(const DentryCache&) = delete;
  DentryCache& operator=(const DentryCache&) = delete;

  // The child dentry, from the cache or by the directory's lookup. A negative dentry for an absent name.
  // `name` is one component; ENAMETOOLONG, ENOTDIR and what Inode::lookup answers.
  Result<DentryRef> lookup(const DentryRef& directory, std::string_view name);
  // The same for a caller that holds the directory's names_lock.
  Result<DentryRef> lookup_locked(const DentryRef& directory, std::string_view name);
  // Only what the cache may answer by itself, else null.
  DentryRef lookup_cached(const DentryRef& directory, std::string_view name);

  // A dentry below `directory` for a file without a name (O_TMPFILE).
  static DentryRef make_unnamed(const DentryRef& directory, InodeRef inode, uint64_t ino);

  // What the inode operations did, told by the caller after their success.
  DentryRef instantiate(const DentryRef& directory, std::string_view name, InodeRef inode);
  void remove(const DentryRef& dentry);
  void move(const DentryRef& dentry, const DentryRef& new_directory, std::string_view new_name);
  void exchange(const DentryRef& one, const DentryRef& other);
  void touch(const DentryRef& dentry) { dentry->referenced_ = true; }
  // Forgets all but `keep` dentries that nobody uses.
  void trim(size_t keep);
  // Forgets those of a file system that goes away.
  void forget(const Superblock& superblock);
  size_t size() const { return size_; }

 private:
  void keep(const DentryRef& dentry);
  void drop(Dentry& dentry);  // may destroy it
  void link_newest(Dentry& dentry);
  void unlink(Dentry& dentry);

  size_t capacity_;
  size_t size_ = 0;
  Dentry* newest_ = nullptr;
  Dentry* oldest_ = nullptr;
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
       relatime = true, nosymfollow = false;
  std::string source, type;  // for /proc/mounts
  std::string options;       // superblock options for /proc/mounts: "size=64k,mode=755"
  // All options as /proc/mounts shows them: "rw,nosuid,relatime,size=64k".
  std::string options_text() const;
};
using MountRef = std::shared_ptr<Mount>;

// The mounts of a container and its name cache.
class MountNamespace {
 public:
  MountNamespace();
  ~MountNamespace();
  MountNamespace(const MountNamespace&) = delete;
  MountNamespace& operator=(const MountNamespace&) = delete;

  // No other namespace's, ever.
  uint64_t id() const { return id_; }
  DentryCache& dentries() { return dentries_; }
  const std::vector<MountRef>& mounts() const { return mounts_; }
  MountRef root_mount() const { return mounts_.front(); }
  // What covers the root mount, if something does.
  Path root() const { return descend({root_mount(), root_mount()->root}); }

  // Mounts on `place` (on nothing for the first). EBUSY, ENOTDIR as mount(2).
  Result<MountRef> mount(const Path& place, std::shared_ptr<Superblock> superblock,
                         InodeRef root_inode = nullptr);
  // A bind mount of `from`; if `recursive`, with what is mounted below it (MS_REC).
  Result<MountRef> bind(const Path& place, const Path& from, bool recursive);
  // `mounted` is a mount's root: EINVAL otherwise, EBUSY for a mount that is used unless `lazy`.
  Result<> unmount(const Path& mounted, bool lazy);
  // MS_MOVE: EINVAL, ELOOP as mount(2).
  Result<> move(const Path& mounted, const Path& place);
  // pivot_root(2): EINVAL, EBUSY.
  Result<> pivot_root(const Path& new_root, const Path& put_old);
  // The mount whose mountpoint is this place, topmost; or the place itself.
  Path descend(Path place) const;
  // `..` of a place, staying below `root`.
  Path ascend(const Path& place, const Path& root) const;
  // The path's text as seen from `root`: getcwd(2), /proc. "(unreachable)" and " (deleted)" as Linux writes
  // them.
  std::string path_text(const Path& path, const Path& root) const;
  // Whether `path` lies at or below `root`.
  bool reachable(const Path& path, const Path& root) const;

 private:
  Result<> attach(const MountRef& mount, const Path& place);
  std::vector<MountRef> mounts_below(const Path& place) const;
  void detach(const MountRef& mount);
  bool has_children(const Mount& mount) const;

  DentryCache dentries_;
  std::vector<MountRef> mounts_;
  std::map<std::pair<const Mount*, const Dentry*>, MountRef> covered_;
  inline static uint64_t last_id_ = 0;
  const uint64_t id_ = ++last_id_;
  uint32_t next_id_ = 1;  // of a mount
};

// A place for what has no name in the tree (a pipe, a socket, a memfd), so that /proc/PID/fd can lead to it:
// `text` is what path_text() shows for it.
Path anonymous_path(InodeRef inode, std::string text);
bool is_anonymous(const Path& path);

// The path's text from the top of its mounts, for where no root is at hand.
std::string full_path(const Path& path);

// Where an inode was last seen, without keeping the name alive: what /proc/PID/maps shows for a mapped file.
class PlaceHint {
 public:
  void remember(const Path& path) {
    mount_ = path.mount;
    dentry_ = path.dentry;
    if (is_anonymous(path)) name_ = full_path(path);  // nothing else holds the name
  }
  std::string text() const {
    const Path path{mount_.lock(), dentry_.lock()};
    return path.mount != nullptr && path ? full_path(path) : name_;
  }

 private:
  std::weak_ptr<Mount> mount_;
  std::weak_ptr<Dentry> dentry_;
  std::string name_;
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
  bool follow = true;          // the last component, if a symbolic link
  bool directory = false;      // ENOTDIR unless it ends at one
  bool parent = false;         // stop at the directory that holds the last component (creation, removal)
  bool empty_path = false;     // AT_EMPTY_PATH
  uint64_t resolve = 0;        // RESOLVE_* of openat2(2)
  Grounds* grounds = nullptr;  // gets what the answer rests on, also where the walk fails
};

// Where a walk ended.
struct Walked {
  Path path;         // the place; with WalkOptions::parent the directory
  std::string last;  // with parent: the last component; may be "." or "..", empty only where the path is "/"
  bool trailing_slash = false;
};

// path_resolution(7) from `start` (or the root, for an absolute path): ENOENT, ENOTDIR, ELOOP, EACCES,
// ENAMETOOLONG; EXDEV and EAGAIN with RESOLVE_*. The place of an absent last component is ENOENT unless
// `parent`.
Result<Walked> walk(const FsContext& context, const Credentials& credentials, const Path& start,
                    std::string_view path, const WalkOptions& options);

}  // namespace sentry::vfs
