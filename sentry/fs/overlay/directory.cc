#include <dirent.h>
#include <linux/fs.h>

#include "sentry/fs/overlay/nodes.h"
#include "sentry/fs/tmpfs/graveyard.h"
#include "sentry/vfs/dentry.h"

namespace sentry::fs::overlay {
namespace {

using vfs::InodeRef;
using vfs::NewNode;

// Positions of names that are the overlay's own begin here; below are those of the lower directory.
constexpr uint64_t kOwnPositions = uint64_t{1} << 62;
// Directories here show the size of an ext4 directory's first block.
constexpr uint64_t kDirectorySize = 4096;

// The lower directory's entries but for the hidden ones.
class VisibleEntries final : public vfs::DirectorySink {
 public:
  VisibleEntries(const Directory& directory, vfs::DirectorySink& sink, uint64_t& position)
      : directory_(directory), sink_(sink), position_(position) {}
  bool add(std::string_view name, uint64_t ino, unsigned char type, uint64_t next) override {
    if (!directory_.hides(name) && !sink_.add(name, ino, type, next)) {
      full_ = true;
      return false;
    }
    any_ = true;
    position_ = next;
    return true;
  }
  bool full() const { return full_; }
  // Whether there were entries since the last question.
  bool take_any() { return std::exchange(any_, false); }

 private:
  const Directory& directory_;
  vfs::DirectorySink& sink_;
  uint64_t& position_;
  bool full_ = false, any_ = false;
};

// Refuses the first entry: whether a directory has one that is visible.
class FirstEntry final : public vfs::DirectorySink {
 public:
  bool add(std::string_view name, uint64_t, unsigned char, uint64_t) override {
    if (name == "." || name == "..") return true;
    found = true;
    return false;
  }
  bool found = false;
};

// Reads a lower directory from `position` to its end or until the sink is full; whether it came to the end.
Result<bool> read_lower(vfs::File& lower, const Directory& directory, vfs::DirectorySink& sink,
                        uint64_t& position) {
  VisibleEntries visible(directory, sink, position);
  do {
    lower.position = position;
    TRY(lower.readdir(visible));
  } while (!visible.full() && visible.take_any());
  return !visible.full();
}

class OpenDirectory final : public vfs::DirectoryFile {
 public:
  OpenDirectory(const vfs::Path& path, std::shared_ptr<Directory> directory, vfs::FileRef lower, int flags)
      : DirectoryFile(path, directory, flags),
        directory_(std::move(directory)),
        lower_(std::move(lower)),
        end_(directory_->end_cookie()) {}

  Result<> readdir(vfs::DirectorySink& sink) override {
    if (!add_dots(sink)) return {};
    if (position < kOwnPositions) {
      if (lower_ != nullptr && !TRY(read_lower(*lower_, *directory_, sink, position))) return {};
      position = kOwnPositions;
    }
    uint64_t cookie = position - kOwnPositions;
    directory_->list(sink, cookie, end_);
    position = kOwnPositions + cookie;
    return {};
  }

  Result<uint64_t> seek(int64_t offset, int whence) override {
    TRY(DirectoryFile::seek(offset, whence));
    end_ = directory_->end_cookie();
    // rewinddir(3) sees what has changed below as well.
    if (position == 0 && lower_ != nullptr) lower_ = TRY(directory_->lower()->open({}, flags()));
    return position;
  }

