// What the syscall tests are written with: named cases, each in a process and an empty directory of its own,
// and checks that print the expression and errno. The programs are ordinary Linux programs and know nothing
// of the sandbox: Linux is the specification, so each must pass natively before its sandboxed run counts.
//
//   PROGRAM            runs every case; prints "ok NAME", "skip NAME: why" or "FAIL NAME: why" for each
//   PROGRAM --list     prints the names
//   PROGRAM --run NAME runs one, in this process (for a debugger or strace)
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace check {

// Exit statuses of a case's process.
inline constexpr int kFailed = 101;
inline constexpr int kSkipped = 102;
inline constexpr int kSkippedOptional = 103;

struct Case {
  const char* name;
  void (*body)();
};
struct ChildProgram {
  const char* name;
  int (*body)(int argc, char** argv);
};
std::vector<Case>& cases();
std::vector<ChildProgram>& child_programs();

struct CaseRegistrar {
  CaseRegistrar(const char* name, void (*body)()) { cases().push_back({name, body}); }
};
struct ChildRegistrar {
  ChildRegistrar(const char* name, int (*body)(int, char**)) { child_programs().push_back({name, body}); }
};

// Ends the calling process (all its threads) with a message and kFailed.
[[noreturn]] void fail(const char* file, int line, const std::string& message);
// Ends the case. Optional: the sandbox may skip what passes natively (say, extended attributes on a tmpfs).
[[noreturn]] void skip(const std::string& reason, bool optional);

std::string show_errno(int value);
template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_convertible_v<T, std::string>) {
    return '"' + std::string(value) + '"';
  } else if constexpr (std::is_pointer_v<T>) {
    char text[32];
    snprintf(text, sizeof text, "%p", reinterpret_cast<const void*>(value));
    return text;
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long>(value));
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else {
    return std::to_string(value);
  }
}

template <typename A, typename B>
bool equal(const A& a, const B& b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, bool> &&
                !std::is_same_v<B, bool> && !std::is_same_v<A, char> && !std::is_same_v<B, char>) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

template <typename A, typename B>
void check_equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (!equal(a, b)) fail(file, line, std::string(text) + ": " + show(a) + " is not " + show(b));
}

template <typename T>
T check_ok(T value, const char* text, const char* file, int line) {
  bool bad;
  if constexpr (std::is_pointer_v<T>) {
    bad = value == nullptr || reinterpret_cast<intptr_t>(value) == -1;
  } else {
    bad = value < 0;
  }
  if (bad) fail(file, line, std::string(text) + " failed: " + show_errno(errno));
  return value;
}

template <typename T>
void check_fails(T value, int seen, int expected, const char* text, const char* file, int line) {
  bool failed;
  if constexpr (std::is_pointer_v<T>) {
    failed = reinterpret_cast<intptr_t>(value) == -1;
  } else {
    failed = value == -1;
  }
  if (!failed) {
    fail(file, line, std::string(text) + " answered " + show(value) + ", expected " + show_errno(expected));
  }
  if (seen != expected) {
    fail(file, line,
         std::string(text) + " failed with " + show_errno(seen) + ", expected " + show_errno(expected));
  }
}

// A pid whose process runs `body` and exits with 0, or with what body passes to _exit.
pid_t fork_child(const std::function<void()>& body);
// wait4 of one child, through EINTR: the wait status.
int wait_status(pid_t pid, const char* file, int line);
void join(pid_t pid, const char* file, int line);

// Polls until `condition` holds; fails the case after 10 s.
void wait_until(const std::function<bool()>& condition, const char* text, const char* file, int line);
// The state letter of proc_pid_stat(5), 0 if there is no such process.
char process_state(pid_t pid);
char thread_state(pid_t tid);  // of this process
pid_t gettid();

std::string read_file(const char* path, const char* file, int line);
void write_file(const char* path, const std::string& content, const char* file, int line);

// The path of this program, to be executed again as `--child NAME ARGS…`, which runs a CHILD.
const char* self();
bool is_root();
// True where the runner said so (BULKHEAD_TEST_SANDBOXED). Only for what Linux itself leaves open, such as
// whether int 0x80 is there.
bool in_sandbox();
uint64_t now_ns(clockid_t clock = CLOCK_MONOTONIC);

// Goes this deep into the stack and comes back.
void use_stack(size_t bytes);

// A pipe used as a barrier between processes: notify() lets one wait() through.
class Gate {
 public:
  Gate();
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  void notify();
  void wait();

 private:
  int fds_[2];
};

// Closes on leaving the scope.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  operator int() const { return fd_; }  // NOLINT: a test wants to write read(fd, ...)
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace check

#define TEST(name)                                                   \
  static void test_##name();                                         \
  static const check::CaseRegistrar case_##name(#name, test_##name); \
  static void test_##name()

// A program that cases of this file execute: OK(execl(check::self(), check::self(), "--child", "name", ...)).
#define CHILD(name)                                                         \
  static int child_##name(int argc, char** argv);                           \
  static const check::ChildRegistrar child_reg_##name(#name, child_##name); \
  static int child_##name([[maybe_unused]] int argc, [[maybe_unused]] char** argv)

#define CHECK(...)                                                                               \
  do {                                                                                           \
    if (!(__VA_ARGS__))                                                                          \
      check::fail(__FILE__, __LINE__,                                                            \
                  std::string("not true: " #__VA_ARGS__ "; errno ") + check::show_errno(errno)); \
  } while (0)
#define CHECK_EQ(a, b) check::check_equal((a), (b), #a " == " #b, __FILE__, __LINE__)
// The value of a call that must not fail.
#define OK(...) check::check_ok((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
// A call that must answer -1 with this errno.
#define FAILS(expected, ...)                                                                    \
  do {                                                                                          \
    errno = 0;                                                                                  \
    auto fails_value_ = (__VA_ARGS__);                                                          \
    int fails_errno_ = errno;                                                                   \
    check::check_fails(fails_value_, fails_errno_, expected, #__VA_ARGS__, __FILE__, __LINE__); \
  } while (0)
#define SKIP(reason) check::skip(reason, false)
#define SKIP_OPTIONAL(reason) check::skip(reason, true)
#define WAIT_UNTIL(...) check::wait_until([&] { return (__VA_ARGS__); }, #__VA_ARGS__, __FILE__, __LINE__)
#define JOIN(pid) check::join(pid, __FILE__, __LINE__)
#define WAIT_STATUS(pid) check::wait_status(pid, __FILE__, __LINE__)
#define READ_FILE(path) check::read_file(path, __FILE__, __LINE__)
#define WRITE_FILE(path, content) check::write_file(path, content, __FILE__, __LINE__)
// Asleep in a call, as proc_pid_stat(5) tells: the way to know that a read, a wait or a futex has begun to
// block.
#define WAIT_BLOCKED(pid) WAIT_UNTIL(check::process_state(pid) == 'S')
#define WAIT_THREAD_BLOCKED(tid) WAIT_UNTIL(check::thread_state(tid) == 'S')

#define CHECK_EXITED(status, code)               \
  do {                                           \
    int exited_status_ = (status);               \
    CHECK(WIFEXITED(exited_status_));            \
    CHECK_EQ(WEXITSTATUS(exited_status_), code); \
  } while (0)
#define CHECK_KILLED(status, signal_number)            \
  do {                                                 \
    int killed_status_ = (status);                     \
    CHECK(WIFSIGNALED(killed_status_));                \
    CHECK_EQ(WTERMSIG(killed_status_), signal_number); \
  } while (0)
