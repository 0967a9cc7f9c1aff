#include <fcntl.h>
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

GoferInode::GoferInode(GoferSuperblock& superblock, std::shared_ptr<GoferInode> parent, std::string_view name,
                       const protocol::Attr& attr)
    : vfs::Inode(superblock), parent_(std::move(parent)), name_(name), attr_(attr) {}

GoferInode::~GoferInode() {
  drop_ahead();
  release_handles();
  tree().remove(*this);
  tree().client->forget(id_);
  if (attr_.nlink == 0) tree().client->flush_soon();
}

Result<> GoferInode::refresh() {
  const Client::Reply reply = TRY(tree().call(protocol::Op::kGetattr, TRY(node())));
  protocol::Reader reader(reply.body);
  const auto attr = TRY(take<protocol::Attr>(reader));
  if ((attr.mode & S_IFMT) != (attr_.mode & S_IFMT)) return Errno(EIO);
  update(attr);
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
  if (change.size) finish_reads();
  const HandleRef writer = write_handle_.lock();
  if (change.size && writer != nullptr) request.handle = writer->id;
  const Client::Reply reply = TRY(call(protocol::Op::kSetattr, [&](protocol::Writer& w) { w.put(request); }));
  protocol::Reader reader(reply.body);
  update(TRY(take<protocol::Attr>(reader)));
  if (change.size) content_changes();
  return {};
}

Result<vfs::InodeRef> GoferInode::made(std::string_view name, Result<Client::Reply> reply) {
  name_asked(name, reply.ok());
  if (!reply.ok()) return reply.error();
  protocol::Reader reader(reply->body);
  return vfs::InodeRef(tree().adopt(TRY(take<protocol::Node>(reader))));
}

Result<vfs::InodeRef> GoferInode::create(std::string_view name, const vfs::NewNode& node) {
  if (S_ISREG(node.mode)) {
    auto reply = call(protocol::Op::kCreate, [&](protocol::Writer& w) {
      w.put(protocol::CreateRequest{O_RDWR, node.mode & 07777, node.uid, node.gid}).string(name);
    });
    name_asked(name, reply.ok());
    if (!reply.ok()) return reply.error();
    protocol::Reader reader(reply->body);
    const auto created = TRY(take<protocol::CreateReply>(reader));
    auto inode = tree().adopt(created.node);
    if (inode->id_ == created.node.id) {
      inode->set_handle(true, created.opened, reply->take_fd());
    } else {
      tree().client->forget(created.opened.handle);
    }
    return vfs::InodeRef(inode);
  }
  return made(
      name, call(protocol::Op::kMknod, [&](protocol::Writer& w) { w.put(make_request(node)).string(name); }));
}

Result<vfs::InodeRef> GoferInode::mkdir(std::string_view name, const vfs::NewNode& node) {
  protocol::MakeRequest request = make_request(node);
  request.mode &= 07777;
  auto inode =
      made(name, call(protocol::Op::kMkdir, [&](protocol::Writer& w) { w.put(request).string(name); }));
  if (inode.ok()) ++changing_attr().nlink;
  return inode;
}

Result<vfs::InodeRef> GoferInode::symlink(std::string_view name, const vfs::NewNode& node,
                                          std::string_view target) {
  protocol::MakeRequest request = make_request(node);
  request.mode = 0;
  return made(name, call(protocol::Op::kSymlink,
                         [&](protocol::Writer& w) { w.put(request).string(name).string(target); }));
}

Result<> GoferInode::link(std::string_view name, vfs::Inode& target) {
  auto& file = static_cast<GoferInode&>(target);
  const protocol::Id file_node = TRY(file.node());
  auto reply = call(protocol::Op::kLink,
                    [&](protocol::Writer& w) { w.put(protocol::LinkRequest{file_node}).string(name); });
  name_asked(name, reply.ok());
  if (!reply.ok()) return reply.error();
  protocol::Reader reader(reply->body);
  file.update(TRY(take<protocol::Attr>(reader)));
  return {};
}

