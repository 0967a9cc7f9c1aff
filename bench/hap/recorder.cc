#include "bench/hap/recorder.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

#include "sentry/base/fd.h"

namespace hap {
namespace {

using sentry::Fd;
using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what, int error = 0) {
  throw std::runtime_error(error == 0 ? what : what + ": " + std::strerror(error));
}

void write_file(const std::string& path, const std::string& text, int extra_flags = 0) {
  const Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC | extra_flags));
  if (!file) fail("cannot open " + path, errno);
  if (write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    fail("cannot write '" + text + "' to " + path, errno);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail("cannot read " + path, errno);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The private instance, set up for one mode, and its buffers.
class Instance {
 public:
  explicit Instance(const Request& request)
      : base_(request.tracefs + "/instances/" + request.instance), mode_(request.mode) {
    if (mkdir(base_.c_str(), 0700) != 0 && errno != EEXIST)
      fail("cannot make the trace instance " + base_, errno);
    stop();
    write_file(base_ + "/trace", "", O_TRUNC);
    write_file(base_ + "/buffer_size_kb", std::to_string(request.buffer_kib));
    write_file(base_ + "/options/overwrite", "0");
    sys_enter_type_ =
        static_cast<uint16_t>(std::stoi(read_file(request.tracefs + "/events/raw_syscalls/sys_enter/id")));
    const bool functions = mode_ == Mode::kFunctions;
    write_file(base_ + "/events/raw_syscalls/sys_enter/enable", functions ? "0" : "1");
    // pid 1 of this machine is never a tenant: an empty list would mean everyone.
    follow("1");
    if (exists("/options/function-fork")) write_file(base_ + "/options/function-fork", "1");
    write_file(base_ + "/options/event-fork", "1");
    const std::string tracer = functions ? "function" : "nop";
    if (read_file(base_ + "/current_tracer") != tracer + "\n") write_file(base_ + "/current_tracer", tracer);
    for (const auto& entry : std::filesystem::directory_iterator(base_ + "/per_cpu")) {
      Buffer buffer{Fd(open((entry.path() / "trace_pipe_raw").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)),
                    entry.path() / "stats", 0};
      if (!buffer.pages) fail("cannot open " + (entry.path() / "trace_pipe_raw").string(), errno);
      buffer.lost_before = lost(buffer);
      buffers_.push_back(std::move(buffer));
    }
  }

  void follow(const std::string& pid) {
    if (mode_ == Mode::kFunctions)
      write_file(base_ + "/set_ftrace_pid", pid, O_TRUNC);
    else
      write_file(base_ + "/set_event_pid", pid, O_TRUNC);
  }
  const std::string& base() const { return base_; }

  // The pid of whoever has just written to trace_marker: the filters want the kernel's own numbering, which a
  // process in a pid namespace (as in a container that runs this) cannot see otherwise.
  std::string marker_pid() {
    TraceCounts counts;
    drain(counts);
    if (counts.marker_pid == 0)
      fail("the trace instance does not record: is it disabled by kernel lockdown?");
    return std::to_string(counts.marker_pid);
  }

  void start() { write_file(base_ + "/tracing_on", "1"); }
  void stop() { write_file(base_ + "/tracing_on", "0"); }

  // Moves what the buffers hold into the counts.
  void drain(TraceCounts& counts) {
    for (Buffer& buffer : buffers_) {
      for (;;) {
        const ssize_t size = read(buffer.pages.get(), page_.data(), page_.size());
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno != EAGAIN) fail("cannot read trace_pipe_raw", errno);
        if (size <= 0) break;
        parse_page(std::as_bytes(std::span(page_).first(static_cast<size_t>(size))), sys_enter_type_, counts);
      }
    }
  }

  // Adds events that the kernel could not store since the last call.
  void add_lost(TraceCounts& counts) {
    for (Buffer& buffer : buffers_) {
      const uint64_t now = lost(buffer);
      counts.lost += now - buffer.lost_before;
      buffer.lost_before = now;
    }
  }

 private:
  struct Buffer {
    Fd pages;
    std::string stats;
    uint64_t lost_before;
  };

  bool exists(const char* name) const { return access((base_ + name).c_str(), F_OK) == 0; }

  // "overrun: N", "commit overrun: N" and "dropped events: N" of per_cpu/cpuN/stats.
  static uint64_t lost(const Buffer& buffer) {
    std::ifstream file(buffer.stats);
    uint64_t sum = 0;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("overrun:") || line.starts_with("commit overrun:") ||
          line.starts_with("dropped events:"))
        sum += std::stoull(line.substr(line.find(':') + 1));
    }
    return sum;
  }

  std::string base_;
  Mode mode_;
  uint16_t sys_enter_type_ = 0;
  std::vector<Buffer> buffers_;
  std::array<char, 1 << 16> page_;  // a read gives at most one page, whose size the kernel chooses
};

