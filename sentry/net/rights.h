// Open files in flight between unix sockets, unix(7) SCM_RIGHTS. A socket that is only in flight in its own
// queue, or in a ring of such queues, can never be received: collect_garbage() finds and ends those, as
// Linux's unix_gc() does.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "sentry/vfs/file.h"

namespace sentry::net {

// The files of one message.
class Rights {
 public:
  static constexpr size_t kMaximumFiles = 253;         // a message, SCM_MAX_FD
  static constexpr size_t kMaximumInFlight = 1 << 20;  // the sandbox

  Rights() = default;
  // ETOOMANYREFS beyond kMaximumInFlight, or if `sender` has more than `limit` in flight already.
  static Result<Rights> make(std::vector<vfs::FileRef> files, uid_t sender, uint64_t limit);
  Rights(Rights&& other) noexcept;
  Rights& operator=(Rights&& other) noexcept;
  ~Rights() { drop(); }

  bool empty() const { return files_.empty(); }
  const std::vector<vfs::FileRef>& files() const { return files_; }
  // They have arrived.
  std::vector<vfs::FileRef> take();

 private:
  Rights(std::vector<vfs::FileRef> files, uid_t sender);
  void drop();
  void forget();
  std::vector<vfs::FileRef> files_;
  uid_t sender_ = 0;
};

// Ends sockets that are unreachable; cheap if no socket is in flight.
void collect_garbage();
// Does so soon, on the loop's own stack.
void collect_garbage_later();

}  // namespace sentry::net
