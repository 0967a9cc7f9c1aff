#include "runtime/printable.h"

#include "sentry/base/utf8.h"

namespace runtime {
namespace {

// U+0000 to U+001F, U+007F to U+009F.
bool is_control(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  return first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const std::string_view sequence = text.substr(0, sentry::utf8_length(text));
    text.remove_prefix(sequence.empty() ? 1 : sequence.size());
    if (sequence == "\n" || sequence == "\t" || sequence == "\r")
      line += ' ';
    else if (sequence.empty() || is_control(sequence))
      line += '?';
    else
      line += sequence;
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

}  // namespace runtime
