// The cgroups of an OCI container: linux.cgroupsPath and linux.resources. As runc lays them out: version 1,
// one directory in each hierarchy; version 2, one directory. Everything of a container is in them, its
// supervisor too.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "oci/config.h"
#include "runtime/failure.h"

namespace runtime {

// What engines show as a container's use: the data of `events --stats`.
struct CgroupUse {
  uint64_t cpu_ns = 0;
  std::vector<uint64_t> cpu_ns_each;
  uint64_t cpu_user_ns = 0, cpu_kernel_ns = 0;
  uint64_t periods = 0, throttled_periods = 0, throttled_ns = 0;  // under a quota
  uint64_t memory_bytes = 0, memory_most_bytes = 0, memory_limit_bytes = 0, memory_failures = 0;
  std::vector<std::pair<std::string, uint64_t>> memory_parts;  // memory.stat
  uint64_t tasks = 0, tasks_limit = 0;
};

class ContainerCgroup {
 public:
  using Directories = std::vector<std::pair<std::string, std::string>>;  // controller ("": version 2), path

  ContainerCgroup() = default;
  explicit ContainerCgroup(Directories directories) : directories_(std::move(directories)) {}

  // Makes the directories. `path` is linux.cgroupsPath: from the top if absolute, else below the caller's own
  // cgroup; empty: the container's id. What has been made is removed again if that fails.
  static Outcome<ContainerCgroup> create(const std::string& path, const std::string& id);

  // The one that a process is in. Of version 2 alone.
  static Outcome<ContainerCgroup> of_process(pid_t pid);

  const Directories& directories() const { return directories_; }
  bool any() const { return !directories_.empty(); }
  // Sets what `resources` says. The failure names the JSON path.
  Outcome<> set(const oci::Resources& resources, bool created) const;
  // Moves a process in, with all that it will start.
  Outcome<> add(pid_t pid) const;
  CgroupUse use() const;
  // True if the memory limit has had a process killed.
  bool out_of_memory() const;
  // Once nothing runs in them; waits a little for what is still ending. A failure names what is left.
  Outcome<> remove() const;

 private:
  // The controller's directory, or nothing if this host has none.
  const std::string* find(std::string_view controller) const;
  bool unified() const { return directories_.size() == 1 && directories_[0].first.empty(); }
  Outcome<> put(std::string_view controller, const std::string& file, const std::string& text,
                const char* path) const;
  Outcome<> set_unified(const oci::Resources& resources) const;
  // Version 1:
  Outcome<> set_memory(const oci::Resources& resources, bool created) const;
  Outcome<> set_cpu(const oci::Resources& resources) const;
  Outcome<> set_block_io(const oci::Resources& resources) const;

  Directories directories_;
};

}  // namespace runtime
