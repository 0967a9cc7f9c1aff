#include "sentry/fs/proc/system_text.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "sentry/fs/proc/memory_text.h"
#include "sentry/fs/proc/process_text.h"
#include "sentry/fs/tmpfs/quota.h"
#include "sentry/kernel/timers.h"
#include "sentry/kernel/version.h"

namespace sentry::fs::proc {
namespace {

using kernel::Kernel;
using kernel::Task;

constexpr Nanoseconds kTick = kSecond / 100;  // USER_HZ

// Tasks that would run if a CPU were free.
size_t runnable(const Kernel& kernel) {
  size_t count = 0;
  for (const auto& [id, group] : kernel.groups())
    for (const Task* task : group->tasks)
      if (!task->sleeping() && !group->stopped) ++count;
  return count;
}

Nanoseconds busy_time(const Kernel& kernel) {
  Nanoseconds total = 0;
  for (const auto& [id, group] : kernel.groups()) total += kernel::process_cpu_time(*group);
  return total;
}

}  // namespace

SystemMemory system_memory(const Kernel& kernel) {
  constexpr uint64_t kUnknownHost = uint64_t{1} << 30;
  SystemMemory memory;
  memory.total = kernel.memory_limit_bytes;
  if (kernel.host_memory_bytes != 0)
    memory.total =
        memory.total == 0 ? kernel.host_memory_bytes : std::min(memory.total, kernel.host_memory_bytes);
  if (memory.total == 0) memory.total = kUnknownHost;

  std::set<const mm::AddressSpaceMap*> counted;
  uint64_t anonymous = 0;
  for (const auto& [id, group] : kernel.groups()) {
    for (const Task* task : group->tasks) {
      if (task->memory_map == nullptr || !counted.insert(task->memory_map.get()).second) continue;
      anonymous += measure(*task->memory_map).anonymous;
    }
  }
  // What files in memory take is known; what has been mapped, shared or not, counts as used. Programs reserve
  // much that they never touch: half is always called free.
  memory.shared = tmpfs::Budget::of_sandbox()->used_bytes + kernel.memory_file.shared_bytes();
  memory.shared = std::min(memory.shared, memory.total / 2);
  const uint64_t rest = memory.total - memory.shared;
  const uint64_t used = std::min(anonymous, rest / 2);
  memory.free = rest - used;
  memory.available = memory.free;
  memory.cached = memory.shared;
  return memory;
}

std::string meminfo_text(const Kernel& kernel) {
  const SystemMemory memory = system_memory(kernel);
  const uint64_t anonymous = memory.total - memory.free - memory.shared;
  std::string text;
  const auto row = [&](const char* name, uint64_t bytes) {
    text += fmt::format("{:<16}{:>8} kB\n", std::string(name) + ":", bytes >> 10);
  };
  row("MemTotal", memory.total);
  row("MemFree", memory.free);
  row("MemAvailable", memory.available);
  row("Buffers", 0);
  row("Cached", memory.cached);
  row("SwapCached", 0);
  row("Active", anonymous);
  row("Inactive", 0);
  row("Active(anon)", anonymous);
  row("Inactive(anon)", 0);
  row("Active(file)", 0);
  row("Inactive(file)", 0);
  row("Unevictable", 0);
  row("Mlocked", 0);
  row("SwapTotal", 0);
  row("SwapFree", 0);
  row("Dirty", 0);
  row("Writeback", 0);
  row("AnonPages", anonymous);
  row("Mapped", 0);
  row("Shmem", memory.shared);
  row("KReclaimable", 0);
  row("Slab", 0);
  row("SReclaimable", 0);
  row("SUnreclaim", 0);
  row("KernelStack", kernel.task_count() * 16384);
  row("PageTables", 0);
  row("NFS_Unstable", 0);
  row("Bounce", 0);
  row("WritebackTmp", 0);
  row("CommitLimit", memory.total);
  row("Committed_AS", anonymous + memory.shared);
  row("VmallocTotal", 34359738367ull << 10);
  row("VmallocUsed", 0);
  row("VmallocChunk", 0);
  row("Percpu", 0);
  row("AnonHugePages", 0);
  row("ShmemHugePages", 0);
  row("ShmemPmdMapped", 0);
  text +=
      "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        "
      "0\n";
  row("Hugepagesize", 2 << 20);
  row("Hugetlb", 0);
  row("DirectMap4k", 0);
  row("DirectMap2M", memory.total);
  return text;
}

std::string uptime_text(const Kernel& kernel) {
  const Nanoseconds up = std::max<Nanoseconds>(0, read_clock(CLOCK_BOOTTIME));
  const Nanoseconds idle = std::max<Nanoseconds>(0, up * kernel.cpus - busy_time(kernel));
  const auto hundredths = [](Nanoseconds time) {
    return fmt::format("{}.{:02}", time / kSecond, time % kSecond / (kSecond / 100));
  };
  return fmt::format("{} {}\n", hundredths(up), hundredths(idle));
}

// Nothing wakes an idle sandbox to sample, so the averages move on when they are looked at, as if what runs
// now had run since the last look.
std::array<double, 3> load_averages(const Kernel& kernel) {
  static std::array<double, 3> averages = {};
  static Nanoseconds sampled = 0;
  const Nanoseconds now = monotonic_now();
  if (sampled == 0) sampled = kernel.boot_time;
  const double seconds = static_cast<double>(now - sampled) / static_cast<double>(kSecond);
  sampled = now;
  const auto running = static_cast<double>(runnable(kernel));
  constexpr std::array<double, 3> kPeriods = {60, 300, 900};
  for (size_t i = 0; i < averages.size(); ++i) {
    const double kept = std::exp(-seconds / kPeriods[i]);
    averages[i] = averages[i] * kept + running * (1 - kept);
  }
  return averages;
}

std::string loadavg_text(const Kernel& kernel) {
  const std::array<double, 3> averages = load_averages(kernel);
  const pid_t last = kernel.groups().empty() ? 0 : kernel.groups().rbegin()->first;
  return fmt::format("{:.2f} {:.2f} {:.2f} {}/{} {}\n", averages[0], averages[1], averages[2],
                     runnable(kernel), kernel.task_count(), last);
}

std::string system_stat_text(const Kernel& kernel) {
  const Nanoseconds up = std::max<Nanoseconds>(0, monotonic_now() - kernel.boot_time);
  const Nanoseconds busy = std::min(busy_time(kernel), up * kernel.cpus);
  const auto line = [&](const std::string& name, Nanoseconds used, Nanoseconds idle) {
    return fmt::format("{} {} 0 0 {} 0 0 0 0 0 0\n", name, used / kTick, idle / kTick);
  };
  std::string text = line("cpu ", busy, up * kernel.cpus - busy);
  for (unsigned cpu = 0; cpu < kernel.cpus; ++cpu)
    text += line(fmt::format("cpu{}", cpu), busy / kernel.cpus, up - busy / kernel.cpus);
  const Nanoseconds booted = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_BOOTTIME);
  text += fmt::format("intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n",
                      booted / kSecond, kernel.forks, runnable(kernel));
  text += "softirq 0 0 0 0 0 0 0 0 0 0 0\n";
  return text;
}

std::string vmstat_text(const Kernel& kernel) {
  const SystemMemory memory = system_memory(kernel);
  const auto pages = [](uint64_t bytes) { return bytes / mm::kPageSize; };
  return fmt::format(
      "nr_free_pages {}\nnr_inactive_anon 0\nnr_active_anon {}\nnr_inactive_file 0\nnr_active_file "
      "0\nnr_shmem {}\n"
      "nr_dirty 0\nnr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault "
      "0\noom_kill 0\n",
      pages(memory.free), pages(memory.total - memory.free - memory.shared), pages(memory.shared));
}

std::string version_text() {
  return fmt::format("{} version {} (bulkhead) {}\n", kernel::kSysname, kernel::kRelease, kernel::kVersion);
}

}  // namespace sentry::fs::proc
