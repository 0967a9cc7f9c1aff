// The inodes of a tmpfs.
#pragma once

#include "sentry/fs/tmpfs/content.h"
#include "sentry/fs/tmpfs/metadata.h"
#include "sentry/fs/tmpfs/name_table.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/dentry.h"

namespace sentry::fs::tmpfs {

class Node;
class Directory;

class Tmpfs final : public vfs::Superblock {
 public:
  Tmpfs(mm::MemoryFile& memory, const Options& options);
  ~Tmpfs() override;

  const char* type() const override { return type_; }
  Result<struct statfs> statfs() override;
  vfs::InodeRef root() override;
  bool keeps_attributes() const override { return true; }

  mm::MemoryFile& memory() { return memory_; }
  const std::shared_ptr<Quota>& quota() { return quota_; }
  uint64_t next_inode() { return ++last_inode_; }
  // Nodes without a name. Directories and links made by make_node() are attributes only. ENOSPC.
  Result<std::shared_ptr<Node>> make_node(const vfs::NewNode& node);
  Result<std::shared_ptr<Node>> make_symlink(const vfs::NewNode& node, std::string_view target);

 private:
  mm::MemoryFile& memory_;
  std::shared_ptr<Quota> quota_;
  const char* type_;
  uint64_t last_inode_ = 0;
  std::shared_ptr<Directory> root_;
};

// What all types have.
class Node : public vfs::Inode {
 public:
  // The inode is charged already.
  Node(Tmpfs& tmpfs, const vfs::NewNode& node);
  ~Node() override;

  Result<vfs::Attributes> getattr() override { return metadata_.attributes; }
  uint32_t type() const override { return metadata_.attributes.mode & S_IFMT; }
  Result<> setattr(const vfs::AttributeChange& change) override;
  Result<> permission(const vfs::Credentials& credentials, int mask) override;
  Result<std::string> getxattr(std::string_view name) override { return metadata_.getxattr(name); }
  Result<> setxattr(std::string_view name, std::string_view value, int flags) override {
    return metadata_.setxattr(name, value, flags);
  }
  Result<std::vector<std::string>> listxattr() override { return metadata_.listxattr(); }
  Result<> removexattr(std::string_view name) override { return metadata_.removexattr(name); }

  Metadata& metadata() { return metadata_; }
  void touch_atime();  // nobody else tells of that
  uint64_t ino() const { return metadata_.attributes.ino; }
  Tmpfs& tmpfs() { return static_cast<Tmpfs&>(superblock()); }
  // Names that point here come and go.
  virtual bool linkable() const { return true; }

 protected:
  Metadata metadata_;

 private:
  std::shared_ptr<Quota> quota_;
};

class RegularFile final : public Node, public mm::Mappable {
 public:
  RegularFile(Tmpfs& tmpfs, const vfs::NewNode& node);

  Result<vfs::Attributes> getattr() override;
  bool keeps_attributes() override { return content_.keeps_blocks(); }
  Result<> setattr(const vfs::AttributeChange& change) override;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;
  bool linkable() const override { return metadata_.attributes.nlink != 0 || linkable_; }

  Result<Backing> backing(uint64_t offset, uint64_t length, bool shared_write) override;
  Result<> punch(uint64_t offset, uint64_t length) override;
  bool stable() const override { return !written_through_mappings_; }
  Identity identity() const override;

  Content& content() { return content_; }
  // F_SEAL_* of memfds; F_SEAL_SEAL for every other file.
  int seals() const { return seals_; }
  Result<> add_seals(int seals);
  void set_seals(int seals) { seals_ = seals; }
  // For /proc/PID/maps: where it is, and what it is called there if that is not its own number (the overlay's
  // files).
  void remember_place(const vfs::Path& path) { place_.remember(path); }
  void set_identity(uint64_t device, uint64_t ino) {
    device_ = device;
    map_ino_ = ino;
  }

 private:
  Content content_;
  uint64_t device_;
  uint64_t map_ino_;
  int seals_;
  bool linkable_;
  bool written_through_mappings_ = false;  // a shared writable mapping was made once
  vfs::PlaceHint place_;
};

// An open regular file of a tmpfs.
class OpenRegular final : public vfs::SeekableFile {
 public:
  OpenRegular(const vfs::Path& path, std::shared_ptr<RegularFile> node, int flags)
      : SeekableFile(path, node, flags), node_(std::move(node)) {}

  Result<std::shared_ptr<mm::Mappable>> mmap(int prot, int flags) override;
  Result<> fsync(bool) override { return {}; }
  Result<> fallocate(int mode, uint64_t offset, uint64_t length, vfs::SetId set_id) override;
  Result<int> seals() override;
  Result<> add_seals(int seals) override;
  std::string description() override;

 protected:
  Result<size_t> read_at(mm::Sink& sink, uint64_t offset, bool nonblocking) override;
  Result<size_t> write_at(mm::Source& source, uint64_t& offset, bool append, bool nowait,
                          vfs::SetId set_id) override;
  Result<uint64_t> size() override { return node_->content().size(); }
  Result<uint64_t> find_data(uint64_t offset, bool data) override {
    return node_->content().find(offset, data);
  }

 private:
  void data_changed(vfs::SetId set_id);

  std::shared_ptr<RegularFile> node_;
};

class Directory final : public Node {
 public:
  Directory(Tmpfs& tmpfs, const vfs::NewNode& node) : Node(tmpfs, node) {}
  ~Directory() override;

  Result<vfs::Attributes> getattr() override;
  Result<vfs::InodeRef> lookup(std::string_view name) override;
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

  // Offers entries with a cookie in [position, end) and moves the position; false when the sink is full.
  bool list(vfs::DirectorySink& sink, uint64_t& position, uint64_t end) const;
  uint64_t end_cookie() const { return names_.end_cookie(); }

 private:
  void add(std::string_view name, std::shared_ptr<Node> node);
  std::shared_ptr<Node> take(std::string_view name);
  Result<> check_empty(Node& node) const;
  void drop(Node& node);
  void changed() { metadata_.touch_mtime(); }

  NameTable<Node> names_;
  bool removed_ = false;
};

class OpenDirectory final : public vfs::DirectoryFile {
 public:
  OpenDirectory(const vfs::Path& path, const std::shared_ptr<Directory>& directory, int flags)
      : DirectoryFile(path, directory, flags), end_(directory->end_cookie()) {}
  Result<> readdir(vfs::DirectorySink& sink) override;
  Result<uint64_t> seek(int64_t offset, int whence) override;

 private:
  uint64_t end_;  // what has come since the open or the last seek is not listed
};

class SymbolicLink final : public Node {
 public:
  SymbolicLink(Tmpfs& tmpfs, const vfs::NewNode& node, std::string_view target)
      : Node(tmpfs, node), target_(target) {
    metadata_.attributes.size = target.size();
  }
  Result<std::string> readlink() override { return target_; }

 private:
  std::string target_;
};

}  // namespace sentry::fs::tmpfs
