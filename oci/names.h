// Linux's names of capabilities and resource limits, as OCI documents spell them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace oci {

// "CAP_CHOWN": its number in capabilities(7).
std::optional<unsigned> capability_number(std::string_view name);

// "RLIMIT_NOFILE": its number in getrlimit(2).
std::optional<int> rlimit_number(std::string_view name);

// Of every capability, in order of their numbers.
std::vector<std::string> capability_names();

}  // namespace oci
