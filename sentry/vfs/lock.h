// Advisory locks: flock(2), and fcntl(2)'s record locks with their open-file-description variant.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sentry/base/wait_queue.h"
#include "sentry/vfs/inode.h"

namespace sentry::vfs {

struct RecordLock {
  const void* owner;  // an FdTable for POSIX locks, a File for OFD locks
  bool exclusive;
  uint64_t start, end;  // inclusive end; ~0 is to the end of the file
  pid_t pid;            // for F_GETLK; -1 for OFD
};

struct FlockLock {
  const void* owner;  // a File
  bool exclusive;
  pid_t pid;  // of whoever took it
};

struct Inode::Locks {
  ~Locks();
  std::vector<RecordLock> records;  // in order of start; an owner's do not overlap
  std::vector<FlockLock> flocks;
  WaitQueue waiters;
  // Files that were opened for writing or are being executed: ETXTBSY.
  int writers = 0, executors = 0;
};

// flock(2): EWOULDBLOCK if it would wait and may not. operation: LOCK_SH, LOCK_EX or LOCK_UN.
Result<> flock(Inode& inode, const void* owner, int operation, bool nonblocking, pid_t pid);

// fcntl(2) F_SETLK / F_SETLKW: sets or clears. EAGAIN, EDEADLK, ENOLCK. ERESTARTSYS from a wait. While it
// waits the descriptor may be closed: the caller keeps the inode alive and looks again, as fcntl_setlk does.
Result<> set_record_lock(Inode& inode, const RecordLock& lock, bool unlock, bool wait);
// F_GETLK: the first lock in the way, if any.
const RecordLock* find_conflict(Inode& inode, const RecordLock& lock);
// close(2) drops an owner's record locks; the last close of a description its flock and OFD locks.
void release_locks(Inode& inode, const void* owner);

// One that is held or waited for, for /proc/locks.
struct LockDescription {
  Inode* inode;
  bool is_flock, waits;
  RecordLock lock;  // of flock(2): all of the file
};
std::vector<LockDescription> all_locks();

// deny_write_access: while the token lives, opening the file for writing is ETXTBSY. ETXTBSY if somebody
// writes already. What exec owes the file that it runs; the token belongs to the address space.
Result<std::shared_ptr<void>> deny_writes(const InodeRef& inode);

}  // namespace sentry::vfs
