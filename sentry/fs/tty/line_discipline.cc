#include "sentry/fs/tty/line_discipline.h"

#include <algorithm>
#include <csignal>

namespace sentry::fs::tty {
namespace {

// The kernel's classes (lib/ctype.c): Latin-1 letters count, 0x80 to 0x9f are no controls.
bool is_control(unsigned char c) { return c < 0x20 || c == 0x7f; }
bool is_alphanumeric(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c >= 0xc0 && c != 0xd7 && c != 0xf7);
}
bool is_upper(unsigned char c) { return (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7); }
bool is_lower(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 0xdf && c != 0xf7); }
unsigned char to_lower(unsigned char c) { return is_upper(c) ? static_cast<unsigned char>(c + 0x20) : c; }
unsigned char to_upper(unsigned char c) { return is_lower(c) ? static_cast<unsigned char>(c - 0x20) : c; }

constexpr unsigned kTabWidth = 8;

}  // namespace

void LineDiscipline::set_settings(const Settings& settings) {
  const Settings old = settings_;
  settings_ = settings;
  if (((old.c_lflag ^ settings.c_lflag) & (ICANON | EXTPROC)) != 0) {
    for (Cell& cell : cells_) cell.mark = Mark::kNone;
    committed_ = 0;
    pushed_ = false;
    if (canonical() && !cells_.empty()) {
      // What was typed raw reads as one line; a NUL at its end looks like the mark of an end of file.
      cells_.back().mark = cells_.back().character == '\0' ? Mark::kEndOfFile : Mark::kLineEnd;
      committed_ = cells_.size();
      pushed_ = true;
    }
    erasing_ = literal_ = false;
  }
  if (!input(IXON) && (old.c_iflag & IXON) != 0 && driver_.stopped()) driver_.set_stopped(false);
}

bool LineDiscipline::continuation(unsigned char c) const { return input(IUTF8) && (c & 0xc0) == 0x80; }

long LineDiscipline::room() const {
  long free = static_cast<long>(kCapacity) - static_cast<long>(cells_.size());
  if (input(PARMRK)) free = (free + 2) / 3;  // a 0xff takes two, a marked error three
  --free;
  // Without a complete line nobody could ever make room: the line goes on and its last character is lost
  // instead.
  if (free <= 0 && canonical() && committed_ == 0) return 1;
  return std::max(0L, free);
}

size_t LineDiscipline::receive(std::string_view bytes) {
  size_t done = 0;
  while (done < bytes.size() && has_room()) {
    if (cells_.size() >= kCapacity) {
      cells_.pop_back();
      committed_ = std::min(committed_, cells_.size());
    }
    receive_one(static_cast<unsigned char>(bytes[done++]));
  }
  flush_echo();
  return done;
}

void LineDiscipline::receive_one(unsigned char c) {
  if (input(ISTRIP)) c &= 0x7f;
  if (input(IUCLC) && local(IEXTEN)) c = to_lower(c);
  if (local(EXTPROC)) {
    put(c);
    return;
  }
  if (literal_) {
    literal_ = false;
    receive_plain(c, false);
    return;
  }
  const unsigned char typed = c;
  if (receive_special(c)) return;
  if (canonical() && receive_canonical(c)) return;
  // Only a newline that was a carriage return is echoed as one here; a typed one shows as ^J.
  receive_plain(c, c == '\n' && typed != c);
}

bool LineDiscipline::receive_special(unsigned char& c) {
  if (input(IXON)) {
    if (matches(c, VSTART)) {
      driver_.set_stopped(matches(c, VSTOP) && !driver_.stopped());
      return true;
    }
    if (matches(c, VSTOP)) {
      driver_.set_stopped(true);
      return true;
    }
  }
  if (local(ISIG)) {
    for (const auto& [index, signo] :
         {std::pair{VINTR, SIGINT}, std::pair{VQUIT, SIGQUIT}, std::pair{VSUSP, SIGTSTP}}) {
      if (matches(c, index)) {
        receive_signal(signo, c);
        return true;
      }
    }
  }
  if (driver_.stopped() && input(IXON) && input(IXANY)) driver_.set_stopped(false);
  if (c == '\r') {
    if (input(IGNCR)) return true;
    if (input(ICRNL)) c = '\n';
  } else if (c == '\n' && input(INLCR)) {
    c = '\r';
  }
  return false;
}

void LineDiscipline::receive_signal(int signo, unsigned char c) {
  driver_.signal(signo);
  if (!local(NOFLSH)) {
    echo_.clear();
    driver_.flush_output();
    flush_input();
  }
  if (input(IXON)) driver_.set_stopped(false);
  if (local(ECHO)) echo_character(c);
}

