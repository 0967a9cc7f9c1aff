#include "sentry/fs/proc/process_directory.h"

#include <dirent.h>
#include <linux/capability.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "sentry/fs/proc/fd_directory.h"
#include "sentry/fs/proc/memory_text.h"
#include "sentry/fs/proc/mounts_text.h"
#include "sentry/fs/proc/process_text.h"
#include "sentry/kernel/timers.h"
#include "sentry/vfs/dentry.h"

namespace sentry::fs::proc {
namespace {

using kernel::Task;
using kernel::ThreadGroup;
using Net = std::shared_ptr<pseudo::Node>;

// Who may open a file, beyond its permission bits.
enum class Access { kAll, kTracer };

// A text file whose opening asks for ptrace access, where Linux does.
class ProcessText final : public Owned<pseudo::TextNode> {
 public:
  ProcessText(const Subject& subject, vfs::Superblock& superblock, uint64_t number, uint32_t permissions,
              Access access, pseudo::Generator generator, pseudo::Writer writer)
      : Owned(subject, superblock, number, permissions, std::move(generator), std::move(writer)),
        access_(access) {}

  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override {
    const Snapshot snapshot = TRY(subject_.look());
    if (access_ == Access::kTracer) TRY(check_access(snapshot));
    return TextNode::open(path, flags);
  }

 private:
  Access access_;
};

// /proc/PID/mem: the position is an address.
class MemoryFile final : public vfs::File {
 public:
  MemoryFile(const vfs::Path& path, vfs::InodeRef inode, int flags,
             std::shared_ptr<mm::AddressSpaceMap> memory)
      : File(path, std::move(inode), flags), memory_(std::move(memory)) {}

  bool seekable() const override { return true; }
  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override {
    if (memory_ == nullptr) return size_t{0};
    std::vector<std::byte> buffer(std::min<uint64_t>(sink.remaining(), kChunk));
    uint64_t address = options.offset.value_or(position);
    size_t total = 0;
    while (sink.remaining() > 0) {
      const size_t want = static_cast<size_t>(std::min<uint64_t>(sink.remaining(), buffer.size()));
      const Result<size_t> got = memory_->read_forced(address, buffer.data(), want);
      if (!got.ok()) {
        if (total > 0) break;
        return Errno(EIO);
      }
      const Result<size_t> put = sink.put(buffer.data(), *got);
      if (!put.ok()) {
        if (total > 0) break;
        return put.error();
      }
      total += *put;
      address += *put;
      if (*put < want || !sink.catch_up().ok()) break;
    }
    if (!options.offset) position += total;
    return total;
  }
  Result<size_t> write(mm::Source& source, const IoOptions& options) override {
    if (memory_ == nullptr) return size_t{0};
    std::vector<std::byte> buffer(std::min<uint64_t>(source.remaining(), kChunk));
    uint64_t address = options.offset.value_or(position);
    size_t total = 0;
    while (source.remaining() > 0) {
      const Result<size_t> got = source.get(buffer.data(), buffer.size());
      if (!got.ok()) {
        if (total > 0) break;
        return got.error();
      }
      const size_t written = memory_->write_forced(address, buffer.data(), *got).value_or(0);
      total += written;
      address += written;
      if (written < *got) {
        source.unget(*got - written);
        if (total == 0) return Errno(EIO);
        break;
      }
    }
    (void)memory_->platform_space().take_effect();  // on threads that ask for nothing, too
    if (!options.offset) position += total;
    return total;
  }
  Result<uint64_t> seek(int64_t offset, int whence) override {
    if (whence == SEEK_CUR)
      position += static_cast<uint64_t>(offset);
    else if (whence == SEEK_SET)
      position = static_cast<uint64_t>(offset);
    else
      return Errno(EINVAL);
    return position;
  }

 private:
  static constexpr uint64_t kChunk = 64 * 1024;
  std::shared_ptr<mm::AddressSpaceMap> memory_;
};

class MemoryNode final : public Owned<pseudo::Node> {
 public:
  MemoryNode(const Subject& subject, vfs::Superblock& superblock, uint64_t number)
      : Owned(subject, superblock, number, S_IFREG | 0600u) {}
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override {
    const Snapshot snapshot = TRY(subject_.look());
    TRY(check_access(snapshot));
    return vfs::FileRef(std::make_shared<MemoryFile>(path, shared_from_this(), flags, snapshot.memory()));
  }
};

// exe, cwd and root: links that lead to a place, whatever its name says now.
using PlaceOf = Result<vfs::Path> (*)(const Snapshot&);

class PlaceLink final : public Owned<pseudo::Node> {
 public:
  PlaceLink(const Subject& subject, vfs::Superblock& superblock, uint64_t number, PlaceOf place)
      : Owned(subject, superblock, number, S_IFLNK | 0777u), place_(place) {}
  Result<std::string> readlink() override { return place_text(TRY(place())); }
  std::optional<Result<vfs::Path>> follow() override { return place(); }

