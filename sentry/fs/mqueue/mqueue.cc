#include "sentry/fs/mqueue/mqueue.h"

#include <dirent.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <mutex>

#include "sentry/fs/pseudo/node.h"
#include "sentry/kernel/sysctl.h"
#include "sentry/vfs/attribute_change.h"
#include "sentry/vfs/operations.h"

namespace sentry::fs::mqueue {
namespace {

constexpr long kMagic = 0x19800202;  // MQUEUE_MAGIC
constexpr uint64_t kFileSize = 80;   // FILENT_SIZE
// What CAP_SYS_RESOURCE may go to, beyond /proc/sys/fs/mqueue's limits.
constexpr size_t kMaxQueuesPrivileged = 65'536;
constexpr long kMaxMessagesPrivileged = 65'536;
constexpr long kMaxSizePrivileged = 16 << 20;

// What each user's queues could hold, against RLIMIT_MSGQUEUE.
using Usage = std::map<uid_t, uint64_t>;

class QueueNode final : public vfs::Inode {
 public:
  QueueNode(vfs::Superblock& superblock, uint64_t number, const vfs::NewNode& node,
            std::shared_ptr<Queue> queue, std::shared_ptr<Memory> memory)
      : Inode(superblock), queue_(std::move(queue)), memory_(std::move(memory)) {
    attributes_.ino = number;
    attributes_.mode = S_IFREG | (node.mode & 07777);
    attributes_.uid = node.uid;
    attributes_.gid = node.gid;
    attributes_.size = kFileSize;
    attributes_.atime = attributes_.mtime = attributes_.ctime = attributes_.btime =
        read_clock(CLOCK_REALTIME);
  }
  ~QueueNode() override {
    if (usage_ == nullptr) return;
    const auto found = usage_->find(payer_);
    found->second -= paid_;
    if (found->second == 0) usage_->erase(found);
  }

  // Counts the queue's room as used by `uid` for as long as it exists.
  void charge(std::shared_ptr<Usage> usage, uid_t uid, uint64_t bytes) {
    usage_ = std::move(usage);
    payer_ = uid;
    paid_ = bytes;
    (*usage_)[uid] += bytes;
  }

  uint32_t type() const override { return S_IFREG; }
  Result<vfs::Attributes> getattr() override { return attributes_; }
  Result<> setattr(const vfs::AttributeChange& change) override {
    vfs::apply(change, attributes_);
    return {};
  }
  Result<vfs::FileRef> open(const vfs::Path& path, int flags) override {
    return vfs::FileRef(std::make_shared<QueueFile>(path, shared_from_this(), flags, queue_, memory_));
  }
  void set_unlinked() { attributes_.nlink = 0; }
  uint64_t number() const { return attributes_.ino; }

 private:
  vfs::Attributes attributes_;
  std::shared_ptr<Queue> queue_;
  std::shared_ptr<Memory> memory_;
  std::shared_ptr<Usage> usage_;
  uid_t payer_ = 0;
  uint64_t paid_ = 0;
};

// RLIMIT_MSGQUEUE's measure of a queue, getrlimit(2).
uint64_t footprint(const mq_attr& attributes) {
  constexpr uint64_t kMessageHeader = 48, kTreeNode = 48;
  const auto messages = static_cast<uint64_t>(attributes.mq_maxmsg);
  return messages * (kMessageHeader + static_cast<uint64_t>(attributes.mq_msgsize)) +
         std::min<uint64_t>(messages, kMaxPriority) * kTreeNode;
}

class Root final : public pseudo::Directory {
 public:
  Root(pseudo::Superblock& superblock, uint64_t number)
      : Directory(superblock, number, S_ISVTX | 0777), superblock_(superblock) {}

  Result<vfs::InodeRef> lookup(std::string_view name) override {
    const auto found = queues_.find(name);
    if (found == queues_.end()) return Errno(ENOENT);
    return vfs::InodeRef(found->second);
  }
  Result<std::vector<Entry>> list() override {
    std::vector<Entry> entries;
    for (const auto& [name, node] : queues_) entries.push_back({name, node->number(), DT_REG});
    return entries;
  }
  // open(2) with O_CREAT makes a queue too.
  Result<vfs::InodeRef> create(std::string_view name, const vfs::NewNode& node) override {
    if (!S_ISREG(node.mode)) return Errno(EPERM);
    return make(name, node, std::nullopt);
  }
  Result<> unlink(std::string_view name, vfs::Inode&) override {
    const auto found = queues_.find(name);
    if (found == queues_.end()) return Errno(ENOENT);
    found->second->set_unlinked();
    queues_.erase(found);
    return {};
  }

