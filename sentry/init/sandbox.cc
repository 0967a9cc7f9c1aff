#include "sentry/init/sandbox.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "sentry/base/log.h"
#include "sentry/fs/dev/devices.h"
#include "sentry/fs/pidfd/pidfd.h"
#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/init/control.h"
#include "sentry/init/first_process.h"
#include "sentry/init/mounts.h"
#include "sentry/init/surface.h"
#include "sentry/kernel/kernel.h"
#include "sentry/net/tables.h"
#include "sentry/syscalls/strace.h"
#include "sentry/syscalls/table.h"

namespace sentry::init {
namespace {

using boot::Control;

class Sandbox {
 public:
  explicit Sandbox(const boot::Boot& boot)
      : boot_(boot),
        platform_(platform::make_platform(boot.platform, loop_)),
        kernel_(loop_, *platform_, memory_file_,
                boot.strace ? &syscalls::dispatch_traced : &syscalls::dispatch),
        control_(
            loop_, Fd(boot.control_fd), [this](const Control& message) { handle(message); },
            [this] { loop_.stop(); }) {
    loop_.set_trap_source(platform_.get());
    kernel_.hostname = boot.hostname;
    kernel_.domainname = boot.domainname.empty() ? "(none)" : boot.domainname;
    if (boot.max_tasks != 0) kernel_.max_tasks = boot.max_tasks;
    kernel_.memory_limit_bytes = boot.memory_limit_bytes;
    const auto host_cpus = static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN));
    kernel_.cpus = boot.cpus != 0 && boot.cpus < host_cpus ? boot.cpus : host_cpus;
    struct sysinfo host {};
    ::sysinfo(&host);
    kernel_.host_memory_bytes = uint64_t{host.totalram} * host.mem_unit;
    kernel_.uid_mappings = boot.uid_mappings;
    kernel_.gid_mappings = boot.gid_mappings;
    kernel_.sysctl = boot.sysctl;
    kernel_.on_init_exit = [this](int status) { ended(status); };
    kernel_.on_init_stop = [this](int signal) { stopped(signal); };
    if (boot.strace) kernel_.observer = syscalls::make_strace();
    fs::pidfd::serve_clone();
    vfs::set_fifo_opener(fs::pipe::open_fifo);
    for (const net::Table& table : net::tables()) fs::proc::register_net_file(table.name, table.text);
    fs::dev::register_memory_devices(vfs::DeviceRegistry::current(), kernel_);
    if (boot.gofer_fd >= 0)
      gofer_ = std::make_shared<fs::gofer::Client>(loop_, Fd(boot.gofer_fd), [this] { loop_.stop(); });
  }

  int run() {
    loop_.fibers().spawn([this] { start(); });
    loop_.run();
    return ended_ ? 0 : kInternalFault;
  }

 private:
  void start() {
    if (gofer_ != nullptr) {
      const auto attach_points = gofer_->hello();
      if (!attach_points.ok()) return fail({attach_points.error().value(), "greeting the gofer", 125});
    }
    fs::tmpfs::Budget::of_sandbox()->limit_bytes = boot_.memory_limit_bytes;
    auto devpts = fs::tty::Devpts::create();
    if (boot_.process.terminal) {
      auto console = fs::tty::Console::create(loop_, devpts, Fd(boot_.process.console_fd), boot_.process.uid,
                                              rows_, columns_);
      if (!console.ok()) return fail({console.error().value(), "opening the terminal", 125});
      console_ = std::move(*console);
    }
    fs::tty::register_terminals(vfs::DeviceRegistry::current(), devpts,
                                console_ ? console_->terminal() : nullptr);
    if (auto failure = mount_all({kernel_, gofer_, devpts}, boot_)) return fail(*failure);
    if (auto failure = start_first_process(kernel_, boot_, console_.get())) return fail(*failure);
    control_.send(Control{.kind = Control::Kind::kStarted});
    for (const int signo : early_signals_) kernel_.first->send(kernel::make_signal(signo, SI_USER));
  }

  void fail(const Failure& failure) {
    Control message{.kind = Control::Kind::kStartFailed, .value = failure.error};
    message.status = failure.status;
    control_.send(message, fmt::format("{}: {}", failure.what, ::strerrordesc_np(failure.error)));
    ended_ = true;
    loop_.stop();
  }

  void ended(int status) {
    const auto leave = [this, status] {
      control_.send(Control{.kind = Control::Kind::kExited, .value = status});
      ended_ = true;
      loop_.stop();
    };
    // Last words are on their way to the terminal.
    if (console_ != nullptr)
      console_->when_drained(leave);
    else
      leave();
  }

  void stopped(int signal) { control_.send(Control{.kind = Control::Kind::kStopped, .value = signal}); }

  void handle(const Control& message) {
    switch (message.kind) {
      case Control::Kind::kSignal:
        if (message.value <= 0 || message.value > kernel::kSignals) break;
        if (kernel_.first != nullptr)
          kernel_.first->send(kernel::make_signal(message.value, SI_USER));
        else
          early_signals_.push_back(message.value);
        break;
      case Control::Kind::kContinue:
        if (kernel_.first != nullptr && kernel_.first->process_group != nullptr)
          kernel::signal_process_group(*kernel_.first->process_group, kernel::make_signal(SIGCONT, SI_USER));
        break;
      case Control::Kind::kResize:
        rows_ = message.rows;
        columns_ = message.columns;
        if (console_ != nullptr) console_->resize(rows_, columns_);
        break;
      case Control::Kind::kHangup:
        if (console_ != nullptr) console_->hang_up();
        break;
      default:
        log("a control message of kind {} is not for the sentry", static_cast<uint32_t>(message.kind));
    }
  }

  const boot::Boot& boot_;
  EventLoop loop_;
  mm::MemoryFile memory_file_;
  std::unique_ptr<platform::Platform> platform_;
  kernel::Kernel kernel_;
  ControlLink control_;
  std::shared_ptr<fs::gofer::Client> gofer_;
  std::shared_ptr<fs::tty::Console> console_;
  std::vector<int> early_signals_;  // for a program that is still being loaded
  uint16_t rows_ = boot_.process.rows,
           columns_ = boot_.process.columns;  // may change before the console is there
  bool ended_ = false;
};

}  // namespace

int run_sandbox(const boot::Boot& boot) {
  ::signal(SIGPIPE, SIG_IGN);
  // Everything that the surface no longer allows happens in the constructor.
  static Sandbox* sandbox = new Sandbox(boot);
  // Stubs must stay dumpable for process_vm_readv(2); the sentry itself need not be seen into.
  ::prctl(PR_SET_DUMPABLE, 0);
  enter_surface(sentry_surface(boot.platform));
  const int status = sandbox->run();
  // Not destroyed: the stubs die with this process, and what else there is goes with it.
  ::_exit(status);
}

}  // namespace sentry::init
