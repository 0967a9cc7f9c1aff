#include "sentry/fs/sys/sysfs.h"

#include <linux/magic.h>

#include <algorithm>

#include <fmt/format.h>

#include "sentry/fs/proc/process_text.h"
#include "sentry/fs/proc/system_text.h"
#include "sentry/fs/pseudo/node.h"
#include "sentry/fs/sys/caches.h"

namespace sentry::fs::sys {
namespace {

using kernel::Kernel;
using proc::cpu_list;
using proc::cpu_mask;

std::string one_cpu_mask(unsigned cpu) {
  std::string text = fmt::format("{:x}", 1u << (cpu % 32));
  for (unsigned group = cpu / 32; group > 0; --group) text += ",00000000";
  return text;
}

class Filler {
 public:
  Filler(pseudo::TreeBuilder& tree, Kernel& kernel) : tree_(tree), kernel_(kernel) {}

  void fill() {
    for (const char* empty :
         {"block", "bus", "class/block", "class/mem", "class/tty", "dev/block", "dev/char", "devices/virtual",
          "firmware", "fs/cgroup", "hypervisor", "module", "power"})
      tree_.directory(empty);
    cpus();
    node();
    kernel_settings();
    loopback();
  }

 private:
  void value(const std::string& path, const std::string& text) { tree_.constant(path, text + "\n"); }

  void cpus() {
    const std::string all = "devices/system/cpu/";
    const unsigned count = kernel_.cpus;
    for (const char* name : {"online", "possible", "present"}) value(all + name, cpu_list(count));
    value(all + "offline", "");
    value(all + "isolated", "");
    value(all + "kernel_max", "8191");
    value(all + "smt/active", "0");
    value(all + "smt/control", "notsupported");
    const std::vector<Cache> caches = list_caches();
    for (unsigned cpu = 0; cpu < count; ++cpu) {
      const std::string own = fmt::format("{}cpu{}/", all, cpu);
      if (cpu > 0) value(own + "online", "1");  // the first cannot be taken away, and has no such file
      topology(own + "topology/", cpu);
      for (size_t i = 0; i < caches.size(); ++i)
        cache(fmt::format("{}cache/index{}/", own, i), caches[i], cpu);
    }
  }

  // Every CPU is a core of its own, all in one package: how the host's are placed is not the guest's to know.
  void topology(const std::string& at, unsigned cpu) {
    const unsigned count = kernel_.cpus;
    value(at + "core_id", fmt::format("{}", cpu));
    value(at + "physical_package_id", "0");
    value(at + "die_id", "0");
    value(at + "cluster_id", "65535");
    for (const char* name : {"thread_siblings", "core_cpus"}) value(at + name, one_cpu_mask(cpu));
    for (const char* name : {"thread_siblings_list", "core_cpus_list"})
      value(at + name, fmt::format("{}", cpu));
    for (const char* name : {"core_siblings", "package_cpus", "die_cpus"}) value(at + name, cpu_mask(count));
    for (const char* name : {"core_siblings_list", "package_cpus_list", "die_cpus_list"})
      value(at + name, cpu_list(count));
  }

  void cache(const std::string& at, const Cache& cache, unsigned cpu) {
    // Shared by all or by none, as with the topology above.
    const bool shared = cache.level >= 3;
    value(at + "level", fmt::format("{}", cache.level));
    value(at + "type", cache.type == 'D' ? "Data" : cache.type == 'I' ? "Instruction" : "Unified");
    value(at + "size", fmt::format("{}K", cache.size_bytes() >> 10));
    value(at + "coherency_line_size", fmt::format("{}", cache.line_bytes));
    value(at + "ways_of_associativity", fmt::format("{}", cache.ways));
    value(at + "number_of_sets", fmt::format("{}", cache.sets));
    value(at + "physical_line_partition", "1");
    value(at + "id", fmt::format("{}", shared ? 0 : cpu));
    value(at + "shared_cpu_list", shared ? cpu_list(kernel_.cpus) : fmt::format("{}", cpu));
    value(at + "shared_cpu_map", shared ? cpu_mask(kernel_.cpus) : one_cpu_mask(cpu));
  }

