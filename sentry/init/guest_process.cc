#include "sentry/init/guest_process.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>

#include "sentry/base/log.h"

namespace sentry::init {

using boot::Control;

GuestProcess::GuestProcess(kernel::Kernel& kernel, Fd link, Events events)
    : kernel_(kernel),
      events_(std::move(events)),
      link_(
          kernel.loop, std::move(link), [this](Order order) { handle(std::move(order)); },
          [this] { closed(); }) {}

GuestProcess::~GuestProcess() {
  if (group_ == nullptr) return;
  group_->on_exit = nullptr;
  group_->on_stop = nullptr;
}

std::optional<Failure> GuestProcess::open_console(const boot::Process& process,
                                                  const std::shared_ptr<fs::tty::Devpts>& devpts) {
  if (window_->rows == 0 && window_->columns == 0) {
    window_->rows = process.rows;
    window_->columns = process.columns;
  }
  if (!process.terminal) return std::nullopt;
  auto console = fs::tty::Console::create(kernel_.loop, devpts, Fd(process.console_fd), process.uid,
                                          window_->rows, window_->columns);
  if (!console.ok()) return Failure{console.error().value(), "opening the terminal"};
  console_ = std::move(*console);
  console_->on_typed_signal([this](int signo) {
    if (signo == SIGINT || signo == SIGQUIT) link_.send({.kind = Control::Kind::kTyped, .value = signo});
  });
  return std::nullopt;
}

void GuestProcess::start(const Start& start) {
  std::optional<Failure> failure;
  ProgramRequest request{.kernel = kernel_, .container = start.container, .process = start.process};
  request.console = console_.get();
  request.host_terminal = window_;
  request.seccomp = start.seccomp;
  request.first = start.first;
  std::unique_ptr<kernel::Task> task = load_program(request, failure);
  if (task == nullptr) return fail(*failure);
  group_ = task->group;
  group_->on_exit = [this](int status) { exited(status); };
  if (start.job_control)
    group_->on_stop = [this](int signal) { link_.send({.kind = Control::Kind::kStopped, .value = signal}); };
  held_ = std::move(task);
  link_.send({.kind = Control::Kind::kStarted});
  if (start.held)
    for (const int signal : std::exchange(early_signals_, {})) send(signal);
  if (lost_) {
    kernel::exit_group(*group_, SIGKILL);
    go();
  } else if (!start.held) {
    go();
  }
}

void GuestProcess::go() {
  if (held_ == nullptr) return;
  kernel_.run(std::move(held_));
  for (const int signal : std::exchange(early_signals_, {})) send(signal);
}

void GuestProcess::fail(const Failure& failure) {
  Control message{.kind = Control::Kind::kStartFailed, .value = failure.error};
  message.status = failure.status;
  link_.send(message, fmt::format("{}: {}", failure.what, ::strerrordesc_np(failure.error)));
  over_ = true;
  if (events_.ended) events_.ended(*this);
}

void GuestProcess::exited(int status) {
  group_.reset();
  const auto leave = [this, status] {
    link_.send({.kind = Control::Kind::kExited, .value = status});
    over_ = true;
    if (events_.ended) events_.ended(*this);
  };
  // Last words are on their way to the terminal.
  if (console_ != nullptr)
    console_->when_drained(leave);
  else
    leave();
}

void GuestProcess::closed() {
  lost_ = true;
  if (console_ != nullptr) console_->hang_up();
  if (group_ != nullptr) kernel::exit_group(*group_, SIGKILL);
  go();  // one that was held has its end to come to
  if (events_.lost) events_.lost();
}

void GuestProcess::send(int signal) {
  if (signal <= 0 || signal > kernel::kSignals || over_) return;
  if (group_ == nullptr) {
    early_signals_.push_back(signal);
  } else if (held_ == nullptr) {
    group_->send(kernel::make_signal(signal, SI_USER));
  } else if (const auto action = kernel::default_action(signal);
             action == kernel::DefaultAction::kTerminate || action == kernel::DefaultAction::kCore) {
    // No program has said yet what it handles, nor is protected as pid 1 is: as other runtimes' waiting
    // process.
    kernel::exit_group(*group_, signal);
    go();
  } else {
    early_signals_.push_back(signal);
  }
}

void GuestProcess::handle(Order order) {
  switch (order.control.kind) {
    case Control::Kind::kSignal:
      send(order.control.value);
      break;
    case Control::Kind::kContinue:
      if (group_ != nullptr && group_->process_group != nullptr)
        kernel::signal_process_group(*group_->process_group, kernel::make_signal(SIGCONT, SI_USER));
      break;
    case Control::Kind::kResize:
      window_->rows = order.control.rows;
      window_->columns = order.control.columns;
      if (console_ != nullptr) console_->resize(window_->rows, window_->columns);
      break;
    case Control::Kind::kHangup:
      if (console_ != nullptr) console_->hang_up();
      break;
    case Control::Kind::kStart:
      go();
      break;
    default:
      if (events_.order) events_.order(std::move(order));
  }
}

}  // namespace sentry::init
