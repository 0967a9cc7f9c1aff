#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/base/log.h"
#include "sentry/fs/gofer/tree.h"

namespace sentry::fs::gofer {
namespace {
constexpr size_t kKeptHandles = 256;
constexpr size_t kNamesAfterPressure = 512;
}  // namespace

GoferSuperblock::~GoferSuperblock() {
  // Inodes take themselves off the list as they go: they go first.
  prefetched_.clear();
  handles_.clear();
  root_.reset();
}

Result<struct statfs> GoferSuperblock::statfs() {
  const Client::Reply reply = TRY(call(protocol::Op::kStatfs, root_->id()));
  protocol::Reader reader(reply.body);
  const auto host = TRY(take<protocol::StatfsReply>(reader));
  struct statfs out {};
  out.f_type = static_cast<decltype(out.f_type)>(host.type);
  out.f_bsize = static_cast<decltype(out.f_bsize)>(host.block_size);
  out.f_blocks = host.blocks;
  out.f_bfree = host.blocks_free;
  out.f_bavail = host.blocks_available;
  out.f_files = host.files;
  out.f_ffree = host.files_free;
  out.f_namelen = static_cast<decltype(out.f_namelen)>(host.name_length);
  out.f_frsize = static_cast<decltype(out.f_frsize)>(host.fragment_size);
  return out;
}

vfs::InodeRef GoferSuperblock::root() { return root_; }

std::shared_ptr<GoferInode> GoferSuperblock::adopt(const protocol::Node& node) {
  const Identity identity{makedev(node.attr.dev_major, node.attr.dev_minor), node.attr.ino};
  const auto found = inodes_.find(identity);
  if (found != inodes_.end()) {
    auto living = std::static_pointer_cast<GoferInode>(found->second->weak_from_this().lock());
    if (living != nullptr && (living->attr().mode & S_IFMT) == (node.attr.mode & S_IFMT)) {
      if (living->id() != node.id) client->forget(node.id);
      living->update(node.attr);
      return living;
    }
  }
  auto inode = std::make_shared<GoferInode>(*this, node);
  inodes_[identity] = inode.get();
  return inode;
}

void GoferSuperblock::remove(const GoferInode& inode) {
  const auto found =
      inodes_.find({makedev(inode.attr().dev_major, inode.attr().dev_minor), inode.attr().ino});
  if (found != inodes_.end() && found->second == &inode) inodes_.erase(found);
}

void GoferSuperblock::keep(const HandleRef& handle) {
  handles_.push_front(handle);
  if (handles_.size() > kKeptHandles) handles_.pop_back();
}

void GoferSuperblock::release(const HandleRef& handle) { handles_.remove(handle); }

void GoferSuperblock::make_room() {
  drop_prefetched();
  handles_.clear();
  if (const auto space = options_.space.lock()) space->dentries().trim(kNamesAfterPressure);
  client->flush();
}

std::shared_ptr<GoferInode> GoferSuperblock::take_prefetched(protocol::Id parent, std::string_view name) {
  for (auto entry = prefetched_.begin(); entry != prefetched_.end(); ++entry) {
    if (entry->parent != parent || entry->name != name) continue;
    auto inode = std::move(entry->inode);
    prefetched_.erase(entry);
    return inode;
  }
  return nullptr;
}

void GoferSuperblock::prefetch(Prefetched entry) { prefetched_.push_back(std::move(entry)); }

Result<std::shared_ptr<vfs::Superblock>> make_tree(kernel::Kernel& kernel, std::shared_ptr<Client> client,
                                                   const TreeOptions& options) {
  const Client::Reply reply =
      TRY(client->call(protocol::Op::kAttach, protocol::kNoId, [&](protocol::Writer& w) {
        w.put(protocol::AttachRequest{options.attach, 0});
      }));
  protocol::Reader reader(reply.body);
  const auto attached = TRY(take<protocol::AttachReply>(reader));
  auto superblock = std::make_shared<GoferSuperblock>(kernel, std::move(client), options);
  superblock->read_only = (attached.flags & protocol::kAttachReadOnly) != 0;
  superblock->set_root(superblock->adopt(attached.node));
  return std::shared_ptr<vfs::Superblock>(superblock);
}

}  // namespace sentry::fs::gofer
