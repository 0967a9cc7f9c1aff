// Arguments as strace(1) prints them.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "sentry/syscalls/handler.h"

namespace sentry::syscalls::detail {
namespace {

constexpr size_t kLongest = 64;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f)
          out += fmt::format("\\{:o}", static_cast<unsigned char>(c));
        else
          out += c;
    }
  }
  return out + "\"";
}

}  // namespace

std::string print_integer(int64_t value) { return fmt::format("{}", value); }

std::string print_unsigned(uint64_t value) {
  return value >= 0x1000000 ? fmt::format("{:#x}", value) : fmt::format("{}", value);
}

std::string print_address(uint64_t value) { return value == 0 ? "NULL" : fmt::format("{:#x}", value); }

std::string print_fd(int fd) { return fd == AT_FDCWD ? "AT_FDCWD" : fmt::format("{}", fd); }

std::string print_path(Task& task, uint64_t address) {
  if (address == 0) return "NULL";
  const Result<std::string> text = task.memory().read_string(address, 4097);
  return text.ok() ? quoted(*text) : print_address(address);
}

std::string print_string(Task& task, uint64_t address) {
  if (address == 0) return "NULL";
  const Result<std::string> text = task.memory().read_string(address, kLongest);
  return text.ok() ? quoted(*text) : print_address(address);
}

std::string print_data(Task& task, uint64_t address, uint64_t size) {
  if (address == 0) return "NULL";
  constexpr size_t kShown = 32;  // strace's default
  char bytes[kShown];
  const auto count = static_cast<size_t>(std::min<uint64_t>(size, kShown));
  const Result<size_t> got = task.memory().read_some(address, bytes, count);
  if (!got.ok()) return print_address(address);
  return quoted({bytes, *got}) + (size > *got ? "..." : "");
}

std::string print_flags(uint64_t value, const FlagName* names) {
  for (const FlagName* name = names; name->name != nullptr; ++name)
    if (name->bits == value) return name->name;
  std::string text;
  uint64_t rest = value;
  for (const FlagName* name = names; name->name != nullptr; ++name) {
    if (name->field == 0 || (value & name->field) != name->bits) continue;
    text = name->name;
    rest &= ~name->field;
  }
  for (const FlagName* name = names; name->name != nullptr; ++name) {
    if (name->field != 0 || name->bits == 0 || (rest & name->bits) != name->bits) continue;
    if (!text.empty()) text += '|';
    text += name->name;
    rest &= ~name->bits;
  }
  if (rest != 0 || text.empty()) text += fmt::format("{}{:#x}", text.empty() ? "" : "|", rest);
  return text;
}

}  // namespace sentry::syscalls::detail