bool LineDiscipline::receive_canonical(unsigned char c) {
  if (matches(c, VERASE) || (matches(c, VWERASE) && local(IEXTEN))) {
    erase(c);
    return true;
  }
  if (matches(c, VKILL)) {
    kill_line(c);
    return true;
  }
  if (local(IEXTEN) && matches(c, VLNEXT)) {
    literal_ = true;
    if (local(ECHO)) {
      finish_erasing();
      if (local(ECHOCTL)) {
        echo_raw('^');
        echo_raw('\b');
      }
    }
    return true;
  }
  if (local(ECHO) && local(IEXTEN) && matches(c, VREPRINT)) {
    reprint(c);
    return true;
  }
  if (c == '\n') {
    if (local(ECHO) || local(ECHONL)) echo_raw('\n');
    finish_line(c, Mark::kLineEnd);
    return true;
  }
  if (matches(c, VEOF)) {
    finish_line('\0', Mark::kEndOfFile);
    return true;
  }
  if (matches(c, VEOL) || (local(IEXTEN) && matches(c, VEOL2))) {
    if (local(ECHO)) {
      if (committed_ == cells_.size()) line_column_ = column_;
      echo_character(c);
    }
    if (input(PARMRK) && c == 0xff) put(0xff);
    finish_line(c, Mark::kLineEnd);
    return true;
  }
  return false;
}

void LineDiscipline::receive_plain(unsigned char c, bool newline) {
  if (local(ECHO)) {
    finish_erasing();
    if (newline) {
      echo_raw('\n');
    } else {
      if (committed_ == cells_.size()) line_column_ = column_;
      echo_character(c);
    }
  }
  if (input(PARMRK) && c == 0xff) put(0xff);
  put(c);
}

void LineDiscipline::put(unsigned char c, Mark mark) {
  if (mark != Mark::kEndOfFile) pushed_ = false;
  cells_.push_back({c, mark});
}

void LineDiscipline::finish_line(unsigned char c, Mark mark) {
  put(c, mark);
  committed_ = cells_.size();
}

// ECHOPRT prints what is erased between a backslash and a slash, for terminals of paper.
void LineDiscipline::finish_erasing() {
  if (!erasing_) return;
  echo_raw('/');
  erasing_ = false;
}

void LineDiscipline::kill_line(unsigned char c) {
  if (committed_ == cells_.size()) return;
  if (local(ECHO) && local(ECHOK) && local(ECHOKE) && local(ECHOE)) {
    erase(c);
    return;
  }
  cells_.resize(committed_);
  if (!local(ECHO)) return;
  finish_erasing();
  echo_character(settings_.c_cc[VKILL]);
  if (local(ECHOK)) echo_raw('\n');
}

void LineDiscipline::erase(unsigned char c) {
  if (committed_ == cells_.size()) return;
  const bool one = matches(c, VERASE);
  const bool word = !one && !matches(c, VKILL);
  bool seen_word = false;
  while (cells_.size() > committed_) {
    // One character, all bytes of it.
    size_t head = cells_.size();
    unsigned char first = 0;
    do {
      first = cells_[--head].character;
    } while (continuation(first) && head > committed_);
    if (continuation(first)) break;
    if (word) {
      if (is_alphanumeric(first) || first == '_')
        seen_word = true;
      else if (seen_word)
        break;
    }
    std::string erased;
    for (size_t i = head; i < cells_.size(); ++i) erased += static_cast<char>(cells_[i].character);
    cells_.resize(head);
    if (local(ECHO)) {
      if (local(ECHOPRT)) {
        if (!erasing_) {
          echo_raw('\\');
          erasing_ = true;
        }
        echo_character(first);
        for (size_t i = 1; i < erased.size(); ++i) {
          echo_raw(static_cast<unsigned char>(erased[i]));
          if (column_ > 0) --column_;  // ECHO_OP_MOVE_BACK_COL
        }
      } else if (one && !local(ECHOE)) {
        echo_character(settings_.c_cc[VERASE]);
      } else {
        erase_from_screen(erased);
      }
    }
    if (one) break;
  }
  if (committed_ == cells_.size() && local(ECHO)) finish_erasing();
}

void LineDiscipline::erase_from_screen(const std::string& erased) {
  const auto c = static_cast<unsigned char>(erased[0]);
  if (c == '\t') {
    // As far back as the tab went: to the column behind what stands before it, counted from the last tab or
    // from where the line began.
    unsigned columns = 0;
    bool after_tab = false;
    for (size_t i = cells_.size(); i > committed_; --i) {
      const unsigned char before = cells_[i - 1].character;
      if (before == '\t') {
        after_tab = true;
        break;
      }
      if (is_control(before)) {
        if (local(ECHOCTL)) columns += 2;
      } else if (!continuation(before)) {
        ++columns;
      }
    }
    if (!after_tab) columns += line_column_;
    for (unsigned back = kTabWidth - (columns & (kTabWidth - 1)); back > 0; --back) {
      echo_ += '\b';
      if (column_ > 0) --column_;
    }
    return;
  }
  if (is_control(c) && local(ECHOCTL)) {
    for (char each : {'\b', ' ', '\b'}) echo_raw(static_cast<unsigned char>(each));
  }
  if (!is_control(c) || local(ECHOCTL)) {
    for (char each : {'\b', ' ', '\b'}) echo_raw(static_cast<unsigned char>(each));
  }
}

