// The limits that a sandbox's own processes run under: getrlimit(2). Those of the caller are for the guest,
// which has them as its own (caller.h); the sentry and the gofer need room for all of a sandbox.
#pragma once

#include <sys/resource.h>

#include <utility>
#include <vector>

#include "runtime/failure.h"

namespace runtime {

// While it lives, this process's limits, and so those of the processes that it starts, are as high as a
// sandbox wants them: beyond the hard limits if this process may do that, else up to them.
class RaisedLimits {
 public:
  // A failure if a limit stays below what a sandbox cannot do without: it names the limit.
  static Outcome<RaisedLimits> raise();

  RaisedLimits(RaisedLimits&& other) noexcept : before_(std::exchange(other.before_, {})) {}
  RaisedLimits& operator=(RaisedLimits&&) = delete;
  ~RaisedLimits();

 private:
  struct Before {
    __rlimit_resource resource;
    rlimit limit;
  };

  RaisedLimits() = default;

  std::vector<Before> before_;
};

}  // namespace runtime
