// What proc, sysfs and the like are made of: files whose text is worked out when they are read, directories
// that are listed from live objects. Nothing is stored and no name is cached.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/vfs/dentry.h"
#include "sentry/vfs/file.h"
#include "sentry/vfs/inode.h"

namespace sentry::fs::pseudo {

class Superblock : public vfs::Superblock, public std::enable_shared_from_this<Superblock> {
 public:
  // `type` as in /proc/mounts, `magic` as in statfs(2); both static.
  Superblock(const char* type, long magic) : type_(type), magic_(magic) {}

  const char* type() const override { return type_; }
  Result<struct statfs> statfs() override;
  bool caches_names() const override { return false; }
  vfs::InodeRef root() override { return root_; }
  void set_root(vfs::InodeRef root) { root_ = std::move(root); }
  uint64_t allocate_inode() { return ++last_inode_; }

 private:
  const char* type_;
  long magic_;
  vfs::InodeRef root_;
  uint64_t last_inode_ = 0;
};

// Attributes of a node: number, mode, owner (root unless overridden), empty, as old as the object.
class Node : public vfs::Inode {
 public:
  // `mode` with type bits.
  Node(vfs::Superblock& superblock, uint64_t number, uint32_t mode);

  uint32_t type() const override { return mode_ & S_IFMT; }
  Result<vfs::Attributes> getattr() override;
  // Truncation is accepted and means nothing, so that `echo x > file` works; the rest is EPERM.
  Result<> setattr(const vfs::AttributeChange& change) override;
  uint64_t number() const { return number_; }
  uint32_t permissions() const { return mode_ & 07777; }
  struct Owner {
    uid_t uid = 0;
    gid_t gid = 0;
  };

 protected:
  // ESRCH where the object behind the node has gone.
  virtual Result<Owner> owner() { return Owner{}; }

 private:
  uint64_t number_;
  uint32_t mode_;
  Nanoseconds made_;
};

// The whole text of a file. Called at each read from the beginning; later reads go on in the same text, as
// seq_file does. An error is the read's.
using Generator = std::function<Result<std::string>()>;
// One write(2): the text, without what lies beyond kLongestWrite. An error is the write's.
using Writer = std::function<Result<>(std::string_view)>;
inline constexpr size_t kLongestWrite = 64 * 1024;

class TextNode : public Node {
 public:
  TextNode(vfs::Superblock& superblock, uint64_t number, uint32_t permissions, Generator generator,
           Writer writer = nullptr)
      : Node(superblock, number, S_IFREG | permissions),
        generator_(std::move(generator)),
        writer_(std::move(writer)) {}
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;

 private:
  Generator generator_;
  Writer writer_;
};

class LinkNode : public Node {
 public:
  LinkNode(vfs::Superblock& superblock, uint64_t number, Generator target)
      : Node(superblock, number, S_IFLNK | 0777), target_(std::move(target)) {}
  Result<std::string> readlink() override { return target_(); }

 private:
  Generator target_;
};

class Directory : public Node {
 public:
  struct Entry {
    std::string name;
    uint64_t number = 0;
    unsigned char type = 0;  // DT_*
  };
  Directory(vfs::Superblock& superblock, uint64_t number, uint32_t permissions)
      : Node(superblock, number, S_IFDIR | permissions) {}

  Result<vfs::Attributes> getattr() override;
  Result<vfs::InodeRef> lookup(std::string_view name) override = 0;
  // All entries but "." and "..".
  virtual Result<std::vector<Entry>> list() = 0;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;
  // There is nothing to be made here: the name is simply not there.
  Result<vfs::InodeRef> create(std::string_view, const vfs::NewNode&) override { return Errno(ENOENT); }
};

// A directory whose entries are known when it is made.
class FixedDirectory : public Directory {
 public:
  using Directory::Directory;
  void add(std::string name, std::shared_ptr<Node> node) { children_[std::move(name)] = std::move(node); }
  Node* find(std::string_view name) const;
  Result<vfs::InodeRef> lookup(std::string_view name) override;
  Result<std::vector<Entry>> list() override;

 private:
  std::map<std::string, std::shared_ptr<Node>, std::less<>> children_;
};

// Builds a tree of fixed directories by paths: "kernel/hostname". Directories come into being on the way;
// every directory below the root must have been made here. A path that leads through a file, that would
// replace a directory, or that has an empty component is not added: false, or null.
class TreeBuilder {
 public:
  TreeBuilder(Superblock& superblock, std::shared_ptr<FixedDirectory> root)
      : superblock_(superblock), root_(std::move(root)) {}
  bool text(std::string_view path, Generator generator, uint32_t permissions = 0444, Writer writer = nullptr);
  bool constant(std::string_view path, std::string value, uint32_t permissions = 0444);
  bool link(std::string_view path, std::string target);
  std::shared_ptr<FixedDirectory> directory(std::string_view path);
  bool node(std::string_view path, std::shared_ptr<Node> node);

 private:
  Superblock& superblock_;
  std::shared_ptr<FixedDirectory> root_;
};

// DT_* of a mode's type bits.
unsigned char directory_type(uint32_t mode);

}  // namespace sentry::fs::pseudo
