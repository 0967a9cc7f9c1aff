#pragma once

#include <cstddef>
#include <string_view>

namespace sentry {

// The length of the well-formed UTF-8 sequence (RFC 3629) that `text`, which is not empty, starts with; 0 if
// there is none.
size_t utf8_length(std::string_view text);

}  // namespace sentry
