#include "sentry/fs/epoll/epoll.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <functional>

namespace sentry::fs::epoll {
namespace {

constexpr uint32_t kModeBits = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP;
// What EPOLLEXCLUSIVE may be combined with, epoll_ctl(2).
constexpr uint32_t kExclusiveBits =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

size_t total_watches = 0;  // of the sandbox's one thread

}  // namespace

class EpollFile::Item final : public Waiter {
 public:
  Item(EpollFile& owner_in, int fd_in, const vfs::FileRef& file_in, const epoll_event& event)
      : owner(owner_in), fd(fd_in), key(file_in.get()), file(file_in), gone_(*this) {
    set(event);
    inner = dynamic_cast<EpollFile*>(file_in.get());
    if (inner != nullptr) {
      inner->watchers_.insert(this);
      owner.nested_.insert(this);
    }
    gone_.join(file_in->released);
    ++total_watches;
  }
  ~Item() override {
    if (inner != nullptr) {
      inner->watchers_.erase(this);
      owner.nested_.erase(this);
    }
    --total_watches;
  }

  void set(const epoll_event& event) {
    modes = event.events & kModeBits;
    interest = (event.events & ~kModeBits) | EPOLLERR | EPOLLHUP;
    data = event.data;
  }
  void notify(Events events) override {
    if ((events & interest) != 0) owner.enqueue(*this);
  }

  EpollFile& owner;
  const int fd;
  const vfs::File* const key;
  const std::weak_ptr<vfs::File> file;
  EpollFile* inner = nullptr;  // the file, if it is an epoll instance
  uint32_t interest = 0;       // 0 once EPOLLONESHOT has fired
  uint32_t modes = 0;
  epoll_data_t data{};
  std::list<Item*>::iterator position;  // in ready_, if `queued`
  bool queued = false;

 private:
  // Hears of the end of the description: the last descriptor was closed.
  class Gone final : public Waiter {
   public:
    explicit Gone(Item& item) : item_(item) {}
    void notify(Events) override { item_.owner.forget(item_); }

