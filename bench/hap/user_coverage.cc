#include "bench/hap/user_coverage.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>

#include "bench/hap/elf_functions.h"
#include "sentry/base/fd.h"

namespace hap {
namespace {

using sentry::Fd;

constexpr char kBreakpoint = '\xcc';  // int3

[[noreturn]] void fail(const std::string& what, int error = 0) {
  throw std::runtime_error(error == 0 ? what : what + ": " + std::strerror(error));
}

// Functions of one program file, shared by the processes that run it.
struct Watched {
  std::string name;
  Program program;
  std::map<uint64_t, const ProgramFunction*> by_address;
  std::set<uint64_t> reached;
};

struct Process {
  pid_t pid;
  Watched* watched;
  uint64_t bias;
  Fd memory;
  std::map<uint64_t, char>
      originals;  // by the file's address; kept, as several threads may hit one breakpoint
};

std::string program_of(pid_t pid) {
  char path[PATH_MAX];
  const ssize_t size = readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), path, sizeof path);
  return size < 0 ? "" : std::string(path, static_cast<size_t>(size));
}

// Where the program's first segment is mapped: the first line of /proc/PID/maps that names it. Nothing where
// none does: a sentry's stubs come from its program, and have unmapped it.
std::optional<uint64_t> mapped_at(pid_t pid, const std::string& path) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with(path)) return std::stoull(line, nullptr, 16);
  }
  return std::nullopt;
}

class Watcher {
 public:
  void attach(pid_t pid, const std::string& path) {
    const std::optional<uint64_t> start = mapped_at(pid, path);
    if (!start) return;
    // The leader first: it shows whether somebody else traces the process.
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACECLONE) != 0) {
      if (errno == EPERM || errno == ESRCH) return;
      fail("PTRACE_SEIZE", errno);
    }
    std::set<pid_t> threads{pid};
    for (bool grew = true; grew;) {  // threads may be born meanwhile
      grew = false;
      for (const auto& entry :
           std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
        const pid_t thread = std::stoi(entry.path().filename());
        if (!threads.insert(thread).second) continue;
        if (ptrace(PTRACE_SEIZE, thread, 0, PTRACE_O_TRACECLONE) == 0) grew = true;
      }
    }
    Watched& watched = programs_[path];
    if (watched.name.empty()) {
      watched.name = std::filesystem::path(path).filename();
      watched.program = read_program("/proc/" + std::to_string(pid) + "/exe");
      for (const ProgramFunction& function : watched.program.functions)
        watched.by_address.emplace(function.address, &function);
    }
    auto process = std::make_shared<Process>(
        Process{pid,
                &watched,
                *start - watched.program.first_address,
                Fd(open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC)),
                {}});
    if (!process->memory) fail("cannot open the memory of process " + std::to_string(pid), errno);
    for (const pid_t thread : threads) by_thread_[thread] = process;
    processes_.push_back(process);
  }

  bool empty() const { return processes_.empty(); }

  // A running thread may be inside a first instruction's bytes only at its start, so writing one byte is
  // enough.
  void arm() {
    for (const auto& process : processes_) {
      for (const ProgramFunction& function : process->watched->program.functions) {
        const auto at = static_cast<off_t>(process->bias + function.address);
        char original;
        if (pread(process->memory.get(), &original, 1, at) != 1)
          continue;  // not mapped: init code given back
        process->originals[function.address] = original;
        if (pwrite(process->memory.get(), &kBreakpoint, 1, at) != 1) fail("cannot write a breakpoint", errno);
      }
    }
  }

  // Serves stops until there are none at the moment.
  void serve() {
    int status;
    for (pid_t thread; (thread = waitpid(-1, &status, __WALL | WNOHANG)) > 0;) {
      if (!WIFSTOPPED(status)) continue;
      const int signal = WSTOPSIG(status);
      const int event = status >> 16;
      int deliver = 0;
      if (event == PTRACE_EVENT_CLONE) {
        unsigned long child = 0;
        ptrace(PTRACE_GETEVENTMSG, thread, 0, &child);
        by_thread_.try_emplace(static_cast<pid_t>(child), by_thread_[thread]);
      } else if (event == 0 && !(signal == SIGTRAP && at_breakpoint(thread))) {
        deliver = signal;
      }
      ptrace(PTRACE_CONT, thread, 0, deliver);
    }
  }

  void report(std::ostream& out) const {
    for (const auto& [path, watched] : programs_) {
      out << "program " << watched.name << ' ' << watched.program.source << " all "
          << watched.program.functions.size() << '\n';
      for (const uint64_t address : watched.reached) {
        const ProgramFunction& function = *watched.by_address.at(address);
        out << "u " << std::hex << address << std::dec << ' ' << function.size << ' '
            << (function.name.empty() ? "-" : function.name) << '\n';
      }
    }
  }

  void kill_all() const {
    for (const auto& process : processes_) kill(process->pid, SIGKILL);
  }

 private:
  // Whether the thread has run into one of ours; it then goes on as if that had not been there.
  bool at_breakpoint(pid_t thread) {
    user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, 0, &registers) != 0) return false;
    auto process = by_thread_[thread];
    if (process == nullptr) {  // its birth has not been told yet
      std::ifstream file("/proc/" + std::to_string(thread) + "/status");
      for (std::string line; std::getline(file, line);) {
        if (line.starts_with("Tgid:")) process = by_thread_[std::stoi(line.substr(5))];
      }
      if (process == nullptr) return false;
      by_thread_[thread] = process;
    }
    const uint64_t address = registers.rip - 1 - process->bias;
    const auto original = process->originals.find(address);
    if (original == process->originals.end()) return false;
    process->watched->reached.insert(address);
    if (pwrite(process->memory.get(), &original->second, 1, static_cast<off_t>(registers.rip - 1)) != 1)
      return false;
    --registers.rip;
    return ptrace(PTRACE_SETREGS, thread, 0, &registers) == 0;
  }

  std::map<std::string, Watched> programs_;
  std::vector<std::shared_ptr<Process>> processes_;
  std::map<pid_t, std::shared_ptr<Process>> by_thread_;
};

