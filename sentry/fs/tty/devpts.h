// The devpts file system and pseudo-terminals: pts(4), pty(7). One instance serves the whole sandbox, however
// often it is mounted.
#pragma once

#include <map>
#include <memory>

#include "sentry/fs/pseudo/node.h"
#include "sentry/fs/tty/terminal.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/dentry.h"
#include "sentry/vfs/special.h"

namespace sentry::fs::tty {

class Devpts final : public pseudo::Superblock {
 public:
  static std::shared_ptr<Devpts> create();

  // A new terminal with the lowest free number; its node belongs to `owner` and group tty, mode 0620. ENOSPC
  // when kernel.pty.max of them exist.
  Result<std::shared_ptr<Terminal>> allocate(uid_t owner);
  // Null if there is none, or its master has gone.
  std::shared_ptr<Terminal> find(int index) const;
  size_t count() const;
  // open(2) of a ptmx: a new pair, of which this is the master.
  Result<vfs::FileRef> open_master(const vfs::Path& path, const vfs::InodeRef& inode, int flags);
  // Where a terminal's node is in a mount namespace: empty if devpts is not mounted there.
  vfs::Path place(vfs::MountNamespace& space, int index) const;
  // The node, for a file that has no place.
  vfs::InodeRef node(int index) const;

 private:
  class Root;
  class Node;
  struct Entry {
    std::weak_ptr<Terminal> terminal;
    std::shared_ptr<Node> node;
  };
  Devpts();
  std::map<int, Entry> entries_;
};

// Registers ptmx (5:2), tty (5:0), the pts range (136) and, if there is one, the console (5:1; ENXIO
// without).
void register_terminals(vfs::DeviceRegistry& registry, const std::shared_ptr<Devpts>& devpts,
                        const std::shared_ptr<Terminal>& console);

}  // namespace sentry::fs::tty
