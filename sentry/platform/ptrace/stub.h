// The stub process of the ptrace platform: a host process that never runs code of its own after it has been
// made.
//
// The first one, the zygote, is forked from the sentry before the sentry enters its surface; all of the
// sentry's memory is then unmapped from it, so that nothing is left but one page of ours above the guest's
// range. Every other stub is a clone of the zygote (a pristine address space) or of a guest's stub (fork).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "sentry/platform/platform.h"

namespace sentry::platform::ptrace {

// The stub page: `syscall; int3`, through which the sentry has a stopped thread issue a host call.
inline constexpr uint64_t kStubPage = kGuestEnd + 0x1000'0000;
inline constexpr uint64_t kStubCall = kStubPage;        // syscall
inline constexpr uint64_t kStubReturn = kStubPage + 3;  // behind int3

// Forks the zygote and leaves it stopped in PTRACE_SEIZE, with only the stub page mapped. Its descriptor
// table is the sentry's own: a mapping order names the sentry's descriptor in a register, so there is no slot
// in guest memory that another thread of the guest could swap. Guest code cannot issue a host call
// (PTRACE_SYSEMU), and the filter below it admits none that takes a descriptor but mmap.
pid_t start_zygote();

// What a stub may do on the host, all of it injected by the sentry.
Surface surface();

}  // namespace sentry::platform::ptrace
