#include "sentry/fs/sys/cgroup.h"

#include <linux/magic.h>

#include <fmt/format.h>

#include "sentry/fs/proc/process_text.h"
#include "sentry/fs/proc/system_text.h"
#include "sentry/fs/pseudo/node.h"
#include "sentry/kernel/timers.h"

namespace sentry::fs::sys {
namespace {

using kernel::Kernel;

std::string limit_text(uint64_t limit) { return limit == 0 ? "max\n" : fmt::format("{}\n", limit); }

// What the group uses, by proc's estimate.
uint64_t memory_used(const Kernel& kernel) {
  const proc::SystemMemory memory = proc::system_memory(kernel);
  return memory.total - memory.free;
}

std::string cpu_stat_text(const Kernel& kernel) {
  Nanoseconds used = 0;
  for (const auto& [id, group] : kernel.groups()) used += kernel::process_cpu_time(*group);
  const Nanoseconds microseconds = used / 1000;
  return fmt::format(
      "usage_usec {}\nuser_usec {}\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts "
      "0\n"
      "burst_usec 0\n",
      microseconds, microseconds);
}

std::string memory_stat_text(const Kernel& kernel) {
  const proc::SystemMemory memory = proc::system_memory(kernel);
  return fmt::format(
      "anon {}\nfile {}\nkernel 0\nkernel_stack 0\npagetables 0\nsock 0\nshmem {}\nfile_mapped 0\nfile_dirty "
      "0\n"
      "file_writeback 0\ninactive_anon 0\nactive_anon {}\ninactive_file 0\nactive_file 0\nunevictable "
      "0\nslab 0\n"
      "pgfault 0\npgmajfault 0\n",
      memory.total - memory.free - memory.shared, memory.shared, memory.shared,
      memory.total - memory.free - memory.shared);
}

}  // namespace

std::shared_ptr<vfs::Superblock> make_cgroup(Kernel& kernel) {
  auto superblock = std::make_shared<pseudo::Superblock>("cgroup2", CGROUP2_SUPER_MAGIC);
  auto root = std::make_shared<pseudo::FixedDirectory>(*superblock, superblock->allocate_inode(), 0555);
  pseudo::TreeBuilder tree(*superblock, root);
  const auto live = [&](const char* name, auto text) {
    tree.text(name, [text]() -> Result<std::string> { return text(); });
  };
  tree.constant("cgroup.controllers", "cpuset cpu memory pids\n");
  tree.constant("cgroup.subtree_control", "\n");
  tree.constant("cgroup.type", "domain\n");
  tree.constant("cgroup.events", "populated 1\nfrozen 0\n");
  tree.constant("cgroup.freeze", "0\n");
  tree.constant("cgroup.max.depth", "max\n");
  tree.constant("cgroup.max.descendants", "max\n");
  tree.constant("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n");
  live("cgroup.procs", [&kernel] {
    std::string text;
    for (const auto& [id, group] : kernel.groups()) text += fmt::format("{}\n", id);
    return text;
  });
  live("cgroup.threads", [&kernel] {
    std::string text;
    for (const auto& [id, group] : kernel.groups())
      for (const kernel::Task* task : group->tasks) text += fmt::format("{}\n", task->tid);
    return text;
  });
  live("cpu.max", [&kernel] {
    return kernel.cpu_quota_us == 0 ? fmt::format("max {}\n", kernel.cpu_period_us)
                                    : fmt::format("{} {}\n", kernel.cpu_quota_us, kernel.cpu_period_us);
  });
  tree.constant("cpu.max.burst", "0\n");
  tree.constant("cpu.weight", "100\n");
  tree.constant("cpu.weight.nice", "0\n");
  live("cpu.stat", [&kernel] { return cpu_stat_text(kernel); });
  tree.constant("cpuset.cpus", "\n");
  tree.constant("cpuset.mems", "\n");
  live("cpuset.cpus.effective", [&kernel] { return proc::cpu_list(kernel.cpus) + "\n"; });
  tree.constant("cpuset.mems.effective", "0\n");
  live("memory.max", [&kernel] { return limit_text(kernel.memory_limit_bytes); });
  tree.constant("memory.high", "max\n");
  tree.constant("memory.low", "0\n");
  tree.constant("memory.min", "0\n");
  tree.constant("memory.oom.group", "0\n");
  live("memory.current", [&kernel] { return fmt::format("{}\n", memory_used(kernel)); });
  live("memory.stat", [&kernel] { return memory_stat_text(kernel); });
  tree.constant("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n");
  tree.constant("memory.swap.current", "0\n");
  tree.constant("memory.swap.max", "0\n");
  live("pids.max", [&kernel] { return fmt::format("{}\n", kernel.max_tasks); });
  live("pids.current", [&kernel] { return fmt::format("{}\n", kernel.task_count()); });
  tree.constant("pids.events", "max 0\n");
  superblock->set_root(std::move(root));
  return superblock;
}

}  // namespace sentry::fs::sys
