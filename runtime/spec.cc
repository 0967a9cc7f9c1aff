// bulkhead spec: a config.json to start from.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "runtime/container_verb.h"
#include "runtime/verbs.h"

namespace runtime {
namespace {

using nlohmann::ordered_json;

constexpr Manual kManual{
    .name = "bulkhead-spec",
    .summary = "write a config.json to start from",
    .synopsis = "bulkhead spec [--bundle DIR] [--rootless]",
    .description =
        "Writes DIR/config.json: sh(1) on a terminal in DIR/rootfs, with the mounts and limits that "
        "programs expect. A file that is there stays.",
    .exit_status = "0, or 125 if that fails.",
    .examples =
        "A bundle from a static busybox:\n"
        "  mkdir -p box/rootfs/bin; cp /bin/busybox box/rootfs/bin/sh\n"
        "  bulkhead spec --bundle box; bulkhead run --bundle box box1",
    .see_also = "bulkhead(1), bulkhead-run(1)",
};

ordered_json mount(const char* destination, const char* type, const char* source,
                   std::vector<std::string> options) {
  ordered_json each;
  each["destination"] = destination;
  each["type"] = type;
  each["source"] = source;
  if (!options.empty()) each["options"] = std::move(options);
  return each;
}

ordered_json example(bool rootless) {
  const std::vector<std::string> capabilities = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  ordered_json config;
  config["ociVersion"] = "1.2.0";
  ordered_json& process = config["process"];
  process["terminal"] = true;
  process["user"] = {{"uid", 0}, {"gid", 0}};
  process["args"] = {"sh"};
  process["env"] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
  process["cwd"] = "/";
  for (const char* set : {"bounding", "effective", "permitted", "ambient"})
    process["capabilities"][set] = capabilities;
  process["rlimits"] = ordered_json::array({{{"type", "RLIMIT_NOFILE"}, {"hard", 1024}, {"soft", 1024}}});
  process["noNewPrivileges"] = true;
  config["root"] = {{"path", "rootfs"}, {"readonly", true}};
  config["hostname"] = "bulkhead";
  config["mounts"] = ordered_json::array(
      {mount("/proc", "proc", "proc", {}),
       mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
       mount("/dev/pts", "devpts", "devpts",
             rootless
                 ? std::vector<std::string>{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
                 : std::vector<std::string>{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                                            "gid=5"}),
       mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
       mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
       mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"})});
  if (!rootless)
    config["mounts"].push_back(
        mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}));
  ordered_json& part = config["linux"];
  if (rootless) {
    part["uidMappings"] = ordered_json::array({{{"containerID", 0}, {"hostID", ::geteuid()}, {"size", 1}}});
    part["gidMappings"] = ordered_json::array({{{"containerID", 0}, {"hostID", ::getegid()}, {"size", 1}}});
  } else {
    part["resources"]["devices"] = ordered_json::array({{{"allow", false}, {"access", "rwm"}}});
  }
  part["namespaces"] = ordered_json::array();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"})
    part["namespaces"].push_back({{"type", type}});
  if (rootless) part["namespaces"].push_back({{"type", "user"}});
  part["maskedPaths"] = {"/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
                         "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                         "/sys/firmware",       "/proc/scsi"};
  part["readonlyPaths"] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  return config;
}

}  // namespace

int spec_verb(GlobalOptions globals, const std::vector<std::string>& arguments) {
  ContainerVerb verb(kManual, std::move(globals));
  std::string bundle = ".";
  bool rootless = false;
  verb.parser.add_option("-b,--bundle", bundle, "The bundle's directory; default: the current one.")
      ->type_name("DIR");
  verb.parser.add_flag("--rootless", rootless, "For an ordinary user.");
  return verb.run(arguments, [&](const CommandLog&) -> Outcome<int> {
    const std::string path = bundle + "/config.json";
    const std::string text = example(rootless).dump(1, '\t') + "\n";
    const sentry::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file) return system_failure(errno, "cannot write {}", path);
    if (::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return 0;
    const Failure failed = system_failure(errno, "cannot write {}", path);
    ::unlink(path.c_str());
    return failed;
  });
}

}  // namespace runtime
