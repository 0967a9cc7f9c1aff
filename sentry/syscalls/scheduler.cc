// Scheduling: policies, priorities, affinity. Kept as asked for and answered as kept: the host schedules the
// sandbox's threads, and a tenant's wishes must not reach its scheduler. sched(7).
#include <linux/capability.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "sentry/abi/ioprio.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

// ioprio_set(2). Not from linux/ioprio.h: newer ones are no C++.
enum { IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE };
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER };
constexpr int kClassShift = 13;

using kernel::Scheduling;
using kernel::ThreadGroup;

constexpr FlagName kPolicyNames[] = {{SCHED_FIFO, "SCHED_FIFO"},
                                     {SCHED_RR, "SCHED_RR"},
                                     {SCHED_BATCH, "SCHED_BATCH"},
                                     {SCHED_IDLE, "SCHED_IDLE"},
                                     {SCHED_DEADLINE, "SCHED_DEADLINE"},
                                     {SCHED_NORMAL, "SCHED_OTHER"},
                                     {0, nullptr}};
constexpr FlagName kWhichNames[] = {
    {PRIO_PGRP, "PRIO_PGRP"}, {PRIO_USER, "PRIO_USER"}, {PRIO_PROCESS, "PRIO_PROCESS"}, {0, nullptr}};

Result<Task*> find(Task& task, pid_t pid) {
  Task* target = pid == 0 ? &task : task.kernel.find_task(pid);
  if (target == nullptr) return Errno(ESRCH);
  return target;
}

// Whether the caller may change another's scheduling: check_same_owner in Linux.
bool may_change(const Task& task, const vfs::Credentials& its) {
  const vfs::Credentials& own = *task.credentials;
  return own.euid == its.euid || own.euid == its.uid || own.capable(CAP_SYS_NICE);
}

// ---- affinity

Result<> sys_sched_yield(Task&) {
  Fiber::yield();
  return {};
}

size_t mask_words(const Task& task) { return (std::max(task.kernel.cpus, 1u) + 63) / 64; }

std::vector<uint64_t> all_cpus(const Task& task) {
  const unsigned count = std::max(task.kernel.cpus, 1u);
  std::vector<uint64_t> mask(mask_words(task), ~uint64_t{0});
  if (count % 64 != 0) mask.back() = (uint64_t{1} << (count % 64)) - 1;
  return mask;
}

std::vector<uint64_t> cpus_of(const Task& task) {
  return task.scheduling.cpus.empty() ? all_cpus(task) : task.scheduling.cpus;
}

Result<uint64_t> sys_sched_getaffinity(Task& task, pid_t pid, unsigned size, OutCpuSet out) {
  if (uint64_t{size} * 8 < task.kernel.cpus || size % sizeof(uint64_t) != 0) return Errno(EINVAL);
  const std::vector<uint64_t> mask = cpus_of(*TRY(find(task, pid)));
  const size_t bytes = std::min<size_t>(size, mask.size() * sizeof(uint64_t));
  TRY(task.memory().write(out.address(), mask.data(), bytes));
  return bytes;
}

Result<> sys_sched_setaffinity(Task& task, pid_t pid, unsigned size, InCpuSet in) {
  std::vector<uint64_t> wanted(mask_words(task));
  TRY(task.memory().read(in.address(), wanted.data(),
                         std::min<size_t>(size, wanted.size() * sizeof(uint64_t))));
  Task* target = TRY(find(task, pid));
  if (!may_change(task, *target->credentials)) return Errno(EPERM);
  const std::vector<uint64_t> possible = all_cpus(task);
  uint64_t any = 0;
  for (size_t i = 0; i < wanted.size(); ++i) any |= wanted[i] &= possible[i];
  if (any == 0) return Errno(EINVAL);
  target->scheduling.cpus = std::move(wanted);
  return {};
}

// Where the host runs a thread is not known here; a CPU that it may run on is what getcpu(2) can promise
// anyway.
Result<> sys_getcpu(Task& task, GuestPtr<unsigned> cpu, GuestPtr<unsigned> node, GuestPtr<void>) {
  const std::vector<uint64_t> mask = cpus_of(task);
  unsigned first = 0;
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) continue;
    first = static_cast<unsigned>(i * 64) + static_cast<unsigned>(__builtin_ctzll(mask[i]));
    break;
  }
  if (cpu) TRY(task.memory().write(cpu, first));
  if (node) TRY(task.memory().write(node, 0u));
  return {};
}

