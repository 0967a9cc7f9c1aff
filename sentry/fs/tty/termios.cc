#include "sentry/fs/tty/termios.h"

#include <asm/ioctls.h>

#include <cstring>

namespace sentry::fs::tty {

Settings default_settings() {
  Settings settings{};
  settings.c_iflag = ICRNL | IXON;
  settings.c_oflag = OPOST | ONLCR;
  settings.c_cflag = B38400 | CS8 | CREAD;
  settings.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
  settings.c_cc[VINTR] = 'C' & 0x1f;
  settings.c_cc[VQUIT] = '\\' & 0x1f;
  settings.c_cc[VERASE] = 0x7f;
  settings.c_cc[VKILL] = 'U' & 0x1f;
  settings.c_cc[VEOF] = 'D' & 0x1f;
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VSTART] = 'Q' & 0x1f;
  settings.c_cc[VSTOP] = 'S' & 0x1f;
  settings.c_cc[VSUSP] = 'Z' & 0x1f;
  settings.c_cc[VREPRINT] = 'R' & 0x1f;
  settings.c_cc[VDISCARD] = 'O' & 0x1f;
  settings.c_cc[VWERASE] = 'W' & 0x1f;
  settings.c_cc[VLNEXT] = 'V' & 0x1f;
  settings.c_ispeed = settings.c_ospeed = 38400;
  return settings;
}

bool gets_settings(unsigned request) { return request == TCGETS || request == TCGETS2 || request == TCGETA; }

bool sets_settings(unsigned request) {
  switch (request) {
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
    case TCSETA:
    case TCSETAW:
    case TCSETAF:
      return true;
    default:
      return false;
  }
}

Result<> write_settings(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument,
                        const Settings& now) {
  switch (request) {
    case TCGETS:
      return memory.write(argument, &now, sizeof(struct termios));
    case TCGETS2: {
      static_assert(sizeof(struct termios2) == sizeof(Settings));
      return memory.write(argument, &now, sizeof now);
    }
    default: {  // TCGETA
      OldSettings settings{};
      settings.c_iflag = static_cast<unsigned short>(now.c_iflag);
      settings.c_oflag = static_cast<unsigned short>(now.c_oflag);
      settings.c_cflag = static_cast<unsigned short>(now.c_cflag);
      settings.c_lflag = static_cast<unsigned short>(now.c_lflag);
      settings.c_line = now.c_line;
      std::memcpy(settings.c_cc, now.c_cc, sizeof settings.c_cc);
      return memory.write(argument, &settings, sizeof settings);
    }
  }
}

unsigned speed_of(tcflag_t control_flags, unsigned custom) {
  switch (control_flags & CBAUD) {
    case B0:
      return 0;
    case B50:
      return 50;
    case B75:
      return 75;
    case B110:
      return 110;
    case B134:
      return 134;
    case B150:
      return 150;
    case B200:
      return 200;
    case B300:
      return 300;
    case B600:
      return 600;
    case B1200:
      return 1200;
    case B1800:
      return 1800;
    case B2400:
      return 2400;
    case B4800:
      return 4800;
    case B9600:
      return 9600;
    case B19200:
      return 19200;
    case B38400:
      return 38400;
    case B57600:
      return 57600;
    case B115200:
      return 115200;
    case B230400:
      return 230400;
    case B460800:
      return 460800;
    case B500000:
      return 500000;
    case B576000:
      return 576000;
    case B921600:
      return 921600;
    case B1000000:
      return 1000000;
    case B1152000:
      return 1152000;
    case B1500000:
      return 1500000;
    case B2000000:
      return 2000000;
    case B2500000:
      return 2500000;
    case B3000000:
      return 3000000;
    case B3500000:
      return 3500000;
    case B4000000:
      return 4000000;
    default:
      return custom;  // BOTHER
  }
}

}  // namespace sentry::fs::tty
