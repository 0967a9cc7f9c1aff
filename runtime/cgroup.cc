#include "runtime/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>

#include "runtime/text_file.h"
#include "sentry/base/log.h"

namespace runtime {
namespace {

constexpr std::string_view kTop = "/sys/fs/cgroup";

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

bool has_word(std::string_view list, std::string_view word, char separator) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(separator), list.size());
    if (list.substr(0, end) == word) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

// This process's cgroup of a version 1 controller: a line "4:memory:/path" of /proc/self/cgroup.
std::optional<std::string> own_v1_path(const std::string& controller) {
  const std::optional<std::string> text = read_text_file("/proc/self/cgroup");
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    if (has_word(line.substr(first + 1, second - first - 1), controller, ','))
      return std::string(line.substr(second + 1));
  }
  return std::nullopt;
}

// A runtime that was killed leaves its directory; nothing runs there any more, since its death killed the
// rest.
void remove_stale(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), ::closedir);
  if (!listing) return;
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string_view name(entry->d_name);
    const size_t dot = name.find('.');
    pid_t pid = 0;
    if (dot == name.npos || std::from_chars(name.data(), name.data() + dot, pid).ptr != name.data() + dot)
      continue;
    if (pid <= 0 || ::kill(pid, 0) == 0 || errno != ESRCH) continue;
    ::rmdir(fmt::format("{}/{}", folder, name).c_str());
  }
}

Failure cannot_limit(const std::string& what) {
  return with_advice(system_failure(errno, "cannot limit {} with cgroups", what),
                     "`bulkhead check` shows what this host offers");
}

// Makes PARENT/ID. Another runtime that ends meanwhile may remove an empty parent, so that both are tried
// again.
Outcome<> make_directories(const std::string& parent, const std::string& folder) {
  constexpr int kTries = 100;
  for (int tries = 0; tries < kTries; ++tries) {
    if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST)
      return system_failure(errno, "cannot make the cgroup {}", parent);
    if (::mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST) return {};
    if (errno != ENOENT) break;
  }
  return system_failure(errno, "cannot make the cgroup {}", folder);
}

Outcome<> set_memory_limit(const std::string& folder, int version, uint64_t bytes) {
  if (version == 2) {
    if (!write_text_file(folder + "/memory.max", std::to_string(bytes))) return cannot_limit("memory");
    write_text_file(folder + "/memory.swap.max", "0");  // absent where the host has no swap accounting
    write_text_file(folder + "/memory.oom.group", "0");
    return {};
  }
  if (!write_text_file(folder + "/memory.limit_in_bytes", std::to_string(bytes)))
    return cannot_limit("memory");
  write_text_file(folder + "/memory.memsw.limit_in_bytes", std::to_string(bytes));  // absent likewise
  return {};
}

Outcome<> set_task_limit(const std::string& folder, uint32_t tasks) {
  // The sentry counts the guest's tasks to the letter. This is the net below it: stubs kept ready, the
  // sentry, the gofer and its workers come on top.
  const uint64_t host_tasks = uint64_t{tasks} * 2 + 64;
  if (!write_text_file(folder + "/pids.max", std::to_string(host_tasks))) return cannot_limit("tasks");
  return {};
}

Outcome<> set_cpu_limit(const std::string& folder, int version, double cpus) {
  constexpr uint64_t kPeriodUs = 100'000;  // the kernel's default
  const auto quota_us = static_cast<uint64_t>(cpus * static_cast<double>(kPeriodUs));
  const bool done = version == 2
                        ? write_text_file(folder + "/cpu.max", fmt::format("{} {}", quota_us, kPeriodUs))
                        : write_text_file(folder + "/cpu.cfs_period_us", std::to_string(kPeriodUs)) &&
                              write_text_file(folder + "/cpu.cfs_quota_us", std::to_string(quota_us));
  if (!done) return cannot_limit("processor time");
  return {};
}

}  // namespace

Controller find_controller(const std::string& name) {
  const std::string top = fmt::format("{}/{}", kTop, name);
  if (const std::optional<std::string> own = own_v1_path(name); own && exists(top)) {
    const std::string below = *own == "/" ? top : top + *own;
    return {name, exists(below) ? below : top, 1};
  }
  const std::string root(kTop);
  const std::optional<std::string> unified = read_text_file(root + "/cgroup.controllers");
  if (unified) {
    std::string list = *unified;
    std::replace(list.begin(), list.end(), '\n', ' ');
    if (has_word(list, name, ' ')) return {name, root, 2};
  }
  return {name, "", 0};
}

Cgroup& Cgroup::operator=(Cgroup&& other) noexcept {
  if (this != &other) {
    remove();
    directories_ = std::exchange(other.directories_, {});
    memory_directory_ = std::exchange(other.memory_directory_, {});
  }
  return *this;
}

Outcome<Cgroup> Cgroup::create(const std::string& id, const Limits& limits) {
  Cgroup cgroup;
  struct Wanted {
    const char* controller;
    const char* option;
    bool wanted;
  };
  for (const Wanted& want :
       {Wanted{"memory", "--memory", limits.memory_bytes != 0}, Wanted{"pids", "--pids", limits.tasks != 0},
        Wanted{"cpu", "--cpus", limits.cpus > 0}}) {
    if (!want.wanted) continue;
    const Controller controller = find_controller(want.controller);
    if (controller.version == 0)
      return failure(
          "{} needs the {} cgroup controller, which this host does not offer (`bulkhead check` shows all)",
          want.option, want.controller);
    const std::string parent = controller.parent + "/bulkhead";
    const std::string folder = fmt::format("{}/{}", parent, id);
    if (controller.version == 2)
      write_text_file(controller.parent + "/cgroup.subtree_control", fmt::format("+{}", want.controller));
    remove_stale(parent);
    TRY(make_directories(parent, folder));
    if (controller.version == 2)
      write_text_file(parent + "/cgroup.subtree_control", fmt::format("+{}", want.controller));
    // Version 2 has one directory for all controllers.
    if (std::find(cgroup.directories_.begin(), cgroup.directories_.end(), folder) ==
        cgroup.directories_.end())
      cgroup.directories_.push_back(folder);
    const std::string_view name(want.controller);
    if (name == "memory") {
      cgroup.memory_directory_ = folder;
      TRY(set_memory_limit(folder, controller.version, limits.memory_bytes));
    } else if (name == "pids") {
      TRY(set_task_limit(folder, limits.tasks));
    } else {
      TRY(set_cpu_limit(folder, controller.version, limits.cpus));
    }
  }
  return cgroup;
}

Outcome<> Cgroup::add(pid_t pid) const {
  for (const std::string& directory : directories_)
    if (!write_text_file(directory + "/cgroup.procs", std::to_string(pid)))
      return system_failure(errno, "cannot put the sandbox into the cgroup {}", directory);
  return {};
}

bool Cgroup::out_of_memory() const {
  if (memory_directory_.empty()) return false;
  for (const char* file : {"/memory.events", "/memory.oom_control"}) {
    const std::optional<std::string> text = read_text_file(memory_directory_ + file);
    if (!text) continue;
    const size_t at = text->find("oom_kill ");
    if (at != std::string::npos) return text->substr(at + 9, 1) != "0";
  }
  return false;
}

void Cgroup::remove() {
  for (const std::string& directory : directories_)
    if (::rmdir(directory.c_str()) != 0 && errno != ENOENT)
      sentry::log("cannot remove the cgroup {}: {}", directory, strerrordesc_np(errno));
  for (const std::string& directory : directories_)
    ::rmdir(directory.substr(0, directory.rfind('/')).c_str());
  directories_.clear();
}

}  // namespace runtime
