#include "sentry/init/mounts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/fs/dev/devices.h"
#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/fs/overlay/overlay.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/fs/sys/cgroup.h"
#include "sentry/fs/sys/sysfs.h"
#include "sentry/vfs/operations.h"

namespace sentry::init {
namespace {

// The tree is built by root with every capability, before there is a guest.
vfs::CredentialsRef builder() {
  static const auto kBuilder = [] {
    auto credentials = std::make_shared<vfs::Credentials>();
    credentials->cap_effective = credentials->cap_permitted = credentials->cap_bounding = ~0ull;
    return credentials;
  }();
  return kBuilder;
}

class Mounter {
 public:
  Mounter(const MountContext& context, const boot::Boot& boot) : context_(context), boot_(boot) {}

  std::optional<Failure> run() {
    context_.container->mount_space = std::make_shared<vfs::MountNamespace>();
    for (const boot::Mount& mount : boot_.mounts) {
      const Result<> mounted = add(mount);
      if (!mounted.ok()) return Failure{mounted.error().value(), what_failed(mount, mounted.error()), 125};
    }
    if (boot_.make_cwd) {
      const Result<vfs::Path> made = find_or_make(boot_.process.cwd, true);
      if (!made.ok())
        return Failure{made.error().value(),
                       fmt::format("making the working directory {}", boot_.process.cwd), 125};
    }
    // Not before what is mounted on them has found or made its place, and the working directory its own.
    for (const vfs::MountRef& mounted : read_only_) mounted->read_only = true;
    for (const std::string& path : boot_.readonly_paths) {
      const Result<> done = make_readonly(path);
      if (!done.ok()) return Failure{done.error().value(), fmt::format("making {} read-only", path), 125};
    }
    for (const std::string& path : boot_.masked_paths) {
      const Result<> done = mask(path);
      if (!done.ok()) return Failure{done.error().value(), fmt::format("masking {}", path), 125};
    }
    return std::nullopt;
  }

 private:
  static std::string what_failed(const boot::Mount& mount, Errno error) {
    if (error.value() == EISDIR)
      return fmt::format("mounting the file {} on the directory {}", mount.source, mount.destination);
    if (error.value() == ENOTDIR)
      return fmt::format("mounting the directory {} on {}", mount.source, mount.destination);
    if (error.value() == ENOENT || error.value() == EPERM)
      return fmt::format("mounting {}: it is not there, and cannot be made there", mount.destination);
    return fmt::format("mounting {}", mount.destination);
  }

  Result<> add(const boot::Mount& mount) {
    vfs::MountNamespace& space = *context_.container->mount_space;
    const uint32_t mode = TRY(mode_of_root(mount));
    std::shared_ptr<vfs::Superblock> superblock = TRY(make(mount, mode));
    vfs::InodeRef root = superblock->root();
    if (mount.kind == boot::MountKind::kDevice) root = TRY(node(mount.device_major, mount.device_minor));
    vfs::MountRef mounted;
    if (space.mounts().empty()) {
      mounted = TRY(space.mount({}, superblock));
      fs_.space = context_.container->mount_space;
      fs_.root = fs_.cwd = space.root();
      fs_.umask = 0;
    } else {
      const bool directory = root->is_directory();
      const vfs::Path place = TRY(find_or_make(mount.destination, directory));
      if (place.dentry->inode()->is_directory() != directory) return Errno(directory ? ENOTDIR : EISDIR);
      mounted = TRY(space.mount(place, superblock, root));
    }
    if (mount.read_only) read_only_.push_back(mounted);
    mounted->nosuid = mount.nosuid;
    mounted->nodev = mount.nodev;
    mounted->noexec = mount.noexec;
    mounted->noatime = mount.noatime;
    mounted->nodiratime = mount.nodiratime;
    mounted->relatime = !mount.noatime && !mount.strictatime;
    mounted->nosymfollow = mount.nosymfollow;
    mounted->source = mount.source;
    mounted->type = mount.type;
    if (mount.kind == boot::MountKind::kDev) TRY(add_below_dev(mount.destination));
    return {};
  }

  // config-linux.md: paths that are not there need no hiding.
  Result<std::optional<vfs::Path>> find(const std::string& path) {
    const auto found = vfs::walk(fs_, *builder(), fs_.root, path, {});
    if (found.ok()) return std::optional(found->path);
    if (found.is(ENOENT) || found.is(ENOTDIR)) return std::optional<vfs::Path>();
    return found.error();
  }