  void node() {
    const std::string all = "devices/system/node/";
    for (const char* name : {"online", "possible", "has_cpu", "has_memory", "has_normal_memory"})
      value(all + name, "0");
    value(all + "node0/cpulist", cpu_list(kernel_.cpus));
    value(all + "node0/cpumap", cpu_mask(kernel_.cpus));
    value(all + "node0/distance", "10");
    tree_.text(all + "node0/meminfo", [&kernel = kernel_]() -> Result<std::string> {
      const proc::SystemMemory memory = proc::system_memory(kernel);
      const auto row = [](const char* name, uint64_t bytes) {
        return fmt::format("Node 0 {:<16}{:>8} kB\n", std::string(name) + ":", bytes >> 10);
      };
      return row("MemTotal", memory.total) + row("MemFree", memory.free) +
             row("MemUsed", memory.total - memory.free) + row("Shmem", memory.shared);
    });
    for (unsigned cpu = 0; cpu < kernel_.cpus; ++cpu) {
      tree_.link(fmt::format("{}node0/cpu{}", all, cpu), fmt::format("../../cpu/cpu{}", cpu));
      tree_.link(fmt::format("devices/system/cpu/cpu{}/node0", cpu), "../../node/node0");
    }
  }

  void kernel_settings() {
    value("kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
    value("kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never");
    value("kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force");
    value("kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152");
    value("kernel/mm/transparent_hugepage/use_zero_page", "1");
    for (const char* name :
         {"nr_hugepages", "free_hugepages", "nr_overcommit_hugepages", "resv_hugepages", "surplus_hugepages"})
      value(std::string("kernel/mm/hugepages/hugepages-2048kB/") + name, "0");
    value("kernel/fscaps", "1");
    value("kernel/profiling", "0");
    tree_.directory("kernel/debug");
    tree_.directory("kernel/security");
    tree_.directory("kernel/tracing");
  }

  void loopback() {
    const std::string lo = "devices/virtual/net/lo/";
    struct Fact {
      const char* name;
      const char* text;
    };
    static constexpr Fact kFacts[] = {
        {"addr_assign_type", "0"},
        {"addr_len", "6"},
        {"address", "00:00:00:00:00:00"},
        {"broadcast", "00:00:00:00:00:00"},
        {"carrier", "1"},
        {"dev_id", "0x0"},
        {"dev_port", "0"},
        {"dormant", "0"},
        {"flags", "0x9"},
        {"gro_flush_timeout", "0"},
        {"ifalias", ""},
        {"ifindex", "1"},
        {"iflink", "1"},
        {"link_mode", "0"},
        {"mtu", "65536"},
        {"netdev_group", "0"},
        {"operstate", "unknown"},
        {"proto_down", "0"},
        {"tx_queue_len", "1000"},
        {"type", "772"},
        {"uevent", "INTERFACE=lo\nIFINDEX=1"},
    };
    for (const Fact& fact : kFacts) value(lo + fact.name, fact.text);
    for (const char* name : {"collisions", "multicast", "rx_bytes", "rx_dropped", "rx_errors", "rx_packets",
                             "tx_bytes", "tx_dropped", "tx_errors", "tx_packets"})
      value(lo + "statistics/" + name, "0");
    tree_.link("class/net/lo", "../../devices/virtual/net/lo");
    tree_.link("devices/virtual/net/lo/subsystem", "../../../../class/net");
  }

  pseudo::TreeBuilder& tree_;
  Kernel& kernel_;
};

}  // namespace

std::shared_ptr<vfs::Superblock> make_sysfs(Kernel& kernel) {
  auto superblock = std::make_shared<pseudo::Superblock>("sysfs", SYSFS_MAGIC);
  auto root = std::make_shared<pseudo::FixedDirectory>(*superblock, superblock->allocate_inode(), 0555);
  pseudo::TreeBuilder tree(*superblock, root);
  Filler(tree, kernel).fill();
  superblock->set_root(std::move(root));
  return superblock;
}

}  // namespace sentry::fs::sys
