#include "runtime/platform_option.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "sentry/boot/boot.h"

namespace runtime {

void add_platform_option(CLI::App& parser, std::string& platform, const char* description) {
  const auto check = [](const std::string& name) -> std::string {
    const auto& known = sentry::boot::kPlatforms;
    if (std::find(known.begin(), known.end(), name) != known.end()) return "";
    return fmt::format("there is no platform \"{}\" (known: {})", name, fmt::join(known, ", "));
  };
  parser.add_option("--platform", platform, description)->type_name("NAME")->check(CLI::Validator(check, ""));
}

}  // namespace runtime
