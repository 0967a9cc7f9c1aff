// pty(7), termios(3), job control: tcsetpgrp(3), SIGTTIN, SIGTTOU, hangup, window size.
#include <linux/capability.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <termios.h>

#include <fstream>
#include <string>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

struct Pty {
  Pty() {
    master = Fd(OK(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));
    OK(grantpt(master));
    OK(unlockpt(master));
    char name[64];
    CHECK_EQ(ptsname_r(master, name, sizeof name), 0);
    path = name;
    slave = Fd(OK(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)));
  }
  termios get() {
    termios t;
    OK(tcgetattr(slave, &t));
    return t;
  }
  void set(const termios& t) { OK(tcsetattr(slave, TCSANOW, &t)); }
  void type(const std::string& keys) {
    CHECK_EQ(OK(write(master, keys.data(), keys.size())), ssize_t(keys.size()));
  }
  // What the terminal shows, once as much has come.
  std::string screen(size_t at_least) {
    std::string text;
    while (text.size() < at_least) {
      pollfd p = {master, POLLIN, 0};
      CHECK_EQ(OK(poll(&p, 1, 5000)), 1);
      char block[256];
      ssize_t n = OK(read(master, block, sizeof block));
      text.append(block, size_t(n));
    }
    return text;
  }
  bool quiet() {
    pollfd p = {master, POLLIN, 0};
    return OK(poll(&p, 1, 0)) == 0;
  }
  Fd master, slave;
  std::string path;
};

std::string read_line(int fd) {
  char block[256];
  ssize_t n = OK(read(fd, block, sizeof block));
  return std::string(block, size_t(n));
}

bool input_ready(int fd) {
  pollfd p = {fd, POLLIN, 0};
  return OK(poll(&p, 1, 0)) == 1;
}

// TIOCGLCKTRMIOS(2const): what is locked, tcsetattr(3) leaves alone.
TEST(settings_can_be_locked) {
  Pty pty;
  termios locked;
  memset(&locked, 0xee, sizeof locked);
  OK(ioctl(pty.slave, TIOCGLCKTRMIOS, &locked));
  CHECK_EQ(locked.c_lflag, 0u);
  CHECK_EQ(locked.c_cc[VINTR], 0);
  FAILS(EFAULT, ioctl(pty.slave, TIOCGLCKTRMIOS, 8));
  if (!check::is_root() || OK(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN)) != 1) {
    FAILS(EPERM, ioctl(pty.slave, TIOCSLCKTRMIOS, &locked));
    return;
  }
  locked.c_lflag = ECHO;
  locked.c_cc[VINTR] = 1;
  OK(ioctl(pty.slave, TIOCSLCKTRMIOS, &locked));
  memset(&locked, 0, sizeof locked);
  OK(ioctl(pty.master, TIOCGLCKTRMIOS, &locked));
  CHECK_EQ(locked.c_lflag, unsigned{ECHO});
  const termios before = pty.get();
  termios wanted = before;
  wanted.c_lflag &= ~tcflag_t(ECHO | ICANON);
  wanted.c_cc[VINTR] = 7;
  wanted.c_cc[VQUIT] = 8;
  pty.set(wanted);
  const termios after = pty.get();
  CHECK_EQ(after.c_lflag & (ECHO | ICANON), unsigned{ECHO});
  CHECK_EQ(after.c_cc[VINTR], before.c_cc[VINTR]);
  CHECK_EQ(after.c_cc[VQUIT], 8);
}

TEST(opening) {
  Pty p;
  CHECK(p.path.starts_with("/dev/pts/"));
  CHECK(isatty(p.slave));
  CHECK(isatty(p.master));
  struct stat st;
  OK(fstat(p.slave, &st));
  CHECK(S_ISCHR(st.st_mode));
  CHECK_EQ(st.st_rdev >> 8, 136u);
  char name[64];
  CHECK_EQ(ttyname_r(p.slave, name, sizeof name), 0);
  CHECK_EQ(p.path, name);
  FAILS(ENOTTY, tcgetattr(OK(open("/dev/null", O_RDONLY)), new termios));
  Pty q;
  CHECK(q.path != p.path);
  // A locked slave does not open.
  Fd master(OK(posix_openpt(O_RDWR | O_NOCTTY)));
  CHECK_EQ(ptsname_r(master, name, sizeof name), 0);
  FAILS(EIO, open(name, O_RDWR | O_NOCTTY));
}

