// A program from a boot document, loaded into a task that is ready to run.
#pragma once

#include <memory>
#include <optional>

#include "sentry/boot/boot.h"
#include "sentry/fs/tty/console.h"
#include "sentry/fs/tty/host_terminal.h"
#include "sentry/init/mounts.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/seccomp.h"

namespace sentry::init {

struct ProgramRequest {
  kernel::Kernel& kernel;
  std::shared_ptr<kernel::Container> container;  // mounted
  const boot::Process& process;                  // its descriptors are this process's, and are taken
  fs::tty::Console* console = nullptr;           // the program's terminal
  std::shared_ptr<const fs::tty::HostTerminal> host_terminal;  // behind process.host_terminals
  std::shared_ptr<const kernel::SeccompFilter> seccomp;
  bool first = false;  // the container's first process: its pid 1, if it has none yet
};

// Makes the process and loads the program. On a fiber. Null and a failure, whose `error` chose the exit
// status, if that did not work: then nothing is left.
std::unique_ptr<kernel::Task> load_program(const ProgramRequest& request, std::optional<Failure>& failure);

}  // namespace sentry::init
