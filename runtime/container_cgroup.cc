#include "runtime/container_cgroup.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <ctime>
#include <limits>
#include <map>
#include <string_view>

#include "runtime/text_file.h"
#include "runtime/unified_settings.h"

namespace runtime {
namespace {

std::vector<std::string> words(std::string_view text, char separator) {
  std::vector<std::string> list;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end != 0) list.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return list;
}

std::vector<std::string> lines_of(const std::string& path) {
  return words(read_text_file(path).value_or(""), '\n');
}

struct Hierarchy {
  std::string name;   // "memory", "cpu,cpuacct", "name=systemd"; empty: version 2
  std::string mount;  // where it is
  std::string own;    // the process's cgroup in it
};

// The mounted hierarchies: version 1's, or version 2's if it is the only one with controllers. `process` is
// its directory in /proc.
std::vector<Hierarchy> hierarchies(const std::string& process) {
  std::map<std::string, std::string> own;  // controllers, path
  for (const std::string& line : lines_of(process + "/cgroup")) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    own[line.substr(first + 1, second - first - 1)] = line.substr(second + 1);
  }
  std::vector<Hierarchy> first_version, second_version;
  for (const std::string& line : lines_of("/proc/self/mountinfo")) {
    const size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    const std::vector<std::string> before = words(std::string_view(line).substr(0, dash), ' ');
    const std::vector<std::string> after = words(std::string_view(line).substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    if (after[0] == "cgroup2") second_version.push_back({"", before[4], own[""]});
    if (after[0] != "cgroup") continue;
    const std::vector<std::string> options = words(after[2], ',');
    for (const auto& [name, path] : own) {
      const std::vector<std::string> parts = words(name, ',');
      const bool same =
          !name.empty() && std::all_of(parts.begin(), parts.end(), [&](const std::string& part) {
            return std::find(options.begin(), options.end(), part) != options.end();
          });
      const bool known =
          std::any_of(first_version.begin(), first_version.end(),
                      [&, wanted = name](const Hierarchy& each) { return each.name == wanted; });
      if (same && !known) first_version.push_back({name, before[4], path});
    }
  }
  if (!first_version.empty()) return first_version;
  if (second_version.size() > 1) second_version.resize(1);
  return second_version;
}

std::string join(const std::string& base, const std::string& below) {
  std::string path = base;
  for (const std::string& part : words(below, '/')) path += "/" + part;
  return path;
}

// A new directory of cpuset has no CPUs until it is told.
void inherit_cpuset(const std::string& parent, const std::string& folder) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    const std::optional<std::string> own = read_text_file(folder + file);
    if (!own || own->find_first_not_of(" \n") != own->npos) continue;
    write_text_file(folder + file, read_text_file(parent + file).value_or(""));
  }
}

// Version 2: controllers are handed down level by level.
void hand_down(const std::string& parent) {
  for (const std::string& controller :
       words(read_text_file(parent + "/cgroup.controllers").value_or(""), ' ')) {
    const size_t end = controller.find('\n');
    write_text_file(parent + "/cgroup.subtree_control", "+" + controller.substr(0, end));
  }
}

bool names(const std::string& hierarchy, std::string_view controller) {
  const std::vector<std::string> parts = words(hierarchy, ',');
  return std::find(parts.begin(), parts.end(), controller) != parts.end();
}

bool has_processes(const std::string& folder) { return !lines_of(folder + "/cgroup.procs").empty(); }

// Everything in a container's cgroup is the container's: a hook that runs in it may have left a process.
void kill_processes(const std::string& folder) {
  for (const std::string& line : lines_of(folder + "/cgroup.procs")) {
    pid_t pid = 0;
    const bool good = std::from_chars(line.data(), line.data() + line.size(), pid).ec == std::errc{};
    if (good && pid > 0 && pid != ::getpid()) ::kill(pid, SIGKILL);
  }
}

// On a directory that a container was the first to need above its own: the last one there removes it again.
// One that an engine has made is the engine's to remove.
constexpr const char* kMade = "trusted.bulkhead.made";