TEST(defaults) {
  Pty p;
  termios t = p.get();
  CHECK(t.c_lflag & ICANON);
  CHECK(t.c_lflag & ECHO);
  CHECK(t.c_lflag & ISIG);
  CHECK(t.c_iflag & ICRNL);
  CHECK(t.c_oflag & OPOST);
  CHECK(t.c_oflag & ONLCR);
  CHECK_EQ(t.c_cc[VINTR], 3);
  CHECK_EQ(t.c_cc[VEOF], 4);
  CHECK_EQ(t.c_cc[VERASE], 127);
  CHECK_EQ(t.c_cc[VSUSP], 26);
  CHECK_EQ(cfgetospeed(&t), speed_t(B38400));
}

TEST(line_editing) {
  Pty p;
  p.type("hel");
  CHECK(!input_ready(p.slave));
  p.type("lo\n");
  CHECK_EQ(read_line(p.slave), "hello\n");
  p.type(
      "abx\x7f"
      "c\n");
  CHECK_EQ(read_line(p.slave), "abc\n");
  p.type(
      "garbage\x15"
      "line\n");  // ^U
  CHECK_EQ(read_line(p.slave), "line\n");
  p.type(
      "one two\x17"
      "three\n");  // ^W
  CHECK_EQ(read_line(p.slave), "one three\n");
  p.type(
      "a\x16\x03"
      "b\n");  // ^V takes the next one literally
  CHECK_EQ(read_line(p.slave),
           "a\x03"
           "b\n");
  p.type("return\r");
  CHECK_EQ(read_line(p.slave), "return\n");
  // One line at a time, and a line in parts.
  p.type("first\nsecond\n");
  CHECK_EQ(read_line(p.slave), "first\n");
  char two[2];
  CHECK_EQ(OK(read(p.slave, two, 2)), 2);
  CHECK_EQ(read_line(p.slave), "cond\n");
}

TEST(end_of_file_key) {
  Pty p;
  p.type("part\x04");
  CHECK_EQ(read_line(p.slave), "part");
  p.type("\x04");
  CHECK_EQ(read_line(p.slave), "");
  p.type("more\n");
  CHECK_EQ(read_line(p.slave), "more\n");
}

TEST(echo) {
  Pty p;
  p.type("ab\n");
  CHECK_EQ(p.screen(4), "ab\r\n");
  p.type("x\x7f");
  CHECK_EQ(p.screen(4), "x\b \b");
  p.type("\x01\n");
  CHECK_EQ(p.screen(4), "^A\r\n");
  termios t = p.get();
  t.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  p.set(t);
  p.type("secret\n");
  CHECK_EQ(read_line(p.slave), "ab\n");
  CHECK_EQ(read_line(p.slave), "\x01\n");
  CHECK_EQ(read_line(p.slave), "secret\n");
  CHECK(p.quiet());
}

TEST(output_processing) {
  Pty p;
  OK(write(p.slave, "a\nb\n", 4));
  CHECK_EQ(p.screen(6), "a\r\nb\r\n");
  termios t = p.get();
  t.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  p.set(t);
  OK(write(p.slave, "a\nb\n", 4));
  CHECK_EQ(p.screen(4), "a\nb\n");
}

TEST(raw_mode) {
  Pty p;
  termios t = p.get();
  cfmakeraw(&t);
  p.set(t);
  p.type("x");
  CHECK_EQ(read_line(p.slave), "x");
  p.type("\x03\x04\r");
  std::string got;
  while (got.size() < 3) got += read_line(p.slave);
  CHECK_EQ(got, "\x03\x04\r");
  CHECK(p.quiet());
  t = p.get();
  CHECK_EQ(t.c_lflag & (ICANON | ECHO | ISIG), 0u);
  CHECK_EQ(t.c_cc[VMIN], 1);
}

