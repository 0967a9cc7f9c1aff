// epoll(7).
#pragma once

#include <sys/epoll.h>

#include <list>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "sentry/vfs/file.h"

namespace sentry::fs::epoll {

class EpollFile final : public vfs::File {
 public:
  explicit EpollFile(vfs::InodeRef inode);
  ~EpollFile() override;

  // epoll_ctl(2): EEXIST, ENOENT, EPERM for files that cannot be polled, EINVAL, ELOOP, ENOSPC.
  Result<> add(int fd, const vfs::FileRef& file, const epoll_event& event);
  Result<> modify(int fd, vfs::File& file, const epoll_event& event);
  Result<> remove(int fd, vfs::File& file);

  // The file that is watched as `fd`, the nth if there are several (which a descriptor's number alone does
  // not exclude): ENOENT.
  Result<vfs::FileRef> watched(int fd, size_t nth) const;

  // Events that are ready now, at most `limit`; those delivered are disarmed or queued again as their flags
  // say.
  std::vector<epoll_event> collect(size_t limit);
  // The events that collect() answered last did not reach the guest: they are looked at again next time.
  void give_back();
  // Waits until collect() has something: empty at the deadline. EINTR.
  Result<std::vector<epoll_event>> wait(size_t limit, Deadline deadline, bool may_wait);

  Events poll() override;
  WaitQueue* wait_queue() override { return &queue_; }
  std::string fdinfo() override;

  // fs.epoll.max_user_watches: for the whole sandbox.
  static constexpr size_t kMaximumWatches = 1 << 20;
  // Instances in a chain that watch each other (ELOOP beyond), and ways from one up to those that hear of it
  // (EINVAL).
  static constexpr size_t kMaximumDepth = 5;
  static constexpr size_t kMaximumPaths = 500;

 private:
  // One registration.
  class Item;
  using Key = std::pair<const vfs::File*, int>;

  void requeue(Item& item);
  void enqueue(Item& item);  // and wakes who waits
  void unlink_ready(Item& item);
  void forget(Item& item);
  // Nesting. Each walk visits an instance once: what is known of it is remembered in the argument.
  using Counts = std::map<const EpollFile*, size_t>;
  size_t levels_below(Counts& known) const;
  size_t levels_above(Counts& known) const;
  size_t paths_above(Counts& known) const;
  bool reaches(const EpollFile& other, std::set<const EpollFile*>& seen) const;
  bool too_many_paths(Counts& known, std::set<const EpollFile*>& seen) const;

  std::map<Key, std::unique_ptr<Item>> items_;
  std::list<Item*> ready_;
  WaitQueue queue_;
  std::vector<Key> delivered_;  // by the last collect()
  std::set<Item*> nested_;      // of items_: those that watch an epoll instance
  std::set<Item*> watchers_;    // of other instances: those that watch this one
};

vfs::FileRef make_epoll(const vfs::CredentialsRef& owner);

}  // namespace sentry::fs::epoll
