#include "sentry/fs/inotify/inotify.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

namespace sentry::fs::inotify {
namespace {

// Of the sandbox's one thread.
size_t total_instances = 0, total_watches = 0;

constexpr uint32_t kControlBits =
    IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ISDIR | IN_ONESHOT;
// Told whether asked for or not.
constexpr uint32_t kAlways = IN_UNMOUNT | IN_IGNORED | IN_Q_OVERFLOW;

}  // namespace

class InotifyFile::Watch final : public vfs::InodeWatch {
 public:
  Watch(InotifyFile& owner, int descriptor, vfs::Path place, uint32_t mask_in)
      : mask(mask_in),
        owner_(owner),
        descriptor_(descriptor),
        place_(std::move(place)),
        inode_(place_.dentry->inode()) {
    vfs::watch(*inode_, *this);
    ++total_watches;
  }
  ~Watch() override {
    vfs::unwatch(*inode_, *this);
    --total_watches;
  }
  void notify(uint32_t events, uint32_t cookie, std::string_view name, bool unlinked) override {
    // Of an open file that has no name any more, fsnotify's inotify_handle_inode_event().
    const bool of_file = (events & (IN_ACCESS | IN_MODIFY | IN_OPEN | IN_CLOSE)) != 0 || !name.empty();
    if (unlinked && of_file && (mask & IN_EXCL_UNLINK) != 0) return;
    const bool wanted = (events & (mask | kAlways) & ~kControlBits) != 0;
    const bool ends = (events & (IN_DELETE_SELF | IN_UNMOUNT)) != 0 && name.empty();
    if (wanted) owner_.push({descriptor_, events, cookie, std::string(name)});
    if (ends || (wanted && (mask & IN_ONESHOT) != 0)) owner_.end(descriptor_);  // deletes this
  }
  void let_go_of_name() override { place_ = {}; }
  const vfs::Inode& inode() const { return *inode_; }

  uint32_t mask;

 private:
  InotifyFile& owner_;
  const int descriptor_;
  vfs::Path place_;  // keeps the name, and so the inode's identity, in the cache, while there is one
  const vfs::InodeRef inode_;
};

size_t InotifyFile::Event::size() const {
  if (name.empty()) return sizeof(inotify_event);
  // With its NUL, in steps of the header's size.
  return sizeof(inotify_event) +
         (name.size() + sizeof(inotify_event)) / sizeof(inotify_event) * sizeof(inotify_event);
}

InotifyFile::InotifyFile(vfs::InodeRef inode, int flags) : File({}, std::move(inode), flags) {
  ++total_instances;
}

InotifyFile::~InotifyFile() { --total_instances; }

bool InotifyFile::may_make_another() { return total_instances < kMaximumInstances; }

Result<int> InotifyFile::add(const vfs::Path& place, uint32_t mask) {
  if ((mask & (IN_ALL_EVENTS | IN_UNMOUNT)) == 0) return Errno(EINVAL);
  if ((mask & IN_MASK_ADD) != 0 && (mask & IN_MASK_CREATE) != 0) return Errno(EINVAL);
  const uint32_t kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
  const vfs::Inode* inode = place.dentry->inode().get();
  if (const auto found = descriptors_.find(inode); found != descriptors_.end()) {
    if ((mask & IN_MASK_CREATE) != 0) return Errno(EEXIST);
    Watch& watch = *watches_[found->second];
    watch.mask = (mask & IN_MASK_ADD) != 0 ? watch.mask | kept : kept;
    return found->second;
  }
  if (total_watches >= kMaximumWatches) return Errno(ENOSPC);
  const int descriptor = ++last_descriptor_;
  watches_.emplace(descriptor, std::make_unique<Watch>(*this, descriptor, place, kept));
  descriptors_.emplace(inode, descriptor);
  return descriptor;
}

Result<> InotifyFile::remove(int descriptor) {
  if (!watches_.contains(descriptor)) return Errno(EINVAL);
  end(descriptor);
  return {};
}

void InotifyFile::end(int descriptor) {
  const auto found = watches_.find(descriptor);
  descriptors_.erase(&found->second->inode());
  watches_.erase(found);
  push({descriptor, IN_IGNORED, 0, {}});
}

void InotifyFile::push(Event event) {
  // An event that repeats the last one unread is not told again.
  if (!events_.empty() && events_.back() == event) return;
  if (events_.size() > kMaximumQueued) return;
  if (events_.size() == kMaximumQueued) event = {-1, IN_Q_OVERFLOW, 0, {}};
  bytes_ += event.size();
  events_.push_back(std::move(event));
  queue_.wake(EPOLLIN | EPOLLRDNORM);
}

Result<size_t> InotifyFile::read(mm::Sink& sink, const IoOptions& options) {
  if (events_.empty()) {
    if (options.nonblocking || nonblocking()) return Errno(EAGAIN);
    TRY(wait_until(queue_, EPOLLIN, [&] { return !events_.empty(); }));
  }
  size_t done = 0;
  while (!events_.empty()) {
    const size_t size = events_.front().size();
    if (size > sink.remaining()) {
      if (done == 0) return Errno(EINVAL);
      break;
    }
    const Event event = std::move(events_.front());
    events_.pop_front();
    bytes_ -= size;
    std::string bytes(size, '\0');
    inotify_event header{};
    header.wd = event.descriptor;
    header.mask = event.mask;
    header.cookie = event.cookie;
    header.len = static_cast<uint32_t>(size - sizeof header);
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, event.name.data(), event.name.size());
    const Result<size_t> put = sink.put(bytes.data(), size);
    if (!put.ok() || *put < size) {
      if (done != 0) break;
      return Errno(EFAULT);
    }
    done += size;
  }
  return done;
}

Events InotifyFile::poll() { return events_.empty() ? Events{0} : Events{EPOLLIN | EPOLLRDNORM}; }

Result<uint64_t> InotifyFile::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  if (request != FIONREAD) return Errno(ENOTTY);
  TRY(memory.write(mm::GuestPtr<int>(argument), static_cast<int>(bytes_)));
  return uint64_t{0};
}

std::string InotifyFile::fdinfo() {
  std::string text;
  for (const auto& [descriptor, watch] : watches_) {
    const uint64_t ino = const_cast<vfs::Inode&>(watch->inode()).getattr().value_or({}).ino;
    text += fmt::format("inotify wd:{:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:0\n", descriptor, ino,
                        watch->inode().superblock().device(), watch->mask);
  }
  return text;
}

Result<vfs::FileRef> make_inotify(int flags, const vfs::CredentialsRef& owner) {
  if (!InotifyFile::may_make_another()) return Errno(EMFILE);
  return vfs::FileRef(std::make_shared<InotifyFile>(
      vfs::make_anonymous_inode(0600, "anon_inode:[inotify]", owner), O_RDONLY | (flags & IN_NONBLOCK)));
}

}  // namespace sentry::fs::inotify
