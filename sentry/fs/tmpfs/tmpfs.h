// tmpfs(5): files in the sandbox's memory; and memfd_create(2)'s files, which are such files without a name.
#pragma once

#include <memory>
#include <string>

#include "sentry/fs/tmpfs/quota.h"
#include "sentry/mm/memory_file.h"
#include "sentry/vfs/file.h"

namespace sentry::fs::tmpfs {

struct Options {
  uint64_t size_bytes = 0;        // 0: no limit of its own
  uint64_t max_inodes = 1 << 20;  // 0: none
  uint32_t mode = 01777;          // of the root directory
  uid_t uid = 0;
  gid_t gid = 0;
  std::shared_ptr<Budget> budget = Budget::of_sandbox();
  const char* type = "tmpfs";  // what /proc/mounts shows
};

// The memory file must outlive it.
std::shared_ptr<vfs::Superblock> make_tmpfs(mm::MemoryFile& memory, const Options& options);

// From mount(2)'s data: size=, nr_blocks=, nr_inodes=, mode=, uid=, gid=, tmpfs(5). EINVAL for what is not
// understood.
Result<Options> parse_options(std::string_view data, const Options& defaults);

// memfd_create(2): an unnamed file, open for reading and writing, which /proc shows as "/memfd:name
// (deleted)". `sealable` as MFD_ALLOW_SEALING; `executable` false as MFD_NOEXEC_SEAL. ENOSPC at the end of
// the sandbox's budget.
struct MemfdOptions {
  std::string name;
  bool sealable = false;
  bool noexec_seal = false;
};
Result<vfs::FileRef> make_memfd(mm::MemoryFile& memory, const MemfdOptions& options,
                                const vfs::CredentialsRef& owner);

}  // namespace sentry::fs::tmpfs
