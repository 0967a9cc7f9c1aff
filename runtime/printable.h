// What others say, on its way into a message: programs in a sandbox and hooks may say anything.
#pragma once

#include <string>
#include <string_view>

namespace runtime {

// The text as part of one line that a terminal and a log can take: white space becomes spaces, other control
// characters and what is not UTF-8 become question marks.
std::string printable(std::string_view text);

}  // namespace runtime