// Makes `below` in a hierarchy; `made` gets the directories that are new, in order.
Outcome<std::string> make_directory(const Hierarchy& hierarchy, const std::string& below,
                                    std::vector<std::string>& made) {
  const std::vector<std::string> parts = words(below, '/');
  if (std::find(parts.begin(), parts.end(), "..") != parts.end())
    return failure("config.json: linux.cgroupsPath: \"..\" is not possible");
  // What is in a container's cgroup is killed with it: never the host itself.
  if (std::all_of(parts.begin(), parts.end(), [](const std::string& part) { return part == "."; }))
    return failure("config.json: linux.cgroupsPath: \"{}\" names no cgroup below the host's own", below);
  // Another container's end may remove a parent meanwhile: then from the top again.
  constexpr int kTries = 100;
  for (int tries = 1;; ++tries) {
    std::string folder = hierarchy.mount;
    int error = 0;
    for (auto part = parts.begin(); part != parts.end() && error == 0; ++part) {
      const std::string parent = folder;
      folder += "/" + *part;
      if (hierarchy.name.empty()) hand_down(parent);
      if (::mkdir(folder.c_str(), 0755) == 0) {
        made.push_back(folder);
        // Where that cannot be marked it stays, empty.
        if (part + 1 != parts.end()) ::setxattr(folder.c_str(), kMade, "1", 1, 0);
      } else if (errno != EEXIST) {
        error = errno;
      } else if (part + 1 == parts.end() && has_processes(folder)) {
        return failure("config.json: linux.cgroupsPath: the cgroup {} has processes in it: it is another's",
                       folder);
      }
      if (error == 0 && names(hierarchy.name, "cpuset")) inherit_cpuset(parent, folder);
    }
    if (error == 0) return folder;
    if (error != ENOENT || tries == kTries) return system_failure(error, "cannot make the cgroup {}", folder);
  }
}

// Removes the parents that containers have made and that nobody is in any more.
void remove_made_parents(std::string folder) {
  for (;;) {
    folder.resize(folder.rfind('/'));
    if (::getxattr(folder.c_str(), kMade, nullptr, 0) < 0 || ::rmdir(folder.c_str()) != 0) return;
  }
}

uint64_t number_in(const std::string& path) {
  const std::string text = read_text_file(path).value_or("");
  uint64_t value = 0;
  if (text.starts_with("max")) return std::numeric_limits<uint64_t>::max();
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// "name 7" on a line of its own.
std::vector<std::pair<std::string, uint64_t>> fields_in(const std::string& path) {
  std::vector<std::pair<std::string, uint64_t>> fields;
  for (const std::string& line : lines_of(path)) {
    const std::vector<std::string> parts = words(line, ' ');
    uint64_t value = 0;
    if (parts.size() == 2 &&
        std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), value).ec == std::errc{})
      fields.emplace_back(parts[0], value);
  }
  return fields;
}

uint64_t field_in(const std::string& path, std::string_view name) {
  for (const auto& [each, value] : fields_in(path))
    if (each == name) return value;
  return 0;
}

}  // namespace

Outcome<ContainerCgroup> ContainerCgroup::create(const std::string& path, const std::string& id) {
  ContainerCgroup cgroup;
  std::vector<std::string> made;
  const std::vector<Hierarchy> all = hierarchies("/proc/self");
  if (all.empty()) return failure("this host has no cgroups mounted (`bulkhead check` shows all)");
  for (const Hierarchy& hierarchy : all) {
    std::string below = path.empty() ? id : path;
    // In version 2 a cgroup with processes cannot hand out controllers: there the top is the parent.
    if (!below.starts_with('/') && !hierarchy.name.empty()) below = join(hierarchy.own, below);
    Outcome<std::string> folder = make_directory(hierarchy, below, made);
    if (!folder) {
      for (auto each = made.rbegin(); each != made.rend(); ++each) ::rmdir(each->c_str());
      return folder.error();
    }
    cgroup.directories_.emplace_back(hierarchy.name, *folder);
  }
  return cgroup;
}

Outcome<ContainerCgroup> ContainerCgroup::of_process(pid_t pid) {
  const std::vector<Hierarchy> all = hierarchies(fmt::format("/proc/{}", pid));
  if (all.size() != 1 || !all[0].name.empty())
    return failure(
        "--systemd-cgroup: needs cgroups of version 2; this host has version 1: use the cgroupfs driver");
  return ContainerCgroup({{"", join(all[0].mount, all[0].own)}});
}

const std::string* ContainerCgroup::find(std::string_view controller) const {
  for (const auto& [name, directory] : directories_)
    if (name.empty() || names(name, controller)) return &directory;
  return nullptr;
}

Outcome<> ContainerCgroup::put(std::string_view controller, const std::string& file, const std::string& text,
                               const char* path) const {
  const std::string* directory = find(controller);
  if (directory == nullptr)
    return failure("{}: needs the {} cgroup controller, which this host does not offer", path, controller);
  if (!write_text_file(fmt::format("{}/{}", *directory, file), text))
    return system_failure(errno, "{}: cannot write {} to {}/{}", path, text, *directory, file);
  return {};
}

