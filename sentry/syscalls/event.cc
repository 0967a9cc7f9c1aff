// Descriptors that stand for events: eventfd(2), timerfd_create(2), signalfd(2), inotify(7), pidfd_open(2).
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <limits>

#include "sentry/fs/eventfd/eventfd.h"
#include "sentry/fs/inotify/inotify.h"
#include "sentry/fs/pidfd/pidfd.h"
#include "sentry/fs/proc/process_directory.h"
#include "sentry/fs/signalfd/signalfd.h"
#include "sentry/fs/timerfd/timerfd.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/trace.h"
#include "sentry/syscalls/descriptor.h"
#include "sentry/syscalls/place.h"

namespace sentry::syscalls {

using fs::inotify::InotifyFile;
using fs::pidfd::PidFile;
using fs::signalfd::SignalFile;
using fs::timerfd::TimerFile;

Result<int> sys_eventfd2(Task& task, unsigned initial, Flags<kEventfdNames> flags) {
  if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) != 0) return Errno(EINVAL);
  return task.install_fd(fs::eventfd::make_eventfd(initial, flags, task.credentials),
                         (flags & EFD_CLOEXEC) != 0);
}

Result<int> sys_eventfd(Task& task, unsigned initial) { return sys_eventfd2(task, initial, {0}); }

// timerfd_create(2) -------------------------------------------------------------------------------

Result<int> sys_timerfd_create(Task& task, Choice<kClockNames> clock, Flags<kTimerfdNames> flags) {
  if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) != 0) return Errno(EINVAL);
  const vfs::FileRef file = TRY(fs::timerfd::make_timerfd(clock, flags, task.credentials));
  const bool wakes_the_machine = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
  if (wakes_the_machine && !task.credentials->capable(CAP_WAKE_ALARM)) return Errno(EPERM);
  return task.install_fd(file, (flags & TFD_CLOEXEC) != 0);
}

namespace {

Result<std::shared_ptr<TimerFile>> timer_at(Task& task, FdNumber fd) {
  auto timer = std::dynamic_pointer_cast<TimerFile>(TRY(task.fds().get_io(fd.value)));
  if (timer == nullptr) return Errno(EINVAL);
  return timer;
}

Result<Nanoseconds> to_nanoseconds(const timespec& time) {
  constexpr Nanoseconds kForever = std::numeric_limits<Nanoseconds>::max();
  if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
  if (time.tv_sec >= kForever / kSecond) return kForever;
  return time.tv_sec * kSecond + time.tv_nsec;
}

itimerspec to_guest(const TimerFile::Setting& setting) {
  return {to_timespec(setting.interval), to_timespec(setting.value)};
}

}  // namespace

Result<> sys_timerfd_settime(Task& task, FdNumber fd, Flags<kTimerSetNames> flags,
                             GuestPtr<const itimerspec> place, GuestPtr<itimerspec> before_place) {
  const itimerspec request = TRY(task.memory().read(place));
  if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) != 0) return Errno(EINVAL);
  const TimerFile::Setting setting{TRY(to_nanoseconds(request.it_interval)),
                                   TRY(to_nanoseconds(request.it_value))};
  const TimerFile::Setting before = TRY(timer_at(task, fd))->set(flags, setting);
  if (!before_place) return {};
  return task.memory().write(before_place, to_guest(before));
}

Result<> sys_timerfd_gettime(Task& task, FdNumber fd, GuestPtr<itimerspec> place) {
  return task.memory().write(place, to_guest(TRY(timer_at(task, fd))->get()));
}

// signalfd(2) -------------------------------------------------------------------------------------

Result<int> sys_signalfd4(Task& task, FdNumber fd, InSignalSet signals, size_t size,
                          Flags<kSignalfdNames> flags) {
  if (size != sizeof(uint64_t)) return Errno(EINVAL);
  const kernel::SignalSet wanted(TRY(task.memory().read(signals)));
  if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) != 0) return Errno(EINVAL);
  if (fd.value == -1)
    return task.install_fd(fs::signalfd::make_signalfd(wanted, flags, task.credentials),
                           (flags & SFD_CLOEXEC) != 0);
  const auto file = std::dynamic_pointer_cast<SignalFile>(TRY(task.fds().get_io(fd.value)));
  if (file == nullptr) return Errno(EINVAL);
  file->set_signals(wanted);
  return fd.value;
}

Result<int> sys_signalfd(Task& task, FdNumber fd, InSignalSet signals, size_t size) {
  return sys_signalfd4(task, fd, signals, size, {0});
}

// inotify(7) --------------------------------------------------------------------------------------

