#include "runtime/supervisor.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <map>
#include <vector>

#include "runtime/control_socket.h"
#include "runtime/memory_watch.h"
#include "runtime/printable.h"
#include "sentry/base/footprint.h"
#include "sentry/base/log.h"
#include "sentry/base/packet.h"

namespace runtime {
namespace {

using sentry::boot::Control;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long a sentry may take to put its affairs in order after its program has ended: the rest of the output.
constexpr milliseconds kEndGrace{5000};

// All that can be caught: whoever sends one to this process means the program. A fault of this process's own
// ends it though it is blocked (signal(7)). With job control SIGTTIN and SIGTTOU stop this process as they
// would stop the program: a terminal is not held back where they are blocked (termios(3)).
sigset_t forwarded_signals(ForwardedSignals::JobControl job_control) {
  sigset_t set;
  ::sigfillset(&set);
  ::sigdelset(&set, SIGKILL);
  ::sigdelset(&set, SIGSTOP);
  if (job_control == ForwardedSignals::JobControl::kOn) {
    ::sigdelset(&set, SIGTTIN);
    ::sigdelset(&set, SIGTTOU);
  }
  return set;
}

bool readable(int fd) {
  pollfd wait{fd, POLLIN, 0};
  return ::poll(&wait, 1, 0) == 1;
}

// The status of the guest's first process as a shell shows it.
int shell_status(int wait_status) {
  return WIFSIGNALED(wait_status) ? kStatusSignal + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

class Supervision {
 public:
  Supervision(Sandbox& sandbox, const ForwardedSignals& signals, std::optional<Terminal>& terminal,
              SuperviseOptions& options)
      : sandbox_(sandbox), signals_(signals), terminal_(terminal), options_(options) {}

  Ending run() {
    epoll_ = sentry::Fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return {kStatusFailure, fmt::format("cannot make an epoll: {}", strerrordesc_np(errno))};
    start_clocks();
    if (terminal_ && terminal_->take()) tell_window_size();
    sentry::drop_clean_pages();  // setting up took most of this program; watching takes little
    while (!over_) step();
    return ending_.value_or(Ending{});
  }

 private:
  // One round: everything that is ready, the processes' ends last so that what they had said is heard before.
  void step() {
    watch(sandbox_.control_fd(), control_open_ ? EPOLLIN : 0U);
    watch(signals_.fd(), EPOLLIN);
    if (sandbox_.sentry().running()) watch(sandbox_.sentry().pidfd(), EPOLLIN);
    if (sandbox_.gofer().running()) watch(sandbox_.gofer().pidfd(), gofer_left_ ? 0U : EPOLLIN);
    if (options_.commands) watch(options_.commands.get(), EPOLLIN);
    for (const Command& command : commands_) watch(command.socket.get(), EPOLLIN);
    if (terminal_) {
      watch(terminal_->tty_fd(), terminal_->tty_events());
      watch(terminal_->console_fd(), terminal_->console_events());
    }
    if (options_.raw_log) watch(options_.raw_log.get(), EPOLLIN);
    std::array<epoll_event, 16> events;
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms());
    BULKHEAD_CHECK(count >= 0 || errno == EINTR, "epoll_wait: {}", strerrordesc_np(errno));
    read_signals();
    if (terminal_) relay_terminal();
    if (options_.raw_log) relay_log();
    read_control();
    serve_commands();
    judge_ends();
    look_at_clocks();
  }

  void watch(int fd, uint32_t events) {
    const auto known = watched_.find(fd);
    if (known != watched_.end() && known->second == events) return;
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    int operation = EPOLL_CTL_MOD;
    if (known == watched_.end()) operation = EPOLL_CTL_ADD;
    // No events at all: out of the set, since EPOLLHUP cannot be masked.
    if (events == 0) operation = EPOLL_CTL_DEL;
    if (events == 0 && (known == watched_.end() || known->second == 0)) return;
    if (known != watched_.end() && known->second == 0) operation = EPOLL_CTL_ADD;
    const int status = ::epoll_ctl(epoll_.get(), operation, fd, &event);
    BULKHEAD_CHECK(status == 0, "epoll_ctl: {}", strerrordesc_np(errno));
    watched_[fd] = events;
  }

  void start_clocks() {
    if (options_.timeout) deadline_ = Clock::now() + *options_.timeout;
    if (options_.memory_bytes != 0) {
      memory_.emplace(sandbox_.sentry().pid(), sandbox_.gofer().pid(), options_.memory_bytes);
      memory_look_ = Clock::now() + memory_->next_look();
    }
  }

  int wait_ms() const {
    std::optional<Clock::time_point> next;
    for (const auto& time : {deadline_, memory_look_, grace_end_})
      if (time && (!next || *time < *next)) next = time;
    if (!next) return -1;
    const auto left = std::chrono::ceil<milliseconds>(*next - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left, 0, 1'000'000));
  }