  Result<> make_readonly(const std::string& path) {
    const std::optional<vfs::Path> place = TRY(find(path));
    if (!place) return {};
    // What is mounted below stays there as it is.
    TRY(space().bind(*place, *place, true))->read_only = true;
    fs_.root = fs_.cwd = space().root();  // for what follows `/`
    return {};
  }

  // An empty directory that nobody can write to, or /dev/null.
  Result<> mask(const std::string& path) {
    const std::optional<vfs::Path> place = TRY(find(path));
    if (!place) return {};
    if (place->dentry->inode()->is_directory()) {
      fs::tmpfs::Options empty;
      empty.mode = 0755;
      const vfs::MountRef mounted =
          TRY(space().mount(*place, fs::tmpfs::make_tmpfs(context_.kernel.memory_file, empty)));
      mounted->read_only = true;
      mounted->source = "tmpfs";
      return {};
    }
    const vfs::MountRef mounted = TRY(space().mount(*place, nodes(), TRY(node(1, 3))));
    mounted->source = "tmpfs";
    return {};
  }

  vfs::MountNamespace& space() { return *context_.container->mount_space; }

  // Device nodes that lie over files, in a file system that is mounted nowhere as a whole.
  std::shared_ptr<vfs::Superblock> nodes() {
    if (nodes_ == nullptr) nodes_ = fs::tmpfs::make_tmpfs(context_.kernel.memory_file, {});
    return nodes_;
  }

  Result<vfs::InodeRef> node(uint32_t major, uint32_t minor) {
    const vfs::InodeRef directory = nodes()->root();
    const std::string name = fmt::format("{}:{}", major, minor);
    if (auto made = directory->lookup(name); made.ok() || !made.is(ENOENT)) return made;
    return directory->create(name, {.mode = S_IFCHR | 0666, .rdev = makedev(major, minor)});
  }

  // What stands in /dev beside its nodes, unless the document mounts it itself.
  Result<> add_below_dev(const std::string& dev) {
    const auto listed = [&](const std::string& destination) {
      for (const boot::Mount& other : boot_.mounts)
        if (other.destination == destination) return true;
      return false;
    };
    const auto own = [](boot::MountKind kind, std::string destination, const char* type, uint32_t mode) {
      boot::Mount mount;
      mount.kind = kind;
      mount.destination = std::move(destination);
      mount.source = mount.type = type;
      mount.mode = mode;
      mount.nosuid = mount.noexec = true;
      return mount;
    };
    if (!listed(dev + "/pts")) TRY(add(own(boot::MountKind::kDevpts, dev + "/pts", "devpts", 0755)));
    if (!listed(dev + "/mqueue")) TRY(add(own(boot::MountKind::kMqueue, dev + "/mqueue", "mqueue", 01777)));
    if (!listed(dev + "/shm")) TRY(add(own(boot::MountKind::kTmpfs, dev + "/shm", "tmpfs", 01777)));
    return {};
  }

  Result<std::shared_ptr<vfs::Superblock>> make(const boot::Mount& mount, uint32_t mode) {
    switch (mount.kind) {
      case boot::MountKind::kGofer: {
        if (context_.gofer == nullptr) return Errno(ENOTCONN);
        fs::gofer::TreeOptions options;
        options.attach = mount.attach;
        options.exclusive = mount.exclusive || mount.overlay;
        options.type = mount.type;
        options.space = context_.container->mount_space;
        auto tree = TRY(fs::gofer::make_tree(context_.kernel, context_.gofer, options));
        if (!mount.overlay) return tree;
        return fs::overlay::make_overlay(std::move(tree), context_.kernel.memory_file, {});
      }
      case boot::MountKind::kProc:
        return fs::proc::make_proc(context_.kernel);
      case boot::MountKind::kDev: {
        auto superblock = make_tmpfs(mount, 0755);
        TRY(fs::dev::populate(*superblock, boot_.process.terminal, boot_.devices));
        return superblock;
      }
      case boot::MountKind::kDevpts:
        return std::shared_ptr<vfs::Superblock>(context_.devpts);
      case boot::MountKind::kSysfs:
        return fs::sys::make_sysfs(context_.kernel);
      case boot::MountKind::kCgroup:
        return fs::sys::make_cgroup(context_.kernel);
      case boot::MountKind::kMqueue:
        return fs::mqueue::superblock_of(context_.kernel);
      case boot::MountKind::kTmpfs:
        return make_tmpfs(mount, mode);
      case boot::MountKind::kDevice:
        return nodes();
    }
    return Errno(EINVAL);
  }

