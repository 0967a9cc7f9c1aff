// A process that the runtime started, a container's first or one that exec added, and its link to the
// runtime.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "sentry/fs/tty/devpts.h"
#include "sentry/fs/tty/host_terminal.h"
#include "sentry/init/control.h"
#include "sentry/init/program.h"

namespace sentry::init {

class GuestProcess {
 public:
  struct Events {
    std::function<void(Order)> order;          // what is not for a process
    std::function<void(GuestProcess&)> ended;  // the runtime knows its status, or why it did not start
    std::function<void()> lost;                // the runtime has gone; the process has been killed
  };
  GuestProcess(kernel::Kernel& kernel, Fd link, Events events);
  ~GuestProcess();

  struct Start {
    std::shared_ptr<kernel::Container> container;  // mounted
    std::shared_ptr<fs::tty::Devpts> devpts;
    boot::Process process;  // its descriptors are taken
    std::shared_ptr<const kernel::SeccompFilter> seccomp;
    bool first = false, held = false, job_control = false;
  };
  // Opens the terminal. On a fiber, before start().
  std::optional<Failure> open_console(const boot::Process& process,
                                      const std::shared_ptr<fs::tty::Devpts>& devpts);
  const std::shared_ptr<fs::tty::Console>& console() const { return console_; }
  // Loads the program, tells the runtime, and runs it unless it is held. On a fiber.
  void start(const Start& start);
  // Tells the runtime why there will be no process.
  void fail(const Failure& failure);

 private:
  void handle(Order order);
  void send(int signal);
  void go();
  void exited(int status);
  void closed();

  kernel::Kernel& kernel_;
  Events events_;
  ControlLink link_;
  std::shared_ptr<fs::tty::Console> console_;
  std::shared_ptr<kernel::ThreadGroup> group_;  // until it has ended
  std::unique_ptr<kernel::Task> held_;          // waits for kStart
  std::vector<int> early_signals_;              // for a program that is still being loaded, or held
  // The window's size, which may be told before the console is there.
  const std::shared_ptr<fs::tty::HostTerminal> window_ = std::make_shared<fs::tty::HostTerminal>();
  bool lost_ = false, over_ = false;
};

}  // namespace sentry::init
