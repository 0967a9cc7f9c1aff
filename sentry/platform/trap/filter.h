// The seccomp filter of stubs. Unlike the other programs' it looks at where a call comes from, which
// libseccomp's filters cannot; what it admits is nevertheless the list that `bulkhead surface` prints.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>

#include <vector>

#include "sentry/base/surface.h"
#include "sentry/platform/trap/area.h"

namespace sentry::platform::trap {

// Longer mappings than this wait for consent, whatever they are: no other can reach the platform's own pages,
// above the guest's range.
inline constexpr uint64_t kLargestDirect = kShimText - kGuestEnd;
// Whether direct_calls() has this host call.
bool is_direct(const Operation& operation);

// Calls that the shim may issue at once.
std::vector<HostCall> direct_calls();
// Calls that wait for the sentry's consent, register by register (SECCOMP_RET_USER_NOTIF).
std::vector<HostCall> consented_calls();

// SECCOMP_IOCTL_NOTIF_SET_FLAGS and SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP of seccomp_unotify(2), Linux 6.6: a
// notification wakes the supervisor on the notifier's processor, and an answer wakes the notifier on the
// supervisor's.
inline constexpr unsigned long kNotifySetFlags = SECCOMP_IOW(4, uint64_t);
inline constexpr unsigned long kNotifySyncWakeUp = 1;

// The program for seccomp(2): the above from the shim's text, a SIGSYS for everything else.
std::vector<sock_filter> filter_program();

}  // namespace sentry::platform::trap