// ---- policies

constexpr int kMaxRealtimePriority = 99;
bool is_realtime(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR; }
bool is_policy(int policy) {
  return is_realtime(policy) || policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE ||
         policy == SCHED_DEADLINE;
}

// A nice value as RLIMIT_NICE counts: 1 (nice 19) to 40 (nice -20).
bool may_nice(const Task& task, const ThreadGroup& group, int nice) {
  return static_cast<uint64_t>(20 - nice) <= group.limit(RLIMIT_NICE) ||
         task.credentials->capable(CAP_SYS_NICE);
}

struct Request {
  int policy;  // kKeepPolicy: the one it has
  int priority = 0;
  bool reset_on_fork = false;
  std::optional<int> nice;  // sched_setattr(2)'s, for SCHED_OTHER and SCHED_BATCH
};
constexpr int kKeepPolicy = -1;

// sched(7), "Privileges and resource limits".
Result<> check_privilege(const Task& task, const Task& target, const Request& wanted) {
  if (task.credentials->capable(CAP_SYS_NICE)) return {};
  const Scheduling& now = target.scheduling;
  const ThreadGroup& group = *target.group;
  if (wanted.nice && *wanted.nice < now.nice && !may_nice(task, group, *wanted.nice)) return Errno(EPERM);
  if (is_realtime(wanted.policy)) {
    const uint64_t limit = group.limit(RLIMIT_RTPRIO);
    if (wanted.policy != now.policy && limit == 0) return Errno(EPERM);
    if (wanted.priority > now.priority && static_cast<uint64_t>(wanted.priority) > limit) return Errno(EPERM);
  }
  if (now.policy == SCHED_IDLE && wanted.policy != SCHED_IDLE && !may_nice(task, group, now.nice))
    return Errno(EPERM);
  if (!may_change(task, *target.credentials)) return Errno(EPERM);
  if (now.reset_on_fork && !wanted.reset_on_fork) return Errno(EPERM);
  return {};
}

Result<> set_policy(Task& task, pid_t pid, Request wanted) {
  Task& target = *TRY(find(task, pid));
  if (wanted.policy == kKeepPolicy) {
    wanted.policy = target.scheduling.policy;
    wanted.reset_on_fork = target.scheduling.reset_on_fork;
  } else if (!is_policy(wanted.policy)) {
    return Errno(EINVAL);
  }
  if (wanted.priority < 0 || wanted.priority > kMaxRealtimePriority) return Errno(EINVAL);
  if (is_realtime(wanted.policy) != (wanted.priority != 0)) return Errno(EINVAL);
  // Bandwidth is promised by the host's scheduler alone.
  if (wanted.policy == SCHED_DEADLINE) return Errno(EPERM);
  TRY(check_privilege(task, target, wanted));
  target.scheduling.policy = wanted.policy;
  target.scheduling.priority = wanted.priority;
  target.scheduling.reset_on_fork = wanted.reset_on_fork;
  if (wanted.nice) target.scheduling.nice = *wanted.nice;
  return {};
}

Result<> sys_sched_setscheduler(Task& task, pid_t pid, Choice<kPolicyNames> policy,
                                GuestPtr<const int> param) {
  if (policy < 0 || !param || pid < 0) return Errno(EINVAL);
  Request wanted{policy & ~static_cast<int>(SCHED_RESET_ON_FORK)};
  wanted.priority = TRY(task.memory().read(param));
  wanted.reset_on_fork = (policy & SCHED_RESET_ON_FORK) != 0;
  TRY(find(task, pid));
  if (wanted.policy == SCHED_DEADLINE) return Errno(EINVAL);  // its parameters cannot be passed by this call
  return set_policy(task, pid, wanted);
}

Result<> sys_sched_setparam(Task& task, pid_t pid, GuestPtr<const int> param) {
  if (!param || pid < 0) return Errno(EINVAL);
  return set_policy(task, pid, {kKeepPolicy, TRY(task.memory().read(param)), false, std::nullopt});
}

