// What the parts of the gofer's file system share.
#pragma once

#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "sentry/fs/gofer/gofer_fs.h"
#include "sentry/fs/gofer/names_ahead.h"
#include "sentry/platform/platform.h"
#include "sentry/vfs/changes.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::gofer {

namespace protocol = ::gofer;

class GoferInode;
class GoferSuperblock;

// An open file at the gofer, and its donated descriptor. Closed there by destruction.
struct Handle {
  Handle(std::shared_ptr<Client> client_in, protocol::Id id_in, Fd fd_in, bool nowait_in)
      : client(std::move(client_in)), id(id_in), fd(std::move(fd_in)), nowait(nowait_in) {}
  ~Handle() {
    client->forget(id);
    platform::close_unnamed(std::move(fd));
  }
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
  bool keeps_attributes() const override { return options_.exclusive; }
  bool exclusive() const { return options_.exclusive; }
  std::shared_ptr<vfs::MountNamespace> space() const { return options_.space.lock(); }

  kernel::Kernel& kernel;
  std::shared_ptr<Client> client;

  // The inode of a node that the gofer has just named: the one that lives already, if any.
  std::shared_ptr<GoferInode> adopt(const protocol::Node& node);
  // The inode of a file of which only name and attributes are known; null where the name must be asked for.
  std::shared_ptr<GoferInode> adopt(const std::shared_ptr<GoferInode>& parent, std::string_view name,
                                    const protocol::Attr& attr);
  void set_root(std::shared_ptr<GoferInode> root) { root_ = std::move(root); }
  std::shared_ptr<GoferInode> living(const protocol::Attr& attr) const;
  std::shared_ptr<GoferInode> living(uint64_t device, uint64_t ino) const;
  void add(GoferInode& inode);
  void remove(const GoferInode& inode);

  // A call that asks again after making room when the gofer is out of descriptors.
  template <typename Fill>
  Result<Client::Reply> call(protocol::Op op, protocol::Id id, Fill fill) {
    const bool changing = changes_files(op);
    if (changing) ++changes_;
    Result<Client::Reply> reply = client->call(op, id, fill);
    if (reply.is(ENFILE)) {
      make_room();
      reply = client->call(op, id, fill);
    }
    if (changing) ++changes_;
    return reply;
  }
  Result<Client::Reply> call(protocol::Op op, protocol::Id id) {
    return call(op, id, [](protocol::Writer&) {});
  }

  // Keeps recently used handles open, as long as their inodes live: nobody else could release them.
  void keep(const HandleRef& handle);
  // No longer than somebody uses it: a removed file's space is to come back.
  void release(const HandleRef& handle);

  // What a walk found before anybody looked it up.
  struct Prefetched {
    std::shared_ptr<GoferInode> parent;
    std::string name;
    Result<std::shared_ptr<GoferInode>> found;
  };
  std::optional<Result<std::shared_ptr<GoferInode>>> take_prefetched(const GoferInode& parent,
                                                                     std::string_view name);
  bool has_prefetched(const GoferInode& parent, std::string_view name) const;
  void prefetch(Prefetched entry) { prefetched_.push_back(std::move(entry)); }
  void drop_prefetched() { prefetched_.clear(); }

  // A file that has been opened before anybody asked for it, and, later, that somebody has.
  void opened_ahead(std::shared_ptr<GoferInode> inode);
  void used_ahead() { ++used_ahead_; }
  // Whether that has been worth it lately.
  bool opens_ahead();

  // Requests that change files, counted when they are sent and when they are answered: attributes that were
  // on their way meanwhile may be older than that.
  uint64_t changes() const { return changes_; }
  // A directory has `added` names ahead more: of those that have some, the first may lose theirs.
  void have_ahead(const std::shared_ptr<GoferInode>& directory, size_t added);
  // Whether listings should bring attributes at once, as those before were asked for them.
  bool lists_attributes() const { return listing_use_ > 0; }
  void listing_used(bool used) { listing_use_ = std::clamp(listing_use_ + (used ? 1 : -1), 0, 4); }

 private:
  static bool changes_files(protocol::Op op);
  void make_room();

  struct Identity {
    uint64_t device, ino;
    friend auto operator<=>(const Identity&, const Identity&) = default;
  };
  static Identity identity(const protocol::Attr& attr);
  TreeOptions options_;
  std::shared_ptr<GoferInode> root_;
  std::map<Identity, GoferInode*> inodes_;
  std::list<HandleRef> handles_;
  std::vector<Prefetched> prefetched_;
  std::deque<std::weak_ptr<GoferInode>> ahead_;
  size_t added_ahead_ = 0;                          // since the directories were last looked through
  std::deque<std::shared_ptr<GoferInode>> opened_;  // ahead: nobody else holds them
  unsigned opened_ahead_ = 0, used_ahead_ = 0;
  uint64_t changes_ = 0;
  int listing_use_ = 0;
};

class GoferInode final : public vfs::Inode {
 public:
  GoferInode(GoferSuperblock& superblock, const protocol::Node& node);
  // Of a file that the gofer holds no node for yet. It gets one when one is needed.
  GoferInode(GoferSuperblock& superblock, std::shared_ptr<GoferInode> parent, std::string_view name,
             const protocol::Attr& attr);
  ~GoferInode() override;