   private:
    Item& item_;
  };
  Gone gone_;
};

EpollFile::EpollFile(vfs::InodeRef inode) : File({}, std::move(inode), O_RDWR) {}

EpollFile::~EpollFile() {
  for (Item* item : watchers_) {
    item->owner.nested_.erase(item);
    item->inner = nullptr;
  }
  items_.clear();  // before what they point back to
}

void EpollFile::requeue(Item& item) {
  if (item.queued) return;
  item.position = ready_.insert(ready_.end(), &item);
  item.queued = true;
}

void EpollFile::enqueue(Item& item) {
  requeue(item);
  queue_.wake(EPOLLIN | EPOLLRDNORM);
}

void EpollFile::unlink_ready(Item& item) {
  if (!item.queued) return;
  ready_.erase(item.position);
  item.queued = false;
}

void EpollFile::forget(Item& item) {
  unlink_ready(item);
  items_.erase({item.key, item.fd});
}

Result<> EpollFile::add(int fd, const vfs::FileRef& file, const epoll_event& event) {
  if (file.get() == this) return Errno(EINVAL);
  if (!file->pollable()) return Errno(EPERM);
  auto* inner = dynamic_cast<EpollFile*>(file.get());
  if ((event.events & EPOLLEXCLUSIVE) != 0 && (inner != nullptr || (event.events & ~kExclusiveBits) != 0))
    return Errno(EINVAL);
  if (items_.contains({file.get(), fd})) return Errno(EEXIST);
  if (inner != nullptr) {
    std::set<const EpollFile*> seen;
    Counts above, below;
    if (inner->reaches(*this, seen) || levels_above(above) + inner->levels_below(below) > kMaximumDepth)
      return Errno(ELOOP);
  }
  if (total_watches >= kMaximumWatches) return Errno(ENOSPC);

  auto owned = std::make_unique<Item>(*this, fd, file, event);
  Item& item = *owned;
  items_.emplace(Key{file.get(), fd}, std::move(owned));
  if (inner != nullptr) {
    std::set<const EpollFile*> seen;
    Counts known;
    if (inner->too_many_paths(known, seen)) {
      forget(item);
      return Errno(EINVAL);
    }
  }
  if (WaitQueue* queue = file->wait_queue(); queue != nullptr) item.join(*queue);
  if ((file->poll() & item.interest) != 0) enqueue(item);
  return {};
}

Result<> EpollFile::modify(int fd, vfs::File& file, const epoll_event& event) {
  if ((event.events & EPOLLEXCLUSIVE) != 0) return Errno(EINVAL);
  const auto found = items_.find({&file, fd});
  if (found == items_.end()) return Errno(ENOENT);
  Item& item = *found->second;
  if ((item.modes & EPOLLEXCLUSIVE) != 0) return Errno(EINVAL);
  item.set(event);
  // What is ready now counts as a new edge.
  if ((file.poll() & item.interest) != 0) enqueue(item);
  return {};
}

Result<vfs::FileRef> EpollFile::watched(int fd, size_t nth) const {
  for (const auto& [key, item] : items_)
    if (key.second == fd && nth-- == 0)
      if (vfs::FileRef file = item->file.lock()) return file;
  return Errno(ENOENT);
}

Result<> EpollFile::remove(int fd, vfs::File& file) {
  const auto found = items_.find({&file, fd});
  if (found == items_.end()) return Errno(ENOENT);
  forget(*found->second);
  return {};
}

std::vector<epoll_event> EpollFile::collect(size_t limit) {
  std::vector<epoll_event> events;
  delivered_.clear();
  // Level-triggered items go to the end again: the next call begins behind them, so that none is starved.
  for (size_t left = ready_.size(); left != 0 && !ready_.empty() && events.size() < limit; --left) {
    Item& item = *ready_.front();
    unlink_ready(item);
    const vfs::FileRef file = item.file.lock();
    if (file == nullptr) continue;
    const Events now = file->poll() & item.interest;
    if (now == 0) continue;
    epoll_event event{};
    event.events = now;
    event.data = item.data;
    events.push_back(event);
    delivered_.emplace_back(item.key, item.fd);
    if ((item.modes & EPOLLONESHOT) != 0)
      item.interest = 0;
    else if ((item.modes & EPOLLET) == 0)
      requeue(item);
  }
  return events;
}

void EpollFile::give_back() {
  for (const Key& key : delivered_) {
    if (const auto found = items_.find(key); found != items_.end() && found->second->interest != 0)
      enqueue(*found->second);
  }
  delivered_.clear();
}

Result<std::vector<epoll_event>> EpollFile::wait(size_t limit, Deadline deadline, bool may_wait) {
  for (;;) {
    std::vector<epoll_event> events = collect(limit);
    if (!events.empty() || !may_wait) return events;
    const Result<> waited = wait_until(
        queue_, EPOLLIN, [this] { return !ready_.empty(); }, deadline);
    if (waited.is(ETIMEDOUT)) return events;
    if (!waited.ok()) return Errno(EINTR);
  }
}

Events EpollFile::poll() {
  while (!ready_.empty()) {
    Item& item = *ready_.front();
    const vfs::FileRef file = item.file.lock();
    if (file != nullptr && (file->poll() & item.interest) != 0) return EPOLLIN | EPOLLRDNORM;
    unlink_ready(item);
  }
  return 0;
}

std::string EpollFile::fdinfo() {
  std::string text;
  for (const auto& [key, item] : items_) {
    text += fmt::format("tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:0 sdev:0\n", item->fd,
                        item->interest == 0 ? item->modes : item->interest | item->modes, item->data.u64, 0);
  }
  return text;
}

// Recursions are at most kMaximumDepth deep, since every registration is checked.
size_t EpollFile::levels_below(Counts& known) const {
  if (const auto found = known.find(this); found != known.end()) return found->second;
  size_t levels = 0;
  for (const Item* item : nested_) levels = std::max(levels, item->inner->levels_below(known));
  return known[this] = levels + 1;
}

size_t EpollFile::levels_above(Counts& known) const {
  if (const auto found = known.find(this); found != known.end()) return found->second;
  size_t levels = 0;
  for (const Item* item : watchers_) levels = std::max(levels, item->owner.levels_above(known));
  return known[this] = levels + 1;
}

size_t EpollFile::paths_above(Counts& known) const {
  if (const auto found = known.find(this); found != known.end()) return found->second;
  size_t paths = 1;
  for (const Item* item : watchers_) paths += item->owner.paths_above(known);
  return known[this] = paths;
}

bool EpollFile::reaches(const EpollFile& other, std::set<const EpollFile*>& seen) const {
  if (this == &other) return true;
  if (!seen.insert(this).second) return false;
  return std::any_of(nested_.begin(), nested_.end(),
                     [&](const Item* item) { return item->inner->reaches(other, seen); });
}

bool EpollFile::too_many_paths(Counts& known, std::set<const EpollFile*>& seen) const {
  if (!seen.insert(this).second) return false;
  if (paths_above(known) > kMaximumPaths) return true;
  return std::any_of(nested_.begin(), nested_.end(),
                     [&](const Item* item) { return item->inner->too_many_paths(known, seen); });
}

vfs::FileRef make_epoll(const vfs::CredentialsRef& owner) {
  return std::make_shared<EpollFile>(vfs::make_anonymous_inode(0600, "anon_inode:[eventpoll]", owner));
}

}  // namespace sentry::fs::epoll