Result<> GoferInode::unlink(std::string_view name, vfs::Inode& victim) {
  // Once the name is gone there is no way to it.
  TRY(static_cast<GoferInode&>(victim).node());
  auto reply = call(protocol::Op::kUnlink, [&](protocol::Writer& w) { w.string(name); });
  name_asked(name, reply.ok());
  if (!reply.ok()) return reply.error();
  return static_cast<GoferInode&>(victim).unlinked();
}

Result<> GoferInode::rmdir(std::string_view name, vfs::Inode& victim) {
  TRY(static_cast<GoferInode&>(victim).node());
  auto reply = call(protocol::Op::kRmdir, [&](protocol::Writer& w) { w.string(name); });
  name_asked(name, reply.ok());
  if (!reply.ok()) return reply.error();
  if (attr_.nlink > 2) --changing_attr().nlink;
  static_cast<GoferInode&>(victim).changing_attr().nlink = 0;
  return {};
}

Result<> GoferInode::rename(std::string_view name, vfs::Inode& node, vfs::Inode& new_dir,
                            std::string_view new_name, vfs::Inode* victim, unsigned flags) {
  auto& target = static_cast<GoferInode&>(new_dir);
  TRY(static_cast<GoferInode&>(node).node());
  if (victim != nullptr) TRY(static_cast<GoferInode&>(*victim).node());
  const protocol::Id target_node = TRY(target.node());
  auto reply = call(protocol::Op::kRename, [&](protocol::Writer& w) {
    w.put(protocol::RenameRequest{target_node, flags, 0}).string(name).string(new_name);
  });
  name_asked(name, reply.ok());
  target.name_asked(new_name, reply.ok());
  if (!reply.ok()) return reply.error();
  TRY(refresh());
  if (&target != this) TRY(target.refresh());
  TRY(static_cast<GoferInode&>(node).refresh());
  if (victim != nullptr) (void)static_cast<GoferInode&>(*victim).unlinked();
  return {};
}

Result<std::string> GoferInode::readlink() {
  if (!is_symlink()) return Errno(EINVAL);
  // The way to a node brings the target along.
  if (tree().exclusive() && !link_target_) TRY(node());
  if (link_target_ && tree().exclusive()) return *link_target_;
  const Client::Reply reply = TRY(tree().call(protocol::Op::kReadlink, TRY(node())));
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
  const Client::Reply reply = TRY(call(protocol::Op::kGetxattr, [&](protocol::Writer& w) {
    w.put(protocol::XattrRequest{static_cast<uint32_t>(protocol::kMaxInline), 0}).string(name);
  }));
  protocol::Reader reader(reply.body);
  TRY(take<protocol::XattrReply>(reader));
  return std::string(reinterpret_cast<const char*>(reader.rest().data()), reader.rest().size());
}

Result<> GoferInode::setxattr(std::string_view name, std::string_view value, int flags) {
  if (value.size() > protocol::kMaxInline) return Errno(E2BIG);
  TRY(call(protocol::Op::kSetxattr, [&](protocol::Writer& w) {
    w.put(protocol::SetxattrRequest{static_cast<uint32_t>(flags), static_cast<uint32_t>(value.size())});
    w.string(name).text(value);
  }));
  return {};
}

