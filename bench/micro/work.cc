// One kind of kernel work at a time, for micro.py to run natively and in sandboxes: prints `NAME
// MICROSECONDS`, the least of several rounds' means.
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

extern char** environ;

namespace {

constexpr int kRounds = 7;
constexpr size_t kMebibyte = 1 << 20;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}
long ok(long value, const char* what) {
  if (value < 0) fail(what);
  return value;
}
#define OK(...) ok((__VA_ARGS__), #__VA_ARGS__)

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

void getpid_by_number(int count) {
  for (int i = 0; i < count; ++i) syscall(SYS_getpid);
}
void getpid_by_libc(int count) {
  for (int i = 0; i < count; ++i) getpid();
}
void read_clock(int count) {
  timespec time;
  for (int i = 0; i < count; ++i) syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
}
void set_mask(int count) {
  sigset_t mask;
  sigemptyset(&mask);
  for (int i = 0; i < count; ++i) sigprocmask(SIG_SETMASK, &mask, nullptr);
}
void get_flags(int count) {
  for (int i = 0; i < count; ++i) OK(fcntl(0, F_GETFL));
}

void open_read_close(const char* path, int count) {
  char bytes[1024];
  for (int i = 0; i < count; ++i) {
    const auto fd = static_cast<int>(OK(open(path, O_RDONLY)));
    OK(read(fd, bytes, sizeof bytes));
    close(fd);
  }
}
constexpr const char* kRootFile = "/etc/passwd";
// A folder in memory: a machine's own /tmp may be on a disk, whose page cache copies otherwise.
std::string scratch_folder() {
  for (const char* const folder : {"/tmp/", "/dev/shm/"}) {
    struct statfs facts;
    if (statfs(folder, &facts) == 0 && facts.f_type == TMPFS_MAGIC) return folder;
  }
  return "/tmp/";
}
std::string scratch_file(const char* name, size_t size) {
  std::string path = scratch_folder() + name + "." + std::to_string(getpid());
  const auto fd = static_cast<int>(OK(open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0600)));
  const std::vector<char> bytes(size, 'x');
  OK(write(fd, bytes.data(), bytes.size()));
  close(fd);
  return path;
}
void open_in_root(int count) { open_read_close(kRootFile, count); }
void open_in_tmpfs(int count) {
  const std::string path = scratch_file("open", 1024);
  open_read_close(path.c_str(), count);
  unlink(path.c_str());
}
void stat_in_root(int count) {
  struct stat status;
  for (int i = 0; i < count; ++i) OK(stat(kRootFile, &status));
}
void pread_cached(int count) {
  const auto fd = static_cast<int>(OK(open("/bin/sh", O_RDONLY)));
  char bytes[4096];
  for (int i = 0; i < count; ++i) OK(pread(fd, bytes, sizeof bytes, 0));
  close(fd);
}
void transfer(int count, bool out) {
  const std::string path = scratch_file("large", kMebibyte);
  const auto fd = static_cast<int>(OK(open(path.c_str(), O_RDWR)));
  std::vector<char> bytes(kMebibyte, 'y');
  for (int i = 0; i < count; ++i)
    OK(out ? pwrite(fd, bytes.data(), bytes.size(), 0) : pread(fd, bytes.data(), bytes.size(), 0));
  close(fd);
  unlink(path.c_str());
}
void pwrite_large(int count) { transfer(count, true); }
void pread_large(int count) { transfer(count, false); }

char* map(size_t size) {
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  return static_cast<char*>(memory);
}
void map_and_unmap(int count) {
  for (int i = 0; i < count; ++i) {
    char* const memory = map(65536);
    memory[0] = 1;
    munmap(memory, 65536);
  }
}
void touch(int count) {
  for (int i = 0; i < count; ++i) {
    char* const memory = map(64 * kMebibyte);
    for (size_t at = 0; at < 64 * kMebibyte; at += 4096) memory[at] = 1;
    munmap(memory, 64 * kMebibyte);
  }
}

void join(pid_t pid) { OK(waitpid(pid, nullptr, 0)); }
void fork_and_exit(int count) {
  for (int i = 0; i < count; ++i) {
    const auto pid = static_cast<pid_t>(OK(fork()));
    if (pid == 0) _exit(0);
    join(pid);
  }
}
void fork_and_exec(int count) {
  for (int i = 0; i < count; ++i) {
    const auto pid = static_cast<pid_t>(OK(fork()));
    if (pid == 0) {
      execl("/bin/true", "true", nullptr);
      _exit(127);
    }
    join(pid);
  }
}
void spawn(int count) {
  char name[] = "true";
  char* const arguments[] = {name, nullptr};
  for (int i = 0; i < count; ++i) {
    pid_t pid;
    if (posix_spawn(&pid, "/bin/true", nullptr, nullptr, arguments, environ) != 0) fail("posix_spawn");
    join(pid);
  }
}
void thread(int count) {
  for (int i = 0; i < count; ++i) {
    pthread_t thread;
    if (pthread_create(
            &thread, nullptr, [](void* argument) { return argument; }, nullptr) != 0)
      fail("thread");
    pthread_join(thread, nullptr);
  }
}

