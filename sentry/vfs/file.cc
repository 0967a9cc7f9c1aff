#include "sentry/vfs/file.h"

#include <dirent.h>
#include <unistd.h>

#include <mutex>

#include "sentry/vfs/anonymous_inode.h"
#include "sentry/vfs/dentry.h"
#include "sentry/vfs/lock.h"
#include "sentry/vfs/notify.h"

namespace sentry::vfs {
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
  return std::make_shared<AnonymousInode>(mode, std::move(name), owner);
}

std::string anonymous_name(const Inode& inode) {
  const auto* anonymous = dynamic_cast<const AnonymousInode*>(&inode);
  return anonymous != nullptr ? anonymous->name() : std::string();
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