Result<int> sys_sched_getscheduler(Task& task, pid_t pid) {
  if (pid < 0) return Errno(EINVAL);
  const Scheduling& its = TRY(find(task, pid))->scheduling;
  return its.policy | (its.reset_on_fork ? SCHED_RESET_ON_FORK : 0);
}

Result<> sys_sched_getparam(Task& task, pid_t pid, GuestPtr<int> out) {
  if (!out || pid < 0) return Errno(EINVAL);
  const int priority = TRY(find(task, pid))->scheduling.priority;
  return task.memory().write(out, priority);
}

// The kernel's struct sched_attr; <linux/sched/types.h> cannot be included beside <sched.h>.
struct SchedulingAttributes {
  uint32_t size, sched_policy;
  uint64_t sched_flags;
  int32_t sched_nice;
  uint32_t sched_priority;
  uint64_t sched_runtime, sched_deadline, sched_period;
  uint32_t sched_util_min, sched_util_max;
};
constexpr uint32_t kSizeVersion0 = 48, kSizeVersion1 = 56;

// Attributes as the guest passes it, of whatever version: E2BIG, having told it our size, where it asks for
// more.
Result<SchedulingAttributes> read_attributes(Task& task, GuestPtr<SchedulingAttributes> place) {
  uint32_t size = TRY(task.memory().read(place.as<uint32_t>()));
  if (size == 0) size = kSizeVersion0;
  std::vector<uint8_t> raw;
  const bool fits = size >= kSizeVersion0 && size <= mm::kPageSize;
  if (fits) raw = TRY(task.memory().read_array(GuestPtr<const uint8_t>(place.address()), size));
  if (!fits || std::any_of(raw.begin() + std::min<std::ptrdiff_t>(size, sizeof(SchedulingAttributes)),
                           raw.end(), [](uint8_t byte) { return byte != 0; })) {
    TRY(task.memory().write(place.as<uint32_t>(), uint32_t{sizeof(SchedulingAttributes)}));
    return Errno(E2BIG);
  }
  SchedulingAttributes attributes{};
  std::memcpy(&attributes, raw.data(), std::min(raw.size(), sizeof attributes));
  if ((attributes.sched_flags & SCHED_FLAG_UTIL_CLAMP) != 0 && size < kSizeVersion1) return Errno(EINVAL);
  return attributes;
}

Result<> sys_sched_setattr(Task& task, pid_t pid, GuestPtr<SchedulingAttributes> place, unsigned flags) {
  if (!place || pid < 0 || flags != 0) return Errno(EINVAL);
  const SchedulingAttributes attributes = TRY(read_attributes(task, place));
  if (static_cast<int>(attributes.sched_policy) < 0) return Errno(EINVAL);
  if ((attributes.sched_flags & ~uint64_t{SCHED_FLAG_ALL}) != 0) return Errno(EINVAL);
  if ((attributes.sched_flags & SCHED_FLAG_UTIL_CLAMP) != 0) return Errno(EOPNOTSUPP);
  Request wanted{static_cast<int>(attributes.sched_policy)};
  if (attributes.sched_priority > kMaxRealtimePriority) return Errno(EINVAL);
  wanted.priority = static_cast<int>(attributes.sched_priority);
  wanted.reset_on_fork = (attributes.sched_flags & SCHED_FLAG_RESET_ON_FORK) != 0;
  const Task& target = *TRY(find(task, pid));
  if ((attributes.sched_flags & SCHED_FLAG_KEEP_POLICY) != 0) wanted.policy = kKeepPolicy;
  if ((attributes.sched_flags & SCHED_FLAG_KEEP_PARAMS) != 0) wanted.priority = target.scheduling.priority;
  const int policy = wanted.policy == kKeepPolicy ? target.scheduling.policy : wanted.policy;
  if ((policy == SCHED_NORMAL || policy == SCHED_BATCH) &&
      (attributes.sched_flags & SCHED_FLAG_KEEP_PARAMS) == 0)
    wanted.nice = std::clamp(attributes.sched_nice, -20, 19);
  return set_policy(task, pid, wanted);
}

