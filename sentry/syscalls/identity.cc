// Who the caller is: user and group ids, supplementary groups, capabilities. credentials(7), capabilities(7).
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/syscall.h>

#include <algorithm>
#include <limits>

#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

using vfs::Credentials;

constexpr uint32_t kUnchanged = std::numeric_limits<uint32_t>::max();  // (uid_t)-1
constexpr uint64_t kAllCapabilities = (uint64_t{1} << (CAP_LAST_CAP + 1)) - 1;

constexpr uint64_t bits(std::initializer_list<int> capabilities) {
  uint64_t set = 0;
  for (const int capability : capabilities) set |= uint64_t{1} << capability;
  return set;
}
// What comes and goes with fsuid 0.
constexpr uint64_t kFileCapabilities = bits({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
                                             CAP_FSETID, CAP_LINUX_IMMUTABLE, CAP_MKNOD, CAP_MAC_OVERRIDE});

// user_namespaces(7): an id that the sandbox's namespace does not map cannot be taken.
bool valid_uid(const Task& task, uid_t uid) { return boot::has_id(task.kernel.uid_mappings, uid); }
bool valid_gid(const Task& task, gid_t gid) { return boot::has_id(task.kernel.gid_mappings, gid); }
bool valid_or_unchanged(const std::vector<boot::IdMapping>& mappings, std::initializer_list<uint32_t> ids) {
  return std::all_of(ids.begin(), ids.end(),
                     [&](uint32_t id) { return id == kUnchanged || boot::has_id(mappings, id); });
}

bool subset(uint64_t small, uint64_t large) { return (small & ~large) == 0; }

// The new credentials take effect. Who became somebody else, or more, cannot be dumped, and its parent's
// death does not concern it any more: prctl(2) PR_SET_DUMPABLE, PR_SET_PDEATHSIG.
void commit(Task& task, Credentials next) {
  const Credentials& old = *task.credentials;
  if (old.euid != next.euid || old.egid != next.egid || old.fsuid != next.fsuid || old.fsgid != next.fsgid ||
      !subset(next.cap_permitted, old.cap_permitted)) {
    task.memory().dumpable = false;
    task.parent_death_signal = 0;
  }
  task.credentials = std::make_shared<const Credentials>(std::move(next));
}

// capabilities(7), "Effect of user ID changes on capabilities".
void commit_uids(Task& task, Credentials next) {
  const Credentials& old = *task.credentials;
  if ((next.securebits & SECBIT_NO_SETUID_FIXUP) == 0) {
    const bool was_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    const bool is_root = next.uid == 0 || next.euid == 0 || next.suid == 0;
    if (was_root && !is_root) {
      if ((next.securebits & SECBIT_KEEP_CAPS) == 0) next.cap_permitted = next.cap_effective = 0;
      next.cap_ambient = 0;
    }
    if (old.euid == 0 && next.euid != 0) next.cap_effective = 0;
    if (old.euid != 0 && next.euid == 0) next.cap_effective = next.cap_permitted;
  }
  commit(task, std::move(next));
}

// ---- users

Result<uid_t> sys_getuid(Task& task) { return task.credentials->uid; }
Result<uid_t> sys_geteuid(Task& task) { return task.credentials->euid; }

Result<> sys_getresuid(Task& task, GuestPtr<uid_t> uid, GuestPtr<uid_t> euid, GuestPtr<uid_t> suid) {
  const Credentials& own = *task.credentials;
  TRY(task.memory().write(uid, own.uid));
  TRY(task.memory().write(euid, own.euid));
  return task.memory().write(suid, own.suid);
}

Result<> sys_setuid(Task& task, uid_t uid) {
  if (!valid_uid(task, uid)) return Errno(EINVAL);
  Credentials next = *task.credentials;
  if (next.capable(CAP_SETUID)) {
    next.uid = next.suid = uid;
  } else if (uid != next.uid && uid != next.suid) {
    return Errno(EPERM);
  }
  next.euid = next.fsuid = uid;
  commit_uids(task, std::move(next));
  return {};
}

