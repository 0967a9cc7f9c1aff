// tty_ioctl(4) for both ends of a terminal.
#include <linux/capability.h>
#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "sentry/fs/tty/terminal.h"
#include "sentry/kernel/kernel.h"

namespace sentry::fs::tty {
namespace {

using kernel::Task;

void take_low_half(tcflag_t& flags, unsigned short low) { flags = (flags & 0xffff0000u) | low; }

template <typename T>
Result<uint64_t> put(mm::AddressSpaceMap& memory, uint64_t address, const T& value) {
  TRY(memory.write(address, &value, sizeof value));
  return uint64_t{0};
}

template <typename T>
Result<T> fetch(mm::AddressSpaceMap& memory, uint64_t address) {
  T value{};
  TRY(memory.read(address, &value, sizeof value));
  return value;
}

// Takes from `old` what `locked` names: TIOCGLCKTRMIOS(2const).
void keep_locked(Settings& settings, const Settings& old, const Settings& locked) {
  const auto keep = [](tcflag_t& flags, tcflag_t before, tcflag_t mask) {
    flags = (flags & ~mask) | (before & mask);
  };
  keep(settings.c_iflag, old.c_iflag, locked.c_iflag);
  keep(settings.c_oflag, old.c_oflag, locked.c_oflag);
  keep(settings.c_cflag, old.c_cflag, locked.c_cflag);
  keep(settings.c_lflag, old.c_lflag, locked.c_lflag);
  if (locked.c_line != 0) settings.c_line = old.c_line;
  for (size_t i = 0; i < std::size(settings.c_cc); ++i)
    if (locked.c_cc[i] != 0) settings.c_cc[i] = old.c_cc[i];
}

}  // namespace

// tcsetattr(3). Output waits for nobody here once it is written, so that TCSADRAIN has nothing to wait for.
Result<> Terminal::change_settings(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  TRY(check_foreground(SIGTTOU));
  Settings settings = discipline_.settings();
  switch (request) {
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
      TRY(memory.read(argument, &settings, sizeof(struct termios)));
      break;
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
      settings = TRY(fetch<Settings>(memory, argument));
      break;
    default: {  // TCSETA, TCSETAW, TCSETAF
      const auto given = TRY(fetch<OldSettings>(memory, argument));
      take_low_half(settings.c_iflag, given.c_iflag);
      take_low_half(settings.c_oflag, given.c_oflag);
      take_low_half(settings.c_cflag, given.c_cflag);
      take_low_half(settings.c_lflag, given.c_lflag);
      settings.c_line = given.c_line;
      std::memcpy(settings.c_cc, given.c_cc, sizeof given.c_cc);
      break;
    }
  }
  if (request == TCSETSF || request == TCSETSF2 || request == TCSETAF) {
    backlog_.clear();
    discipline_.flush_input();
  }
  apply_settings(settings);
  return {};
}

void Terminal::apply_settings(Settings settings) {
  const Settings old = discipline_.settings();
  keep_locked(settings, old, locked_);
  settings.c_line = 0;  // N_TTY, whatever was asked for
  settings.c_ospeed = speed_of(settings.c_cflag, settings.c_ospeed);
  const tcflag_t input_speed = settings.c_cflag >> IBSHIFT & CBAUD;
  settings.c_ispeed = input_speed == B0 ? settings.c_ospeed : speed_of(input_speed, settings.c_ispeed);
  settings.c_cflag =
      (settings.c_cflag & ~static_cast<tcflag_t>(CSIZE | PARENB)) | CS8 | CREAD;  // a pty has no line
  discipline_.set_settings(settings);

  // pty(7), packet mode: whether ^S and ^Q are what stops and starts.
  const auto stops = [](const Settings& at) {
    return (at.c_iflag & IXON) != 0 && at.c_cc[VSTOP] == ('S' & 0x1f) && at.c_cc[VSTART] == ('Q' & 0x1f);
  };
  if (stops(old) != stops(settings))
    set_packet_status(stops(settings) ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP, TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
  // Where the master edits the lines, it hears of every change: ioctl_tty(2), TIOCPKT_IOCTL.
  if (((old.c_lflag | settings.c_lflag) & EXTPROC) != 0) set_packet_status(TIOCPKT_IOCTL);
  pump();  // what the old settings held back may fit the new ones
  slave_queue_.wake(EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
}

Result<uint64_t> Terminal::set_controlling(Task& task, uint64_t argument, const vfs::File& file) {
  const auto group = task.group->process_group;
  if (group == nullptr || group->session == nullptr) return Errno(EPERM);
  kernel::Session& own = *group->session;
  const bool leads = own.leader == task.group.get();
  if (leads && controls(task)) return uint64_t{0};
  if (!leads || (own.terminal != nullptr && own.terminal->device() != 0)) return Errno(EPERM);
  const bool privileged = task.credentials->capable(CAP_SYS_ADMIN);
  if (const auto owner = session.lock()) {
    if (argument != 1 || !privileged) return Errno(EPERM);
    owner->terminal.reset();  // stolen
  }
  if (!file.readable() && !privileged) return Errno(EPERM);
  acquire(group->session, group);
  return uint64_t{0};
}

// The session's leader gives its terminal up: SIGHUP and SIGCONT to the foreground. Linux lets any other
// process drop the terminal for itself alone; here a session has one or has none, and such a process keeps
// it.
Result<uint64_t> Terminal::give_up_controlling(Task& task) {
  if (!controls(task)) return Errno(ENOTTY);
  const auto own = task.group->process_group->session;
  if (own->leader != task.group.get()) return uint64_t{0};
  const auto group = foreground.lock();
  own->terminal.reset();
  session.reset();
  set_foreground(nullptr);
  if (group != nullptr) {
    kernel::signal_process_group(*group, kernel::make_signal(SIGHUP));
    kernel::signal_process_group(*group, kernel::make_signal(SIGCONT));
  }
  return uint64_t{0};
}

Result<uint64_t> Terminal::set_foreground_group(Task& task, mm::AddressSpaceMap& memory, uint64_t argument) {
  const Result<> allowed = check_foreground(SIGTTOU);
  if (allowed.is(EIO)) return Errno(ENOTTY);
  TRY(Result<>(allowed));
  const auto id = TRY(fetch<pid_t>(memory, argument));
  if (id < 0) return Errno(EINVAL);
  if (!controls(task)) return Errno(ENOTTY);
  const auto group = task.kernel.find_process_group(id);
  if (group == nullptr) return Errno(ESRCH);
  if (group->session != task.group->process_group->session) return Errno(EPERM);
  set_foreground(group);
  return uint64_t{0};
}

Result<uint64_t> Terminal::flush(uint64_t which) {
  TRY(check_foreground(SIGTTOU));
  if (which != TCIFLUSH && which != TCOFLUSH && which != TCIOFLUSH) return Errno(EINVAL);
  if (which != TCOFLUSH) {
    backlog_.clear();
    discipline_.flush_input();
    tell_master(EPOLLOUT | EPOLLWRNORM);
  }
  if (which != TCIFLUSH) flush_output();
  return uint64_t{0};
}

// tcflow(3). What is sent to the other side (TCIOFF, TCION) are the characters that stop and start it.
Result<uint64_t> Terminal::flow(uint64_t action) {
  TRY(check_foreground(SIGTTOU));
  const auto send = [&](unsigned char c) {
    if (c != 0) append_output({reinterpret_cast<const char*>(&c), 1});
  };
  switch (action) {
    case TCOOFF:
      stopped_by_call_ = true;
      set_stopped(true);
      return uint64_t{0};
    case TCOON:
      if (std::exchange(stopped_by_call_, false)) set_stopped(false);
      return uint64_t{0};
    case TCIOFF:
      send(discipline_.settings().c_cc[VSTOP]);
      return uint64_t{0};
    case TCION:
      send(discipline_.settings().c_cc[VSTART]);
      return uint64_t{0};
    default:
      return Errno(EINVAL);
  }
}

std::optional<Result<uint64_t>> Terminal::master_ioctl(mm::AddressSpaceMap& memory, unsigned request,
                                                       uint64_t argument) {
  switch (request) {
    case TIOCGPTN:
      return put(memory, argument, static_cast<unsigned>(index_));
    case TIOCGPTLCK:
      return put(memory, argument, locked ? 1 : 0);
    case TIOCSPTLCK: {
      const Result<int> value = fetch<int>(memory, argument);
      if (!value.ok()) return value.error();
      locked = *value != 0;
      return uint64_t{0};
    }
    case TIOCGPKT:
      return put(memory, argument, packet_mode_ ? 1 : 0);
    case TIOCPKT: {
      const Result<int> value = fetch<int>(memory, argument);
      if (!value.ok()) return value.error();
      if (!packet_mode_) packet_status_ = 0;
      packet_mode_ = *value != 0;
      return uint64_t{0};
    }
    case TIOCSIG: {
      const int signo = static_cast<int>(argument);
      if (signo < 1 || signo > kernel::kSignals) return Errno(EINVAL);
      signal_foreground(signo);
      return uint64_t{0};
    }
    case FIONREAD:
      return put(memory, argument, static_cast<int>(output_.size()));
    case TIOCOUTQ:
      return put(memory, argument, 0);
    case TCFLSH:
      // The master's own queues: what it could read is the slave's output.
      if (argument == TCIFLUSH || argument == TCIOFLUSH) flush_output();
      if (argument == TCOFLUSH || argument == TCIOFLUSH) backlog_.clear();
      if (argument > TCIOFLUSH) return Errno(EINVAL);
      return uint64_t{0};
    case TCSBRK:
    case TCSBRKP:
      return uint64_t{0};
    default:
      return std::nullopt;
  }
}

Result<uint64_t> Terminal::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument,
                                 const vfs::File& file, bool master) {
  if (gets_settings(request)) {
    TRY(write_settings(memory, request, argument, discipline_.settings()));
    return uint64_t{0};
  }
  if (sets_settings(request)) {
    TRY(change_settings(memory, request, argument));
    return uint64_t{0};
  }
  Task* task = Task::current_or_null();
  switch (request) {
    case TIOCGWINSZ:
      return put(memory, argument, window_);
    case TIOCSWINSZ:
      resize(TRY(fetch<winsize>(memory, argument)));
      return uint64_t{0};
    case FIONREAD:
      return put(memory, argument, static_cast<int>(discipline_.waiting()));
    case TIOCOUTQ:
      return put(memory, argument, 0);  // written is as good as shown
    case TCFLSH:
      return flush(argument);
    case TCXONC:
      return flow(argument);
    case TCSBRK:  // a pty sends no breaks, and has nothing to drain
    case TCSBRKP:
    case TIOCSBRK:
    case TIOCCBRK:
      TRY(check_foreground(SIGTTOU));
      return uint64_t{0};
    case TIOCGSOFTCAR:
      return put(memory, argument, (discipline_.settings().c_cflag & CLOCAL) != 0 ? 1 : 0);
    case TIOCSSOFTCAR: {
      Settings settings = discipline_.settings();
      const tcflag_t local = CLOCAL;
      settings.c_cflag =
          TRY(fetch<int>(memory, argument)) != 0 ? settings.c_cflag | local : settings.c_cflag & ~local;
      apply_settings(settings);
      return uint64_t{0};
    }
    case TIOCGETD:
      return put(memory, argument, 0);  // N_TTY
    case TIOCSETD:
      return TRY(fetch<int>(memory, argument)) == 0 ? Result<uint64_t>(uint64_t{0}) : Errno(EINVAL);
    case TIOCGLCKTRMIOS:
      TRY(memory.write(argument, &locked_, sizeof(struct termios)));
      return uint64_t{0};
    case TIOCSLCKTRMIOS: {
      if (task != nullptr && !task->credentials->capable(CAP_SYS_ADMIN)) return Errno(EPERM);
      Settings locked{};
      TRY(memory.read(argument, &locked, sizeof(struct termios)));
      locked_ = locked;
      return uint64_t{0};
    }
    case TIOCGDEV:
      return put(memory, argument, device());
    case TIOCEXCL:
      exclusive = true;
      return uint64_t{0};
    case TIOCNXCL:
      exclusive = false;
      return uint64_t{0};
    case TIOCGEXCL:
      return put(memory, argument, exclusive ? 1 : 0);
    case TIOCSTI:
      return Errno(EIO);  // as Linux 6.2 and later do without legacy_tiocsti: it fakes what was never typed
    case TIOCVHANGUP:
      if (task != nullptr && !task->credentials->capable(CAP_SYS_ADMIN)) return Errno(EPERM);
      hang_up();
      return uint64_t{0};
    default:
      break;
  }
  if (task == nullptr) return Errno(ENOTTY);
  switch (request) {
    case TIOCSCTTY:
      return master ? Errno(EINVAL) : set_controlling(*task, argument, file);
    case TIOCNOTTY:
      return give_up_controlling(*task);
    case TIOCGPGRP:
      if (!master && !controls(*task)) return Errno(ENOTTY);
      return put(memory, argument, foreground_id_);
    case TIOCSPGRP:
      return set_foreground_group(*task, memory, argument);
    case TIOCGSID: {
      const auto owner = session.lock();
      if ((!master && !controls(*task)) || owner == nullptr) return Errno(ENOTTY);
      return put(memory, argument, owner->id);
    }
    default:
      return Errno(ENOTTY);
  }
}

}  // namespace sentry::fs::tty
