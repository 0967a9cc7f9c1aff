// The machine and its names; and the calls that nobody else answers for, each with the reason why it is
// absent.
#include <linux/capability.h>
#include <linux/reboot.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <climits>

#include "sentry/fs/proc/system_text.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/version.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kNameLength = 64;  // __NEW_UTS_LEN

template <size_t N>
void fill(char (&field)[N], std::string_view text) {
  text.copy(field, N - 1);
}

Result<> sys_uname(Task& task, GuestPtr<utsname> out) {
  utsname name{};
  fill(name.sysname, kernel::kSysname);
  fill(name.nodename, task.kernel.hostname);
  fill(name.release, kernel::kRelease);
  fill(name.version, kernel::kVersion);
  fill(name.machine, kernel::kMachine);
  fill(name.domainname, task.kernel.domainname);
  return task.memory().write(out, name);
}

// sethostname(2): bytes, not a string; uname(2) shows them up to the first NUL.
Result<> set_name(Task& task, std::string& name, GuestPtr<const char> in, int length) {
  if (!task.credentials->capable(CAP_SYS_ADMIN)) return Errno(EPERM);
  if (length < 0 || length > static_cast<int>(kNameLength)) return Errno(EINVAL);
  const std::vector<char> bytes = TRY(task.memory().read_array(in, static_cast<size_t>(length)));
  name.assign(bytes.begin(), std::find(bytes.begin(), bytes.end(), '\0'));
  return {};
}
Result<> sys_sethostname(Task& task, GuestPtr<const char> name, int length) {
  return set_name(task, task.kernel.hostname, name, length);
}
Result<> sys_setdomainname(Task& task, GuestPtr<const char> name, int length) {
  return set_name(task, task.kernel.domainname, name, length);
}

Result<> sys_sysinfo(Task& task, GuestPtr<struct sysinfo> out) {
  const fs::proc::SystemMemory memory = fs::proc::system_memory(task.kernel);
  struct sysinfo info {};
  info.uptime = read_clock(CLOCK_BOOTTIME) / kSecond;
  const std::array<double, 3> loads = fs::proc::load_averages(task.kernel);
  std::transform(loads.begin(), loads.end(), std::begin(info.loads),
                 [](double load) { return static_cast<unsigned long>(load * (1 << SI_LOAD_SHIFT)); });
  info.totalram = memory.total;
  info.freeram = memory.free;
  info.sharedram = memory.shared;
  info.procs = static_cast<unsigned short>(std::min<size_t>(task.kernel.task_count(), USHRT_MAX));
  info.mem_unit = 1;
  return task.memory().write(out, info);
}

// The host's generator is seeded before any sandbox starts, so nothing blocks and the flags make no
// difference.
Result<size_t> sys_getrandom(Task& task, OutRandom out, size_t size, Flags<kRandomNames> flag_bits) {
  const auto flags = static_cast<unsigned>(flag_bits.value);
  constexpr unsigned kAllowed = GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE;
  if ((flags & ~kAllowed) != 0) return Errno(EINVAL);
  if ((flags & GRND_RANDOM) != 0 && (flags & GRND_INSECURE) != 0) return Errno(EINVAL);
  size = std::min<size_t>(size, INT_MAX);
  std::array<std::byte, 16'384> bytes;
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::getrandom(bytes.data(), std::min(size - done, bytes.size()), GRND_NONBLOCK);
    if (got < 0) return Errno(errno);
    const Result<size_t> copied =
        task.memory().write_some(out.address() + done, bytes.data(), static_cast<size_t>(got));
    if (!copied.ok()) return done > 0 ? Result<size_t>(done) : copied.error();
    done += *copied;
    if (*copied < static_cast<size_t>(got) || done == size) break;
    // A large request lets others run, and ends where a signal waits.
    Fiber::yield();
    if (Fiber::current()->interrupted()) break;
  }
  return done;
}

// vhangup(2) takes the caller's terminal away from everybody; here no more than the check.
Result<> sys_vhangup(Task& task) {
  if (!task.credentials->capable(CAP_SYS_TTY_CONFIG)) return Errno(EPERM);
  return Errno(ENOSYS);
}

// reboot(2): a sandbox ends with its first process, and no other way.
Result<> sys_reboot(Task& task, unsigned magic, unsigned magic2) {
  constexpr std::array<unsigned, 4> kSecond{LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B,
                                            LINUX_REBOOT_MAGIC2C};
  if (!task.credentials->capable(CAP_SYS_BOOT)) return Errno(EPERM);
  if (magic != LINUX_REBOOT_MAGIC1 || std::find(kSecond.begin(), kSecond.end(), magic2) == kSecond.end())
    return Errno(EINVAL);
  return Errno(EPERM);
}

