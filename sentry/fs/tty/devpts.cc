#include "sentry/fs/tty/devpts.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/sysmacros.h>

#include <charconv>

#include <fmt/format.h>

#include "sentry/fs/tty/terminal_file.h"
#include "sentry/vfs/attribute_change.h"

namespace sentry::fs::tty {
namespace {

using kernel::Task;

constexpr int kMaximum = 4096;  // kernel.pty.max
constexpr gid_t kTtyGroup = 5;  // Debian's, and what the runtime specification's devpts mount says
constexpr unsigned kPtsMajor = 136, kAuxMajor = 5;
constexpr uint64_t kRootNumber = 1, kPtmxNumber = 2, kFirstNumber = 3;

class MasterFile final : public vfs::File {
 public:
  MasterFile(vfs::Path path, vfs::InodeRef inode, int flags, std::shared_ptr<Devpts> devpts,
             std::shared_ptr<Terminal> terminal)
      : File(std::move(path), std::move(inode), flags),
        devpts_(std::move(devpts)),
        terminal_(std::move(terminal)) {}
  ~MasterFile() override { terminal_->hang_up(); }

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override {
    return terminal_->master_read(sink, options.nonblocking || nonblocking());
  }
  Result<size_t> write(mm::Source& source, const IoOptions& options) override {
    return terminal_->master_write(source, options.nonblocking || nonblocking());
  }
  Events poll() override { return terminal_->master_poll(); }
  WaitQueue* wait_queue() override { return &terminal_->master_queue(); }
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override {
    if (request == TIOCGPTPEER) return open_peer(argument);
    if (const auto answer = terminal_->master_ioctl(memory, request, argument)) return *answer;
    return terminal_->ioctl(memory, request, argument, *this, true);
  }
  std::string fdinfo() override { return fmt::format("tty-index:\t{}\n", terminal_->index()); }

 private:
  // ioctl_tty(2): the slave, by whatever name it has for the caller.
  Result<uint64_t> open_peer(uint64_t argument) {
    Task* task = Task::current_or_null();
    const vfs::InodeRef node = devpts_->node(terminal_->index());
    if (task == nullptr || node == nullptr) return Errno(EIO);
    const int flags = static_cast<int>(argument);
    const vfs::Path place = devpts_->place(*task->fs().space, terminal_->index());
    vfs::FileRef file = TRY(open_terminal(terminal_, place, node, flags & ~O_CLOEXEC));
    file->credentials = task->credentials;
    return static_cast<uint64_t>(TRY(task->install_fd(std::move(file), (flags & O_CLOEXEC) != 0)));
  }

  const std::shared_ptr<Devpts> devpts_;
  const std::shared_ptr<Terminal> terminal_;
};

std::optional<int> parse_index(std::string_view name) {
  int index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc{} || end != name.data() + name.size() || fmt::format("{}", index) != name)
    return std::nullopt;
  return index;
}

// A character device whose owner and mode can be changed: grantpt(3), mesg(1), login(1).
class DeviceNode : public vfs::Inode {
 public:
  DeviceNode(vfs::Superblock& superblock, const vfs::Attributes& attributes)
      : Inode(superblock), attributes_(attributes) {
    attributes_.atime = attributes_.mtime = attributes_.ctime = read_clock(CLOCK_REALTIME);
  }
  uint32_t type() const override { return S_IFCHR; }
  Result<vfs::Attributes> getattr() override { return attributes_; }
  Result<> setattr(const vfs::AttributeChange& change) override {
    vfs::apply(change, attributes_);
    return {};
  }

 private:
  vfs::Attributes attributes_;
};

vfs::Attributes device_attributes(uint64_t number, uint32_t mode, uint64_t device) {
  vfs::Attributes attributes;
  attributes.ino = number;
  attributes.mode = S_IFCHR | mode;
  attributes.rdev = device;
  attributes.blksize = 1024;
  return attributes;
}

class PtmxNode final : public DeviceNode {
 public:
  explicit PtmxNode(Devpts& devpts)
      : DeviceNode(devpts, device_attributes(kPtmxNumber, 0666, makedev(kAuxMajor, 2))), devpts_(devpts) {}
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override {
    return devpts_.open_master(path, shared_from_this(), flags);
  }

 private:
  Devpts& devpts_;
};

}  // namespace

class Devpts::Node final : public DeviceNode {
 public:
  Node(Devpts& devpts, int index, uid_t owner)
      : DeviceNode(devpts,
                   [&] {
                     auto attributes = device_attributes(kFirstNumber + static_cast<uint64_t>(index), 0620,
                                                         makedev(kPtsMajor, static_cast<unsigned>(index)));
                     attributes.uid = owner;
                     attributes.gid = kTtyGroup;
                     return attributes;
                   }()),
        devpts_(devpts),
        index_(index) {}
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override {
    const std::shared_ptr<Terminal> terminal = devpts_.find(index_);
    // A node that outlives its terminal does not lead to the next one of its number.
    if (terminal == nullptr || devpts_.node(index_).get() != this) return Errno(EIO);
    return open_terminal(terminal, path, shared_from_this(), flags);
  }

