#include "sentry/net/stack.h"

#include "sentry/net/unix_socket.h"

namespace sentry::net {

Stack& Stack::current() {
  // Outlives every socket: descriptors may close while the process ends.
  static Stack& stack = *new Stack;
  return stack;
}

bool Stack::claim_abstract(int type, const std::string& name, const std::shared_ptr<UnixEndpoint>& endpoint) {
  return abstract_.emplace(std::pair(type, name), endpoint).second;
}

std::shared_ptr<UnixEndpoint> Stack::find_abstract(int type, const std::string& name) const {
  const auto found = abstract_.find({type, name});
  return found != abstract_.end() ? found->second.lock() : nullptr;
}

void Stack::release_abstract(int type, const std::string& name, const UnixEndpoint& holder) {
  const auto found = abstract_.find({type, name});
  if (found != abstract_.end() && found->second.lock().get() == &holder) abstract_.erase(found);
}

}  // namespace sentry::net
