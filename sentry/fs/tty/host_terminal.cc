#include "sentry/fs/tty/host_terminal.h"

#include <asm/ioctls.h>
#include <asm/termios.h>

#include <cerrno>

#include "sentry/fs/tty/termios.h"

namespace sentry::fs::tty {

Result<uint64_t> HostTerminal::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) const {
  if (gets_settings(request)) {
    TRY(write_settings(memory, request, argument, default_settings()));
    return uint64_t{0};
  }
  if (sets_settings(request)) return Errno(EIO);
  switch (request) {
    case TIOCGWINSZ: {
      winsize window{};
      window.ws_row = rows;
      window.ws_col = columns;
      TRY(memory.write(argument, &window, sizeof window));
      return uint64_t{0};
    }
    case TIOCSWINSZ:
    case TCFLSH:
    case TCXONC:
      return Errno(EIO);
    case TCSBRK:  // tcdrain(3): what has been written is the host's
      if (argument != 0) return uint64_t{0};
      return Errno(EIO);
    default:
      return Errno(ENOTTY);
  }
}

}  // namespace sentry::fs::tty
