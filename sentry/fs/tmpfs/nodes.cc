#include "sentry/fs/tmpfs/nodes.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <mutex>
#include <utility>

#include "sentry/fs/tmpfs/graveyard.h"
#include "sentry/vfs/dentry.h"

namespace sentry::fs::tmpfs {
namespace {

using vfs::InodeRef;
using vfs::NewNode;

constexpr uint64_t kPage = Quota::kPage;
// What Linux shows as a directory's size for each entry (BOGO_DIRENT_SIZE).
constexpr uint64_t kEntrySize = 20;
// What statfs(2) shows as the whole where nothing limits it: programs take a file system of no blocks for a
// full one.
constexpr uint64_t kNominalPages = uint64_t{1} << 24;   // 64 GiB
constexpr uint64_t kNominalInodes = kNominalPages / 4;  // mke2fs(8)'s ratio

}  // namespace

Tmpfs::Tmpfs(mm::MemoryFile& memory, const Options& options)
    : memory_(memory),
      quota_(std::make_shared<Quota>((options.size_bytes + kPage - 1) / kPage, options.max_inodes,
                                     options.budget)),
      type_(options.type) {
  NewNode node;
  node.mode = S_IFDIR | (options.mode & 07777);
  node.uid = options.uid;
  node.gid = options.gid;
  // The root is free where the budget is used up: a mount that cannot be written to is still a mount.
  if (!quota_->charge_inode()) quota_ = std::make_shared<Quota>(1, 1, nullptr);
  root_ = std::make_shared<Directory>(*this, node);
}

Tmpfs::~Tmpfs() = default;

InodeRef Tmpfs::root() { return root_; }

Result<struct statfs> Tmpfs::statfs() {
  struct statfs answer {};
  answer.f_type = TMPFS_MAGIC;
  answer.f_bsize = answer.f_frsize = kPage;
  answer.f_namelen = 255;
  const uint64_t limit = quota_->limit_pages();
  answer.f_blocks = limit != 0 ? limit : kNominalPages;
  answer.f_bavail = answer.f_bfree =
      answer.f_blocks > quota_->pages() ? answer.f_blocks - quota_->pages() : 0;
  const uint64_t inodes = quota_->max_inodes();
  answer.f_files = inodes != 0 ? inodes : kNominalInodes;
  answer.f_ffree = answer.f_files > quota_->inodes() ? answer.f_files - quota_->inodes() : 0;
  return answer;
}

Result<std::shared_ptr<Node>> Tmpfs::make_node(const NewNode& node) {
  if (!quota_->charge_inode()) return Errno(ENOSPC);
  if (S_ISREG(node.mode)) return std::shared_ptr<Node>(std::make_shared<RegularFile>(*this, node));
  return std::make_shared<Node>(*this, node);
}

Result<std::shared_ptr<Node>> Tmpfs::make_symlink(const NewNode& node, std::string_view target) {
  if (!quota_->charge_inode()) return Errno(ENOSPC);
  return std::shared_ptr<Node>(std::make_shared<SymbolicLink>(*this, node, target));
}

Node::Node(Tmpfs& tmpfs, const NewNode& node)
    : Inode(tmpfs), metadata_(tmpfs.next_inode(), node), quota_(tmpfs.quota()) {}

Node::~Node() { quota_->release_inode(); }

void Node::touch_atime() {
  metadata_.touch_atime();
  vfs::changed(*this);
}

Result<> Node::setattr(const vfs::AttributeChange& change) {
  if (change.size) return Errno(type() == S_IFDIR ? EISDIR : EINVAL);
  metadata_.apply(change);
  return {};
}

Result<> Node::permission(const vfs::Credentials& credentials, int mask) {
  const vfs::Attributes& attributes = metadata_.attributes;
  return vfs::check_permission(attributes.mode, attributes.uid, attributes.gid, credentials, mask);
}

RegularFile::RegularFile(Tmpfs& tmpfs, const NewNode& node)
    : Node(tmpfs, node),
      content_(tmpfs.memory(), tmpfs.quota(), this, this),
      device_(tmpfs.device()),
      map_ino_(metadata_.attributes.ino),
      seals_(F_SEAL_SEAL),
      linkable_(node.linkable) {}

Result<vfs::Attributes> RegularFile::getattr() {
  vfs::Attributes attributes = metadata_.attributes;
  attributes.size = content_.size();
  attributes.blocks = content_.blocks();
  return attributes;
}

Result<> RegularFile::setattr(const vfs::AttributeChange& change) {
  if (change.size) {
    const std::unique_lock lock(content_.lock());
    if (*change.size > content_.size() && (seals_ & F_SEAL_GROW) != 0) return Errno(EPERM);
    if (*change.size < content_.size() && (seals_ & F_SEAL_SHRINK) != 0) return Errno(EPERM);
    TRY(content_.resize(*change.size));
  }
  metadata_.apply(change);
  return {};
}

Result<vfs::FileRef> RegularFile::open(const vfs::Path& path, int flags) {
  return vfs::FileRef(
      std::make_shared<OpenRegular>(path, std::static_pointer_cast<RegularFile>(shared_from_this()), flags));
}

Result<mm::Mappable::Backing> RegularFile::backing(uint64_t offset, uint64_t length, bool shared_write) {
  if (shared_write && !std::exchange(written_through_mappings_, true)) text_changes();
  return content_.backing(offset, length);
}

Result<> RegularFile::punch(uint64_t offset, uint64_t length) {
  const std::unique_lock lock(content_.lock());
  if ((seals_ & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Errno(EPERM);
  TRY(content_.punch(offset, length));
  metadata_.touch_mtime();
  return {};
}

mm::Mappable::Identity RegularFile::identity() const {
  return {place_.text(), major(device_), minor(device_), map_ino_};
}

Result<> RegularFile::add_seals(int seals) {
  constexpr int kAll =
      F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | 0x20 /* EXEC */;
  if ((seals & ~kAll) != 0) return Errno(EINVAL);
  if ((seals_ & F_SEAL_SEAL) != 0) return Errno(EPERM);
  // fcntl(2): EBUSY while a shared writable mapping exists. We know of mappings, and whether one was ever
  // writable.
  if ((seals & F_SEAL_WRITE) != 0 && (seals_ & F_SEAL_WRITE) == 0) {
    if (mapped() && written_through_mappings_) return Errno(EBUSY);
    written_through_mappings_ = false;
  }
  seals_ |= seals;
  return {};
}

Result<size_t> OpenRegular::read_at(mm::Sink& sink, uint64_t offset, bool) {
  const mm::MappableOpener mapping = [this] { return mmap(PROT_READ, MAP_SHARED); };
  const size_t count = TRY(node_->content().read(sink, offset, mapping));
  const Nanoseconds now = read_clock(CLOCK_REALTIME_COARSE);
  if (vfs::access_time_due(path(), flags(), node_->metadata().attributes, now)) node_->touch_atime();
  return count;
}

Result<size_t> OpenRegular::write_at(mm::Source& source, uint64_t& offset, bool append, bool,
                                     vfs::SetId set_id) {
  const std::unique_lock lock(node_->content().lock());
  Content& content = node_->content();
  if (append) offset = content.size();
  const int seals = node_->seals();
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Errno(EPERM);
  if ((seals & F_SEAL_GROW) != 0 && source.remaining() > content.size() - std::min(offset, content.size()))
    return Errno(EPERM);
  const size_t count = TRY(content.write(source, offset));
  if (count == 0) return count;
  data_changed(set_id);
  return count;
}

Result<std::shared_ptr<mm::Mappable>> OpenRegular::mmap(int prot, int flags) {
  const bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
  if (shared && (node_->seals() & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0 && (prot & PROT_WRITE) != 0)
    return Errno(EPERM);
  // A mapping holds on to the place, not only to the file: the mount stays in use, the name stays known.
  struct Mapped {
    vfs::Path path;
    std::shared_ptr<RegularFile> node;
  };
  node_->remember_place(path());
  return std::shared_ptr<mm::Mappable>(std::make_shared<Mapped>(Mapped{path(), node_}), node_.get());
}

void OpenRegular::data_changed(vfs::SetId set_id) {
  uint32_t& mode = node_->metadata().attributes.mode;
  if (set_id == vfs::SetId::kDropped) mode = vfs::without_set_id(mode);
  node_->metadata().touch_mtime();
}

Result<> OpenRegular::fallocate(int mode, uint64_t offset, uint64_t length, vfs::SetId set_id) {
  // ZERO_RANGE is more than Linux's tmpfs does; the overlay's files, which share this code, stand for ones
  // that do.
  const bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const std::unique_lock lock(node_->content().lock());
  Content& content = node_->content();
  const int seals = node_->seals();
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      if (!keep && offset + length > content.size() && (seals & F_SEAL_GROW) != 0) return Errno(EPERM);
      TRY(content.allocate(offset, length, keep));
      break;
    case FALLOC_FL_PUNCH_HOLE:
      if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Errno(EPERM);
      TRY(content.punch(offset, length));
      break;
    case FALLOC_FL_ZERO_RANGE:
      if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return Errno(EPERM);
      if (!keep && offset + length > content.size() && (seals & F_SEAL_GROW) != 0) return Errno(EPERM);
      TRY(content.punch(offset, length));
      TRY(content.allocate(offset, length, keep));
      break;
    default:
      return Errno(EOPNOTSUPP);
  }
  data_changed(set_id);
  return {};
}

Result<int> OpenRegular::seals() { return node_->seals(); }

Result<> OpenRegular::add_seals(int seals) {
  if (!writable()) return Errno(EPERM);
  return node_->add_seals(seals);
}

std::string OpenRegular::description() { return path().dentry->name(); }

Directory::~Directory() { names_.drain(bury); }

Result<vfs::Attributes> Directory::getattr() {
  vfs::Attributes attributes = metadata_.attributes;
  attributes.size = kEntrySize * (2 + names_.size());
  return attributes;
}

void Directory::add(std::string_view name, std::shared_ptr<Node> node) {
  if (node->is_directory()) ++metadata_.attributes.nlink;
  names_.add(name, std::move(node));
}

std::shared_ptr<Node> Directory::take(std::string_view name) {
  std::shared_ptr<Node> node = names_.take(name);
  if (node != nullptr && node->is_directory()) --metadata_.attributes.nlink;
  return node;
}

Result<InodeRef> Directory::lookup(std::string_view name) {
  const auto* entry = names_.find(name);
  if (entry == nullptr) return Errno(ENOENT);
  return InodeRef(entry->node);
}

Result<InodeRef> Directory::create(std::string_view name, const NewNode& node) {
  if (removed_) return Errno(ENOENT);
  if (names_.find(name) != nullptr) return Errno(EEXIST);
  std::shared_ptr<Node> made = TRY(tmpfs().make_node(node));
  add(name, made);
  changed();
  return InodeRef(std::move(made));
}

Result<InodeRef> Directory::mkdir(std::string_view name, const NewNode& node) {
  if (removed_) return Errno(ENOENT);
  if (names_.find(name) != nullptr) return Errno(EEXIST);
  if (!tmpfs().quota()->charge_inode()) return Errno(ENOSPC);
  auto made = std::make_shared<Directory>(tmpfs(), node);
  add(name, made);
  changed();
  return InodeRef(std::move(made));
}

Result<InodeRef> Directory::symlink(std::string_view name, const NewNode& node, std::string_view target) {
  if (removed_) return Errno(ENOENT);
  if (names_.find(name) != nullptr) return Errno(EEXIST);
  std::shared_ptr<Node> made = TRY(tmpfs().make_symlink(node, target));
  add(name, made);
  changed();
  return InodeRef(std::move(made));
}

Result<InodeRef> Directory::tmpfile(const NewNode& node) {
  if (removed_) return Errno(ENOENT);
  std::shared_ptr<Node> made = TRY(tmpfs().make_node(node));
  made->metadata().attributes.nlink = 0;
  return InodeRef(std::move(made));
}

Result<> Directory::link(std::string_view name, vfs::Inode& target) {
  if (removed_) return Errno(ENOENT);
  if (names_.find(name) != nullptr) return Errno(EEXIST);
  auto node = std::static_pointer_cast<Node>(target.shared_from_this());
  if (!node->linkable()) return Errno(ENOENT);
  ++node->metadata().attributes.nlink;
  node->metadata().touch_ctime();
  add(name, std::move(node));
  changed();
  return {};
}

// What a node loses with its name.
void Directory::drop(Node& node) {
  if (node.is_directory()) {
    static_cast<Directory&>(node).removed_ = true;
    node.metadata().attributes.nlink = 0;
  } else {
    --node.metadata().attributes.nlink;
  }
  node.metadata().touch_ctime();
}

Result<> Directory::unlink(std::string_view name, vfs::Inode&) {
  const std::shared_ptr<Node> node = take(name);
  if (node == nullptr) return Errno(ENOENT);
  drop(*node);
  changed();
  return {};
}

Result<> Directory::check_empty(Node& node) const {
  return !node.is_directory() || static_cast<Directory&>(node).names_.empty() ? Result<>()
                                                                              : Result<>(Errno(ENOTEMPTY));
}

Result<> Directory::rmdir(std::string_view name, vfs::Inode&) {
  const auto* entry = names_.find(name);
  if (entry == nullptr) return Errno(ENOENT);
  if (!entry->node->is_directory()) return Errno(ENOTDIR);
  TRY(check_empty(*entry->node));
  drop(*entry->node);
  take(name);
  changed();
  return {};
}

Result<> Directory::rename(std::string_view name, vfs::Inode&, vfs::Inode& new_dir, std::string_view new_name,
                           vfs::Inode*, unsigned flags) {
  auto& target = static_cast<Directory&>(new_dir);
  if (target.removed_ || names_.find(name) == nullptr) return Errno(ENOENT);
  auto* victim = target.names_.find(new_name);
  // A name that stays keeps its cookie, whatever it stands for: readers of the directory go on seeing it.
  const auto replace = [](Directory& directory, NameTable<Node>::Entry& entry, std::shared_ptr<Node>& node) {
    directory.metadata_.attributes.nlink +=
        (node->is_directory() ? 1u : 0u) - (entry.node->is_directory() ? 1u : 0u);
    node->metadata().touch_ctime();
    std::swap(entry.node, node);
  };
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (victim == nullptr) return Errno(ENOENT);
    auto* mine = names_.find(name);
    std::shared_ptr<Node> node = mine->node;
    replace(target, *victim, node);
    replace(*this, *mine, node);
  } else if (victim != nullptr) {
    if ((flags & RENAME_NOREPLACE) != 0) return Errno(EEXIST);
    TRY(check_empty(*victim->node));
    std::shared_ptr<Node> node = take(name);
    replace(target, *victim, node);
    drop(*node);
  } else {
    std::shared_ptr<Node> node = take(name);
    node->metadata().touch_ctime();
    target.add(new_name, std::move(node));
  }
  changed();
  target.changed();
  return {};
}

Result<vfs::FileRef> Directory::open(const vfs::Path& path, int flags) {
  return vfs::FileRef(
      std::make_shared<OpenDirectory>(path, std::static_pointer_cast<Directory>(shared_from_this()), flags));
}

bool Directory::list(vfs::DirectorySink& sink, uint64_t& position, uint64_t end) const {
  return names_.each(position, end, [&](const auto& entry) {
    const auto type = static_cast<unsigned char>(IFTODT(entry.node->type()));
    if (!sink.add(entry.name, entry.node->ino(), type, entry.cookie + 1)) return false;
    position = entry.cookie + 1;
    return true;
  });
}

Result<> OpenDirectory::readdir(vfs::DirectorySink& sink) {
  auto& directory = static_cast<Directory&>(*inode());
  if (add_dots(sink)) directory.list(sink, position, end_);
  const Nanoseconds now = read_clock(CLOCK_REALTIME);
  if (vfs::access_time_due(path(), flags(), directory.metadata().attributes, now)) directory.touch_atime();
  return {};
}

Result<uint64_t> OpenDirectory::seek(int64_t offset, int whence) {
  end_ = static_cast<Directory&>(*inode()).end_cookie();
  return DirectoryFile::seek(offset, whence);
}

std::shared_ptr<vfs::Superblock> make_tmpfs(mm::MemoryFile& memory, const Options& options) {
  return std::make_shared<Tmpfs>(memory, options);
}

Result<vfs::FileRef> make_memfd(mm::MemoryFile& memory, const MemfdOptions& options,
                                const vfs::CredentialsRef& owner) {
  // Where the kernel has its internal tmpfs (shm_mnt). Outlives every memfd.
  static Tmpfs& hidden = *new Tmpfs(memory, Options{.max_inodes = 0});
  NewNode node;
  node.mode = S_IFREG | (options.noexec_seal ? 0666 : 0777);
  node.uid = owner->fsuid;
  node.gid = owner->fsgid;
  node.linkable = false;
  const auto made = std::static_pointer_cast<RegularFile>(TRY(hidden.make_node(node)));
  made->metadata().attributes.nlink = 0;
  // memfd_create(2): MFD_NOEXEC_SEAL implies sealing and comes with F_SEAL_EXEC.
  made->set_seals(options.noexec_seal ? 0x20 : options.sealable ? 0 : F_SEAL_SEAL);
  const std::string name = "/memfd:" + options.name + " (deleted)";
  constexpr int kLargeFile = 0100000;
  vfs::FileRef file = TRY(made->open(vfs::anonymous_path(made, name), O_RDWR | kLargeFile));
  file->credentials = owner;
  return file;
}

}  // namespace sentry::fs::tmpfs
