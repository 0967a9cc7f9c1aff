// The stub process of the trap platform: guest code, and the shim that takes its calls to the sentry.
//
// The first one, the zygote, is forked from the sentry before the sentry enters its surface. It never runs
// guest code: pristine stubs are its clones, a guest's fork is a clone of the guest's stub.
#pragma once

#include <sys/types.h>

#include <span>

#include "sentry/platform/platform.h"
#include "sentry/platform/trap/area.h"

namespace sentry::platform::trap {

// What the zygote is made with; the descriptors stay the caller's. Its descriptor table is the sentry's own:
// no call that takes a descriptor is within reach of guest code, and mappings name the sentry's descriptors
// in registers that the sentry compares.
struct ZygoteSpec {
  int areas;      // the memfd of the areas; the zygote's is the first
  int notice;     // the page of kNoticePage, and what is known of attributes
  Area* area;     // the zygote's, as the sentry sees it
  uint64_t vdso;  // where the host has put the vDSO; 0 for none
};
struct Zygote {
  pid_t pid;
  int listener;  // seccomp_unotify(2), of the zygote and everything cloned from it
};
Zygote start_zygote(const ZygoteSpec& spec);

// The shim's image; it begins with its header.
std::span<const std::byte> shim_image();
const ShimHeader& shim_header();

// What a stub may do on the host.
Surface surface();

}  // namespace sentry::platform::trap
