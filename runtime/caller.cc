#include "runtime/caller.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

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
  process.nice = ::getpriority(PRIO_PROCESS, 0);
}

uint64_t ignored_signals() {
  uint64_t ignored = 0;
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
      ignored |= uint64_t{1} << (signal - 1);
  }
  return ignored;
}

}  // namespace runtime
