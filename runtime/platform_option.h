// --platform, which several verbs have.
#pragma once

#include <string>

#include "runtime/manual.h"

namespace runtime {

// A name that the sentry does not know is refused when the arguments are parsed.
void add_platform_option(CLI::App& parser, std::string& platform, const char* description);

}  // namespace runtime
