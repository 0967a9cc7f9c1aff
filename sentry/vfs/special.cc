#include "sentry/vfs/special.h"

#include "sentry/vfs/filesystem_type.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

namespace sentry::vfs {
namespace {

SpecialOpener& fifo_opener() {
  static SpecialOpener opener;
  return opener;
}

std::map<std::string, FilesystemMaker, std::less<>>& makers() {
  static std::map<std::string, FilesystemMaker, std::less<>> known;
  return known;
}

}  // namespace

void register_filesystem(std::string name, FilesystemMaker maker) {
  makers()[std::move(name)] = std::move(maker);
}

Result<std::shared_ptr<Superblock>> make_filesystem(std::string_view name, std::string_view data) {
  const auto found = makers().find(name);
  if (found == makers().end()) return Errno(ENODEV);
  return found->second(data);
}

std::vector<std::string> filesystem_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : makers()) names.push_back(name);
  return names;
}

DeviceRegistry& DeviceRegistry::current() {
  static DeviceRegistry registry;
  return registry;
}

void DeviceRegistry::add(uint32_t type, unsigned major, unsigned minor, SpecialOpener opener) {
  add_range(type, major, minor, 1, std::move(opener));
}

void DeviceRegistry::add_range(uint32_t type, unsigned major, unsigned first, unsigned count,
                               SpecialOpener opener) {
  ranges_[{type, major, first}] = {first + count - 1, std::move(opener)};
}

Result<FileRef> DeviceRegistry::open(uint32_t type, uint64_t rdev, const Path& path, const InodeRef& inode,
                                     int flags) const {
  constexpr unsigned kAccess[] = {1, 2, 3, 0};  // of O_RDONLY, O_WRONLY, O_RDWR; 3 is for ioctl(2) alone
  if (!permits(type, rdev, kAccess[flags & O_ACCMODE])) return Errno(EPERM);
  const unsigned number_major = major(rdev), number_minor = minor(rdev);
  auto range = ranges_.upper_bound({type, number_major, number_minor});
  if (range == ranges_.begin()) return Errno(ENXIO);
  --range;
  const auto& [found_type, found_major, first] = range->first;
  if (found_type != type || found_major != number_major || range->second.last < number_minor)
    return Errno(ENXIO);
  return range->second.opener(path, inode, flags);
}

bool DeviceRegistry::permits(uint32_t type, uint64_t rdev, unsigned access) const {
  return !policy_ || policy_(type, major(rdev), minor(rdev), access);
}

void set_fifo_opener(SpecialOpener opener) { fifo_opener() = std::move(opener); }

Result<FileRef> open_fifo(const Path& path, const InodeRef& inode, int flags) {
  if (!fifo_opener()) return Errno(ENXIO);
  return fifo_opener()(path, inode, flags);
}

Result<FileRef> open_special(const Path& path, const InodeRef& inode, int flags) {
  switch (inode->type()) {
    case S_IFCHR:
    case S_IFBLK: {
      const Attributes attributes = TRY(inode->getattr());
      return DeviceRegistry::current().open(inode->type(), attributes.rdev, path, inode, flags);
    }
    case S_IFIFO:
      return open_fifo(path, inode, flags);
    case S_IFLNK:
      return Errno(ELOOP);
    default:
      return Errno(ENXIO);
  }
}

}  // namespace sentry::vfs