Result<std::vector<std::string>> GoferInode::listxattr() {
  const Client::Reply reply = TRY(call(protocol::Op::kListxattr, [&](protocol::Writer& w) {
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
  TRY(call(protocol::Op::kRemovexattr, [&](protocol::Writer& w) { w.string(name); }));
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

void GoferInode::name_asked(std::string_view name, bool changed) {
  listing_.reset();
  tree().drop_prefetched();
  if (ahead_ != nullptr) ahead_->forget(name);
  if (!changed) return;
  protocol::Attr& attr = changing_attr();
  attr.mtime = attr.ctime = to_timestamp(read_clock(CLOCK_REALTIME));
}

void GoferInode::content_changes() {
  if (const auto text = private_mapping_.lock()) text->text_changes();
}

void GoferInode::finish_reads() {
  if (const auto shown = private_mapping_.lock()) shown->finish_reads();
}

void GoferInode::grown(uint64_t end) {
  content_changes();
  protocol::Attr& attr = changing_attr();
  attr.size = std::max(attr.size, end);
  attr.blocks = std::max(attr.blocks, (attr.size + 4095) / 4096 * 8);
  attr.mtime = attr.ctime = to_timestamp(read_clock(CLOCK_REALTIME));
}

Result<uint64_t> GoferInode::current_size() {
  if (!tree().exclusive()) TRY(refresh());
  return attr_.size;
}

Result<HandleRef> GoferInode::handle(bool write) {
  if (HandleRef open = write_handle_.lock()) return open;
  if (!write) {
    if (HandleRef open = read_handle_.lock()) {
      if (std::exchange(opened_ahead_, false)) tree().used_ahead();
      return open;
    }
  }
  if (id_ == protocol::kNoId && !write) {
    const std::shared_ptr<GoferInode> directory = parent_;
    TRY(directory->open_files(self()));
    if (HandleRef open = read_handle_.lock()) return open;
  } else if (id_ == protocol::kNoId) {
    const Way way = TRY(walk({}, O_RDWR));
    if (HandleRef open = write_handle_.lock()) return open;
    if (way.open_error != 0) return Errno(way.open_error);
  }
  auto reply = TRY(call(protocol::Op::kOpen, [&](protocol::Writer& w) {
    w.put(protocol::OpenRequest{static_cast<uint32_t>(write ? O_RDWR : O_RDONLY), 0});
  }));
  protocol::Reader reader(reply.body);
  const auto opened = TRY(take<protocol::Opened>(reader));
  set_handle(write, opened, reply.take_fd());
  return (write ? write_handle_ : read_handle_).lock();
}

void GoferInode::set_handle(bool write, protocol::Opened opened, Fd fd) {
  auto handle = std::make_shared<Handle>(tree().client, opened.handle, std::move(fd),
                                         (opened.flags & protocol::kOpenedNowaitRead) != 0);
  (write ? write_handle_ : read_handle_) = handle;
  tree().keep(handle);
}

Result<> GoferInode::fallocate(const Handle& handle, int mode, uint64_t offset, uint64_t length) {
  finish_reads();
  TRY(tree().call(protocol::Op::kFallocate, handle.id, [&](protocol::Writer& w) {
    w.put(protocol::FallocateRequest{static_cast<uint32_t>(mode), 0, offset, length});
  }));
  content_changes();
  return {};
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
  uint64_t likely_end() const override { return inode_->attr().size; }
  bool stable() const override { return !inode_->written_through_mappings(); }
  Result<> sync(uint64_t, uint64_t) override {
    TRY(inode_->tree().call(protocol::Op::kFsync, handle_->id, [](protocol::Writer& w) {
      w.put(protocol::FsyncRequest{1, 0});
    }));
    return {};
  }
  Result<> punch(uint64_t offset, uint64_t length) override {
    TRY(inode_->fallocate(*handle_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
    return inode_->refresh();
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
  // Somebody outside may have written to it since.
  const Version version{attr_.mtime.seconds, attr_.mtime.nanoseconds, attr_.ctime.seconds,
                        attr_.ctime.nanoseconds, attr_.size};
  if (shared_write || std::exchange(mapped_version_, version) != version) content_changes();
  if (auto live = slot.lock()) return live;
  HandleRef open = TRY(handle(shared_write));
  if (!open->fd) return Errno(ENODEV);
  auto mapping = std::make_shared<FileMapping>(self(), std::move(open), path);
  slot = mapping;
  return std::shared_ptr<mm::Mappable>(mapping);
}

}  // namespace sentry::fs::gofer
