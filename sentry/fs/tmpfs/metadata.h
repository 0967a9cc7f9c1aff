// Attributes and extended attributes of a file in sentry memory.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sentry/vfs/inode.h"

namespace sentry::fs::tmpfs {

class Metadata {
 public:
  explicit Metadata(const vfs::Attributes& attributes) : attributes(attributes) {}
  // A new node's: all times are now.
  Metadata(uint64_t ino, const vfs::NewNode& node);

  vfs::Attributes attributes;

  // setattr, but for the size. ctime is now.
  void apply(const vfs::AttributeChange& change);
  void touch_ctime();
  void touch_mtime();  // and ctime
  void touch_atime();

  // xattr(7). ENODATA, EEXIST, ENOSPC, EOPNOTSUPP for an unknown prefix.
  Result<std::string> getxattr(std::string_view name) const;
  Result<> setxattr(std::string_view name, std::string_view value, int flags);
  std::vector<std::string> listxattr() const;
  Result<> removexattr(std::string_view name);
  // As they were found elsewhere (copy-up).
  void adopt_xattr(std::string name, std::string value) { xattrs()[std::move(name)] = std::move(value); }

 private:
  // The sum of names and values that one file may have: more than ext4 allows, and a bound on sentry memory.
  static constexpr size_t kMaxXattrBytes = 128 * 1024;
  using Xattrs = std::map<std::string, std::string, std::less<>>;
  Xattrs& xattrs() {
    if (xattrs_ == nullptr) xattrs_ = std::make_unique<Xattrs>();
    return *xattrs_;
  }
  std::unique_ptr<Xattrs> xattrs_;
};

}  // namespace sentry::fs::tmpfs
