#include "runtime/caller.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace runtime {

void take_caller(sentry::boot::Process& process) {
  process.uid = ::geteuid();
  process.gid = ::getegid();
  const int count = ::getgroups(0, nullptr);
  std::vector<gid_t> groups(count > 0 ? static_cast<size_t>(count) : 0);
  if (count > 0 && ::getgroups(count, groups.data()) == count)
    process.additional_gids.assign(groups.begin(), groups.end());
  process.umask = ::umask(022);
  ::umask(process.umask);
  for (uint32_t resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit limit{};
    if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0)
      process.rlimits.push_back({resource, limit.rlim_cur, limit.rlim_max});
  }
}

}  // namespace runtime
