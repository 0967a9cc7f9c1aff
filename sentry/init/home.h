// Where a user is at home by the container's own passwd(5).
#pragma once

#include <string>

#include "sentry/vfs/walker.h"

namespace sentry::init {

// The directory that /etc/passwd names for `uid`; "/" where it names none. On a fiber.
std::string home_of(const vfs::FsContext& fs, uint32_t uid);

}  // namespace sentry::init