TEST(minimum_and_time) {
  Pty p;
  termios t = p.get();
  cfmakeraw(&t);
  t.c_cc[VMIN] = 0;
  t.c_cc[VTIME] = 0;
  p.set(t);
  char text[8];
  CHECK_EQ(OK(read(p.slave, text, 8)), 0);
  t.c_cc[VTIME] = 1;
  p.set(t);
  uint64_t start = check::now_ns();
  CHECK_EQ(OK(read(p.slave, text, 8)), 0);
  CHECK(check::now_ns() - start >= 90'000'000);
  t.c_cc[VMIN] = 3;
  t.c_cc[VTIME] = 0;
  p.set(t);
  pid_t reader = check::fork_child([&] { CHECK_EQ(OK(read(p.slave, text, 8)), 3); });
  WAIT_BLOCKED(reader);
  p.type("a");
  p.type("bc");
  JOIN(reader);
}

TEST(switching_from_canonical_to_raw_keeps_input) {
  Pty p;
  p.type("line\nrest");
  termios t = p.get();
  cfmakeraw(&t);
  p.set(t);
  std::string got;
  while (got.size() < 9) got += read_line(p.slave);
  CHECK_EQ(got, "line\nrest");
}

TEST(nonblocking_reads) {
  Pty p;
  OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
  char byte;
  FAILS(EAGAIN, read(p.slave, &byte, 1));
  OK(fcntl(p.master, F_SETFL, O_NONBLOCK));
  FAILS(EAGAIN, read(p.master, &byte, 1));
}

TEST(flush_and_queue_sizes) {
  Pty p;
  p.type("line\n");
  int bytes = 0;
  WAIT_UNTIL([&] {
    OK(ioctl(p.slave, FIONREAD, &bytes));
    return bytes == 5;
  }());
  OK(tcflush(p.slave, TCIFLUSH));
  CHECK(!input_ready(p.slave));
  OK(tcdrain(p.slave));
}

TEST(window_size) {
  Pty p;
  winsize size = {};
  OK(ioctl(p.slave, TIOCGWINSZ, &size));
  CHECK_EQ(size.ws_row, 0);
  size = {24, 80, 0, 0};
  OK(ioctl(p.master, TIOCSWINSZ, &size));
  winsize seen = {};
  OK(ioctl(p.slave, TIOCGWINSZ, &seen));
  CHECK_EQ(seen.ws_row, 24);
  CHECK_EQ(seen.ws_col, 80);
}

// Runs `body` in a new session whose controlling terminal is the slave.
pid_t in_session(Pty& p, const std::function<void()>& body) {
  return check::fork_child([&] {
    OK(setsid());
    OK(ioctl(p.slave, TIOCSCTTY, 0));
    body();
  });
}

sigset_t only(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : signals) sigaddset(&set, number);
  return set;
}

TEST(controlling_terminal) {
  Pty p;
  JOIN(check::fork_child([&] {
    OK(setsid());
    FAILS(ENXIO, open("/dev/tty", O_RDWR));
    FAILS(ENOTTY, tcgetpgrp(p.slave));
    OK(ioctl(p.slave, TIOCSCTTY, 0));
    Fd tty(OK(open("/dev/tty", O_RDWR)));
    CHECK_EQ(OK(tcgetpgrp(tty)), getpgrp());
    CHECK_EQ(OK(tcgetsid(p.slave)), getsid(0));
    OK(write(tty, "via tty", 7));
    signal(SIGHUP, SIG_IGN);  // giving it up hangs up the foreground group
    OK(ioctl(tty, TIOCNOTTY));
    FAILS(ENXIO, open("/dev/tty", O_RDWR));
  }));
  CHECK_EQ(p.screen(7), "via tty");
}

TEST(opening_makes_it_controlling) {
  Pty p;
  JOIN(check::fork_child([&] {
    OK(setsid());
    Fd own(OK(open(p.path.c_str(), O_RDWR)));
    Fd tty(OK(open("/dev/tty", O_RDWR)));
    // A second one does not become it.
    Pty q;
    Fd other(OK(open(q.path.c_str(), O_RDWR)));
    FAILS(ENOTTY, tcgetpgrp(other));
    FAILS(EPERM, ioctl(other, TIOCSCTTY, 0));
  }));
}

