// landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2). sentry/vfs/landlock.h
// enforces.
#include "sentry/vfs/landlock.h"

#include <linux/capability.h>

#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/debug.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kMaxAttributes = 4096;  // PAGE_SIZE
constexpr uint64_t kFileAccesses =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE;

class RulesetFile final : public vfs::File {
 public:
  RulesetFile(vfs::InodeRef inode, uint64_t handled) : File({}, std::move(inode), O_RDWR), ruleset(handled) {}
  vfs::LandlockRuleset ruleset;
};

Result<std::shared_ptr<RulesetFile>> ruleset_at(Task& task, FdNumber fd) {
  auto file = std::dynamic_pointer_cast<RulesetFile>(TRY(task.fds().get_io(fd.value)));
  if (file == nullptr) return Errno(EBADFD);
  return file;
}

}  // namespace

Result<int> sys_landlock_create_ruleset(Task& task, GuestPtr<const landlock_ruleset_attr> attributes,
                                        size_t size, unsigned flags) {
  if (flags != 0) {
    if (flags == LANDLOCK_CREATE_RULESET_VERSION && !attributes && size == 0) return vfs::kLandlockAbi;
    return Errno(EINVAL);
  }
  uint64_t handled = 0;
  if (!attributes) return Errno(EFAULT);
  if (size < sizeof handled) return Errno(EINVAL);
  if (size > kMaxAttributes) return Errno(E2BIG);
  // What later kernels have added must be unset.
  const auto bytes = TRY(task.memory().read_array(GuestPtr<const uint8_t>(attributes.address()), size));
  std::memcpy(&handled, bytes.data(), sizeof handled);
  if (std::any_of(bytes.begin() + sizeof handled, bytes.end(), [](uint8_t byte) { return byte != 0; }))
    return Errno(E2BIG);
  if ((handled & ~vfs::kLandlockAccesses) != 0) return Errno(EINVAL);
  if (handled == 0) return Errno(ENOMSG);
  auto inode = vfs::make_anonymous_inode(0600, "anon_inode:[landlock-ruleset]", task.credentials);
  return task.install_fd(std::make_shared<RulesetFile>(std::move(inode), handled), true);
}

Result<> sys_landlock_add_rule(Task& task, FdNumber fd, int type, GuestPtr<const void> place,
                               unsigned flags) {
  if (flags != 0) return Errno(EINVAL);
  const auto file = TRY(ruleset_at(task, fd));
  if (type != LANDLOCK_RULE_PATH_BENEATH) return Errno(EINVAL);
  const auto rule = TRY(task.memory().read(GuestPtr<const landlock_path_beneath_attr>(place.address())));
  const uint64_t allowed = rule.allowed_access;
  if (allowed == 0) return Errno(ENOMSG);
  if ((allowed & ~file->ruleset.handled()) != 0) return Errno(EINVAL);
  const vfs::FileRef parent = TRY(task.fds().get(rule.parent_fd));
  const vfs::Path path = vfs::place_of(*parent);
  if (vfs::is_anonymous(path)) return Errno(EBADFD);
  if (!path.dentry->inode()->is_directory() && (allowed & ~kFileAccesses) != 0) return Errno(EINVAL);
  return file->ruleset.allow(path, allowed);
}

Result<> sys_landlock_restrict_self(Task& task, FdNumber fd, unsigned flags) {
  if (!task.credentials->no_new_privs && !task.credentials->capable(CAP_SYS_ADMIN)) return Errno(EPERM);
  if (flags != 0) return Errno(EINVAL);
  const auto file = TRY(ruleset_at(task, fd));
  auto next = std::make_shared<vfs::Credentials>(*task.credentials);
  next->landlock = TRY(vfs::LandlockDomain::create(next->landlock, file->ruleset));
  task.credentials = std::move(next);
  return {};
}

}  // namespace sentry::syscalls