 private:
  Result<vfs::Path> place() {
    const Snapshot snapshot = TRY(subject_.look());
    TRY(check_access(snapshot));
    return place_(snapshot);
  }
  PlaceOf place_;
};

Result<vfs::Path> executable_of(const Snapshot& snapshot) {
  const auto memory = snapshot.memory();
  if (memory == nullptr || memory->executable == nullptr) return Errno(ENOENT);
  return *std::static_pointer_cast<vfs::Path>(memory->executable);
}
Result<vfs::Path> root_of(const Snapshot& snapshot) {
  if (snapshot.task != nullptr && snapshot.task->fs_context != nullptr)
    return snapshot.task->fs_context->root;
  const auto& space = snapshot.group->container->mount_space;
  // The sandbox's own init is at the root of everything; a zombie has let go of it.
  if (snapshot.group->dead || space == nullptr) return Errno(ENOENT);
  return space->root();
}
Result<vfs::Path> cwd_of(const Snapshot& snapshot) {
  if (snapshot.task == nullptr || snapshot.task->fs_context == nullptr) return root_of(snapshot);
  return snapshot.task->fs_context->cwd;
}

// ns/: the sandbox has one namespace of each kind, with the numbers that Linux gives its first ones.
struct Namespace {
  const char* name;
  const char* kind;
  uint32_t number;
};
constexpr Namespace kNamespaces[] = {
    {"cgroup", "cgroup", 0xEFFFFFFB}, {"ipc", "ipc", 0xEFFFFFFF},
    {"mnt", "mnt", 0xF0000000},       {"net", "net", 0xF0000098},
    {"pid", "pid", 0xEFFFFFFC},       {"pid_for_children", "pid", 0xEFFFFFFC},
    {"time", "time", 0xEFFFFFFA},     {"time_for_children", "time", 0xEFFFFFFA},
    {"user", "user", 0xEFFFFFFD},     {"uts", "uts", 0xEFFFFFFE},
};

std::string namespace_text(const Namespace& space) {
  return fmt::format("{}:[{}]", space.kind, space.number);
}

// What ns/ links lead to: a file that can be held open and compared by its inode number.
class NamespaceNode final : public pseudo::Node {
 public:
  NamespaceNode(vfs::Superblock& superblock, uint32_t number) : Node(superblock, number, S_IFREG | 0444) {}
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override {
    return vfs::FileRef(std::make_shared<vfs::File>(path, shared_from_this(), flags));
  }
};

class NamespaceLink final : public Owned<pseudo::Node> {
 public:
  NamespaceLink(const Subject& subject, vfs::Superblock& superblock, uint64_t number, const Namespace& space)
      : Owned(subject, superblock, number, S_IFLNK | 0777u), space_(space) {}
  Result<std::string> readlink() override {
    TRY(check_access(TRY(subject_.look())));
    return namespace_text(space_);
  }
  std::optional<Result<vfs::Path>> follow() override {
    const Result<Snapshot> snapshot = subject_.look();
    if (!snapshot.ok()) return snapshot.error();
    if (const Result<> allowed = check_access(*snapshot); !allowed.ok()) return allowed.error();
    return vfs::anonymous_path(std::make_shared<NamespaceNode>(superblock(), space_.number),
                               namespace_text(space_));
  }