TEST(interrupt_quit_and_suspend_keys) {
  Pty p;
  Gate ready;
  pid_t child = in_session(p, [&] {
    sigset_t set = only({SIGINT, SIGQUIT, SIGTSTP});
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    ready.notify();
    int number;
    for (int expected : {SIGINT, SIGQUIT, SIGTSTP}) {
      CHECK_EQ(sigwait(&set, &number), 0);
      CHECK_EQ(number, expected);
      ready.notify();
    }
  });
  ready.wait();
  for (const char* key : {"\x03", "\x1c", "\x1a"}) {
    p.type(key);
    p.screen(2);
    Gate* gate = &ready;
    gate->wait();
  }
  JOIN(child);
}

TEST(the_interrupt_key_discards_the_line) {
  Pty p;
  JOIN(in_session(p, [&] {
    signal(SIGINT, SIG_IGN);
    p.type("typed\x03kept\n");
    CHECK_EQ(read_line(p.slave), "kept\n");
  }));
}

TEST(resizing_signals_the_foreground) {
  Pty p;
  Gate ready;
  pid_t child = in_session(p, [&] {
    sigset_t set = only({SIGWINCH});
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    ready.notify();
    timespec limit = {10, 0};
    CHECK_EQ(OK(sigtimedwait(&set, nullptr, &limit)), SIGWINCH);
    winsize size = {};
    OK(ioctl(p.slave, TIOCGWINSZ, &size));
    CHECK_EQ(size.ws_row, 50);
  });
  ready.wait();
  winsize size = {50, 100, 0, 0};
  OK(ioctl(p.master, TIOCSWINSZ, &size));
  JOIN(child);
}

TEST(foreground_groups) {
  Pty p;
  JOIN(in_session(p, [&] {
    Gate leave;
    pid_t job = check::fork_child([&] {
      OK(setpgid(0, 0));
      leave.wait();
    });
    OK(setpgid(job, job) == 0 || errno == EACCES ? 0 : -1);
    signal(SIGTTOU, SIG_IGN);
    OK(tcsetpgrp(p.slave, job));
    CHECK_EQ(OK(tcgetpgrp(p.slave)), job);
    CHECK_EQ(OK(tcgetpgrp(p.master)), job);
    // Now this group is in the background: it may not read.
    sigset_t set = only({SIGTTIN});
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
    char byte;
    FAILS(EIO, read(p.slave, &byte, 1));
    OK(tcsetpgrp(p.slave, getpgrp()));
    FAILS(ESRCH, tcsetpgrp(p.slave, 999'999));
    FAILS(EPERM, tcsetpgrp(p.slave, getpgid(getppid())));
    FAILS(EINVAL, tcsetpgrp(p.slave, -1));
    leave.notify();
    JOIN(job);
  }));
}

TEST(background_reads_and_writes_stop) {
  Pty p;
  JOIN(in_session(p, [&] {
    pid_t reader = check::fork_child([&] {
      OK(setpgid(0, 0));
      CHECK_EQ(read_line(p.slave), "for the job\n");
    });
    int status;
    OK(waitpid(reader, &status, WUNTRACED));
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTTIN);
    signal(SIGTTOU, SIG_IGN);
    OK(tcsetpgrp(p.slave, reader));
    OK(kill(-reader, SIGCONT));
    p.type("for the job\n");
    JOIN(reader);
    OK(tcsetpgrp(p.slave, getpgrp()));
    signal(SIGTTOU, SIG_DFL);
    termios t = p.get();
    t.c_lflag |= TOSTOP;
    p.set(t);
    pid_t writer = check::fork_child([&] {
      OK(setpgid(0, 0));
      OK(write(p.slave, "x", 1));
    });
    OK(waitpid(writer, &status, WUNTRACED));
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTTOU);
    t.c_lflag &= ~static_cast<tcflag_t>(TOSTOP);
    p.set(t);
    OK(kill(writer, SIGCONT));
    JOIN(writer);
    // Changing the settings from the background stops, whatever TOSTOP says.
    pid_t changer = check::fork_child([&] {
      OK(setpgid(0, 0));
      p.set(t);
    });
    OK(waitpid(changer, &status, WUNTRACED));
    CHECK_EQ(WSTOPSIG(status), SIGTTOU);
    OK(kill(changer, SIGKILL));
    WAIT_STATUS(changer);
  }));
}