struct Child {
  pid_t pid = -1;
  Fd input, output, release;
};

// Starts the command but holds it before its exec until `release` is written to. It has written to the trace
// marker by then, if there is one.
Child start_command(const std::vector<std::string>& command, const std::string& marker) {
  int input[2], output[2], release[2], hello[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0 || pipe2(release, O_CLOEXEC) != 0 ||
      pipe2(hello, O_CLOEXEC) != 0)
    fail("cannot make pipes", errno);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) fail("cannot fork", errno);
  if (pid == 0) {
    setpgid(0, 0);
    if (!marker.empty()) {
      const Fd file(open(marker.c_str(), O_WRONLY | O_CLOEXEC));
      // From the stack: the kernel copies without faulting, and a fresh child's constants are not mapped yet.
      char text[] = "hap\n";
      if (!file || write(file.get(), text, 4) != 4) {
        dprintf(2, "hap_trace: cannot write to %s: %s\n", marker.c_str(), std::strerror(errno));
        _exit(125);
      }
    }
    char byte = 0;
    if (write(hello[1], &byte, 1) != 1) _exit(125);
    if (read(release[0], &byte, 1) != 1) _exit(125);
    dup2(input[0], 0);
    dup2(output[1], 1);
    execvp(words[0], words.data());
    dprintf(2, "hap_trace: cannot start %s: %s\n", words[0], std::strerror(errno));
    _exit(127);
  }
  close(input[0]);
  close(output[1]);
  close(release[0]);
  close(hello[1]);
  char byte;
  const ssize_t said = read(hello[0], &byte, 1);
  close(hello[0]);
  if (said != 1) fail("the command's process ended before its exec");
  return {pid, Fd(input[1]), Fd(output[0]), Fd(release[1])};
}

