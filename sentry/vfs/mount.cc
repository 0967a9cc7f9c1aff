// mount_namespaces(7): the tree of mounts.
#include <algorithm>

#include "sentry/vfs/dentry.h"

namespace sentry::vfs {
namespace {

// Enough for the working set of a compiler or an interpreter; a dentry and its inode cost some hundred bytes,
// and with the gofer two descriptors there.
constexpr size_t kCachedNames = 16384;

// proc(5), fs.mount-max: what mounts that copy mounts may come to.
constexpr size_t kMostMounts = 100'000;

class AnonymousSuperblock final : public Superblock {
 public:
  const char* type() const override { return "anon_inodefs"; }
  InodeRef root() override { return nullptr; }
};

// What all nameless places lie in: the kernel's MS_NOUSER mounts.
const MountRef& anonymous_mount() {
  static const MountRef mount = [] {
    auto made = std::make_shared<Mount>();
    made->superblock = std::make_shared<AnonymousSuperblock>();
    made->type = made->superblock->type();
    return made;
  }();
  return mount;
}

}  // namespace

Path anonymous_path(InodeRef inode, std::string text) {
  return {anonymous_mount(), std::make_shared<Dentry>(nullptr, std::move(text), std::move(inode))};
}

bool is_anonymous(const Path& path) { return path.mount == anonymous_mount(); }

std::string Mount::options_text() const {
  std::string text = read_only ? "ro" : "rw";
  if (nosuid) text += ",nosuid";
  if (nodev) text += ",nodev";
  if (noexec) text += ",noexec";
  if (noatime) text += ",noatime";
  if (nodiratime) text += ",nodiratime";
  if (relatime && !noatime) text += ",relatime";
  if (nosymfollow) text += ",nosymfollow";
  if (!options.empty()) text += "," + options;
  return text;
}

MountNamespace::MountNamespace() : dentries_(kCachedNames) {}

MountNamespace::~MountNamespace() {
  // Names go before the file systems that they belong to.
  dentries_.trim(0);
  for (const auto& [place, mount] : covered_) mount->mountpoint.reset();
}

Result<MountRef> MountNamespace::mount(const Path& place, std::shared_ptr<Superblock> superblock,
                                       InodeRef root_inode) {
  if (root_inode == nullptr) root_inode = superblock->root();
  auto mount = std::make_shared<Mount>();
  mount->type = superblock->type();
  // One directory has one dentry, however often it is mounted.
  for (const MountRef& other : mounts_)
    if (other->superblock == superblock && other->root->inode() == root_inode) mount->root = other->root;
  if (mount->root == nullptr)
    mount->root = std::make_shared<Dentry>(nullptr, std::string(), std::move(root_inode));
  mount->superblock = std::move(superblock);
  if (place) {
    // mount(2): EBUSY where this very file system is on top already.
    const Path top = descend(place);
    if (top.mount->superblock == mount->superblock && top.dentry == top.mount->root &&
        mount->root == top.dentry && top.mount->parent != nullptr)
      return Errno(EBUSY);
  }
  TRY(attach(mount, place));
  return mount;
}

namespace {

MountRef copy_of(const Mount& origin, const DentryRef& root) {
  auto mount = std::make_shared<Mount>();
  mount->superblock = origin.superblock;
  mount->root = root;
  mount->read_only = origin.read_only;
  mount->nosuid = origin.nosuid;
  mount->nodev = origin.nodev;
  mount->noexec = origin.noexec;
  mount->noatime = origin.noatime;
  mount->nodiratime = origin.nodiratime;
  mount->relatime = origin.relatime;
  mount->nosymfollow = origin.nosymfollow;
  mount->source = origin.source;
  mount->type = origin.type;
  mount->options = origin.options;
  return mount;
}

}  // namespace

Result<MountRef> MountNamespace::bind(const Path& place, const Path& from, bool recursive) {
  if (is_anonymous(from)) return Errno(EINVAL);
  const std::vector<MountRef> below = recursive ? mounts_below(from) : std::vector<MountRef>();
  if (mounts_.size() + below.size() >= kMostMounts) return Errno(ENOSPC);
  const MountRef top = copy_of(*from.mount, from.dentry);
  TRY(attach(top, place));
  // Both trees have the same names, so each copy lies on the name that its original lies on.
  std::map<const Mount*, MountRef> copies{{from.mount.get(), top}};
  for (const MountRef& origin : below) {
    const MountRef copy = copy_of(*origin, origin->root);
    TRY(attach(copy, {copies.at(origin->parent.get()), origin->mountpoint}));
    copies.emplace(origin.get(), copy);
  }
  return top;
}

// Each after the one that it lies on.
std::vector<MountRef> MountNamespace::mounts_below(const Path& place) const {
  std::multimap<const Mount*, MountRef> children;
  for (const MountRef& mount : mounts_) children.emplace(mount->parent.get(), mount);
  std::vector<MountRef> below;
  const auto add_children = [&](const Mount* parent, const auto& wanted) {
    const auto [begin, end] = children.equal_range(parent);
    for (auto it = begin; it != end; ++it)
      if (wanted(*it->second)) below.push_back(it->second);
  };
  add_children(place.mount.get(), [&](const Mount& child) {
    return reachable({child.parent, child.mountpoint}, place);
  });
  for (size_t i = 0; i < below.size(); ++i) add_children(below[i].get(), [](const Mount&) { return true; });
  return below;
}

Result<> MountNamespace::attach(const MountRef& mount, const Path& place) {
  if (mounts_.empty() && !place) {
    mount->id = next_id_++;
    mounts_.push_back(mount);
    return {};
  }
  if (mounts_.size() >= kMostMounts) return Errno(ENOSPC);
  const Path top = descend(place);
  if (is_anonymous(top)) return Errno(EINVAL);
  if (top.dentry->deleted()) return Errno(ENOENT);
  if (top.dentry->inode()->is_directory() != mount->root->inode()->is_directory()) return Errno(ENOTDIR);
  mount->parent = top.mount;
  mount->mountpoint = top.dentry;
  mount->id = next_id_++;
  ++top.dentry->mounted_;
  covered_[{top.mount.get(), top.dentry.get()}] = mount;
  mounts_.push_back(mount);
  return {};
}

void MountNamespace::detach(const MountRef& mount) {
  if (mount->parent != nullptr) {
    covered_.erase({mount->parent.get(), mount->mountpoint.get()});
    --mount->mountpoint->mounted_;
    mount->parent.reset();
    mount->mountpoint.reset();
  }
  std::erase(mounts_, mount);
}

bool MountNamespace::has_children(const Mount& mount) const {
  return std::any_of(mounts_.begin(), mounts_.end(),
                     [&](const MountRef& other) { return other->parent.get() == &mount; });
}

Result<> MountNamespace::unmount(const Path& mounted, bool lazy) {
  const MountRef mount = mounted.mount;
  if (is_anonymous(mounted) || mounted.dentry != mount->root) return Errno(EINVAL);
  if (mount->parent == nullptr) return Errno(mounts_.empty() || mount != mounts_.front() ? EINVAL : EBUSY);
  // This function's reference, the caller's, mounts_ and covered_; any other is a user's (working directory,
  // open file).
  constexpr long kOwnReferences = 4;
  if (!lazy && (has_children(*mount) || mount.use_count() > kOwnReferences)) return Errno(EBUSY);

  std::vector<MountRef> leaving{mount};
  for (size_t i = 0; i < leaving.size(); ++i)
    for (const MountRef& other : mounts_)
      if (other->parent == leaving[i]) leaving.push_back(other);
  for (auto it = leaving.rbegin(); it != leaving.rend(); ++it) {
    detach(*it);
    const auto same = [&](const MountRef& other) { return other->superblock == (*it)->superblock; };
    if (std::none_of(mounts_.begin(), mounts_.end(), same)) dentries_.forget(*(*it)->superblock);
  }
  return {};
}

Result<> MountNamespace::move(const Path& mounted, const Path& place) {
  const MountRef mount = mounted.mount;
  if (is_anonymous(mounted) || mounted.dentry != mount->root || mount->parent == nullptr)
    return Errno(EINVAL);
  const Path top = descend(place);
  if (is_anonymous(top)) return Errno(EINVAL);
  if (top.dentry->inode()->is_directory() != mount->root->inode()->is_directory()) return Errno(ENOTDIR);
  for (const Mount* ancestor = top.mount.get(); ancestor != nullptr; ancestor = ancestor->parent.get())
    if (ancestor == mount.get()) return Errno(ELOOP);
  covered_.erase({mount->parent.get(), mount->mountpoint.get()});
  --mount->mountpoint->mounted_;
  mount->parent = top.mount;
  mount->mountpoint = top.dentry;
  ++top.dentry->mounted_;
  covered_[{top.mount.get(), top.dentry.get()}] = mount;
  return {};
}

Result<> MountNamespace::pivot_root(const Path& new_root, const Path& put_old) {
  const MountRef fresh = new_root.mount;
  const MountRef old = mounts_.front();
  if (is_anonymous(new_root) || new_root.dentry != fresh->root || fresh->parent == nullptr)
    return Errno(EINVAL);
  if (fresh == old || put_old.mount == old) return Errno(EBUSY);
  if (!put_old.dentry->inode()->is_directory()) return Errno(ENOTDIR);
  if (!reachable(put_old, new_root)) return Errno(EINVAL);
  covered_.erase({fresh->parent.get(), fresh->mountpoint.get()});
  --fresh->mountpoint->mounted_;
  fresh->parent.reset();
  fresh->mountpoint.reset();
  const Path place = descend(put_old);
  old->parent = place.mount;
  old->mountpoint = place.dentry;
  ++place.dentry->mounted_;
  covered_[{place.mount.get(), place.dentry.get()}] = old;
  std::erase(mounts_, fresh);
  mounts_.insert(mounts_.begin(), fresh);
  return {};
}

Path MountNamespace::descend(Path place) const {
  while (place.dentry->mounted_ != 0) {
    const auto found = covered_.find({place.mount.get(), place.dentry.get()});
    if (found == covered_.end()) break;
    place = {found->second, found->second->root};
  }
  return place;
}

Path MountNamespace::ascend(const Path& place, const Path& root) const {
  Path at = place;
  while (at != root) {
    if (at.dentry != at.mount->root) {
      if (at.dentry->parent() == nullptr) break;
      return descend({at.mount, at.dentry->parent()});
    }
    if (at.mount->parent == nullptr) break;
    at = {at.mount->parent, at.mount->mountpoint};
  }
  return descend(at);
}

bool MountNamespace::reachable(const Path& path, const Path& root) const {
  const Mount* mount = path.mount.get();
  const Dentry* dentry = path.dentry.get();
  while (mount != root.mount.get() || dentry != root.dentry.get()) {
    if (dentry == mount->root.get()) {
      if (mount->parent == nullptr) return false;
      dentry = mount->mountpoint.get();
      mount = mount->parent.get();
    } else {
      dentry = dentry->parent().get();
      if (dentry == nullptr) return false;
    }
  }
  return true;
}

namespace {

// Walks up from `path` to `root`, or as far as it goes. `reached` says whether it met the root.
std::string text_from(const Path& path, const Path& root, bool& reached) {
  std::vector<const std::string*> names;
  const Mount* mount = path.mount.get();
  const Dentry* dentry = path.dentry.get();
  reached = true;
  while (mount != root.mount.get() || dentry != root.dentry.get()) {
    if (dentry == mount->root.get()) {
      if (mount->parent == nullptr) {
        reached = false;
        break;
      }
      dentry = mount->mountpoint.get();
      mount = mount->parent.get();
    } else {
      if (dentry->parent() == nullptr) {
        reached = false;
        break;
      }
      names.push_back(&dentry->name());
      dentry = dentry->parent().get();
    }
  }
  std::string text;
  for (auto it = names.rbegin(); it != names.rend(); ++it) {
    text += '/';
    text += **it;
  }
  if (names.empty()) text += '/';
  if (path.dentry->deleted()) text += " (deleted)";
  return text;
}

}  // namespace

std::string MountNamespace::path_text(const Path& path, const Path& root) const {
  if (is_anonymous(path)) return path.dentry->name();
  bool reached = false;
  std::string text = text_from(path, root, reached);
  return reached ? text : "(unreachable)" + text;
}

std::string full_path(const Path& path) {
  if (is_anonymous(path)) return path.dentry->name();
  bool reached = false;
  return text_from(path, {}, reached);
}

}  // namespace sentry::vfs
