// Small pieces for calling the host: errors as values, and descriptors by the name that /proc/self/fd has for
// them.
#pragma once

#include <cerrno>
#include <charconv>

#include "sentry/base/fd.h"
#include "sentry/base/result.h"

namespace gofer {

using sentry::Errno;
using sentry::Fd;
using sentry::Result;

// The errno of a host call that failed, as the client hears it: whether the process or the host ran out of
// descriptors, the remedy is to forget nodes.
inline Errno host_errno() { return Errno(errno == EMFILE ? ENFILE : errno); }

// What a host call returned, or its errno.
template <typename T>
Result<T> host(T returned) {
  if (returned < 0) return host_errno();
  return returned;
}

inline Result<Fd> host_fd(int returned) {
  if (returned < 0) return host_errno();
  return Fd(returned);
}

// The name of a descriptor in /proc/self/fd, which is the process's working directory (jail.cc). Following
// that magic link reaches the very file that the descriptor is of, under whatever name it is now or under
// none: there is no window in which another file could take its place.
class FdPath {
 public:
  explicit FdPath(int fd) { *std::to_chars(text_, text_ + sizeof(text_) - 1, fd).ptr = '\0'; }
  const char* c_str() const { return text_; }

 private:
  char text_[16];
};

}  // namespace gofer
