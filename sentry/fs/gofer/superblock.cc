#include <sys/sysmacros.h>

#include <algorithm>

#include "sentry/base/log.h"
#include "sentry/fs/gofer/tree.h"

namespace sentry::fs::gofer {
namespace {
constexpr size_t kKeptHandles = 256;
constexpr size_t kKeptAhead = 64;  // files that were opened ahead
constexpr size_t kNamesAfterPressure = 512;
constexpr size_t kNamesAhead = 16384;  // of all directories: some 4 MiB
}  // namespace

GoferSuperblock::~GoferSuperblock() {
  // Inodes take themselves off the list as they go: they go first.
  prefetched_.clear();
  opened_.clear();
  handles_.clear();
  root_.reset();
}

Result<struct statfs> GoferSuperblock::statfs() {
  const Client::Reply reply = TRY(call(protocol::Op::kStatfs, TRY(root_->node())));
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

GoferSuperblock::Identity GoferSuperblock::identity(const protocol::Attr& attr) {
  return {makedev(attr.dev_major, attr.dev_minor), attr.ino};
}

std::shared_ptr<GoferInode> GoferSuperblock::living(uint64_t device, uint64_t ino) const {
  const auto found = inodes_.find({device, ino});
  if (found == inodes_.end()) return nullptr;
  return std::static_pointer_cast<GoferInode>(found->second->weak_from_this().lock());
}

std::shared_ptr<GoferInode> GoferSuperblock::living(const protocol::Attr& attr) const {
  const auto [device, ino] = identity(attr);
  auto inode = living(device, ino);
  const bool same = inode != nullptr && (inode->attr().mode & S_IFMT) == (attr.mode & S_IFMT);
  return same ? inode : nullptr;
}

std::shared_ptr<GoferInode> GoferSuperblock::adopt(const protocol::Node& node) {
  if (auto inode = living(node.attr); inode != nullptr && inode->become(node).ok()) return inode;
  auto inode = std::make_shared<GoferInode>(*this, node);
  add(*inode);
  return inode;
}

std::shared_ptr<GoferInode> GoferSuperblock::adopt(const std::shared_ptr<GoferInode>& parent,
                                                   std::string_view name, const protocol::Attr& attr) {
  if (auto inode = living(attr)) return inode;
  // By another of its names it may have been changed, and forgotten since.
  if (attr.nlink != 1 && !S_ISDIR(attr.mode)) return nullptr;
  auto inode = std::make_shared<GoferInode>(*this, parent, name, attr);
  add(*inode);
  return inode;
}

void GoferSuperblock::add(GoferInode& inode) { inodes_[identity(inode.attr())] = &inode; }

void GoferSuperblock::remove(const GoferInode& inode) {
  const auto found = inodes_.find(identity(inode.attr()));
  if (found != inodes_.end() && found->second == &inode) inodes_.erase(found);
}

bool GoferSuperblock::changes_files(protocol::Op op) {
  switch (op) {
    case protocol::Op::kCreate:
    case protocol::Op::kMkdir:
    case protocol::Op::kMknod:
    case protocol::Op::kSymlink:
    case protocol::Op::kLink:
    case protocol::Op::kUnlink:
    case protocol::Op::kRmdir:
    case protocol::Op::kRename:
    case protocol::Op::kSetattr:
    case protocol::Op::kSetxattr:
    case protocol::Op::kRemovexattr:
    case protocol::Op::kWrite:
    case protocol::Op::kFallocate:
      return true;
    default:
      return false;
  }
}

void GoferSuperblock::have_ahead(const std::shared_ptr<GoferInode>& directory, size_t added) {
  if (ahead_.empty() || ahead_.back().lock() != directory) ahead_.push_back(directory);
  // Looking through them all is for now and then: what is left each time has room to grow until the next.
  added_ahead_ += added + 1;
  if (added_ahead_ <= kNamesAhead / 2) return;
  added_ahead_ = 0;
  std::deque<std::weak_ptr<GoferInode>> kept;
  size_t all = 0;
  for (auto place = ahead_.rbegin(); place != ahead_.rend(); ++place) {
    const auto one = place->lock();
    if (one == nullptr || one->ahead() == 0) continue;
    all += one->ahead();
    if (all <= kNamesAhead / 2 || one == directory)
      kept.push_front(*place);
    else
      one->drop_ahead();  // the older ones have had their time
  }
  ahead_ = std::move(kept);
}

void GoferSuperblock::keep(const HandleRef& handle) {
  handles_.push_front(handle);
  if (handles_.size() > kKeptHandles) handles_.pop_back();
}

void GoferSuperblock::release(const HandleRef& handle) { handles_.remove(handle); }

void GoferSuperblock::opened_ahead(std::shared_ptr<GoferInode> inode) {
  ++opened_ahead_;
  opened_.push_back(std::move(inode));
  if (opened_.size() > kKeptAhead) opened_.pop_front();
}

bool GoferSuperblock::opens_ahead() {
  constexpr unsigned kJudged = 64;
  if (opened_ahead_ < kJudged) return true;
  const bool worth = used_ahead_ * 2 >= opened_ahead_;
  opened_ahead_ /= 2;
  used_ahead_ /= 2;
  return worth;
}

void GoferSuperblock::make_room() {
  drop_prefetched();
  opened_.clear();
  handles_.clear();
  if (const auto space = options_.space.lock()) space->dentries().trim(kNamesAfterPressure);
  client->flush();
}

bool GoferSuperblock::has_prefetched(const GoferInode& parent, std::string_view name) const {
  return std::any_of(prefetched_.begin(), prefetched_.end(), [&](const Prefetched& entry) {
    return entry.parent.get() == &parent && entry.name == name;
  });
}

std::optional<Result<std::shared_ptr<GoferInode>>> GoferSuperblock::take_prefetched(const GoferInode& parent,
                                                                                    std::string_view name) {
  const auto entry = std::find_if(prefetched_.begin(), prefetched_.end(), [&](const Prefetched& one) {
    return one.parent.get() == &parent && one.name == name;
  });
  if (entry == prefetched_.end()) return std::nullopt;
  auto found = std::move(entry->found);
  prefetched_.erase(entry);
  return found;
}

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