Outcome<> ContainerCgroup::set(const oci::Resources& resources, bool created) const {
  if (unified()) return set_unified(resources);
  TRY(set_memory(resources, created));
  TRY(set_cpu(resources));
  if (resources.pids_limit)
    TRY(put("pids", "pids.max", host_task_limit(*resources.pids_limit), "linux.resources.pids.limit"));
  TRY(set_block_io(resources));
  for (const oci::HugepageLimit& limit : resources.hugepage_limits)
    TRY(put("hugetlb", fmt::format("hugetlb.{}.limit_in_bytes", limit.page_size), std::to_string(limit.limit),
            "linux.resources.hugepageLimits"));
  if (!resources.unified.empty())
    return failure("linux.resources.unified: this host's cgroups are version 1");
  return {};
}

Outcome<> ContainerCgroup::set_unified(const oci::Resources& resources) const {
  for (const UnifiedSetting& each : TRY(unified_settings(resources))) {
    const std::string path = fmt::format("{}/{}", directories_[0].second, each.file);
    if (each.optional && ::access(path.c_str(), F_OK) != 0) continue;
    TRY(put(each.controller, each.file, each.text, each.path.c_str()));
  }
  return {};
}

Outcome<> ContainerCgroup::set_memory(const oci::Resources& from, bool created) const {
  const auto number = [](int64_t value) { return std::to_string(value); };
  const std::string* directory = find("memory");
  // Where the limit of memory and swap is lower than the new one of memory, it must be raised first.
  const auto set_limit = [&]() -> Outcome<> {
    if (!from.memory_limit_bytes || *from.memory_limit_bytes == 0) return {};
    return put("memory", "memory.limit_in_bytes", number(*from.memory_limit_bytes),
               "linux.resources.memory.limit");
  };
  const auto set_swap = [&]() -> Outcome<> {
    if (!from.memory_swap_bytes || *from.memory_swap_bytes == 0) return {};
    if (directory != nullptr && ::access((*directory + "/memory.memsw.limit_in_bytes").c_str(), F_OK) != 0)
      return {};  // without swap accounting there is no swap to limit: engines set it always
    return put("memory", "memory.memsw.limit_in_bytes", number(*from.memory_swap_bytes),
               "linux.resources.memory.swap");
  };
  const bool raised = !created && directory != nullptr && from.memory_limit_bytes.value_or(0) > 0 &&
                      static_cast<uint64_t>(*from.memory_limit_bytes) >
                          number_in(*directory + "/memory.memsw.limit_in_bytes");
  if (raised) TRY(set_swap());
  TRY(set_limit());
  if (!raised) TRY(set_swap());
  if (from.memory_reservation_bytes.value_or(0) != 0)
    TRY(put("memory", "memory.soft_limit_in_bytes", number(*from.memory_reservation_bytes),
            "linux.resources.memory.reservation"));
  if (from.memory_swappiness)
    TRY(put("memory", "memory.swappiness", std::to_string(*from.memory_swappiness),
            "linux.resources.memory.swappiness"));
  if (from.memory_disable_oom_killer.value_or(false))
    TRY(put("memory", "memory.oom_control", "1", "linux.resources.memory.disableOOMKiller"));
  return {};
}

Outcome<> ContainerCgroup::set_cpu(const oci::Resources& from) const {
  if (from.cpu_shares.value_or(0) != 0)
    TRY(put("cpu", "cpu.shares", std::to_string(*from.cpu_shares), "linux.resources.cpu.shares"));
  if (from.cpu_period_us.value_or(0) != 0)
    TRY(put("cpu", "cpu.cfs_period_us", std::to_string(*from.cpu_period_us), "linux.resources.cpu.period"));
  if (from.cpu_quota_us.value_or(0) != 0)
    TRY(put("cpu", "cpu.cfs_quota_us", std::to_string(*from.cpu_quota_us), "linux.resources.cpu.quota"));
  if (from.cpu_burst_us)
    TRY(put("cpu", "cpu.cfs_burst_us", std::to_string(*from.cpu_burst_us), "linux.resources.cpu.burst"));
  if (from.cpu_realtime_period_us.value_or(0) != 0)
    TRY(put("cpu", "cpu.rt_period_us", std::to_string(*from.cpu_realtime_period_us),
            "linux.resources.cpu.realtimePeriod"));
  if (from.cpu_realtime_runtime_us.value_or(0) != 0)
    TRY(put("cpu", "cpu.rt_runtime_us", std::to_string(*from.cpu_realtime_runtime_us),
            "linux.resources.cpu.realtimeRuntime"));
  if (from.cpu_idle) TRY(put("cpu", "cpu.idle", std::to_string(*from.cpu_idle), "linux.resources.cpu.idle"));
  if (!from.cpus.empty()) TRY(put("cpuset", "cpuset.cpus", from.cpus, "linux.resources.cpu.cpus"));
  if (!from.mems.empty()) TRY(put("cpuset", "cpuset.mems", from.mems, "linux.resources.cpu.mems"));
  return {};
}