TEST(hangup) {
  int fds[2];
  OK(pipe(fds));
  pid_t child;
  {
    Pty p;
    Gate ready;
    child = in_session(p, [&] {
      p.master.close();
      OK(close(fds[0]));
      sigset_t set = only({SIGHUP, SIGCONT});
      OK(sigprocmask(SIG_BLOCK, &set, nullptr));
      ready.notify();
      timespec limit = {10, 0};
      OK(sigtimedwait(&set, nullptr, &limit));
      char byte;
      CHECK_EQ(OK(read(p.slave, &byte, 1)), 0);
      FAILS(EIO, write(p.slave, "x", 1));
      pollfd entry = {p.slave, POLLIN, 0};
      OK(poll(&entry, 1, 0));
      CHECK(entry.revents & POLLHUP);
    });
    ready.wait();
  }
  JOIN(child);
}

TEST(master_reads_eio_when_the_slave_is_gone) {
  Pty p;
  OK(write(p.slave, "last", 4));
  p.slave.close();
  CHECK_EQ(p.screen(4), "last");
  char byte;
  FAILS(EIO, read(p.master, &byte, 1));
  pollfd entry = {p.master, POLLIN, 0};
  OK(poll(&entry, 1, 0));
  CHECK(entry.revents & POLLHUP);
  // Opened anew, it goes on.
  Fd again(OK(open(p.path.c_str(), O_RDWR | O_NOCTTY)));
  OK(write(again, "new", 3));
  CHECK_EQ(p.screen(3), "new");
}

TEST(session_leader_exit_hangs_up) {
  Pty p;
  int fds[2];
  OK(pipe(fds));
  pid_t leader = in_session(p, [&] {
    Gate ready;
    check::fork_child([&] {
      OK(close(fds[0]));
      sigset_t set = only({SIGHUP});
      OK(sigprocmask(SIG_BLOCK, &set, nullptr));
      ready.notify();
      timespec limit = {10, 0};
      CHECK_EQ(OK(sigtimedwait(&set, nullptr, &limit)), SIGHUP);
      OK(write(fds[1], "h", 1));
    });
    ready.wait();
  });
  JOIN(leader);
  OK(close(fds[1]));
  char byte;
  CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
}

TEST(packet_mode) {
  Pty p;
  int on = 1;
  OK(ioctl(p.master, TIOCPKT, &on));
  OK(write(p.slave, "x", 1));
  char text[8];
  CHECK_EQ(OK(read(p.master, text, 8)), 2);
  CHECK_EQ(text[0], 0);
  CHECK_EQ(text[1], 'x');
}

