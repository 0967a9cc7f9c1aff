// The inode of what has no name in any tree: a pipe's, a socket's, an eventfd's.
#pragma once

#include "sentry/vfs/inode.h"

namespace sentry::vfs {

class AnonymousInode : public Inode {
 public:
  // `name`: "pipe" shows its number; "anon_inode:[eventfd]" is complete.
  AnonymousInode(uint32_t mode, std::string name, const CredentialsRef& owner);
  Result<Attributes> getattr() override { return attributes_; }
  uint32_t type() const override { return attributes_.mode & S_IFMT; }
  Result<> permission(const Credentials& credentials, int mask) override;
  // fchmod, fchown and futimens work on pipes and sockets.
  Result<> setattr(const AttributeChange& change) override;
  std::string name() const;

 private:
  Attributes attributes_;
  const std::string name_;
};

}  // namespace sentry::vfs
