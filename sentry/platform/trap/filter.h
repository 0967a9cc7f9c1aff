// The seccomp filter of stubs. Unlike the other programs' it looks at where a call comes from, which
// libseccomp's filters cannot; what it admits is nevertheless the list that `bulkhead surface` prints.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "sentry/base/surface.h"

namespace sentry::platform::trap {

// Calls that the shim may issue at once.
std::vector<HostCall> direct_calls();
// Calls that wait for the sentry's consent, register by register (SECCOMP_RET_USER_NOTIF).
std::vector<HostCall> consented_calls();

// The program for seccomp(2): the above from the shim's text, a SIGSYS for everything else.
std::vector<sock_filter> filter_program();

}  // namespace sentry::platform::trap
