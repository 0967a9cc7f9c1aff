#include "sentry/kernel/kernel.h"
#include "sentry/kernel/trace.h"

#include <algorithm>

#include "sentry/base/cycles.h"
#include "sentry/base/log.h"
#include "sentry/kernel/exit.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/sysctl.h"
#include "sentry/kernel/sysv.h"
#include "sentry/kernel/timers.h"

namespace sentry::kernel {

Kernel::Kernel(EventLoop& loop_in, platform::Platform& platform_in, mm::MemoryFile& memory_file_in,
               SyscallDispatcher dispatch_in)
    : loop(loop_in),
      platform(platform_in),
      memory_file(memory_file_in),
      dispatch(dispatch_in),
      futexes(std::make_unique<FutexTable>(platform)),
      ipc(std::make_unique<SysvIpc>()) {}

Kernel::~Kernel() = default;

void Kernel::limit_cpu(uint64_t quota_us, uint64_t period_us) {
  cpu_quota_us = quota_us;
  cpu_period_us = std::max<uint64_t>(period_us, 1);
  const uint64_t needed = quota_us / cpu_period_us + (quota_us % cpu_period_us != 0 ? 1 : 0);
  cpus = quota_us != 0 && needed < host_cpus ? static_cast<unsigned>(needed) : host_cpus;
}

Task* Kernel::find_task(pid_t tid) const {
  const auto found = tasks_.find(tid);
  return found == tasks_.end() ? nullptr : found->second;
}

ThreadGroup* Kernel::find_group(pid_t tgid) const {
  const auto found = groups_.find(tgid);
  return found == groups_.end() ? nullptr : found->second.get();
}

std::shared_ptr<ProcessGroup> Kernel::find_process_group(pid_t pgid) const {
  const auto found = process_groups_.find(pgid);
  if (found == process_groups_.end()) return nullptr;
  auto group = found->second.lock();
  if (group == nullptr) process_groups_.erase(found);
  return group;
}

std::shared_ptr<ProcessGroup> Kernel::make_process_group(pid_t id, std::shared_ptr<Session> session) {
  auto group = std::make_shared<ProcessGroup>();
  group->id = id;
  group->session = std::move(session);
  process_groups_[id] = group;
  return group;
}

Result<pid_t> Kernel::allocate_tid() {
  const auto maximum = static_cast<pid_t>(Sysctls::current().pid_max.value());
  constexpr pid_t kReserved = 300;  // below this only at the beginning, as Linux does
  if (tasks_.size() >= max_tasks) return Errno(EAGAIN);
  for (pid_t tries = 0; tries < maximum; ++tries) {
    if (++last_tid_ >= maximum) last_tid_ = kReserved;
    if (tasks_.count(last_tid_) == 0 && groups_.count(last_tid_) == 0 &&
        find_process_group(last_tid_) == nullptr)
      return last_tid_;
  }
  return Errno(EAGAIN);
}

void Kernel::add(Task& task) { tasks_.emplace(task.tid, &task); }

void Kernel::remove(Task& task) {
  const auto found = tasks_.find(task.tid);
  if (found != tasks_.end() && found->second == &task) tasks_.erase(found);
}

void Kernel::add(std::shared_ptr<ThreadGroup> group) { groups_.emplace(group->id, std::move(group)); }

void Kernel::reap(ThreadGroup& group) {
  const auto found = groups_.find(group.id);
  BULKHEAD_CHECK(found != groups_.end() && found->second.get() == &group, "process {} is reaped twice",
                 group.id);
  const std::shared_ptr<ThreadGroup> keep = found->second;
  groups_.erase(found);
  if (group.parent != nullptr) group.parent->children.remove(&group);
  group.parent = nullptr;
  if (group.process_group != nullptr) {
    group.process_group->members.erase(&group);
    group.process_group.reset();
  }
}

void Kernel::make_own_init() {
  const pid_t id = *allocate_tid();
  auto group = std::make_shared<ThreadGroup>(*this, id);
  group->handlers = std::make_shared<SignalHandlers>();
  group->command_line_name = "init";
  group->protected_init = true;
  group->start_time = boot_time;
  auto session = std::make_shared<Session>();
  session->id = id;
  session->leader = group.get();
  group->process_group = make_process_group(id, session);
  group->process_group->members.insert(group.get());
  container->init = group.get();
  add(std::move(group));
}

void Kernel::run(std::unique_ptr<Task> task) {
  Task* raw = task.release();
  raw->fiber = &loop.fibers().spawn([raw] {
    raw->run_loop();
    delete raw;
  });
  raw->fiber->set_owner(raw);
  raw->fiber->set_interrupt_check([raw] { return raw->wanted(); });
}

void Kernel::freeze(Container& frozen) {
  frozen.frozen = true;
  for (const auto& [tid, task] : tasks_)
    if (task->group->container.get() == &frozen) task->kick();
}

void Kernel::thaw(Container& thawed) {
  thawed.frozen = false;
  thawed.thawed.wake();
}

void Kernel::kill_all(const Container& ending) {
  std::vector<std::shared_ptr<ThreadGroup>> members;
  for (const auto& [id, group] : groups_)
    if (group->container.get() == &ending && !group->dead && !group->tasks.empty()) members.push_back(group);
  for (const auto& group : members) {
    // Nobody waits for a debugger any more: two that trace each other would wait for ever.
    group->reports_kill = false;
    exit_group(*group, SIGKILL);
    for (Task* task : group->tasks) task->kick();
  }
}

void Kernel::report_unknown(uint64_t number) {
  // A guest that tries them all shall fill neither the log nor our memory.
  constexpr size_t kMost = 64;
  if (reported_.size() >= kMost || !reported_.insert(number).second) return;
  log("system call {} is not known here: ENOSYS{}", number,
      reported_.size() == kMost ? "; further ones are not named" : "");
}

// ---- thread groups and tasks

ThreadGroup::ThreadGroup(Kernel& kernel_in, pid_t id_in)
    : kernel(kernel_in), id(id_in), start_time(monotonic_now()), container(kernel_in.container) {}
ThreadGroup::~ThreadGroup() = default;

Task::Task(Kernel& kernel_in, pid_t tid_in, std::shared_ptr<ThreadGroup> group_in)
    : kernel(kernel_in), tid(tid_in), group(std::move(group_in)) {}
Task::~Task() = default;

Task* Task::current_or_null() {
  Fiber* fiber = Fiber::current();
  return fiber == nullptr ? nullptr : static_cast<Task*>(fiber->owner());
}

Task& Task::current() {
  Task* task = current_or_null();
  BULKHEAD_CHECK(task != nullptr, "no task runs here");
  return *task;
}

EventLoop& Task::loop() const { return kernel.loop; }

Nanoseconds Task::user_time() const { return context == nullptr ? 0 : context->cpu_time(); }

Nanoseconds Task::system_time() const { return to_nanoseconds(call_cycles_); }

rusage Task::usage() const {
  rusage usage{};
  usage.ru_utime = to_timeval(user_time());
  usage.ru_stime = to_timeval(system_time());
  usage.ru_maxrss = static_cast<long>(memory_map != nullptr ? memory_map->mapped_bytes() / 1024 : 0);
  usage.ru_nvcsw = fiber != nullptr ? fiber->sleeps() : 0;
  return usage;
}

Result<int> Task::install_fd(vfs::FileRef file, bool cloexec, int from) {
  return fd_table->install(std::move(file), cloexec, group->limit(RLIMIT_NOFILE), from);
}

bool ProcessGroup::orphaned() const {
  // A foreground program has its job control from outside: the runtime stops and continues with it.
  const bool runtimes = std::any_of(members.begin(), members.end(), [](const ThreadGroup* member) {
    return static_cast<bool>(member->on_stop);
  });
  if (runtimes) return false;
  return std::none_of(members.begin(), members.end(), [&](const ThreadGroup* member) {
    if (member->dead || member->parent == nullptr || member->parent->process_group == nullptr) return false;
    const ProcessGroup& parents = *member->parent->process_group;
    return parents.session == session && &parents != this;
  });
}

}  // namespace sentry::kernel
