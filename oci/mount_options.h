// The options of a mount as config.md, "Linux mount options", and mount(8) have them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "oci/config.h"

namespace oci {

struct MountOptions {
  bool read_only = false, nosuid = false, nodev = false, noexec = false;
  bool noatime = false, nodiratime = false, relatime = false, strictatime = false;
  bool nosymfollow = false;
  bool bind = false, recursive = false;
  bool copy_up = false;  // tmpcopyup, of runc: a tmpfs that starts with what it covers
  // tmpfs(5)
  std::optional<uint64_t> size_bytes, max_inodes;
  std::optional<uint32_t> size_percent;  // of the guest's memory
  std::optional<uint32_t> mode, uid, gid;
  std::vector<std::string> unknown;  // neither known nor harmless to leave out
};

// The last of contradictory options wins, as with mount(8). `path` is the mount's, for errors in values
// ("size=x").
Checked<MountOptions> parse_mount_options(const std::vector<std::string>& options, const std::string& path);

// Every option's name, in order: "size" for "size=64k".
std::vector<std::string> mount_option_names();

}  // namespace oci
