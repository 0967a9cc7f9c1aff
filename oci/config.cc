#include "oci/config.h"

#include <algorithm>
#include <array>
#include <cctype>
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

std::string below(const Value& value, const char* name) {
  return value.path().empty() ? name : value.path() + "." + name;
}

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
  const auto [second, minor_error] = std::from_chars(dot + 1, end, minor);
  if (minor_error != std::errc{} || second == end || *second != '.') return value.expected(kWanted);
  // semver.org: a third number, then perhaps "-dev" or "+build" of letters, digits, "-" and ".".
  unsigned patch = 0;
  const auto [rest, patch_error] = std::from_chars(second + 1, end, patch);
  if (patch_error != std::errc{}) return value.expected(kWanted);
  if (rest != end) {
    const std::string_view suffix(rest + 1, static_cast<size_t>(end - rest - 1));
    const auto is_suffix = [](unsigned char c) {
      return std::isalnum(c) || c == '-' || c == '.' || c == '+';
    };
    if ((*rest != '-' && *rest != '+') || suffix.empty() ||
        !std::all_of(suffix.begin(), suffix.end(), is_suffix))
      return value.expected(kWanted);
  }
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
    if (each.empty()) return Error{value.path() + "." + name, "holds an empty name"};
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
    config.without_effect.push_back(value.path() +
                                    ".ambient: what is not permitted and inheritable cannot be ambient");
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
        return Error{below(process, "rlimits") + "[" + std::to_string(i) + "].type", "limited a second time"};
  return {};
}

Checked<std::string> read_variable(const Value& value) {
  const std::string text = TRY(value.text());
  if (text.find('=') == text.npos || text.starts_with('=')) return value.expected("NAME=value");
  return text;
}

// sched(7). What takes a reservation of the host's time is not for guests.
Checked<Scheduler> read_scheduler(const Value& value) {
  constexpr auto kPolicies = std::to_array<std::pair<std::string_view, int>>(
      {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2}, {"SCHED_BATCH", 3}, {"SCHED_IDLE", 5}});
  Scheduler scheduler;
  const Value policy = TRY(value.required("policy"));
  const std::string name = TRY(policy.text());
  const auto* const found =
      std::find_if(kPolicies.begin(), kPolicies.end(), [&](const auto& each) { return each.first == name; });
  if (found == kPolicies.end())
    return policy.expected("one of SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE");
  scheduler.policy = found->second;
  const bool realtime = scheduler.policy == 1 || scheduler.policy == 2;
  constexpr int kLeastNice = -20, kMostNice = 19, kMostPriority = 99;
  if (const std::optional<Value> nice = TRY(value.member("nice")))
    scheduler.nice = TRY(nice->integer<int32_t>(kLeastNice, kMostNice));
  if (const std::optional<Value> priority = TRY(value.member("priority")))
    scheduler.priority = TRY(priority->integer<int32_t>(realtime ? 1 : 0, realtime ? kMostPriority : 0));
  if (realtime && scheduler.priority == 0) scheduler.priority = 1;
  if (const std::optional<Value> flags = TRY(value.member("flags")))
    if (!TRY(flags->items()).empty()) return flags->wrong("flags are not supported");
  for (const char* name : {"runtime", "deadline", "period"})
    if (value.has(name)) {
      const Value number = TRY(value.required(name));
      if (TRY(number.integer<uint64_t>()) != 0)
        return number.wrong("is for SCHED_DEADLINE, which is not supported");
    }
  return scheduler;
}

