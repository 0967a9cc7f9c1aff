#include "sentry/fs/pseudo/node.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>

#include "sentry/fs/pseudo/snapshot_budget.h"

namespace sentry::fs::pseudo {
namespace {

// Copying to a guest may park: what is being copied from is held by a reference of its own.

// A read position behind the text is its end; a write's position is counted but means nothing.
class TextFile final : public vfs::File, private SnapshotHolder {
 public:
  TextFile(vfs::Path path, vfs::InodeRef inode, int flags, const Generator& generator, const Writer& writer)
      : File(std::move(path), std::move(inode), flags), generator_(generator), writer_(writer) {}

  bool seekable() const override { return true; }

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override {
    const uint64_t from = options.offset.value_or(position);
    if (from == 0 || text_ == nullptr) {
      auto made = std::make_shared<const std::string>(TRY(generator_()));
      account(made->size());
      text_ = std::move(made);
    }
    const std::shared_ptr<const std::string> text = text_;
    if (from >= text->size()) return size_t{0};
    const size_t put = TRY(sink.put(text->data() + from, text->size() - static_cast<size_t>(from)));
    if (!options.offset) position = from + put;
    return put;
  }

  Result<size_t> write(mm::Source& source, const IoOptions& options) override {
    if (!writer_) return Errno(EIO);  // as proc and sysfs answer who may write by capability alone
    std::string text(static_cast<size_t>(std::min<uint64_t>(source.remaining(), kLongestWrite)), '\0');
    text.resize(TRY(source.get(text.data(), text.size())));
    TRY(writer_(text));
    if (!options.offset) position += text.size();
    return text.size();
  }

  Result<uint64_t> seek(int64_t offset, int whence) override {
    int64_t base = 0;
    if (whence == SEEK_CUR)
      base = static_cast<int64_t>(position);
    else if (whence != SEEK_SET)
      return Errno(EINVAL);
    int64_t target = 0;
    if (__builtin_add_overflow(base, offset, &target) || target < 0) return Errno(EINVAL);
    position = static_cast<uint64_t>(target);
    return position;
  }

 private:
  const Generator generator_;
  void drop() override { text_.reset(); }

  const Writer writer_;
  std::shared_ptr<const std::string> text_;
};

// Lists what there was at the last rewind; positions are indexes into that.
class DirectoryFile final : public vfs::File, private SnapshotHolder {
 public:
  DirectoryFile(vfs::Path path, std::shared_ptr<Directory> directory, int flags)
      : File(std::move(path), directory, flags), directory_(*directory) {}

  Result<size_t> read(mm::Sink&, const IoOptions&) override { return Errno(EISDIR); }
  bool seekable() const override { return true; }

  Result<> readdir(vfs::DirectorySink& sink) override {
    if (position == 0 || entries_ == nullptr) {
      auto made = std::make_shared<const std::vector<Directory::Entry>>(TRY(directory_.list()));
      account(made->size() * sizeof(Directory::Entry));
      entries_ = std::move(made);
    }
    const auto entries = entries_;
    for (;;) {
      const uint64_t at = position;
      if (at == 0) {
        if (!sink.add(".", directory_.number(), DT_DIR, 1)) return {};
      } else if (at == 1) {
        if (!sink.add("..", parent_number(), DT_DIR, 2)) return {};
      } else {
        if (at - 2 >= entries->size()) return {};
        const Directory::Entry& entry = (*entries)[static_cast<size_t>(at - 2)];
        if (!sink.add(entry.name, entry.number, entry.type, at + 1)) return {};
      }
      position = at + 1;
    }
  }

  Result<uint64_t> seek(int64_t offset, int whence) override {
    int64_t base = 0;
    if (whence == SEEK_CUR)
      base = static_cast<int64_t>(position);
    else if (whence != SEEK_SET)
      return Errno(EINVAL);
    int64_t target = 0;
    if (__builtin_add_overflow(base, offset, &target) || target < 0) return Errno(EINVAL);
    position = static_cast<uint64_t>(target);
    return position;
  }

 private:
  uint64_t parent_number() const {
    const vfs::DentryRef& dentry = path().dentry;
    if (dentry == nullptr || dentry->parent() == nullptr) return directory_.number();
    const Result<vfs::Attributes> attributes = dentry->parent()->inode()->getattr();
    return attributes.ok() ? attributes->ino : directory_.number();
  }

  void drop() override { entries_.reset(); }

