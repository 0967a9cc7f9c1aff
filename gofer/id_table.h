// The nodes and handles that the client holds, by the ids that the gofer chose for them.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <deque>
#include <string>

#include "gofer/protocol.h"
#include "sentry/base/fd.h"
#include "sentry/base/result.h"

namespace gofer {

using sentry::Errno;
using sentry::Fd;
using sentry::Result;

// What an id stands for. References stay valid until the id is released.
struct Entry {
  enum class Kind : uint8_t { kNode, kHandle };
  Kind kind = Kind::kNode;
  bool pinned = false;    // an attach point's root: the client cannot release it
  bool readable = false;  // handles: as opened
  bool writable = false;
  bool synchronous = false;
  bool opaque =
      false;  // a node of a file system that is no file tree (proc, sysfs): nothing below it is served
  uint16_t attach = 0;       // the attach point that it is below
  uint32_t type = 0;         // S_IFMT bits: fixed for a file's life
  uint64_t device = 0;       // makedev(3) of its file system
  uint64_t ino = 0;          // node: which one there; no other file's while `fd` is open
  Id id = kNoId;             // its own
  Id parent = kNoId;         // node: the directory that it was met in, which may be gone
  std::string name;          // node: its name there and then
  bool nonblocking = false;  // handle: opened with O_NONBLOCK
  Fd fd;                     // node: O_PATH; handle: open
  Fd directory;              // node of a directory between two batches of kReaddir
  uint64_t position = 0;     // of the directory stream

  bool is_directory() const { return (type & S_IFMT) == S_IFDIR; }
  bool is_regular() const { return (type & S_IFMT) == S_IFREG; }
};

class IdTable {
 public:
  // At most `limit` descriptors are held at once, so that the process keeps some for passing use.
  explicit IdTable(uint32_t limit) : limit_(limit) {}

  // ENFILE if `count` more descriptors are not to be had.
  Result<> require(uint32_t count) const {
    if (held_ + count > limit_) return Errno(ENFILE);
    return {};
  }
  // Takes over the entry and its descriptor; require() came before. The id is never 0.
  Id insert(Entry entry);
  // EBADF for an id never issued, ESTALE for one released.
  Result<Entry*> find(Id id);
  Result<Entry*> node(Id id);    // EBADF also for a handle
  Result<Entry*> handle(Id id);  // EBADF also for a node
  // Ids that do not exist or are pinned stay as they are.
  void release(Id id);

  // A node's directory stream takes a descriptor more.
  void hold_directory(Entry& node, Fd fd);
  void drop_directory(Entry& node);

  uint32_t limit() const { return limit_; }
  uint32_t held() const { return held_; }

 private:
  struct Slot {
    uint32_t generation = 1;  // of the present or the next entry
    bool used = false;
    uint32_t next_free = 0;
    Entry entry;
  };
  static constexpr uint32_t kNone = ~0u;

  std::deque<Slot> slots_;  // grows at the end only: references stay
  uint32_t first_free_ = kNone;
  uint32_t held_ = 0;
  uint32_t limit_;
};

}  // namespace gofer
