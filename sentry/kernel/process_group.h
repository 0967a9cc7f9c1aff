// Process groups, sessions, controlling terminals: credentials(7), setsid(2), tty_ioctl(4).
#pragma once

#include <sys/types.h>

#include <memory>
#include <set>

namespace sentry::kernel {

class ThreadGroup;
struct ProcessGroup;

struct Session;

// What a terminal owes the session that it controls. Implemented by fs/'s tty.
class ControllingTerminal {
 public:
  virtual ~ControllingTerminal() = default;
  std::weak_ptr<Session> session;
  std::weak_ptr<ProcessGroup> foreground;
  // Device number, /proc/PID/stat's tty_nr.
  virtual unsigned device() const = 0;
};

struct Session {
  pid_t id = 0;
  ThreadGroup* leader = nullptr;  // null once it has gone
  std::shared_ptr<ControllingTerminal> terminal;
};

struct ProcessGroup {
  pid_t id = 0;
  std::shared_ptr<Session> session;
  std::set<ThreadGroup*> members;
  // POSIX: no member has a parent in another group of the same session.
  bool orphaned() const;
};

}  // namespace sentry::kernel
