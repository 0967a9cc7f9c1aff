#include "runtime/resource_limits.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

namespace runtime {
namespace {

struct Need {
  __rlimit_resource resource;
  const char* name;
  char letter;  // of the option of ulimit(1)
  rlim_t wanted;
  rlim_t least;  // no sandbox starts with less
  rlim_t unit;   // of ulimit(1)
};

constexpr rlim_t kKiB = 1024, kMiB = kKiB * kKiB, kGiB = kMiB * kKiB;

constexpr auto kNeeds = std::to_array<Need>({
    // The guest's memory is a sparse file of 2^62 bytes.
    {RLIMIT_FSIZE, "file size", 'f', RLIM_INFINITY, RLIM_INFINITY, kKiB},
    // In each process of the guest, beside its own: the areas that it shares with the sentry.
    {RLIMIT_AS, "address space", 'v', RLIM_INFINITY, 4 * kGiB, kKiB},
    {RLIMIT_DATA, "data", 'd', RLIM_INFINITY, 16 * kMiB, kKiB},
    {RLIMIT_STACK, "stack", 's', 8 * kMiB, 256 * kKiB, kKiB},
    // The sentry holds a file of the host's for each that the guest has open in the gofer's trees.
    {RLIMIT_NOFILE, "open files", 'n', 1 << 20, 128, 1},
    // Every process and thread of the guest is one of the host.
    {RLIMIT_NPROC, "processes", 'u', RLIM_INFINITY, 0, 1},
    // The time of a guest's process is that of the host's process behind it, and of the sentry.
    {RLIMIT_CPU, "processor time", 't', RLIM_INFINITY, 0, 1},
});

std::string least_of(const Need& need) {
  return need.least == RLIM_INFINITY ? "it unlimited" : fmt::format("at least {}", need.least / need.unit);
}

}  // namespace

Outcome<RaisedLimits> RaisedLimits::raise() {
  RaisedLimits raised;
  for (const Need& need : kNeeds) {
    rlimit limit{};
    if (::getrlimit(need.resource, &limit) != 0)
      return system_failure(errno, "cannot read the limit on {}", need.name);
    const rlim_t soft = std::max(limit.rlim_cur, need.wanted);
    const rlimit all{soft, std::max(limit.rlim_max, soft)};
    const rlimit allowed{std::min(soft, limit.rlim_max), limit.rlim_max};
    if (::setrlimit(need.resource, &all) != 0 && ::setrlimit(need.resource, &allowed) != 0)
      return system_failure(errno, "cannot raise the limit on {}", need.name);
    raised.before_.push_back({need.resource, limit});
    rlimit now{};
    ::getrlimit(need.resource, &now);
    if (now.rlim_cur < need.least)
      return failure(
          "the hard limit on {} (ulimit -{}) is {}; a sandbox needs {} (raise it, or set the soft limit "
          "alone "
          "with `ulimit -S -{}`: the program sees that one, and bulkhead raises its own)",
          need.name, need.letter, now.rlim_cur / need.unit, least_of(need), need.letter);
  }
  return raised;
}

RaisedLimits::~RaisedLimits() {
  for (const Before& before : before_) ::setrlimit(before.resource, &before.limit);
}

}  // namespace runtime
