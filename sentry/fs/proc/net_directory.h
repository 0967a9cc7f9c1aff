// /proc/net, which is /proc/PID/net: one network for all processes of the sandbox.
#pragma once

#include "sentry/fs/pseudo/node.h"

namespace sentry::fs::proc {

std::shared_ptr<pseudo::Node> make_net_directory(pseudo::Superblock& superblock);

}  // namespace sentry::fs::proc
