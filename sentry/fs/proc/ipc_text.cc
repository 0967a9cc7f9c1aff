#include "sentry/fs/proc/ipc_text.h"

#include <sys/sysmacros.h>

#include <fmt/format.h>

#include "sentry/kernel/sysv_message.h"
#include "sentry/kernel/sysv_semaphore.h"
#include "sentry/kernel/sysv_shared_memory.h"
#include "sentry/vfs/lock.h"

namespace sentry::fs::proc {

std::string locks_text(const kernel::Kernel&) {
  std::string text;
  size_t number = 0;
  for (const vfs::LockDescription& one : vfs::all_locks()) {
    const vfs::RecordLock& lock = one.lock;
    const uint64_t device = one.inode->superblock().device();
    const char* const kind = one.is_flock ? "FLOCK " : lock.pid == -1 ? "OFDLCK" : "POSIX ";
    const bool whole = lock.end == ~uint64_t{0};
    text += fmt::format("{}: {}{} ADVISORY  {} {} {:02x}:{:02x}:{} {} {}\n", ++number, one.waits ? "-> " : "",
                        kind, lock.exclusive ? "WRITE" : "READ", lock.pid, gnu_dev_major(device),
                        gnu_dev_minor(device), one.inode->getattr().value_or({}).ino, lock.start,
                        whole ? "EOF" : fmt::format("{}", lock.end));
  }
  return text;
}

std::string shared_memory_text(const kernel::Kernel& kernel) {
  std::string text =
      "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      "
      "atime  "
      "    dtime      ctime                   rss                  swap\n";
  for (const auto& segment : kernel.ipc->shared_memory->all()) {
    const kernel::SharedMemorySegment& s = *segment;
    text += fmt::format(
        "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}\n", s.key,
        s.id, s.mode, s.size, s.creator, s.last_user, s.mappings(), s.uid, s.gid, s.cuid, s.cgid,
        s.attach_time, s.detach_time, s.change_time, mm::page_ceil(s.size), 0);
  }
  return text;
}

std::string semaphores_text(const kernel::Kernel& kernel) {
  std::string text = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";
  for (const auto& set : kernel.ipc->semaphores->all())
    text += fmt::format("{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}\n", set->key, set->id,
                        set->mode, set->semaphores.size(), set->uid, set->gid, set->cuid, set->cgid,
                        set->operation_time, set->change_time);
  return text;
}

std::string message_queues_text(const kernel::Kernel& kernel) {
  std::string text =
      "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime     "
      " "
      "rtime      ctime\n";
  for (const auto& queue : kernel.ipc->messages->all())
    text += fmt::format("{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}\n",
                        queue->key, queue->id, queue->mode, queue->bytes, queue->size(), queue->last_sender,
                        queue->last_receiver, queue->uid, queue->gid, queue->cuid, queue->cgid,
                        queue->send_time, queue->receive_time, queue->change_time);
  return text;
}

}  // namespace sentry::fs::proc
