// The host calls that the gofer may issue once it serves.
#pragma once

#include "sentry/base/surface.h"

namespace gofer {

// Descriptors with a fixed number, so that rules can name them (jail.cc puts them there).
inline constexpr int kSocketFd = 0;
inline constexpr int kRingFd = 1;
inline constexpr int kLogFd = 2;

sentry::Surface surface();

}  // namespace gofer