 private:
  Devpts& devpts_;
  const int index_;
};

class Devpts::Root final : public pseudo::Directory {
 public:
  explicit Root(Devpts& devpts)
      : Directory(devpts, kRootNumber, 0755), devpts_(devpts), ptmx_(std::make_shared<PtmxNode>(devpts)) {}
  Result<vfs::InodeRef> lookup(std::string_view name) override {
    if (name == "ptmx") return vfs::InodeRef(ptmx_);
    const std::optional<int> index = parse_index(name);
    if (!index) return Errno(ENOENT);
    vfs::InodeRef node = devpts_.node(*index);
    if (node == nullptr) return Errno(ENOENT);
    return node;
  }
  Result<std::vector<Entry>> list() override {
    std::vector<Entry> entries{{"ptmx", kPtmxNumber, DT_CHR}};
    for (const auto& [index, entry] : devpts_.entries_)
      if (devpts_.find(index) != nullptr)
        entries.push_back({fmt::format("{}", index), kFirstNumber + static_cast<uint64_t>(index), DT_CHR});
    return entries;
  }

 private:
  Devpts& devpts_;
  std::shared_ptr<PtmxNode> ptmx_;
};

Devpts::Devpts() : Superblock("devpts", DEVPTS_SUPER_MAGIC) {}

std::shared_ptr<Devpts> Devpts::create() {
  std::shared_ptr<Devpts> devpts(new Devpts);
  devpts->set_root(std::make_shared<Root>(*devpts));
  return devpts;
}

Result<std::shared_ptr<Terminal>> Devpts::allocate(uid_t owner) {
  std::erase_if(entries_, [](const auto& entry) { return entry.second.terminal.expired(); });
  int index = 0;
  for (const auto& [taken, entry] : entries_) {
    if (taken != index) break;
    ++index;
  }
  if (index >= kMaximum) return Errno(ENOSPC);
  auto terminal = std::make_shared<Terminal>(index);
  entries_[index] = {terminal, std::make_shared<Node>(*this, index, owner)};
  return terminal;
}

std::shared_ptr<Terminal> Devpts::find(int index) const {
  const auto found = entries_.find(index);
  if (found == entries_.end()) return nullptr;
  std::shared_ptr<Terminal> terminal = found->second.terminal.lock();
  return terminal != nullptr && terminal->master_open() ? terminal : nullptr;
}

size_t Devpts::count() const {
  size_t count = 0;
  for (const auto& [index, entry] : entries_)
    if (!entry.terminal.expired()) ++count;
  return count;
}

vfs::InodeRef Devpts::node(int index) const {
  if (find(index) == nullptr) return nullptr;
  return entries_.find(index)->second.node;
}

Result<vfs::FileRef> Devpts::open_master(const vfs::Path& path, const vfs::InodeRef& inode, int flags) {
  const Task* task = Task::current_or_null();
  const uid_t owner = task != nullptr ? task->credentials->fsuid : 0;
  std::shared_ptr<Terminal> terminal = TRY(allocate(owner));
  terminal->locked = true;  // until unlockpt(3)
  auto self = std::static_pointer_cast<Devpts>(shared_from_this());
  return vfs::FileRef(std::make_shared<MasterFile>(path, inode, flags, std::move(self), std::move(terminal)));
}

vfs::Path Devpts::place(vfs::MountNamespace& space, int index) const {
  for (const vfs::MountRef& mount : space.mounts()) {
    if (mount->superblock.get() != this || !mount->root->inode()->is_directory()) continue;
    Result<vfs::DentryRef> dentry = space.dentries().lookup(mount->root, fmt::format("{}", index));
    if (dentry.ok() && !(*dentry)->negative()) return {mount, *dentry};
  }
  return {};
}

void register_terminals(vfs::DeviceRegistry& registry, const std::shared_ptr<Devpts>& devpts,
                        const std::shared_ptr<Terminal>& console) {
  registry.add(S_IFCHR, kAuxMajor, 0, open_controlling_terminal);
  registry.add(S_IFCHR, kAuxMajor, 2, [devpts](const vfs::Path& path, const vfs::InodeRef& inode, int flags) {
    return devpts->open_master(path, inode, flags);
  });
  registry.add_range(
      S_IFCHR, kPtsMajor, 0, kMaximum,
      [devpts](const vfs::Path& path, const vfs::InodeRef& inode, int flags) -> Result<vfs::FileRef> {
        const auto terminal = devpts->find(static_cast<int>(minor(TRY(inode->getattr()).rdev)));
        if (terminal == nullptr) return Errno(EIO);
        return open_terminal(terminal, path, inode, flags);
      });
  if (console == nullptr) return;
  // The system's console is never taken as a controlling terminal by opening it.
  registry.add(S_IFCHR, kAuxMajor, 1,
               [console](const vfs::Path& path, const vfs::InodeRef& inode, int flags) {
                 return open_terminal(console, path, inode, flags | O_NOCTTY);
               });
}

}  // namespace sentry::fs::tty