void LineDiscipline::reprint(unsigned char c) {
  finish_erasing();
  echo_character(c);
  echo_raw('\n');
  for (size_t i = committed_; i < cells_.size(); ++i) echo_character(cells_[i].character);
}

void LineDiscipline::echo_character(unsigned char c) {
  if (local(ECHOCTL) && is_control(c) && c != '\t') {
    echo_ += '^';
    echo_ += static_cast<char>(c ^ 0x40);
    column_ += 2;
    return;
  }
  echo_raw(c);
}

void LineDiscipline::echo_raw(unsigned char c) {
  // 0xff is what the kernel's echo buffer marks its operations with; the character itself passes by output
  // processing.
  constexpr unsigned char kEchoMark = 0xff;
  if (c == kEchoMark) {
    echo_ += static_cast<char>(c);
    ++column_;
  } else if ((settings_.c_oflag & OPOST) != 0) {
    output_character(c, SIZE_MAX, echo_);
  } else {
    echo_ += static_cast<char>(c);
  }
}

void LineDiscipline::flush_echo() {
  if (echo_.empty()) return;
  const std::string bytes = std::move(echo_);
  echo_.clear();
  driver_.echo(bytes);
}

bool LineDiscipline::output_character(unsigned char c, size_t room, std::string& out) {
  const tcflag_t flags = settings_.c_oflag;
  if (room == 0) return false;
  switch (c) {
    case '\n':
      if ((flags & ONLRET) != 0) column_ = 0;
      if ((flags & ONLCR) != 0) {
        if (room < 2) return false;
        line_column_ = column_ = 0;
        out += "\r\n";
        return true;
      }
      line_column_ = column_;
      break;
    case '\r':
      if ((flags & ONOCR) != 0 && column_ == 0) return true;
      if ((flags & OCRNL) != 0) {
        c = '\n';
        if ((flags & ONLRET) != 0) line_column_ = column_ = 0;
        break;
      }
      line_column_ = column_ = 0;
      break;
    case '\t': {
      const unsigned spaces = kTabWidth - (column_ & (kTabWidth - 1));
      if ((flags & TABDLY) == XTABS) {
        if (room < spaces) return false;
        column_ += spaces;
        out.append(spaces, ' ');
        return true;
      }
      column_ += spaces;
      break;
    }
    case '\b':
      if (column_ > 0) --column_;
      break;
    default:
      if (!is_control(c)) {
        if ((flags & OLCUC) != 0) c = to_upper(c);
        if (!continuation(c)) ++column_;
      }
      break;
  }
  out += static_cast<char>(c);
  return true;
}

size_t LineDiscipline::process_output(std::string_view text, size_t room, std::string& out) {
  if ((settings_.c_oflag & OPOST) == 0) {
    const size_t count = std::min(text.size(), room);
    out.append(text.substr(0, count));
    return count;
  }
  const size_t limit = out.size() + room;
  size_t done = 0;
  while (done < text.size() &&
         output_character(static_cast<unsigned char>(text[done]), limit - out.size(), out))
    ++done;
  return done;
}

bool LineDiscipline::readable(size_t minimum) const {
  return canonical() ? committed_ > 0 : cells_.size() >= std::max<size_t>(minimum, 1);
}

bool LineDiscipline::poll_readable() const {
  const size_t minimum = settings_.c_cc[VTIME] == 0 && settings_.c_cc[VMIN] != 0 ? settings_.c_cc[VMIN] : 1;
  return readable(minimum);
}

LineDiscipline::Taken LineDiscipline::take(size_t size) {
  Taken taken;
  if (!canonical()) {
    while (!cells_.empty() && taken.bytes.size() < size) {
      taken.bytes += static_cast<char>(cells_.front().character);
      cells_.pop_front();
    }
    committed_ -= std::min(committed_, taken.bytes.size());
    return taken;
  }
  while (committed_ > 0 && taken.bytes.size() < size) {
    const Cell cell = cells_.front();
    cells_.pop_front();
    --committed_;
    if (cell.mark == Mark::kEndOfFile) {
      // Right behind a line that leaving raw mode made, it belongs to that line and says nothing.
      if (taken.bytes.empty() && pushed_) {
        pushed_ = false;
        continue;
      }
      taken.end_of_file = taken.bytes.empty();
      return taken;
    }
    taken.bytes += static_cast<char>(cell.character);
    if (cell.mark == Mark::kLineEnd) return taken;
  }
  // A read that ends just before an end of file takes it along: it is no empty read of its own.
  if (!taken.bytes.empty() && committed_ > 0 && cells_.front().mark == Mark::kEndOfFile) {
    cells_.pop_front();
    --committed_;
  }
  return taken;
}

size_t LineDiscipline::waiting() const {
  if (!canonical()) return cells_.size();
  size_t count = 0;
  for (size_t i = 0; i < committed_; ++i)
    if (cells_[i].mark != Mark::kEndOfFile) ++count;
  return count;
}

void LineDiscipline::flush_input() {
  cells_.clear();
  committed_ = 0;
  pushed_ = literal_ = erasing_ = false;
  driver_.input_flushed();
}

}  // namespace sentry::fs::tty
