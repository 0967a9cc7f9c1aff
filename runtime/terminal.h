// The user's terminal while a guest program has it: raw, so that the line discipline is the sandbox's own,
// and relayed byte by byte to the sentry's end of the console. Behaves as script(1) towards the shell:
// nothing is read or changed while another job has the terminal, and the settings come back on every way out.
#pragma once

#include <sys/epoll.h>
#include <termios.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "runtime/failure.h"
#include "sentry/base/fd.h"
#include "sentry/boot/boot.h"

namespace runtime {

struct WindowSize {
  uint16_t rows = 0, columns = 0;
};

// True if both are the same terminal.
bool same_terminal(int a, int b);

// All zero if it is not a terminal or does not say.
WindowSize window_size_of(int tty_fd);

// The first of a program's standard streams that is a terminal; -1 if none is.
int first_terminal(const std::array<int, 3>& stdio);
// Tells the program which of the streams that are passed through to it are terminals, and their size.
void name_terminals(sentry::boot::Process& process, const std::array<int, 3>& stdio);

class Terminal {
 public:
  // `tty_fd` is borrowed and its flags stay as they are; `console` is the relay's end of a stream socket
  // pair.
  static Outcome<Terminal> open(int tty_fd, sentry::Fd console);
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal() { restore(); }

  // Takes the terminal if the caller's job is in the foreground and it is not taken yet. True if it is ours
  // now.
  bool take();
  bool taken() const { return saved_.has_value(); }
  // Gives the terminal back as it was found.
  void restore();

  // Whether the character that usually sends SIGINT or SIGQUIT has been typed since this was last asked.
  bool typed(int signal);

  WindowSize window_size() const { return window_size_of(tty_fd_); }

  int tty_fd() const { return io_fd(); }
  int console_fd() const { return console_.get(); }
  // What to wait for now, as epoll_ctl(2) events: data is taken from one side when the other can take it.
  uint32_t tty_events() const;
  uint32_t console_events() const;
  // Moves what can be moved without blocking, and takes what was typed. False once the terminal has hung up.
  bool relay();
  // Gives what was typed to the guest. What the terminal did before that (a signal, another size) is to be
  // told first.
  void pass_on_typed();
  // After the sentry's end: writes out what is left of the program's output, waiting for the terminal.
  void drain();

 private:
  Terminal(int tty_fd, sentry::Fd console);

  int io_fd() const { return own_ ? own_.get() : tty_fd_; }
  bool in_foreground() const;
  bool read_tty();
  bool write_tty();
  void read_console();
  void write_console();

  int tty_fd_;
  sentry::Fd own_;  // the same terminal with an open file description of our own, O_NONBLOCK
  sentry::Fd console_;
  std::optional<termios> saved_;  // set while the terminal is raw
  std::string to_guest_, to_tty_;
  bool tty_open_ = true, console_open_ = true;
  bool typed_interrupt_ = false, typed_quit_ = false;
};

}  // namespace runtime
