#include "sentry/fs/tmpfs/metadata.h"
#include "sentry/vfs/attribute_change.h"

#include <sys/xattr.h>

namespace sentry::fs::tmpfs {
namespace {

bool known_prefix(std::string_view name) {
  for (const std::string_view prefix : {"user.", "trusted.", "security."})
    if (name.starts_with(prefix) && name.size() > prefix.size()) return true;
  return false;
}

}  // namespace

Metadata::Metadata(uint64_t ino, const vfs::NewNode& node) {
  attributes.ino = ino;
  attributes.mode = node.mode;
  attributes.uid = node.uid;
  attributes.gid = node.gid;
  attributes.rdev = node.rdev;
  attributes.nlink = S_ISDIR(node.mode) ? 2 : 1;
  attributes.atime = attributes.mtime = attributes.ctime = attributes.btime = read_clock(CLOCK_REALTIME);
}

void Metadata::apply(const vfs::AttributeChange& change) {
  vfs::apply(change, attributes);
  if (change.size && !change.mtime) attributes.mtime = attributes.ctime;
}

void Metadata::touch_ctime() { attributes.ctime = read_clock(CLOCK_REALTIME); }
void Metadata::touch_mtime() { attributes.mtime = attributes.ctime = read_clock(CLOCK_REALTIME); }
void Metadata::touch_atime() { attributes.atime = read_clock(CLOCK_REALTIME); }

Result<std::string> Metadata::getxattr(std::string_view name) const {
  if (!known_prefix(name)) return Errno(EOPNOTSUPP);
  if (xattrs_ == nullptr) return Errno(ENODATA);
  const auto found = xattrs_->find(name);
  if (found == xattrs_->end()) return Errno(ENODATA);
  return found->second;
}

Result<> Metadata::setxattr(std::string_view name, std::string_view value, int flags) {
  if (!known_prefix(name)) return Errno(EOPNOTSUPP);
  const auto found = xattrs().find(name);
  const bool present = found != xattrs().end();
  if (present && (flags & XATTR_CREATE) != 0) return Errno(EEXIST);
  if (!present && (flags & XATTR_REPLACE) != 0) return Errno(ENODATA);
  size_t total = name.size() + value.size();
  for (const auto& [other, content] : xattrs())
    if (other != name) total += other.size() + content.size();
  if (total > kMaxXattrBytes) return Errno(ENOSPC);
  if (present)
    found->second = value;
  else
    xattrs().emplace(name, value);
  touch_ctime();
  return {};
}

std::vector<std::string> Metadata::listxattr() const {
  std::vector<std::string> names;
  if (xattrs_ != nullptr)
    for (const auto& [name, value] : *xattrs_) names.push_back(name);
  return names;
}

Result<> Metadata::removexattr(std::string_view name) {
  if (!known_prefix(name)) return Errno(EOPNOTSUPP);
  if (xattrs_ == nullptr) return Errno(ENODATA);
  const auto found = xattrs_->find(name);
  if (found == xattrs_->end()) return Errno(ENODATA);
  xattrs_->erase(found);
  touch_ctime();
  return {};
}

}  // namespace sentry::fs::tmpfs