 private:
  const Namespace& space_;
};

// The files whose text needs nothing but the snapshot.
struct TextEntry {
  const char* name;
  uint32_t permissions;
  Access access;
  Result<std::string> (*text)(const Snapshot&);
};

template <const char* kText>
Result<std::string> constant(const Snapshot&) {
  return std::string(kText);
}
constexpr char
    kEmpty[] = "",
    kZeroLine[] = "0\n", kBareZero[] = "0", kUnset[] = "4294967295", kRootCpuset[] = "/\n",
    kRootCgroup[] = "0::/\n", kPersonality[] = "00000000\n", kDumpFilter[] = "00000033\n",
    kSchedstat[] = "0 0 0\n",
    kIo[] =
        "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n";

std::string mappings_text(const std::vector<boot::IdMapping>& mappings) {
  // Nobody mapped anything: all ids are themselves.
  if (mappings.empty()) return fmt::format("{:>10} {:>10} {:>10}\n", 0, 0, 4294967295u);
  std::string text;
  for (const boot::IdMapping& mapping : mappings)
    text += fmt::format("{:>10} {:>10} {:>10}\n", mapping.container_id, mapping.host_id, mapping.size);
  return text;
}
Result<std::string> uid_map_text(const Snapshot& snapshot) {
  return mappings_text(snapshot.group->kernel.uid_mappings);
}
Result<std::string> gid_map_text(const Snapshot& snapshot) {
  return mappings_text(snapshot.group->kernel.gid_mappings);
}
Result<std::string> setgroups_text(const Snapshot&) { return std::string("allow\n"); }
Result<std::string> timerslack_text(const Snapshot& snapshot) {
  return fmt::format("{}\n", snapshot.task != nullptr ? snapshot.task->timer_slack : 0);
}
Result<std::string> sched_text(const Snapshot& snapshot) {
  const Nanoseconds used =
      snapshot.thread_only ? snapshot.task->cpu_time() : kernel::process_cpu_time(*snapshot.group);
  std::string text =
      fmt::format("{} ({}, #threads: {})\n", snapshot.name(), snapshot.id(), snapshot.group->tasks.size());
  text += std::string(67, '-') + "\n";
  text += fmt::format("{:<45}:{:>21.6f}\n", "se.sum_exec_runtime",
                      static_cast<double>(used) / static_cast<double>(kMillisecond));
  text += fmt::format("{:<45}:{:>21}\n{:<45}:{:>21}\n", "policy", 0, "prio",
                      120 + (snapshot.task != nullptr ? snapshot.task->scheduling.nice : 0));
  return text;
}
Result<std::string> children_text(const Snapshot& snapshot) {
  // Linux lists what each thread has forked; here children belong to the process, and its first thread shows
  // them.
  std::string text;
  if (snapshot.task == nullptr || snapshot.task->tid != snapshot.group->id) return text;
  for (const ThreadGroup* child : snapshot.group->children) text += fmt::format("{} ", child->id);
  return text;
}

constexpr TextEntry kTexts[] = {
    {"auxv", 0400, Access::kTracer, auxiliary_vector},
    {"cgroup", 0444, Access::kAll, constant<kRootCgroup>},
    {"cmdline", 0444, Access::kAll, command_line},
    {"coredump_filter", 0644, Access::kAll, constant<kDumpFilter>},
    {"cpuset", 0444, Access::kAll, constant<kRootCpuset>},
    {"environ", 0400, Access::kTracer, environment},
    {"gid_map", 0444, Access::kAll, gid_map_text},
    {"io", 0400, Access::kTracer, constant<kIo>},
    {"limits", 0444, Access::kAll, limits_text},
    {"loginuid", 0444, Access::kAll, constant<kUnset>},
    {"maps", 0444, Access::kTracer, maps_text},
    {"mountinfo", 0444, Access::kAll, mountinfo_text},
    {"mounts", 0444, Access::kAll, mounts_text},
    {"oom_score", 0444, Access::kAll, oom_score_text},
    {"personality", 0400, Access::kTracer, constant<kPersonality>},
    {"projid_map", 0444, Access::kAll, constant<kEmpty>},
    {"sched", 0444, Access::kAll, sched_text},
    {"schedstat", 0444, Access::kAll, constant<kSchedstat>},
    {"sessionid", 0444, Access::kAll, constant<kUnset>},
    {"setgroups", 0444, Access::kAll, setgroups_text},
    {"smaps", 0444, Access::kTracer, smaps_text},
    {"smaps_rollup", 0444, Access::kTracer, smaps_rollup_text},
    {"stack", 0400, Access::kTracer, constant<kEmpty>},
    {"stat", 0444, Access::kAll, stat_text},
    {"statm", 0444, Access::kAll, statm_text},
    {"status", 0444, Access::kAll, status_text},
    {"uid_map", 0444, Access::kAll, uid_map_text},
    {"wchan", 0444, Access::kAll, constant<kBareZero>},
};
constexpr TextEntry kProcessOnlyTexts[] = {
    {"autogroup", 0444, Access::kAll, constant<kZeroLine>},
    {"mountstats", 0400, Access::kAll, mountstats_text},
    {"timers", 0444, Access::kAll, constant<kEmpty>},
    {"timerslack_ns", 0444, Access::kAll, timerslack_text},
};
constexpr TextEntry kThreadOnlyTexts[] = {{"children", 0444, Access::kAll, children_text}};

// comm: a thread of the same process may rename it.
Result<> write_comm(const Subject& subject, std::string_view text) {
  const Snapshot snapshot = TRY(subject.look());
  const Task* caller = Task::current_or_null();
  if (snapshot.task == nullptr || (caller != nullptr && caller->group != snapshot.group))
    return Errno(EINVAL);
  constexpr size_t kLongestName = 15;  // TASK_COMM_LEN and its NUL
  text = text.substr(0, kLongestName);
  snapshot.task->comm = text.substr(0, text.find('\0'));
  return {};
}

Result<int> parse_integer(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\0'))
    text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return Errno(EINVAL);
  return value;
}

Result<> set_oom_adjustment(const Subject& subject, int value) {
  const Snapshot snapshot = TRY(subject.look());
  const Task* caller = Task::current_or_null();
  if (value < snapshot.group->oom_score_adj && caller != nullptr &&
      !caller->credentials->capable(CAP_SYS_RESOURCE))
    return Errno(EACCES);
  snapshot.group->oom_score_adj = value;
  return {};
}
// oom_adj is the older scale, -17 to 15.
Result<> write_oom_adj(const Subject& subject, std::string_view text) {
  const int value = TRY(parse_integer(text));
  if (value < -17 || value > 15) return Errno(EINVAL);
  return set_oom_adjustment(subject, value == 15 ? 1000 : value * 1000 / 17);
}
Result<> write_oom_score_adj(const Subject& subject, std::string_view text) {
  const int value = TRY(parse_integer(text));
  if (value < -1000 || value > 1000) return Errno(EINVAL);
  return set_oom_adjustment(subject, value);
}

constexpr uint32_t kThreadOffset = 0x100;

class ProcessDirectory final : public Owned<pseudo::Directory> {
 public:
  ProcessDirectory(const Subject& subject, vfs::Superblock& superblock, Net net)
      : Owned(subject, superblock, node_number(subject.id(), subject.thread_only() ? kThreadCodes : 1),
              0555u),
        net_(std::move(net)) {}

