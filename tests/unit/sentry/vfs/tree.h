// A mount namespace for tests: a file system at the root and shorthands for what a task would call.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "sentry/fs/overlay/overlay.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/fd_table.h"
#include "sentry/vfs/operations.h"

namespace sentry::vfs_test {

using vfs::FileRef;

inline mm::MemoryFile& memory() {
  static mm::MemoryFile& file = *new mm::MemoryFile;
  return file;
}

inline vfs::CredentialsRef root_user() {
  auto credentials = std::make_shared<vfs::Credentials>();
  credentials->cap_effective = credentials->cap_permitted = ~uint64_t{0};
  return credentials;
}

inline vfs::CredentialsRef user(uid_t uid, std::vector<gid_t> groups = {}) {
  auto credentials = std::make_shared<vfs::Credentials>();
  credentials->uid = credentials->euid = credentials->fsuid = uid;
  credentials->gid = credentials->egid = credentials->fsgid = uid;
  credentials->groups = std::move(groups);
  return credentials;
}

// 0, or the errno.
template <typename T>
int code(const Result<T>& result) {
  return result.ok() ? 0 : result.error().value();
}

class EntryList final : public vfs::DirectorySink {
 public:
  explicit EntryList(size_t room = SIZE_MAX) : room_(room) {}
  bool add(std::string_view name, uint64_t ino, unsigned char type, uint64_t next) override {
    if (names.size() >= room_) return false;
    names.emplace_back(name);
    inodes[std::string(name)] = ino;
    types[std::string(name)] = type;
    last = next;
    return true;
  }
  std::vector<std::string> names;
  std::map<std::string, uint64_t> inodes;
  std::map<std::string, unsigned char> types;
  uint64_t last = 0;

 private:
  size_t room_;
};

class Tree {
 public:
  explicit Tree(std::shared_ptr<vfs::Superblock> superblock = fs::tmpfs::make_tmpfs(memory(), {}))
      : credentials(root_user()) {
    context.space = std::make_shared<vfs::MountNamespace>();
    EXPECT_TRUE(context.space->mount({}, std::move(superblock)).ok());
    context.root = context.cwd = context.space->root();
    context.umask = 022;
  }

  vfs::Caller caller() const { return {context, credentials, context.cwd}; }
  Result<vfs::Path> find(std::string_view path, bool follow = true, uint64_t resolve = 0) const {
    vfs::WalkOptions options;
    options.follow = follow;
    options.resolve = resolve;
    return TRY(vfs::walk(context, *credentials, context.cwd, path, options)).path;
  }
  Result<FileRef> open(std::string_view path, int flags = O_RDONLY, uint32_t mode = 0644) const {
    return vfs::open(caller(), path, flags, mode);
  }
  int mkdir(std::string_view path, uint32_t mode = 0755) const {
    return code(vfs::mkdir(caller(), path, mode));
  }
  int rmdir(std::string_view path) const { return code(vfs::rmdir(caller(), path)); }
  int unlink(std::string_view path) const { return code(vfs::unlink(caller(), path)); }
  int symlink(std::string_view target, std::string_view path) const {
    return code(vfs::symlink(caller(), target, path));
  }
  int link(std::string_view from, std::string_view to, int flags = 0) const {
    return code(vfs::link(caller(), from, caller(), to, flags));
  }
  int rename(std::string_view from, std::string_view to, unsigned flags = 0) const {
    return code(vfs::rename(caller(), from, caller(), to, flags));
  }
  int mknod(std::string_view path, uint32_t mode, uint64_t rdev = 0) const {
    return code(vfs::mknod(caller(), path, mode, rdev));
  }
  int chmod(std::string_view path, uint32_t mode) const {
    const auto place = find(path);
    return place.ok() ? code(vfs::chmod(*credentials, *place, mode)) : code(place);
  }
  int chown(std::string_view path, uid_t uid, gid_t gid) const {
    const auto place = find(path, false);
    return place.ok() ? code(vfs::chown(*credentials, *place, uid, gid)) : code(place);
  }
  vfs::Attributes stat(std::string_view path, bool follow = false) const {
    const auto place = find(path, follow);
    EXPECT_TRUE(place.ok()) << path << ": " << code(place);
    if (!place.ok()) return {};
    return place->dentry->inode()->getattr().value();
  }
  bool exists(std::string_view path) const { return find(path, false).ok(); }
  std::string text_of(std::string_view path) const {
    return context.space->path_text(find(path).value(), context.root);
  }

  // Whole files.
  int write(std::string_view path, std::string_view text, int flags = O_CREAT | O_TRUNC | O_WRONLY) const;
  std::string read(std::string_view path) const;
  std::vector<std::string> list(std::string_view path) const;

  vfs::FsContext context;
  vfs::CredentialsRef credentials;
};

// Writable file systems: what is true of one is true of all.
inline const std::string kFilesystems[] = {"tmpfs", "overlay"};

inline std::shared_ptr<vfs::Superblock> make_empty(std::string_view name) {
  auto tmpfs = fs::tmpfs::make_tmpfs(memory(), {});
  return name == "tmpfs" ? tmpfs : fs::overlay::make_overlay(tmpfs, memory(), {});
}

class OnEachFilesystem : public testing::TestWithParam<std::string> {
 protected:
  Tree tree{make_empty(GetParam())};
};

inline Result<size_t> put(vfs::File& file, std::string_view text,
                          std::optional<uint64_t> offset = std::nullopt) {
  mm::BufferSource source(text.data(), text.size());
  vfs::File::IoOptions options;
  options.offset = offset;
  return file.write(source, options);
}

inline Result<std::string> get(vfs::File& file, size_t size, std::optional<uint64_t> offset = std::nullopt) {
  std::string text(size, '?');
  mm::BufferSink sink(text.data(), size);
  vfs::File::IoOptions options;
  options.offset = offset;
  text.resize(TRY(file.read(sink, options)));
  return text;
}

inline int Tree::write(std::string_view path, std::string_view text, int flags) const {
  const Result<FileRef> file = open(path, flags);
  if (!file.ok()) return code(file);
  const Result<size_t> count = put(**file, text);
  if (!count.ok()) return code(count);
  EXPECT_EQ(*count, text.size());
  return 0;
}

inline std::string Tree::read(std::string_view path) const {
  const Result<FileRef> file = open(path);
  EXPECT_TRUE(file.ok()) << path << ": " << code(file);
  if (!file.ok()) return "(error)";
  std::string all;
  for (;;) {
    const std::string piece = get(**file, 100'000).value();
    if (piece.empty()) return all;
    all += piece;
  }
}

inline std::vector<std::string> Tree::list(std::string_view path) const {
  const Result<FileRef> file = open(path, O_RDONLY | O_DIRECTORY);
  EXPECT_TRUE(file.ok()) << path << ": " << code(file);
  if (!file.ok()) return {};
  std::vector<std::string> names;
  for (;;) {
    EntryList entries(3);  // small, so that reading goes on where it left off
    EXPECT_TRUE((*file)->readdir(entries).ok());
    if (entries.names.empty()) break;
    for (const std::string& name : entries.names)
      if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace sentry::vfs_test