  Result<vfs::InodeRef> make(std::string_view name, const vfs::NewNode& node,
                             const std::optional<mq_attr>& wanted) {
    kernel::Task& task = kernel::Task::current();
    const bool privileged = task.credentials->capable(CAP_SYS_RESOURCE);
    const kernel::Sysctls& sysctls = kernel::Sysctls::current();
    if (queues_.size() >= (privileged ? kMaxQueuesPrivileged : sysctls.mqueue_queues_max.value()))
      return Errno(ENOSPC);
    const auto most_messages = static_cast<long>(sysctls.mqueue_msg_max.value());
    const auto most_bytes = static_cast<long>(sysctls.mqueue_msgsize_max.value());
    mq_attr attributes{};
    attributes.mq_maxmsg = std::min(most_messages, static_cast<long>(sysctls.mqueue_msg_default.value()));
    attributes.mq_msgsize = std::min(most_bytes, static_cast<long>(sysctls.mqueue_msgsize_default.value()));
    if (wanted) attributes = *wanted;
    if (attributes.mq_maxmsg <= 0 || attributes.mq_msgsize <= 0) return Errno(EINVAL);
    if (attributes.mq_maxmsg > (privileged ? kMaxMessagesPrivileged : most_messages) ||
        attributes.mq_msgsize > (privileged ? kMaxSizePrivileged : most_bytes))
      return Errno(EINVAL);
    const uint64_t bytes = footprint(attributes);
    const uid_t uid = task.credentials->uid;
    const auto used = usage_->find(uid);
    if ((used == usage_->end() ? 0 : used->second) + bytes > task.group->limit(RLIMIT_MSGQUEUE))
      return Errno(EMFILE);
    auto queue = std::make_shared<Queue>(static_cast<size_t>(attributes.mq_maxmsg),
                                         static_cast<size_t>(attributes.mq_msgsize));
    auto made = std::make_shared<QueueNode>(superblock_, superblock_.allocate_inode(), node, std::move(queue),
                                            memory_);
    made->charge(usage_, uid, bytes);
    queues_[std::string(name)] = made;
    return vfs::InodeRef(made);
  }

 private:
  pseudo::Superblock& superblock_;
  std::map<std::string, std::shared_ptr<QueueNode>, std::less<>> queues_;
  std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();
  std::shared_ptr<Memory> memory_ = std::make_shared<Memory>();
};

// The kernel's own mount of it, which no path leads to.
const vfs::MountRef& mount_of(kernel::Kernel& kernel) {
  if (kernel.message_queues == nullptr) {
    auto superblock = std::make_shared<pseudo::Superblock>("mqueue", kMagic);
    superblock->set_root(std::make_shared<Root>(*superblock, superblock->allocate_inode()));
    kernel.message_queues = std::make_shared<vfs::Mount>();
    kernel.message_queues->type = superblock->type();
    kernel.message_queues->root = std::make_shared<vfs::Dentry>(nullptr, std::string(), superblock->root());
    kernel.message_queues->superblock = std::move(superblock);
  }
  return kernel.message_queues;
}

// A name as the library passes it: one component, without the slash that the program wrote.
Result<> check_name(std::string_view name) {
  if (name.empty()) return Errno(ENOENT);
  if (name.find('/') != std::string_view::npos || name == "." || name == "..") return Errno(EACCES);
  if (name.size() > vfs::kNameMax) return Errno(ENAMETOOLONG);
  return {};
}

}  // namespace

std::shared_ptr<vfs::Superblock> superblock_of(kernel::Kernel& kernel) {
  return mount_of(kernel)->superblock;
}

Result<> QueueFile::flush() {
  if (const kernel::Task* task = kernel::Task::current_or_null()) queue_->clear_notification(*task->group);
  return {};
}

Result<size_t> QueueFile::read_at(mm::Sink& sink, uint64_t offset, bool) {
  const std::string text = queue_->status();
  if (offset >= text.size()) return size_t{0};
  return sink.put(text.data() + offset, text.size() - offset);
}

Result<uint64_t> QueueFile::size() { return kFileSize; }

Result<vfs::FileRef> open(kernel::Task& task, std::string_view name, int flags, uint32_t mode,
                          const std::optional<mq_attr>& attributes) {
  TRY(check_name(name));
  const vfs::MountRef mount = mount_of(task.kernel);
  const vfs::DentryRef& directory = mount->root;
  Root& root = static_cast<Root&>(*directory->inode());
  vfs::DentryCache& dentries = task.fs().space->dentries();
  constexpr int kKept = O_ACCMODE | O_NONBLOCK;
  const std::unique_lock lock(directory->names_lock());
  const vfs::DentryRef found = TRY(dentries.lookup_locked(directory, name));
  if (found->negative()) {
    if ((flags & O_CREAT) == 0) return Errno(ENOENT);
    TRY(root.permission(*task.credentials, W_OK | X_OK));
    const vfs::NewNode node =
        vfs::prepare_node(task.fs(), *task.credentials, TRY(root.getattr()), S_IFREG | (mode & 07777));
    vfs::InodeRef inode = TRY(root.make(name, node, attributes));
    const vfs::Path path{mount, dentries.instantiate(directory, name, std::move(inode))};
    return path.dentry->inode()->open(path, flags & kKept);
  }
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return Errno(EEXIST);
  int mask = 0;
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      mask = R_OK;
      break;
    case O_WRONLY:
      mask = W_OK;
      break;
    case O_RDWR:
      mask = R_OK | W_OK;
      break;
    default:
      return Errno(EINVAL);
  }
  TRY(found->inode()->permission(*task.credentials, mask));
  return found->inode()->open({mount, found}, flags & kKept);
}

Result<> unlink(kernel::Task& task, std::string_view name) {
  TRY(check_name(name));
  const vfs::MountRef& mount = mount_of(task.kernel);
  return vfs::unlink({task.fs(), task.credentials, {mount, mount->root}}, name);
}

}  // namespace sentry::fs::mqueue
