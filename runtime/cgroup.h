// Limits that only the host can set for a whole sandbox: memory, tasks and processor time, through
// cgroups(7), version 1 or 2, whichever has the controller. For root; an ordinary user has no cgroups of his
// own to write.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/failure.h"

namespace runtime {

struct Limits {
  uint64_t memory_bytes = 0;  // 0: none
  uint32_t tasks = 0;         // 0: none; processes and threads of the guest
  double cpus = 0;            // 0: none; processors' worth of time

  bool any() const { return memory_bytes != 0 || tasks != 0 || cpus > 0; }
};

// A controller as this host offers it.
struct Controller {
  std::string name;    // memory, pids, cpu
  std::string parent;  // directory of a cgroup below which a sandbox's may be made
  int version = 0;     // 1, 2, or 0: not there
};
Controller find_controller(const std::string& name);

// The cgroups of one sandbox: `<the caller's cgroup>/bulkhead/ID` of each controller that is needed (version
// 2: `bulkhead/ID` at the top, since a cgroup with processes cannot hand out controllers).
class Cgroup {
 public:
  Cgroup() = default;
  Cgroup(Cgroup&& other) noexcept { *this = std::move(other); }
  Cgroup& operator=(Cgroup&& other) noexcept;
  ~Cgroup() { remove(); }

  // Makes them and sets the limits. Removes those that killed runtimes have left behind, too. `id` starts
  // with the runtime's pid and a dot, which is how the next one knows.
  static Outcome<Cgroup> create(const std::string& id, const Limits& limits);

  // Moves a process in, with all that it will start.
  Outcome<> add(pid_t pid) const;

  // True if the memory limit has had a process killed.
  bool out_of_memory() const;

  // Once its processes have been reaped. Leaves nothing behind.
  void remove();

 private:
  std::vector<std::string> directories_;
  std::string memory_directory_;
};

}  // namespace runtime
