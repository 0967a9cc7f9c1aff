// hap_trace: the recorder as a program. Its output is lines of words, for the Python side to read.
//
//   hap_trace record [--mode functions|syscalls|nothing] [--tracefs DIR] [--instance NAME] [--out FILE]
//                    [--filters FILE [--computes yes]] [--kill-at-end yes] [--user-names A,B --user-out
//                    FILE] [--external COMMAND] [--timeout SECONDS] [--buffer-kib N] -- COMMAND…
//   hap_trace remove [--tracefs DIR] [--instance NAME]
//   hap_trace probe [--tracefs DIR]
//   hap_trace filters PID…
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "bench/hap/filter_reach.h"
#include "bench/hap/recorder.h"
#include "bench/hap/user_coverage.h"

namespace {

// Native calls are numbered below this on every kernel so far (x32 starts at 512).
constexpr uint32_t kNumbers = 512;

std::string status_field(pid_t pid, const std::string& field) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field + ":")) return line.substr(line.find_first_not_of(" \t", field.size() + 1));
  }
  return "?";
}

// Whether a process waits for the answer to a seccomp notification. With
// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV nothing but SIGKILL gets it out of that wait, seccomp_unotify(2):
// whoever attached to it would wait for ever.
bool held_by_notification(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/wchan");
  std::string where;
  file >> where;
  return where.starts_with("seccomp_do_user_notification");
}

// Whether a process is using a processor now, proc(5).
bool runs(pid_t pid) { return status_field(pid, "State").starts_with("R"); }

// A process that entered a notification after it was looked at does not stop before that is answered.
void await_stop(pid_t pid) {
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  int status;
  for (;;) {
    const pid_t found = waitpid(pid, &status, __WALL | WNOHANG);
    if (found == pid) return;
    if (found < 0) throw std::runtime_error(std::string("waitpid: ") + std::strerror(errno));
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("does not stop");
    std::this_thread::sleep_for(1ms);  // waitpid(2) has no time limit of its own
  }
}

// The seccomp filters of a process, by PTRACE_SECCOMP_GET_FILTER, ptrace(2).
std::vector<std::vector<sock_filter>> filters_of(pid_t pid) {
  const auto check = [&](long answer, const char* what) {
    if (answer < 0) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
    return answer;
  };
  if (held_by_notification(pid)) throw std::runtime_error("held in a seccomp notification");
  check(ptrace(PTRACE_SEIZE, pid, 0, 0), "PTRACE_SEIZE");
  check(ptrace(PTRACE_INTERRUPT, pid, 0, 0), "PTRACE_INTERRUPT");
  await_stop(pid);
  std::vector<std::vector<sock_filter>> chain;
  for (unsigned long index = 0;; ++index) {
    const long size = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, 0);
    if (size < 0 && (errno == ENOENT || errno == EINVAL)) break;  // past the last one; none at all
    check(size, "PTRACE_SECCOMP_GET_FILTER");
    chain.emplace_back(static_cast<size_t>(size));
    check(ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, chain.back().data()), "PTRACE_SECCOMP_GET_FILTER");
  }
  check(ptrace(PTRACE_DETACH, pid, 0, 0), "PTRACE_DETACH");
  return chain;
}

std::string joined(const std::vector<uint32_t>& numbers) {
  std::string text;
  for (const uint32_t number : numbers) {
    if (!text.empty()) text += ',';
    text += std::to_string(number);
  }
  return text.empty() ? "-" : text;
}

// A process's line: `process PID COMM parent PID depth N seccomp MODE filters N allowed a,b,c consulted
// d,e`, or after the mode `unfiltered` or `unreadable WHY`. Depth: how many pid namespaces it is in. Empty:
// it is gone.
std::string filters_line(pid_t pid) {
  std::string name = status_field(pid, "Name");
  for (char& letter : name) {
    if (letter == ' ') letter = '_';
  }
  const std::string mode = status_field(pid, "Seccomp");
  const std::string pids_inside = status_field(pid, "NSpid");
  if (mode.empty() || mode == "?") return "";
  std::ostringstream out;
  out << "process " << pid << ' ' << name << " parent " << status_field(pid, "PPid") << " depth "
      << 1 + std::count(pids_inside.begin(), pids_inside.end(), '\t') << " seccomp " << mode;
  if (mode != "2") {
    out << " unfiltered\n";
    return out.str();
  }
  try {
    const auto chain = filters_of(pid);
    bool complete = true;
    std::vector<uint32_t> allowed, consulted;
    for (uint32_t number = 0; number < kNumbers; ++number) {
      const hap::Reach reach = hap::chain_reach(chain, number, complete);
      if (reach.allowed)
        allowed.push_back(number);
      else if (reach.consulted)
        consulted.push_back(number);
    }
    out << " filters " << chain.size() << (complete ? "" : " incomplete") << " allowed " << joined(allowed)
        << " consulted " << joined(consulted) << '\n';
  } catch (const std::runtime_error& error) {
    out << " unreadable " << error.what() << '\n';
  }
  return out.str();
}

