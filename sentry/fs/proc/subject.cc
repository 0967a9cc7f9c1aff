#include "sentry/fs/proc/subject.h"

#include <linux/capability.h>

#include "sentry/vfs/landlock.h"

namespace sentry::fs::proc {

using kernel::Task;
using kernel::ThreadGroup;

std::string Snapshot::name() const {
  if (task != nullptr) return task->comm;
  return group->command_line_name;
}

Subject::Subject(ThreadGroup& group, pid_t tid)
    : kernel_(group.kernel), group_(group.weak_from_this()), group_id_(group.id), tid_(tid) {}

Result<Snapshot> Subject::look() const {
  Snapshot snapshot;
  snapshot.group = group_.lock();
  if (snapshot.group == nullptr || kernel_.find_group(group_id_) != snapshot.group.get()) return Errno(ESRCH);
  if (tid_ == 0) {
    snapshot.task = snapshot.group->leader != nullptr ? snapshot.group->leader : snapshot.group->any_task();
    return snapshot;
  }
  snapshot.thread_only = true;
  for (Task* task : snapshot.group->tasks)
    if (task->tid == tid_) snapshot.task = task;
  if (snapshot.task == nullptr && tid_ != group_id_) return Errno(ESRCH);
  if (snapshot.task == nullptr)
    snapshot.thread_only = false;  // the thread of a zombie: what the process shows
  return snapshot;
}

Result<> check_access(const Snapshot& snapshot) {
  const Task* caller = Task::current_or_null();
  if (caller == nullptr || caller->group == snapshot.group) return {};
  const vfs::Credentials& from = *caller->credentials;
  if (snapshot.task != nullptr && !vfs::landlock_may_trace(from, *snapshot.task->credentials))
    return Errno(EACCES);
  if (from.capable(CAP_SYS_PTRACE)) return {};
  if (snapshot.task == nullptr) {
    // The sandbox's own init has no secrets, and programs look at its root; a zombie's are gone.
    if (!snapshot.group->dead && from.fsuid == 0) return {};
    return Errno(EACCES);
  }
  const vfs::Credentials& to = *snapshot.task->credentials;
  const bool same_user = from.fsuid == to.uid && from.fsuid == to.euid && from.fsuid == to.suid;
  const bool same_group = from.fsgid == to.gid && from.fsgid == to.egid && from.fsgid == to.sgid;
  if (!same_user || !same_group) return Errno(EACCES);
  const std::shared_ptr<mm::AddressSpaceMap> memory = snapshot.memory();
  if (memory != nullptr && !memory->dumpable) return Errno(EACCES);
  // commoncap's cap_ptrace_access_check: the caller must have all that the target has.
  if ((to.cap_permitted & ~from.cap_effective) != 0) return Errno(EACCES);
  return {};
}

}  // namespace sentry::fs::proc
