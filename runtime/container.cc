#include "runtime/container.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "oci/mount_options.h"
#include "runtime/caller.h"
#include "runtime/hidden_places.h"
#include "runtime/namespace_file.h"
#include "runtime/seccomp_filter.h"
#include "runtime/text_file.h"
#include "sentry/boot/sysctl.h"

namespace runtime {
namespace {

using sentry::boot::MountKind;

Failure config_failure(const oci::Error& error) { return failure("config.json: {}", error.text()); }

std::optional<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return std::nullopt;
  return std::string(real.get());
}

// A device that every sandbox has itself: null, zero, full, random, urandom, tty.
bool is_sandbox_device(const struct stat& status) {
  if (!S_ISCHR(status.st_mode)) return false;
  constexpr auto kMemory = std::to_array<unsigned>({3, 5, 7, 8, 9});
  if (major(status.st_rdev) == 1)
    return std::find(kMemory.begin(), kMemory.end(), minor(status.st_rdev)) != kMemory.end();
  return status.st_rdev == makedev(5, 0);
}

class ContainerPlanner {
 public:
  ContainerPlanner(Container& container, const std::string& id)
      : container_(container), config_(container.config), plan_(container.plan), id_(id) {}

  Outcome<> plan() {
    plan_.id = fmt::format("{}.{}", ::getpid(), id_);
    plan_.boot.id = id_;
    plan_.boot.hostname = config_.hostname.empty() ? default_hostname() : config_.hostname;
    plan_.boot.domainname = config_.domainname;
    take_annotations();
    TRY(add_namespaces());
    TRY(add_root());
    for (size_t i = 0; i < config_.mounts.size(); ++i) TRY(add_mount(config_.mounts[i], i));
    add_default_dev();
    TRY(add_linux());
    add_limits();
    TRY(add_process());
    for (const std::string& path : config_.unsupported) warn(fmt::format("{}: not honoured", path));
    for (const std::string& what : config_.without_effect) note(what);
    return {};
  }

 private:
  void warn(std::string_view what) { container_.warnings.push_back(fmt::format("config.json: {}", what)); }
  void note(std::string_view what) { container_.notes.push_back(fmt::format("config.json: {}", what)); }

  bool lists_namespace(std::string_view type) const {
    const std::vector<oci::Namespace>& all = config_.linux_part.namespaces;
    return std::any_of(all.begin(), all.end(), [&](const oci::Namespace& each) { return each.type == type; });
  }

  // Who asks for no UTS namespace asks for the host's name.
  std::string default_hostname() const {
    utsname host{};
    if (lists_namespace("uts") || ::uname(&host) != 0) return "bulkhead";
    return host.nodename;
  }

  // Kubernetes, through containerd's CRI and CRI-O: containers of a pod name the one that was there first.
  void take_annotations() {
    const auto get = [&](const char* name) {
      const auto found = config_.annotations.find(name);
      return found == config_.annotations.end() ? std::string() : found->second;
    };
    for (const std::string prefix : {"io.kubernetes.cri.", "io.kubernetes.cri-o."}) {
      std::string kind = get((prefix + "container-type").c_str());
      if (kind.empty()) kind = get((prefix + "ContainerType").c_str());
      if (kind != "container") continue;
      container_.sandbox_id = get((prefix + "sandbox-id").c_str());
      if (container_.sandbox_id.empty()) container_.sandbox_id = get((prefix + "SandboxID").c_str());
    }
  }

