#include "runtime/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>

#include "runtime/host_calls.h"
#include "runtime/printable.h"
#include "sentry/base/fd.h"

namespace runtime {
namespace {

using sentry::Fd;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostOutput = 1024;  // of a failed hook, in the message

// The state as a file to read: however large, nobody waits for the hook to take it.
Outcome<Fd> state_file(const oci::State& state) {
  const std::string text = oci::to_json(state);
  Fd file(::memfd_create("state", MFD_CLOEXEC));
  if (!file || ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return system_failure(errno, "cannot make a hook's input");
  return file;
}

[[noreturn]] void execute(const oci::Hook& hook, const std::string& bundle, int input, int output,
                          int network) {
  sigset_t none;
  ::sigemptyset(&none);
  for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setpgid(0, 0);
  std::vector<char*> argv, envp;
  for (const std::string& each : hook.args) argv.push_back(const_cast<char*>(each.c_str()));
  if (argv.empty()) argv.push_back(const_cast<char*>(hook.path.c_str()));
  for (const std::string& each : hook.env) envp.push_back(const_cast<char*>(each.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  // As other runtimes', where the bundle is still there.
  [[maybe_unused]] const int moved = ::chdir(bundle.c_str());
  if ((network < 0 || ::setns(network, CLONE_NEWNET) == 0) && ::dup2(input, 0) == 0 &&
      ::dup2(output, 1) == 1 && ::dup2(output, 2) == 2) {
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execve(hook.path.c_str(), argv.data(), envp.data());
  }
  const std::string why = fmt::format("cannot be executed: {}", strerrordesc_np(errno));
  [[maybe_unused]] const ssize_t written = ::write(output, why.data(), why.size());
  ::_exit(kStatusNotFound);
}

class RunningHook {
 public:
  RunningHook(std::string name, const oci::Hook& hook, const HookOptions& options)
      : name_(std::move(name)), hook_(hook), options_(options) {}
  ~RunningHook() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    TEMP_FAILURE_RETRY(::waitpid(pid_, nullptr, 0));
  }

  Outcome<> run(const oci::State& state) {
    const Fd input = TRY(state_file(state));
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return system_failure(errno, "cannot make a pipe");
    output_ = Fd(ends[0]);
    Fd writer(ends[1]);
    if (options_.needed != 0) {
      needed_ = Fd(pidfd_open(options_.needed));
      if (!needed_) return system_failure(errno, "{}: cannot watch the container's process", name_);
    }
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) return system_failure(errno, "{}: cannot start it", name_);
    if (pid_ == 0) {
      ::fcntl(writer.get(), F_SETFL, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(kStatusNotFound);
      execute(hook_, state.bundle, input.get(), writer.get(), options_.network);
    }
    writer.reset();
    pidfd_ = Fd(pidfd_open(pid_));
    if (!pidfd_) return system_failure(errno, "{}: cannot watch it", name_);
    if (hook_.timeout_seconds) deadline_ = Clock::now() + std::chrono::seconds(*hook_.timeout_seconds);
    return wait();
  }

 private:
  // Until it has ended; what it says is read all the while, so that it never waits for us.
  Outcome<> wait() {
    for (;;) {
      pollfd wait[3] = {{pidfd_.get(), POLLIN, 0},
                        {output_ ? output_.get() : -1, POLLIN, 0},
                        {needed_ ? needed_.get() : -1, POLLIN, 0}};
      int patience = -1;
      if (deadline_) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now()).count();
        patience = static_cast<int>(std::clamp<long long>(left, 0, 1'000'000));
      }
      const int ready = ::poll(wait, 3, patience);
      if (ready < 0 && errno != EINTR) return system_failure(errno, "{}: cannot wait for it", name_);
      read_output();
      if ((wait[0].revents & POLLIN) != 0) return judge();
      if ((wait[2].revents & POLLIN) != 0)
        return failure("{}: killed, since the container's process has ended", name_);
      if (deadline_ && Clock::now() >= *deadline_)
        return failure("{}: ran longer than its timeout ({} s): killed", name_, *hook_.timeout_seconds);
    }
  }

  void read_output() {
    char piece[4096];
    while (output_) {
      const ssize_t size = ::read(output_.get(), piece, sizeof piece);
      if (size < 0) return;
      if (size == 0) return output_.reset();
      said_.append(piece,
                   std::min(static_cast<size_t>(size), kMostOutput - std::min(kMostOutput, said_.size())));
    }
  }

  Outcome<> judge() {
    int status = 0;
    TEMP_FAILURE_RETRY(::waitpid(std::exchange(pid_, 0), &status, 0));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    const std::string how = WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                                                : fmt::format("exit status {}", WEXITSTATUS(status));
    const std::string said = printable(said_);
    return failure("{}: {}{}{}", name_, how, said.empty() ? "" : ": ", said);
  }

  const std::string name_;
  const oci::Hook& hook_;
  const HookOptions& options_;
  pid_t pid_ = 0;
  Fd pidfd_, output_, needed_;
  std::string said_;
  std::optional<Clock::time_point> deadline_;
};

}  // namespace

Outcome<> run_hooks(const char* kind, const std::vector<oci::Hook>& hooks, const oci::State& state,
                    const HookOptions& options) {
  for (size_t i = 0; i < hooks.size(); ++i)
    TRY(RunningHook(fmt::format("hooks.{}[{}] ({})", kind, i, hooks[i].path), hooks[i], options).run(state));
  return {};
}

}  // namespace runtime
