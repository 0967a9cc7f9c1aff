// What the sentry may do on its host once it runs guest code.
#pragma once

#include <string_view>

#include "sentry/base/surface.h"

namespace sentry::init {

Surface sentry_surface(std::string_view platform);

}  // namespace sentry::init
