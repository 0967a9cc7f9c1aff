#include <linux/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>

#include "sentry/fs/gofer/tree.h"

namespace sentry::fs::gofer {
namespace {

Nanoseconds to_nanoseconds(const protocol::Timestamp& time) {
  return time.seconds * kSecond + static_cast<Nanoseconds>(time.nanoseconds);
}

protocol::Timestamp to_timestamp(Nanoseconds time) {
  Nanoseconds seconds = time / kSecond, rest = time % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  return {seconds, static_cast<uint32_t>(rest), 0};
}

protocol::MakeRequest make_request(const vfs::NewNode& node) { return {node.mode, node.uid, node.gid, 0}; }

}  // namespace

GoferInode::GoferInode(GoferSuperblock& superblock, const protocol::Node& node)
    : vfs::Inode(superblock), id_(node.id), attr_(node.attr) {}

GoferInode::~GoferInode() {
  release_handles();
  tree().remove(*this);
  tree().client->forget(id_);
  if (attr_.nlink == 0) tree().client->flush_soon();
}

Result<> GoferInode::refresh() {
  const Client::Reply reply = TRY(tree().call(protocol::Op::kGetattr, id_));
  protocol::Reader reader(reply.body);
  const auto attr = TRY(take<protocol::Attr>(reader));
  if ((attr.mode & S_IFMT) != (attr_.mode & S_IFMT)) return Errno(EIO);
  attr_ = attr;
  return {};
}

// Several host file systems may lie in one tree; their inode numbers must not meet.
uint64_t GoferInode::guest_ino() const {
  const auto root = std::static_pointer_cast<GoferInode>(tree().root());
  if (root == nullptr ||
      (root->attr_.dev_major == attr_.dev_major && root->attr_.dev_minor == attr_.dev_minor))
    return attr_.ino;
  return attr_.ino ^ (makedev(attr_.dev_major, attr_.dev_minor) << 44);
}

Result<vfs::Attributes> GoferInode::getattr() {
  if (!tree().exclusive()) TRY(refresh());
  vfs::Attributes out;
  out.ino = guest_ino();
  out.mode = attr_.mode;
  out.nlink = attr_.nlink;
  out.uid = attr_.uid;
  out.gid = attr_.gid;
  out.rdev = makedev(attr_.rdev_major, attr_.rdev_minor);
  out.size = attr_.size;
  out.blocks = attr_.blocks;
  out.blksize = attr_.blksize;
  out.atime = to_nanoseconds(attr_.atime);
  out.mtime = to_nanoseconds(attr_.mtime);
  out.ctime = to_nanoseconds(attr_.ctime);
  out.btime = (attr_.flags & protocol::kAttrHasBtime) != 0 ? to_nanoseconds(attr_.btime) : 0;
  return out;
}

Result<> GoferInode::setattr(const vfs::AttributeChange& change) {
  protocol::SetattrRequest request;
  if (change.mode) request.valid |= protocol::kSetMode, request.mode = *change.mode & 07777;
  if (change.uid) request.valid |= protocol::kSetUid, request.uid = *change.uid;
  if (change.gid) request.valid |= protocol::kSetGid, request.gid = *change.gid;
  if (change.size) request.valid |= protocol::kSetSize, request.size = *change.size;
  if (change.atime) request.valid |= protocol::kSetAtime, request.atime = to_timestamp(*change.atime);
  if (change.mtime) request.valid |= protocol::kSetMtime, request.mtime = to_timestamp(*change.mtime);
  if (request.valid == 0) return {};
  const HandleRef writer = write_handle_.lock();
  if (change.size && writer != nullptr) request.handle = writer->id;
  const Client::Reply reply =
      TRY(tree().call(protocol::Op::kSetattr, id_, [&](protocol::Writer& w) { w.put(request); }));
  protocol::Reader reader(reply.body);
  attr_ = TRY(take<protocol::Attr>(reader));
  return {};
}

Result<vfs::InodeRef> GoferInode::lookup(std::string_view name) {
  if (auto inode = tree().take_prefetched(id_, name)) return vfs::InodeRef(inode);
  const Client::Reply reply = TRY(tree().call(protocol::Op::kWalk, id_, [&](protocol::Writer& w) {
    w.put(protocol::WalkRequest{1, 0, 0}).string(name);
  }));
  protocol::Reader reader(reply.body);
  const auto walk = TRY(take<protocol::WalkReply>(reader));
  if (walk.count == 0) return Errno(walk.error > 0 && walk.error < 4096 ? walk.error : EIO);
  return vfs::InodeRef(tree().adopt(TRY(take<protocol::Node>(reader))));
}

void GoferInode::expect(std::string_view name, std::string_view rest) {
  std::vector<std::string_view> components{name};
  while (!rest.empty() && components.size() < protocol::kMaxWalk) {
    const size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
    if (component.empty()) continue;
    if (component == "." || component == ".." || component.size() > protocol::kMaxName) break;
    components.push_back(component);
  }
  if (components.size() < 2) return;
  tree().drop_prefetched();
  const auto reply = tree().call(protocol::Op::kWalk, id_, [&](protocol::Writer& w) {
    w.put(protocol::WalkRequest{static_cast<uint16_t>(components.size()), 0, 0});
    for (const std::string_view component : components) w.string(component);
  });
  if (!reply.ok()) return;  // the lookups will say why
  protocol::Reader reader(reply->body);
  const auto walk = reader.take<protocol::WalkReply>();
  if (!walk || walk->count > components.size()) return;
  protocol::Id parent = id_;
  for (size_t i = 0; i < walk->count; ++i) {
    const auto node = reader.take<protocol::Node>();
    if (!node) return;
    auto inode = tree().adopt(*node);
    tree().prefetch({parent, std::string(components[i]), inode});
    parent = inode->id();
  }
}

Result<vfs::InodeRef> GoferInode::made(Result<Client::Reply> reply) {
  names_changed();
  if (!reply.ok()) return reply.error();
  protocol::Reader reader(reply->body);
  return vfs::InodeRef(tree().adopt(TRY(take<protocol::Node>(reader))));
}

Result<vfs::InodeRef> GoferInode::create(std::string_view name, const vfs::NewNode& node) {
  if (S_ISREG(node.mode)) {
    auto reply = tree().call(protocol::Op::kCreate, id_, [&](protocol::Writer& w) {
      w.put(protocol::CreateRequest{O_RDWR, node.mode & 07777, node.uid, node.gid}).string(name);
    });
    names_changed();
    if (!reply.ok()) return reply.error();
    protocol::Reader reader(reply->body);
    const auto created = TRY(take<protocol::CreateReply>(reader));
    auto inode = tree().adopt(created.node);
    if (inode->id() == created.node.id) {
      auto handle = std::make_shared<Handle>(tree().client, created.opened.handle, std::move(reply->fd),
                                             (created.opened.flags & protocol::kOpenedNowaitRead) != 0);
      inode->write_handle_ = handle;
      tree().keep(handle);
    } else {
      tree().client->forget(created.opened.handle);
    }
    return vfs::InodeRef(inode);
  }
  return made(tree().call(protocol::Op::kMknod, id_,
                          [&](protocol::Writer& w) { w.put(make_request(node)).string(name); }));
}

Result<vfs::InodeRef> GoferInode::mkdir(std::string_view name, const vfs::NewNode& node) {
  protocol::MakeRequest request = make_request(node);
  request.mode &= 07777;
  auto inode =
      made(tree().call(protocol::Op::kMkdir, id_, [&](protocol::Writer& w) { w.put(request).string(name); }));
  if (inode.ok()) ++attr_.nlink;
  return inode;
}

Result<vfs::InodeRef> GoferInode::symlink(std::string_view name, const vfs::NewNode& node,
                                          std::string_view target) {
  protocol::MakeRequest request = make_request(node);
  request.mode = 0;
  return made(tree().call(protocol::Op::kSymlink, id_,
                          [&](protocol::Writer& w) { w.put(request).string(name).string(target); }));
}

Result<> GoferInode::link(std::string_view name, vfs::Inode& target) {
  auto& node = static_cast<GoferInode&>(target);
  auto reply = tree().call(protocol::Op::kLink, id_,
                           [&](protocol::Writer& w) { w.put(protocol::LinkRequest{node.id_}).string(name); });
  names_changed();
  if (!reply.ok()) return reply.error();
  protocol::Reader reader(reply->body);
  node.attr_ = TRY(take<protocol::Attr>(reader));
  return {};
}

Result<> GoferInode::unlink(std::string_view name, vfs::Inode& victim) {
  auto reply = tree().call(protocol::Op::kUnlink, id_, [&](protocol::Writer& w) { w.string(name); });
  names_changed();
  if (!reply.ok()) return reply.error();
  return static_cast<GoferInode&>(victim).unlinked();
}

Result<> GoferInode::rmdir(std::string_view name, vfs::Inode& victim) {
  auto reply = tree().call(protocol::Op::kRmdir, id_, [&](protocol::Writer& w) { w.string(name); });
  names_changed();
  if (!reply.ok()) return reply.error();
  if (attr_.nlink > 2) --attr_.nlink;
  static_cast<GoferInode&>(victim).attr_.nlink = 0;
  return {};
}

Result<> GoferInode::rename(std::string_view name, vfs::Inode& node, vfs::Inode& new_dir,
                            std::string_view new_name, vfs::Inode* victim, unsigned flags) {
  auto& target = static_cast<GoferInode&>(new_dir);
  auto reply = tree().call(protocol::Op::kRename, id_, [&](protocol::Writer& w) {
    w.put(protocol::RenameRequest{target.id_, flags, 0}).string(name).string(new_name);
  });
  names_changed();
  target.names_changed();
  if (!reply.ok()) return reply.error();
  TRY(refresh());
  if (&target != this) TRY(target.refresh());
  TRY(static_cast<GoferInode&>(node).refresh());
  if (victim != nullptr) (void)static_cast<GoferInode&>(*victim).unlinked();
  return {};
}

Result<std::string> GoferInode::readlink() {
  if (!is_symlink()) return Errno(EINVAL);
  if (link_target_ && tree().exclusive()) return *link_target_;
  const Client::Reply reply = TRY(tree().call(protocol::Op::kReadlink, id_));
  link_target_ = std::string(reply.body.begin(), reply.body.end());
  return *link_target_;
}

Result<vfs::FileRef> GoferInode::open(const vfs::Path& path, int flags) {
  switch (type()) {
    case S_IFDIR:
      return open_directory(self(), path, flags);
    case S_IFREG:
      return open_regular(self(), path, flags);
    default:
      return vfs::Inode::open(path, flags);
  }
}

Result<std::string> GoferInode::getxattr(std::string_view name) {
  const Client::Reply reply = TRY(tree().call(protocol::Op::kGetxattr, id_, [&](protocol::Writer& w) {
    w.put(protocol::XattrRequest{static_cast<uint32_t>(protocol::kMaxInline), 0}).string(name);
  }));
  protocol::Reader reader(reply.body);
  TRY(take<protocol::XattrReply>(reader));
  return std::string(reinterpret_cast<const char*>(reader.rest().data()), reader.rest().size());
}

Result<> GoferInode::setxattr(std::string_view name, std::string_view value, int flags) {
  if (value.size() > protocol::kMaxInline) return Errno(E2BIG);
  TRY(tree().call(protocol::Op::kSetxattr, id_, [&](protocol::Writer& w) {
    w.put(protocol::SetxattrRequest{static_cast<uint32_t>(flags), static_cast<uint32_t>(value.size())});
    w.string(name).text(value);
  }));
  return {};
}

Result<std::vector<std::string>> GoferInode::listxattr() {
  const Client::Reply reply = TRY(tree().call(protocol::Op::kListxattr, id_, [&](protocol::Writer& w) {
    w.put(protocol::XattrRequest{static_cast<uint32_t>(protocol::kMaxInline), 0});
  }));
  protocol::Reader reader(reply.body);
  TRY(take<protocol::XattrReply>(reader));
  std::string_view names(reinterpret_cast<const char*>(reader.rest().data()), reader.rest().size());
  std::vector<std::string> list;
  while (!names.empty()) {
    const size_t end = names.find('\0');
    if (end == std::string_view::npos) break;
    if (end > 0) list.emplace_back(names.substr(0, end));
    names.remove_prefix(end + 1);
  }
  return list;
}

Result<> GoferInode::removexattr(std::string_view name) {
  TRY(tree().call(protocol::Op::kRemovexattr, id_, [&](protocol::Writer& w) { w.string(name); }));
  return {};
}

void GoferInode::release_handles() {
  if (const HandleRef open = read_handle_.lock()) tree().release(open);
  if (const HandleRef open = write_handle_.lock()) tree().release(open);
}

Result<> GoferInode::unlinked() {
  release_handles();
  TRY(refresh());
  tree().client->flush_soon();
  return {};
}

void GoferInode::names_changed() {
  listing_.reset();
  const Nanoseconds now = read_clock(CLOCK_REALTIME);
  attr_.mtime = attr_.ctime = to_timestamp(now);
}

void GoferInode::grown(uint64_t end) {
  attr_.size = std::max(attr_.size, end);
  attr_.blocks = std::max(attr_.blocks, (attr_.size + 4095) / 4096 * 8);
  attr_.mtime = attr_.ctime = to_timestamp(read_clock(CLOCK_REALTIME));
}

Result<uint64_t> GoferInode::current_size() {
  if (!tree().exclusive()) TRY(refresh());
  return attr_.size;
}

Result<HandleRef> GoferInode::handle(bool write) {
  if (HandleRef open = write_handle_.lock()) return open;
  if (!write) {
    if (HandleRef open = read_handle_.lock()) return open;
  }
  auto reply = TRY(tree().call(protocol::Op::kOpen, id_, [&](protocol::Writer& w) {
    w.put(protocol::OpenRequest{static_cast<uint32_t>(write ? O_RDWR : O_RDONLY), 0});
  }));
  protocol::Reader reader(reply.body);
  const auto opened = TRY(take<protocol::Opened>(reader));
  auto handle = std::make_shared<Handle>(tree().client, opened.handle, std::move(reply.fd),
                                         (opened.flags & protocol::kOpenedNowaitRead) != 0);
  (write ? write_handle_ : read_handle_) = handle;
  tree().keep(handle);
  return handle;
}

namespace {

// The file's pages straight from the host's cache, by the donated descriptor. What lies beyond its end is the
// host's SIGBUS.
class FileMapping final : public mm::Mappable {
 public:
  FileMapping(std::shared_ptr<GoferInode> inode, HandleRef handle, vfs::Path path)
      : inode_(std::move(inode)), handle_(std::move(handle)), path_(std::move(path)) {}
  Result<Backing> backing(uint64_t offset, uint64_t length, bool) override {
    return Backing{handle_->fd.get(), offset, length};
  }
  Result<> sync(uint64_t, uint64_t) override {
    TRY(inode_->tree().call(protocol::Op::kFsync, handle_->id, [](protocol::Writer& w) {
      w.put(protocol::FsyncRequest{1, 0});
    }));
    return {};
  }
  Identity identity() const override {
    const uint64_t device = inode_->superblock().device();
    const std::shared_ptr<vfs::MountNamespace> space = inode_->tree().space();
    return {space == nullptr ? vfs::full_path(path_) : space->path_text(path_, space->root()), major(device),
            minor(device), inode_->attr().ino};
  }

