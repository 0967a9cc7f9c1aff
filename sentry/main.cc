// bulkhead-sentry: the user-space kernel of one sandbox. Started by the runtime, never by hand.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "sentry/base/log.h"
#include "sentry/boot/boot.h"
#include "sentry/init/sandbox.h"
#include "sentry/init/surface.h"
#include "sentry/platform/platform.h"
#include "sentry/syscalls/table.h"

namespace {

constexpr int kUsage = 64;  // EX_USAGE, sysexits.h

int usage(const char* why) {
  std::fprintf(
      stderr,
      "bulkhead-sentry: %s\nusage: bulkhead-sentry --boot FD | --surface [--platform NAME] | --syscalls\n",
      why);
  return kUsage;
}

std::string platform_list() {
  std::string list;
  for (const std::string_view name : sentry::platform::platform_names())
    list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

// What was printed has reached standard output.
int written() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  sentry::log("cannot write: {}", ::strerrordesc_np(errno));
  return 1;
}

std::string read_all(int fd) {
  std::string bytes;
  char piece[65536];
  for (;;) {
    const ssize_t count = ::read(fd, piece, sizeof piece);
    if (count <= 0) break;
    bytes.append(piece, static_cast<size_t>(count));
  }
  ::close(fd);
  return bytes;
}

int boot(int fd) {
  ::lseek(fd, 0, SEEK_SET);
  const auto document = sentry::boot::decode(read_all(fd));
  if (!document) return usage("the boot document is not one of this version");
  sentry::set_log(document->log_fd, "bulkhead-sentry");
  if (document->log_json) sentry::set_log_format(sentry::LogFormat::kJson);
  for (const std::string_view name : sentry::platform::platform_names())
    if (name == document->platform) return sentry::init::run_sandbox(*document);
  sentry::log("there is no platform \"{}\"; there is: {}", document->platform, platform_list());
  return kUsage;
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "--boot" && argc == 3) return boot(std::atoi(argv[2]));
  if (verb == "--syscalls" && argc == 2) {
    std::fputs(sentry::syscalls::table_text().c_str(), stdout);
    return written();
  }
  if (verb == "--surface" && (argc == 2 || (argc == 4 && std::string_view(argv[2]) == "--platform"))) {
    const std::string_view wanted = argc == 4 ? argv[3] : "";
    bool known = false;
    for (const std::string_view name : sentry::platform::platform_names()) {
      if (!wanted.empty() && wanted != name) continue;
      known = true;
      std::fputs(sentry::init::sentry_surface(name).to_text().c_str(), stdout);
      std::fputs(sentry::platform::stub_surface(name).to_text().c_str(), stdout);
    }
    if (!known) return usage(("no such platform; there is: " + platform_list()).c_str());
    return written();
  }
  return usage(argc > 1 ? "what is asked for is not understood" : "nothing is asked for");
}