Outcome<> ContainerCgroup::set_block_io(const oci::Resources& from) const {
  if (from.blkio_weight) {
    const std::string* directory = find("blkio");
    // The scheduler that has weights goes by either name.
    const bool bfq = directory != nullptr && ::access((*directory + "/blkio.bfq.weight").c_str(), F_OK) == 0;
    TRY(put("blkio", bfq ? "blkio.bfq.weight" : "blkio.weight", std::to_string(*from.blkio_weight),
            "linux.resources.blockIO.weight"));
  }
  if (from.blkio_leaf_weight)
    TRY(put("blkio", "blkio.leaf_weight", std::to_string(*from.blkio_leaf_weight),
            "linux.resources.blockIO.leafWeight"));
  for (const oci::Throttle& throttle : from.throttles)
    TRY(put("blkio", "blkio.throttle." + throttle.file,
            fmt::format("{}:{} {}", throttle.major, throttle.minor, throttle.rate),
            "linux.resources.blockIO.throttle"));
  return {};
}

Outcome<> ContainerCgroup::add(pid_t pid) const {
  for (const auto& [name, directory] : directories_)
    if (!write_text_file(directory + "/cgroup.procs", std::to_string(pid)))
      return system_failure(errno, "cannot put the container into the cgroup {}", directory);
  return {};
}

CgroupUse ContainerCgroup::use() const {
  CgroupUse use;
  if (const std::string* memory = find("memory")) {
    const bool second = unified();
    use.memory_bytes = number_in(*memory + (second ? "/memory.current" : "/memory.usage_in_bytes"));
    use.memory_most_bytes = number_in(*memory + (second ? "/memory.peak" : "/memory.max_usage_in_bytes"));
    use.memory_limit_bytes = number_in(*memory + (second ? "/memory.max" : "/memory.limit_in_bytes"));
    use.memory_failures =
        second ? field_in(*memory + "/memory.events", "max") : number_in(*memory + "/memory.failcnt");
    use.memory_parts = fields_in(*memory + "/memory.stat");
  }
  if (const std::string* pids = find("pids")) {
    use.tasks = number_in(*pids + "/pids.current");
    use.tasks_limit = number_in(*pids + "/pids.max");
  }
  constexpr uint64_t kMicrosecond = 1000;
  if (const std::string* cpu = find("cpu")) {
    const std::string stat = *cpu + "/cpu.stat";
    use.periods = field_in(stat, "nr_periods");
    use.throttled_periods = field_in(stat, "nr_throttled");
    use.throttled_ns =
        unified() ? field_in(stat, "throttled_usec") * kMicrosecond : field_in(stat, "throttled_time");
  }
  if (unified()) {
    const std::string stat = directories_[0].second + "/cpu.stat";
    use.cpu_ns = field_in(stat, "usage_usec") * kMicrosecond;
    use.cpu_user_ns = field_in(stat, "user_usec") * kMicrosecond;
    use.cpu_kernel_ns = field_in(stat, "system_usec") * kMicrosecond;
  } else if (const std::string* cpu = find("cpuacct")) {
    use.cpu_ns = number_in(*cpu + "/cpuacct.usage");
    const auto tick_ns = 1'000'000'000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
    use.cpu_user_ns = field_in(*cpu + "/cpuacct.stat", "user") * tick_ns;
    use.cpu_kernel_ns = field_in(*cpu + "/cpuacct.stat", "system") * tick_ns;
    for (const std::string& each : words(read_text_file(*cpu + "/cpuacct.usage_percpu").value_or(""), ' ')) {
      uint64_t value = 0;
      if (std::from_chars(each.data(), each.data() + each.size(), value).ec == std::errc{})
        use.cpu_ns_each.push_back(value);
    }
  }
  return use;
}

bool ContainerCgroup::out_of_memory() const {
  const std::string* memory = find("memory");
  if (memory == nullptr) return false;
  return field_in(*memory + (unified() ? "/memory.events" : "/memory.oom_control"), "oom_kill") != 0;
}

Outcome<> ContainerCgroup::remove() const {
  for (const auto& [name, directory] : directories_) {
    // Processes that have ended leave their cgroup a moment later, and nothing tells when.
    constexpr int kTries = 200;
    constexpr timespec kPause{0, 5'000'000};
    int tries = 0;
    while (::rmdir(directory.c_str()) != 0) {
      if (errno == ENOENT) break;
      if (errno != EBUSY || ++tries == kTries)
        return system_failure(errno, "cannot remove the cgroup {}", directory);
      kill_processes(directory);
      ::nanosleep(&kPause, nullptr);
    }
    remove_made_parents(directory);
  }
  return {};
}

}  // namespace runtime
