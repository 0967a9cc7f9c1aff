// Stands in for bulkhead-sentry and bulkhead-gofer in the runtime's tests: decodes what it is started with,
// looks at its jail from inside, and does on command what the real ones might do. `bulkhead do -- COMMAND
// ARGS` chooses:
//   exit N | signal N | missing TEXT    the ways in which a program ends
//   cat                                 standard input to standard output, then exit 0
//   wait                                says "ready", exits with the number of the first signal that comes
//   stubs N                             as wait, with N children
//   stop N                              stops as by signal N, exits 0 when continued
//   say TEXT                            to the log
//   crash fault|sys|status|silent       ends as a broken sentry would
//   eat BYTES                           touches memory, then as wait
//   boot                                prints the boot document
//   jail                                prints what it sees of itself
//   terminal                            prints what the console brings, until "quit"; resizes too
//   gofer WORDS...                      has the gofer answer: jail | list A P | read A P | write A P | up A |
//   die
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "sentry/base/log.h"
#include "sentry/boot/boot.h"

namespace {

using sentry::boot::Boot;
using sentry::boot::Control;
using Words = std::vector<std::string>;

constexpr int kMaxFd = 1024;

std::string list_directory(int dir) {
  const int fd = ::openat(dir, ".", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return fmt::format("error {}\n", errno);
  DIR* listing = ::fdopendir(fd);
  Words names;
  while (const dirent* entry = ::readdir(listing)) names.emplace_back(entry->d_name);
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names)
    if (name != "." && name != "..") text += name + "\n";
  return text;
}

// One fact a line: "name: value".
std::string describe_jail() {
  std::string text;
  text +=
      fmt::format("pid: {}\nppid: {}\nuid: {}\ngid: {}\n", ::getpid(), ::getppid(), ::getuid(), ::getgid());
  text += fmt::format("session-leader: {}\n", ::getsid(0) == ::getpid());
  text += fmt::format("no-new-privs: {}\n", ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  int death = 0;
  ::prctl(PR_GET_PDEATHSIG, &death);
  text += fmt::format("death-signal: {}\n", death);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  ::syscall(SYS_capget, &header, data.data());
  text += fmt::format("effective: {:x}\npermitted: {:x}\ninheritable: {:x}\n", data[0].effective,
                      data[0].permitted, data[0].inheritable);
  int bounding = 0;
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability)
    bounding += ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
  text += fmt::format("bounding-count: {}\n", bounding);
  std::string names = list_directory(AT_FDCWD);
  std::replace(names.begin(), names.end(), '\n', ' ');
  text += fmt::format("root: [{}]\n", names);
  text += fmt::format("root-writable: {}\n", ::mkdir("/new", 0700) == 0);
  text += "fds:";
  for (int fd = 0; fd < kMaxFd; ++fd)
    if (::fcntl(fd, F_GETFD) >= 0) text += fmt::format(" {}", fd);
  rlimit core{}, files{};
  ::getrlimit(RLIMIT_CORE, &core);
  ::getrlimit(RLIMIT_NOFILE, &files);
  text +=
      fmt::format("\ncore: {}\nfiles-soft-is-hard: {}\n", core.rlim_max, files.rlim_cur == files.rlim_max);
  timespec uptime{};
  ::clock_gettime(CLOCK_BOOTTIME, &uptime);
  text += fmt::format("uptime: {}\nenvironment: {}\n", uptime.tv_sec,
                      environ[0] == nullptr ? "empty" : environ[0]);
  return text;
}

// --- the gofer
// -------------------------------------------------------------------------------------------------

std::string gofer_answer(const Words& words, const std::vector<int>& attaches) {
  const std::string& what = words[0];
  if (what == "jail") return describe_jail();
  if (what == "die") ::kill(::getpid(), SIGSEGV), ::_exit(3);
  const int attach = attaches.at(static_cast<size_t>(std::stoi(words.at(1))));
  if (what == "up") {
    const int up = ::openat(attach, "..", O_PATH | O_DIRECTORY);
    return up < 0 ? fmt::format("error {}\n", errno) : list_directory(up);
  }
  const std::string path = words.size() > 2 ? words[2] : ".";
  if (what == "list") {
    const int dir = ::openat(attach, path.c_str(), O_PATH | O_DIRECTORY);
    return dir < 0 ? fmt::format("error {}\n", errno) : list_directory(dir);
  }
  struct stat status {};
  const bool is_file = ::fstat(attach, &status) == 0 && S_ISREG(status.st_mode);
  const int flags = what == "write" ? O_WRONLY | O_CREAT : O_RDONLY;
  const int file = is_file ? ::dup(attach) : ::openat(attach, path.c_str(), flags, 0644);
  if (file < 0) return fmt::format("error {}\n", errno);
  if (is_file) return fmt::format("file of {} bytes\n", status.st_size);
  if (what == "write") return ::write(file, "written", 7) == 7 ? "ok\n" : fmt::format("error {}\n", errno);
  std::array<char, 4096> bytes;
  const ssize_t size = ::read(file, bytes.data(), bytes.size());
  return size < 0 ? fmt::format("error {}\n", errno) : std::string(bytes.data(), static_cast<size_t>(size));
}

int be_gofer(const Words& arguments) {
  int socket = -1;
  std::vector<int> attaches;
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == "--socket") socket = std::stoi(arguments[i + 1]);
    if (arguments[i] == "--attach") attaches.push_back(std::stoi(arguments[i + 1]));
  }
  for (;;) {
    std::array<char, 8192> packet;
    const ssize_t size = ::recv(socket, packet.data(), packet.size(), 0);
    if (size <= 0) return 0;
    Words words;
    for (size_t at = 0; at < static_cast<size_t>(size); at += words.back().size() + 1)
      words.emplace_back(packet.data() + at);
    const std::string answer = gofer_answer(words, attaches) + "end\n";
    ::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL);
  }
}