  // Every sandbox has namespaces of its own of each kind. One by its path can be joined where that means
  // something: the network's, by the supervisor; those of the pod, by being in its sandbox.
  Outcome<> add_namespaces() {
    const oci::Linux& from = config_.linux_part;
    for (size_t i = 0; i < from.namespaces.size(); ++i) {
      const oci::Namespace& each = from.namespaces[i];
      if (each.path.empty()) {
        container_.new_network |= each.type == "network";
        continue;
      }
      const std::string path = fmt::format("linux.namespaces[{}].path", i);
      if (each.type == "network") {
        container_.network = each.path;
        const Outcome<sentry::Fd> space = open_network_namespace(each.path);
        if (!space) return failure("config.json: {}: {}", path, space.error().message);
        warn(fmt::format(
            "{}: joined by the sandbox's processes on the host; the guest has a network of its own, "
            "with loopback alone",
            path));
        continue;
      }
      const bool of_pod = each.type == "ipc" || each.type == "uts" || each.type == "pid";
      if (!container_.sandbox_id.empty() && of_pod) continue;
      return failure("config.json: {}: a sandbox has a kernel of its own and cannot join a {} namespace",
                     path, each.type);
    }
    // config-linux.md: what is not listed is the host's.
    for (const std::string_view type : {"network", "pid", "ipc", "uts", "mount"}) {
      const bool of_pod = type == "pid" || type == "ipc" || type == "uts";
      if (lists_namespace(type) || (of_pod && !container_.sandbox_id.empty())) continue;
      if (type == "network")
        warn(
            "linux.namespaces: no \"network\", but the guest does not have the host's: it has loopback "
            "alone");
      else
        note(fmt::format("linux.namespaces: no \"{}\", but a sandbox has its own", type));
    }
    const std::string& propagation = from.rootfs_propagation;
    if (propagation == "shared" || propagation == "rshared")
      return failure(
          "config.json: linux.rootfsPropagation: a sandbox's mounts are its own, \"{}\" is not possible",
          propagation);
    return {};
  }

  Outcome<> add_root() {
    const std::string& given = config_.root.path;
    const bool relative = !given.starts_with('/');
    const std::string path = relative ? fmt::format("{}/{}", container_.bundle, given) : given;
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return system_failure(errno, "config.json: root.path: {}", path);
    if (S_ISLNK(status.st_mode)) return failure("config.json: root.path: {} is a symbolic link", path);
    if (!S_ISDIR(status.st_mode)) return failure("config.json: root.path: {} is not a directory", path);
    const std::optional<std::string> real = real_path(path);
    if (!real) return system_failure(errno, "config.json: root.path: {}", path);
    if (relative && !is_within(*real, container_.bundle))
      return failure("config.json: root.path: {} is outside of the bundle {}", *real, container_.bundle);
    container_.rootfs = *real;
    sentry::boot::Mount& mount =
        add_gofer_mount("/", {*real, !config_.root.readonly, kernel_mounts_below(*real)});
    mount.source = "bulkhead";
    mount.exclusive = true;
    // A tree that stays as it is: mountpoints that it lacks are made in the sandbox's memory.
    mount.overlay = config_.root.readonly;
    return {};
  }

  sentry::boot::Mount& add_gofer_mount(const std::string& destination, Attach attach) {
    sentry::boot::Mount mount;
    mount.kind = MountKind::kGofer;
    mount.destination = destination;
    mount.attach = static_cast<uint32_t>(plan_.attaches.size());
    mount.read_only = !attach.writable;
    mount.source = attach.source;
    mount.type = "bulkhead";
    plan_.attaches.push_back(std::move(attach));
    plan_.boot.mounts.push_back(std::move(mount));
    return plan_.boot.mounts.back();
  }

  // Who binds the host's /proc or /sys (rootless bundles do) gets the sandbox's own.
  Outcome<std::string> type_of(const oci::Mount& wanted, const std::string& path) const {
    if (wanted.type != "bind") return wanted.type;
    struct stat status {};
    if (::stat(bind_source(wanted).c_str(), &status) == 0 && is_sandbox_device(status)) return wanted.type;
    const std::optional<KernelInterface> interface = kernel_interface_at(bind_source(wanted));
    if (!interface) return wanted.type;
    if (real_path(bind_source(wanted)) == interface->mount_point) return interface->type;
    return failure("config.json: {}.source: {} is part of the host's {}, which is no tree of files", path,
                   wanted.source, interface->type);
  }

  std::string bind_source(const oci::Mount& wanted) const {
    return wanted.source.starts_with('/') ? wanted.source
                                          : fmt::format("{}/{}", container_.bundle, wanted.source);
  }