  Directory& directory_;
  std::shared_ptr<const std::vector<Directory::Entry>> entries_;
};

}  // namespace

unsigned char directory_type(uint32_t mode) { return static_cast<unsigned char>(IFTODT(mode & S_IFMT)); }

Result<struct statfs> Superblock::statfs() {
  struct statfs facts {};
  facts.f_type = magic_;
  facts.f_bsize = facts.f_frsize = 4096;
  facts.f_namelen = 255;
  return facts;
}

Node::Node(vfs::Superblock& superblock, uint64_t number, uint32_t mode)
    : Inode(superblock), number_(number), mode_(mode), made_(read_clock(CLOCK_REALTIME)) {}

Result<vfs::Attributes> Node::getattr() {
  const Owner owner = TRY(this->owner());
  vfs::Attributes attributes;
  attributes.ino = number_;
  attributes.mode = mode_;
  attributes.uid = owner.uid;
  attributes.gid = owner.gid;
  attributes.blksize = 1024;
  attributes.atime = attributes.mtime = attributes.ctime = made_;
  return attributes;
}

Result<> Node::setattr(const vfs::AttributeChange& change) {
  if (change.mode || change.uid || change.gid || change.atime || change.mtime) return Errno(EPERM);
  return {};
}

Result<vfs::FileRef> TextNode::open(const vfs::Path& path, int flags) {
  return vfs::FileRef(std::make_shared<TextFile>(path, shared_from_this(), flags, generator_, writer_));
}

Result<vfs::Attributes> Directory::getattr() {
  vfs::Attributes attributes = TRY(Node::getattr());
  attributes.nlink = 2;
  return attributes;
}

Result<vfs::FileRef> Directory::open(const vfs::Path& path, int flags) {
  auto self = std::static_pointer_cast<Directory>(shared_from_this());
  return vfs::FileRef(std::make_shared<DirectoryFile>(path, std::move(self), flags));
}

Node* FixedDirectory::find(std::string_view name) const {
  const auto found = children_.find(name);
  return found == children_.end() ? nullptr : found->second.get();
}

Result<vfs::InodeRef> FixedDirectory::lookup(std::string_view name) {
  const auto found = children_.find(name);
  if (found == children_.end()) return Errno(ENOENT);
  return vfs::InodeRef(found->second);
}

Result<std::vector<Directory::Entry>> FixedDirectory::list() {
  std::vector<Entry> entries;
  for (const auto& [name, node] : children_)
    entries.push_back({name, node->number(), directory_type(node->type())});
  return entries;
}

bool TreeBuilder::node(std::string_view path, std::shared_ptr<Node> node) {
  const size_t slash = path.rfind('/');
  const auto parent = slash == std::string_view::npos ? root_ : directory(path.substr(0, slash));
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (parent == nullptr || name.empty()) return false;
  if (const Node* old = parent->find(name); old != nullptr && old->is_directory()) return false;
  parent->add(std::string(name), std::move(node));
  return true;
}

std::shared_ptr<FixedDirectory> TreeBuilder::directory(std::string_view path) {
  std::shared_ptr<FixedDirectory> at = root_;
  for (bool more = true; more;) {
    const size_t slash = path.find('/');
    more = slash != std::string_view::npos;
    const std::string_view name = path.substr(0, slash);
    if (name.empty()) return nullptr;
    if (more) path.remove_prefix(slash + 1);
    if (at->find(name) == nullptr)
      at->add(std::string(name),
              std::make_shared<FixedDirectory>(superblock_, superblock_.allocate_inode(), 0555));
    Node* found = at->find(name);
    if (!found->is_directory()) return nullptr;
    at = std::static_pointer_cast<FixedDirectory>(found->shared_from_this());
  }
  return at;
}

bool TreeBuilder::text(std::string_view path, Generator generator, uint32_t permissions, Writer writer) {
  return node(path, std::make_shared<TextNode>(superblock_, superblock_.allocate_inode(), permissions,
                                               std::move(generator), std::move(writer)));
}

bool TreeBuilder::constant(std::string_view path, std::string value, uint32_t permissions) {
  return text(
      path, [value = std::move(value)]() -> Result<std::string> { return value; }, permissions);
}

bool TreeBuilder::link(std::string_view path, std::string target) {
  return node(path, std::make_shared<LinkNode>(
                        superblock_, superblock_.allocate_inode(),
                        [target = std::move(target)]() -> Result<std::string> { return target; }));
}

}  // namespace sentry::fs::pseudo
