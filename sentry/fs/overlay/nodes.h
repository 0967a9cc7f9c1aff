// The inodes of an overlay.
#pragma once

#include <set>
#include <unordered_map>

#include "sentry/fs/overlay/overlay.h"
#include "sentry/fs/tmpfs/nodes.h"

namespace sentry::fs::overlay {

class Directory;
class Node;
class RegularFile;

class Overlay final : public vfs::Superblock {
 public:
  Overlay(std::shared_ptr<vfs::Superblock> lower, mm::MemoryFile& memory, const Options& options);
  ~Overlay() override;

  const char* type() const override { return type_; }
  Result<struct statfs> statfs() override;
  vfs::InodeRef root() override;
  bool caches_names() const override { return lower_->caches_names(); }
  bool keeps_attributes() const override { return lower_->keeps_attributes(); }

  const std::shared_ptr<vfs::Superblock>& lower() const { return lower_; }
  tmpfs::Tmpfs& upper() { return *upper_; }
  // The node that shows a lower inode: the one that lives already, if any.
  std::shared_ptr<Node> adopt(const vfs::InodeRef& lower);
  // A node without a lower inode.
  std::shared_ptr<Node> make(std::shared_ptr<tmpfs::Node> upper);
  // A changed node lives as long as its lower inode has names; `keep` false where the last has gone.
  void keep(Node& node, bool keep);
  void forget(const vfs::Inode& lower);

 private:
  std::shared_ptr<vfs::Superblock> lower_;
  std::shared_ptr<tmpfs::Tmpfs> upper_;
  const char* type_;
  // By lower inode. A node takes itself out when it goes, so these come before what holds nodes.
  std::unordered_map<const vfs::Inode*, std::weak_ptr<Node>> known_;
  std::unordered_map<const vfs::Inode*, std::shared_ptr<Node>> changed_;
  std::shared_ptr<Node> root_;
};

// What all types have. Either inode may be missing, not both: `lower_` for what was made here, `upper_` until
// the first change. The upper one has the attributes; extended attributes and contents follow on their own.
class Node : public vfs::Inode {
 public:
  Node(Overlay& overlay, vfs::InodeRef lower, std::shared_ptr<tmpfs::Node> upper);
  ~Node() override;

  Result<vfs::Attributes> getattr() override;
  uint32_t type() const override { return type_; }
  Result<> setattr(const vfs::AttributeChange& change) override;
  Result<> permission(const vfs::Credentials& credentials, int mask) override;
  Result<std::string> readlink() override;
  Result<std::string> getxattr(std::string_view name) override;
  Result<> setxattr(std::string_view name, std::string_view value, int flags) override;
  Result<std::vector<std::string>> listxattr() override;
  Result<> removexattr(std::string_view name) override;

  void count_changes_at(vfs::ChangeKey key) override;

  Overlay& overlay() { return static_cast<Overlay&>(superblock()); }
  const vfs::InodeRef& lower() const { return lower_; }
  const std::shared_ptr<tmpfs::Node>& upper() const { return upper_; }
  // As stat(2) shows it: the lower inode's, or one of our own. Known from the first change on.
  uint64_t ino() const { return ino_; }
  // Attributes are ours from here on.
  Result<> copy_up();
  // After copy_up(): a name less, or more.
  void name_removed();
  void name_added();
  vfs::Attributes& attributes() { return upper_->metadata().attributes; }

 protected:
  vfs::InodeRef lower_;
  std::shared_ptr<tmpfs::Node> upper_;
  vfs::FiberLock copying_;

 private:
  Result<> copy_up_xattrs();
  bool xattrs_below() const { return lower_ != nullptr && !xattrs_copied_; }

  uint32_t type_;
  uint64_t ino_ = 0;
  bool xattrs_copied_ = false;
};

class LowerMapping;

class RegularFile final : public Node {
 public:
  using Node::Node;
  Result<vfs::Attributes> getattr() override;
  bool keeps_attributes() override {
    return Node::keeps_attributes() && (upper_ == nullptr || !copied() || upper_->keeps_attributes());
  }
  Result<> setattr(const vfs::AttributeChange& change) override;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;

  // The contents are ours.
  bool copied() const { return lower_ == nullptr || contents_copied_; }
  // Makes them so, or only their first `size` bytes, what a truncation leaves.
  Result<> copy_contents(uint64_t size = ~uint64_t{0});
  // After that, and after each change of the size: who maps the lower file sees it.
  void leave_lower();
  tmpfs::RegularFile& upper_file() { return static_cast<tmpfs::RegularFile&>(*upper_); }
  // What a mapping of the lower file is.
  Result<std::shared_ptr<mm::Mappable>> map_lower(vfs::File& lower, int prot, int flags,
                                                  const vfs::Path& path);

 private:
  bool contents_copied_ = false;
  std::weak_ptr<LowerMapping> lower_mapping_;
};

class Directory final : public Node {
 public:
  using Node::Node;
  ~Directory() override;
  Result<vfs::InodeRef> lookup(std::string_view name) override;
  void expect(std::string_view name, std::string_view rest, bool open) override;
  Result<vfs::InodeRef> create(std::string_view name, const vfs::NewNode& node) override;
  Result<vfs::InodeRef> mkdir(std::string_view name, const vfs::NewNode& node) override;
  Result<vfs::InodeRef> symlink(std::string_view name, const vfs::NewNode& node,
                                std::string_view target) override;
  Result<> link(std::string_view name, vfs::Inode& target) override;
  Result<> unlink(std::string_view name, vfs::Inode& victim) override;
  Result<> rmdir(std::string_view name, vfs::Inode& victim) override;
  Result<> rename(std::string_view name, vfs::Inode& node, vfs::Inode& new_dir, std::string_view new_name,
                  vfs::Inode* victim, unsigned flags) override;
  Result<vfs::InodeRef> tmpfile(const vfs::NewNode& node) override;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;

  // For readdir: names that the lower directory has and this one does not show there; and those of its own.
  bool hides(std::string_view name) const { return hidden_.find(name) != hidden_.end(); }
  bool list(vfs::DirectorySink& sink, uint64_t& cookie, uint64_t end) const;
  uint64_t end_cookie() const { return names_.end_cookie(); }

 private:
  Result<vfs::InodeRef> made(std::string_view name, Result<std::shared_ptr<tmpfs::Node>> upper);
  void add(std::string_view name, std::shared_ptr<Node> node);
  void remove(std::string_view name, const Node& node);
  void replace(std::string_view name, const Node& before, std::shared_ptr<Node> after);
  Result<> check_empty();
  Result<> ready_to_change();
  void changed() { upper_->metadata().touch_mtime(); }

  tmpfs::NameTable<Node> names_;
  std::set<std::string, std::less<>> hidden_;
  bool removed_ = false;
};

}  // namespace sentry::fs::overlay
