// What opens behind a special file's name: devices by number, FIFOs. The objects live in fs/, above this
// layer, and are filled in at start; every file system's node of that kind then leads to them
// (init_special_inode in Linux).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <tuple>

#include "sentry/base/result.h"
#include "sentry/vfs/file.h"

namespace sentry::vfs {

// Makes the open file for a node at `path` (never empty: a name in the tree). `flags` are O_* of open(2),
// with creation flags gone; permissions, nodev and O_NOFOLLOW have been checked. May park (a FIFO waits for
// its peer).
using SpecialOpener = std::function<Result<FileRef>(const Path& path, const InodeRef& inode, int flags)>;

// Devices by (type, major, minor).
class DeviceRegistry {
 public:
  // The one of this process, filled before the first guest instruction.
  static DeviceRegistry& current();

  // `type` is S_IFCHR or S_IFBLK. A second registration of one number replaces the first.
  void add(uint32_t type, unsigned major, unsigned minor, SpecialOpener opener);
  // Minors [first, first + count) (pts: 136, 0..1023).
  void add_range(uint32_t type, unsigned major, unsigned first, unsigned count, SpecialOpener opener);
  // ENXIO for a number nobody registered, as Linux answers where no driver is.
  Result<FileRef> open(uint32_t type, uint64_t rdev, const Path& path, const InodeRef& inode,
                       int flags) const;

  // What the container's operator allows, as the device controller of cgroups(7) would. `access` has 1 to
  // read, 2 to write, 4 to make a node. Without a policy everything is allowed.
  using Policy = std::function<bool(uint32_t type, unsigned major, unsigned minor, unsigned access)>;
  void set_policy(Policy policy) { policy_ = std::move(policy); }
  bool permits(uint32_t type, uint64_t rdev, unsigned access) const;

 private:
  struct Range {
    unsigned last;
    SpecialOpener opener;
  };
  using Key = std::tuple<uint32_t, unsigned, unsigned>;  // type, major, first minor
  std::map<Key, Range> ranges_;
  Policy policy_;
};

// Opens a FIFO. The opener keeps the pipe in Inode::attachment, which lives as long as the inode does. ENXIO
// where no opener was set.
void set_fifo_opener(SpecialOpener opener);
Result<FileRef> open_fifo(const Path& path, const InodeRef& inode, int flags);

// What Inode::open does for any type a file system does not open itself: devices by number (getattr's rdev),
// FIFOs, ENXIO for sockets, ELOOP for symbolic links.
Result<FileRef> open_special(const Path& path, const InodeRef& inode, int flags);

}  // namespace sentry::vfs
