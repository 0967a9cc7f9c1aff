#include "sentry/platform/platform.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <array>

#include "sentry/platform/ptrace/ptrace_platform.h"
#include "sentry/platform/ptrace/stub.h"

namespace sentry::platform {

std::unique_ptr<Platform> make_platform(std::string_view name, EventLoop&) {
  if (name == "ptrace") return std::make_unique<ptrace::PtracePlatform>();
  return nullptr;
}

std::span<const std::string_view> platform_names() {
  static constexpr std::array<std::string_view, 1> kNames{"ptrace"};
  return kNames;
}

std::vector<HostCall> sentry_calls(std::string_view) {
  return {
      HOST_CALL(ptrace, "runs guest code, reads and sets its registers, injects the stub's calls"),
      HOST_CALL(wait4, "learns of the stubs' stops and ends"),
      HOST_CALL(process_vm_readv, "reads guest memory"),
      HOST_CALL(process_vm_writev, "writes guest memory"),
      HOST_CALL(kill, {arg_equals(1, SIGKILL)}, "signal == SIGKILL", "ends a stub"),
  };
}

Surface stub_surface(std::string_view) { return ptrace::surface(); }

}  // namespace sentry::platform
