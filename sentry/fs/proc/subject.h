// The process or thread that a directory of /proc is about. Directories and open files outlive it, so each
// use asks again whether it is still there.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"

namespace sentry::fs::proc {

// What a subject is at this moment. Valid until the next park.
struct Snapshot {
  std::shared_ptr<kernel::ThreadGroup> group;
  kernel::Task* task = nullptr;  // null: a zombie, or the sandbox's own init, which runs no guest code
  bool thread_only = false;      // a directory of task/: what is counted is the thread's

  pid_t id() const { return thread_only ? task->tid : group->id; }
  bool zombie() const { return task == nullptr && group->dead; }
  // The address space; null for zombies and kernel-like processes.
  std::shared_ptr<mm::AddressSpaceMap> memory() const { return task != nullptr ? task->memory_map : nullptr; }
  std::string name() const;
};

class Subject {
 public:
  // A process by its id.
  static Subject process(kernel::ThreadGroup& group) { return Subject(group, 0); }
  // One of its threads.
  static Subject thread(kernel::ThreadGroup& group, pid_t tid) { return Subject(group, tid); }

  kernel::Kernel& kernel() const { return kernel_; }
  bool thread_only() const { return tid_ != 0; }
  pid_t id() const { return tid_ != 0 ? tid_ : group_id_; }
  // ESRCH once it has been reaped.
  Result<Snapshot> look() const;

 private:
  Subject(kernel::ThreadGroup& group, pid_t tid);

  kernel::Kernel& kernel_;
  std::weak_ptr<kernel::ThreadGroup> group_;
  pid_t group_id_;
  pid_t tid_;  // 0: the whole process
};

// Whether the current task may look into another's memory and descriptors: ptrace(2), "Ptrace access mode
// checking", PTRACE_MODE_READ_FSCREDS. EACCES if not.
Result<> check_access(const Snapshot& snapshot);

}  // namespace sentry::fs::proc
