// The CPU's time stamp counter: what is measured twice for each call must cost next to nothing. It runs at
// one rate on all processors of any x86-64 machine of today (constant_tsc, nonstop_tsc).
#pragma once

#include <x86intrin.h>

#include <cstdint>

#include "sentry/base/time.h"

namespace sentry {

inline uint64_t cycles() { return __rdtsc(); }

// By the rate at which the counter has run since the program started.
Nanoseconds to_nanoseconds(uint64_t cycles);

}  // namespace sentry