  const Subject& subject() const { return subject_; }
  Result<vfs::InodeRef> lookup(std::string_view name) override {
    TRY(gone());
    const std::shared_ptr<Node> node = make(name);
    if (node == nullptr) return Errno(ENOENT);
    return vfs::InodeRef(node);
  }
  Result<std::vector<Entry>> list() override;
  Result<vfs::Attributes> getattr() override {
    vfs::Attributes attributes = TRY(Directory::getattr());
    attributes.nlink = subject_.thread_only() ? 7 : 9;
    return attributes;
  }

 private:
  // A directory whose process has gone names nothing: ENOENT, as its dentries are dropped on Linux.
  Result<> gone() const {
    if (!subject_.look().ok()) return Errno(ENOENT);
    return {};
  }
  uint64_t number(uint32_t code) const {
    return node_number(subject_.id(), (subject_.thread_only() ? kThreadOffset : 0) + code);
  }
  std::shared_ptr<Node> text(uint32_t code, uint32_t permissions, Access access,
                             Result<std::string> (*generate)(const Snapshot&),
                             pseudo::Writer writer = nullptr) {
    return std::make_shared<ProcessText>(
        subject_, superblock(), number(code), permissions, access,
        [subject = subject_, generate]() -> Result<std::string> { return generate(TRY(subject.look())); },
        std::move(writer));
  }
  std::shared_ptr<Node> make(std::string_view name);
  std::shared_ptr<Node> make_threads(uint64_t own);
  std::shared_ptr<Node> make_namespaces(uint64_t own);
  std::shared_ptr<Node> make_attributes(uint64_t own);

