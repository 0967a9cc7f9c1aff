#include "runtime/report_pipe.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace runtime {

using sentry::Fd;

namespace {

constexpr size_t kMostText = 4000;
constexpr int32_t kFine = 0, kWantsOutside = -1;  // beside the statuses of failures

}  // namespace

void ReportPipe::succeed() {
  ::send(socket_.get(), &kFine, sizeof kFine, MSG_NOSIGNAL);
  socket_.reset();
}

void ReportPipe::fail(const Failure& failed) {
  const int32_t status = failed.status;
  std::string bytes(reinterpret_cast<const char*>(&status), sizeof status);
  bytes += failed.message.substr(0, kMostText);
  ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  socket_.reset();
}

Outcome<> ReportPipe::wait_for_outside() {
  char go = 0;
  if (::send(socket_.get(), &kWantsOutside, sizeof kWantsOutside, MSG_NOSIGNAL) < 0 ||
      TEMP_FAILURE_RETRY(::recv(socket_.get(), &go, 1, 0)) != 1)
    return failure("the command that started the process is gone");
  return {};
}

Outcome<> write_pid_file(const std::string& path, pid_t pid) {
  if (path.empty()) return {};
  const std::string fresh = path + ".new", text = std::to_string(pid);
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return system_failure(errno, "--pid-file {}", path);
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      std::rename(fresh.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(fresh.c_str());
    return system_failure(error, "--pid-file {}", path);
  }
  return {};
}

Outcome<pid_t> start_in_background(const std::string& pid_file,
                                   const std::function<Outcome<int>(ReportPipe&)>& body,
                                   const std::function<Outcome<>(pid_t)>& outside) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return system_failure(errno, "cannot make a socket pair");
  const Fd ours(ends[0]);
  ReportPipe report;
  report.socket_ = Fd(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return system_failure(errno, "cannot start a process");
  if (pid == 0) {
    ::close(ends[0]);
    ::setsid();
    const Outcome<int> status = body(report);
    if (!status) report.fail(status.error());
    ::_exit(status ? *status : kStatusFailure);
  }
  report.socket_.reset();
  const Outcome<> outcome = [&]() -> Outcome<> {
    std::string said(sizeof(int32_t) + kMostText, '\0');
    for (;;) {
      const ssize_t size = TEMP_FAILURE_RETRY(::recv(ours.get(), said.data(), said.size(), 0));
      int32_t status = 0;
      if (size < static_cast<ssize_t>(sizeof status)) return Failure{"", kStatusSignal};
      std::memcpy(&status, said.data(), sizeof status);
      if (status == kFine) return write_pid_file(pid_file, pid);
      if (status != kWantsOutside)
        return Failure{said.substr(sizeof status, static_cast<size_t>(size) - sizeof status), status};
      TRY(outside(pid));
      ::send(ours.get(), "g", 1, MSG_NOSIGNAL);
    }
  }();
  if (outcome) return pid;
  ::kill(pid, SIGKILL);
  int wait_status = 0;
  TEMP_FAILURE_RETRY(::waitpid(pid, &wait_status, 0));
  if (!outcome.error().message.empty()) return outcome.error();
  if (WIFSIGNALED(wait_status))
    return Failure{fmt::format("the background process was killed (signal {})", WTERMSIG(wait_status)),
                   kStatusSignal + WTERMSIG(wait_status)};
  return failure("the background process ended without a word (exit status {})", WEXITSTATUS(wait_status));
}

void let_go_of_stdio() {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return;
  for (int fd = 0; fd < 3; ++fd) ::dup2(null.get(), fd);
}

}  // namespace runtime