Result<> sys_sched_getattr(Task& task, pid_t pid, GuestPtr<SchedulingAttributes> out, unsigned size,
                           unsigned flags) {
  if (!out || pid < 0 || size > mm::kPageSize || size < kSizeVersion0 || flags != 0) return Errno(EINVAL);
  const Task& target = *TRY(find(task, pid));
  SchedulingAttributes attributes{};
  attributes.size = std::min<uint32_t>(size, sizeof attributes);
  attributes.sched_policy = static_cast<uint32_t>(target.scheduling.policy);
  if (target.scheduling.reset_on_fork) attributes.sched_flags |= SCHED_FLAG_RESET_ON_FORK;
  if (is_realtime(target.scheduling.policy))
    attributes.sched_priority = static_cast<uint32_t>(target.scheduling.priority);
  else
    attributes.sched_nice = target.scheduling.nice;
  return task.memory().write(out.address(), &attributes, attributes.size);
}

Result<int> sys_sched_get_priority_max(Task&, Choice<kPolicyNames> policy) {
  if (!is_policy(policy)) return Errno(EINVAL);
  return is_realtime(policy) ? kMaxRealtimePriority : 0;
}
Result<int> sys_sched_get_priority_min(Task&, Choice<kPolicyNames> policy) {
  if (!is_policy(policy)) return Errno(EINVAL);
  return is_realtime(policy) ? 1 : 0;
}

Result<> sys_sched_rr_get_interval(Task& task, pid_t pid, GuestPtr<timespec> out) {
  if (pid < 0) return Errno(EINVAL);
  constexpr Nanoseconds kRoundRobin = 100 * kMillisecond, kFair = 4 * kMillisecond;  // Linux's defaults
  const int policy = TRY(find(task, pid))->scheduling.policy;
  return task.memory().write(out, to_timespec(policy == SCHED_FIFO ? 0
                                              : policy == SCHED_RR ? kRoundRobin
                                                                   : kFair));
}

// ---- nice values and I/O priorities, of one or of many

// The processes that (which, who) of getpriority(2) and ioprio_get(2) names.
enum class Which { kProcess, kGroup, kUser };
std::vector<Task*> select(Task& task, Which which, int who) {
  std::vector<Task*> chosen;
  switch (which) {
    case Which::kProcess:
      if (const Result<Task*> one = find(task, who); one.ok()) chosen.push_back(*one);
      break;
    case Which::kGroup: {
      const auto group = who == 0 ? task.group->process_group : task.kernel.find_process_group(who);
      if (group == nullptr) break;
      for (const ThreadGroup* member : group->members)
        chosen.insert(chosen.end(), member->tasks.begin(), member->tasks.end());
      break;
    }
    case Which::kUser: {
      const uid_t uid = who == 0 ? task.credentials->uid : static_cast<uid_t>(who);
      for (const auto& [id, group] : task.kernel.groups())
        for (Task* member : group->tasks)
          if (member->credentials->uid == uid) chosen.push_back(member);
      break;
    }
  }
  return chosen;
}

Result<Which> priority_which(int which) {
  switch (which) {
    case PRIO_PROCESS:
      return Which::kProcess;
    case PRIO_PGRP:
      return Which::kGroup;
    case PRIO_USER:
      return Which::kUser;
    default:
      return Errno(EINVAL);
  }
}

// The raw call answers 20 - nice, so that no answer looks like an error: getpriority(2), "C library/kernel
// differences".
Result<int> sys_getpriority(Task& task, Choice<kWhichNames> which, int who) {
  int best = 0;
  for (const Task* target : select(task, TRY(priority_which(which)), who))
    best = std::max(best, 20 - target->scheduling.nice);
  if (best == 0) return Errno(ESRCH);
  return best;
}

Result<> sys_setpriority(Task& task, Choice<kWhichNames> which, int who, int nice) {
  const std::vector<Task*> targets = select(task, TRY(priority_which(which)), who);
  nice = std::clamp(nice, -20, 19);
  Result<> result = Errno(ESRCH);
  for (Task* target : targets) {
    if (!may_change(task, *target->credentials)) {
      result = Errno(EPERM);
    } else if (nice < target->scheduling.nice && !may_nice(task, *target->group, nice)) {
      result = Errno(EACCES);
    } else {
      target->scheduling.nice = nice;
      if (result.is(ESRCH)) result = {};
    }
  }
  return result;
}