namespace {

Result<std::shared_ptr<InotifyFile>> inotify_at(Task& task, FdNumber fd) {
  auto file = std::dynamic_pointer_cast<InotifyFile>(TRY(task.fds().get_io(fd.value)));
  if (file == nullptr) return Errno(EINVAL);
  return file;
}

}  // namespace

Result<int> sys_inotify_init1(Task& task, int flags) {
  if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) != 0) return Errno(EINVAL);
  return task.install_fd(TRY(fs::inotify::make_inotify(flags, task.credentials)), (flags & IN_CLOEXEC) != 0);
}

Result<int> sys_inotify_init(Task& task) { return sys_inotify_init1(task, 0); }

Result<int> sys_inotify_add_watch(Task& task, FdNumber fd, GuestPath path, uint32_t mask) {
  constexpr uint32_t kKnown = IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR |
                              IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ISDIR |
                              IN_ONESHOT;
  if ((mask & kKnown) == 0 || (mask & ~kKnown) != 0) return Errno(EINVAL);
  const auto file = TRY(inotify_at(task, fd));
  const vfs::Path place = TRY(find_place(task, AT_FDCWD, path, 0, (mask & IN_DONT_FOLLOW) == 0));
  const vfs::InodeRef inode = place.dentry->inode();
  if ((mask & IN_ONLYDIR) != 0 && !inode->is_directory()) return Errno(ENOTDIR);
  TRY(inode->permission(*task.credentials, R_OK));
  return file->add(place, mask);
}

Result<> sys_inotify_rm_watch(Task& task, FdNumber fd, int descriptor) {
  return TRY(inotify_at(task, fd))->remove(descriptor);
}

// pidfd_open(2) -----------------------------------------------------------------------------------

namespace {

Result<std::shared_ptr<PidFile>> pidfd_at(Task& task, FdNumber fd) {
  auto file = std::dynamic_pointer_cast<PidFile>(TRY(task.fds().get_io(fd.value)));
  if (file == nullptr) return Errno(EBADF);
  return file;
}

// pidfd_send_signal(2) takes a directory of /proc too.
Result<std::shared_ptr<kernel::ThreadGroup>> signalled_process(Task& task, FdNumber fd) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  if (const auto* pidfd = dynamic_cast<const PidFile*>(file.get())) return pidfd->group();
  return fs::proc::process_of_directory(*file->inode());
}

}  // namespace

Result<int> sys_pidfd_open(Task& task, pid_t pid, unsigned flags) {
  if ((flags & ~unsigned{O_NONBLOCK}) != 0 || pid <= 0) return Errno(EINVAL);
  kernel::ThreadGroup* group = task.kernel.find_group(pid);
  if (group == nullptr) return Errno(task.kernel.find_task(pid) != nullptr ? EINVAL : ESRCH);
  return task.install_fd(fs::pidfd::make_pidfd(*group, static_cast<int>(flags), task.credentials), true);
}

Result<> sys_pidfd_send_signal(Task& task, FdNumber fd, SignalNumber signo, GuestPtr<const siginfo_t> place,
                               unsigned flags) {
  if (flags != 0) return Errno(EINVAL);
  const auto group = TRY(signalled_process(task, fd));
  const auto reaped = [&] { return task.kernel.find_group(group->id) != group.get(); };
  if (reaped()) return Errno(ESRCH);
  const pid_t pid = group->id;
  if (!place) return kernel::kill(task, pid, signo);
  siginfo_t info = TRY(task.memory().read(place));
  if (reaped()) return Errno(ESRCH);  // meanwhile; the number may be another's
  if (info.si_signo != signo) return Errno(EINVAL);
  // Only to itself may a process pretend that a signal comes from the kernel or from kill(2).
  if ((info.si_code >= 0 || info.si_code == SI_TKILL) && group != task.group) return Errno(EPERM);
  return kernel::kill(task, pid, signo, &info);
}

Result<int> sys_pidfd_getfd(Task& task, FdNumber fd, FdNumber target_fd, unsigned flags) {
  if (flags != 0) return Errno(EINVAL);
  const auto file = TRY(pidfd_at(task, fd));
  const Task* target = file->group()->any_task();
  if (file->reaped() || target == nullptr || target->fd_table == nullptr || target->memory_map == nullptr)
    return Errno(ESRCH);
  if (!kernel::may_attach(task, *target)) return Errno(EPERM);
  const vfs::FileRef found = TRY(target->fd_table->get(target_fd.value));
  return task.install_fd(found, true);
}

}  // namespace sentry::syscalls