Result<> sys_setreuid(Task& task, uid_t uid, uid_t euid) {
  if (!valid_or_unchanged(task.kernel.uid_mappings, {uid, euid})) return Errno(EINVAL);
  const Credentials& old = *task.credentials;
  Credentials next = old;
  const bool free = old.capable(CAP_SETUID);
  if (uid != kUnchanged) {
    if (!free && uid != old.uid && uid != old.euid) return Errno(EPERM);
    next.uid = uid;
  }
  if (euid != kUnchanged) {
    if (!free && euid != old.uid && euid != old.euid && euid != old.suid) return Errno(EPERM);
    next.euid = euid;
  }
  if (uid != kUnchanged || (euid != kUnchanged && euid != old.uid)) next.suid = next.euid;
  next.fsuid = next.euid;
  commit_uids(task, std::move(next));
  return {};
}

Result<> sys_setresuid(Task& task, uid_t uid, uid_t euid, uid_t suid) {
  if (!valid_or_unchanged(task.kernel.uid_mappings, {uid, euid, suid})) return Errno(EINVAL);
  const Credentials& old = *task.credentials;
  const bool same = (uid == kUnchanged || uid == old.uid) &&
                    (euid == kUnchanged || (euid == old.euid && euid == old.fsuid)) &&
                    (suid == kUnchanged || suid == old.suid);
  if (same) return {};
  if (!old.capable(CAP_SETUID)) {
    for (const uid_t id : {uid, euid, suid})
      if (id != kUnchanged && id != old.uid && id != old.euid && id != old.suid) return Errno(EPERM);
  }
  Credentials next = old;
  if (uid != kUnchanged) next.uid = uid;
  if (euid != kUnchanged) next.euid = euid;
  if (suid != kUnchanged) next.suid = suid;
  next.fsuid = next.euid;
  commit_uids(task, std::move(next));
  return {};
}

// setfsuid(2) answers the old id whether or not it could change it.
Result<uid_t> sys_setfsuid(Task& task, uid_t fsuid) {
  const Credentials& own = *task.credentials;
  const uid_t old = own.fsuid;
  if (!valid_uid(task, fsuid) || fsuid == old) return old;
  if (fsuid != own.uid && fsuid != own.euid && fsuid != own.suid && !own.capable(CAP_SETUID)) return old;
  Credentials next = own;
  next.fsuid = fsuid;
  if ((own.securebits & SECBIT_NO_SETUID_FIXUP) == 0) {
    if (old == 0) next.cap_effective &= ~kFileCapabilities;
    if (fsuid == 0) next.cap_effective |= kFileCapabilities & next.cap_permitted;
  }
  commit(task, std::move(next));
  return old;
}

// ---- groups

Result<gid_t> sys_getgid(Task& task) { return task.credentials->gid; }
Result<gid_t> sys_getegid(Task& task) { return task.credentials->egid; }

Result<> sys_getresgid(Task& task, GuestPtr<gid_t> gid, GuestPtr<gid_t> egid, GuestPtr<gid_t> sgid) {
  const Credentials& own = *task.credentials;
  TRY(task.memory().write(gid, own.gid));
  TRY(task.memory().write(egid, own.egid));
  return task.memory().write(sgid, own.sgid);
}

Result<> sys_setgid(Task& task, gid_t gid) {
  if (!valid_gid(task, gid)) return Errno(EINVAL);
  Credentials next = *task.credentials;
  if (next.capable(CAP_SETGID)) {
    next.gid = next.sgid = gid;
  } else if (gid != next.gid && gid != next.sgid) {
    return Errno(EPERM);
  }
  next.egid = next.fsgid = gid;
  commit(task, std::move(next));
  return {};
}

