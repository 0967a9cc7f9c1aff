#include "sentry/fs/signalfd/signalfd.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "sentry/kernel/task.h"

namespace sentry::fs::signalfd {
namespace {

using kernel::Task;

// The kernel's kinds of siginfo (siginfo_layout) decide which members mean something.
signalfd_siginfo to_guest(const kernel::SignalInfo& info) {
  signalfd_siginfo answer{};
  answer.ssi_signo = static_cast<uint32_t>(info.si_signo);
  answer.ssi_errno = info.si_errno;
  answer.ssi_code = info.si_code;
  const auto set_value = [&] {
    answer.ssi_ptr = reinterpret_cast<uint64_t>(info.si_value.sival_ptr);
    answer.ssi_int = info.si_value.sival_int;
  };
  if (info.si_code == SI_TIMER) {
    answer.ssi_tid = static_cast<uint32_t>(info.si_timerid);
    answer.ssi_overrun = static_cast<uint32_t>(info.si_overrun);
    set_value();
    return answer;
  }
  if (info.si_code > 0 && info.si_code != SI_KERNEL) {
    switch (info.si_signo) {
      case SIGCHLD:
        answer.ssi_pid = static_cast<uint32_t>(info.si_pid);
        answer.ssi_uid = info.si_uid;
        answer.ssi_status = info.si_status;
        answer.ssi_utime = static_cast<uint64_t>(info.si_utime);
        answer.ssi_stime = static_cast<uint64_t>(info.si_stime);
        return answer;
      case SIGILL:
      case SIGFPE:
      case SIGSEGV:
      case SIGBUS:
      case SIGTRAP:
        answer.ssi_addr = reinterpret_cast<uint64_t>(info.si_addr);
        return answer;
      case SIGIO:
        answer.ssi_band = static_cast<uint32_t>(info.si_band);
        answer.ssi_fd = info.si_fd;
        return answer;
      default:
        break;
    }
  }
  answer.ssi_pid = static_cast<uint32_t>(info.si_pid);
  answer.ssi_uid = info.si_uid;
  if (info.si_code < 0 && info.si_code != SI_TKILL) set_value();  // sigqueue(3) and its kin
  return answer;
}

kernel::SignalSet pending(const Task& task) { return task.pending.pending() | task.group->pending.pending(); }

}  // namespace

SignalFile::SignalFile(vfs::InodeRef inode, int flags, kernel::SignalSet signals)
    : File({}, std::move(inode), flags), signals_(signals & ~kernel::kUnblockable) {}

void SignalFile::set_signals(kernel::SignalSet signals) {
  signals_ = signals & ~kernel::kUnblockable;
  Task::current().group->signal_watchers.wake();
}

Result<size_t> SignalFile::read(mm::Sink& sink, const IoOptions& options) {
  Task& task = Task::current();
  const uint64_t room = sink.remaining() / sizeof(signalfd_siginfo);
  if (room == 0) return Errno(EINVAL);
  const auto none = [&] { return (pending(task) & signals_).empty(); };
  if (none()) {
    if (options.nonblocking || nonblocking()) return Errno(EAGAIN);
    TRY(wait_until(task.group->signal_watchers, EPOLLIN, [&] { return !none(); }));
  }
  size_t done = 0;
  for (uint64_t i = 0; i < room; ++i) {
    std::optional<kernel::SignalInfo> info = task.pending.pop(signals_);
    if (!info) info = task.group->pending.pop(signals_);
    if (!info) break;
    const signalfd_siginfo answer = to_guest(*info);
    const Result<size_t> put = sink.put(&answer, sizeof answer);
    if (!put.ok() || *put != sizeof answer) {
      if (done != 0) return done;
      return Errno(EFAULT);
    }
    done += sizeof answer;
  }
  return done;
}

Events SignalFile::poll() {
  const Task* task = Task::current_or_null();
  return task != nullptr && !(pending(*task) & signals_).empty() ? Events{EPOLLIN} : 0;
}

WaitQueue* SignalFile::wait_queue() {
  Task* task = Task::current_or_null();
  return task != nullptr ? &task->group->signal_watchers : nullptr;
}

std::string SignalFile::fdinfo() { return fmt::format("sigmask:\t{:016x}\n", signals_.bits()); }

vfs::FileRef make_signalfd(kernel::SignalSet signals, int flags, const vfs::CredentialsRef& owner) {
  return std::make_shared<SignalFile>(vfs::make_anonymous_inode(0600, "anon_inode:[signalfd]", owner),
                                      O_RDWR | (flags & SFD_NONBLOCK), signals);
}

}  // namespace sentry::fs::signalfd