  void look_at_clocks() {
    if (over_) return;
    const Clock::time_point now = Clock::now();
    if (grace_end_ && now >= *grace_end_) return end({kStatusFailure, "the gofer ended before the program"});
    if (deadline_ && now >= *deadline_)
      return end({kStatusTimeout, fmt::format("the program ran longer than --timeout allows ({} s): killed",
                                              static_cast<double>(options_.timeout->count()) / 1000)});
    if (memory_look_ && now >= *memory_look_) {
      if (memory_->exceeded()) return end(out_of_memory());
      memory_look_ = now + memory_->next_look();
    }
  }

  Ending out_of_memory() const {
    return {kStatusSignal + SIGKILL,
            out_of_memory_message(options_.memory_limit_text, options_.memory_option)};
  }

  // The sandbox is over; the first reason given stands.
  void end(Ending ending) {
    if (!ending_) ending_ = std::move(ending);
    over_ = true;
  }
  void end() { over_ = true; }

  // The program has ended: the sentry may finish and leave.
  void program_ended(Ending ending) {
    if (ending_) return;
    ending_ = std::move(ending);
    deadline_.reset();
    grace_end_ = Clock::now() + kEndGrace;
  }

  void read_control() {
    std::array<char, 4096> packet;
    for (;;) {
      const ssize_t size = ::recv(sandbox_.control_fd(), packet.data(), packet.size(), MSG_DONTWAIT);
      if (size <= 0) {
        if (size == 0) control_open_ = false;
        return;
      }
      // The sentry is not trusted: what is not a message of its is no message.
      Control message;
      if (static_cast<size_t>(size) < sizeof message) continue;
      std::memcpy(&message, packet.data(), sizeof message);
      handle(message,
             std::string(packet.data() + sizeof message, static_cast<size_t>(size) - sizeof message));
    }
  }

  void handle(const Control& message, const std::string& text) {
    switch (message.kind) {
      case Control::Kind::kExited:
        return program_ended({shell_status(message.value), "", terminal_signal_of(message.value)});
      case Control::Kind::kStartFailed: {
        // A gofer that was not set up is why the sentry did not get on.
        if (const Outcome<> report = sandbox_.gofer().report_so_far(); !report)
          return program_ended({report.error().status, report.error().message});
        const bool known = message.status >= kStatusFailure && message.status <= kStatusNotFound;
        return program_ended({known ? message.status : kStatusFailure, printable(text)});
      }
      case Control::Kind::kStarted:
        if (options_.started) std::exchange(options_.started, nullptr)();
        return;
      case Control::Kind::kStopped:
        return stop_as_program(message.value);
      case Control::Kind::kTyped:
        return pass_on_typed(message.value);
      default:
        return;
    }
  }

  // Ctrl-C on the sandbox's terminal is for the caller's whole job, as on any: a shell script ends, too. Only
  // what the user has typed counts, whatever the sentry says.
  void pass_on_typed(int signal) {
    if (!terminal_ || !terminal_->taken() || !terminal_->typed(signal)) return;
    from_terminal_ = signal;
    ::kill(0, signal);
  }

  int terminal_signal_of(int wait_status) const {
    const bool died_of_it = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == from_terminal_;
    return died_of_it ? from_terminal_ : 0;
  }

