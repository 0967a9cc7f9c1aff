// File systems that mount(2) can make by name, filled in at start like the devices of special.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/base/result.h"
#include "sentry/vfs/inode.h"

namespace sentry::vfs {

// `data` is mount(2)'s last argument, "size=64k,mode=755". EINVAL for options it does not know.
using FilesystemMaker = std::function<Result<std::shared_ptr<Superblock>>(std::string_view data)>;

void register_filesystem(std::string name, FilesystemMaker maker);
// ENODEV for an unknown name.
Result<std::shared_ptr<Superblock>> make_filesystem(std::string_view name, std::string_view data);
// For /proc/filesystems.
std::vector<std::string> filesystem_names();

}  // namespace sentry::vfs
