// The kernel's terminal settings: asm/termbits.h, which is not glibc's <termios.h>. Include only one of them.
#pragma once

#include <asm/termbits.h>

namespace sentry::fs::tty {

using Settings = struct ::ktermios;

// What a new terminal starts with: tty_std_termios of Linux, as a pty's slave.
Settings default_settings();

// Bits a second for a c_cflag's speed field (CBAUD), or for its input speed (IBSHIFT); `custom` where it is
// BOTHER.
unsigned speed_of(tcflag_t control_flags, unsigned custom);

}  // namespace sentry::fs::tty
