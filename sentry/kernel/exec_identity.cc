#include "sentry/kernel/exec_identity.h"

#include <linux/capability.h>
#include <linux/securebits.h>

#include <cstring>

#include "sentry/kernel/trace.h"

namespace sentry::kernel {
namespace {

// The extended attribute security.capability.
struct FileCapabilities {
  bool present = false;
  bool effective = false;
  uint64_t permitted = 0, inheritable = 0;
};

FileCapabilities parse(std::string_view bytes) {
  vfs_ns_cap_data data{};
  std::memcpy(&data, bytes.data(), std::min(bytes.size(), sizeof data));
  size_t size = 0, words = 0;
  switch (data.magic_etc & VFS_CAP_REVISION_MASK) {
    case VFS_CAP_REVISION_1:
      size = XATTR_CAPS_SZ_1, words = VFS_CAP_U32_1;
      break;
    case VFS_CAP_REVISION_2:
      size = XATTR_CAPS_SZ_2, words = VFS_CAP_U32_2;
      break;
    case VFS_CAP_REVISION_3:
      size = XATTR_CAPS_SZ_3, words = VFS_CAP_U32_3;
      break;
    default:
      return {};
  }
  // What is malformed counts for nothing, and so does what another namespace's root has given.
  if (bytes.size() != size || data.rootid != 0) return {};
  FileCapabilities found;
  found.present = true;
  found.effective = (data.magic_etc & VFS_CAP_FLAGS_EFFECTIVE) != 0;
  for (size_t word = 0; word < words; ++word) {
    found.permitted |= uint64_t{data.data[word].permitted} << (32 * word);
    found.inheritable |= uint64_t{data.data[word].inheritable} << (32 * word);
  }
  return found;
}

}  // namespace

Result<NewIdentity> new_identity(const Task& task, const vfs::File& file) {
  const vfs::Credentials& old = *task.credentials;
  auto next = std::make_shared<vfs::Credentials>(old);
  const vfs::Attributes attributes = TRY(file.inode()->getattr());
  const bool watched = task.traced != nullptr && !task.traced->tracer->credentials->capable(CAP_SYS_PTRACE);
  const bool trusted = file.path().mount != nullptr && !file.path().mount->nosuid;
  const bool restricted = next->no_new_privs || watched;
  const bool set_ids = trusted && !restricted;
  if (set_ids && (attributes.mode & S_ISUID) != 0) next->euid = attributes.uid;
  if (set_ids && (attributes.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) next->egid = attributes.gid;
  next->suid = next->fsuid = next->euid;
  next->sgid = next->fsgid = next->egid;

  // Root has all capabilities, whatever the file says: who is root is not asked for them.
  const bool root = (next->securebits & SECBIT_NOROOT) == 0 && (next->uid == 0 || next->euid == 0);
  FileCapabilities of_file;
  if (root) {
    of_file.permitted = of_file.inheritable = ~uint64_t{0};
    of_file.effective = next->euid == 0;
  } else if (trusted) {
    const Result<std::string> attribute = file.inode()->getxattr("security.capability");
    if (attribute.ok()) of_file = parse(*attribute);
  }
  if (next->euid != old.euid || next->egid != old.egid || of_file.present) next->cap_ambient = 0;
  uint64_t from_file =
      (next->cap_inheritable & of_file.inheritable) | (of_file.permitted & next->cap_bounding);
  // A program that does not look at what it has would go on with too little.
  if (of_file.present && of_file.effective && (of_file.permitted & ~from_file) != 0) return Errno(EPERM);
  if (restricted) from_file &= old.cap_permitted;
  next->cap_permitted = from_file | next->cap_ambient;
  next->cap_effective = of_file.effective ? next->cap_permitted : next->cap_ambient;
  next->securebits &= ~uint32_t{SECBIT_KEEP_CAPS};
  const bool grown = next->uid != 0 && (of_file.effective || (from_file & ~next->cap_ambient) != 0);
  const bool secure = next->euid != next->uid || next->egid != next->gid || grown;
  return NewIdentity{std::move(next), secure};
}

}  // namespace sentry::kernel