 private:
  std::shared_ptr<GoferInode> inode_;
  HandleRef handle_;
  vfs::Path path_;  // as it was opened; unlinked since, it says so
};

}  // namespace

Result<std::shared_ptr<mm::Mappable>> GoferInode::mappable(bool shared_write, const vfs::Path& path) {
  auto& slot = shared_write ? shared_mapping_ : private_mapping_;
  if (auto live = slot.lock()) return live;
  HandleRef open = TRY(handle(shared_write));
  if (!open->fd) return Errno(ENODEV);
  auto mapping = std::make_shared<FileMapping>(self(), std::move(open), path);
  slot = mapping;
  return std::shared_ptr<mm::Mappable>(mapping);
}

Result<Listing> GoferInode::listing() {
  if (listing_ != nullptr && tree().exclusive()) return listing_;
  auto entries = std::make_shared<std::vector<DirectoryEntry>>();
  uint64_t cookie = 0;
  for (;;) {
    const Client::Reply reply = TRY(tree().call(protocol::Op::kReaddir, id_, [&](protocol::Writer& w) {
      w.put(protocol::ReaddirRequest{cookie, 0, 0});
    }));
    protocol::Reader reader(reply.body);
    const auto header = TRY(take<protocol::ReaddirReply>(reader));
    for (uint32_t i = 0; i < header.count; ++i) {
      const auto entry = TRY(take<protocol::DirEntry>(reader));
      const auto name = reader.text(entry.name_length);
      // Names are the gofer's word: none may lead anywhere else.
      if (!name || name->empty() || name->find('/') != std::string_view::npos ||
          name->find('\0') != std::string_view::npos)
        return Errno(EIO);
      entries->push_back({std::string(*name), entry.ino, entry.type});
      cookie = entry.next;
    }
    if (header.end != 0) break;
    if (header.count == 0) return Errno(EIO);
  }
  listing_ = entries;
  return Listing(entries);
}

}  // namespace sentry::fs::gofer
