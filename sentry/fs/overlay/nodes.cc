#include "sentry/fs/overlay/nodes.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <mutex>

#include "sentry/vfs/bounce_buffer.h"
#include "sentry/vfs/dentry.h"

namespace sentry::fs::overlay {
namespace {

using vfs::InodeRef;

// Where the numbers of files made here begin: lower file systems have long been given theirs.
constexpr uint64_t kOwnInodes = uint64_t{1} << 48;

bool all_zeros(const std::byte* data, size_t size) {
  return size == 0 || (data[0] == std::byte{0} && std::memcmp(data, data + 1, size - 1) == 0);
}

}  // namespace

// A lower file in guest memory: the lower backing under the overlay's name and numbers.
class LowerMapping final : public mm::Mappable {
 public:
  LowerMapping(const vfs::Path& path, std::shared_ptr<mm::Mappable> lower, uint64_t device, uint64_t ino)
      : path_(path), lower_(std::move(lower)), device_(device), ino_(ino) {}
  Result<Backing> backing(uint64_t offset, uint64_t length, bool shared_write) override {
    return lower_->backing(offset, length, shared_write);
  }
  uint64_t likely_end() const override { return lower_->likely_end(); }
  bool stable() const override {
    return true;
  }  // nobody else uses the lower tree, and writes here go elsewhere
  const vfs::Path& path() const { return path_; }
  Identity identity() const override { return {vfs::full_path(path_), major(device_), minor(device_), ino_}; }

