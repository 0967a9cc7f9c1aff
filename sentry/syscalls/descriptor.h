// The handlers of descriptor_calls(), by file.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>

#include "sentry/syscalls/handler.h"
#include "sentry/syscalls/names.h"

namespace sentry::syscalls {

// poll.cc
Result<int> sys_poll(Task& task, PollSet fds, unsigned count, int timeout_ms);
Result<int> sys_ppoll(Task& task, PollSet fds, unsigned count, Updated<timespec> timeout, InSignalSet mask,
                      size_t mask_size);
Result<int> sys_select(Task& task, int count, FdSet in, FdSet out, FdSet except, Updated<timeval> timeout);
Result<int> sys_pselect6(Task& task, int count, FdSet in, FdSet out, FdSet except, Updated<timespec> timeout,
                         GuestPtr<const uint64_t> mask);
Result<int> sys_epoll_create(Task& task, int size);
Result<int> sys_epoll_create1(Task& task, Flags<kEpollCreateNames> flags);
Result<> sys_epoll_ctl(Task& task, FdNumber epoll, Choice<kEpollOperationNames> operation, FdNumber fd,
                       GuestPtr<const epoll_event> event);
Result<int> sys_epoll_wait(Task& task, FdNumber epoll, OutEvents events, int limit, int timeout_ms);
Result<int> sys_epoll_pwait(Task& task, FdNumber epoll, OutEvents events, int limit, int timeout_ms,
                            InSignalSet mask, size_t mask_size);
Result<int> sys_epoll_pwait2(Task& task, FdNumber epoll, OutEvents events, int limit,
                             GuestPtr<const timespec> timeout, InSignalSet mask, size_t mask_size);

// event.cc
Result<int> sys_eventfd(Task& task, unsigned initial);
Result<int> sys_eventfd2(Task& task, unsigned initial, Flags<kEventfdNames> flags);
Result<int> sys_timerfd_create(Task& task, Choice<kClockNames> clock, Flags<kTimerfdNames> flags);
Result<> sys_timerfd_settime(Task& task, FdNumber fd, Flags<kTimerSetNames> flags,
                             GuestPtr<const itimerspec> setting, GuestPtr<itimerspec> before);
Result<> sys_timerfd_gettime(Task& task, FdNumber fd, GuestPtr<itimerspec> setting);
Result<int> sys_signalfd(Task& task, FdNumber fd, InSignalSet signals, size_t size);
Result<int> sys_signalfd4(Task& task, FdNumber fd, InSignalSet signals, size_t size,
                          Flags<kSignalfdNames> flags);
Result<int> sys_pidfd_open(Task& task, pid_t pid, unsigned flags);
Result<> sys_pidfd_send_signal(Task& task, FdNumber fd, SignalNumber signo, GuestPtr<const siginfo_t> info,
                               unsigned flags);
Result<int> sys_pidfd_getfd(Task& task, FdNumber fd, FdNumber target, unsigned flags);

Result<int> sys_inotify_init(Task& task);
Result<int> sys_inotify_init1(Task& task, int flags);
Result<int> sys_inotify_add_watch(Task& task, FdNumber fd, GuestPath path, uint32_t mask);
Result<> sys_inotify_rm_watch(Task& task, FdNumber fd, int descriptor);

// splice.cc
Result<size_t> sys_splice(Task& task, FdNumber in, GuestPtr<int64_t> in_offset, FdNumber out,
                          GuestPtr<int64_t> out_offset, size_t length, unsigned flags);
Result<size_t> sys_tee(Task& task, FdNumber in, FdNumber out, size_t length, unsigned flags);
Result<size_t> sys_vmsplice(Task& task, FdNumber fd, GuestPtr<const iovec> pieces, size_t count,
                            unsigned flags);

}  // namespace sentry::syscalls
