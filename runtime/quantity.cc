#include "runtime/quantity.h"

#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

namespace runtime {
namespace {

// from_chars takes what it can; an amount must be all of the text.
template <typename T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Outcome<uint64_t> parse_size(const char* option, const std::string& text) {
  const Failure wrong = failure(
      "{}: \"{}\" is not a size: give bytes, or a number with K, M, G or T, as in 256M", option, text);
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::optional<uint64_t> number = whole_number<uint64_t>(std::string_view(text).substr(0, digits));
  if (!number) return wrong;
  std::string_view unit = std::string_view(text).substr(digits);
  unsigned shift = 0;
  if (!unit.empty()) {
    constexpr std::string_view kUnits = "BKMGT";
    const size_t power = kUnits.find(static_cast<char>(unit[0] & ~0x20));
    if (power == kUnits.npos) return wrong;
    unit.remove_prefix(1);
    if (power == 0 ? !unit.empty()
                   : !(unit.empty() || unit == "i" || unit == "iB" || unit == "B" || unit == "b"))
      return wrong;
    shift = static_cast<unsigned>(power) * 10;
  }
  if (*number == 0 || *number > std::numeric_limits<uint64_t>::max() >> (shift + 1)) return wrong;
  return *number << shift;
}

Outcome<std::chrono::milliseconds> parse_seconds(const char* option, const std::string& text) {
  constexpr double kYear = 366.0 * 24 * 60 * 60;
  const std::optional<double> seconds = whole_number<double>(text);
  if (!seconds || !(*seconds >= 0.001 && *seconds <= kYear))
    return failure("{}: \"{}\" is not a time: give seconds, as in 90 or 0.5", option, text);
  return std::chrono::milliseconds(static_cast<int64_t>(*seconds * 1000));
}

Outcome<uint32_t> parse_count(const char* option, const std::string& text) {
  const std::optional<uint32_t> count = whole_number<uint32_t>(text);
  if (!count || *count == 0)
    return failure("{}: \"{}\" is not a count: give a number of at least 1", option, text);
  return *count;
}

Outcome<double> parse_cpus(const char* option, const std::string& text) {
  constexpr double kMost = 100'000;
  const std::optional<double> cpus = whole_number<double>(text);
  if (!cpus || !(*cpus >= 0.01 && *cpus <= kMost))
    return failure("{}: \"{}\" is not an amount of processor time: give a number such as 0.5 or 2", option,
                   text);
  return *cpus;
}

}  // namespace runtime