  void judge_ends() {
    if (over_) return;
    if (!sandbox_.sentry().running()) return judge_end_of_link();
    const bool sentry_ended = readable(sandbox_.sentry().pidfd());
    const bool gofer_ended = readable(sandbox_.gofer().pidfd());
    if (!sentry_ended && !gofer_ended) return;
    read_control();  // what the sentry said before it ended
    if (ending_) {
      gofer_left_ = gofer_left_ || gofer_ended;
      if (sentry_ended) end();
      return;
    }
    for (Jailed* jailed : {&sandbox_.gofer(), &sandbox_.sentry()}) {
      const Outcome<> report = readable(jailed->pidfd()) ? jailed->read_report() : jailed->report_so_far();
      if (!report) return end({report.error().status, report.error().message});
    }
    // A gofer that was killed takes the sentry along. One that ends by itself has seen the sentry go, which
    // may take a moment longer to be gone.
    if (gofer_ended) {
      if (const std::optional<Ending> cause = unexpected_end("gofer", sandbox_.gofer())) return end(*cause);
      if (!sentry_ended) {
        gofer_left_ = true;
        if (!grace_end_) grace_end_ = Clock::now() + kEndGrace;
        return;
      }
    }
    end(unexpected_end("sentry", sandbox_.sentry())
            .value_or(Ending{kStatusFailure, "the sentry ended without saying how the program ended"}));
  }

  // The same for a process in somebody else's sandbox: what the sentry says is all there is.
  void judge_end_of_link() {
    if (sandbox_.gofer().running() && !ending_ && readable(sandbox_.gofer().pidfd())) {
      const Outcome<> report = sandbox_.gofer().read_report();
      if (!report) return end({report.error().status, report.error().message});
      return end({kStatusSignal + SIGKILL, "the gofer ended, and the container with it"});
    }
    if (!control_open_) return end({kStatusSignal + SIGKILL, "the sandbox ended, and the process with it"});
    if (ending_) end();
  }

  // --- commands from control_socket.h

  struct Command {
    sentry::Fd socket;
    pid_t process = 0;  // the command's, while it stands for a process in the container
  };