  Net net_;
};

// Names that are not plain text files, with DT_* for listing.
struct OtherEntry {
  const char* name;
  unsigned char type;
  bool process_only;
};
constexpr OtherEntry kOthers[] = {
    {"attr", DT_DIR, false},
    {"comm", DT_REG, false},
    {"cwd", DT_LNK, false},
    {"exe", DT_LNK, false},
    {"fd", DT_DIR, false},
    {"fdinfo", DT_DIR, false},
    {"mem", DT_REG, false},
    {"net", DT_DIR, false},
    {"ns", DT_DIR, false},
    {"oom_adj", DT_REG, false},
    {"oom_score_adj", DT_REG, false},
    {"root", DT_LNK, false},
    {"task", DT_DIR, true},
};
// Where each kind's inode numbers begin; a thread's are kThreadOffset higher.
constexpr uint32_t kTextCodes = 2, kProcessOnlyCodes = 40, kThreadOnlyCodes = 48, kOtherCodes = 56,
                   kNamespaceCodes = 80, kAttributeCodes = 96;
static_assert(kTextCodes + std::size(kTexts) <= kProcessOnlyCodes);
static_assert(kOtherCodes + std::size(kOthers) <= kNamespaceCodes);
static_assert(kNamespaceCodes + std::size(kNamespaces) <= kAttributeCodes &&
              kAttributeCodes < kThreadOffset / 2);

Result<std::vector<pseudo::Directory::Entry>> ProcessDirectory::list() {
  TRY(gone());
  std::vector<Entry> entries;
  uint32_t code = kTextCodes;
  for (const TextEntry& entry : kTexts) entries.push_back({entry.name, number(code++), DT_REG});
  if (subject_.thread_only()) {
    code = kThreadOnlyCodes;
    for (const TextEntry& entry : kThreadOnlyTexts) entries.push_back({entry.name, number(code++), DT_REG});
  } else {
    code = kProcessOnlyCodes;
    for (const TextEntry& entry : kProcessOnlyTexts) entries.push_back({entry.name, number(code++), DT_REG});
  }
  code = kOtherCodes;
  for (const OtherEntry& entry : kOthers) {
    const uint64_t own = number(code++);
    if (!entry.process_only || !subject_.thread_only())
      entries.push_back(
          {entry.name, std::string_view(entry.name) == "net" ? net_->number() : own, entry.type});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

std::shared_ptr<pseudo::Node> ProcessDirectory::make(std::string_view name) {
  uint32_t code = kTextCodes;
  for (const TextEntry& entry : kTexts) {
    if (name == entry.name) return text(code, entry.permissions, entry.access, entry.text);
    ++code;
  }
  code = kProcessOnlyCodes;
  for (const TextEntry& entry : kProcessOnlyTexts) {
    if (name == entry.name && !subject_.thread_only())
      return text(code, entry.permissions, entry.access, entry.text);
    ++code;
  }
  code = kThreadOnlyCodes;
  for (const TextEntry& entry : kThreadOnlyTexts) {
    if (name == entry.name && subject_.thread_only())
      return text(code, entry.permissions, entry.access, entry.text);
    ++code;
  }
  code = kOtherCodes;
  for (const OtherEntry& entry : kOthers) {
    if (name == entry.name) break;
    ++code;
  }
  const Subject subject = subject_;
  if (name == "comm") {
    return text(
        code, 0644, Access::kAll, [](const Snapshot& at) -> Result<std::string> { return at.name() + "\n"; },
        [subject](std::string_view value) { return write_comm(subject, value); });
  }
  if (name == "oom_adj") {
    return text(
        code, 0644, Access::kAll,
        [](const Snapshot& at) -> Result<std::string> {
          const int adjustment = at.group->oom_score_adj;
          return fmt::format("{}\n", adjustment == 1000 ? 15 : adjustment * 17 / 1000);
        },
        [subject](std::string_view value) { return write_oom_adj(subject, value); });
  }
  if (name == "oom_score_adj") {
    return text(
        code, 0644, Access::kAll,
        [](const Snapshot& at) -> Result<std::string> {
          return fmt::format("{}\n", at.group->oom_score_adj);
        },
        [subject](std::string_view value) { return write_oom_score_adj(subject, value); });
  }
  if (name == "exe") return std::make_shared<PlaceLink>(subject_, superblock(), number(code), executable_of);
  if (name == "cwd") return std::make_shared<PlaceLink>(subject_, superblock(), number(code), cwd_of);
  if (name == "root") return std::make_shared<PlaceLink>(subject_, superblock(), number(code), root_of);
  if (name == "mem") return std::make_shared<MemoryNode>(subject_, superblock(), number(code));
  if (name == "fd") return make_fd_directory(superblock(), subject_, number(code));
  if (name == "fdinfo") return make_fdinfo_directory(superblock(), subject_, number(code));
  if (name == "net") return net_;
  if (name == "ns") return make_namespaces(number(code));
  if (name == "attr") return make_attributes(number(code));
  if (name == "task" && !subject_.thread_only()) return make_threads(number(code));
  return nullptr;
}

class ThreadsDirectory final : public Owned<pseudo::Directory> {
 public:
  ThreadsDirectory(const Subject& subject, vfs::Superblock& superblock, uint64_t number, Net net)
      : Owned(subject, superblock, number, 0555u), net_(std::move(net)) {}

  Result<vfs::InodeRef> lookup(std::string_view name) override {
    pid_t tid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), tid);
    if (error != std::errc{} || end != name.data() + name.size() || tid <= 0 || name.front() == '0')
      return Errno(ENOENT);
    const Result<Snapshot> snapshot = subject_.look();
    if (!snapshot.ok()) return Errno(ENOENT);
    const Subject thread = Subject::thread(*snapshot->group, tid);
    if (!thread.look().ok()) return Errno(ENOENT);
    return vfs::InodeRef(make_process_directory(superblock(), thread, net_));
  }
  Result<std::vector<Entry>> list() override {
    const Result<Snapshot> snapshot = subject_.look();
    if (!snapshot.ok()) return Errno(ENOENT);
    std::vector<pid_t> tids;
    for (const Task* task : snapshot->group->tasks) tids.push_back(task->tid);
    if (tids.empty()) tids.push_back(snapshot->group->id);
    std::sort(tids.begin(), tids.end());
    std::vector<Entry> entries;
    for (pid_t tid : tids)
      entries.push_back({fmt::format("{}", tid), node_number(tid, kThreadCodes), DT_DIR});
    return entries;
  }
  Result<vfs::Attributes> getattr() override {
    vfs::Attributes attributes = TRY(Directory::getattr());
    const Snapshot snapshot = TRY(subject_.look());
    attributes.nlink = static_cast<uint32_t>(2 + std::max<size_t>(1, snapshot.group->tasks.size()));
    return attributes;
  }

 private:
  Net net_;
};

std::shared_ptr<pseudo::Node> ProcessDirectory::make_threads(uint64_t own) {
  return std::make_shared<ThreadsDirectory>(subject_, superblock(), own, net_);
}

// A directory of nodes that are made with it.
class OwnedFixedDirectory final : public Owned<pseudo::Directory> {
 public:
  OwnedFixedDirectory(const Subject& subject, vfs::Superblock& superblock, uint64_t number,
                      uint32_t permissions)
      : Owned(subject, superblock, number, permissions), children_(superblock, number, permissions) {}
  void add(const char* name, std::shared_ptr<Node> node) { children_.add(name, std::move(node)); }
  Result<vfs::InodeRef> lookup(std::string_view name) override { return children_.lookup(name); }
  Result<std::vector<Entry>> list() override { return children_.list(); }

