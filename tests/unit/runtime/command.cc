#include "tests/unit/runtime/command.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace command {
namespace {

constexpr uid_t kNobody = 65534;

std::string slurp(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Pipe {
  sentry::Fd reader, writer;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  return {sentry::Fd(ends[0]), sentry::Fd(ends[1])};
}

[[noreturn]] void become_command(const Words& words, const Setup& setup, int in, int out, int err) {
  if (setup.close_stdin)
    ::close(0);
  else
    ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  if (!setup.directory.empty() && ::chdir(setup.directory.c_str()) != 0) ::_exit(99);
  if (setup.user == User::kNobody &&
      (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
       ::setresuid(kNobody, kNobody, kNobody) != 0))
    ::_exit(98);
  for (const int number : setup.ignored_signals) std::signal(number, SIG_IGN);
  const std::string path = program("bulkhead");
  std::vector<char*> argv{const_cast<char*>("bulkhead")}, envp;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : setup.environment) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::execve(path.c_str(), argv.data(), envp.data());
  ::_exit(97);
}

}  // namespace

std::string program(const std::string& name) { return std::string(PROGRAMS_FOLDER) + "/" + name; }

bool is_root() { return ::geteuid() == 0; }

Running Running::start(const Words& words, const Setup& setup) {
  Running running;
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  const pid_t pid = ::fork();
  if (pid == 0)
    become_command(words, setup, in.reader.get(), setup.stdout_fd >= 0 ? setup.stdout_fd : out.writer.get(),
                   err.writer.get());
  running.pid_ = pid;
  running.out_ = std::move(out.reader);
  running.err_ = std::move(err.reader);
  // What a test feeds fits into a pipe.
  EXPECT_EQ(::write(in.writer.get(), setup.input.data(), setup.input.size()),
            static_cast<ssize_t>(setup.input.size()));
  return running;
}

Running::~Running() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::vector<pid_t> Running::children(pid_t pid) {
  std::stringstream list(
      slurp("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children"));
  std::vector<pid_t> children;
  for (pid_t child = 0; list >> child;) children.push_back(child);
  return children;
}

std::map<std::string, pid_t> Running::jailed() const {
  std::map<std::string, pid_t> found;
  eventually([&] {
    for (const pid_t child : children(pid_)) {
      const std::string line = slurp("/proc/" + std::to_string(child) + "/cmdline");
      if (line.starts_with("bulkhead-sentry")) found["sentry"] = child;
      if (line.starts_with("bulkhead-gofer")) found["gofer"] = child;
    }
    return found.size() == 2;
  });
  return found;
}

std::string Running::read_line() {
  for (;;) {
    const size_t end = read_.find('\n');
    if (end != read_.npos) {
      const std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    std::array<char, 4096> bytes;
    const ssize_t size = ::read(out_.get(), bytes.data(), bytes.size());
    if (size <= 0) return "(end of file) " + read_;
    read_.append(bytes.data(), static_cast<size_t>(size));
  }
}

void Running::signal(int number) const { ::kill(pid_, number); }

Finished Running::wait() {
  Finished finished;
  finished.out = read_;
  pollfd polls[2] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}};
  std::string* const texts[2] = {&finished.out, &finished.err};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    ::poll(polls, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) continue;
      std::array<char, 65536> bytes;
      const ssize_t size = ::read(polls[i].fd, bytes.data(), bytes.size());
      if (size <= 0)
        polls[i].fd = -1;
      else
        texts[i]->append(bytes.data(), static_cast<size_t>(size));
    }
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  finished.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return finished;
}

Finished run(const Words& words, const Setup& setup) { return Running::start(words, setup).wait(); }

std::map<std::string, std::string> facts(const std::string& text) {
  std::map<std::string, std::string> facts;
  std::stringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(": ");
    if (colon != line.npos) facts[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return facts;
}

std::string proc_status(pid_t pid, const std::string& name) {
  std::stringstream lines(slurp("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + ":")) continue;
    const size_t start = line.find_first_not_of(" \t", name.size() + 1);
    return start == line.npos ? "" : line.substr(start);
  }
  return "(no " + name + ")";
}

std::vector<std::string> leftovers() {
  std::vector<std::string> found;
  std::stringstream mounts(slurp("/proc/self/mountinfo"));
  for (std::string line; std::getline(mounts, line);) found.push_back("mount " + line);
  std::error_code ignored;
  for (const char* root : {"/run/bulkhead", "/tmp/bulkhead-65534"})
    for (const auto& entry : std::filesystem::directory_iterator(root, ignored))
      found.push_back(entry.path());
  // Cgroups of sandboxes: folders below "bulkhead" in any hierarchy.
  using std::filesystem::recursive_directory_iterator;
  for (recursive_directory_iterator
           each("/sys/fs/cgroup", std::filesystem::directory_options::skip_permission_denied, ignored),
       end;
       each != end; each.increment(ignored)) {
    const std::string path = each->path();
    if (!each->is_directory(ignored)) continue;
    if (path.find("/bulkhead/") != path.npos) found.push_back(path);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace command
