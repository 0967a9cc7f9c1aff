#include "runtime/view.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <string_view>

#include "runtime/host_calls.h"
#include "runtime/text_file.h"

namespace runtime {
namespace {

using sentry::Fd;

constexpr unsigned kCloneTree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;

// The empty things that lie over what is hidden: one file system for all of them.
class Covers {
 public:
  static Outcome<Covers> make() {
    const Fd fs(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!fs || ::fsconfig(fs.get(), FSCONFIG_SET_STRING, "mode", "0755", 0) != 0 ||
        ::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
      return system_failure(errno, "cannot make an empty file system");
    Covers covers;
    covers.mount_ =
        Fd(::fsmount(fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    const int mount = covers.mount_.get();
    if (mount < 0) return system_failure(errno, "cannot mount an empty file system");
    const Fd file(::openat(mount, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0444));
    if (!file || ::mkdirat(mount, "dir", 0755) != 0 || ::mkdirat(mount, "sticky", 0755) != 0 ||
        ::fchmodat(mount, "sticky", 01777, 0) != 0)
      return system_failure(errno, "cannot make empty directories");
    return covers;
  }

  // A mount of its own for each of `names`, attached nowhere.
  //
  // Before Linux 6.15 open_tree(2) copies only what is mounted in the caller's namespace, so the file system
  // lies over /proc meanwhile, where the jail's root will; whoever needs /proc must have opened it before.
  Outcome<std::vector<Fd>> copies(std::span<const char* const> names) const {
    if (::move_mount(mount_.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) != 0)
      return system_failure(errno, "cannot attach an empty file system");
    std::vector<Fd> trees;
    for (const char* name : names) {
      Fd tree(::open_tree(mount_.get(), name, kCloneTree));
      // The copy has the flags of its own mount, so it can be made read-only alone.
      mount_attr read_only{MOUNT_ATTR_RDONLY, 0, 0, 0};
      if (!tree || ::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &read_only, sizeof read_only) != 0)
        return system_failure(errno, "cannot copy an empty file system");
      trees.push_back(std::move(tree));
    }
    if (::umount2("/proc", MNT_DETACH) != 0)
      return system_failure(errno, "cannot detach an empty file system");
    return trees;
  }

 private:
  Fd mount_;
};

// What is to be covered, and by which of the empty things.
struct Target {
  Fd fd;
  const std::string& path;
};

const char* fitting_cover(mode_t mode) {
  if (!S_ISDIR(mode)) return "file";
  return (mode & 01777) == 01777 ? "sticky" : "dir";
}

Outcome<> apply_covers(const Attach& attach) {
  if (attach.covers.empty()) return {};
  const Fd root(::open(attach.source.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return system_failure(errno, "cannot open {}", attach.source);
  std::vector<Target> targets;
  std::vector<const char*> names;
  for (const std::string& path : attach.covers) {
    // Symlinks are followed as the sandbox will see them: below this root.
    Fd target(open_how_resolved(root.get(), path.c_str(), O_PATH, RESOLVE_IN_ROOT));
    if (!target) {
      // What is not there, or what this user cannot reach, the gofer cannot reach either: it is the same
      // user.
      if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP) continue;
      return system_failure(errno, "cannot open {} to hide it from the sandbox", path);
    }
    struct stat status {};
    if (::fstat(target.get(), &status) != 0) return system_failure(errno, "cannot look at {}", path);
    if (S_ISLNK(status.st_mode)) continue;
    targets.push_back({std::move(target), path});
    names.push_back(fitting_cover(status.st_mode));
  }
  const std::vector<Fd> trees = TRY(TRY(Covers::make()).copies(names));
  for (size_t i = 0; i < targets.size(); ++i) {
    if (::move_mount(trees[i].get(), "", targets[i].fd.get(), "",
                     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
      return system_failure(errno, "cannot hide {} from the sandbox", targets[i].path);
  }
  return {};
}

Outcome<Fd> clone_tree(const Attach& attach) {
  Fd tree(::open_tree(AT_FDCWD, attach.source.c_str(), kCloneTree | AT_RECURSIVE));
  if (!tree) return system_failure(errno, "cannot open {} for the sandbox", attach.source);
  mount_attr attributes{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, 0, 0};
  if (!attach.writable) attributes.attr_set |= MOUNT_ATTR_RDONLY;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) != 0)
    return system_failure(errno, "cannot restrict the sandbox's view of {} (mount_setattr, Linux 5.12)",
                          attach.source);
  return tree;
}

size_t depth(const std::string& path) {
  return path == "/" ? 0 : static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
}

// mountinfo writes space, tab, newline and backslash as \ooo (proc(5)).
std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::string_view word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view first = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return first;
}

constexpr auto kKernelFilesystems = std::to_array<std::string_view>(
    {"proc",       "sysfs",     "devtmpfs", "devpts",  "cgroup",   "cgroup2", "debugfs",   "tracefs",
     "securityfs", "configfs",  "bpf",      "pstore",  "efivarfs", "mqueue",  "nsfs",      "binfmt_misc",
     "hugetlbfs",  "selinuxfs", "smackfs",  "fusectl", "autofs",   "nfsd",    "rpc_pipefs"});

bool is_kernel_interface(std::string_view type) {
  return std::find(kKernelFilesystems.begin(), kKernelFilesystems.end(), type) != kKernelFilesystems.end();
}

struct HostMount {
  std::string id, point, type;
};

std::vector<HostMount> host_mounts() {
  std::vector<HostMount> mounts;
  const std::optional<std::string> text = read_text_file("/proc/self/mountinfo");
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    // 36 35 98:0 /root /mount/point options [fields...] - type source super-options
    std::string id(word(line));
    for (int skipped = 0; skipped < 3; ++skipped) word(line);
    std::string point = unescape(word(line));
    const size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    line.remove_prefix(dash + 3);
    mounts.push_back({std::move(id), std::move(point), std::string(word(line))});
  }
  return mounts;
}

// Mount points strictly below `source`, as paths in it, of which `wanted` likes the file system type.
template <typename Wanted>
std::vector<std::string> find_mounts(const std::string& source, Wanted wanted) {
  std::vector<std::string> paths;
  const std::string prefix = source == "/" ? "/" : source + "/";
  for (const auto& [id, point, type] : host_mounts()) {
    if (!wanted(type)) continue;
    if (!point.starts_with(prefix) || point == source) continue;
    // What lies below another such mount is covered with it.
    const std::string name = point.substr(prefix.size());
    const bool below_another = std::any_of(paths.begin(), paths.end(), [&](const std::string& upper) {
      return name.starts_with(upper.substr(1) + "/");
    });
    if (!below_another) paths.push_back("/" + name);
  }
  return paths;
}

}  // namespace

Outcome<std::vector<Fd>> open_attaches(const std::vector<Attach>& attaches) {
  std::vector<size_t> order(attaches.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // The covers of a tree must not show in a tree below it that is attached on its own account, so the deeper
  // are opened first.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const size_t depth_a = depth(attaches[a].source), depth_b = depth(attaches[b].source);
    return depth_a != depth_b ? depth_a > depth_b : attaches[a].covers.size() < attaches[b].covers.size();
  });
  std::vector<Fd> fds(attaches.size());
  for (const size_t i : order) {
    TRY(apply_covers(attaches[i]));
    fds[i] = TRY(clone_tree(attaches[i]));
  }
  return fds;
}

std::vector<std::string> kernel_mounts_below(const std::string& source) {
  return find_mounts(source, is_kernel_interface);
}

std::optional<KernelInterface> kernel_interface_at(const std::string& source) {
  struct statx status {};
  if (::statx(AT_FDCWD, source.c_str(), AT_NO_AUTOMOUNT, STATX_MNT_ID, &status) != 0) return std::nullopt;
  const std::string id = std::to_string(status.stx_mnt_id);
  for (const HostMount& mount : host_mounts())
    if (mount.id == id && is_kernel_interface(mount.type)) return KernelInterface{mount.type, mount.point};
  return std::nullopt;
}

std::vector<std::string> mounts_below(const std::string& source) {
  return find_mounts(source, [](std::string_view) { return true; });
}

}  // namespace runtime
