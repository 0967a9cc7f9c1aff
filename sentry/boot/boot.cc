#include "sentry/boot/boot.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace sentry::boot {
namespace {

constexpr uint32_t kMagic = 0x626b6831;  // "bkh1"
constexpr uint32_t kMaxElements = 1 << 20;

// Writes and reads share one description of each struct: `fields(archive, value)`.
struct Writer {
  std::string bytes;
  static constexpr bool kWrites = true;
  bool good = true;
  void raw(void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); }
};

struct Reader {
  std::string_view bytes;
  static constexpr bool kWrites = false;
  bool good = true;
  void raw(void* data, size_t size) {
    if (!good || size > bytes.size()) {
      good = false;
      return;
    }
    std::memcpy(data, bytes.data(), size);
    bytes.remove_prefix(size);
  }
};

template <typename A, typename T>
requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void field(A& archive, T& value) {
  archive.raw(&value, sizeof(T));
}

template <typename A>
uint32_t length(A& archive, size_t size) {
  auto count = static_cast<uint32_t>(size);
  archive.raw(&count, sizeof count);
  if (count > kMaxElements) archive.good = false;
  return archive.good ? count : 0;
}

template <typename A>
void field(A& archive, std::string& text) {
  const uint32_t count = length(archive, text.size());
  if constexpr (!A::kWrites) {
    if (count > archive.bytes.size()) {
      archive.good = false;
      return;
    }
    text.resize(count);
  }
  archive.raw(text.data(), count);
}

template <typename A, typename T>
void field(A& archive, std::vector<T>& list);

template <typename A, typename First, typename Second>
void field(A& archive, std::pair<First, Second>& both) {
  field(archive, both.first);
  field(archive, both.second);
}

template <typename A, typename... T>
void all(A& archive, T&... values) {
  (field(archive, values), ...);
}

template <typename A>
void field(A& a, Mount& m) {
  all(a, m.kind, m.destination, m.attach, m.overlay, m.read_only, m.nosuid, m.nodev, m.noexec, m.noatime,
      m.nodiratime, m.relatime, m.strictatime, m.nosymfollow, m.exclusive, m.source, m.type, m.size_bytes,
      m.size_percent, m.max_inodes, m.device_major, m.device_minor, m.mode, m.mode_of_place, m.uid, m.gid);
}
template <typename A>
void field(A& a, Rlimit& r) {
  all(a, r.resource, r.soft, r.hard);
}
template <typename A>
void field(A& a, Device& d) {
  all(a, d.path, d.type, d.major, d.minor, d.mode, d.uid, d.gid);
}
template <typename A>
void field(A& a, IdMapping& m) {
  all(a, m.container_id, m.host_id, m.size);
}
template <typename A>
void field(A& a, Process& p) {
  all(a, p.args, p.env, p.path, p.cwd, p.uid, p.gid, p.additional_gids, p.umask, p.cap_bounding, p.find_home,
      p.cap_effective, p.cap_permitted, p.cap_inheritable, p.cap_ambient, p.rlimits, p.no_new_privs,
      p.oom_score_adj, p.terminal, p.console_fd, p.console_streams, p.rows, p.columns, p.stdio_fds[0],
      p.stdio_fds[1], p.stdio_fds[2], p.host_terminals, p.more_fds, p.stdio_flags[0], p.stdio_flags[1],
      p.stdio_flags[2], p.more_flags, p.scheduling_policy, p.scheduling_priority, p.nice, p.io_priority,
      p.personality, p.ignored_signals);
}
template <typename A>
void field(A& a, DeviceRule& r) {
  all(a, r.allow, r.type, r.major, r.minor, r.access);
}
template <typename A>
void field(A& a, Boot& b) {
  all(a, b.version, b.id, b.platform, b.hostname, b.domainname, b.process, b.mounts, b.make_cwd, b.devices,
      b.device_rules, b.uid_mappings, b.gid_mappings, b.sysctl, b.masked_paths, b.readonly_paths, b.seccomp,
      b.memory_limit_bytes, b.max_tasks, b.cpu_quota_us, b.cpu_period_us, b.own_init, b.held, b.job_control,
      b.log_json, b.strace, b.gofer_fd, b.control_fd, b.log_fd);
}

template <typename A, typename T>
void field(A& archive, std::vector<T>& list) {
  const uint32_t count = length(archive, list.size());
  if constexpr (!A::kWrites) list.clear();
  for (uint32_t i = 0; i < count && archive.good; ++i) {
    if constexpr (!A::kWrites) list.emplace_back();
    field(archive, list[i]);
  }
}

template <typename T>
std::string encode_document(const T& value) {
  Writer writer;
  uint32_t magic = kMagic;
  T copy = value;
  all(writer, magic, copy);
  return std::move(writer.bytes);
}

template <typename T>
std::optional<T> decode_document(std::string_view bytes) {
  Reader reader{bytes};
  uint32_t magic = 0;
  T value;
  field(reader, magic);
  if (magic != kMagic) return std::nullopt;
  field(reader, value);
  if (!reader.good || !reader.bytes.empty()) return std::nullopt;
  return value;
}

}  // namespace

bool has_id(const std::vector<IdMapping>& mappings, uint32_t id) {
  constexpr uint32_t kNobody = ~uint32_t{0};
  if (id == kNobody) return false;
  return mappings.empty() || std::any_of(mappings.begin(), mappings.end(), [id](const IdMapping& range) {
           return id >= range.container_id && id - range.container_id < range.size;
         });
}

std::string encode(const Boot& boot) { return encode_document(boot); }
std::string encode(const Process& process) { return encode_document(process); }
std::optional<Process> decode_process(std::string_view bytes) { return decode_document<Process>(bytes); }

std::optional<Boot> decode(std::string_view bytes) {
  auto boot = decode_document<Boot>(bytes);
  if (boot && boot->version != kBootVersion) return std::nullopt;
  return boot;
}

}  // namespace sentry::boot