 private:
  std::shared_ptr<Directory> directory_;
  vfs::FileRef lower_;  // null: all names are our own
  uint64_t end_;
};

}  // namespace

Directory::~Directory() { names_.drain(tmpfs::bury); }

Result<InodeRef> Directory::lookup(std::string_view name) {
  if (const auto* entry = names_.find(name)) return InodeRef(entry->node);
  if (lower_ == nullptr || hides(name)) return Errno(ENOENT);
  return InodeRef(overlay().adopt(TRY(lower_->lookup(name))));
}

void Directory::expect(std::string_view name, std::string_view rest, bool open) {
  if (lower_ != nullptr && names_.find(name) == nullptr && !hides(name)) lower_->expect(name, rest, open);
}

Result<> Directory::ready_to_change() {
  if (removed_) return Errno(ENOENT);
  return copy_up();
}

void Directory::add(std::string_view name, std::shared_ptr<Node> node) {
  if (node->is_directory()) ++attributes().nlink;
  names_.add(name, std::move(node));
}

// The name may be one of our own or the lower directory's.
void Directory::remove(std::string_view name, const Node& node) {
  if (node.is_directory()) --attributes().nlink;
  if (names_.take(name) == nullptr) hidden_.emplace(name);
}

void Directory::replace(std::string_view name, const Node& before, std::shared_ptr<Node> after) {
  auto* entry = names_.find(name);
  if (entry == nullptr) {
    remove(name, before);
    add(name, std::move(after));
    return;
  }
  // It keeps its place in listings.
  attributes().nlink += (after->is_directory() ? 1u : 0u) - (before.is_directory() ? 1u : 0u);
  entry->node = std::move(after);
}

Result<InodeRef> Directory::made(std::string_view name, Result<std::shared_ptr<tmpfs::Node>> upper) {
  std::shared_ptr<Node> node = overlay().make(TRY(std::move(upper)));
  add(name, node);
  changed();
  return InodeRef(std::move(node));
}

Result<InodeRef> Directory::create(std::string_view name, const NewNode& node) {
  TRY(ready_to_change());
  return made(name, overlay().upper().make_node(node));
}

Result<InodeRef> Directory::mkdir(std::string_view name, const NewNode& node) {
  TRY(ready_to_change());
  auto upper = overlay().upper().make_node(node);
  if (upper.ok()) (*upper)->metadata().attributes.size = kDirectorySize;
  return made(name, std::move(upper));
}

Result<InodeRef> Directory::symlink(std::string_view name, const NewNode& node, std::string_view target) {
  TRY(ready_to_change());
  return made(name, overlay().upper().make_symlink(node, target));
}

Result<InodeRef> Directory::tmpfile(const NewNode& node) {
  TRY(ready_to_change());
  const std::shared_ptr<tmpfs::Node> upper = TRY(overlay().upper().make_node(node));
  upper->metadata().attributes.nlink = 0;
  return InodeRef(overlay().make(upper));
}

Result<> Directory::link(std::string_view name, vfs::Inode& target) {
  auto node = std::static_pointer_cast<Node>(target.shared_from_this());
  TRY(ready_to_change());
  TRY(node->copy_up());
  if (!node->upper()->linkable()) return Errno(ENOENT);
  node->name_added();
  add(name, std::move(node));
  changed();
  return {};
}

Result<> Directory::unlink(std::string_view name, vfs::Inode& victim) {
  auto& node = static_cast<Node&>(victim);
  TRY(ready_to_change());
  TRY(node.copy_up());
  const InodeRef guard = victim.shared_from_this();
  remove(name, node);
  node.name_removed();
  changed();
  return {};
}

Result<> Directory::check_empty() {
  if (!names_.empty()) return Errno(ENOTEMPTY);
  if (lower_ == nullptr) return {};
  const vfs::FileRef below = TRY(lower_->open({}, O_RDONLY | O_DIRECTORY));
  FirstEntry first;
  uint64_t position = tmpfs::NameTable<Node>::kFirstCookie;  // behind . and ..
  (void)TRY(read_lower(*below, *this, first, position));
  return first.found ? Result<>(Errno(ENOTEMPTY)) : Result<>();
}

Result<> Directory::rmdir(std::string_view name, vfs::Inode& victim) {
  auto& node = static_cast<Directory&>(victim);
  TRY(node.check_empty());
  TRY(ready_to_change());
  TRY(node.copy_up());
  const InodeRef guard = victim.shared_from_this();
  remove(name, node);
  node.removed_ = true;
  node.name_removed();
  changed();
  return {};
}

Result<> Directory::rename(std::string_view name, vfs::Inode& moved, vfs::Inode& new_dir,
                           std::string_view new_name, vfs::Inode* replaced, unsigned flags) {
  auto& target = static_cast<Directory&>(new_dir);
  const auto node = std::static_pointer_cast<Node>(moved.shared_from_this());
  const auto victim = replaced != nullptr ? std::static_pointer_cast<Node>(replaced->shared_from_this())
                                          : std::shared_ptr<Node>();
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  // All that can fail or park comes first.
  if (victim != nullptr) {
    if (!exchange && victim->is_directory()) TRY(static_cast<Directory&>(*victim).check_empty());
    TRY(victim->copy_up());
  }
  TRY(node->copy_up());
  TRY(ready_to_change());
  TRY(target.ready_to_change());

  if (exchange) {
    target.replace(new_name, *victim, node);
    replace(name, *node, victim);
    victim->upper()->metadata().touch_ctime();
  } else {
    remove(name, *node);
    if (victim != nullptr) {
      target.replace(new_name, *victim, node);
      if (victim->is_directory()) static_cast<Directory&>(*victim).removed_ = true;
      victim->name_removed();
    } else {
      target.add(new_name, node);
    }
  }
  node->upper()->metadata().touch_ctime();
  changed();
  target.changed();
  return {};
}

Result<vfs::FileRef> Directory::open(const vfs::Path& path, int flags) {
  vfs::FileRef below;
  if (lower_ != nullptr) below = TRY(lower_->open({}, flags));
  return vfs::FileRef(std::make_shared<OpenDirectory>(
      path, std::static_pointer_cast<Directory>(shared_from_this()), std::move(below), flags));
}

bool Directory::list(vfs::DirectorySink& sink, uint64_t& cookie, uint64_t end) const {
  return names_.each(cookie, end, [&](const auto& entry) {
    const auto type = static_cast<unsigned char>(IFTODT(entry.node->type()));
    if (!sink.add(entry.name, entry.node->ino(), type, kOwnPositions + entry.cookie + 1)) return false;
    cookie = entry.cookie + 1;
    return true;
  });
}

}  // namespace sentry::fs::overlay