  void serve_commands() {
    if (!options_.commands) return;
    for (;;) {
      sentry::Fd socket(::accept4(options_.commands.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) break;
      commands_.push_back({std::move(socket)});
    }
    for (size_t i = 0; i < commands_.size();) {
      ReceivedRequest received;
      Command& command = commands_[i];
      if (!readable(command.socket.get())) {
        ++i;
      } else if (receive_request(command.socket.get(), received)) {
        serve(command, received);
        ++i;
      } else {
        watch(command.socket.get(), 0);
        watched_.erase(command.socket.get());
        commands_.erase(commands_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  }

  void serve(Command& command, const ReceivedRequest& received) {
    const Request& request = received.request;
    const int socket = command.socket.get();
    Control message;
    message.value = request.value;
    switch (request.kind) {
      case Request::Kind::kStart:
        message.kind = Control::Kind::kStart;
        break;
      case Request::Kind::kSignal:
        message.kind = Control::Kind::kSignal;
        break;
      case Request::Kind::kSignalAll:
        message.kind = Control::Kind::kSignalAll;
        break;
      case Request::Kind::kPause:
        message.kind = Control::Kind::kFreeze;
        break;
      case Request::Kind::kResume:
        message.kind = Control::Kind::kThaw;
        break;
      case Request::Kind::kLimits:
        message.kind = Control::Kind::kLimits;
        break;
      case Request::Kind::kEnd:
        answer_request(socket, "");
        return end({request.value, ""});
      case Request::Kind::kPids:
        return answer_request(socket, pids());
      case Request::Kind::kAddProcess:
      case Request::Kind::kAddContainer: {
        message.kind = request.kind == Request::Kind::kAddProcess ? Control::Kind::kAddProcess
                                                                  : Control::Kind::kAddContainer;
        ucred peer{};
        socklen_t size = sizeof peer;
        if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) command.process = peer.pid;
        break;
      }
      default:
        return refuse_request(socket, "the command is of another version than the container's runtime");
    }
    if (ending_) return refuse_request(socket, "container not running");
    std::vector<int> fds;
    for (const sentry::Fd& fd : received.fds) fds.push_back(fd.get());
    std::string packet(reinterpret_cast<const char*>(&message), sizeof message);
    packet += request.text;
    if (!sentry::send_packet(sandbox_.control_fd(), packet, fds))
      return refuse_request(socket, "container not running");
    if (options_.status_changed) {
      if (request.kind == Request::Kind::kStart || request.kind == Request::Kind::kResume)
        options_.status_changed("running");
      if (request.kind == Request::Kind::kPause) options_.status_changed("paused");
    }
    answer_request(socket, "");
    if (request.kind == Request::Kind::kStart) sentry::drop_clean_pages();  // the last of setting up
  }

  std::string pids() const {
    std::string list = std::to_string(::getpid());
    for (const Command& command : commands_)
      if (command.process != 0) list += fmt::format(" {}", command.process);
    return list;
  }

  // Why a jailed program ended, if it was not its own decision in peace.
  std::optional<Ending> unexpected_end(const char* name, const Jailed& jailed) const {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(jailed.pidfd()), &info, WEXITED | WNOWAIT | __WALL) != 0)
      return std::nullopt;
    if (info.si_code == CLD_EXITED) {
      if (info.si_status == 0) return std::nullopt;
      if (info.si_status > kStatusSignal) return Ending{info.si_status, ""};  // it has said what was killed
      return Ending{kStatusFailure,
                    fmt::format("the {} gave up (status {}); {}", name, info.si_status, options_.last_words)};
    }
    if (info.si_status == SIGKILL)
      return Ending{kStatusSignal + SIGKILL,
                    fmt::format("the {} was killed (signal 9), and the sandbox with it", name)};
    const bool forbidden_call = info.si_status == SIGSYS;
    return Ending{
        kStatusFailure,
        fmt::format("the {} crashed (signal {}{}), and the sandbox with it; this is a fault of bulkhead's",
                    name, info.si_status, forbidden_call ? ": a host call that is not on its list" : "")};
  }

  void read_signals() {
    std::array<signalfd_siginfo, 8> infos;
    for (;;) {
      const ssize_t size = ::read(signals_.fd(), infos.data(), sizeof infos);
      if (size <= 0) return;
      for (size_t i = 0; i < static_cast<size_t>(size) / sizeof infos[0]; ++i) take_signal(infos[i]);
    }
  }

  void take_signal(const signalfd_siginfo& info) {
    const auto signal = static_cast<int>(info.ssi_signo);
    // pass_on_typed()'s, and SIGPIPE for what this process writes.
    if (static_cast<pid_t>(info.ssi_pid) == ::getpid()) return;
    if (signal == SIGCHLD && info.ssi_code > 0) return;  // the kernel's, about a child of this process
    if (info.ssi_code == SI_KERNEL) from_terminal_ = signal;
    pass_signal(signal);
  }

  void pass_signal(int signal) {
    if (signal == SIGWINCH && terminal_)
      return tell_window_size();  // the sandbox's terminal sends the signal
    if (signal == SIGWINCH && options_.shared_terminal >= 0) tell_window_size();
    if (signal == SIGCONT) return resume();
    Control message{Control::Kind::kSignal};
    message.value = signal;
    sandbox_.tell(message);
  }

  void tell_window_size() {
    const WindowSize size = terminal_ ? terminal_->window_size() : window_size_of(options_.shared_terminal);
    Control message{Control::Kind::kResize};
    message.rows = size.rows;
    message.columns = size.columns;
    sandbox_.tell(message);
  }

  void resume() {
    if (terminal_ && terminal_->take()) tell_window_size();
    sandbox_.tell({Control::Kind::kContinue});
  }

  // The program was stopped by job control, so the caller's job is: with a terminal the whole job, as Ctrl-Z
  // does where there is no sandbox in between, else this process (the others had their signal from the
  // terminal).
  void stop_as_program(int signal) {
    if (terminal_) {
      terminal_->relay();
      terminal_->pass_on_typed();
      terminal_->restore();
    }
    if (signal == SIGSTOP) {
      ::raise(SIGSTOP);
    } else {
      sigset_t stop;
      ::sigemptyset(&stop);
      ::sigaddset(&stop, SIGTSTP);
      if (terminal_)
        ::kill(0, SIGTSTP);
      else
        ::raise(SIGTSTP);
      ::sigprocmask(SIG_UNBLOCK, &stop, nullptr);  // stops here
      ::sigprocmask(SIG_BLOCK, &stop, nullptr);
    }
    // An orphaned process group does not stop (setpgid(2)): then the program must not stay stopped either.
    // Else SIGCONT is waiting, and this is the reaction to it.
    sigset_t resumed;
    ::sigemptyset(&resumed);
    ::sigaddset(&resumed, SIGCONT);
    const timespec now{};
    ::sigtimedwait(&resumed, nullptr, &now);
    resume();
  }

  void relay_terminal() {
    const bool had_terminal = terminal_->taken();
    const bool connected = terminal_->relay();
    if (!had_terminal && terminal_->taken()) tell_window_size();
    read_signals();
    terminal_->pass_on_typed();
    if (!connected && !hung_up_) {
      hung_up_ = true;
      sandbox_.tell({Control::Kind::kHangup});
    }
  }

  void relay_log() {
    if (!readable(options_.raw_log.get())) return;
    std::array<char, 4096> bytes;
    const ssize_t size = ::read(options_.raw_log.get(), bytes.data(), bytes.size());
    if (size <= 0) {
      watch(options_.raw_log.get(), 0);
      options_.raw_log.reset();
      return;
    }
    std::string text;
    for (ssize_t i = 0; i < size; ++i) {
      if (bytes[static_cast<size_t>(i)] == '\n') text += '\r';
      text += bytes[static_cast<size_t>(i)];
    }
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  }

  Sandbox& sandbox_;
  const ForwardedSignals& signals_;
  std::optional<Terminal>& terminal_;
  SuperviseOptions& options_;
  sentry::Fd epoll_;
  std::map<int, uint32_t> watched_;
  std::vector<Command> commands_;
  std::optional<Clock::time_point> deadline_, memory_look_, grace_end_;
  std::optional<MemoryWatch> memory_;
  std::optional<Ending> ending_;
  bool over_ = false;
  bool control_open_ = true;
  bool hung_up_ = false;
  int from_terminal_ = 0;  // the last signal that came from there
  bool gofer_left_ = false;
};

}  // namespace

Outcome<ForwardedSignals> ForwardedSignals::take(JobControl job_control) {
  const sigset_t set = forwarded_signals(job_control);
  ForwardedSignals signals;
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return system_failure(errno, "cannot block signals");
  signals.fd_ = sentry::Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.fd_) return system_failure(errno, "cannot make a signalfd");
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

std::string out_of_memory_message(const std::string& limit, const std::string& option) {
  return fmt::format("the sandbox reached its memory limit ({}): killed (raise {})", limit, option);
}

Failure start_failure(const Ending& ending) {
  Failure failed{ending.message, ending.status == 0 ? kStatusFailure : ending.status};
  if (ending.status == kStatusNotFound) failed.message += " (executable file not found)";
  if (ending.status == kStatusNotExecutable && ending.message.ends_with("Permission denied"))
    failed.message += " (permission denied)";
  return failed;
}

Ending supervise(Sandbox sandbox, const ForwardedSignals& signals, std::optional<Terminal> terminal,
                 SuperviseOptions options) {
  Ending ending = Supervision(sandbox, signals, terminal, options).run();
  // While the cgroup is sure to be there: systemd removes an empty one.
  const bool out_of_memory =
      ending.status == kStatusSignal + SIGKILL &&
      (sandbox.cgroup().out_of_memory() || (options.out_of_memory && options.out_of_memory()));
  sandbox.kill();
  for (Jailed* jailed : {&sandbox.sentry(), &sandbox.gofer()})
    if (jailed->running()) jailed->reap();
  if (terminal) {
    terminal->drain();
    terminal->restore();
  }
  if (out_of_memory) ending.message = out_of_memory_message(options.memory_limit_text, options.memory_option);
  return ending;
}

}  // namespace runtime
