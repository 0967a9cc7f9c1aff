// Small files of /proc and cgroups, read and written in one call each, as those want it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace runtime {

// The whole file, or nothing and errno; EFBIG if it is longer than any document is.
std::optional<std::string> read_text_file(const std::string& path);

// Writes `text` with one write(2) to an existing file; false and errno if it is not taken whole.
bool write_text_file(const std::string& path, std::string_view text);

}  // namespace runtime
