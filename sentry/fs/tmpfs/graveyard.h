// Where inodes go whose directory is being destroyed. A guest may nest directories as deep as it likes: their
// destruction must not become a recursion.
#pragma once

#include <memory>
#include <vector>

#include "sentry/vfs/inode.h"

namespace sentry::fs::tmpfs {

// Drops a reference; if it is the last of a directory whose children are buried in turn, one after the other.
inline void bury(vfs::InodeRef inode) {
  struct Graveyard {
    std::vector<vfs::InodeRef> waiting;
    bool digging = false;
  };
  static Graveyard& yard = *new Graveyard;  // outlives every inode
  yard.waiting.push_back(std::move(inode));
  if (yard.digging) return;
  yard.digging = true;
  while (!yard.waiting.empty()) {
    const vfs::InodeRef next = std::move(yard.waiting.back());
    yard.waiting.pop_back();
  }
  yard.digging = false;
}

}  // namespace sentry::fs::tmpfs