Result<Which> io_priority_which(int which) {
  switch (which) {
    case IOPRIO_WHO_PROCESS:
      return Which::kProcess;
    case IOPRIO_WHO_PGRP:
      return Which::kGroup;
    case IOPRIO_WHO_USER:
      return Which::kUser;
    default:
      return Errno(EINVAL);
  }
}

// Of several, the best: the lowest class that is set, then the lowest level.
Result<int> sys_ioprio_get(Task& task, int which, int who) {
  const std::vector<Task*> targets = select(task, TRY(io_priority_which(which)), who);
  if (targets.empty()) return Errno(ESRCH);
  const auto rank = [](int value) { return (value >> kClassShift) == IOPRIO_CLASS_NONE ? INT32_MAX : value; };
  int best = 0;
  for (const Task* target : targets)
    if (rank(target->scheduling.io_priority) < rank(best)) best = target->scheduling.io_priority;
  return best;
}

Result<> sys_ioprio_set(Task& task, int which, int who, int value) {
  constexpr int kLevels = 8;
  const int level = value & 0x1fff;
  switch (value >> kClassShift) {
    case IOPRIO_CLASS_RT:
      if (!task.credentials->capable(CAP_SYS_ADMIN) && !task.credentials->capable(CAP_SYS_NICE))
        return Errno(EPERM);
      [[fallthrough]];
    case IOPRIO_CLASS_BE:
      if (level >= kLevels) return Errno(EINVAL);
      break;
    case IOPRIO_CLASS_IDLE:
      break;
    case IOPRIO_CLASS_NONE:
      if (level != 0) return Errno(EINVAL);
      break;
    default:
      return Errno(EINVAL);
  }
  const std::vector<Task*> targets = select(task, TRY(io_priority_which(which)), who);
  if (targets.empty()) return Errno(ESRCH);
  for (Task* target : targets) {
    const vfs::Credentials &own = *task.credentials, &its = *target->credentials;
    if (its.uid != own.euid && its.uid != own.uid && !own.capable(CAP_SYS_NICE)) return Errno(EPERM);
    target->scheduling.io_priority = value;
  }
  return {};
}

constexpr Entry kCalls[] = {
    COMPLETE(sched_yield, sys_sched_yield),
    PARTIAL(sched_getaffinity, sys_sched_getaffinity, "what was asked for; the host places threads"),
    PARTIAL(sched_setaffinity, sys_sched_setaffinity, "kept without effect: the host places threads"),
    PARTIAL(getcpu, sys_getcpu, "the first CPU that the thread may run on"),
    PARTIAL(sched_setscheduler, sys_sched_setscheduler,
            "kept without effect: the host schedules; no SCHED_DEADLINE"),
    PARTIAL(sched_setparam, sys_sched_setparam, "kept without effect: the host schedules"),
    PARTIAL(sched_setattr, sys_sched_setattr,
            "kept without effect: the host schedules; no SCHED_DEADLINE, no clamps"),
    COMPLETE(sched_getscheduler, sys_sched_getscheduler),
    COMPLETE(sched_getparam, sys_sched_getparam),
    COMPLETE(sched_getattr, sys_sched_getattr),
    COMPLETE(sched_get_priority_max, sys_sched_get_priority_max),
    COMPLETE(sched_get_priority_min, sys_sched_get_priority_min),
    PARTIAL(sched_rr_get_interval, sys_sched_rr_get_interval, "Linux's default slices"),
    COMPLETE(getpriority, sys_getpriority),
    PARTIAL(setpriority, sys_setpriority, "kept without effect: the host schedules"),
    COMPLETE(ioprio_get, sys_ioprio_get),
    PARTIAL(ioprio_set, sys_ioprio_set, "kept without effect"),
};

}  // namespace

std::span<const Entry> scheduler_calls() { return kCalls; }

}  // namespace sentry::syscalls
