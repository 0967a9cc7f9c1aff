#include "sentry/vfs/anonymous_inode.h"
#include "sentry/vfs/attribute_change.h"

#include <linux/magic.h>

namespace sentry::vfs {
namespace {

// Pipefs, sockfs, anon_inodefs.
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

}  // namespace

AnonymousInode::AnonymousInode(uint32_t mode, std::string name, const CredentialsRef& owner)
    : Inode(nameless(mode)), name_(std::move(name)) {
  attributes_.ino = nameless(mode).next_inode();
  attributes_.mode = mode;
  if (owner != nullptr) {
    attributes_.uid = owner->fsuid;
    attributes_.gid = owner->fsgid;
  }
  attributes_.atime = attributes_.mtime = attributes_.ctime = attributes_.btime = read_clock(CLOCK_REALTIME);
}

Result<> AnonymousInode::permission(const Credentials& credentials, int mask) {
  return check_permission(attributes_.mode, attributes_.uid, attributes_.gid, credentials, mask);
}

Result<> AnonymousInode::setattr(const AttributeChange& change) {
  if (change.size) return Errno(EINVAL);
  apply(change, attributes_);
  return {};
}

std::string AnonymousInode::name() const {
  if (name_.find('[') != std::string::npos) return name_;
  return fmt::format("{}:[{}]", name_, attributes_.ino);
}

}  // namespace sentry::vfs
