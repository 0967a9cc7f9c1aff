// One sandbox's kernel: its processes, its clocks, its names.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "sentry/base/event_loop.h"
#include "sentry/boot/boot.h"
#include "sentry/kernel/container.h"
#include "sentry/kernel/file_view.h"
#include "sentry/kernel/observer.h"
#include "sentry/kernel/process_group.h"
#include "sentry/kernel/task.h"
#include "sentry/mm/memory_file.h"
#include "sentry/platform/platform.h"

namespace sentry::kernel {

class FutexTable;
struct SysvIpc;

// Called for each guest system call: answers what rax shall be (value or negative errno), or a restart code.
using SyscallDispatcher = Result<uint64_t> (*)(Task&, uint64_t number, const uint64_t (&args)[6]);

class Kernel {
 public:
  Kernel(EventLoop& loop, platform::Platform& platform, mm::MemoryFile& memory_file,
         SyscallDispatcher dispatcher);
  ~Kernel();

  EventLoop& loop;
  platform::Platform& platform;
  mm::MemoryFile& memory_file;
  const SyscallDispatcher dispatch;

  // uts_namespaces(7)
  std::string hostname = "bulkhead", domainname = "(none)";
  static constexpr uint32_t kMostTasks = 16384;  // each costs the sentry two mappings of its host's 65,530
  uint32_t max_tasks = kMostTasks;
  uint64_t memory_limit_bytes = 0;
  uint64_t host_memory_bytes = 0;    // what the host has; shown where there is no limit
  unsigned cpus = 1, host_cpus = 1;  // what the guest sees, and what the host lends
  uint64_t cpu_quota_us = 0, cpu_period_us = 100'000;
  // Processor time: quota 0 is no limit. The guest sees as many CPUs as it takes to use it.
  void limit_cpu(uint64_t quota_us, uint64_t period_us);
  std::vector<boot::IdMapping> uid_mappings, gid_mappings;
  // The sandbox's first container; the others live as long as their processes.
  const std::shared_ptr<Container> container = std::make_shared<Container>();
  Nanoseconds boot_time =
      0;  // CLOCK_MONOTONIC when this kernel's uptime was zero: the sandbox has clocks of its own
  uint64_t forks = 0;  // /proc/stat
  std::unique_ptr<FutexTable> futexes;
  std::unique_ptr<SysvIpc> ipc;
  FileView file_view;
  std::unique_ptr<TaskObserver> observer;      // --strace; null otherwise
  std::shared_ptr<vfs::Mount> message_queues;  // fs/mqueue's own mount, made on first use

  // Processes.
  Task* find_task(pid_t tid) const;
  ThreadGroup* find_group(pid_t tgid) const;  // zombies too
  std::shared_ptr<ProcessGroup> find_process_group(pid_t pgid) const;
  const std::map<pid_t, std::shared_ptr<ThreadGroup>>& groups() const { return groups_; }
  size_t task_count() const { return tasks_.size(); }
  std::shared_ptr<ProcessGroup> make_process_group(pid_t id, std::shared_ptr<Session> session);

  // A new tid; EAGAIN at max_tasks.
  Result<pid_t> allocate_tid();
  void add(Task& task);
  void remove(Task& task);
  void add(std::shared_ptr<ThreadGroup> group);
  void reap(ThreadGroup& group);  // its zombie is waited for

  // Makes the sandbox's own pid 1.
  void make_own_init();
  // Starts a task's fiber; the task lives until it exits.
  void run(std::unique_ptr<Task> task);
  // Stops guest code of a container, transparently for it; and lets it go on.
  void freeze(Container& container);
  void thaw(Container& container);
  // SIGKILL for each of its processes.
  void kill_all(const Container& container);

  // The name for log lines, once each: calls that the table does not know.
  void report_unknown(uint64_t number);

 private:
  std::map<pid_t, Task*> tasks_;
  std::map<pid_t, std::shared_ptr<ThreadGroup>> groups_;
  mutable std::map<pid_t, std::weak_ptr<ProcessGroup>> process_groups_;
  std::set<uint64_t> reported_;
  pid_t last_tid_ = 0;
};

// kill(2)'s targets and rules.
Result<> kill(Task& sender, pid_t pid, int signo, const SignalInfo* info = nullptr);
bool may_signal(const Task& sender, const ThreadGroup& target, int signo);
void signal_process_group(ProcessGroup& group, const SignalInfo& info);

// exit_group(2) or a fatal signal: ends every task of the group with this wait status.
void exit_group(ThreadGroup& group, int wait_status);

}  // namespace sentry::kernel
