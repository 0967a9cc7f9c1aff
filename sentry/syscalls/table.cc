#include "sentry/syscalls/table.h"

#include <fmt/format.h>

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <initializer_list>

#include "sentry/base/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/changes.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kNumbers = 512;

using Index = std::array<const Entry*, kNumbers>;

Index build_index() {
  Index index{};
  for (const auto family : {&file_calls, &directory_calls, &descriptor_calls, &socket_calls, &memory_calls,
                            &process_calls, &identity_calls, &signal_calls, &time_calls, &futex_calls,
                            &scheduler_calls, &system_calls, &ipc_calls}) {
    for (const Entry& entry : family()) {
      BULKHEAD_CHECK(entry.number < kNumbers && index[entry.number] == nullptr, "{} is in the table twice",
                     entry.name);
      index[entry.number] = &entry;
    }
  }
  return index;
}

const Index& index() {
  static const Index kIndex = build_index();
  return kIndex;
}

using Calls = std::bitset<kNumbers>;
Calls calls(std::initializer_list<int> numbers) {
  Calls all;
  for (const int number : numbers) all.set(static_cast<size_t>(number));
  return all;
}

// Calls that change no name and no attribute of a file, or tell (vfs/notify.h).
bool keeps_files(uint64_t number, const uint64_t (&args)[6]) {
  // Of terminals and of descriptors.
  if (number == SYS_ioctl) return (args[1] & 0xff00) == 'T' << 8;
  // Advice may drop a file's memory.
  if (number == SYS_madvise) return args[2] != MADV_REMOVE;
  // clang-format off
  static const Calls kKeep = calls({
      SYS_read, SYS_write, SYS_open, SYS_close, SYS_stat, SYS_fstat, SYS_lstat, SYS_poll, SYS_lseek,
      SYS_mprotect, SYS_munmap, SYS_brk, SYS_rt_sigaction, SYS_rt_sigprocmask,
      SYS_rt_sigreturn, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_access, SYS_pipe,
      SYS_select, SYS_sched_yield, SYS_mremap, SYS_dup, SYS_dup2, SYS_pause, SYS_nanosleep, SYS_getpid,
      SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_clone, SYS_fork, SYS_vfork, SYS_execve,
      SYS_wait4, SYS_exit, SYS_exit_group, SYS_kill, SYS_uname, SYS_fcntl, SYS_getdents, SYS_getcwd, SYS_chdir, SYS_fchdir,
      SYS_readlink, SYS_umask, SYS_gettimeofday, SYS_getrlimit, SYS_getrusage, SYS_times, SYS_getuid,
      SYS_getgid, SYS_geteuid, SYS_getegid, SYS_setpgid, SYS_getppid, SYS_getpgrp, SYS_getpgid,
      SYS_sigaltstack, SYS_statfs, SYS_fstatfs, SYS_prctl, SYS_arch_prctl, SYS_gettid, SYS_futex,
      SYS_getdents64, SYS_set_tid_address, SYS_clock_gettime, SYS_clock_nanosleep, SYS_epoll_wait,
      SYS_epoll_ctl, SYS_tgkill, SYS_waitid, SYS_openat, SYS_newfstatat, SYS_readlinkat, SYS_faccessat,
      SYS_pselect6, SYS_ppoll, SYS_set_robust_list, SYS_epoll_pwait, SYS_dup3, SYS_pipe2, SYS_preadv,
      SYS_pwritev, SYS_prlimit64, SYS_getrandom, SYS_execveat, SYS_statx, SYS_rseq, SYS_clone3,
      SYS_faccessat2, SYS_mmap, SYS_close_range,
      SYS_socket, SYS_connect, SYS_accept, SYS_accept4, SYS_listen, SYS_getsockname, SYS_getpeername,
      SYS_socketpair, SYS_setsockopt, SYS_getsockopt, SYS_shutdown, SYS_eventfd2, SYS_epoll_create1,
      SYS_fsync, SYS_fdatasync, SYS_flock, SYS_sysinfo, SYS_alarm, SYS_setitimer, SYS_getitimer,
      SYS_sched_getaffinity, SYS_setsid, SYS_getsid, SYS_getgroups, SYS_capget, SYS_getresuid, SYS_getresgid,
      SYS_getpriority, SYS_rt_sigsuspend, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_getxattr, SYS_lgetxattr,
      SYS_fgetxattr, SYS_listxattr, SYS_llistxattr, SYS_flistxattr});
  // clang-format on
  return number < kNumbers && kKeep[number];
}

// Calls that only look: what they write into guest memory tells nobody of anything that they have done.
bool only_looks(uint64_t number) {
  // clang-format off
  static const Calls kLook = calls({
      SYS_stat, SYS_fstat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_readlink,
      SYS_readlinkat, SYS_getcwd, SYS_pread64, SYS_preadv, SYS_uname, SYS_sysinfo, SYS_getrusage,
      SYS_times, SYS_getrlimit, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_getsockname,
      SYS_getpeername});
  // clang-format on
  return number < kNumbers && kLook[number];
}

// Calls that tell of what they change, unless they fail halfway.
bool tells_of_success(uint64_t number) {
  // clang-format off
  static const Calls kTell = calls({
      SYS_creat, SYS_rename, SYS_renameat, SYS_renameat2, SYS_mkdir, SYS_mkdirat, SYS_rmdir, SYS_unlink,
      SYS_unlinkat, SYS_link, SYS_linkat, SYS_symlink, SYS_symlinkat, SYS_chmod, SYS_fchmod,
      SYS_fchmodat, SYS_chown, SYS_lchown, SYS_fchown, SYS_fchownat, SYS_utime, SYS_utimes,
      SYS_futimesat, SYS_utimensat, SYS_truncate, SYS_ftruncate});
  // clang-format on
  return number < kNumbers && kTell[number];
}

const char* error_name(int error) {
  const char* name = ::strerrorname_np(error);
  return name == nullptr ? "E?" : name;
}

}  // namespace

const Entry* find(uint64_t number) { return number < kNumbers ? index()[number] : nullptr; }

Result<uint64_t> dispatch(Task& task, uint64_t number, const uint64_t (&args)[6]) {
  const Entry* entry = find(number);
  if (entry == nullptr) {
    task.kernel.report_unknown(number);
    return Errno(ENOSYS);
  }
  if (entry->support == Support::kAbsent) return Errno(entry->absent_errno);
  const Result<uint64_t> result = entry->handler.call(task, args);
  if (only_looks(number)) task.memory().platform_space().keep_results();
  if (!keeps_files(number, args) && !(tells_of_success(number) && result.ok())) vfs::changed();
  return result;
}

std::string table_text() {
  std::string text;
  std::array<size_t, 3> counts{};
  for (const Entry* entry : index()) {
    if (entry == nullptr) continue;
    ++counts[static_cast<size_t>(entry->support)];
    switch (entry->support) {
      case Support::kComplete:
        text += fmt::format("{:3} {:<24} complete\n", entry->number, entry->name);
        break;
      case Support::kPartial:
        text += fmt::format("{:3} {:<24} partial   {}\n", entry->number, entry->name, entry->remark);
        break;
      case Support::kAbsent:
        text += fmt::format("{:3} {:<24} absent    {}: {}\n", entry->number, entry->name,
                            error_name(entry->absent_errno), entry->remark);
        break;
    }
  }
  text += fmt::format("{} complete, {} partial, {} absent\n", counts[0], counts[1], counts[2]);
  return text;
}

}  // namespace sentry::syscalls
