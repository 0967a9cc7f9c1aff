// Namespaces by their paths, namespaces(7): /proc/PID/ns/net, and what it was bound to.
#pragma once

#include <string>

#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

// A network namespace for setns(2). A path to anything else is refused, and never waited for (a pipe's
// writer, a device).
Outcome<sentry::Fd> open_network_namespace(const std::string& path);

}  // namespace runtime
