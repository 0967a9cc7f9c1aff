#include "tests/syscalls/check.h"

#include <dirent.h>
#include <limits.h>

namespace check {
namespace {

// How long a case may take; CHECK_SECONDS in the environment says otherwise.
unsigned case_seconds() {
  const char* text = getenv("CHECK_SECONDS");
  return text != nullptr ? static_cast<unsigned>(atoi(text)) : 30;
}

std::string self_path;
volatile sig_atomic_t timed_out = 0;

void say(const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    ssize_t n = write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return;
    if (n > 0) done += static_cast<size_t>(n);
  }
}

// Removes a tree, without following links and whatever modes a case left behind.
void remove_tree(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) return;
  if (S_ISDIR(st.st_mode)) {
    chmod(path.c_str(), 0700);
    if (DIR* dir = opendir(path.c_str())) {
      std::vector<std::string> names;
      while (dirent* entry = readdir(dir)) {
        std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
      }
      closedir(dir);
      for (const std::string& name : names) remove_tree(path + '/' + name);
    }
    rmdir(path.c_str());
  } else {
    unlink(path.c_str());
  }
}

// The runner's own parent may have left signals ignored (nohup, python) or blocked.
void reset_signals() {
  for (int signal_number = 1; signal_number < 32; ++signal_number) signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Kills what a failed case left behind: the processes that work in its directory.
void kill_strays(const std::string& scratch) {
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return;
  while (dirent* entry = readdir(proc)) {
    pid_t pid = atoi(entry->d_name);
    if (pid <= 1 || pid == getpid()) continue;
    char cwd[PATH_MAX];
    ssize_t n = readlink(("/proc/" + std::to_string(pid) + "/cwd").c_str(), cwd, sizeof cwd);
    if (n > 0 && std::string(cwd, static_cast<size_t>(n)).starts_with(scratch)) kill(pid, SIGKILL);
  }
  closedir(proc);
}

enum class Outcome { kPassed, kSkipped, kFailed };

void run_body(const Case& test, const std::string& scratch) {
  reset_signals();
  umask(022);
  if (!scratch.empty() && chdir(scratch.c_str()) != 0) {
    fail(__FILE__, __LINE__, "cannot enter " + scratch + ": " + show_errno(errno));
  }
  test.body();
}

Outcome run_case(const Case& test, const std::string& base) {
  std::string scratch = base + "/syscall-test-XXXXXX";
  if (mkdtemp(scratch.data()) == nullptr) {
    say("FAIL " + std::string(test.name) + ": cannot make " + scratch + ": " + show_errno(errno) + "\n");
    return Outcome::kFailed;
  }
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    run_body(test, scratch);
    _exit(0);
  }
  if (pid < 0) {
    say("FAIL " + std::string(test.name) + ": fork: " + show_errno(errno) + "\n");
    rmdir(scratch.c_str());
    return Outcome::kFailed;
  }
  timed_out = 0;
  struct sigaction action = {};
  action.sa_handler = [](int) { timed_out = 1; };
  sigaction(SIGALRM, &action, nullptr);
  alarm(case_seconds());
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) break;
    if (timed_out) kill(pid, SIGKILL);
  }
  alarm(0);
  kill(-pid, SIGKILL);
  if (timed_out || !WIFEXITED(status) || WEXITSTATUS(status) == kFailed) kill_strays(scratch);
  remove_tree(scratch);
  std::string name = test.name;
  if (timed_out) {
    say("FAIL " + name + ": not done after " + std::to_string(case_seconds()) + " s\n");
    return Outcome::kFailed;
  }
  if (WIFEXITED(status)) {
    switch (WEXITSTATUS(status)) {
      case 0:
        say("ok " + name + "\n");
        return Outcome::kPassed;
      case kSkipped:
      case kSkippedOptional:
        return Outcome::kSkipped;  // skip() has said why
      case kFailed:
        say("FAIL " + name + "\n");
        return Outcome::kFailed;
      default:
        say("FAIL " + name + ": exited with " + std::to_string(WEXITSTATUS(status)) + "\n");
        return Outcome::kFailed;
    }
  }
  say("FAIL " + name + ": killed by signal " + std::to_string(WTERMSIG(status)) + "\n");
  return Outcome::kFailed;
}

const char* running = "";

}  // namespace

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

std::vector<ChildProgram>& child_programs() {
  static std::vector<ChildProgram> all;
  return all;
}

void fail(const char* file, int line, const std::string& message) {
  const char* base = strrchr(file, '/');
  say("  " + std::string(base != nullptr ? base + 1 : file) + ":" + std::to_string(line) + ": " + message +
      "\n");
  _exit(kFailed);
}

void skip(const std::string& reason, bool optional) {
  say("skip " + std::string(running) + (optional ? " (optional): " : ": ") + reason + "\n");
  _exit(optional ? kSkippedOptional : kSkipped);
}

std::string show_errno(int value) {
  const char* name = strerrorname_np(value);
  return name != nullptr ? name : std::to_string(value);
}

pid_t fork_child(const std::function<void()>& body) {
  pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  if (pid < 0) fail(__FILE__, __LINE__, "fork: " + show_errno(errno));
  return pid;
}

int wait_status(pid_t pid, const char* file, int line) {
  int status = 0;
  pid_t seen;
  do {
    seen = waitpid(pid, &status, 0);
  } while (seen < 0 && errno == EINTR);
  if (seen != pid) fail(file, line, "waitpid answered " + std::to_string(seen) + ", " + show_errno(errno));
  return status;
}

