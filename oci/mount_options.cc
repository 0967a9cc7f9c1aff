#include "oci/mount_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>

#include "sentry/base/result.h"

namespace oci {
namespace {

struct Flag {
  std::string_view name;
  bool MountOptions::*field;
  bool value;
};

constexpr auto kFlags = std::to_array<Flag>({
    {"ro", &MountOptions::read_only, true},
    {"rw", &MountOptions::read_only, false},
    {"nosuid", &MountOptions::nosuid, true},
    {"suid", &MountOptions::nosuid, false},
    {"nodev", &MountOptions::nodev, true},
    {"dev", &MountOptions::nodev, false},
    {"noexec", &MountOptions::noexec, true},
    {"exec", &MountOptions::noexec, false},
    {"noatime", &MountOptions::noatime, true},
    {"atime", &MountOptions::noatime, false},
    {"nodiratime", &MountOptions::nodiratime, true},
    {"diratime", &MountOptions::nodiratime, false},
    {"relatime", &MountOptions::relatime, true},
    {"norelatime", &MountOptions::relatime, false},
    {"strictatime", &MountOptions::strictatime, true},
    {"nostrictatime", &MountOptions::strictatime, false},
    {"nosymfollow", &MountOptions::nosymfollow, true},
    {"symfollow", &MountOptions::nosymfollow, false},
    {"bind", &MountOptions::bind, true},
    {"tmpcopyup", &MountOptions::copy_up, true},
    // Every option of a bind mount goes for what is mounted below, too.
    {"rro", &MountOptions::read_only, true},
    {"rnosuid", &MountOptions::nosuid, true},
    {"rnodev", &MountOptions::nodev, true},
    {"rnoexec", &MountOptions::noexec, true},
    {"rnoatime", &MountOptions::noatime, true},
    {"rnodiratime", &MountOptions::nodiratime, true},
    {"rrelatime", &MountOptions::relatime, true},
    {"rnosymfollow", &MountOptions::nosymfollow, true},
});

// Options without a meaning in a sandbox whose mounts nobody else sees, and of a kernel that is always this
// strict. (sync and dirsync are a file system's: neither a bind mount nor memory has them, on Linux either.)
constexpr auto kWithoutEffect = std::to_array<std::string_view>(
    {"defaults", "private", "rprivate", "slave", "rslave", "unbindable", "runbindable", "async", "sync",
     "dirsync", "silent", "loud", "nomand", "norelatime", "newinstance", "ptmxmode=0666", "ptmxmode=666",
     "noswap", "huge=never"});

template <typename T>
std::optional<T> number(std::string_view text, int base, T most = std::numeric_limits<T>::max()) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

// tmpfs(5): a number, or with k, m, g.
std::optional<uint64_t> tmpfs_number(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      default:
        break;
    }
  }
  if (shift != 0) text.remove_suffix(1);
  const std::optional<uint64_t> value =
      number<uint64_t>(text, 10, std::numeric_limits<uint64_t>::max() >> shift);
  return value ? std::optional(*value << shift) : std::nullopt;
}

// "name=value" options. False if the name is not one of them.
Checked<bool> take_value(MountOptions& out, std::string_view option, const std::string& path) {
  const size_t equals = option.find('=');
  if (equals == option.npos) return false;
  const std::string_view name = option.substr(0, equals), value = option.substr(equals + 1);
  bool good = true;
  constexpr uint32_t kModeBits = 07777;
  constexpr uint32_t kMostPercent = 100;
  if (name == "size" && value.ends_with('%'))
    good = (out.size_percent = number<uint32_t>(value.substr(0, value.size() - 1), 10, kMostPercent))
               .has_value();
  else if (name == "size")
    good = (out.size_bytes = tmpfs_number(value)).has_value();
  else if (name == "nr_inodes")
    good = (out.max_inodes = tmpfs_number(value)).has_value();
  else if (name == "mode")
    good = (out.mode = number<uint32_t>(value, 8, kModeBits)).has_value();
  else if (name == "uid")
    good = (out.uid = number<uint32_t>(value, 10)).has_value();
  else if (name == "gid")
    good = (out.gid = number<uint32_t>(value, 10)).has_value();
  else
    return false;
  if (!good) return Error{path, "the value in \"" + std::string(option) + "\" cannot be read"};
  return true;
}

}  // namespace

Checked<MountOptions> parse_mount_options(const std::vector<std::string>& options, const std::string& path) {
  MountOptions out;
  for (const std::string& option : options) {
    const auto flag =
        std::find_if(kFlags.begin(), kFlags.end(), [&](const Flag& each) { return each.name == option; });
    if (flag != kFlags.end()) {
      out.*flag->field = flag->value;
    } else if (option == "rbind") {
      out.bind = out.recursive = true;
    } else if (!TRY(take_value(out, option, path)) &&
               std::find(kWithoutEffect.begin(), kWithoutEffect.end(), option) == kWithoutEffect.end()) {
      out.unknown.push_back(option);
    }
  }
  return out;
}

std::vector<std::string> mount_option_names() {
  std::vector<std::string> names = {"rbind", "size", "nr_inodes", "mode", "uid", "gid"};
  for (const Flag& flag : kFlags) names.emplace_back(flag.name);
  for (const std::string_view name : kWithoutEffect) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace oci