// ioprio_set(2): class and priority in one number.
Checked<int> read_io_priority(const Value& value) {
  constexpr auto kClasses =
      std::to_array<std::string_view>({"", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"});
  const Value kind = TRY(value.required("class"));
  const std::string name = TRY(kind.text());
  const auto* const found = std::find(kClasses.begin() + 1, kClasses.end(), name);
  if (found == kClasses.end())
    return kind.expected("one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE");
  constexpr int kClassShift = 13, kMostPriority = 7;
  int priority = 0;
  if (const std::optional<Value> number = TRY(value.member("priority")))
    priority = TRY(number->integer<int32_t>(0, kMostPriority));
  return static_cast<int>(found - kClasses.begin()) << kClassShift | priority;
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
  if (const std::optional<Value> scheduler = TRY(value.member("scheduler")))
    process.scheduler = TRY(read_scheduler(*scheduler));
  if (const std::optional<Value> priority = TRY(value.member("ioPriority")))
    process.io_priority = TRY(read_io_priority(*priority));
  TRY(optional_text(value, "apparmorProfile", process.apparmor_profile));
  TRY(optional_text(value, "selinuxLabel", process.selinux_label));
  // A rlimit, a cgroup or the sandbox's CPUs say where a program runs; this names CPUs of the host.
  if (value.has("execCPUAffinity"))
    return Error{below(value, "execCPUAffinity"), "is not supported: use linux.resources.cpu.cpus"};
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
  for (const char* name : {"uidMappings", "gidMappings"})
    if (const std::optional<Value> mappings = TRY(value.member(name)))
      if (!TRY(mappings->items()).empty())
        return mappings->wrong("is not supported: ids are mapped for the whole container, by linux." +
                               std::string(name));
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
  if (const std::optional<Value> path = TRY(value.member("path")))
    if (!TRY(path->text()).empty()) out.path = TRY(path->absolute_path());
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

// cgroups(7) v1, devices.allow: "c 1:3 rwm".
Checked<DeviceRule> read_device_rule(const Value& value) {
  DeviceRule rule;
  const Value allow = TRY(value.required("allow"));
  rule.allow = TRY(allow.boolean());
  if (const std::optional<Value> type = TRY(value.member("type"))) {
    const std::string text = TRY(type->text());
    if (text != "" && text != "a" && text != "c" && text != "b" && text != "u")
      return type->expected("one of a, b, c, u");
    if (!text.empty()) rule.type = text == "u" ? 'c' : text[0];
  }
  TRY(optional_number<int64_t>(value, "major", rule.major, -1));
  TRY(optional_number<int64_t>(value, "minor", rule.minor, -1));
  if (const std::optional<Value> access = TRY(value.member("access"))) {
    const std::string text = TRY(access->text());
    if (text.find_first_not_of("rwm") != text.npos) return access->expected("letters of rwm");
    const auto bit = [&](char letter, uint32_t mask) { return text.find(letter) == text.npos ? 0 : mask; };
    rule.access = text.empty() ? 7 : bit('r', 1) | bit('w', 2) | bit('m', 4);
  }
  return rule;
}

Checked<> read_memory(const Value& memory, Resources& out) {
  TRY(optional_number<int64_t>(memory, "limit", out.memory_limit_bytes, -1));
  TRY(optional_number<int64_t>(memory, "swap", out.memory_swap_bytes, -1));
  if (out.memory_swap_bytes.value_or(0) > 0 && out.memory_limit_bytes.value_or(-1) >= 0 &&
      *out.memory_swap_bytes < *out.memory_limit_bytes)
    return Error{below(memory, "swap"), "memory and swap together are below memory.limit"};
  TRY(optional_number<int64_t>(memory, "reservation", out.memory_reservation_bytes, -1));
  constexpr uint64_t kMostSwappiness = 100;
  TRY(optional_number<uint64_t>(memory, "swappiness", out.memory_swappiness));
  if (out.memory_swappiness == std::numeric_limits<uint64_t>::max()) out.memory_swappiness.reset();
  if (out.memory_swappiness.value_or(0) > kMostSwappiness)
    return Error{below(memory, "swappiness"), "expected a whole number from 0 to 100"};
  if (const std::optional<Value> off = TRY(memory.member("disableOOMKiller")))
    out.memory_disable_oom_killer = TRY(off->boolean());
  // Both say how it is anyway: limits hold for all that is below (config-linux.md), and the kernel refuses a
  // limit that is in use already.
  for (const char* name : {"useHierarchy", "checkBeforeUpdate"})
    if (const std::optional<Value> flag = TRY(memory.member(name))) TRY(flag->boolean());
  // The kernel's own memory cannot be limited apart since Linux 5.16.
  for (const char* name : {"kernel", "kernelTCP"})
    if (const std::optional<Value> limit = TRY(memory.member(name)))
      if (TRY(limit->integer<int64_t>(-1)) > 0) return limit->wrong("is not supported by Linux any more");
  return {};
}

Checked<> read_cpu(const Value& cpu, Resources& out) {
  TRY(optional_number<uint64_t>(cpu, "shares", out.cpu_shares));
  TRY(optional_number<uint64_t>(cpu, "period", out.cpu_period_us));
  TRY(optional_number<int64_t>(cpu, "quota", out.cpu_quota_us));
  TRY(optional_number<uint64_t>(cpu, "burst", out.cpu_burst_us));
  TRY(optional_number<uint64_t>(cpu, "idle", out.cpu_idle, 0, 1));
  TRY(optional_number<int64_t>(cpu, "realtimeRuntime", out.cpu_realtime_runtime_us));
  TRY(optional_number<uint64_t>(cpu, "realtimePeriod", out.cpu_realtime_period_us));
  TRY(optional_text(cpu, "cpus", out.cpus));
  return optional_text(cpu, "mems", out.mems);
}

Checked<> read_throttles(const Value& value, const char* name, const char* file, std::vector<Throttle>& out) {
  return optional_list(value, name, out, [&](const Value& item) -> Checked<Throttle> {
    Throttle throttle{.file = file};
    const Value major = TRY(item.required("major")), minor = TRY(item.required("minor")),
                rate = TRY(item.required("rate"));
    throttle.major = TRY(major.integer<int64_t>(0));
    throttle.minor = TRY(minor.integer<int64_t>(0));
    throttle.rate = TRY(rate.integer<uint64_t>());
    return throttle;
  });
}

Checked<> read_block_io(const Value& value, Resources& out) {
  constexpr uint16_t kLeastWeight = 10, kMostWeight = 1000;
  const auto weight = [&](const char* name, std::optional<uint16_t>& to) -> Checked<> {
    const std::optional<Value> number = TRY(value.member(name));
    if (!number) return {};
    const auto given = TRY(number->integer<uint16_t>(0, kMostWeight));
    if (given != 0 && given < kLeastWeight) return number->expected("a whole number from 10 to 1000");
    if (given != 0) to = given;
    return {};
  };
  TRY(weight("weight", out.blkio_weight));
  TRY(weight("leafWeight", out.blkio_leaf_weight));
  TRY(read_throttles(value, "throttleReadBpsDevice", "read_bps_device", out.throttles));
  TRY(read_throttles(value, "throttleWriteBpsDevice", "write_bps_device", out.throttles));
  TRY(read_throttles(value, "throttleReadIOPSDevice", "read_iops_device", out.throttles));
  TRY(read_throttles(value, "throttleWriteIOPSDevice", "write_iops_device", out.throttles));
  if (const std::optional<Value> devices = TRY(value.member("weightDevice")))
    if (!TRY(devices->items()).empty())
      return devices->wrong("weights of single devices are not supported: use throttle*Device");
  return {};
}

Checked<HugepageLimit> read_hugepage_limit(const Value& value) {
  const Value size = TRY(value.required("pageSize")), limit = TRY(value.required("limit"));
  const HugepageLimit out{TRY(size.text()), TRY(limit.integer<uint64_t>())};
  if (out.page_size.find_first_not_of("0123456789KMGB") != out.page_size.npos || out.page_size.empty())
    return size.expected("a page size such as 2MB");
  return out;
}

Checked<Resources> read_resources(const Value& value) {
  Resources out;
  if (const std::optional<Value> memory = TRY(value.member("memory"))) TRY(read_memory(*memory, out));
  if (const std::optional<Value> pids = TRY(value.member("pids")))
    TRY(optional_number<int64_t>(*pids, "limit", out.pids_limit));
  if (const std::optional<Value> cpu = TRY(value.member("cpu"))) TRY(read_cpu(*cpu, out));
  if (const std::optional<Value> block = TRY(value.member("blockIO"))) TRY(read_block_io(*block, out));
  TRY(optional_list(value, "hugepageLimits", out.hugepage_limits, read_hugepage_limit));
  TRY(optional_text_map(value, "unified", out.unified));
  for (const auto& [file, text] : out.unified)
    if (file.find('/') != file.npos || file.empty())
      return Error{below(value, "unified"), "\"" + file + "\" is not the name of a file in a cgroup"};
  TRY(optional_list(value, "devices", out.devices, read_device_rule));
  // A guest has no network of the host's to mark or order, and no RDMA device.
  for (const char* name : {"network", "rdma"})
    if (const std::optional<Value> part = TRY(value.member(name)))
      if (!TRY(part->members()).empty())
        return part->wrong("is not supported: a sandbox reaches no such device of the host");
  return out;
}

// config-linux.md, "Seccomp".
Checked<SeccompArgument> read_seccomp_argument(const Value& value) {
  constexpr auto kOperators =
      std::to_array<std::string_view>({"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ",
                                       "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"});
  SeccompArgument argument;
  const Value index = TRY(value.required("index")), number = TRY(value.required("value")),
              op = TRY(value.required("op"));
  constexpr uint32_t kLastArgument = 5;
  argument.index = TRY(index.integer<uint32_t>(0, kLastArgument));
  argument.value = TRY(number.integer<uint64_t>());
  if (const std::optional<Value> two = TRY(value.member("valueTwo")))
    argument.value_two = TRY(two->integer<uint64_t>());
  argument.op = TRY(op.text());
  if (std::find(kOperators.begin(), kOperators.end(), argument.op) == kOperators.end())
    return op.expected("one of SCMP_CMP_NE, _LT, _LE, _EQ, _GE, _GT, _MASKED_EQ");
  return argument;
}

Checked<std::string> read_seccomp_action(const Value& value) {
  constexpr auto kActions = std::to_array<std::string_view>(
      {"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
       "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG"});
  const std::string name = TRY(value.text());
  if (name == "SCMP_ACT_NOTIFY")
    return value.wrong("SCMP_ACT_NOTIFY is not supported: no listener gets a guest's calls");
  if (std::find(kActions.begin(), kActions.end(), name) == kActions.end())
    return value.expected(
        "one of SCMP_ACT_KILL, _KILL_PROCESS, _KILL_THREAD, _TRAP, _ERRNO, _TRACE, _ALLOW, _LOG");
  return name;
}

Checked<SeccompRule> read_seccomp_rule(const Value& value) {
  SeccompRule rule;
  const Value names = TRY(value.required("names")), action = TRY(value.required("action"));
  TRY(optional_texts(value, "names", rule.names));
  if (rule.names.empty()) return names.wrong("expected the names of system calls, not an empty array");
  rule.action = TRY(read_seccomp_action(action));
  TRY(optional_number<uint32_t>(value, "errnoRet", rule.errno_value));
  TRY(optional_list(value, "args", rule.arguments, read_seccomp_argument));
  return rule;
}

// Those of config-linux.md. What is not x86-64 does not run here, and needs no rules.
Checked<std::string> read_seccomp_architecture(const Value& value) {
  constexpr auto kArchitectures = std::to_array<std::string_view>(
      {"X86",    "X86_64",   "X32",         "ARM",         "AARCH64", "MIPS",    "MIPS64", "MIPS64N32",
       "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC",         "PPC64",   "PPC64LE", "S390",   "S390X",
       "PARISC", "PARISC64", "RISCV64",     "LOONGARCH64", "M68K",    "SH",      "SHEB"});
  constexpr std::string_view kPrefix = "SCMP_ARCH_";
  const std::string name = TRY(value.text());
  const bool known = name.starts_with(kPrefix) &&
                     std::find(kArchitectures.begin(), kArchitectures.end(),
                               std::string_view(name).substr(kPrefix.size())) != kArchitectures.end();
  if (!known) return value.expected("an architecture such as SCMP_ARCH_X86_64");
  return name;
}

// seccomp(2)'s flags that say how the host's kernel installs, logs and mitigates: there is nothing of it
// here.
Checked<std::string> read_seccomp_flag(const Value& value) {
  constexpr auto kFlags = std::to_array<std::string_view>(
      {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"});
  const std::string name = TRY(value.text());
  if (name == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    return value.wrong("is not supported: no listener gets a guest's calls");
  if (std::find(kFlags.begin(), kFlags.end(), name) == kFlags.end())
    return value.expected("one of SECCOMP_FILTER_FLAG_TSYNC, _LOG, _SPEC_ALLOW");
  return name;
}

Checked<Seccomp> read_seccomp(const Value& value) {
  Seccomp seccomp;
  const Value action = TRY(value.required("defaultAction"));
  seccomp.default_action = TRY(read_seccomp_action(action));
  TRY(optional_number<uint32_t>(value, "defaultErrnoRet", seccomp.default_errno));
  TRY(optional_list(value, "architectures", seccomp.architectures, read_seccomp_architecture));
  TRY(optional_list(value, "syscalls", seccomp.rules, read_seccomp_rule));
  for (const char* name : {"listenerPath", "listenerMetadata"})
    if (const std::optional<Value> given = TRY(value.member(name)))
      if (!TRY(given->text()).empty())
        return given->wrong("is not supported: no listener gets a guest's calls");
  std::vector<std::string> flags;
  TRY(optional_list(value, "flags", flags, read_seccomp_flag));
  return seccomp;
}

Checked<ClockOffset> read_clock_offset(const Value& value) {
  ClockOffset offset;
  constexpr uint32_t kMostNanoseconds = 999'999'999;
  if (const std::optional<Value> seconds = TRY(value.member("secs")))
    offset.seconds = TRY(seconds->integer<int64_t>());
  if (const std::optional<Value> nanoseconds = TRY(value.member("nanosecs")))
    offset.nanoseconds = TRY(nanoseconds->integer<uint32_t>(0, kMostNanoseconds));
  return offset;
}

Checked<> read_time_offsets(const Value& value, Linux& out) {
  const auto members = TRY(value.members());
  for (const auto& [clock, offset] : members) {
    if (clock != "monotonic" && clock != "boottime")
      return offset.wrong("there are monotonic and boottime only");
    (clock == "monotonic" ? out.monotonic : out.boottime) = TRY(read_clock_offset(offset));
  }
  const bool has_time = std::any_of(out.namespaces.begin(), out.namespaces.end(),
                                    [](const Namespace& each) { return each.type == "time"; });
  if (!members.empty() && !has_time)
    return Error{value.path(), "clocks are set, but linux.namespaces has no \"time\""};
  return {};
}

// personality(2)
Checked<uint32_t> read_personality(const Value& value) {
  const Value domain = TRY(value.required("domain"));
  const std::string name = TRY(domain.text());
  if (name == "LINUX32") return domain.wrong("LINUX32 is not supported: there are no 32-bit programs here");
  if (name != "LINUX") return domain.expected("LINUX");
  if (const std::optional<Value> flags = TRY(value.member("flags")))
    if (!TRY(flags->items()).empty()) return flags->wrong("the specification names no flags");
  return uint32_t{0};
}

// sysctl(8): names separated by dots, or by slashes. Which of them there are is the kernel's to say.
Checked<> read_sysctl(const Value& value, Linux& out) {
  const std::optional<Value> sysctl = TRY(value.member("sysctl"));
  if (!sysctl) return {};
  TRY(optional_text_map(value, "sysctl", out.sysctl));
  for (const auto& [name, text] : out.sysctl) {
    constexpr std::string_view kSeparators = "./";
    bool empty_part = false, separated = false;
    for (size_t from = 0; from != name.npos;) {
      const size_t end = name.find_first_of(kSeparators, from);
      empty_part |= std::min(end, name.size()) == from;
      separated |= end != name.npos;
      from = end == name.npos ? end : end + 1;
    }
    if (empty_part || !separated)
      return Error{sysctl->path(), "\"" + name + "\" is not the name of a sysctl, as kernel.msgmax is"};
  }
  return {};
}

Checked<> read_linux(const Value& value, Linux& out) {
  TRY(read_namespaces(value, out.namespaces));
  TRY(read_mappings(value, "uidMappings", out, out.uid_mappings));
  TRY(read_mappings(value, "gidMappings", out, out.gid_mappings));
  TRY(optional_list(value, "devices", out.devices, read_device));
  TRY(optional_text(value, "cgroupsPath", out.cgroups_path));
  if (const std::optional<Value> resources = TRY(value.member("resources")))
    out.resources = TRY(read_resources(*resources));
  TRY(read_sysctl(value, out));
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
  if (const std::optional<Value> seccomp = TRY(value.member("seccomp")))
    out.seccomp = TRY(read_seccomp(*seccomp));
  if (const std::optional<Value> personality = TRY(value.member("personality")))
    out.personality = TRY(read_personality(*personality));
  if (const std::optional<Value> offsets = TRY(value.member("timeOffsets")))
    TRY(read_time_offsets(*offsets, out));
  TRY(optional_text(value, "mountLabel", out.mount_label));
  for (const char* name : {"intelRdt", "memoryPolicy", "netDevices"})
    if (value.has(name))
      return Error{below(value, name), "is not supported: it is about the host's hardware"};
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
  if (const std::optional<Value> part = TRY(document.member("linux")))
    TRY(read_linux(*part, config.linux_part));
  for (const char* name : {"vm", "windows", "solaris", "zos", "freebsd"})
    if (document.has(name)) return Error{name, "is not supported: it is for another platform"};
  return config;
}

}  // namespace

Checked<Config> parse_config(std::string_view json) {
  const nlohmann::json document = TRY(parse_document(json));
  return read_config(Value(document, ""));
}

Checked<ProcessDocument> parse_process(std::string_view json) {
  const nlohmann::json document = TRY(parse_document(json));
  Config config;
  Process process = TRY(read_process(Value(document, ""), config));
  return ProcessDocument{std::move(process), std::move(config.unsupported), std::move(config.without_effect)};
}

Checked<Resources> parse_resources(std::string_view json) {
  const nlohmann::json document = TRY(parse_document(json));
  return read_resources(Value(document, ""));
}

}  // namespace oci
