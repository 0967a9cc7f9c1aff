// Having a stopped tracee issue one host call.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>

#include "sentry/base/result.h"
#include "sentry/platform/platform.h"

namespace sentry::platform::ptrace {

using CallArguments = std::array<uint64_t, 6>;

// Issues a host call in the stopped thread `tid` and leaves it stopped; its registers are lost. The call's
// Errno; ESRCH if the thread died. Waits for the call, so only for calls that end soon.
Result<uint64_t> inject(pid_t tid, long number, const CallArguments& arguments);

// The same for clone(2): also answers the new thread's host tid, stopped.
struct Cloned {
  pid_t tid;
};
Result<Cloned> inject_clone(pid_t tid, uint64_t flags);

void get_registers(pid_t tid, Registers& registers);
// False if the thread has died.
bool set_registers(pid_t tid, const Registers& registers);

}  // namespace sentry::platform::ptrace
