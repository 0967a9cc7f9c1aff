#include "runtime/container.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "oci/mount_options.h"
#include "runtime/caller.h"
#include "runtime/hidden_places.h"
#include "runtime/text_file.h"

namespace runtime {
namespace {

using sentry::boot::MountKind;

Failure config_failure(const oci::Error& error) { return failure("config.json: {}", error.text()); }

std::optional<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (!real) return std::nullopt;
  return std::string(real.get());
}

class ContainerPlanner {
 public:
  ContainerPlanner(Container& container, const std::string& id)
      : container_(container), config_(container.config), plan_(container.plan), id_(id) {}

  Outcome<> plan() {
    plan_.id = fmt::format("{}.{}", ::getpid(), id_);
    plan_.boot.hostname = config_.hostname.empty() ? "bulkhead" : config_.hostname;
    plan_.boot.domainname = config_.domainname;
    TRY(refuse_what_would_mislead());
    TRY(add_root());
    for (size_t i = 0; i < config_.mounts.size(); ++i) TRY(add_mount(config_.mounts[i], i));
    add_linux();
    TRY(add_limits());
    TRY(add_process());
    for (const std::string& path : config_.unsupported) warn(path);
    return {};
  }

 private:
  void warn(std::string_view path) {
    container_.warnings.push_back(fmt::format("config.json: {}: not honoured by this version", path));
  }

  // What a container cannot do without if it asks for it.
  Outcome<> refuse_what_would_mislead() const {
    const oci::Hooks& hooks = config_.hooks;
    for (const auto* list : {&hooks.prestart, &hooks.create_runtime, &hooks.create_container,
                             &hooks.start_container, &hooks.poststart, &hooks.poststop})
      if (!list->empty()) return failure("config.json: hooks: this version runs none");
    for (size_t i = 0; i < config_.linux_part.namespaces.size(); ++i)
      if (!config_.linux_part.namespaces[i].path.empty())
        return failure("config.json: linux.namespaces[{}].path: this version cannot join a namespace", i);
    const std::string& propagation = config_.linux_part.rootfs_propagation;
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
    for (const std::string& option : options.unknown) warn(fmt::format("{}.options: {}", path, option));
    sentry::boot::Mount* mount = nullptr;
    const std::string type = TRY(type_of(wanted, path));
    if (type == "bind") {
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
    mount->size_bytes = options.size_bytes.value_or(0);
    mount->mode = options.mode.value_or(mount->mode);
    mount->uid = options.uid.value_or(0);
    mount->gid = options.gid.value_or(0);
    return {};
  }

  Outcome<sentry::boot::Mount*> add_bind(const oci::Mount& wanted, const oci::MountOptions& options,
                                         const std::string& path) {
    const std::string source = bind_source(wanted);
    const std::optional<std::string> real = real_path(source);
    if (!real) return system_failure(errno, "config.json: {}.source: {}", path, source);
    struct stat status {};
    if (::stat(real->c_str(), &status) != 0)
      return system_failure(errno, "config.json: {}.source: {}", path, *real);
    if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
      return failure("config.json: {}.source: {} is neither a directory nor a regular file", path, *real);
    Attach attach{*real, !options.read_only, {}};
    if (S_ISDIR(status.st_mode))
      attach.covers = options.recursive ? kernel_mounts_below(*real) : mounts_below(*real);
    return &add_gofer_mount(wanted.destination, std::move(attach));
  }

  void add_linux() {
    const oci::Linux& from = config_.linux_part;
    for (const oci::Device& device : from.devices)
      plan_.boot.devices.push_back(
          {device.path, device.type, device.major, device.minor, device.mode, device.uid, device.gid});
    for (const oci::IdMapping& mapping : from.uid_mappings)
      plan_.boot.uid_mappings.push_back({mapping.container_id, mapping.host_id, mapping.size});
    for (const oci::IdMapping& mapping : from.gid_mappings)
      plan_.boot.gid_mappings.push_back({mapping.container_id, mapping.host_id, mapping.size});
    plan_.boot.sysctl = from.sysctl;
    plan_.boot.masked_paths = from.masked_paths;
    plan_.boot.readonly_paths = from.readonly_paths;
    if (!from.cgroups_path.empty()) warn("linux.cgroupsPath");
  }

  Outcome<> add_limits() {
    const oci::Resources& from = config_.linux_part.resources;
    if (from.memory_limit_bytes.value_or(-1) > 0)
      plan_.limits.memory_bytes = static_cast<uint64_t>(*from.memory_limit_bytes);
    constexpr int64_t kMostTasks = 4'194'304;  // proc(5), pid_max
    if (from.pids_limit.value_or(0) > 0)
      plan_.limits.tasks = static_cast<uint32_t>(std::min(*from.pids_limit, kMostTasks));
    constexpr uint64_t kDefaultPeriodUs = 100'000;
    if (from.cpu_quota_us.value_or(0) > 0) {
      if (!may_map_ids())
        return failure(
            "config.json: linux.resources.cpu.quota: needs a cgroup, which an ordinary user cannot set up");
      plan_.limits.cpus =
          static_cast<double>(*from.cpu_quota_us) /
          static_cast<double>(std::max<uint64_t>(from.cpu_period_us.value_or(kDefaultPeriodUs), 1));
    }
    if (from.cpu_shares) warn("linux.resources.cpu.shares");
    if (!from.cpus.empty()) warn("linux.resources.cpu.cpus");
    if (!from.mems.empty()) warn("linux.resources.cpu.mems");
    plan_.boot.memory_limit_bytes = plan_.limits.memory_bytes;
    plan_.boot.max_tasks = plan_.limits.tasks;
    plan_.boot.cpus = static_cast<uint32_t>(std::ceil(plan_.limits.cpus));
    return {};
  }

  Outcome<> add_process() {
    if (!config_.process) return failure("config.json: process: required, but not there");
    const oci::Process& from = *config_.process;
    sentry::boot::Process& to = plan_.boot.process;
    take_caller(to);
    to.args = from.args;
    to.env = from.env;
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
    to.rows = from.rows;
    to.columns = from.columns;
    for (const oci::Rlimit& limit : from.rlimits)
      for (sentry::boot::Rlimit& own : to.rlimits)
        if (own.resource == static_cast<uint32_t>(limit.resource))
          own = {own.resource, limit.soft, limit.hard};
    return {};
  }

  Container& container_;
  const oci::Config& config_;
  SandboxPlan& plan_;
  const std::string& id_;
};

}  // namespace

Outcome<Container> load_container(const std::string& bundle, const std::string& id) {
  Container container;
  const std::optional<std::string> real = real_path(bundle);
  if (!real) return system_failure(errno, "cannot use the bundle {}", bundle);
  container.bundle = *real;
  const std::string path = container.bundle + "/config.json";
  const std::optional<std::string> text = read_text_file(path);
  if (!text) return system_failure(errno, "cannot read {}", path);
  oci::Checked<oci::Config> config = oci::parse_config(*text);
  if (!config) return config_failure(config.error());
  container.config = std::move(*config);
  TRY(ContainerPlanner(container, id).plan());
  return container;
}

}  // namespace runtime
