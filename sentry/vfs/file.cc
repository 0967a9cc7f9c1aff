#include "sentry/vfs/file.h"

#include <dirent.h>
#include <linux/magic.h>
#include <unistd.h>

#include <mutex>

#include "sentry/vfs/dentry.h"
#include "sentry/vfs/lock.h"
#include "sentry/vfs/notify.h"

namespace sentry::vfs {
namespace {

// The superblocks of what has no name: pipefs, sockfs, anon_inodefs.
class NamelessSuperblock final : public Superblock {
 public:
  NamelessSuperblock(const char* type, long magic) : type_(type), magic_(magic) {}
  const char* type() const override { return type_; }
  InodeRef root() override { return nullptr; }
  Result<struct statfs> statfs() override {
    struct statfs answer = TRY(Superblock::statfs());
    answer.f_type = magic_;
    return answer;
  }
  uint64_t next_inode() { return ++last_; }

 private:
  const char* type_;
  long magic_;
  uint64_t last_ = 0;
};

// They outlive every inode: descriptors may close while the process ends.
NamelessSuperblock& nameless(uint32_t mode) {
  static NamelessSuperblock& pipes = *new NamelessSuperblock("pipefs", PIPEFS_MAGIC);
  static NamelessSuperblock& sockets = *new NamelessSuperblock("sockfs", SOCKFS_MAGIC);
  static NamelessSuperblock& others = *new NamelessSuperblock("anon_inodefs", ANON_INODE_FS_MAGIC);
  return S_ISFIFO(mode) ? pipes : S_ISSOCK(mode) ? sockets : others;
}

class NamelessInode final : public Inode {
 public:
  NamelessInode(uint32_t mode, std::string name, const CredentialsRef& owner)
      : Inode(nameless(mode)), name_(std::move(name)) {
    attributes_.ino = nameless(mode).next_inode();
    attributes_.mode = mode;
    if (owner != nullptr) {
      attributes_.uid = owner->fsuid;
      attributes_.gid = owner->fsgid;
    }
    attributes_.atime = attributes_.mtime = attributes_.ctime = attributes_.btime =
        read_clock(CLOCK_REALTIME);
  }
  Result<Attributes> getattr() override { return attributes_; }
  uint32_t type() const override { return attributes_.mode & S_IFMT; }
  Result<> permission(const Credentials& credentials, int mask) override {
    return check_permission(attributes_.mode, attributes_.uid, attributes_.gid, credentials, mask);
  }
  // fchmod, fchown and futimens work on pipes and sockets.
  Result<> setattr(const AttributeChange& change) override {
    if (change.size) return Errno(EINVAL);
    if (change.mode) attributes_.mode = (attributes_.mode & S_IFMT) | (*change.mode & 07777);
    attributes_.uid = change.uid.value_or(attributes_.uid);
    attributes_.gid = change.gid.value_or(attributes_.gid);
    attributes_.atime = change.atime.value_or(attributes_.atime);
    attributes_.mtime = change.mtime.value_or(attributes_.mtime);
    attributes_.ctime = read_clock(CLOCK_REALTIME);
    return {};
  }
  std::string name() const {
    // "pipe" shows its number; "anon_inode:[eventfd]" is complete.
    if (name_.find('[') != std::string::npos) return name_;
    return fmt::format("{}:[{}]", name_, attributes_.ino);
  }