  Outcome<> add_mount(const oci::Mount& wanted, size_t index) {
    const std::string path = fmt::format("mounts[{}]", index);
    const oci::Checked<oci::MountOptions> parsed =
        oci::parse_mount_options(wanted.options, path + ".options");
    if (!parsed) return config_failure(parsed.error());
    const oci::MountOptions& options = *parsed;
    if (!options.unknown.empty())
      return failure("config.json: {}.options: \"{}\" is not among what a sandbox's mounts have", path,
                     options.unknown.front());
    sentry::boot::Mount* mount = nullptr;
    const std::string type = TRY(type_of(wanted, path));
    if (options.copy_up && type == "tmpfs") mount = add_copied_tree(wanted);
    if (mount != nullptr) {
      mount->read_only = options.read_only;
    } else if (type == "bind") {
      mount = TRY(add_bind(wanted, options, path));
    } else {
      struct Kind {
        std::string_view type;
        MountKind kind;
      };
      constexpr auto kKinds = std::to_array<Kind>({{"proc", MountKind::kProc},
                                                   {"sysfs", MountKind::kSysfs},
                                                   {"tmpfs", MountKind::kTmpfs},
                                                   {"devpts", MountKind::kDevpts},
                                                   {"mqueue", MountKind::kMqueue},
                                                   {"cgroup", MountKind::kCgroup},
                                                   {"cgroup2", MountKind::kCgroup}});
      const auto* const found =
          std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& kind) { return kind.type == type; });
      if (found == kKinds.end())
        return failure(
            "config.json: {}.type: \"{}\" is not among what a sandbox mounts: proc, sysfs, tmpfs, devpts, "
            "mqueue, cgroup, bind",
            path, type);
      plan_.boot.mounts.emplace_back();
      mount = &plan_.boot.mounts.back();
      mount->kind = found->kind;
      mount->destination = wanted.destination;
      mount->type = type;
      mount->source = wanted.source.empty() || type != wanted.type ? type : wanted.source;
      mount->read_only = options.read_only;
      // Engines mount a tmpfs there and have the runtime fill it: the sandbox's own /dev is filled already.
      if (type == "tmpfs" && wanted.destination == "/dev") mount->kind = MountKind::kDev;
    }
    mount->nosuid = options.nosuid;
    mount->nodev = options.nodev;
    mount->noexec = options.noexec;
    mount->noatime = options.noatime;
    mount->nodiratime = options.nodiratime;
    mount->relatime = options.relatime;
    mount->strictatime = options.strictatime;
    mount->nosymfollow = options.nosymfollow;
    mount->size_bytes = options.size_bytes.value_or(0);
    mount->size_percent = options.size_percent.value_or(0);
    mount->max_inodes = options.max_inodes.value_or(mount->max_inodes);
    mount->mode = options.mode.value_or(mount->mode);
    mount->mode_of_place = !options.mode;
    mount->uid = options.uid.value_or(0);
    mount->gid = options.gid.value_or(0);
    return {};
  }

  // tmpcopyup: what the root has there shows through, and what is written stays in memory. Null where the
  // root has nothing to show.
  sentry::boot::Mount* add_copied_tree(const oci::Mount& wanted) {
    const std::optional<std::string> real = real_path(container_.rootfs + wanted.destination);
    struct stat status {};
    if (!real || !is_within(*real, container_.rootfs) || ::stat(real->c_str(), &status) != 0 ||
        !S_ISDIR(status.st_mode))
      return nullptr;
    sentry::boot::Mount& mount =
        add_gofer_mount(wanted.destination, {*real, false, kernel_mounts_below(*real)});
    mount.overlay = true;
    mount.type = mount.source = "tmpfs";
    return &mount;
  }

  // config-linux.md, "Default Devices": they are there whether or not /dev is mounted.
  void add_default_dev() {
    for (const sentry::boot::Mount& mount : plan_.boot.mounts)
      if (mount.destination == "/dev") return;
    sentry::boot::Mount dev;
    dev.kind = MountKind::kDev;
    dev.destination = "/dev";
    dev.source = dev.type = "tmpfs";
    dev.nosuid = true;
    dev.mode = 0755;
    // Right after the root: others may lie below it.
    plan_.boot.mounts.insert(plan_.boot.mounts.begin() + 1, std::move(dev));
  }

  Outcome<sentry::boot::Mount*> add_bind(const oci::Mount& wanted, const oci::MountOptions& options,
                                         const std::string& path) {
    const std::string source = bind_source(wanted);
    const std::optional<std::string> real = real_path(source);
    if (!real) return system_failure(errno, "config.json: {}.source: {}", path, source);
    struct stat status {};
    if (::stat(real->c_str(), &status) != 0)
      return system_failure(errno, "config.json: {}.source: {}", path, *real);
    if (is_sandbox_device(status)) return &add_device(wanted, status.st_rdev);
    if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
      return failure(
          "config.json: {}.source: {} is neither a directory, nor a regular file, nor a device that a "
          "sandbox has",
          path, *real);
    Attach attach{*real, !options.read_only, {}};
    if (S_ISDIR(status.st_mode))
      attach.covers = options.recursive ? kernel_mounts_below(*real) : mounts_below(*real);
    return &add_gofer_mount(wanted.destination, std::move(attach));
  }

  // A device bound over a file, as /dev/null to hide it: the sandbox's own device of this number.
  sentry::boot::Mount& add_device(const oci::Mount& wanted, dev_t device) {
    sentry::boot::Mount mount;
    mount.kind = MountKind::kDevice;
    mount.destination = wanted.destination;
    mount.source = mount.type = "tmpfs";
    mount.device_major = major(device);
    mount.device_minor = minor(device);
    plan_.boot.mounts.push_back(std::move(mount));
    return plan_.boot.mounts.back();
  }

  Outcome<> add_linux() {
    const oci::Linux& from = config_.linux_part;
    for (size_t i = 0; i < from.devices.size(); ++i) {
      const oci::Device& device = from.devices[i];
      if (!device.path.starts_with("/dev/"))
        return failure("config.json: linux.devices[{}].path: a sandbox has devices in /dev alone", i);
      plan_.boot.devices.push_back(
          {device.path, device.type, device.major, device.minor, device.mode, device.uid, device.gid});
    }
    for (const oci::DeviceRule& rule : from.resources.devices)
      plan_.boot.device_rules.push_back(
          {rule.allow, rule.type, rule.major.value_or(-1), rule.minor.value_or(-1), rule.access});
    if (!plan_.boot.device_rules.empty()) allow_default_devices();
    for (const oci::IdMapping& mapping : from.uid_mappings)
      plan_.boot.uid_mappings.push_back({mapping.container_id, mapping.host_id, mapping.size});
    for (const oci::IdMapping& mapping : from.gid_mappings)
      plan_.boot.gid_mappings.push_back({mapping.container_id, mapping.host_id, mapping.size});
    plan_.boot.sysctl = from.sysctl;
    plan_.boot.masked_paths = from.masked_paths;
    plan_.boot.readonly_paths = from.readonly_paths;
    if (from.seccomp) plan_.boot.seccomp = TRY(compile_seccomp(*from.seccomp));
    if (from.monotonic || from.boottime) {
      const auto offset = [](const std::optional<oci::ClockOffset>& clock) {
        return ClockOffsets::Offset{clock ? clock->seconds : 0, clock ? clock->nanoseconds : 0};
      };
      plan_.clocks = ClockOffsets{offset(from.monotonic), offset(from.boottime)};
    }
    note_redundant_sysctls(from);
    if (!from.mount_label.empty())
      note("linux.mountLabel: redundant: the host's labels do not reach the guest");
    return {};
  }

  void note_redundant_sysctls(const oci::Linux& from) {
    for (const auto& [key, value] : from.sysctl) {
      std::string path = key;
      std::replace(path.begin(), path.end(), '.', '/');
      const auto& all = sentry::boot::kRedundantSysctls;
      if (std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.path == path; }))
        note(fmt::format("linux.sysctl.{}: redundant: the guest's network is a loopback in memory", key));
    }
  }

  // What every container may use whatever its rules say, as in runc: its own terminals, and what mem(4) has.
  void allow_default_devices() {
    constexpr uint32_t kMake = 4, kAll = 7;
    auto& rules = plan_.boot.device_rules;
    rules.push_back({true, 'c', -1, -1, kMake});
    rules.push_back({true, 'b', -1, -1, kMake});
    for (const auto& [major, minor] : std::to_array<std::pair<int64_t, int64_t>>(
             {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, -1}}))
      rules.push_back({true, 'c', major, minor, kAll});
  }

  void add_limits() {
    const oci::Resources& from = config_.linux_part.resources;
    if (from.memory_limit_bytes.value_or(-1) > 0)
      plan_.boot.memory_limit_bytes = static_cast<uint64_t>(*from.memory_limit_bytes);
    constexpr int64_t kMostTasks = 4'194'304;  // proc(5), pid_max
    if (from.pids_limit.value_or(0) > 0)
      plan_.boot.max_tasks = static_cast<uint32_t>(std::min(*from.pids_limit, kMostTasks));
    constexpr uint64_t kDefaultPeriodUs = 100'000;
    if (from.cpu_quota_us.value_or(0) > 0) {
      plan_.boot.cpu_quota_us = static_cast<uint64_t>(*from.cpu_quota_us);
      plan_.boot.cpu_period_us = std::max<uint64_t>(from.cpu_period_us.value_or(kDefaultPeriodUs), 1);
    }
    container_.wants_cgroup =
        !config_.linux_part.cgroups_path.empty() || from.memory_limit_bytes || from.memory_swap_bytes ||
        from.memory_reservation_bytes || from.memory_swappiness || from.memory_disable_oom_killer ||
        from.pids_limit || from.cpu_shares || from.cpu_quota_us || from.cpu_period_us || from.cpu_burst_us ||
        from.cpu_idle || from.cpu_realtime_runtime_us || from.cpu_realtime_period_us || !from.cpus.empty() ||
        !from.mems.empty() || from.blkio_weight || from.blkio_leaf_weight || !from.throttles.empty() ||
        !from.hugepage_limits.empty() || !from.unified.empty();
  }

  Outcome<> add_process() {
    if (!config_.process) return failure("config.json: process: required, but not there");
    const oci::Process& from = *config_.process;
    plan_.boot.process = plan_process(from);
    plan_.boot.make_cwd = true;  // as other runtimes do
    plan_.boot.process.personality = config_.linux_part.personality.value_or(0);
    const char* redundant = "redundant: a guest is confined by its sandbox, not by the host's policies";
    if (!from.apparmor_profile.empty()) note(fmt::format("process.apparmorProfile: {}", redundant));
    if (!from.selinux_label.empty()) note(fmt::format("process.selinuxLabel: {}", redundant));
    return {};
  }

  Container& container_;
  const oci::Config& config_;
  SandboxPlan& plan_;
  const std::string& id_;
};

}  // namespace

