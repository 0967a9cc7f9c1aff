// The memory devices (mem(4), random(4), null(4), full(4)) and the tree of nodes that a /dev starts with.
#pragma once

#include <memory>
#include <vector>

#include "sentry/boot/boot.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/special.h"

namespace sentry::fs::dev {

// Registers null, zero, full, random and urandom. The kernel must outlive the registry's use.
//
// Host calls: getrandom with flags 0 (the host's pool is initialised long before a sandbox starts, so that it
// does not block).
void register_memory_devices(vfs::DeviceRegistry& registry, kernel::Kernel& kernel);

// Fills an empty, writable file system (a tmpfs) with what /dev holds: null zero full random urandom tty
// ptmx, console if there is a terminal, fd stdin stdout stderr as links to /proc/self/fd, and the empty
// directories pts, shm and mqueue for the mounts that belong there. Then the operator's own devices, whose
// paths begin with /dev/ (others are skipped). Errors are the file system's.
Result<> populate(vfs::Superblock& superblock, bool console, const std::vector<boot::Device>& devices);

}  // namespace sentry::fs::dev
