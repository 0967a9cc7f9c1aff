// A writable view of a tree that is only read: what Linux's overlayfs does with an upper and a lower
// directory. The lower tree is any file system of ours; the upper one is the sandbox's memory.
//
// A file that nobody changes is the lower file: reads, mappings and descriptors go straight to it. Changing
// attributes copies attributes only; the first write copies the contents. Removed names are remembered as
// hidden. Unlike overlayfs, which must find its way by names after a remount, this one lives in memory only:
// a changed file is known by its lower inode, so hard links stay together, inode numbers stay the same,
// directories can be renamed at once with all that lies in their lower part, and a file that was opened for
// reading sees what is written later.
#pragma once

#include <memory>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/inode.h"

namespace sentry::fs::overlay {

struct Options {
  uint64_t size_bytes = 0;  // what changes may take of the sandbox's memory; 0: no limit of its own
  std::shared_ptr<tmpfs::Budget> budget = tmpfs::Budget::of_sandbox();
  const char* type = "overlay";  // what /proc/mounts shows
};

// The lower file system must answer the same Inode for the same file as long as that lives (Inode::lookup),
// and its directory positions must stay below 2^62. Nobody else may write to it through this sentry. The
// memory file must outlive the overlay.
std::shared_ptr<vfs::Superblock> make_overlay(std::shared_ptr<vfs::Superblock> lower, mm::MemoryFile& memory,
                                              const Options& options);

}  // namespace sentry::fs::overlay