sentry::boot::Process plan_process(const oci::Process& from) {
  sentry::boot::Process to;
  take_caller(to);
  to.args = from.args;
  to.env = from.env;
  to.find_home = true;
  to.cwd = from.cwd;
  to.uid = from.uid;
  to.gid = from.gid;
  to.additional_gids = from.additional_gids;
  to.umask = from.umask.value_or(022);
  to.cap_bounding = from.capabilities.bounding;
  to.cap_effective = from.capabilities.effective;
  to.cap_permitted = from.capabilities.permitted;
  to.cap_inheritable = from.capabilities.inheritable;
  to.cap_ambient = from.capabilities.ambient;
  to.no_new_privs = from.no_new_privileges;
  to.oom_score_adj = from.oom_score_adj.value_or(0);
  to.terminal = from.terminal;
  to.rows = from.rows;
  to.columns = from.columns;
  if (from.scheduler) {
    to.scheduling_policy = from.scheduler->policy;
    to.scheduling_priority = from.scheduler->priority;
    to.nice = from.scheduler->nice;
  }
  to.io_priority = from.io_priority;
  for (const oci::Rlimit& limit : from.rlimits)
    for (sentry::boot::Rlimit& own : to.rlimits)
      if (own.resource == static_cast<uint32_t>(limit.resource)) own = {own.resource, limit.soft, limit.hard};
  return to;
}

Outcome<Container> load_container(const std::string& bundle, const std::string& id) {
  Container container;
  container.id = id;
  const std::optional<std::string> real = real_path(bundle);
  if (!real) return system_failure(errno, "cannot use the bundle {}", bundle);
  container.bundle = *real;
  const std::string path = container.bundle + "/config.json";
  struct stat status {};
  // A pipe would keep the caller waiting for whoever writes it.
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
    return failure("cannot read {}: it is not a regular file", path);
  const std::optional<std::string> text = read_text_file(path);
  if (!text) return system_failure(errno, "cannot read {}", path);
  oci::Checked<oci::Config> config = oci::parse_config(*text);
  if (!config) return config_failure(config.error());
  container.config = std::move(*config);
  TRY(ContainerPlanner(container, id).plan());
  return container;
}

}  // namespace runtime
