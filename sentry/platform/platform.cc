#include "sentry/platform/platform.h"

#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <array>
#include <csignal>

#include "sentry/platform/ptrace/ptrace_platform.h"
#include "sentry/platform/ptrace/stub.h"
#include "sentry/platform/trap/filter.h"
#include "sentry/platform/trap/stub.h"
#include "sentry/platform/trap/trap_platform.h"

namespace sentry::platform {
namespace {
Platform* current_platform = nullptr;
}

std::unique_ptr<Platform> make_platform(std::string_view name, EventLoop& loop) {
  std::unique_ptr<Platform> platform;
  if (name == "trap") platform = std::make_unique<trap::TrapPlatform>(loop);
  if (name == "ptrace") platform = std::make_unique<ptrace::PtracePlatform>();
  current_platform = platform.get();
  return platform;
}

void when_let_go(std::function<void()> action) {
  if (current_platform != nullptr)
    current_platform->when_let_go(std::move(action));
  else
    action();
}

void close_unnamed(Fd fd) {
  if (current_platform != nullptr) current_platform->close_unnamed(std::move(fd));
}

std::span<const std::string_view> platform_names() {
  static constexpr std::array<std::string_view, 2> kNames{"trap", "ptrace"};
  return kNames;
}

std::vector<HostCall> sentry_calls(std::string_view platform) {
  std::vector<HostCall> calls{
      HOST_CALL(wait4, "learns of the stubs' ends"),
      HOST_CALL(kill, {arg_equals(1, SIGKILL)}, "signal == SIGKILL", "ends a stub"),
  };
  if (platform == "ptrace") {
    calls.push_back(
        HOST_CALL(ptrace, "runs guest code, reads and sets its registers, injects the stub's calls"));
    calls.push_back(HOST_CALL(process_vm_readv, "reads guest memory"));
    calls.push_back(HOST_CALL(process_vm_writev, "writes guest memory"));
  } else {
    calls.push_back(HOST_CALL(ioctl, {arg_equals(1, SECCOMP_IOCTL_NOTIF_RECV)}, "SECCOMP_IOCTL_NOTIF_RECV",
                              "learns which host call a stub wants to issue"));
    calls.push_back(HOST_CALL(ioctl, {arg_equals(1, SECCOMP_IOCTL_NOTIF_SEND)}, "SECCOMP_IOCTL_NOTIF_SEND",
                              "consents to it, or answers its ring"));
    calls.push_back(HOST_CALL(ioctl, {arg_equals(1, trap::kNotifySetFlags)}, "SECCOMP_IOCTL_NOTIF_SET_FLAGS",
                              "has a stub's ring wake the sentry on the stub's processor, or elsewhere"));
    calls.push_back(HOST_CALL(ppoll, "sleeps where such a ring wakes it"));
    calls.push_back(HOST_CALL(futex, {arg_equals(1, FUTEX_WAKE)}, "FUTEX_WAKE", "wakes a stub's thread"));
    calls.push_back(HOST_CALL(kill, {arg_equals(1, trap::kKick)}, "signal == SIGUSR1",
                              "makes a process of one thread look up from guest code"));
    calls.push_back(HOST_CALL(tgkill, {arg_equals(2, trap::kKick)}, "signal == SIGUSR1",
                              "makes a thread look up from guest code"));
  }
  return calls;
}

Surface stub_surface(std::string_view platform) {
  return platform == "ptrace" ? ptrace::surface() : trap::surface();
}

}  // namespace sentry::platform