// ioctl_tty(2), TIOCPKT: the master hears what becomes of the slave's flow and settings.
TEST(packet_mode_tells_of_changes) {
  Pty p;
  termios settings = p.get();
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  OK(tcsetattr(p.slave, TCSANOW, &settings));
  // With a line behind it, which tells when it has got through.
  const auto type = [&](const std::string& key) {
    p.type(key + "\n");
    CHECK_EQ(read_line(p.slave), "\n");
  };
  const auto status = [&] {
    pollfd ready = {p.master, POLLIN | POLLPRI, 0};
    unsigned char text[8];
    if (OK(poll(&ready, 1, 0)) == 0) return -1;
    CHECK_EQ(OK(read(p.master, text, sizeof text)), 1);
    return int{text[0]};
  };
  int on = 1;
  OK(ioctl(p.master, TIOCPKT, &on));
  CHECK_EQ(status(), -1);
  OK(tcflow(p.slave, TCOOFF));
  CHECK_EQ(status(), TIOCPKT_STOP);
  OK(tcflow(p.slave, TCOOFF));
  CHECK_EQ(status(), -1);
  type("\x11");  // START does not undo what a call has stopped
  CHECK_EQ(status(), -1);
  OK(tcflow(p.slave, TCOON));
  CHECK_EQ(status(), TIOCPKT_START);
  OK(tcflow(p.slave, TCOON));
  CHECK_EQ(status(), -1);
  OK(tcflow(p.slave, TCOOFF));
  OK(tcflow(p.slave, TCOON));
  CHECK_EQ(status(), TIOCPKT_START);  // the last word
  type("\x13");                       // STOP
  CHECK_EQ(status(), TIOCPKT_STOP);
  OK(tcflow(p.slave, TCOON));  // no call had stopped it
  CHECK_EQ(status(), -1);
  OK(tcflow(p.slave, TCOOFF));
  OK(tcflow(p.slave, TCOON));
  CHECK_EQ(status(), TIOCPKT_START);

  settings.c_iflag &= ~static_cast<tcflag_t>(IXON);
  OK(tcsetattr(p.slave, TCSANOW, &settings));
  CHECK_EQ(status(), TIOCPKT_NOSTOP);
  settings.c_iflag |= IXON;
  settings.c_lflag |= EXTPROC;
  OK(tcsetattr(p.slave, TCSANOW, &settings));
  CHECK_EQ(status(), TIOCPKT_DOSTOP | TIOCPKT_IOCTL);
  settings.c_cc[VMIN] = 3;
  OK(tcsetattr(p.slave, TCSANOW, &settings));
  CHECK_EQ(status(), TIOCPKT_IOCTL);
  // Lines are the master's business now: nothing is edited, echoed or made a signal.
  p.type("a\x7f\x03");
  CHECK_EQ(read_line(p.slave), "a\x7f\x03");
  CHECK_EQ(status(), -1);
  settings.c_lflag &= ~static_cast<tcflag_t>(EXTPROC);
  OK(tcsetattr(p.slave, TCSANOW, &settings));
  CHECK_EQ(status(), TIOCPKT_IOCTL);
  settings.c_cc[VMIN] = 1;
  OK(tcsetattr(p.slave, TCSANOW, &settings));
  CHECK_EQ(status(), -1);
}

TEST(shell_on_a_terminal) {
  Pty p;
  termios t = p.get();
  t.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  p.set(t);
  pid_t child = in_session(p, [&] {
    for (int fd = 0; fd < 3; ++fd) OK(dup2(p.slave, fd));
    execl("/bin/sh", "sh", nullptr);
  });
  std::string text;
  auto until = [&](const std::string& what) {
    while (text.find(what) == std::string::npos) text += p.screen(1);
    text.erase(0, text.find(what) + what.size());
  };
  p.type("echo first$((1+1))\n");
  until("first2\r\n");
  // The shell survives the key that ends what it runs.
  // Until exec, the child has the shell's own answer to ^C.
  auto in_foreground = [&](const std::string& program) {
    std::ifstream file("/proc/" + std::to_string(tcgetpgrp(p.master)) + "/comm");
    std::string name;
    return std::getline(file, name) && name == program;
  };
  p.type("sleep 100; echo done $?\n");
  WAIT_UNTIL(in_foreground("sleep"));
  p.type("\x03");
  p.type("echo still here\n");
  until("still here\r\n");
  // Suspended with ^Z and continued in the foreground.
  p.type("cat\n");
  WAIT_UNTIL(in_foreground("cat"));
  p.type("through cat\n");
  until("through cat\r\n");
  p.type("\x1a");
  WAIT_UNTIL(tcgetpgrp(p.master) == child);
  p.type("echo suspended; fg\n");
  until("suspended\r\n");
  WAIT_UNTIL(tcgetpgrp(p.master) != child);
  p.type("again\n");
  until("again\r\n");
  p.type("\x04");
  p.type("exit 7\n");
  int status = 0;
  WAIT_UNTIL([&] {
    if (!p.quiet()) (void)p.screen(1);
    return waitpid(child, &status, WNOHANG) == child;
  }());
  CHECK_EXITED(status, 7);
}

}  // namespace
