// N_TTY: what happens between a keyboard and a program. Editing of lines, echo, characters that are signals,
// flow control by characters, and what is done to output on its way to the screen. termios(3), and
// drivers/tty/n_tty.c of Linux where the manual is silent. Knows nothing of processes: unit tests drive it
// alone.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "sentry/fs/tty/termios.h"

namespace sentry::fs::tty {

// The terminal around a line discipline.
class Driver {
 public:
  virtual ~Driver() = default;
  // Bytes for the screen: echo, which nobody may be made to wait for.
  virtual void echo(std::string_view bytes) = 0;
  // A character means a signal (SIGINT, SIGQUIT, SIGTSTP) for the foreground.
  virtual void signal(int signo) = 0;
  // Output that the screen has not taken yet is dropped, because of a signal.
  virtual void flush_output() = 0;
  // Input that waited was dropped.
  virtual void input_flushed() = 0;
  // Output is stopped, or goes on: STOP and START characters.
  virtual void set_stopped(bool stopped) = 0;
  virtual bool stopped() const = 0;
};

class LineDiscipline {
 public:
  // N_TTY_BUF_SIZE: a line holds at most 4095 characters and its end.
  static constexpr size_t kCapacity = 4096;

  explicit LineDiscipline(Driver& driver) : driver_(driver), settings_(default_settings()) {}

  const Settings& settings() const { return settings_; }
  // tcsetattr(3). What has been typed stays; going to or from canonical mode changes how it can be read.
  void set_settings(const Settings& settings);

  // Typed bytes. How many could be taken: the rest must be offered again once something has been read.
  size_t receive(std::string_view bytes);
  // Whether receive() would take at least one byte.
  bool has_room() const { return room() > 0; }

  // What a read may take now: a line is complete, or in raw mode at least `minimum` bytes.
  bool readable(size_t minimum = 1) const;
  // poll(2): readable by what VMIN says when there is no VTIME.
  bool poll_readable() const;
  // Takes at most one line, or in raw mode what there is. Empty without `end_of_file` if nothing is readable.
  struct Taken {
    std::string bytes;
    bool end_of_file = false;  // VEOF on an empty line
  };
  Taken take(size_t size);
  // FIONREAD: bytes that reads would deliver.
  size_t waiting() const;
  // TCIFLUSH.
  void flush_input();

  // Processes output (OPOST) of at most `room` bytes into `out`. How many of `text` are done.
  size_t process_output(std::string_view text, size_t room, std::string& out);

 private:
  enum class Mark : unsigned char { kNone, kLineEnd, kEndOfFile };
  struct Cell {
    unsigned char character;
    Mark mark;
  };

  // EXTPROC: the other side of the terminal edits the lines, and what it sends is taken as it is.
  bool canonical() const { return local(ICANON) && !local(EXTPROC); }
  bool local(tcflag_t flag) const { return (settings_.c_lflag & flag) != 0; }
  bool input(tcflag_t flag) const { return (settings_.c_iflag & flag) != 0; }
  bool matches(unsigned char c, int index) const { return c != 0 && c == settings_.c_cc[index]; }
  bool continuation(unsigned char c) const;
  long room() const;

  void receive_one(unsigned char c);
  bool receive_special(unsigned char& c);  // true: it has been dealt with
  bool receive_canonical(unsigned char c);
  void receive_plain(unsigned char c, bool newline);  // newline: echoed as one
  void receive_signal(int signo, unsigned char c);
  void put(unsigned char c, Mark mark = Mark::kNone);
  void finish_line(unsigned char c, Mark mark);
  void erase(unsigned char c);
  void kill_line(unsigned char c);
  void reprint(unsigned char c);
  void finish_erasing();
  void erase_from_screen(const std::string& erased);

  void echo_character(unsigned char c);  // as ECHOCTL shows it
  void echo_raw(unsigned char c);        // through output processing
  void flush_echo();
  bool output_character(unsigned char c, size_t room, std::string& out);

  Driver& driver_;
  Settings settings_;
  std::deque<Cell> cells_;
  size_t committed_ = 0;  // cells that belong to complete lines; in raw mode all are readable
  bool pushed_ =
      false;  // a line was completed by leaving raw mode: an end of file right behind it is swallowed
  bool literal_ = false;      // VLNEXT was typed
  bool erasing_ = false;      // ECHOPRT: inside "\.../"
  unsigned column_ = 0;       // of the cursor
  unsigned line_column_ = 0;  // where the line being edited began
  std::string echo_;
};

}  // namespace sentry::fs::tty
