#include "gofer/jail.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "gofer/surface.h"
#include "sentry/base/log.h"

namespace gofer {
namespace {

// Descriptors kept back from the client's nodes and handles, for what one request opens in passing.
constexpr uint32_t kReserve = 32;
// More would only cost memory (an entry is about 100 bytes).
constexpr rlim_t kMostIds = 1 << 20;

// Moves the inherited descriptors to their places: the fixed ones of surface.h, then the attach points;
// closes all others.
std::string arrange_descriptors(const Inherited& inherited, Jail& jail) {
  // First out of each other's way, then into place.
  int above = std::max(
      {inherited.socket, inherited.proc, inherited.log, static_cast<int>(inherited.attach.size()) + 3});
  for (const auto& attach : inherited.attach) above = std::max(above, attach.fd);
  ++above;
  const auto lift = [&](int fd) { return ::fcntl(fd, F_DUPFD_CLOEXEC, above); };
  const int socket = lift(inherited.socket);
  if (socket < 0) return fmt::format("--socket {}: {}", inherited.socket, ::strerror(errno));
  const int log = lift(inherited.log);
  if (log < 0) return fmt::format("--log {}: {}", inherited.log, ::strerror(errno));
  std::vector<int> attach_fds;
  for (size_t i = 0; i < inherited.attach.size(); ++i) {
    attach_fds.push_back(lift(inherited.attach[i].fd));
    if (attach_fds.back() < 0)
      return fmt::format("--attach {} (attach point {}): {}", inherited.attach[i].fd, i, ::strerror(errno));
  }
  // /proc/self/fd becomes the working directory; then it needs no descriptor.
  if (inherited.proc >= 0) {
    if (::fchdir(inherited.proc) < 0) return fmt::format("--proc {}: {}", inherited.proc, ::strerror(errno));
  } else if (::chdir("/proc/self/fd") < 0) {
    return fmt::format("/proc/self/fd: {}; give a descriptor of it with --proc", ::strerror(errno));
  }

  BULKHEAD_CHECK(::dup3(socket, kSocketFd, O_CLOEXEC) >= 0, "dup3: error {}", errno);
  BULKHEAD_CHECK(::dup3(log, kRingFd, O_CLOEXEC) >= 0, "dup3: error {}", errno);  // a placeholder: never free
  BULKHEAD_CHECK(::dup3(log, kLogFd, O_CLOEXEC) >= 0, "dup3: error {}", errno);
  sentry::set_log(kLogFd, "bulkhead-gofer");
  int next = kLogFd + 1;
  for (size_t i = 0; i < attach_fds.size(); ++i, ++next) {
    BULKHEAD_CHECK(::dup3(attach_fds[i], next, O_CLOEXEC) >= 0, "dup3: error {}", errno);
    jail.attach_points.push_back({Fd(next), inherited.attach[i].read_only});
  }
  if (::close_range(static_cast<unsigned>(next), ~0u, 0) < 0)
    return fmt::format("close_range: {}", ::strerror(errno));
  return {};
}

std::string check_descriptors(const Jail& jail) {
  int type = 0;
  socklen_t size = sizeof(type);
  if (::getsockopt(kSocketFd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
    return "--socket: not a SOCK_SEQPACKET socket";
  for (size_t i = 0; i < jail.attach_points.size(); ++i) {
    // Without the magic links of a real /proc/self/fd of this process nothing could be opened: better said
    // now. O_PATH opens nothing, whatever the attach point is.
    const int fd = jail.attach_points[i].fd.get();
    const Fd again(::openat(AT_FDCWD, FdPath(fd).c_str(), O_PATH | O_CLOEXEC));
    const auto status = status_of(fd);
    if (!status.ok()) return fmt::format("attach point {}: {}", i, ::strerror(status.error().value()));
    const auto same = status_of(again.get());
    if (!same.ok() || same->stx_ino != status->stx_ino || device_of(*same) != device_of(*status))
      return "--proc: not the /proc/self/fd directory of this process";
  }
  return {};
}

std::string drop_capabilities(bool all_read_only) {
  // The runtime has left these where the gofer serves a tree of many owners, and none to an ordinary user's.
  std::vector<unsigned> wanted;
  if (all_read_only) {
    wanted = {CAP_DAC_READ_SEARCH};  // read what root may read
  } else {
    wanted = {
        CAP_DAC_OVERRIDE,  // act in directories and on files of any owner: the sentry has checked the guest's
                           // rights
        CAP_CHOWN,         // new files belong to the guest's ids
        CAP_FOWNER,        // chmod and utimes of files of any owner
        CAP_FSETID,        // keep set-group-ID bits that the sentry decided on
    };
  }
  // Not wanted: CAP_MKNOD (devices are refused), CAP_SETFCAP (security.* is read-only), CAP_DAC_READ_SEARCH
  // beside CAP_DAC_OVERRIDE (its other use is open_by_handle_at(2), which leaves the tree).
  if (capng_get_caps_process() != 0) return "cannot read this process's capabilities";
  const bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
  std::vector<unsigned> kept;
  for (const unsigned capability : wanted)
    if (capng_have_capability(CAPNG_PERMITTED, capability)) kept.push_back(capability);
  capng_clear(may_bound ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS);
  for (const unsigned capability : kept)
    if (capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED), capability) !=
        0)
      return "cannot choose capabilities";
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (const int status = capng_apply(may_bound ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS); status != 0)
    return fmt::format("cannot drop capabilities: capng_apply: {}", status);
  return {};
}

uint32_t raise_descriptor_limit() {
  rlimit limit{};
  BULKHEAD_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit: error {}", errno);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  BULKHEAD_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit: error {}", errno);
  return static_cast<uint32_t>(std::min(limit.rlim_cur, kMostIds));
}

}  // namespace

std::string confine(const Inherited& inherited, Jail& jail) {
  const uint32_t descriptors = raise_descriptor_limit();
  if (auto message = arrange_descriptors(inherited, jail); !message.empty()) return message;
  if (auto message = check_descriptors(jail); !message.empty()) return message;
  if (descriptors < jail.attach_points.size() + 3 + 2 * kReserve)
    return fmt::format("RLIMIT_NOFILE is {}: too low to serve files", descriptors);
  jail.max_ids = descriptors - 3 - kReserve;

  ::umask(0);  // modes are the client's
  // RLIMIT_FSIZE must give EFBIG, not death.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  BULKHEAD_CHECK(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "PR_SET_DUMPABLE: error {}", errno);
  BULKHEAD_CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS: error {}", errno);

  const bool all_read_only = std::all_of(jail.attach_points.begin(), jail.attach_points.end(),
                                         [](const AttachPoint& point) { return point.read_only; });
  if (auto message = drop_capabilities(all_read_only); !message.empty()) return message;

  if (inherited.uring) {
    auto ring = Ring::create(kRingFd);
    if (ring.ok())
      jail.ring = std::move(*ring);
    else
      sentry::log("no io_uring on this host ({}): slow files will delay each other",
                  ::strerror(ring.error().value()));
  }
  sentry::enter_surface(surface());
  return {};
}

}  // namespace gofer
