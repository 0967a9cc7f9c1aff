#include "sentry/kernel/container.h"

namespace sentry::kernel {
namespace {

bool fits(const boot::DeviceRule& rule, char type, unsigned major, unsigned minor) {
  return (rule.type == 'a' || rule.type == type) && (rule.major < 0 || rule.major == int64_t{major}) &&
         (rule.minor < 0 || rule.minor == int64_t{minor});
}

}  // namespace

bool Container::may_use_device(char type, unsigned major, unsigned minor, unsigned access) const {
  if (device_rules.empty()) return true;
  unsigned allowed = 0;
  for (const boot::DeviceRule& rule : device_rules) {
    if (!fits(rule, type, major, minor)) continue;
    allowed = rule.allow ? allowed | rule.access : allowed & ~rule.access;
  }
  return (access & ~allowed) == 0;
}

}  // namespace sentry::kernel
