#include "sentry/kernel/sysctl.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace sentry::kernel {
namespace {

// strtoul(3)'s numbers, as /proc/sys takes them: decimal, 0octal or 0xhexadecimal.
std::optional<uint64_t> parse_number(std::string_view text) {
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    base = text[1] == 'x' || text[1] == 'X' ? 16 : 8;
    text.remove_prefix(base == 16 ? 2 : 1);
  }
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace

Sysctl::Sysctl(Sysctls& all, std::string_view path, std::initializer_list<uint64_t> initial, uint64_t least,
               uint64_t most, Check check)
    : path_(path), count_(initial.size()), least_(least), most_(most), check_(check) {
  std::copy(initial.begin(), initial.end(), values_.begin());
  all.all_.push_back(this);
}

Sysctl::Sysctl(Sysctls& all, const boot::RedundantSysctl& redundant)
    : path_(redundant.path), count_(redundant.count), least_(redundant.least), most_(redundant.most) {
  std::copy(redundant.initial.begin(), redundant.initial.end(), values_.begin());
  all.all_.push_back(this);
}

std::string Sysctl::text() const {
  std::string text;
  for (size_t i = 0; i < count_; ++i) text += fmt::format("{}{}", i == 0 ? "" : "\t", values_[i]);
  return text;
}

bool Sysctl::set(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n";
  Values values{};
  size_t count = 0;
  for (size_t start = 0; (start = text.find_first_not_of(kSpace, start)) != text.npos; ++count) {
    const size_t end = std::min(text.find_first_of(kSpace, start), text.size());
    const std::optional<uint64_t> number = parse_number(text.substr(start, end - start));
    if (!number || *number < least_ || *number > most_ || count == count_) return false;
    values[count] = *number;
    start = end;
  }
  if (count != count_ || (check_ != nullptr && !check_(values))) return false;
  values_ = values;
  return true;
}

std::string Sysctl::expected() const {
  std::string text = count_ == 1
                         ? fmt::format("expected a whole number from {} to {}", least_, most_)
                         : fmt::format("expected {} whole numbers from {} to {}", count_, least_, most_);
  if (check_ != nullptr) text += ", as sysctl(8) takes them";
  return text;
}

// Linux's bounds, and for the operations of a call and the semaphores of a set what memory is taken for.
bool Sysctls::fits_semaphores(const Sysctl::Values& values) {
  constexpr uint64_t kMostInSet = 65'536, kMostOperations = 65'536, kMostSets = 32'768;
  return values[0] <= kMostInSet && values[2] <= kMostOperations && values[3] <= kMostSets;
}

Sysctls::Sysctls() {
  for (const boot::RedundantSysctl& each : boot::kRedundantSysctls) redundant_.emplace_back(*this, each);
}

Sysctls& Sysctls::current() {
  static Sysctls sysctls;
  return sysctls;
}

Sysctl* Sysctls::find(std::string_view path) const {
  const auto found =
      std::find_if(all_.begin(), all_.end(), [&](const Sysctl* each) { return each->path() == path; });
  return found == all_.end() ? nullptr : *found;
}

}  // namespace sentry::kernel