  GoferSuperblock& tree() const { return static_cast<GoferSuperblock&>(superblock()); }
  Result<protocol::Id> node();
  // Takes over a node that the gofer has named for this file. ESTALE if it is of another kind of file.
  Result<> become(const protocol::Node& node);
  const protocol::Attr& attr() const { return attr_; }
  // What the gofer says they are. The host may have changed them, whatever was promised.
  void update(const protocol::Attr& attr) {
    if (std::memcmp(&attr_, &attr, sizeof attr) != 0) vfs::changed(*this);
    attr_ = attr;
  }
  // To be changed at once: who looks from now on asks the sentry.
  protocol::Attr& changing_attr() {
    vfs::changed(*this);
    return attr_;
  }
  Result<> refresh();  // the attributes, from the host
  std::shared_ptr<GoferInode> self() { return std::static_pointer_cast<GoferInode>(shared_from_this()); }

  Result<vfs::Attributes> getattr() override;
  uint32_t type() const override { return attr_.mode & S_IFMT; }
  Result<> setattr(const vfs::AttributeChange& change) override;
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
  Result<std::string> readlink() override;
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override;
  Result<std::string> getxattr(std::string_view name) override;
  Result<> setxattr(std::string_view name, std::string_view value, int flags) override;
  Result<std::vector<std::string>> listxattr() override;
  Result<> removexattr(std::string_view name) override;

  // An open handle that can at least read, or also write; one is kept for each.
  Result<HandleRef> handle(bool write);
  // fallocate(2). The attributes are then to be refreshed.
  Result<> fallocate(const Handle& handle, int mode, uint64_t offset, uint64_t length);
  Result<std::shared_ptr<mm::Mappable>> mappable(bool shared_write, const vfs::Path& path);
  Result<Listing> listing();
  bool written_through_mappings() const { return !shared_mapping_.expired(); }
  size_t ahead() const { return ahead_ == nullptr ? 0 : ahead_->size(); }
  void drop_ahead();
  // After a request to change this name, and whether it did; after a write.
  void name_asked(std::string_view name, bool changed);
  void grown(uint64_t end);
  // Before or after what is in the file changes.
  void content_changes();
  // Before: Mappable::finish_reads().
  void finish_reads();
  Result<uint64_t> current_size();

 private:
  Result<> unlinked();  // one name less
  void release_handles();
  // A request on this file's node.
  template <typename Fill>
  Result<Client::Reply> call(protocol::Op op, Fill fill) {
    return tree().call(op, TRY(node()), fill);
  }
  Result<vfs::InodeRef> made(std::string_view name, Result<Client::Reply> reply);
  uint64_t guest_ino() const;

  // What the gofer found on a way down from here.
  struct Way {
    std::vector<std::shared_ptr<GoferInode>> found;
    int error = 0;       // of the name behind those
    int open_error = 0;  // of opening the last
  };
  // Walks down from here, no names for this file itself; with `open_flags` opens the file at the end of the
  // way, whose inode then has a handle.
  Result<Way> walk(std::span<const std::string_view> names, std::optional<int> open_flags);
  bool knows_ahead(std::string_view name);
  std::shared_ptr<GoferInode> take_ahead(std::string_view name);
  // Asks for attributes of names here that the guest may look up next.
  void look_ahead(uint32_t count);
  // A batch of the directory's entries, from `cookie` on: each goes to `add(entry, name, attributes)`, the
  // last null unless they are asked for and known. Whether it was the last; `cookie` is moved on.
  template <typename Add>
  Result<bool> read_entries(uint64_t& cookie, uint32_t max_bytes, bool attributes, Add add);
  NamesAhead& names_ahead();
  // Opens a file of this directory that has no node yet, and perhaps those that come next in the listing.
  Result<> open_files(const std::shared_ptr<GoferInode>& first);
  // The file of an entry, if it is one that has neither a node yet nor more names than this.
  std::shared_ptr<GoferInode> unopened(const DirectoryEntry& entry);
  void set_handle(bool write, protocol::Opened opened, Fd fd);

  protocol::Id id_ = protocol::kNoId;
  std::shared_ptr<GoferInode> parent_;  // while there is no node: where the file is
  std::string name_;
  protocol::Attr attr_;
  std::weak_ptr<Handle> read_handle_, write_handle_;
  std::weak_ptr<mm::Mappable> private_mapping_, shared_mapping_;
  struct Version {  // mtime, ctime, size
    int64_t seconds;
    uint32_t nanoseconds;
    int64_t changed_seconds;
    uint32_t changed_nanoseconds;
    uint64_t size;
    bool operator==(const Version&) const = default;
  };
  std::optional<Version> mapped_version_;  // of the file when it was last mapped
  std::optional<std::string> link_target_;
  Listing listing_;
  std::unique_ptr<NamesAhead> ahead_;
  bool opened_ahead_ = false;  // and nobody has opened it since
};

// Open files, for GoferInode::open.
Result<vfs::FileRef> open_regular(const std::shared_ptr<GoferInode>& inode, const vfs::Path& path, int flags);
vfs::FileRef open_directory(const std::shared_ptr<GoferInode>& inode, const vfs::Path& path, int flags);

}  // namespace sentry::fs::gofer