void join(pid_t pid, const char* file, int line) {
  int status = wait_status(pid, file, line);
  if (WIFSIGNALED(status)) {
    fail(file, line, "the child was killed by signal " + std::to_string(WTERMSIG(status)));
  }
  if (WEXITSTATUS(status) == kSkipped || WEXITSTATUS(status) == kSkippedOptional) _exit(WEXITSTATUS(status));
  if (WEXITSTATUS(status) != 0) {
    fail(file, line, "the child exited with " + std::to_string(WEXITSTATUS(status)));
  }
}

void wait_until(const std::function<bool()>& condition, const char* text, const char* file, int line) {
  uint64_t deadline = now_ns() + 10'000'000'000ull;
  while (!condition()) {
    if (now_ns() > deadline) fail(file, line, std::string("never came true: ") + text);
    timespec pause = {0, 500'000};
    nanosleep(&pause, nullptr);
  }
}

namespace {

char state_in(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[512];
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  const char* name_end = strrchr(text, ')');
  if (name_end == nullptr || name_end[1] == 0) return 0;
  return name_end[2];
}

}  // namespace

char process_state(pid_t pid) { return state_in("/proc/" + std::to_string(pid) + "/stat"); }
char thread_state(pid_t tid) { return state_in("/proc/self/task/" + std::to_string(tid) + "/stat"); }
pid_t gettid() { return static_cast<pid_t>(syscall(SYS_gettid)); }

std::string read_file(const char* path, const char* file, int line) {
  Fd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) fail(file, line, std::string("cannot open ") + path + ": " + show_errno(errno));
  std::string content;
  char block[16384];
  for (;;) {
    ssize_t n = read(fd, block, sizeof block);
    if (n < 0) fail(file, line, std::string("cannot read ") + path + ": " + show_errno(errno));
    if (n == 0) return content;
    content.append(block, static_cast<size_t>(n));
  }
}

void write_file(const char* path, const std::string& content, const char* file, int line) {
  Fd fd(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd < 0) fail(file, line, std::string("cannot create ") + path + ": " + show_errno(errno));
  size_t done = 0;
  while (done < content.size()) {
    ssize_t n = write(fd, content.data() + done, content.size() - done);
    if (n <= 0) fail(file, line, std::string("cannot write ") + path + ": " + show_errno(errno));
    done += static_cast<size_t>(n);
  }
}

const char* self() { return self_path.c_str(); }
bool is_root() { return geteuid() == 0; }
bool in_sandbox() { return getenv("BULKHEAD_TEST_SANDBOXED") != nullptr; }

uint64_t now_ns(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000ull + static_cast<uint64_t>(now.tv_nsec);
}

[[gnu::noinline]] void use_stack(size_t bytes) {
  char block[4096];
  asm volatile("" ::"r"(block) : "memory");
  block[0] = 1;
  if (bytes > sizeof block) use_stack(bytes - sizeof block);
  asm volatile("" ::"r"(block) : "memory");
}

Gate::Gate() {
  if (pipe2(fds_, O_CLOEXEC) != 0) fail(__FILE__, __LINE__, "pipe2: " + show_errno(errno));
}
Gate::~Gate() {
  close(fds_[0]);
  close(fds_[1]);
}
void Gate::notify() {
  char byte = 0;
  if (write(fds_[1], &byte, 1) != 1) fail(__FILE__, __LINE__, "gate: write: " + show_errno(errno));
}
void Gate::wait() {
  char byte;
  ssize_t n;
  do {
    n = read(fds_[0], &byte, 1);
  } while (n < 0 && errno == EINTR);
  if (n != 1) fail(__FILE__, __LINE__, "gate: read: " + show_errno(errno));
}

}  // namespace check

int main(int argc, char** argv) {
  using namespace check;
  // An absolute path survives the chdir into the case's directory.
  if (argv[0][0] == '/') {
    self_path = argv[0];
  } else {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    self_path = n > 0 ? std::string(path, static_cast<size_t>(n)) : argv[0];
  }
  if (argc >= 3 && strcmp(argv[1], "--child") == 0) {
    for (const ChildProgram& child : child_programs()) {
      if (strcmp(child.name, argv[2]) == 0) return child.body(argc - 3, argv + 3);
    }
    return 99;
  }
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (const Case& test : cases()) say(std::string(test.name) + "\n");
    return 0;
  }
  const char* base = getenv("TMPDIR");
  if (base == nullptr || base[0] != '/') base = "/tmp";
  if (argc == 3 && strcmp(argv[1], "--run") == 0) {
    for (const Case& test : cases()) {
      if (strcmp(test.name, argv[2]) != 0) continue;
      running = test.name;
      std::string scratch = std::string(base) + "/syscall-test-XXXXXX";
      if (mkdtemp(scratch.data()) == nullptr) fail(__FILE__, __LINE__, "mkdtemp: " + show_errno(errno));
      run_body(test, scratch);
      remove_tree(scratch);
      say("ok " + std::string(test.name) + "\n");
      return 0;
    }
    say("no case named " + std::string(argv[2]) + "\n");
    return 2;
  }
  if (argc != 1) {
    say("usage: " + std::string(argv[0]) + " [--list | --run NAME]\n");
    return 2;
  }
  reset_signals();
  int passed = 0, skipped = 0;
  std::string failed;
  for (const Case& test : cases()) {
    running = test.name;
    switch (run_case(test, base)) {
      case Outcome::kPassed:
        ++passed;
        break;
      case Outcome::kSkipped:
        ++skipped;
        break;
      case Outcome::kFailed:
        failed += std::string(" ") + test.name;
        break;
    }
  }
  say(std::to_string(passed) + " passed, " + std::to_string(skipped) + " skipped" +
      (failed.empty() ? "" : ", failed:" + failed) + "\n");
  return failed.empty() ? 0 : 1;
}