 private:
  pseudo::FixedDirectory children_;
};

std::shared_ptr<pseudo::Node> ProcessDirectory::make_namespaces(uint64_t own) {
  auto directory = std::make_shared<OwnedFixedDirectory>(subject_, superblock(), own, 0511u);
  uint32_t code = kNamespaceCodes;
  for (const Namespace& space : kNamespaces)
    directory->add(space.name,
                   std::make_shared<NamespaceLink>(subject_, superblock(), number(code++), space));
  return directory;
}

// attr/: there is no security module, and Linux without one answers EINVAL.
std::shared_ptr<pseudo::Node> ProcessDirectory::make_attributes(uint64_t own) {
  auto directory = std::make_shared<OwnedFixedDirectory>(subject_, superblock(), own, 0555u);
  uint32_t code = kAttributeCodes;
  for (const char* name : {"current", "exec", "fscreate", "keycreate", "prev", "sockcreate"})
    directory->add(name, text(
                             code++, 0666, Access::kAll,
                             [](const Snapshot&) -> Result<std::string> { return Errno(EINVAL); },
                             [](std::string_view) -> Result<> { return Errno(EINVAL); }));
  return directory;
}

}  // namespace

std::shared_ptr<pseudo::Node> make_process_directory(vfs::Superblock& superblock, const Subject& subject,
                                                     Net net) {
  return std::make_shared<ProcessDirectory>(subject, superblock, std::move(net));
}

Result<std::shared_ptr<kernel::ThreadGroup>> process_of_directory(const vfs::Inode& inode) {
  const auto* directory = dynamic_cast<const ProcessDirectory*>(&inode);
  if (directory == nullptr || directory->subject().thread_only()) return Errno(EBADF);
  return TRY(directory->subject().look()).group;
}

}  // namespace sentry::fs::proc