 private:
  std::string name_;
  Attributes attributes_;
};

}  // namespace

File::~File() {
  if ((flags_ & O_PATH) == 0) notify(path_, writable() ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
  if (inode_ == nullptr || !inode_->has_locks()) return;
  if (counts_as_writer) --inode_->locks().writers;
  release_locks(*inode_, this);
}

Result<> File::set_status_flags(int flags) {
  constexpr int kChangeable = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
  flags_ = (flags_ & ~kChangeable) | (flags & kChangeable);
  return {};
}

Result<> File::truncate(uint64_t size, SetId set_id) { return resize(*inode_, size, set_id); }

std::string File::description() {
  if (path_) return path_.dentry->name();
  return inode_ != nullptr ? anonymous_name(*inode_) : std::string();
}

Result<size_t> SeekableFile::read(mm::Sink& sink, const IoOptions& options) {
  if (options.offset) return read_at(sink, *options.offset, options.nowait);
  const std::unique_lock lock(position_lock_);
  const size_t count = TRY(read_at(sink, position, options.nowait));
  position += count;
  return count;
}

Result<size_t> SeekableFile::write(mm::Source& source, const IoOptions& options) {
  const bool append = options.append || (flags() & O_APPEND) != 0;
  if (options.offset) {
    uint64_t offset = *options.offset;
    return write_at(source, offset, append, options.nowait, options.set_id);
  }
  const std::unique_lock lock(position_lock_);
  uint64_t offset = position;
  const size_t count = TRY(write_at(source, offset, append, options.nowait, options.set_id));
  position = offset + count;
  return count;
}

Result<uint64_t> SeekableFile::find_data(uint64_t offset, bool data) {
  if (data) return offset;
  return size();
}

Result<uint64_t> SeekableFile::seek(int64_t offset, int whence) {
  const std::unique_lock lock(position_lock_);
  int64_t base = 0;
  switch (whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      if (offset == 0) return position;
      base = static_cast<int64_t>(position);
      break;
    case SEEK_END:
      base = static_cast<int64_t>(TRY(size()));
      break;
    case SEEK_DATA:
    case SEEK_HOLE: {
      const uint64_t end = TRY(size());
      if (offset < 0 || static_cast<uint64_t>(offset) >= end) return Errno(ENXIO);
      position = TRY(find_data(static_cast<uint64_t>(offset), whence == SEEK_DATA));
      return position;
    }
    default:
      return Errno(EINVAL);
  }
  int64_t target = 0;
  if (__builtin_add_overflow(base, offset, &target) || target < 0) return Errno(EINVAL);
  position = static_cast<uint64_t>(target);
  return position;
}

Result<uint64_t> DirectoryFile::seek(int64_t offset, int whence) {
  switch (whence) {
    case SEEK_SET:
      break;
    case SEEK_CUR:
      if (__builtin_add_overflow(offset, static_cast<int64_t>(position), &offset)) return Errno(EINVAL);
      break;
    default:
      return Errno(EINVAL);
  }
  if (offset < 0) return Errno(EINVAL);
  position = static_cast<uint64_t>(offset);
  return position;
}

bool DirectoryFile::add_dots(DirectorySink& sink) {
  if (position == 0) {
    const Result<Attributes> self = inode()->getattr();
    if (!sink.add(".", self.ok() ? self->ino : 0, DT_DIR, 1)) return false;
    position = 1;
  }
  if (position == 1) {
    const DentryRef& parent = path().dentry->parent();
    const Result<Attributes> above = (parent != nullptr ? parent->inode() : inode())->getattr();
    if (!sink.add("..", above.ok() ? above->ino : 0, DT_DIR, 2)) return false;
    position = 2;
  }
  return true;
}

InodeRef make_anonymous_inode(uint32_t mode, std::string name, const CredentialsRef& owner) {
  return std::make_shared<NamelessInode>(mode, std::move(name), owner);
}

std::string anonymous_name(const Inode& inode) {
  const auto* nameless_inode = dynamic_cast<const NamelessInode*>(&inode);
  return nameless_inode != nullptr ? nameless_inode->name() : std::string();
}

Path place_of(const File& file) {
  if (file.path()) return file.path();
  return anonymous_path(file.inode(), anonymous_name(*file.inode()));
}

bool access_time_due(const Path& path, int flags, const Attributes& attributes, Nanoseconds now) {
  if ((flags & O_NOATIME) != 0 || path.mount == nullptr) return false;
  const Mount& mount = *path.mount;
  if (mount.read_only || mount.noatime || mount.superblock->read_only) return false;
  if (mount.nodiratime && attributes.is_directory()) return false;
  if (!mount.relatime) return true;
  constexpr Nanoseconds kDay = 24 * 3600 * kSecond;
  return attributes.atime <= attributes.mtime || attributes.atime <= attributes.ctime ||
         now - attributes.atime >= kDay;
}

}  // namespace sentry::vfs
