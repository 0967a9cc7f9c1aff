#include "sentry/kernel/script.h"

#include <string_view>

namespace sentry::kernel {
namespace {

constexpr size_t kScriptLine = 256;  // BINPRM_BUF_SIZE

}  // namespace

Result<std::optional<Script>> read_script(vfs::File& file) {
  char line[kScriptLine + 1]{};
  mm::BufferSink sink(line, kScriptLine);
  vfs::File::IoOptions options;
  options.offset = 0;
  const size_t count = TRY(file.read(sink, options));
  if (count < 2 || line[0] != '#' || line[1] != '!') return std::optional<Script>{};
  std::string_view text(line + 2, count - 2);
  const size_t newline = text.find('\n');
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  if (newline != std::string_view::npos) {
    text = text.substr(0, newline);
  } else if (count == kScriptLine) {
    // A line that is cut off: fine as long as the interpreter's name itself is whole.
    std::string_view rest = text;
    while (!rest.empty() && is_blank(rest.front())) rest.remove_prefix(1);
    if (rest.find_first_of(" \t") == std::string_view::npos) return Errno(ENOEXEC);
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) text = text.substr(0, nul);
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  if (text.empty()) return Errno(ENOEXEC);
  const size_t blank = text.find_first_of(" \t");
  Script script;
  script.interpreter = std::string(text.substr(0, blank));
  if (blank != std::string_view::npos) {
    std::string_view argument = text.substr(blank);
    while (!argument.empty() && is_blank(argument.front())) argument.remove_prefix(1);
    if (!argument.empty()) script.argument = std::string(argument);
  }
  return std::optional<Script>(std::move(script));
}

}  // namespace sentry::kernel