 private:
  vfs::Path path_;  // keeps the mount, and with it the lower file system
  std::shared_ptr<mm::Mappable> lower_;
  uint64_t device_, ino_;
};

Overlay::Overlay(std::shared_ptr<vfs::Superblock> lower, mm::MemoryFile& memory, const Options& options)
    : lower_(std::move(lower)), type_(options.type) {
  tmpfs::Options own;
  own.size_bytes = options.size_bytes;
  own.max_inodes = 0;
  own.budget = options.budget;
  upper_ = std::make_shared<tmpfs::Tmpfs>(memory, own);
  root_ = adopt(lower_->root());
}

Overlay::~Overlay() {
  root_.reset();
  changed_.clear();
}

InodeRef Overlay::root() { return root_; }

Result<struct statfs> Overlay::statfs() {
  struct statfs answer = TRY(upper_->statfs());
  answer.f_type = OVERLAYFS_SUPER_MAGIC;
  // The root takes its block: of a file system that is in use something is used.
  if (answer.f_bfree != 0) --answer.f_bfree;
  if (answer.f_bavail != 0) --answer.f_bavail;
  return answer;
}

std::shared_ptr<Node> Overlay::adopt(const InodeRef& lower) {
  std::weak_ptr<Node>& known = known_[lower.get()];
  if (auto node = known.lock()) return node;
  std::shared_ptr<Node> node;
  if (lower->is_directory())
    node = std::make_shared<Directory>(*this, lower, nullptr);
  else if (S_ISREG(lower->type()))
    node = std::make_shared<RegularFile>(*this, lower, nullptr);
  else
    node = std::make_shared<Node>(*this, lower, nullptr);
  known = node;
  return node;
}

std::shared_ptr<Node> Overlay::make(std::shared_ptr<tmpfs::Node> upper) {
  if (upper->is_directory()) return std::make_shared<Directory>(*this, nullptr, std::move(upper));
  if (!S_ISREG(upper->type())) return std::make_shared<Node>(*this, nullptr, std::move(upper));
  static_cast<tmpfs::RegularFile&>(*upper).set_identity(device(), kOwnInodes + upper->ino());
  return std::make_shared<RegularFile>(*this, nullptr, std::move(upper));
}

void Overlay::keep(Node& node, bool keep) {
  if (node.lower() == nullptr) return;
  if (keep)
    changed_[node.lower().get()] = std::static_pointer_cast<Node>(node.shared_from_this());
  else
    changed_.erase(node.lower().get());
}

void Overlay::forget(const vfs::Inode& lower) {
  const auto found = known_.find(&lower);
  if (found != known_.end() && found->second.expired()) known_.erase(found);
}

Node::Node(Overlay& overlay, InodeRef lower, std::shared_ptr<tmpfs::Node> upper)
    : Inode(overlay),
      lower_(std::move(lower)),
      upper_(std::move(upper)),
      type_(lower_ != nullptr ? lower_->type() : upper_->type()) {
  if (lower_ == nullptr) ino_ = kOwnInodes + upper_->ino();
}

Node::~Node() {
  if (lower_ != nullptr) overlay().forget(*lower_);
}

Result<vfs::Attributes> Node::getattr() {
  if (upper_ == nullptr) return lower_->getattr();
  vfs::Attributes attributes = upper_->metadata().attributes;
  attributes.ino = ino_;
  return attributes;
}

Result<> Node::permission(const vfs::Credentials& credentials, int mask) {
  return upper_ != nullptr ? upper_->permission(credentials, mask) : lower_->permission(credentials, mask);
}

Result<std::string> Node::readlink() { return lower_ != nullptr ? lower_->readlink() : upper_->readlink(); }

Result<> Node::copy_up() {
  if (upper_ != nullptr) return {};
  const std::unique_lock lock(copying_);
  if (upper_ != nullptr) return {};
  const vfs::Attributes attributes = TRY(lower_->getattr());
  vfs::NewNode node;
  node.mode = type_;  // for what it is here, any type but a regular file is its attributes
  std::shared_ptr<tmpfs::Node> upper = TRY(overlay().upper().make_node(node));
  upper->metadata().attributes = attributes;
  ino_ = attributes.ino;
  if (S_ISREG(type_)) static_cast<tmpfs::RegularFile&>(*upper).set_identity(superblock().device(), ino_);
  upper_ = std::move(upper);
  if (asked_change_key() != vfs::kNobodyAsked) upper_->count_changes_at(asked_change_key());
  overlay().keep(*this, true);
  return {};
}

void Node::count_changes_at(vfs::ChangeKey key) {
  Inode::count_changes_at(key);
  if (lower_ != nullptr) lower_->count_changes_at(key);
  if (upper_ != nullptr) upper_->count_changes_at(key);
}

Result<> Node::setattr(const vfs::AttributeChange& change) {
  if (change.size) return Errno(is_directory() ? EISDIR : EINVAL);
  TRY(copy_up());
  upper_->metadata().apply(change);
  return {};
}

void Node::name_removed() {
  vfs::Attributes& attributes = upper_->metadata().attributes;
  attributes.nlink = is_directory() || attributes.nlink == 0 ? 0 : attributes.nlink - 1;
  upper_->metadata().touch_ctime();
  if (attributes.nlink == 0) overlay().keep(*this, false);
}

void Node::name_added() {
  ++upper_->metadata().attributes.nlink;
  upper_->metadata().touch_ctime();
  overlay().keep(*this, true);
}

Result<> Node::copy_up_xattrs() {
  TRY(copy_up());
  if (!xattrs_below()) return {};
  const std::unique_lock lock(copying_);
  if (!xattrs_below()) return {};
  std::vector<std::pair<std::string, std::string>> found;
  const Result<std::vector<std::string>> names = lower_->listxattr();
  if (!names.ok() && !names.is(EOPNOTSUPP)) return names.error();
  if (names.ok()) {
    for (const std::string& name : *names) {
      Result<std::string> value = lower_->getxattr(name);
      if (value.ok()) found.emplace_back(name, std::move(*value));
    }
  }
  for (auto& [name, value] : found) upper_->metadata().adopt_xattr(std::move(name), std::move(value));
  xattrs_copied_ = true;
  return {};
}

Result<std::string> Node::getxattr(std::string_view name) {
  return xattrs_below() ? lower_->getxattr(name) : upper_->getxattr(name);
}

Result<std::vector<std::string>> Node::listxattr() {
  return xattrs_below() ? lower_->listxattr() : upper_->listxattr();
}

Result<> Node::setxattr(std::string_view name, std::string_view value, int flags) {
  TRY(copy_up_xattrs());
  return upper_->setxattr(name, value, flags);
}

Result<> Node::removexattr(std::string_view name) {
  // What is not there need not be copied for: each chown asks (security.capability).
  if (xattrs_below()) (void)TRY(lower_->getxattr(name));
  TRY(copy_up_xattrs());
  return upper_->removexattr(name);
}

Result<vfs::Attributes> RegularFile::getattr() {
  if (upper_ == nullptr) return lower_->getattr();
  vfs::Attributes attributes = TRY(upper_->getattr());
  attributes.ino = ino();
  if (!copied()) {
    const vfs::Attributes below = TRY(lower_->getattr());
    attributes.size = below.size;
    attributes.blocks = below.blocks;
  }
  return attributes;
}

Result<> RegularFile::setattr(const vfs::AttributeChange& change) {
  if (change.size) TRY(copy_contents(*change.size));
  TRY(copy_up());
  if (change.size) {
    TRY(upper_->setattr(change));
    leave_lower();
    return {};
  }
  upper_->metadata().apply(change);
  return {};
}

Result<> RegularFile::copy_contents(uint64_t size) {
  if (copied()) return {};
  TRY(copy_up());
  const std::unique_lock lock(copying_);
  if (copied()) return {};
  tmpfs::Content& content = upper_file().content();
  if (size != 0) {
    const vfs::FileRef source = TRY(lower_->open({}, O_RDONLY));
    size = std::min(size, TRY(lower_->getattr()).size);
    const auto copy = [&]() -> Result<> {
      vfs::BounceBuffer buffer;
      for (uint64_t offset = 0; offset < size;) {
        mm::BufferSink sink(buffer.data(), std::min<uint64_t>(buffer.size(), size - offset));
        vfs::File::IoOptions options;
        options.offset = offset;
        const size_t count = TRY(source->read(sink, options));
        if (count == 0) break;
        // Holes stay holes.
        if (!all_zeros(buffer.data(), count)) {
          mm::BufferSource bytes(buffer.data(), count);
          if (TRY(content.write(bytes, offset)) != count) return Errno(ENOSPC);
        }
        offset += count;
      }
      return content.resize(size);
    };
    if (const Result<> done = copy(); !done.ok()) {
      (void)content.resize(0);
      return done;
    }
  }
  contents_copied_ = true;
  vfs::changed(*this);
  leave_lower();
  return {};
}

// A private mapping keeps the lower file's pages as far as both files go: whether it shows later writes is
// left open by mmap(2), but not that it ends where the file does.
void RegularFile::leave_lower() {
  const std::shared_ptr<LowerMapping> lower = lower_mapping_.lock();
  if (lower == nullptr) return;
  // As with tmpfs, a mapping holds on to the place.
  struct Mapped {
    vfs::Path path;
    std::shared_ptr<tmpfs::RegularFile> file;
  };
  auto upper = std::static_pointer_cast<tmpfs::RegularFile>(upper_);
  upper->remember_place(lower->path());
  const auto mapped = std::make_shared<Mapped>(Mapped{lower->path(), upper});
  const Result<vfs::Attributes> below = lower_->getattr();
  const uint64_t size = std::min(upper->content().size(), below.ok() ? below->size : ~uint64_t{0});
  lower->give_way(std::shared_ptr<mm::Mappable>(mapped, upper.get()), mm::page_ceil(size));
}

Result<std::shared_ptr<mm::Mappable>> RegularFile::map_lower(vfs::File& lower, int prot, int flags,
                                                             const vfs::Path& path) {
  if (auto living = lower_mapping_.lock()) return living;
  const uint64_t ino = TRY(getattr()).ino;
  auto mapping =
      std::make_shared<LowerMapping>(path, TRY(lower.mmap(prot, flags)), superblock().device(), ino);
  lower_mapping_ = mapping;
  return std::shared_ptr<mm::Mappable>(mapping);
}

std::shared_ptr<vfs::Superblock> make_overlay(std::shared_ptr<vfs::Superblock> lower, mm::MemoryFile& memory,
                                              const Options& options) {
  return std::make_shared<Overlay>(std::move(lower), memory, options);
}

}  // namespace sentry::fs::overlay
