// The kernel's terminal settings: asm/termbits.h, which is not glibc's <termios.h>. Include only one of them.
#pragma once

#include <asm/termbits.h>

#include <cstddef>

#include "sentry/mm/address_space_map.h"

namespace sentry::fs::tty {

using Settings = struct ::ktermios;

// struct termio of System V, include/uapi/asm-generic/termios.h.
inline constexpr size_t kOldControls = 8;
struct OldSettings {
  unsigned short c_iflag, c_oflag, c_cflag, c_lflag;
  unsigned char c_line;
  unsigned char c_cc[kOldControls];
};

// What a new terminal starts with: tty_std_termios of Linux, as a pty's slave.
Settings default_settings();

// Requests of tty_ioctl(2): TCGETS, TCGETS2 and TCGETA; TCSETS, TCSETS2, TCSETA, and those that wait or
// flush.
bool gets_settings(unsigned request);
bool sets_settings(unsigned request);
// Struct termios is what Settings begin with.
static_assert(offsetof(struct termios, c_cc) == offsetof(Settings, c_cc) &&
              sizeof(struct termios) <= offsetof(Settings, c_ispeed));

// Answers what gets_settings() names with `settings`.
Result<> write_settings(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument,
                        const Settings& settings);

// Bits a second for a c_cflag's speed field (CBAUD), or for its input speed (IBSHIFT); `custom` where it is
// BOTHER.
unsigned speed_of(tcflag_t control_flags, unsigned custom);

}  // namespace sentry::fs::tty
