// What the parts of the gofer's file system share.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::gofer {

namespace protocol = ::gofer;

class GoferInode;
class GoferSuperblock;

// An open file at the gofer, and its donated descriptor. Closed there by destruction.
struct Handle {
  Handle(std::shared_ptr<Client> client_in, protocol::Id id_in, Fd fd_in, bool nowait_in)
      : client(std::move(client_in)), id(id_in), fd(std::move(fd_in)), nowait(nowait_in) {}
  ~Handle() { client->forget(id); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  std::shared_ptr<Client> client;
  protocol::Id id;
  Fd fd;        // regular files
  bool nowait;  // preadv2(RWF_NOWAIT) works on fd
};
using HandleRef = std::shared_ptr<Handle>;

struct DirectoryEntry {
  std::string name;
  uint64_t ino;
  unsigned char type;
};
using Listing = std::shared_ptr<const std::vector<DirectoryEntry>>;

class GoferSuperblock final : public vfs::Superblock {
 public:
  GoferSuperblock(kernel::Kernel& kernel_in, std::shared_ptr<Client> client_in, const TreeOptions& options)
      : kernel(kernel_in), client(std::move(client_in)), options_(options) {}
  ~GoferSuperblock() override;

  const char* type() const override { return options_.type.c_str(); }
  Result<struct statfs> statfs() override;
  vfs::InodeRef root() override;
  bool caches_names() const override { return options_.exclusive; }
  bool exclusive() const { return options_.exclusive; }
  std::shared_ptr<vfs::MountNamespace> space() const { return options_.space.lock(); }

  kernel::Kernel& kernel;
  std::shared_ptr<Client> client;

  // The inode of a node that the gofer has just named: the one that lives already, if any (the node is then
  // released).
  std::shared_ptr<GoferInode> adopt(const protocol::Node& node);
  void set_root(std::shared_ptr<GoferInode> root) { root_ = std::move(root); }
  void remove(const GoferInode& inode);

  // A call that asks again after making room when the gofer is out of descriptors.
  template <typename Fill>
  Result<Client::Reply> call(protocol::Op op, protocol::Id id, Fill fill) {
    Result<Client::Reply> reply = client->call(op, id, fill);
    if (!reply.is(ENFILE)) return reply;
    make_room();
    return client->call(op, id, fill);
  }
  Result<Client::Reply> call(protocol::Op op, protocol::Id id) {
    return call(op, id, [](protocol::Writer&) {});
  }

  // Keeps recently used handles open, as long as their inodes live: nobody else could release them.
  void keep(const HandleRef& handle);
  // No longer than somebody uses it: a removed file's space is to come back.
  void release(const HandleRef& handle);

  // Nodes that a walk brought before anybody looked them up.
  struct Prefetched {
    protocol::Id parent;
    std::string name;
    std::shared_ptr<GoferInode> inode;
  };
  std::shared_ptr<GoferInode> take_prefetched(protocol::Id parent, std::string_view name);
  void prefetch(Prefetched entry);
  void drop_prefetched() { prefetched_.clear(); }

 private:
  void make_room();

  struct Identity {
    uint64_t device, ino;
    friend auto operator<=>(const Identity&, const Identity&) = default;
  };
  TreeOptions options_;
  std::shared_ptr<GoferInode> root_;
  std::map<Identity, GoferInode*> inodes_;
  std::list<HandleRef> handles_;
  std::vector<Prefetched> prefetched_;
};

class GoferInode final : public vfs::Inode {
 public:
  GoferInode(GoferSuperblock& superblock, const protocol::Node& node);
  ~GoferInode() override;

  GoferSuperblock& tree() const { return static_cast<GoferSuperblock&>(superblock()); }
  protocol::Id id() const { return id_; }
  const protocol::Attr& attr() const { return attr_; }
  void update(const protocol::Attr& attr) { attr_ = attr; }
  std::shared_ptr<GoferInode> self() { return std::static_pointer_cast<GoferInode>(shared_from_this()); }

  Result<vfs::Attributes> getattr() override;
  uint32_t type() const override { return attr_.mode & S_IFMT; }
  Result<> setattr(const vfs::AttributeChange& change) override;
  Result<vfs::InodeRef> lookup(std::string_view name) override;
  void expect(std::string_view name, std::string_view rest) override;
  Result<vfs::InodeRef> create(std::string_view name, const vfs::NewNode& node) override;
  Result<vfs::InodeRef> mkdir(std::string_view name, const vfs::NewNode& node) override;
  Result<vfs::InodeRef> symlink(std::string_view name, const vfs::NewNode& node,
                                std::string_view target) override;
  Result<> link(std::string_view name, vfs::Inode& target) override;
  Result<> unlink(std::string_view name, vfs::Inode& victim) override;
  Result<> rmdir(std::string_view name, vfs::Inode& victim) override;
  Result<> rename(std::string_view name, vfs::Inode& node, vfs::Inode& new_dir, std::string_view new_name,
                  vfs::Inode* victim, unsigned flags) override;
  Result<std::string> readlink() override;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;
  Result<std::string> getxattr(std::string_view name) override;
  Result<> setxattr(std::string_view name, std::string_view value, int flags) override;
  Result<std::vector<std::string>> listxattr() override;
  Result<> removexattr(std::string_view name) override;

  // An open handle that can at least read, or also write; one is kept for each.
  Result<HandleRef> handle(bool write);
  Result<std::shared_ptr<mm::Mappable>> mappable(bool shared_write, const vfs::Path& path);
  Result<Listing> listing();
  // After a change of names here; after a write.
  void names_changed();
  void grown(uint64_t end);
  Result<uint64_t> current_size();

 private:
  Result<> refresh();
  Result<> unlinked();  // one name less
  void release_handles();
  Result<vfs::InodeRef> made(Result<Client::Reply> reply);
  uint64_t guest_ino() const;

  protocol::Id id_;
  protocol::Attr attr_;
  std::weak_ptr<Handle> read_handle_, write_handle_;
  std::weak_ptr<mm::Mappable> private_mapping_, shared_mapping_;
  std::optional<std::string> link_target_;
  Listing listing_;
};

// Open files, for GoferInode::open.
Result<vfs::FileRef> open_regular(const std::shared_ptr<GoferInode>& inode, const vfs::Path& path, int flags);
vfs::FileRef open_directory(const std::shared_ptr<GoferInode>& inode, const vfs::Path& path, int flags);

}  // namespace sentry::fs::gofer