std::atomic<int> ping, pong;
void wait_for(std::atomic<int>& word) {
  while (word.load() == 0) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr);
  word.store(0);
}
void tell(std::atomic<int>& word) {
  word.store(1);
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
}
void futex_ping_pong(int count) {
  pthread_t other;
  const auto answer = [](void* argument) -> void* {
    for (long i = 0; i < reinterpret_cast<long>(argument); ++i) {
      wait_for(ping);
      tell(pong);
    }
    return nullptr;
  };
  if (pthread_create(&other, nullptr, answer, reinterpret_cast<void*>(static_cast<long>(count))) != 0)
    fail("thread");
  for (int i = 0; i < count; ++i) {
    tell(ping);
    wait_for(pong);
  }
  pthread_join(other, nullptr);
}
void ping_pong(int here_in, int here_out, int there_in, int there_out, int count) {
  char byte = 0;
  const auto pid = static_cast<pid_t>(OK(fork()));
  if (pid == 0) {
    for (int i = 0; i < count; ++i)
      if (read(there_in, &byte, 1) != 1 || write(there_out, &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  for (int i = 0; i < count; ++i) {
    OK(write(here_out, &byte, 1));
    OK(read(here_in, &byte, 1));
  }
  join(pid);
}
void pipe_ping_pong(int count) {
  int there[2], back[2];
  OK(pipe(there));
  OK(pipe(back));
  ping_pong(back[0], there[1], there[0], back[1], count);
  for (const int fd : {there[0], there[1], back[0], back[1]}) close(fd);
}
void socket_ping_pong(int count) {
  int pair[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  ping_pong(pair[0], pair[0], pair[1], pair[1], count);
  close(pair[0]);
  close(pair[1]);
}
void signal_self(int count) {
  signal(SIGUSR1, [](int) {});
  for (int i = 0; i < count; ++i) kill(getpid(), SIGUSR1);
}

struct Work {
  const char* name;
  void (*run)(int);
  int count;
};
constexpr Work kWorks[] = {
    {"getpid-syscall", getpid_by_number, 20000},
    {"getpid-libc", getpid_by_libc, 20000},
    {"clock_gettime", read_clock, 20000},
    {"sigprocmask", set_mask, 5000},
    {"fcntl-getfl", get_flags, 20000},
    {"open-read-close-root", open_in_root, 2000},
    {"open-read-close-tmpfs", open_in_tmpfs, 2000},
    {"stat-root", stat_in_root, 5000},
    {"pread-4k", pread_cached, 5000},
    {"pwrite-1m-tmpfs", pwrite_large, 50},
    {"pread-1m-tmpfs", pread_large, 50},
    {"mmap-munmap-64k", map_and_unmap, 2000},
    {"touch-64m", touch, 2},
    {"fork-exit-wait", fork_and_exit, 60},
    {"fork-exec-wait", fork_and_exec, 30},
    {"posix_spawn-wait", spawn, 30},
    {"thread-create-join", thread, 300},
    {"futex-ping-pong", futex_ping_pong, 2000},
    {"pipe-ping-pong", pipe_ping_pong, 2000},
    {"unix-ping-pong", socket_ping_pong, 2000},
    {"signal-self", signal_self, 2000},
};

}  // namespace

// With names: those only; with --list: their names.
int main(int argc, char** argv) {
  const bool list = argc == 2 && std::strcmp(argv[1], "--list") == 0;
  for (const Work& work : kWorks) {
    bool wanted = argc == 1 || list;
    for (int i = 1; i < argc; ++i) wanted |= std::strcmp(argv[i], work.name) == 0;
    if (!wanted) continue;
    if (list) {
      std::puts(work.name);
      continue;
    }
    double least = 1e18;
    for (int round = 0; round < kRounds; ++round) {
      const double start = now();
      work.run(work.count);
      const double mean = (now() - start) / work.count;
      if (mean < least) least = mean;
    }
    std::printf("%s %.4f\n", work.name, least);
    std::fflush(stdout);
  }
}
