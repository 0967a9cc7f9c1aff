#include "sentry/vfs/inode.h"

#include <linux/capability.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sentry/vfs/lock.h"
#include "sentry/vfs/special.h"

namespace sentry::vfs {
namespace {

// Unnamed device numbers (major 0), handed out upwards. They are not reused: 2^20 superblocks are more than a
// sandbox makes, and a wrap-around only repeats what stat(2) shows.
uint64_t next_device() {
  static unsigned minor = 0;
  return makedev(0, ++minor & 0xfffff);
}

}  // namespace

Superblock::Superblock() : device_(next_device()) {}

Result<struct statfs> Superblock::statfs() {
  // simple_statfs of the kernel.
  struct statfs answer {};
  answer.f_bsize = answer.f_frsize = 4096;
  answer.f_namelen = 255;
  return answer;
}

// Its file's next inode counts elsewhere.
Inode::~Inode() { changed(*this); }

ChangeKey Inode::change_key() {
  if (change_key_ == kNobodyAsked) count_changes_at(next_change_key());
  return change_key_;
}

// What two others show is counted for all.
void Inode::count_changes_at(ChangeKey key) {
  change_key_ = change_key_ == kNobodyAsked || change_key_ == key ? key : kEverything;
}

Inode::Locks& Inode::locks() {
  if (locks_ == nullptr) locks_ = {new Locks, [](Locks* locks) { delete locks; }};
  return *locks_;
}

Result<> Inode::permission(const Credentials& credentials, int mask) {
  const Attributes attributes = TRY(getattr());
  return check_permission(attributes.mode, attributes.uid, attributes.gid, credentials, mask);
}

Result<FileRef> Inode::open(const Path& path, int flags) {
  return open_special(path, shared_from_this(), flags);
}

Result<> check_permission(const Attributes& attributes, const Credentials& credentials, int mask) {
  return check_permission(attributes.mode, attributes.uid, attributes.gid, credentials, mask);
}

// generic_permission of the kernel: one class of bits decides, then capabilities may override.
Result<> check_permission(uint32_t mode, uid_t uid, gid_t gid, const Credentials& credentials, int mask) {
  uint32_t granted = mode;
  if (credentials.fsuid == uid)
    granted >>= 6;
  else if ((((mode >> 3) ^ mode) & static_cast<uint32_t>(mask)) != 0 && credentials.in_group(gid))
    granted >>= 3;
  const uint32_t wanted = static_cast<uint32_t>(mask) & 7;
  if ((wanted & ~granted) == 0) return {};
  if (credentials.cap_effective == 0) return Errno(EACCES);
  if (S_ISDIR(mode)) {
    if ((wanted & W_OK) == 0 && credentials.capable(CAP_DAC_READ_SEARCH)) return {};
    if (credentials.capable(CAP_DAC_OVERRIDE)) return {};
    return Errno(EACCES);
  }
  if (wanted == R_OK && credentials.capable(CAP_DAC_READ_SEARCH)) return {};
  // Not even CAP_DAC_OVERRIDE runs a file that nobody may run.
  if (((wanted & X_OK) == 0 || (mode & 0111) != 0) && credentials.capable(CAP_DAC_OVERRIDE)) return {};
  return Errno(EACCES);
}

uint32_t without_set_id(uint32_t mode) {
  mode &= ~uint32_t{S_ISUID};
  // S_ISGID without group execution once meant mandatory locking and stays.
  if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) mode &= ~uint32_t{S_ISGID};
  return mode;
}

Result<> resize(Inode& inode, uint64_t size, SetId set_id) {
  AttributeChange change;
  change.size = size;
  // A file system of the host's may drop the bits by itself: what is to be kept is said, too.
  const uint32_t mode = TRY(inode.getattr()).mode;
  if (const uint32_t without = without_set_id(mode); without != mode)
    change.mode = (set_id == SetId::kKept ? mode : without) & 07777;
  return inode.setattr(change);
}

}  // namespace sentry::vfs
