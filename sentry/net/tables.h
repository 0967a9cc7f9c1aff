// The sockets there are, as /proc/net shows them: proc(5), proc_net(5).
#pragma once

#include <span>
#include <string>

namespace sentry::net {

struct Table {
  const char* name;  // of the file in /proc/net
  std::string (*text)();
};
std::span<const Table> tables();

}  // namespace sentry::net