Result<> sys_setregid(Task& task, gid_t gid, gid_t egid) {
  if (!valid_or_unchanged(task.kernel.gid_mappings, {gid, egid})) return Errno(EINVAL);
  const Credentials& old = *task.credentials;
  Credentials next = old;
  const bool free = old.capable(CAP_SETGID);
  if (gid != kUnchanged) {
    if (!free && gid != old.gid && gid != old.egid) return Errno(EPERM);
    next.gid = gid;
  }
  if (egid != kUnchanged) {
    if (!free && egid != old.gid && egid != old.egid && egid != old.sgid) return Errno(EPERM);
    next.egid = egid;
  }
  if (gid != kUnchanged || (egid != kUnchanged && egid != old.gid)) next.sgid = next.egid;
  next.fsgid = next.egid;
  commit(task, std::move(next));
  return {};
}

Result<> sys_setresgid(Task& task, gid_t gid, gid_t egid, gid_t sgid) {
  if (!valid_or_unchanged(task.kernel.gid_mappings, {gid, egid, sgid})) return Errno(EINVAL);
  const Credentials& old = *task.credentials;
  const bool same = (gid == kUnchanged || gid == old.gid) &&
                    (egid == kUnchanged || (egid == old.egid && egid == old.fsgid)) &&
                    (sgid == kUnchanged || sgid == old.sgid);
  if (same) return {};
  if (!old.capable(CAP_SETGID)) {
    for (const gid_t id : {gid, egid, sgid})
      if (id != kUnchanged && id != old.gid && id != old.egid && id != old.sgid) return Errno(EPERM);
  }
  Credentials next = old;
  if (gid != kUnchanged) next.gid = gid;
  if (egid != kUnchanged) next.egid = egid;
  if (sgid != kUnchanged) next.sgid = sgid;
  next.fsgid = next.egid;
  commit(task, std::move(next));
  return {};
}

Result<gid_t> sys_setfsgid(Task& task, gid_t fsgid) {
  const Credentials& own = *task.credentials;
  const gid_t old = own.fsgid;
  if (!valid_gid(task, fsgid) || fsgid == old) return old;
  if (fsgid != own.gid && fsgid != own.egid && fsgid != own.sgid && !own.capable(CAP_SETGID)) return old;
  Credentials next = own;
  next.fsgid = fsgid;
  commit(task, std::move(next));
  return old;
}

constexpr int kMaxGroups = 65'536;  // NGROUPS_MAX

Result<int> sys_getgroups(Task& task, int size, GuestPtr<gid_t> list) {
  if (size < 0) return Errno(EINVAL);
  const std::vector<gid_t>& groups = task.credentials->groups;
  const int count = static_cast<int>(groups.size());
  if (size == 0) return count;
  if (count > size) return Errno(EINVAL);
  TRY(task.memory().write(list.address(), groups.data(), groups.size() * sizeof(gid_t)));
  return count;
}

Result<> sys_setgroups(Task& task, int size, GuestPtr<const gid_t> list) {
  if (!task.credentials->capable(CAP_SETGID)) return Errno(EPERM);
  if (size < 0 || size > kMaxGroups) return Errno(EINVAL);
  std::vector<gid_t> groups = TRY(task.memory().read_array(list, static_cast<size_t>(size)));
  if (!std::all_of(groups.begin(), groups.end(), [&](gid_t gid) { return valid_gid(task, gid); }))
    return Errno(EINVAL);
  std::sort(groups.begin(), groups.end());  // getgroups(2) answers them so on Linux
  Credentials next = *task.credentials;
  next.groups = std::move(groups);
  commit(task, std::move(next));
  return {};
}

// ---- capabilities

struct CapabilityHeader {
  uint32_t version;
  int32_t pid;
};
struct CapabilityWord {
  uint32_t effective, permitted, inheritable;
};

// How many words of each set the caller's version has. EINVAL for an unknown version, having told it ours.
Result<size_t> capability_words(Task& task, GuestPtr<CapabilityHeader> place,
                                const CapabilityHeader& header) {
  switch (header.version) {
    case _LINUX_CAPABILITY_VERSION_1:
      return size_t{1};
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
      return size_t{2};
    default:
      TRY(task.memory().write(place.as<uint32_t>(), uint32_t{_LINUX_CAPABILITY_VERSION_3}));
      return Errno(EINVAL);
  }
}

