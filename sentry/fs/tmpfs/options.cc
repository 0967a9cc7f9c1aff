// tmpfs(5): mount options.
#include <charconv>

#include "sentry/fs/tmpfs/tmpfs.h"

namespace sentry::fs::tmpfs {
namespace {

// A number with k, m or g behind it (memparse). Percentages are of a machine's memory, which a guest does not
// own.
Result<uint64_t> parse_size(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return Errno(EINVAL);
  unsigned shift = 0;
  const std::string_view suffix(end, static_cast<size_t>(text.data() + text.size() - end));
  if (suffix == "k" || suffix == "K")
    shift = 10;
  else if (suffix == "m" || suffix == "M")
    shift = 20;
  else if (suffix == "g" || suffix == "G")
    shift = 30;
  else if (!suffix.empty())
    return Errno(EINVAL);
  if (shift != 0 && value >> (64 - shift) != 0) return Errno(EINVAL);
  return value << shift;
}

Result<uint32_t> parse_number(std::string_view text, int base) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return Errno(EINVAL);
  return value;
}

}  // namespace

Result<Options> parse_options(std::string_view data, const Options& defaults) {
  Options options = defaults;
  while (!data.empty()) {
    const size_t comma = data.find(',');
    const std::string_view item = data.substr(0, comma);
    data.remove_prefix(comma == std::string_view::npos ? data.size() : comma + 1);
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1);
    if (name == "size") {
      options.size_bytes = TRY(parse_size(value));
    } else if (name == "nr_blocks") {
      const uint64_t blocks = TRY(parse_size(value));
      if (blocks > ~uint64_t{0} / Quota::kPage) return Errno(EINVAL);
      options.size_bytes = blocks * Quota::kPage;
    } else if (name == "nr_inodes") {
      options.max_inodes = TRY(parse_size(value));
    } else if (name == "mode") {
      options.mode = TRY(parse_number(value, 8)) & 07777;
    } else if (name == "uid") {
      options.uid = TRY(parse_number(value, 10));
    } else if (name == "gid") {
      options.gid = TRY(parse_number(value, 10));
    } else if (name != "huge" && name != "noswap" && name != "inode32" && name != "inode64") {
      return Errno(EINVAL);
    }
  }
  return options;
}

}  // namespace sentry::fs::tmpfs
