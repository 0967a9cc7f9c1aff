#include "runtime/report_pipe.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace runtime {

using sentry::Fd;

void ReportPipe::succeed() {
  const int fine = 0;
  [[maybe_unused]] const ssize_t written = ::write(writer_.get(), &fine, sizeof fine);
  writer_.reset();
}

void ReportPipe::fail(const Failure& failed) {
  std::string bytes(reinterpret_cast<const char*>(&failed.status), sizeof failed.status);
  constexpr size_t kMost = 4000;  // PIPE_BUF: at once or not at all
  bytes += failed.message.substr(0, kMost);
  [[maybe_unused]] const ssize_t written = ::write(writer_.get(), bytes.data(), bytes.size());
  writer_.reset();
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
                                   const std::function<Outcome<int>(ReportPipe&)>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_failure(errno, "cannot make a pipe");
  const Fd reader(ends[0]);
  ReportPipe report;
  report.writer_ = Fd(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return system_failure(errno, "cannot start a process");
  if (pid == 0) {
    ::close(ends[0]);
    ::setsid();
    const Outcome<int> status = body(report);
    if (!status) report.fail(status.error());
    ::_exit(status ? *status : kStatusFailure);
  }
  report.writer_.reset();
  std::string said;
  char piece[4096];
  for (;;) {
    const ssize_t size = TEMP_FAILURE_RETRY(::read(reader.get(), piece, sizeof piece));
    if (size <= 0) break;
    said.append(piece, static_cast<size_t>(size));
  }
  int status = kStatusFailure;
  if (said.size() >= sizeof status) std::memcpy(&status, said.data(), sizeof status);
  if (said.size() == sizeof status && status == 0) {
    const Outcome<> written = write_pid_file(pid_file, pid);
    if (written) return pid;
    ::kill(pid, SIGKILL);
    return written.error();
  }
  ::kill(pid, SIGKILL);
  int wait_status = 0;
  TEMP_FAILURE_RETRY(::waitpid(pid, &wait_status, 0));
  if (said.size() < sizeof status)
    return failure("the background process ended without a word (wait status {:#x})", wait_status);
  return Failure{said.substr(sizeof status), status};
}

void let_go_of_stdio() {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return;
  for (int fd = 0; fd < 3; ++fd) ::dup2(null.get(), fd);
}

}  // namespace runtime