Result<> sys_capget(Task& task, GuestPtr<CapabilityHeader> place, GuestPtr<CapabilityWord> data) {
  const CapabilityHeader header = TRY(task.memory().read(place));
  const Result<size_t> words = capability_words(task, place, header);
  // A caller that only asks for the version.
  if (!data && words.is(EINVAL)) return {};
  if (!data && words.ok()) return {};
  const size_t count = TRY(words);
  if (header.pid < 0) return Errno(EINVAL);
  const Task* target = header.pid == 0 ? &task : task.kernel.find_task(header.pid);
  // The sandbox's own pid 1 has no thread: as /proc/1/status shows it, root without any capability.
  static const Credentials kOfNoThread;
  if (target == nullptr && task.kernel.find_group(header.pid) == nullptr) return Errno(ESRCH);
  const Credentials& its = target != nullptr ? *target->credentials : kOfNoThread;
  for (size_t i = 0; i < count; ++i) {
    const auto word = [i](uint64_t set) { return static_cast<uint32_t>(set >> (32 * i)); };
    TRY(task.memory().write(data.at(i), CapabilityWord{word(its.cap_effective), word(its.cap_permitted),
                                                       word(its.cap_inheritable)}));
  }
  return {};
}

Result<> sys_capset(Task& task, GuestPtr<CapabilityHeader> place, GuestPtr<const CapabilityWord> data) {
  const CapabilityHeader header = TRY(task.memory().read(place));
  const size_t count = TRY(capability_words(task, place, header));
  if (header.pid != 0 && header.pid != task.tid) return Errno(EPERM);
  uint64_t effective = 0, permitted = 0, inheritable = 0;
  const std::vector<CapabilityWord> words = TRY(task.memory().read_array(data, count));
  for (size_t i = 0; i < count; ++i) {
    effective |= uint64_t{words[i].effective} << (32 * i);
    permitted |= uint64_t{words[i].permitted} << (32 * i);
    inheritable |= uint64_t{words[i].inheritable} << (32 * i);
  }
  effective &= kAllCapabilities;
  permitted &= kAllCapabilities;
  inheritable &= kAllCapabilities;
  // capabilities(7), "Programmatically adjusting capability sets".
  const Credentials& old = *task.credentials;
  if (!old.capable(CAP_SETPCAP) && !subset(inheritable, old.cap_inheritable | old.cap_permitted))
    return Errno(EPERM);
  if (!subset(inheritable, old.cap_inheritable | old.cap_bounding)) return Errno(EPERM);
  if (!subset(permitted, old.cap_permitted)) return Errno(EPERM);
  if (!subset(effective, permitted)) return Errno(EPERM);
  Credentials next = old;
  next.cap_effective = effective;
  next.cap_permitted = permitted;
  next.cap_inheritable = inheritable;
  next.cap_ambient &= permitted & inheritable;
  commit(task, std::move(next));
  return {};
}

constexpr Entry kCalls[] = {
    COMPLETE(getuid, sys_getuid),       COMPLETE(geteuid, sys_geteuid),   COMPLETE(getresuid, sys_getresuid),
    COMPLETE(setuid, sys_setuid),       COMPLETE(setreuid, sys_setreuid), COMPLETE(setresuid, sys_setresuid),
    COMPLETE(setfsuid, sys_setfsuid),   COMPLETE(getgid, sys_getgid),     COMPLETE(getegid, sys_getegid),
    COMPLETE(getresgid, sys_getresgid), COMPLETE(setgid, sys_setgid),     COMPLETE(setregid, sys_setregid),
    COMPLETE(setresgid, sys_setresgid), COMPLETE(setfsgid, sys_setfsgid), COMPLETE(getgroups, sys_getgroups),
    COMPLETE(setgroups, sys_setgroups), COMPLETE(capget, sys_capget),     COMPLETE(capset, sys_capset),
};

}  // namespace

std::span<const Entry> identity_calls() { return kCalls; }

}  // namespace sentry::syscalls
