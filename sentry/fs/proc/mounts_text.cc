#include "sentry/fs/proc/mounts_text.h"

#include <sys/sysmacros.h>

#include <fmt/format.h>

#include "sentry/vfs/dentry.h"

namespace sentry::fs::proc {
namespace {

// seq_escape of Linux: what separates fields is written in octal.
std::string escaped(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\' || c == '#')
      result += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    else
      result += c;
  }
  return result;
}

// Where in its file system the mount begins: "/" unless it is a bind mount of something below.
std::string root_within(const vfs::Mount& mount) {
  std::string text;
  for (const vfs::Dentry* at = mount.root.get(); at->parent() != nullptr; at = at->parent().get())
    text = "/" + at->name() + text;
  return text.empty() ? "/" : text;
}

const char* type_of(const vfs::Mount& mount) {
  return mount.type.empty() ? mount.superblock->type() : mount.type.c_str();
}

std::string source_of(const vfs::Mount& mount) {
  return escaped(mount.source.empty() ? "none" : mount.source);
}

// The options of the mount and those of the file system, which follow them.
std::string mount_options(const vfs::Mount& mount) {
  std::string text = mount.options_text();
  if (!mount.options.empty() && text.ends_with("," + mount.options))
    text.resize(text.size() - mount.options.size() - 1);
  return text;
}

// Calls `line` for each mount that the process can reach, with the place it is mounted at.
template <typename Line>
Result<std::string> each_mount(const Snapshot& snapshot, Line line) {
  std::string text;
  std::shared_ptr<vfs::MountNamespace> space;
  vfs::Path root;
  if (snapshot.task != nullptr && snapshot.task->fs_context != nullptr) {
    space = snapshot.task->fs_context->space;
    root = snapshot.task->fs_context->root;
  } else if (!snapshot.group->dead && snapshot.group->container->mount_space != nullptr) {
    space = snapshot.group->container->mount_space;  // the sandbox's own init
    root = space->root();
  } else {
    return Errno(EINVAL);  // a zombie has left its namespace
  }
  for (const vfs::MountRef& mount : space->mounts()) {
    const vfs::Path place{mount, mount->root};
    if (!space->reachable(place, root)) continue;
    text += line(*mount, escaped(space->path_text(place, root)));
  }
  return text;
}

}  // namespace

Result<std::string> mounts_text(const Snapshot& snapshot) {
  return each_mount(snapshot, [](const vfs::Mount& mount, const std::string& place) {
    return fmt::format("{} {} {} {} 0 0\n", source_of(mount), place, type_of(mount), mount.options_text());
  });
}

Result<std::string> mountinfo_text(const Snapshot& snapshot) {
  return each_mount(snapshot, [](const vfs::Mount& mount, const std::string& place) {
    const uint64_t device = mount.superblock->device();
    std::string super = mount.superblock->read_only ? "ro" : "rw";
    if (!mount.options.empty()) super += "," + mount.options;
    return fmt::format("{} {} {}:{} {} {} {} - {} {} {}\n", mount.id,
                       mount.parent != nullptr ? mount.parent->id : 0, major(device), minor(device),
                       escaped(root_within(mount)), place, mount_options(mount), type_of(mount),
                       source_of(mount), super);
  });
}

Result<std::string> mountstats_text(const Snapshot& snapshot) {
  return each_mount(snapshot, [](const vfs::Mount& mount, const std::string& place) {
    return fmt::format("device {} mounted on {} with fstype {}\n", source_of(mount), place, type_of(mount));
  });
}

}  // namespace sentry::fs::proc
