// A terminal of the host's that a program has as one of its standard streams only, in a pipeline say. The
// sandbox has no part in its session's job control, and leaves its settings alone: other programs of the
// pipeline use it, too.
#pragma once

#include <cstdint>

#include "sentry/base/result.h"
#include "sentry/mm/address_space_map.h"

namespace sentry::fs::tty {

struct HostTerminal {
  uint16_t rows = 0, columns = 0;  // 0: unknown

  // tty_ioctl(2): what isatty(3) and tcgetattr(3) ask is answered with the settings of a terminal on which
  // lines are edited, TIOCGWINSZ with the window's size. EIO for what would change the terminal, as in an
  // orphaned background process; ENOTTY for job control and all else.
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) const;
};

}  // namespace sentry::fs::tty