// Kills what is left of the run, whatever happens.
class Reaper {
 public:
  explicit Reaper(pid_t pid) : pid_(pid) {}
  ~Reaper() {
    if (pid_ < 0) return;
    for (const pid_t pid : process_tree(pid_)) kill(pid, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void done() { pid_ = -1; }

 private:
  pid_t pid_;
};

constexpr int kDrainMs =
    20;  // a 96 MiB buffer lasts longer than that even for an emulated CPU's millions a second

// Waits for a line on the command's standard output, draining meanwhile.
class Conversation {
 public:
  Conversation(const Request& request, Instance* trace, Child& child, Recording& recording)
      : trace_(trace),
        child_(child),
        recording_(recording),
        deadline_(Clock::now() + std::chrono::seconds(request.timeout_s)) {}

  // Calls `meanwhile` now and then, if there is one.
  void await(const char* wanted, TraceCounts& counts, const std::function<void(pid_t)>& meanwhile = {}) {
    const std::string line = std::string(wanted) + "\n";
    for (;;) {
      const size_t at = recording_.output.find(line, read_up_to_);
      if (at != std::string::npos) {
        read_up_to_ = at + line.size();
        return;
      }
      turn(counts, wanted);
      if (meanwhile) meanwhile(child_.pid);
    }
  }

  void say(const char* line) {
    const std::string text = std::string(line) + "\n";
    if (write(child_.input.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      fail("the command no longer reads its standard input", errno);
  }

  // Runs the outside load to its end, draining meanwhile.
  void run_external(const std::string& command, TraceCounts& counts) {
    const pid_t pid = fork();
    if (pid < 0) fail("cannot fork", errno);
    if (pid == 0) {
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) turn(counts, "the end of the outside load");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      fail("the outside load failed with wait status " + std::to_string(status) + ": " + command);
  }

  // The command's end.
  void finish() {
    child_.input.reset();
    TraceCounts ignored;
    while (waitpid(child_.pid, &recording_.exit_status, WNOHANG) == 0) turn(ignored, "its end");
  }

 private:
  void turn(TraceCounts& counts, const char* wanted) {
    pollfd ready{child_.output ? child_.output.get() : -1, POLLIN, 0};
    if (poll(&ready, 1, kDrainMs) < 0 && errno != EINTR) fail("poll", errno);
    if (ready.revents != 0) {
      char bytes[4096];
      const ssize_t size = read(child_.output.get(), bytes, sizeof(bytes));
      if (size > 0) recording_.output.append(bytes, static_cast<size_t>(size));
      if (size == 0) {
        child_.output.reset();
        if (wanted == kReadyLine || wanted == kDoneLine)
          fail(std::string("the command ended before saying '") + wanted + "'; it said:\n" +
               recording_.output);
      }
    }
    if (trace_ != nullptr) {
      trace_->drain(counts);
    }
    if (Clock::now() > deadline_)
      fail(std::string("out of time waiting for '") + wanted + "'; the command said:\n" + recording_.output);
  }

  Instance* trace_;
  Child& child_;
  Recording& recording_;
  Clock::time_point deadline_;
  size_t read_up_to_ = 0;
};

// Ends a phase: what is still in the buffers belongs to it.
void close_phase(Instance* trace, TraceCounts& counts) {
  if (trace == nullptr) return;
  trace->stop();
  trace->drain(counts);
  trace->add_lost(counts);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::vector<pid_t> process_tree(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;  // gone since
    // proc(5): pid (comm) state ppid, and comm may hold anything.
    pid_t parent = 0;
    if (std::sscanf(line.c_str() + line.rfind(')') + 1, " %*c %d", &parent) == 1)
      children.emplace(parent, static_cast<pid_t>(std::stoi(name)));
  }
  std::vector<pid_t> tree{root};
  for (size_t at = 0; at < tree.size(); ++at) {
    const auto [first, last] = children.equal_range(tree[at]);
    for (auto child = first; child != last; ++child) tree.push_back(child->second);
  }
  return tree;
}

Recording record(const Request& request) {
  // The drain must not wait for the tenant; the tenant must not inherit this.
  const sched_param priority{.sched_priority = 10};
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority) != 0)
    fail("cannot set SCHED_FIFO", errno);
  signal(SIGPIPE, SIG_IGN);

  Recording recording;
  std::optional<Instance> instance;
  if (request.mode != Mode::kNothing) instance.emplace(request);
  Instance* trace = instance ? &*instance : nullptr;
  if (trace != nullptr) trace->start();
  Child child = start_command(request.command, trace == nullptr ? "" : trace->base() + "/trace_marker");
  Reaper reaper(child.pid);
  Conversation conversation(request, trace, child, recording);

  auto began = Clock::now();
  if (trace != nullptr) {
    trace->follow(trace->marker_pid());
    trace->start();
  }
  if (write(child.release.get(), "", 1) != 1) fail("the command is gone", errno);
  conversation.await(kReadyLine, recording.setup);
  close_phase(trace, recording.setup);
  recording.setup_s = seconds_since(began);

  if (request.at_ready) request.at_ready(child.pid);
  began = Clock::now();
  if (trace != nullptr) trace->start();
  if (!request.external.empty()) conversation.run_external(request.external, recording.steady);
  conversation.say(kGoLine);
  conversation.await(kDoneLine, recording.steady, request.at_work);
  close_phase(trace, recording.steady);
  recording.steady_s = seconds_since(began);

  if (request.at_done) request.at_done(child.pid);
  if (!request.kill_at_end) {
    conversation.finish();
    reaper.done();
  }
  if (trace != nullptr) trace->follow("1");
  return recording;
}

void probe(const std::string& tracefs) {
  const std::string name = "hap-probe-" + std::to_string(getpid());
  try {
    const Instance instance({.tracefs = tracefs, .instance = name, .buffer_kib = 64});
  } catch (const std::runtime_error&) {
    remove_instance(tracefs, name);
    throw;
  }
  remove_instance(tracefs, name);
}

void remove_instance(const std::string& tracefs, const std::string& instance) {
  const std::string base = tracefs + "/instances/" + instance;
  if (access(base.c_str(), F_OK) != 0) return;
  if (access((base + "/tracing_on").c_str(), W_OK) == 0) {
    write_file(base + "/tracing_on", "0");
    write_file(base + "/current_tracer", "nop");
  }
  if (rmdir(base.c_str()) != 0) fail("cannot remove " + base, errno);
}

}  // namespace hap