// The watcher's own process. `stop` becomes readable (end of file) when it is time to tell.
void watch(const std::vector<pid_t>& candidates, const std::vector<std::string>& names, int stop,
           int results) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  const Fd stops(signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  Watcher watcher;
  for (const pid_t pid : candidates) {
    const std::string path = program_of(pid);
    const std::string name = std::filesystem::path(path).filename();
    for (const std::string& wanted : names) {
      if (!name.empty() && name.find(wanted) != std::string::npos) {
        watcher.attach(pid, path);
        break;
      }
    }
  }
  if (watcher.empty())
    fail("no process to watch: none runs a program of that name, or all are traced already");
  watcher.arm();
  if (write(results, "+", 1) != 1) fail("nobody listens", errno);
  for (;;) {
    watcher.serve();
    pollfd ready[2] = {{stops.get(), POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(ready, 2, -1) < 0 && errno != EINTR) fail("poll", errno);
    signalfd_siginfo ignored;
    while (read(stops.get(), &ignored, sizeof ignored) > 0) {
    }
    if (ready[1].revents != 0) break;
  }
  std::ostringstream text;
  watcher.report(text);
  watcher.kill_all();
  const std::string all = text.str();
  for (size_t at = 0; at < all.size();) {
    const ssize_t size = write(results, all.data() + at, all.size() - at);
    if (size <= 0) fail("nobody listens", errno);
    at += static_cast<size_t>(size);
  }
}

}  // namespace

UserCoverage::UserCoverage(const std::vector<pid_t>& candidates, const std::vector<std::string>& names) {
  int stop[2], results[2];
  if (pipe2(stop, O_CLOEXEC) != 0 || pipe2(results, O_CLOEXEC) != 0) fail("cannot make pipes", errno);
  watcher_ = fork();
  if (watcher_ < 0) fail("cannot fork", errno);
  if (watcher_ == 0) {
    close(stop[1]);
    close(results[0]);
    try {
      watch(candidates, names, stop[0], results[1]);
      _exit(0);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "hap_trace: user coverage: %s\n", error.what());
      _exit(1);
    }
  }
  close(stop[0]);
  close(results[1]);
  stop_ = stop[1];
  results_ = results[0];
  char armed;
  if (read(results_, &armed, 1) != 1) fail("the functions of the runtime's programs cannot be watched");
}

UserCoverage::~UserCoverage() {
  if (stop_ >= 0) close(stop_);
  if (results_ >= 0) close(results_);
  if (watcher_ > 0) {
    kill(watcher_, SIGKILL);
    waitpid(watcher_, nullptr, 0);
  }
}

void UserCoverage::finish(std::ostream& out) {
  close(stop_);
  stop_ = -1;
  char bytes[4096];
  for (ssize_t size; (size = read(results_, bytes, sizeof bytes)) > 0;) out.write(bytes, size);
  int status;
  waitpid(watcher_, &status, 0);
  watcher_ = -1;
  if (status != 0) fail("the watcher of user functions failed");
}

}  // namespace hap
