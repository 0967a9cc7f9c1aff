// bulkhead-gofer: started by the runtime, one for each sandbox. See protocol.h for the contract.
#include <stdio.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "gofer/jail.h"
#include "gofer/protocol.h"
#include "gofer/server.h"
#include "gofer/surface.h"
#include "sentry/base/log.h"

#ifdef BULKHEAD_SANITIZE
// The leak check wants to stop this process from outside, which the surface list does not allow.
extern "C" const char* __asan_default_options() { return "detect_leaks=0:symbolize=0:abort_on_error=0"; }
#endif

namespace {

std::optional<int> to_fd(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc{} || end != text.data() + text.size() || fd < 0) return std::nullopt;
  return fd;
}

int usage(const char* complaint, std::string_view about) {
  sentry::log("{}: {}", about, complaint);
  sentry::log(
      "usage: bulkhead-gofer --socket FD --attach FD[:ro] [--attach FD[:ro] ...] [--proc FD] [--log FD] "
      "[--log-json] [--no-uring] "
      "| --surface. It is started by bulkhead, not by hand.");
  return gofer::kExitUsage;
}

}  // namespace

int main(int argc, char** argv) {
  sentry::set_log(2, "bulkhead-gofer");
  gofer::Inherited inherited;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--surface") {
      const std::string text = gofer::surface().to_text();
      std::fwrite(text.data(), 1, text.size(), stdout);
      if (std::fflush(stdout) == 0) return 0;
      sentry::log("cannot write: {}", ::strerrordesc_np(errno));
      return 1;
    }
    if (option == "--log-json") {
      sentry::set_log_format(sentry::LogFormat::kJson);
      continue;
    }
    if (option == "--no-uring") {
      inherited.uring = false;
      continue;
    }
    if (option != "--socket" && option != "--attach" && option != "--proc" && option != "--log")
      return usage("no such option", option);
    if (i + 1 == argc) return usage("wants a descriptor", option);
    std::string_view value = argv[++i];
    const bool read_only = option == "--attach" && value.ends_with(":ro");
    if (read_only) value.remove_suffix(3);
    const auto fd = to_fd(value);
    if (!fd) return usage("not a descriptor", argv[i]);
    if (option == "--socket") inherited.socket = *fd;
    if (option == "--attach") inherited.attach.push_back({*fd, read_only});
    if (option == "--proc") inherited.proc = *fd;
    if (option == "--log") inherited.log = *fd;
  }
  if (inherited.socket < 0) return usage("missing", "--socket");
  if (inherited.attach.empty() || inherited.attach.size() > UINT16_MAX)
    return usage("missing, or too many", "--attach");

  gofer::Jail jail;
  if (const std::string message = gofer::confine(inherited, jail); !message.empty()) {
    sentry::log("{}", message);
    return gofer::kExitUsage;
  }
  const auto server = std::make_unique<gofer::Server>(gofer::kSocketFd, std::move(jail.attach_points),
                                                      jail.max_ids, std::move(jail.ring));
  return server->serve();
}
