#include "runtime/unified_settings.h"

#include <algorithm>

namespace runtime {
namespace {

// cgroup-v2.rst: "max" is no limit.
std::string limit_text(int64_t limit) { return limit < 0 ? "max" : std::to_string(limit); }

Failure absent(const char* path) {
  return failure("linux.resources.{}: this host's cgroups are version 2, without it", path);
}

class Settings {
 public:
  explicit Settings(const oci::Resources& from) : from_(from) {}

  Outcome<std::vector<UnifiedSetting>> take() {
    TRY(take_memory());
    TRY(take_cpu());
    if (from_.pids_limit) add("pids", "pids.max", host_task_limit(*from_.pids_limit), "pids.limit");
    TRY(take_io());
    for (const oci::HugepageLimit& limit : from_.hugepage_limits)
      add("hugetlb", fmt::format("hugetlb.{}.max", limit.page_size), std::to_string(limit.limit),
          "hugepageLimits");
    for (const auto& [file, text] : from_.unified) add("", file, text, "unified");
    return std::move(list_);
  }

 private:
  void add(const char* controller, std::string file, std::string text, const char* path) {
    list_.push_back(
        {controller, std::move(file), std::move(text), fmt::format("linux.resources.{}", path), false});
  }

  Outcome<> take_memory() {
    if (from_.memory_limit_bytes)
      add("memory", "memory.max", limit_text(*from_.memory_limit_bytes), "memory.limit");
    if (from_.memory_swap_bytes.value_or(0) != 0) {
      // Version 2 counts swap alone.
      const int64_t swap = *from_.memory_swap_bytes;
      const int64_t memory = std::max<int64_t>(from_.memory_limit_bytes.value_or(0), 0);
      if (swap > 0 && swap < memory)
        return failure("linux.resources.memory.swap: {} is less than memory.limit, which it includes", swap);
      add("memory", "memory.swap.max", limit_text(swap < 0 ? swap : swap - memory), "memory.swap");
      list_.back().optional = true;  // without swap accounting there is none to limit: engines set it always
    }
    if (from_.memory_reservation_bytes.value_or(0) != 0)
      add("memory", "memory.low", limit_text(*from_.memory_reservation_bytes), "memory.reservation");
    if (from_.memory_swappiness) return absent("memory.swappiness");
    if (from_.memory_disable_oom_killer.value_or(false)) return absent("memory.disableOOMKiller");
    return {};
  }

  Outcome<> take_cpu() {
    if (from_.cpu_shares.value_or(0) != 0) {
      // Weights 1..10000 for shares 2..262144, as other runtimes convert them.
      const uint64_t weight = 1 + (std::clamp<uint64_t>(*from_.cpu_shares, 2, 262144) - 2) * 9999 / 262142;
      add("cpu", "cpu.weight", std::to_string(weight), "cpu.shares");
    }
    if (from_.cpu_quota_us || from_.cpu_period_us) {
      const int64_t quota = from_.cpu_quota_us.value_or(-1);
      const uint64_t period = from_.cpu_period_us.value_or(0);
      // The quota alone leaves the period as it is.
      add("cpu", "cpu.max",
          (quota > 0 ? std::to_string(quota) : "max") + (period != 0 ? fmt::format(" {}", period) : ""),
          "cpu.quota");
    }
    if (from_.cpu_burst_us) add("cpu", "cpu.max.burst", std::to_string(*from_.cpu_burst_us), "cpu.burst");
    if (from_.cpu_realtime_runtime_us.value_or(0) != 0) return absent("cpu.realtimeRuntime");
    if (from_.cpu_realtime_period_us.value_or(0) != 0) return absent("cpu.realtimePeriod");
    if (from_.cpu_idle) add("cpu", "cpu.idle", std::to_string(*from_.cpu_idle), "cpu.idle");
    if (!from_.cpus.empty()) add("cpuset", "cpuset.cpus", from_.cpus, "cpu.cpus");
    if (!from_.mems.empty()) add("cpuset", "cpuset.mems", from_.mems, "cpu.mems");
    return {};
  }

  Outcome<> take_io() {
    if (from_.blkio_weight.value_or(0) != 0) {
      // 10..1000 becomes 1..10000, as other runtimes convert it.
      const unsigned weight = 1 + (std::clamp<unsigned>(*from_.blkio_weight, 10, 1000) - 10) * 9999 / 990;
      add("io", "io.weight", fmt::format("default {}", weight), "blockIO.weight");
    }
    if (from_.blkio_leaf_weight) return absent("blockIO.leafWeight");
    for (const oci::Throttle& throttle : from_.throttles) {
      const bool operations = throttle.file.find("iops") != std::string::npos;
      add("io", "io.max",
          fmt::format("{}:{} {}{}={}", throttle.major, throttle.minor, throttle.file.substr(0, 1),
                      operations ? "iops" : "bps", throttle.rate),
          "blockIO.throttle");
    }
    return {};
  }

  const oci::Resources& from_;
  std::vector<UnifiedSetting> list_;
};

}  // namespace

Outcome<std::vector<UnifiedSetting>> unified_settings(const oci::Resources& resources) {
  return Settings(resources).take();
}

std::string host_task_limit(int64_t guest_tasks) {
  return guest_tasks > 0 ? std::to_string(guest_tasks * 2 + 64) : "max";
}

}  // namespace runtime
