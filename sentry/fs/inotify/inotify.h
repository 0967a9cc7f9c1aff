// inotify(7).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "sentry/vfs/file.h"
#include "sentry/vfs/notify.h"

namespace sentry::fs::inotify {

class InotifyFile final : public vfs::File {
 public:
  InotifyFile(vfs::InodeRef inode, int flags);
  ~InotifyFile() override;

  // fs.inotify.max_queued_events, max_user_watches, max_user_instances: the last two for the whole sandbox.
  static constexpr size_t kMaximumQueued = 16384, kMaximumWatches = 65536, kMaximumInstances = 128;
  static bool may_make_another();

  // inotify_add_watch(2) once the place is found and may be read: the watch descriptor. EINVAL, EEXIST,
  // ENOSPC.
  Result<int> add(const vfs::Path& place, uint32_t mask);
  // inotify_rm_watch(2): EINVAL for an unknown one.
  Result<> remove(int descriptor);

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Events poll() override;
  WaitQueue* wait_queue() override { return &queue_; }
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override;
  std::string fdinfo() override;

 private:
  class Watch;
  struct Event {
    int descriptor;
    uint32_t mask, cookie;
    std::string name;
    size_t size() const;  // as read(2) delivers it
    friend bool operator==(const Event&, const Event&) = default;
  };
  void push(Event event);
  // The watch ends, and IN_IGNORED says so.
  void end(int descriptor);

  std::map<int, std::unique_ptr<Watch>> watches_;
  std::map<const vfs::Inode*, int> descriptors_;
  int last_descriptor_ = 0;
  std::deque<Event> events_;
  size_t bytes_ = 0;  // of events_, as read(2) delivers them
  WaitQueue queue_;
};

// `flags`: IN_NONBLOCK. EMFILE at the limit.
Result<vfs::FileRef> make_inotify(int flags, const vfs::CredentialsRef& owner);

}  // namespace sentry::fs::inotify
