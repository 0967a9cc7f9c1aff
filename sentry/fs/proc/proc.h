// The proc file system, proc(5): the sandbox's processes and the facts of its kernel, worked out when they
// are read.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/inode.h"

namespace sentry::fs::proc {

// The whole of /proc. The kernel must outlive it.
std::shared_ptr<vfs::Superblock> make_proc(kernel::Kernel& kernel);

// The network's files, /proc/net/NAME: filled in by net/ when it is there. `generator` makes the text at each
// read from the beginning; a second registration of a name replaces the first. Names nobody registers have
// the header that an empty network shows.
void register_net_file(std::string_view name, std::function<std::string()> generator);

}  // namespace sentry::fs::proc
