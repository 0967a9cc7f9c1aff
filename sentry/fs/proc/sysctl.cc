#include "sentry/fs/proc/sysctl.h"

#include <linux/capability.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "sentry/base/log.h"
#include "sentry/kernel/sysctl.h"
#include "sentry/kernel/version.h"
#include "sentry/vfs/fd_table.h"

namespace sentry::fs::proc {
namespace {

using kernel::Kernel;
using kernel::Sysctl;
using kernel::Sysctls;
using kernel::Task;

struct Constant {
  const char* path;
  const char* value;
};

// What stays as it is: Linux's defaults, or what holds in this sandbox where that differs.
constexpr Constant kConstants[] = {
    {"abi/vsyscall32", "1"},
    {"fs/aio-max-nr", "65536"},
    {"fs/aio-nr", "0"},
    {"fs/epoll/max_user_watches", "1048576"},
    {"fs/file-max", "9223372036854775807"},
    {"fs/inotify/max_queued_events", "16384"},
    {"fs/inotify/max_user_instances", "128"},
    {"fs/inotify/max_user_watches", "65536"},
    {"fs/lease-break-time", "45"},
    {"fs/leases-enable", "1"},
    {"fs/overflowgid", "65534"},
    {"fs/overflowuid", "65534"},
    {"fs/pipe-max-size", "1048576"},
    {"fs/pipe-user-pages-hard", "0"},
    {"fs/pipe-user-pages-soft", "16384"},
    {"fs/suid_dumpable", "0"},
    {"kernel/auto_msgmni", "0"},
    {"kernel/cap_last_cap", "40"},
    {"kernel/core_pattern", "core"},
    {"kernel/core_pipe_limit", "0"},
    {"kernel/core_uses_pid", "0"},
    {"kernel/dmesg_restrict", "1"},
    {"kernel/io_uring_disabled", "2"},
    {"kernel/kptr_restrict", "2"},
    {"kernel/modules_disabled", "1"},
    {"kernel/ngroups_max", "65536"},
    {"kernel/osrelease", kernel::kRelease},
    {"kernel/ostype", kernel::kSysname},
    {"kernel/overflowgid", "65534"},
    {"kernel/overflowuid", "65534"},
    {"kernel/panic", "0"},
    {"kernel/perf_event_paranoid", "4"},
    {"kernel/printk", "4\t4\t1\t7"},
    {"kernel/pty/max", "4096"},
    {"kernel/pty/reserve", "1024"},
    {"kernel/random/entropy_avail", "256"},
    {"kernel/random/poolsize", "256"},
    {"kernel/random/urandom_min_reseed_secs", "60"},
    {"kernel/random/write_wakeup_threshold", "256"},
    {"kernel/randomize_va_space", "2"},
    {"kernel/sched_autogroup_enabled", "0"},
    {"kernel/sched_child_runs_first", "0"},
    {"kernel/sched_rr_timeslice_ms", "100"},
    {"kernel/sched_rt_period_us", "1000000"},
    {"kernel/sched_rt_runtime_us", "950000"},
    {"kernel/shm_rmid_forced", "0"},
    {"kernel/sysrq", "0"},
    {"kernel/tainted", "0"},
    {"kernel/unprivileged_bpf_disabled", "2"},
    {"kernel/version", kernel::kVersion},
    {"net/core/default_qdisc", "noqueue"},
    {"net/core/netdev_max_backlog", "1000"},
    {"net/core/optmem_max", "20480"},
    {"net/core/rmem_default", "212992"},
    {"net/core/rmem_max", "212992"},
    {"net/core/wmem_default", "212992"},
    {"net/core/wmem_max", "212992"},
    {"net/ipv4/ip_local_reserved_ports", ""},
    {"net/ipv4/ip_nonlocal_bind", "0"},
    {"net/ipv4/tcp_abort_on_overflow", "0"},
    {"net/ipv4/tcp_allowed_congestion_control", "reno"},
    {"net/ipv4/tcp_available_congestion_control", "reno"},
    {"net/ipv4/tcp_congestion_control", "reno"},
    {"net/ipv4/tcp_fastopen", "0"},
    {"net/ipv6/conf/all/disable_ipv6", "0"},
    {"net/ipv6/conf/default/disable_ipv6", "0"},
    {"net/ipv6/conf/lo/disable_ipv6", "0"},
    {"user/max_user_namespaces", "0"},
    {"vm/compact_memory", "0"},
    {"vm/dirty_background_ratio", "10"},
    {"vm/dirty_expire_centisecs", "3000"},
    {"vm/dirty_ratio", "20"},
    {"vm/dirty_writeback_centisecs", "500"},
    {"vm/legacy_va_layout", "0"},
    {"vm/max_map_count", "65530"},
    {"vm/min_free_kbytes", "67584"},
    {"vm/mmap_min_addr", "65536"},
    {"vm/nr_hugepages", "0"},
    {"vm/nr_overcommit_hugepages", "0"},
    {"vm/overcommit_kbytes", "0"},
    {"vm/overcommit_memory", "0"},
    {"vm/overcommit_ratio", "50"},
    {"vm/page-cluster", "3"},
    {"vm/panic_on_oom", "0"},
    {"vm/swappiness", "60"},
    {"vm/vfs_cache_pressure", "100"},
};

// A random UUID, version 4 (RFC 9562, section 5.4).
std::string random_uuid() {
  std::array<uint8_t, 16> bytes{};
  const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
  BULKHEAD_CHECK(got == static_cast<ssize_t>(bytes.size()), "getrandom: error {}", errno);
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", bytes[i]);
  }
  return text;
}

// uts_namespaces(7): the name up to the newline, 64 bytes at most (__NEW_UTS_LEN).
std::string name_in(std::string_view text) {
  constexpr size_t kLongestName = 64;
  text = text.substr(0, text.find_first_of(std::string_view("\n\0", 2)));
  return std::string(text.substr(0, kLongestName));
}

Result<> write_name(std::string& name, std::string_view text) {
  const Task* caller = Task::current_or_null();
  if (caller != nullptr && !caller->credentials->capable(CAP_SYS_ADMIN)) return Errno(EPERM);
  name = name_in(text);
  return {};
}

size_t open_files(const Kernel& kernel) {
  size_t count = 0;
  for (const auto& [id, group] : kernel.groups())
    if (!group->tasks.empty() && group->tasks.front()->fd_table != nullptr)
      count += group->tasks.front()->fd_table->list().size();
  return count;
}

std::string path_of(std::string_view key) {
  std::string path(key);
  std::replace(path.begin(), path.end(), '.', '/');
  return path;
}

using Wanted = std::vector<std::pair<std::string, std::string>>;

// The same numbers and words, however far apart.
bool same_text(std::string_view one, std::string_view other) {
  constexpr std::string_view kSpace = " \t\n";
  for (;;) {
    one.remove_prefix(std::min(one.find_first_not_of(kSpace), one.size()));
    other.remove_prefix(std::min(other.find_first_not_of(kSpace), other.size()));
    const std::string_view word = one.substr(0, one.find_first_of(kSpace));
    if (word != other.substr(0, other.find_first_of(kSpace))) return false;
    if (word.empty()) return true;
    one.remove_prefix(word.size());
    other.remove_prefix(word.size());
  }
}

// A value for what cannot be changed: only the one that it has.
std::optional<SysctlRefusal> judge_fixed(const std::string& key, std::string_view path,
                                         std::string_view text) {
  const auto* const constant = std::find_if(std::begin(kConstants), std::end(kConstants),
                                            [&](const Constant& each) { return each.path == path; });
  if (constant != std::end(kConstants)) {
    if (same_text(constant->value, text)) return std::nullopt;
    return SysctlRefusal{EPERM, fmt::format("{}: is \"{}\" in a sandbox", key, constant->value)};
  }
  if (path == "kernel/hostname") return SysctlRefusal{EPERM, key + ": \"hostname\" says it"};
  if (path == "kernel/threads-max") return SysctlRefusal{EPERM, key + ": linux.resources.pids.limit says it"};
  if (path == "fs/nr_open")
    return SysctlRefusal{EPERM, fmt::format("{}: is \"{}\" in a sandbox", key, vfs::FdTable::kMaximum)};
  return SysctlRefusal{ENOENT, key};
}

// ip(7), ip_local_port_range: Linux refuses one that begins among the privileged ports, and the reverse.
std::optional<SysctlRefusal> judge_ports(const Wanted& wanted) {
  const Sysctls& sysctls = Sysctls::current();
  const Sysctl &range = sysctls.ip_local_port_range, &start = sysctls.ip_unprivileged_port_start;
  if (range[0] >= start.value()) return std::nullopt;
  for (const auto& [key, text] : wanted)
    if (const std::string path = path_of(key); path == range.path() || path == start.path())
      return SysctlRefusal{
          EINVAL, fmt::format("{}: ports are given out from {} on, those below {} are privileged", key,
                              range[0], start.value())};
  return std::nullopt;
}

}  // namespace

