// What is the same about stubs on every platform that has them: how they are made, and what the host accounts
// to them.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <csignal>
#include <cstdint>

#include "sentry/base/time.h"

namespace sentry::platform {

// clone(2) of a stub: the sentry's own child with the sentry's descriptors and empty root, which need no
// copying; and of one more thread in it.
inline constexpr uint64_t kForkFlags = CLONE_FS | CLONE_FILES | CLONE_PARENT | SIGCHLD;
inline constexpr uint64_t kThreadFlags =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

// End of user addresses with four-level paging (and of what the host maps unasked with five).
inline constexpr uint64_t kUserEnd = 0x7fff'ffff'f000;

// Forks the first stub from the sentry, before that enters its surface: 0 in the child, where
// forget_the_sentry() comes next. Says why and exits if the host has no more processes for this user.
pid_t fork_stub();
// In that child: dies with `sentry`, takes no signal in its way, and leaves nothing that the host would write
// to. False: the sentry has gone already.
bool forget_the_sentry(pid_t sentry);

// Ends the sentry with a line about what the host lacks: no fault of ours.
[[noreturn]] void refuse(const char* why);

// SIGCHLD says that a stub has ended. It is blocked except while the event loop sleeps: the mask for then.
sigset_t hear_of_stubs();
// Whether it has come since this was asked last.
bool heard_of_stubs();

// CPU time of all threads that a process has had.
Nanoseconds process_cpu_time(pid_t process);
// CPU time of one of a process's `threads`. The host lets nobody read the clock of another process's thread,
// only that of the process: its threads are taken to have had equal shares.
Nanoseconds share_of_cpu_time(pid_t process, size_t threads);

}  // namespace sentry::platform