// Rows for numbers that this build's kernel headers do not name yet.
constexpr Entry newer(uint16_t number, const char* name) {
  return {number, name, Support::kAbsent, {}, ENOSYS, "newer than Linux 6.1, which is what uname(2) says"};
}

constexpr Entry kCalls[] = {
    COMPLETE(uname, sys_uname),
    COMPLETE(sethostname, sys_sethostname),
    COMPLETE(setdomainname, sys_setdomainname),
    COMPLETE(sysinfo, sys_sysinfo),
    COMPLETE(getrandom, sys_getrandom),
    PARTIAL(vhangup, sys_vhangup, "EPERM or ENOSYS"),

    // The machine's, not a tenant's.
    ABSENT(syslog, EPERM, "the kernel log is the host's"),
    PARTIAL(reboot, sys_reboot, "EPERM: a sandbox ends with its first process"),
    ABSENT(swapon, EPERM, "the host's memory"),
    ABSENT(swapoff, EPERM, "the host's memory"),
    ABSENT(init_module, EPERM, "no loadable modules"),
    ABSENT(finit_module, EPERM, "no loadable modules"),
    ABSENT(delete_module, EPERM, "no loadable modules"),
    ABSENT(kexec_load, EPERM, "no other kernel"),
    ABSENT(kexec_file_load, EPERM, "no other kernel"),
    ABSENT(iopl, EPERM, "no I/O ports"),
    ABSENT(ioperm, EPERM, "no I/O ports"),
    ABSENT(quotactl, ENOSYS, "no quotas"),
    ABSENT(quotactl_fd, ENOSYS, "no quotas"),
    ABSENT(nfsservctl, ENOSYS, "removed in Linux 3.1"),

    // Large interfaces that programs do without.
    ABSENT(bpf, EPERM, "as where kernel.unprivileged_bpf_disabled is set"),
    ABSENT(perf_event_open, EACCES, "as where kernel.perf_event_paranoid forbids it"),
    ABSENT(io_uring_setup, ENOSYS, "not implemented"),
    ABSENT(io_uring_enter, ENOSYS, "not implemented"),
    ABSENT(io_uring_register, ENOSYS, "not implemented"),
    ABSENT(io_setup, ENOSYS, "not implemented; libraries fall back to threads"),
    ABSENT(io_destroy, ENOSYS, "not implemented"),
    ABSENT(io_submit, ENOSYS, "not implemented"),
    ABSENT(io_cancel, ENOSYS, "not implemented"),
    ABSENT(io_getevents, ENOSYS, "not implemented"),
    ABSENT(io_pgetevents, ENOSYS, "not implemented"),
    ABSENT(add_key, ENOSYS, "no key retention service"),
    ABSENT(request_key, ENOSYS, "no key retention service"),
    ABSENT(keyctl, ENOSYS, "no key retention service"),
    ABSENT(fanotify_init, ENOSYS, "not implemented; inotify is the smaller sister"),
    ABSENT(fanotify_mark, ENOSYS, "not implemented"),
    ABSENT(lookup_dcookie, EPERM, "profiles of the host's kernel"),
    ABSENT(set_mempolicy_home_node, ENOSYS, "one node"),

    // What Linux itself no longer has, or never had.
    ABSENT(uselib, ENOSYS, "a.out is gone"),
    ABSENT(ustat, ENOSYS, "obsolete since statfs(2)"),
    ABSENT(sysfs, ENOSYS, "obsolete since /proc/filesystems"),
    ABSENT(_sysctl, ENOSYS, "removed in Linux 5.5"),
    ABSENT(create_module, ENOSYS, "removed in Linux 2.6"),
    ABSENT(get_kernel_syms, ENOSYS, "removed in Linux 2.6"),
    ABSENT(query_module, ENOSYS, "removed in Linux 2.6"),
    ABSENT(getpmsg, ENOSYS, "never implemented in Linux"),
    ABSENT(putpmsg, ENOSYS, "never implemented in Linux"),
    ABSENT(afs_syscall, ENOSYS, "never implemented in Linux"),
    ABSENT(tuxcall, ENOSYS, "never implemented in Linux"),
    ABSENT(security, ENOSYS, "never implemented in Linux"),
    ABSENT(vserver, ENOSYS, "never implemented in Linux"),

    newer(451, "cachestat"),
    newer(453, "map_shadow_stack"),
    newer(454, "futex_wake"),
    newer(455, "futex_wait"),
    newer(456, "futex_requeue"),
    newer(457, "statmount"),
    newer(458, "listmount"),
    newer(459, "lsm_get_self_attr"),
    newer(460, "lsm_set_self_attr"),
    newer(461, "lsm_list_modules"),
    newer(462, "mseal"),
};

}  // namespace

std::span<const Entry> system_calls() { return kCalls; }

}  // namespace sentry::syscalls