void print_phase(const char* name, const hap::TraceCounts& counts, double seconds, std::ostream& out) {
  out << "phase " << name << " events " << counts.events << " lost " << counts.lost << " malformed "
      << counts.malformed << " seconds " << seconds << '\n';
  for (const auto& entry : counts.functions.entries())
    out << "f " << std::hex << entry.address << std::dec << ' ' << entry.counts[0] << ' ' << entry.counts[1]
        << '\n';
  for (const auto& [number, count] : counts.syscalls) out << "s " << number << ' ' << count << '\n';
}

int run(int argc, char** argv) {
  hap::Request request{.tracefs = "/sys/kernel/tracing", .instance = "hap"};
  std::string out_path = "/dev/stdout", filters_path, user_names, user_path;
  bool computes = false;  // whether the work is computing: only then can what waits for answers else be read
  const std::string verb = argc > 1 ? argv[1] : "";
  int at = 2;
  for (; at < argc && std::strncmp(argv[at], "--", 2) == 0; ++at) {
    const std::string option = argv[at];
    if (option == "--") {
      ++at;
      break;
    }
    if (at + 1 >= argc) throw std::runtime_error(option + " needs a value");
    const std::string value = argv[++at];
    if (option == "--mode") {
      if (value == "functions")
        request.mode = hap::Mode::kFunctions;
      else if (value == "syscalls")
        request.mode = hap::Mode::kSyscalls;
      else if (value == "nothing")
        request.mode = hap::Mode::kNothing;
      else
        throw std::runtime_error("no such mode: " + value);
    } else if (option == "--tracefs")
      request.tracefs = value;
    else if (option == "--instance")
      request.instance = value;
    else if (option == "--out")
      out_path = value;
    else if (option == "--filters")
      filters_path = value;
    else if (option == "--computes")
      computes = value == "yes";
    else if (option == "--kill-at-end")
      request.kill_at_end = value == "yes";
    else if (option == "--user-names")
      user_names = value;
    else if (option == "--user-out")
      user_path = value;
    else if (option == "--external")
      request.external = value;
    else if (option == "--timeout")
      request.timeout_s = static_cast<unsigned>(std::stoul(value));
    else if (option == "--buffer-kib")
      request.buffer_kib = static_cast<unsigned>(std::stoul(value));
    else
      throw std::runtime_error("no such option: " + option);
  }
  for (; at < argc; ++at) request.command.emplace_back(argv[at]);

  if (verb == "remove") {
    hap::remove_instance(request.tracefs, request.instance);
    return 0;
  }
  if (verb == "probe") {
    hap::probe(request.tracefs);
    return 0;
  }
  if (verb == "filters") {
    std::vector<pid_t> pids;
    for (const std::string& word : request.command) pids.push_back(std::stoi(word));
    for (const pid_t pid : pids) std::cout << filters_line(pid);
    return 0;
  }
  if (verb != "record" || request.command.empty())
    throw std::runtime_error("usage: hap_trace record|remove|probe|filters …, see the head of trace_main.cc");
  std::map<pid_t, std::string> read_at_work;
  if (!filters_path.empty()) {
    if (computes) {
      request.at_work = [&](pid_t root) {
        for (const pid_t pid : hap::process_tree(root)) {
          if (!read_at_work.contains(pid) && runs(pid)) read_at_work[pid] = filters_line(pid);
        }
      };
    }
    request.at_done = [&](pid_t root) {
      std::ofstream filters(filters_path);
      for (const pid_t pid : hap::process_tree(root)) {
        const auto found = read_at_work.find(pid);
        filters << (found != read_at_work.end() ? found->second : filters_line(pid));
      }
    };
  }
  std::optional<hap::UserCoverage> coverage;
  if (!user_path.empty()) {
    std::vector<std::string> names;
    std::istringstream list(user_names);
    for (std::string name; std::getline(list, name, ',');) names.push_back(name);
    request.at_ready = [&coverage, names](pid_t root) { coverage.emplace(hap::process_tree(root), names); };
    request.at_done = [&](pid_t) {
      std::ofstream user(user_path);
      coverage->finish(user);
    };
    request.kill_at_end = true;
  }
  const hap::Recording recording = hap::record(request);
  std::ofstream out(out_path);
  print_phase("setup", recording.setup, recording.setup_s, out);
  print_phase("steady", recording.steady, recording.steady_s, out);
  out << "exit " << recording.exit_status << '\n';
  out.flush();
  if (!out) throw std::runtime_error("cannot write " + out_path);
  const uint64_t lost = recording.setup.lost + recording.steady.lost;
  const uint64_t malformed = recording.setup.malformed + recording.steady.malformed;
  if (lost + malformed != 0)
    throw std::runtime_error(std::to_string(lost) + " trace events lost, " + std::to_string(malformed) +
                             " pages malformed: the counts would be too low");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "hap_trace: " << error.what() << '\n';
    return 1;
  }
}