  Result<uint32_t> mode_of_root(const boot::Mount& mount) {
    if (mount.kind != boot::MountKind::kTmpfs || !mount.mode_of_place || !fs_.root) return mount.mode;
    const std::optional<vfs::Path> place = TRY(find(mount.destination));
    if (!place) return mount.mode;
    return TRY(place->dentry->inode()->getattr()).mode & 07777;
  }

  std::shared_ptr<vfs::Superblock> make_tmpfs(const boot::Mount& mount, uint32_t mode) {
    fs::tmpfs::Options options;
    const kernel::Kernel& kernel = context_.kernel;
    const uint64_t memory =
        kernel.memory_limit_bytes != 0 ? kernel.memory_limit_bytes : kernel.host_memory_bytes;
    options.size_bytes = mount.size_bytes != 0 ? mount.size_bytes : memory / 100 * mount.size_percent;
    options.max_inodes = mount.max_inodes;
    options.mode = mode;
    options.uid = mount.uid;
    options.gid = mount.gid;
    return fs::tmpfs::make_tmpfs(context_.kernel.memory_file, options);
  }

  // Where `destination` leads, without links: a part that is absent is taken as it stands, also what a
  // dangling link names. Always below the root.
  Result<std::string> resolve(std::string_view destination) {
    constexpr int kMaxLinks = 40;  // path_resolution(7)
    int links = 0;
    std::string resolved, rest(destination);
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('/'), rest.size());
      const std::string part = rest.substr(0, end);
      rest.erase(0, end + 1);
      if (part.empty() || part == ".") continue;
      if (part == "..") {
        resolved.resize(resolved.empty() ? 0 : resolved.rfind('/'));
        continue;
      }
      const std::string next = resolved + "/" + part;
      const auto found = vfs::walk(fs_, *builder(), fs_.root, next, {.follow = false});
      if (!found.ok() && !found.is(ENOENT)) return found.error();
      if (!found.ok() || !found->path.dentry->inode()->is_symlink()) {
        resolved = next;
        continue;
      }
      if (++links > kMaxLinks) return Errno(ELOOP);
      const std::string target = TRY(found->path.dentry->inode()->readlink());
      if (target.starts_with('/')) resolved.clear();
      rest = target + "/" + rest;
    }
    return resolved.empty() ? std::string("/") : resolved;
  }

  Result<> make_node(const vfs::CredentialsRef& owner, const std::string& path, bool directory) {
    const vfs::Caller caller{fs_, owner, fs_.root};
    return directory ? vfs::mkdir(caller, path, 0755) : vfs::mknod(caller, path, S_IFREG | 0644, 0);
  }

  // The builder, but for whose files it makes.
  vfs::CredentialsRef first_process() const {
    auto credentials = std::make_shared<vfs::Credentials>(*builder());
    credentials->fsuid = boot_.process.uid;
    credentials->fsgid = boot_.process.gid;
    return credentials;
  }

  // The mountpoint, made (with the directories above it) where it is missing.
  Result<vfs::Path> find_or_make(const std::string& wanted, bool directory) {
    const vfs::CredentialsRef credentials = builder();
    const auto found = vfs::walk(fs_, *credentials, fs_.root, wanted, {});
    if (found.ok()) return found->path;
    if (!found.is(ENOENT)) return found.error();
    const std::string destination = TRY(resolve(wanted));
    for (size_t slash = destination.find('/', 1);; slash = destination.find('/', slash + 1)) {
      const bool last = slash == std::string::npos;
      const std::string part = destination.substr(0, slash);
      Result<> made = make_node(credentials, part, directory || !last);
      // Root is not among the ids that an ordinary user's gofer has: then it is the first process's.
      if (made.is(EINVAL)) made = make_node(first_process(), part, directory || !last);
      if (!made.ok() && !made.is(EEXIST)) return made.error();
      if (last) break;
    }
    return TRY(vfs::walk(fs_, *credentials, fs_.root, destination, {})).path;
  }

  const MountContext& context_;
  const boot::Boot& boot_;
  vfs::FsContext fs_;
  std::vector<vfs::MountRef> read_only_;
  std::shared_ptr<vfs::Superblock> nodes_;
};

}  // namespace

std::optional<Failure> mount_all(const MountContext& context, const boot::Boot& boot) {
  return Mounter(context, boot).run();
}

}  // namespace sentry::init