// --- the sentry
// ------------------------------------------------------------------------------------------------

class FakeSentry {
 public:
  explicit FakeSentry(Boot boot) : boot_(std::move(boot)) {}

  int run() {
    const Words& words = boot_.process.args;
    const std::string& what = words.at(0);
    if (what == "missing") {
      tell({Control::Kind::kStartFailed, ENOENT, 127}, words.at(1));
      return 0;
    }
    tell({Control::Kind::kStarted});
    if (what == "exit") return exited(std::stoi(words.at(1)) << 8);
    if (what == "signal") return exited(std::stoi(words.at(1)));
    if (what == "cat") return cat();
    if (what == "wait") return wait_for_signal();
    if (what == "stubs") return stubs(std::stoi(words.at(1)));
    if (what == "stop") return stop(std::stoi(words.at(1)));
    if (what == "say") return say(words.at(1));
    if (what == "crash") return crash(words.at(1));
    if (what == "eat") return eat(std::stoul(words.at(1)));
    if (what == "boot") return print_boot();
    if (what == "jail") return print(describe_jail());
    if (what == "terminal") return terminal();
    if (what == "gofer") return ask_gofer({words.begin() + 1, words.end()});
    return 2;
  }

 private:
  void tell(const Control& message, const std::string& text = "") const {
    std::string packet(reinterpret_cast<const char*>(&message), sizeof message);
    packet += text;
    ::send(boot_.control_fd, packet.data(), packet.size(), MSG_NOSIGNAL);
  }

  // The next message of the runtime; the end of this process if it is gone.
  Control hear() const {
    Control message;
    if (::recv(boot_.control_fd, &message, sizeof message, 0) != sizeof message) ::_exit(0);
    return message;
  }

  int exited(int wait_status) const {
    tell({Control::Kind::kExited, wait_status});
    return 0;
  }

  int output() const {
    return boot_.process.stdio_fds[1] >= 0 ? boot_.process.stdio_fds[1] : boot_.process.console_fd;
  }

