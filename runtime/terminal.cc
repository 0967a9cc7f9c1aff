#include "runtime/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace runtime {
namespace {

// As much as a pty holds in one direction; larger would only delay Ctrl-C behind output.
constexpr size_t kRelayBytes = 4096;

// What a crash of the runtime must still put right. tcsetattr(3) is async-signal-safe.
int crash_tty = -1;
termios crash_settings;

void restore_and_crash(int signal) {
  if (crash_tty >= 0) ::tcsetattr(crash_tty, TCSANOW, &crash_settings);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

constexpr auto kCrashSignals = std::to_array({SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS});

}  // namespace

bool same_terminal(int a, int b) {
  struct stat first {
  }, second{};
  return ::isatty(a) == 1 && ::isatty(b) == 1 && ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 &&
         first.st_rdev == second.st_rdev && first.st_dev == second.st_dev;
}

Terminal::Terminal(int tty_fd, sentry::Fd console) : tty_fd_(tty_fd), console_(std::move(console)) {}

Terminal::Terminal(Terminal&& other) noexcept
    : tty_fd_(other.tty_fd_),
      own_(std::move(other.own_)),
      console_(std::move(other.console_)),
      saved_(std::exchange(other.saved_, std::nullopt)),
      to_guest_(std::move(other.to_guest_)),
      to_tty_(std::move(other.to_tty_)),
      tty_open_(other.tty_open_),
      console_open_(other.console_open_),
      typed_interrupt_(other.typed_interrupt_),
      typed_quit_(other.typed_quit_) {}

Outcome<Terminal> Terminal::open(int tty_fd, sentry::Fd console) {
  Terminal terminal(tty_fd, std::move(console));
  // The inherited description may be shared with the shell: O_NONBLOCK on it would break that. Opening anew
  // can be refused (a terminal of another user after su(1)); then reads and writes wait for readiness first.
  const std::string path = fmt::format("/proc/self/fd/{}", tty_fd);
  terminal.own_ = sentry::Fd(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  const int flags = ::fcntl(terminal.console_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(terminal.console_.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return system_failure(errno, "cannot set up the console");
  return terminal;
}

// A terminal that is not our controlling one has no job control for us: then it is ours to use.
bool Terminal::in_foreground() const {
  const pid_t group = ::tcgetpgrp(tty_fd_);
  return group < 0 ? errno == ENOTTY : group == ::getpgrp();
}

bool Terminal::take() {
  if (saved_) return true;
  if (!tty_open_ || !in_foreground()) return false;
  termios settings{};
  if (::tcgetattr(tty_fd_, &settings) != 0) return false;
  termios raw = settings;
  ::cfmakeraw(&raw);
  crash_settings = settings;
  crash_tty = tty_fd_;
  for (const int signal : kCrashSignals) std::signal(signal, restore_and_crash);
  if (::tcsetattr(tty_fd_, TCSANOW, &raw) != 0) return false;
  saved_ = settings;
  return true;
}

void Terminal::restore() {
  if (!saved_) return;
  // In the background the settings are the other job's by now, and a shell puts its own back itself.
  if (in_foreground()) ::tcsetattr(tty_fd_, TCSANOW, &*saved_);
  crash_tty = -1;
  saved_.reset();
}

WindowSize window_size_of(int tty_fd) {
  winsize size{};
  if (::ioctl(tty_fd, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_row, size.ws_col};
}

int first_terminal(const std::array<int, 3>& stdio) {
  for (const int fd : stdio)
    if (::isatty(fd) == 1) return fd;
  return -1;
}

void name_terminals(sentry::boot::Process& process, const std::array<int, 3>& stdio) {
  for (size_t i = 0; i < stdio.size(); ++i)
    if (::isatty(stdio[i]) == 1) process.host_terminals |= 1U << i;
  if (process.host_terminals == 0 || process.terminal) return;
  const WindowSize size = window_size_of(first_terminal(stdio));
  process.rows = size.rows;
  process.columns = size.columns;
}

// While another job has the terminal its input is not ours to read, but its arrival is the moment to look
// whether that still holds (a shell's `fg` sends nothing to a job that runs): edge-triggered, so that input
// which the other job leaves unread wakes us once.
uint32_t Terminal::tty_events() const {
  if (!tty_open_) return 0;
  uint32_t events = to_tty_.empty() ? 0U : uint32_t{EPOLLOUT};
  if (!saved_) return events | EPOLLIN | EPOLLET;
  if (to_guest_.empty() && console_open_) events |= EPOLLIN;
  return events;
}

uint32_t Terminal::console_events() const {
  if (!console_open_) return 0;
  return (to_tty_.empty() ? uint32_t{EPOLLIN} : 0U) | (to_guest_.empty() ? 0U : uint32_t{EPOLLOUT});
}

bool Terminal::relay() {
  take();
  if (console_open_ && to_tty_.empty()) read_console();
  if (tty_open_ && !to_tty_.empty()) tty_open_ = write_tty();
  if (tty_open_ && saved_ && to_guest_.empty()) tty_open_ = read_tty();
  return tty_open_;
}

void Terminal::pass_on_typed() {
  if (console_open_ && !to_guest_.empty()) write_console();
}

void Terminal::drain() {
  while (tty_open_) {
    if (to_tty_.empty()) {
      if (!console_open_) return;
      read_console();
      if (to_tty_.empty()) return;
    }
    pollfd wait{io_fd(), POLLOUT, 0};
    // A terminal that is stopped, or gone without saying so, must not keep the sandbox's status from its
    // caller.
    constexpr int kPatienceMs = 2000;
    if (::poll(&wait, 1, kPatienceMs) <= 0) return;
    tty_open_ = write_tty();
  }
}

bool Terminal::typed(int signal) {
  if (signal == SIGINT) return std::exchange(typed_interrupt_, false);
  if (signal == SIGQUIT) return std::exchange(typed_quit_, false);
  return false;
}

bool Terminal::read_tty() {
  if (!own_) {
    pollfd ready{tty_fd_, POLLIN, 0};
    if (::poll(&ready, 1, 0) != 1) return true;
  }
  std::array<char, kRelayBytes> bytes;
  const ssize_t size = ::read(io_fd(), bytes.data(), bytes.size());
  if (size > 0) to_guest_.assign(bytes.data(), static_cast<size_t>(size));
  typed_interrupt_ = typed_interrupt_ || to_guest_.find('\x03') != std::string::npos;
  typed_quit_ = typed_quit_ || to_guest_.find('\x1c') != std::string::npos;
  return size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
}

bool Terminal::write_tty() {
  if (!own_) {
    pollfd ready{tty_fd_, POLLOUT, 0};
    if (::poll(&ready, 1, 0) != 1) return true;
  }
  const ssize_t size = ::write(io_fd(), to_tty_.data(), to_tty_.size());
  if (size > 0) to_tty_.erase(0, static_cast<size_t>(size));
  return size >= 0 || errno == EAGAIN || errno == EINTR;
}

void Terminal::read_console() {
  std::array<char, kRelayBytes> bytes;
  const ssize_t size = ::recv(console_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (size > 0) to_tty_.assign(bytes.data(), static_cast<size_t>(size));
  if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) console_open_ = false;
}

void Terminal::write_console() {
  const ssize_t size =
      ::send(console_.get(), to_guest_.data(), to_guest_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (size > 0) to_guest_.erase(0, static_cast<size_t>(size));
  if (size < 0 && errno != EAGAIN && errno != EINTR) console_open_ = false;
}

}  // namespace runtime
