#include "oci/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "oci/document.h"
#include "oci/names.h"
#include "sentry/base/result.h"

namespace oci {
namespace {

constexpr size_t kMaxHostname = 64;  // uname(2), __NEW_UTS_LEN

// --- reading optional members: absent leaves the value as it is
// ------------------------------------------------

template <typename T, typename Read>
Checked<> optional_member(const Value& object, const char* name, T& out, Read read) {
  const std::optional<Value> value = TRY(object.member(name));
  if (value) out = TRY(read(*value));
  return {};
}

Checked<> optional_text(const Value& object, const char* name, std::string& out) {
  return optional_member(object, name, out, [](const Value& value) { return value.text(); });
}

Checked<> optional_flag(const Value& object, const char* name, bool& out) {
  return optional_member(object, name, out, [](const Value& value) { return value.boolean(); });
}

template <typename T>
Checked<> optional_number(const Value& object, const char* name, std::optional<T>& out,
                          T least = std::numeric_limits<T>::min(), T most = std::numeric_limits<T>::max()) {
  return optional_member(object, name, out, [&](const Value& value) -> Checked<std::optional<T>> {
    return std::optional<T>(TRY(value.integer<T>(least, most)));
  });
}

// A list, each element read by `read`.
template <typename T, typename Read>
Checked<> optional_list(const Value& object, const char* name, std::vector<T>& out, Read read) {
  const std::optional<Value> value = TRY(object.member(name));
  if (!value) return {};
  const std::vector<Value> items = TRY(value->items());
  for (const Value& item : items) out.push_back(TRY(read(item)));
  return {};
}

Checked<> optional_texts(const Value& object, const char* name, std::vector<std::string>& out) {
  return optional_list(object, name, out, [](const Value& item) { return item.text(); });
}

// An object with string values.
template <typename Map>
Checked<> optional_text_map(const Value& object, const char* name, Map& out) {
  const std::optional<Value> value = TRY(object.member(name));
  if (!value) return {};
  const auto members = TRY(value->members());
  for (const auto& [key, text] : members) out.insert(out.end(), {key, TRY(text.text())});
  return {};
}

// --- the document's parts, in the order of config.md
// -----------------------------------------------------------

Checked<std::string> read_version(const Value& value) {
  constexpr std::string_view kWanted = "a version from 1.0.0 to 1.2.x";
  const std::string text = TRY(value.text());
  unsigned major = 0, minor = 0;
  const char* const end = text.data() + text.size();
  const auto [dot, error] = std::from_chars(text.data(), end, major);
  if (error != std::errc{} || dot == end || *dot != '.') return value.expected(kWanted);
  const auto [rest, minor_error] = std::from_chars(dot + 1, end, minor);
  if (minor_error != std::errc{} || rest == end || *rest != '.') return value.expected(kWanted);
  constexpr unsigned kNewestMinor = 2;
  if (major != 1 || minor > kNewestMinor) return value.expected(kWanted);
  return text;
}

Checked<uint32_t> read_id(const Value& value) {
  constexpr uint32_t kMostId = 0xfffffffe;  // -1 means "no id" to the kernel
  return value.integer<uint32_t>(0, kMostId);
}

Checked<> read_user(const Value& value, Process& process) {
  const std::optional<Value> uid = TRY(value.member("uid")), gid = TRY(value.member("gid"));
  if (uid) process.uid = TRY(read_id(*uid));
  if (gid) process.gid = TRY(read_id(*gid));
  constexpr uint32_t kPermissions = 0777;
  TRY(optional_number<uint32_t>(value, "umask", process.umask, 0, kPermissions));
  return optional_list(value, "additionalGids", process.additional_gids, read_id);
}

// config.md: a name that cannot be granted is to be warned about, not refused.
Checked<uint64_t> read_capability_set(const Value& value, const char* name, Config& config) {
  std::vector<std::string> names;
  TRY(optional_texts(value, name, names));
  uint64_t set = 0;
  for (const std::string& each : names) {
    const std::optional<unsigned> number = capability_number(each);
    if (number)
      set |= uint64_t{1} << *number;
    else
      config.unsupported.push_back(value.path() + "." + name + ": " + each);
  }
  return set;
}

Checked<Capabilities> read_capabilities(const Value& value, Config& config) {
  Capabilities sets;
  sets.bounding = TRY(read_capability_set(value, "bounding", config));
  sets.effective = TRY(read_capability_set(value, "effective", config));
  sets.permitted = TRY(read_capability_set(value, "permitted", config));
  sets.inheritable = TRY(read_capability_set(value, "inheritable", config));
  sets.ambient = TRY(read_capability_set(value, "ambient", config));
  // capabilities(7): the kernel would refuse the first and drop the second.
  if (sets.effective & ~sets.permitted)
    return Error{value.path() + ".effective", "holds a capability that \"permitted\" does not"};
  if (sets.ambient & ~(sets.permitted & sets.inheritable))
    config.unsupported.push_back(value.path() + ".ambient: what is not permitted and inheritable");
  sets.ambient &= sets.permitted & sets.inheritable;
  return sets;
}

Checked<Rlimit> read_rlimit(const Value& value) {
  const Value type = TRY(value.required("type"));
  const std::string name = TRY(type.text());
  const std::optional<int> resource = rlimit_number(name);
  if (!resource) return type.expected("a resource limit such as RLIMIT_NOFILE");
  const Value soft = TRY(value.required("soft")), hard = TRY(value.required("hard"));
  const Rlimit limit{*resource, TRY(soft.integer<uint64_t>()), TRY(hard.integer<uint64_t>())};
  if (limit.soft > limit.hard) return soft.wrong("the soft limit is above the hard one");
  return limit;
}

Checked<> read_rlimits(const Value& process, std::vector<Rlimit>& out) {
  TRY(optional_list(process, "rlimits", out, read_rlimit));
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (out[i].resource == out[j].resource)
        return Error{process.path() + ".rlimits[" + std::to_string(i) + "].type", "limited a second time"};
  return {};
}

Checked<std::string> read_variable(const Value& value) {
  const std::string text = TRY(value.text());
  if (text.find('=') == text.npos || text.starts_with('=')) return value.expected("NAME=value");
  return text;
}

Checked<Process> read_process(const Value& value, Config& config) {
  Process process;
  TRY(optional_flag(value, "terminal", process.terminal));
  if (const std::optional<Value> size = TRY(value.member("consoleSize"))) {
    const Value height = TRY(size->required("height")), width = TRY(size->required("width"));
    process.rows = TRY(height.integer<uint16_t>());
    process.columns = TRY(width.integer<uint16_t>());
  }
  const Value args = TRY(value.required("args"));
  TRY(optional_texts(value, "args", process.args));
  if (process.args.empty()) return args.wrong("expected a program and its arguments, not an empty array");
  if (process.args[0].empty())
    return Error{args.path() + "[0]", "expected the name of a program, not an empty string"};
  TRY(optional_list(value, "env", process.env, read_variable));
  const Value cwd = TRY(value.required("cwd"));
  process.cwd = TRY(cwd.absolute_path());
  if (const std::optional<Value> user = TRY(value.member("user"))) TRY(read_user(*user, process));
  if (const std::optional<Value> sets = TRY(value.member("capabilities")))
    process.capabilities = TRY(read_capabilities(*sets, config));
  TRY(read_rlimits(value, process.rlimits));
  TRY(optional_flag(value, "noNewPrivileges", process.no_new_privileges));
  constexpr int32_t kLeastScore = -1000, kMostScore = 1000;  // proc(5), oom_score_adj
  TRY(optional_number<int32_t>(value, "oomScoreAdj", process.oom_score_adj, kLeastScore, kMostScore));
  for (const char* name : {"scheduler", "ioPriority", "execCPUAffinity"})
    if (value.has(name)) config.unsupported.push_back(value.path() + "." + name);
  return process;
}

Checked<Root> read_root(const Value& value) {
  Root root;
  const Value path = TRY(value.required("path"));
  root.path = TRY(path.name());
  TRY(optional_flag(value, "readonly", root.readonly));
  return root;
}

Checked<Mount> read_mount(const Value& value) {
  Mount mount;
  const Value destination = TRY(value.required("destination"));
  mount.destination = TRY(destination.name());
  // config.md since 1.1: a relative destination is taken from the root.
  if (!mount.destination.starts_with('/')) mount.destination.insert(0, "/");
  TRY(optional_text(value, "type", mount.type));
  TRY(optional_text(value, "source", mount.source));
  TRY(optional_texts(value, "options", mount.options));
  const bool bind = std::any_of(mount.options.begin(), mount.options.end(), [](const std::string& option) {
    return option == "bind" || option == "rbind";
  });
  if (bind) mount.type = "bind";
  if (mount.type.empty())
    return Error{value.path() + ".type", "required, unless an option is \"bind\" or \"rbind\""};
  if (mount.type == "bind" && mount.source.empty())
    return Error{value.path() + ".source", "a bind mount needs one"};
  return mount;
}

Checked<Hook> read_hook(const Value& value) {
  Hook hook;
  const Value path = TRY(value.required("path"));
  hook.path = TRY(path.absolute_path());
  TRY(optional_texts(value, "args", hook.args));
  TRY(optional_list(value, "env", hook.env, read_variable));
  TRY(optional_number<uint32_t>(value, "timeout", hook.timeout_seconds, 1));
  return hook;
}

Checked<Hooks> read_hooks(const Value& value) {
  Hooks hooks;
  TRY(optional_list(value, "prestart", hooks.prestart, read_hook));
  TRY(optional_list(value, "createRuntime", hooks.create_runtime, read_hook));
  TRY(optional_list(value, "createContainer", hooks.create_container, read_hook));
  TRY(optional_list(value, "startContainer", hooks.start_container, read_hook));
  TRY(optional_list(value, "poststart", hooks.poststart, read_hook));
  TRY(optional_list(value, "poststop", hooks.poststop, read_hook));
  return hooks;
}

// --- linux: config-linux.md
// ------------------------------------------------------------------------------------

Checked<Namespace> read_namespace(const Value& value) {
  constexpr auto kTypes =
      std::to_array<std::string_view>({"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"});
  Namespace out;
  const Value type = TRY(value.required("type"));
  out.type = TRY(type.text());
  if (std::find(kTypes.begin(), kTypes.end(), out.type) == kTypes.end())
    return type.expected("one of pid, network, mount, ipc, uts, user, cgroup, time");
  if (const std::optional<Value> path = TRY(value.member("path"))) out.path = TRY(path->absolute_path());
  return out;
}

Checked<> read_namespaces(const Value& value, std::vector<Namespace>& out) {
  TRY(optional_list(value, "namespaces", out, read_namespace));
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (out[i].type == out[j].type)
        return Error{value.path() + ".namespaces[" + std::to_string(i) + "].type",
                     "\"" + out[i].type + "\" stands there already"};
  return {};
}

Checked<IdMapping> read_mapping(const Value& value) {
  const Value container = TRY(value.required("containerID")), host = TRY(value.required("hostID")),
              size = TRY(value.required("size"));
  const IdMapping mapping{TRY(read_id(container)), TRY(read_id(host)), TRY(size.integer<uint32_t>(1))};
  if (uint64_t{mapping.container_id} + mapping.size > 0xffffffffULL ||
      uint64_t{mapping.host_id} + mapping.size > 0xffffffffULL)
    return size.wrong("the range goes beyond the last id");
  return mapping;
}

bool overlap(uint32_t a, uint32_t a_size, uint32_t b, uint32_t b_size) {
  return uint64_t{a} < uint64_t{b} + b_size && uint64_t{b} < uint64_t{a} + a_size;
}

Checked<> read_mappings(const Value& value, const char* name, const Linux& parsed,
                        std::vector<IdMapping>& out) {
  TRY(optional_list(value, name, out, read_mapping));
  const std::string path = value.path() + "." + name;
  const bool has_user = std::any_of(parsed.namespaces.begin(), parsed.namespaces.end(),
                                    [](const Namespace& each) { return each.type == "user"; });
  if (!out.empty() && !has_user) return Error{path, "ids are mapped, but linux.namespaces has no \"user\""};
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (overlap(out[i].container_id, out[i].size, out[j].container_id, out[j].size) ||
          overlap(out[i].host_id, out[i].size, out[j].host_id, out[j].size))
        return Error{path + "[" + std::to_string(i) + "]", "overlaps with [" + std::to_string(j) + "]"};
  return {};
}

Checked<Device> read_device(const Value& value) {
  Device device;
  const Value path = TRY(value.required("path")), type = TRY(value.required("type"));
  device.path = TRY(path.absolute_path());
  const std::string kind = TRY(type.text());
  if (kind != "c" && kind != "u" && kind != "b" && kind != "p") return type.expected("one of c, b, u, p");
  device.type = kind == "u" ? 'c' : kind[0];
  constexpr uint32_t kMostMajor = 0xfff, kMostMinor = 0xfffff;  // makedev(3) of the kernel
  if (device.type != 'p') {
    const Value major = TRY(value.required("major")), minor = TRY(value.required("minor"));
    device.major = TRY(major.integer<uint32_t>(0, kMostMajor));
    device.minor = TRY(minor.integer<uint32_t>(0, kMostMinor));
  }
  constexpr uint32_t kModeBits = 07777, kModeAndType = 0177777;  // engines put the type bits in
  if (const std::optional<Value> mode = TRY(value.member("fileMode")))
    device.mode = TRY(mode->integer<uint32_t>(0, kModeAndType)) & kModeBits;
  if (const std::optional<Value> uid = TRY(value.member("uid"))) device.uid = TRY(read_id(*uid));
  if (const std::optional<Value> gid = TRY(value.member("gid"))) device.gid = TRY(read_id(*gid));
  return device;
}

Checked<Resources> read_resources(const Value& value, Config& config) {
  Resources out;
  if (const std::optional<Value> memory = TRY(value.member("memory"))) {
    TRY(optional_number<int64_t>(*memory, "limit", out.memory_limit_bytes, -1));
    TRY(optional_number<int64_t>(*memory, "swap", out.memory_swap_bytes, -1));
    if (out.memory_swap_bytes.value_or(-1) >= 0 && out.memory_limit_bytes.value_or(-1) >= 0 &&
        *out.memory_swap_bytes < *out.memory_limit_bytes)
      return Error{memory->path() + ".swap", "memory and swap together are below memory.limit"};
  }
  if (const std::optional<Value> pids = TRY(value.member("pids")))
    TRY(optional_number<int64_t>(*pids, "limit", out.pids_limit));
  if (const std::optional<Value> cpu = TRY(value.member("cpu"))) {
    TRY(optional_number<uint64_t>(*cpu, "shares", out.cpu_shares));
    TRY(optional_number<uint64_t>(*cpu, "period", out.cpu_period_us));
    TRY(optional_number<int64_t>(*cpu, "quota", out.cpu_quota_us));
    TRY(optional_text(*cpu, "cpus", out.cpus));
    TRY(optional_text(*cpu, "mems", out.mems));
  }
  for (const char* name : {"blockIO", "hugepageLimits", "network", "rdma", "unified"})
    if (value.has(name)) config.unsupported.push_back(value.path() + "." + name);
  return out;
}

Checked<> read_linux(const Value& value, Config& config) {
  Linux& out = config.linux_part;
  TRY(read_namespaces(value, out.namespaces));
  TRY(read_mappings(value, "uidMappings", out, out.uid_mappings));
  TRY(read_mappings(value, "gidMappings", out, out.gid_mappings));
  TRY(optional_list(value, "devices", out.devices, read_device));
  TRY(optional_text(value, "cgroupsPath", out.cgroups_path));
  if (const std::optional<Value> resources = TRY(value.member("resources")))
    out.resources = TRY(read_resources(*resources, config));
  TRY(optional_text_map(value, "sysctl", out.sysctl));
  const auto absolute = [](const Value& item) { return item.absolute_path(); };
  TRY(optional_list(value, "maskedPaths", out.masked_paths, absolute));
  TRY(optional_list(value, "readonlyPaths", out.readonly_paths, absolute));
  if (const std::optional<Value> propagation = TRY(value.member("rootfsPropagation"))) {
    out.rootfs_propagation = TRY(propagation->text());
    constexpr auto kKinds = std::to_array<std::string_view>(
        {"", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"});
    if (std::find(kKinds.begin(), kKinds.end(), out.rootfs_propagation) == kKinds.end())
      return propagation->expected("one of private, slave, shared, unbindable, or with r before it");
  }
  for (const char* name : {"seccomp", "personality", "timeOffsets", "intelRdt", "memoryPolicy", "netDevices"})
    if (value.has(name)) config.unsupported.push_back(value.path() + "." + name);
  return {};
}

Checked<std::string> read_host_name(const Value& value) {
  const std::string name = TRY(value.text());
  if (name.size() > kMaxHostname) return value.wrong("longer than 64 characters");
  return name;
}

Checked<Config> read_config(const Value& document) {
  Config config;
  const Value version = TRY(document.required("ociVersion"));
  config.oci_version = TRY(read_version(version));
  if (const std::optional<Value> process = TRY(document.member("process")))
    config.process = TRY(read_process(*process, config));
  const Value root = TRY(document.required("root"));
  config.root = TRY(read_root(root));
  TRY(optional_member(document, "hostname", config.hostname, read_host_name));
  TRY(optional_member(document, "domainname", config.domainname, read_host_name));
  TRY(optional_list(document, "mounts", config.mounts, read_mount));
  if (const std::optional<Value> hooks = TRY(document.member("hooks")))
    config.hooks = TRY(read_hooks(*hooks));
  TRY(optional_text_map(document, "annotations", config.annotations));
  if (const std::optional<Value> part = TRY(document.member("linux"))) TRY(read_linux(*part, config));
  for (const char* name : {"vm", "windows", "solaris", "zos", "freebsd"})
    if (document.has(name)) config.unsupported.emplace_back(name);
  return config;
}

}  // namespace

Checked<Config> parse_config(std::string_view json) {
  const nlohmann::json document = TRY(parse_document(json));
  return read_config(Value(document, ""));
}

}  // namespace oci