std::optional<SysctlRefusal> set_sysctls(Kernel& kernel, const Wanted& wanted) {
  const std::string domainname = kernel.domainname;
  std::vector<std::pair<Sysctl*, Sysctl::Values>> before;
  std::optional<SysctlRefusal> refusal;
  for (const auto& [key, text] : wanted) {
    const std::string path = path_of(key);
    if (Sysctl* const sysctl = Sysctls::current().find(path)) {
      before.emplace_back(sysctl, sysctl->values());
      if (!sysctl->set(text)) refusal = {EINVAL, key + ": " + sysctl->expected()};
    } else if (path == "kernel/domainname") {
      kernel.domainname = name_in(text);
    } else {
      refusal = judge_fixed(key, path, text);
    }
    if (refusal) break;
  }
  if (!refusal) refusal = judge_ports(wanted);
  if (!refusal) return std::nullopt;
  for (auto it = before.rbegin(); it != before.rend(); ++it) it->first->restore(it->second);
  kernel.domainname = domainname;
  return refusal;
}

std::shared_ptr<pseudo::Node> make_sysctl_tree(pseudo::Superblock& superblock, Kernel& kernel) {
  auto root = std::make_shared<pseudo::FixedDirectory>(superblock, superblock.allocate_inode(), 0555);
  pseudo::TreeBuilder tree(superblock, root);
  for (const Constant& constant : kConstants)
    tree.constant(constant.path, std::string(constant.value) + "\n");

  const auto live = [&](const char* path, auto value) {
    tree.text(path, [value]() -> Result<std::string> { return fmt::format("{}\n", value()); });
  };
  live("kernel/threads-max", [&kernel] { return kernel.max_tasks; });
  live("kernel/random/uuid", [] { return random_uuid(); });
  live("fs/file-nr", [&kernel] { return fmt::format("{}\t0\t9223372036854775807", open_files(kernel)); });
  live("fs/nr_open", [] { return vfs::FdTable::kMaximum; });
  tree.constant("kernel/random/boot_id", random_uuid() + "\n");
  tree.directory("fs/binfmt_misc");

  const auto name = [&](const char* path, std::string& value) {
    tree.text(
        path, [&value]() -> Result<std::string> { return value + "\n"; }, 0644,
        [&value](std::string_view text) { return write_name(value, text); });
  };
  name("kernel/hostname", kernel.hostname);
  name("kernel/domainname", kernel.domainname);

  for (const Sysctl* sysctl : Sysctls::current().all())
    tree.text(sysctl->path(), [sysctl]() -> Result<std::string> { return sysctl->text() + "\n"; });
  return root;
}

}  // namespace sentry::fs::proc
