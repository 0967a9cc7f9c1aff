#include "runtime/console_socket.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sentry/base/packet.h"

namespace runtime {

using sentry::Fd;

Outcome<Fd> send_console(const std::string& path, WindowSize size) {
  const Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0)
    return system_failure(errno, "cannot make a pty");
  char name[64] = {};
  if (::ptsname_r(master.get(), name, sizeof name) != 0) return system_failure(errno, "cannot name a pty");
  Fd slave(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return system_failure(errno, "cannot open {}", name);
  ::ioctl(slave.get(), TIOCSCTTY, 0);
  winsize window{};
  window.ws_row = size.rows;
  window.ws_col = size.columns;
  if (size.rows != 0 || size.columns != 0) ::ioctl(slave.get(), TIOCSWINSZ, &window);

  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return system_failure(errno, "cannot make a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return failure("--console-socket {}: the path is too long for a socket", path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return system_failure(errno, "--console-socket {}", path);
  // The message is the pty's name, as runc's is.
  if (!sentry::send_packet(socket.get(), name, {master.get()}))
    return system_failure(errno, "--console-socket {}: cannot send the terminal", path);
  return slave;
}

}  // namespace runtime
