#include "sentry/fs/proc/proc.h"

#include <dirent.h>
#include <linux/magic.h>

#include <charconv>

#include <fmt/format.h>

#include "sentry/fs/proc/ipc_text.h"
#include "sentry/fs/proc/net_directory.h"
#include "sentry/fs/proc/process_directory.h"
#include "sentry/fs/proc/subject.h"
#include "sentry/fs/proc/sysctl.h"
#include "sentry/fs/proc/system_text.h"
#include "sentry/fs/pseudo/node.h"

namespace sentry::fs::proc {
namespace {

using kernel::Kernel;
using kernel::Task;
using kernel::ThreadGroup;

constexpr char kFilesystems[] =
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\tmqueue\n"
    "nodev\toverlay\nnodev\tpipefs\nnodev\tsockfs\n";
constexpr char kDevices[] =
    "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n";

std::optional<pid_t> parse_pid(std::string_view name) {
  if (name.empty() || name.front() == '0') return std::nullopt;
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (error != std::errc{} || end != name.data() + name.size() || pid <= 0) return std::nullopt;
  return pid;
}

class RootDirectory final : public pseudo::Directory {
 public:
  RootDirectory(pseudo::Superblock& superblock, Kernel& kernel)
      : Directory(superblock, superblock.allocate_inode(), 0555),
        kernel_(kernel),
        fixed_(std::make_shared<pseudo::FixedDirectory>(superblock, number(), 0555)),
        net_(make_net_directory(superblock)) {
    fill(superblock);
  }

  Result<vfs::InodeRef> lookup(std::string_view name) override {
    if (const std::optional<pid_t> pid = parse_pid(name)) {
      // A thread's own id is found too, though it is not listed.
      ThreadGroup* group = kernel_.find_group(*pid);
      if (group == nullptr) {
        const Task* task = kernel_.find_task(*pid);
        if (task == nullptr) return Errno(ENOENT);
        group = task->group.get();
      }
      return vfs::InodeRef(make_process_directory(superblock(), Subject::process(*group), net_));
    }
    return fixed_->lookup(name);
  }
  Result<std::vector<Entry>> list() override {
    std::vector<Entry> entries = TRY(fixed_->list());
    for (const auto& [pid, group] : kernel_.groups())
      entries.push_back({fmt::format("{}", pid), static_cast<uint64_t>(pid) << 32 | 1, DT_DIR});
    return entries;
  }
  // As create(): Linux does not get as far as asking who wants to make it.
  Result<vfs::InodeRef> mkdir(std::string_view, const vfs::NewNode&) override { return Errno(ENOENT); }
  Result<vfs::InodeRef> symlink(std::string_view, const vfs::NewNode&, std::string_view) override {
    return Errno(ENOENT);
  }
  Result<vfs::Attributes> getattr() override {
    vfs::Attributes attributes = TRY(Directory::getattr());
    attributes.nlink = static_cast<uint32_t>(2 + kernel_.groups().size());
    return attributes;
  }

 private:
  void fill(pseudo::Superblock& superblock);

  Kernel& kernel_;
  std::shared_ptr<pseudo::FixedDirectory> fixed_;
  std::shared_ptr<pseudo::Node> net_;
};

Result<std::string> self_name() {
  const Task* task = Task::current_or_null();
  if (task == nullptr) return Errno(ENOENT);
  return fmt::format("{}", task->group->id);
}
Result<std::string> thread_self_name() {
  const Task* task = Task::current_or_null();
  if (task == nullptr) return Errno(ENOENT);
  return fmt::format("{}/task/{}", task->group->id, task->tid);
}

void RootDirectory::fill(pseudo::Superblock& superblock) {
  pseudo::TreeBuilder tree(superblock, fixed_);
  const auto system = [&](const char* name, std::string (*text)(const Kernel&)) {
    tree.text(name, [&kernel = kernel_, text]() -> Result<std::string> { return text(kernel); });
  };
  system("cpuinfo", cpuinfo_text);
  system("loadavg", loadavg_text);
  system("locks", locks_text);
  system("meminfo", meminfo_text);
  system("stat", system_stat_text);
  system("uptime", uptime_text);
  system("vmstat", vmstat_text);
  system("sysvipc/msg", message_queues_text);
  system("sysvipc/sem", semaphores_text);
  system("sysvipc/shm", shared_memory_text);
  tree.constant("version", version_text());
  tree.constant("cmdline", "console=tty0\n");
  // cgroups(7): hierarchy 0 is that of version 2. Runtimes look here for what may limit them.
  tree.constant(
      "cgroups",
      "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\ncpuacct\t0\t1\t1\n"
      "memory\t0\t1\t1\npids\t0\t1\t1\n");
  tree.constant("devices", kDevices);
  tree.constant("diskstats", "");
  tree.constant("filesystems", kFilesystems);
  tree.constant("interrupts", "");
  tree.constant("modules", "");
  tree.constant("partitions", "major minor  #blocks  name\n\n");
  tree.constant("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
  tree.link("mounts", "self/mounts");
  tree.link("net", "self/net");
  tree.node("self", std::make_shared<pseudo::LinkNode>(superblock, superblock.allocate_inode(), self_name));
  tree.node("thread-self",
            std::make_shared<pseudo::LinkNode>(superblock, superblock.allocate_inode(), thread_self_name));
  tree.node("sys", make_sysctl_tree(superblock, kernel_));
}

}  // namespace

std::shared_ptr<vfs::Superblock> make_proc(Kernel& kernel) {
  auto superblock = std::make_shared<pseudo::Superblock>("proc", PROC_SUPER_MAGIC);
  superblock->set_root(std::make_shared<RootDirectory>(*superblock, kernel));
  return superblock;
}

}  // namespace sentry::fs::proc