  void write_all(const std::string& text) const {
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t size = ::write(output(), text.data() + done, text.size() - done);
      if (size <= 0) return;
      done += static_cast<size_t>(size);
    }
  }

  int print(const std::string& text) const {
    write_all(text);
    return exited(0);
  }

  int cat() const {
    const int input = boot_.process.stdio_fds[0];
    std::array<char, 65536> bytes;
    ssize_t size = 0;
    while ((size = ::read(input, bytes.data(), bytes.size())) > 0)
      write_all(std::string(bytes.data(), static_cast<size_t>(size)));
    return exited(0);
  }

  int wait_for_signal() const {
    write_all("ready\n");
    for (;;) {
      const Control message = hear();
      if (message.kind != Control::Kind::kSignal) continue;
      if ((boot_.process.ignored_signals >> (message.value - 1) & 1) == 0) return exited(message.value << 8);
    }
  }

  int stubs(int count) const {
    for (int i = 0; i < count; ++i)
      if (::fork() == 0)
        for (;;) ::pause();
    return wait_for_signal();
  }

  int stop(int signal) const {
    write_all("stopping\n");
    tell({Control::Kind::kStopped, signal});
    while (hear().kind != Control::Kind::kContinue) continue;
    write_all("continued\n");
    return exited(0);
  }

  int say(const std::string& text) const {
    sentry::log_line(text);
    return exited(0);
  }

  static int crash(const std::string& how) {
    // A process that is the init of its pid namespace is deaf to the signals it sends itself, so both are the
    // real thing: a fault, and a call that a seccomp filter kills for.
    if (how == "fault") __builtin_trap();
    if (how == "sys") {
      sock_filter kill_all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
      const sock_fprog program{1, &kill_all};
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
      ::getppid();
    }
    return how == "status" ? sentry::kInternalFault : 0;
  }

  int eat(size_t bytes) const {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return exited(1 << 8);
    write_all("eating\n");
    std::memset(memory, 1, bytes);
    write_all("eaten\n");
    return wait_for_signal();
  }

  int print_boot() const {
    const sentry::boot::Process& p = boot_.process;
    std::string text =
        fmt::format("platform: {}\nhostname: {}\nstrace: {}\n", boot_.platform, boot_.hostname, boot_.strace);
    text += fmt::format("memory: {}\ntasks: {}\ncpus: {}/{}\n", boot_.memory_limit_bytes, boot_.max_tasks,
                        boot_.cpu_quota_us, boot_.cpu_period_us);
    text += fmt::format("cwd: {}\nids: {} {}\numask: {:o}\nrlimits: {}\n", p.cwd, p.uid, p.gid, p.umask,
                        p.rlimits.size());
    text += fmt::format("capabilities: {:x} {:x}\nterminal: {} {}x{}\n", p.cap_effective, p.cap_bounding,
                        p.terminal, p.rows, p.columns);
    text += fmt::format("no-new-privs: {}\n", p.no_new_privs);
    text += fmt::format("stdio: {} {} {}\n", p.stdio_fds[0] >= 0, p.stdio_fds[1] >= 0, p.stdio_fds[2] >= 0);
    for (const std::string& arg : p.args) text += fmt::format("arg: {}\n", arg);
    for (const std::string& entry : p.env) text += fmt::format("env: {}\n", entry);
    for (const sentry::boot::Mount& m : boot_.mounts)
      text += fmt::format("mount: {} kind={} attach={} overlay={} ro={} type={}\n", m.destination,
                          static_cast<int>(m.kind), m.attach, m.overlay, m.read_only, m.type);
    return print(text);
  }

  int terminal() const {
    pollfd wait[2] = {{boot_.process.console_fd, POLLIN, 0}, {boot_.control_fd, POLLIN, 0}};
    write_all("ready\n");
    std::string line;
    for (;;) {
      ::poll(wait, 2, -1);
      if (wait[1].revents != 0) {
        const Control message = hear();
        if (message.kind == Control::Kind::kResize)
          write_all(fmt::format("size {}x{}\n", message.rows, message.columns));
        if (message.kind == Control::Kind::kSignal) write_all(fmt::format("signal {}\n", message.value));
        if (message.kind == Control::Kind::kContinue) write_all("continued\n");
        if (message.kind == Control::Kind::kHangup) return exited(SIGHUP);
      }
      if ((wait[0].revents & POLLIN) == 0) continue;
      char byte = 0;
      if (::read(boot_.process.console_fd, &byte, 1) != 1) return 0;
      if (byte == 26) tell({Control::Kind::kStopped, SIGTSTP});
      line += byte;
      write_all(fmt::format("got {}\n", static_cast<int>(static_cast<unsigned char>(byte))));
      if (line.ends_with("quit")) return exited(5 << 8);
    }
  }

  int ask_gofer(const Words& words) const {
    std::string packet;
    for (const std::string& word : words) packet += word + '\0';
    ::send(boot_.gofer_fd, packet.data(), packet.size(), MSG_NOSIGNAL);
    std::array<char, 65536> answer;
    const ssize_t size = ::recv(boot_.gofer_fd, answer.data(), answer.size(), 0);
    if (size <= 0) return sentry::kInternalFault;
    return print(std::string(answer.data(), static_cast<size_t>(size)));
  }

  Boot boot_;
};

int be_sentry(const Words& arguments) {
  if (arguments.size() != 2 || arguments[0] != "--boot") return 64;
  const int fd = std::stoi(arguments[1]);
  std::string bytes;
  std::array<char, 65536> chunk;
  ssize_t size = 0;
  while ((size = ::read(fd, chunk.data(), chunk.size())) > 0)
    bytes.append(chunk.data(), static_cast<size_t>(size));
  std::optional<Boot> boot = sentry::boot::decode(bytes);
  if (!boot) return 65;
  sentry::set_log(boot->log_fd, "fake-sentry");
  return FakeSentry(std::move(*boot)).run();
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): what a test asks wrongly may end it.
int main(int argc, char** argv) {
  const Words arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "--surface") {
    std::printf("%s: a list of host calls\n", argv[0]);
    return 0;
  }
  const bool gofer = std::string(argv[0]).ends_with("gofer");
  return gofer ? be_gofer(arguments) : be_sentry(arguments);
}
