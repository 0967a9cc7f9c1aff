// Every system call with bad arguments: prints "NUMBER VECTOR OUTCOME" for each pair, an outcome being "ok",
// an errno's name, "killed N" or "blocks". sweep.py runs it natively and in a sandbox, and compares.
//
//   SWEEP [FROM [TO]]
//   SWEEP --unmapping   the same calls while another thread takes their memory away and puts it back: there
//   is
//                       nothing to compare, and the kernel must come through. Prints how many calls it made.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr long kNumbers = 463;

// Not called: what ends or hangs the caller as it should, what leaves no address space to come back to, and
// what would signal everybody; sync, which takes as long as the host has to write.
const long kExcluded[] = {
    SYS_exit,          SYS_exit_group, SYS_rt_sigreturn, SYS_fork,     SYS_vfork,
    SYS_clone,         SYS_pause,      SYS_kill,         SYS_munmap,   SYS_mremap,
    SYS_mprotect,      SYS_brk,        SYS_vhangup,      SYS_reboot,   SYS_restart_syscall,
    SYS_rt_sigsuspend, SYS_arch_prctl, SYS_select,       SYS_pselect6, SYS_rt_sigtimedwait,
    SYS_seccomp,       SYS_setsid,     SYS_sync,         SYS_syncfs};

struct Vector {
  std::string name;
  uint64_t args[6];
};

std::vector<Vector> vectors() {
  const size_t page = 4096;
  // A fixed place: what the low half of an address means as an int must not differ from run to run.
  char* place = static_cast<char*>(mmap(reinterpret_cast<void*>(0x30000000), 3 * page, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  const auto zeros = reinterpret_cast<uint64_t>(place);
  const auto edge = reinterpret_cast<uint64_t>(place + 3 * page - 2);
  strcpy(place + page, "file");
  strcpy(place + page + 512, "missing/file");
  strcpy(place + page + 1024, "folder");
  const uint64_t path = zeros + page, missing = path + 512, folder = path + 1024;
  char* constant = static_cast<char*>(mmap(reinterpret_cast<void*>(0x38000000), page, PROT_READ,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  const uint64_t readonly = reinterpret_cast<uint64_t>(constant);
  const uint64_t bad = 0x10, kernel = 0xffff800000000000, huge = uint64_t{1} << 40;
  const uint64_t file = 3, pipe_end = 4, socket_fd = 6, directory = 7, closed = 99;  // main() opens them
  std::vector<Vector> all;
  const auto same = [&](const char* name, uint64_t value) {
    all.push_back({std::string("all-") + name, {value, value, value, value, value, value}});
  };
  same("0", 0), same("-1", ~0ull), same("1", 1), same("bad", bad), same("kernel", kernel),
      same("zeros", zeros);
  same("edge", edge), same("odd", zeros + 1), same("int-max", 0x7fffffff), same("int-min", 0x80000000);
  same("huge", huge), same("readonly", readonly);
  const std::pair<const char*, uint64_t> firsts[] = {
      {"file", file},        {"pipe", pipe_end},
      {"socket", socket_fd}, {"directory", directory},
      {"closed", closed},    {"cwd", static_cast<uint64_t>(static_cast<int64_t>(AT_FDCWD))},
      {"path", path},        {"missing", missing},
      {"folder", folder}};
  const std::pair<const char*, uint64_t> rests[] = {
      {"0", 0}, {"-1", ~0ull}, {"1", 1}, {"bad", bad}, {"zeros", zeros}, {"edge", edge}, {"path", path}};
  for (const auto& [first_name, first] : firsts)
    for (const auto& [rest_name, rest] : rests)
      all.push_back({std::string(first_name) + "-" + rest_name, {first, rest, rest, rest, rest, rest}});
  // A descriptor and a path, with what follows.
  for (const auto& [rest_name, rest] : rests)
    all.push_back({std::string("cwd-path-") + rest_name,
                   {static_cast<uint64_t>(static_cast<int64_t>(AT_FDCWD)), path, rest, rest, rest, rest}});
  // One bad pointer among good ones, and lengths of every kind with it.
  for (int at = 0; at < 6; ++at) {
    Vector vector{"one-bad-" + std::to_string(at), {zeros, zeros, zeros, zeros, zeros, zeros}};
    vector.args[at] = bad;
    all.push_back(vector);
  }
  const std::pair<const char*, uint64_t> lengths[] = {
      {"0", 0}, {"1", 1}, {"4096", 4096}, {"int-max", 0x7fffffff}, {"-1", ~0ull}, {"huge", huge}};
  for (const auto& [name, length] : lengths)
    for (const uint64_t pointer : {zeros, bad})
      all.push_back({std::string(pointer == bad ? "bad" : "good") + "-length-" + name,
                     {file, pointer, length, 0, 0, 0}});
  return all;
}

// What a child tells: 0 for success, or the errno.
std::string attempt(long number, const Vector& vector) {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const itimerval limit{{0, 0}, {0, 400'000}};
    setitimer(ITIMER_REAL, &limit, nullptr);
    errno = 0;
    const long value = syscall(number, vector.args[0], vector.args[1], vector.args[2], vector.args[3],
                               vector.args[4], vector.args[5]);
    const int error = value == -1 ? errno : 0;
    syscall(SYS_exit_group, error);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) != pid) {
  }
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGALRM) return "blocks";
    return "killed " + std::to_string(WTERMSIG(status));
  }
  const int error = WEXITSTATUS(status);
  if (error == 0) return "ok";
  const char* name = strerrorname_np(error);
  return name == nullptr ? std::to_string(error) : name;
}

// One call with every vector, in a folder and with descriptors of its own: the process ends with it.
void sweep(long number, const std::vector<Vector>& all) {
  const char* scratch = getenv("TMPDIR");
  std::string work = std::string(scratch == nullptr ? "/tmp" : scratch) + "/sweep-XXXXXX";
  int pair[2];
  if (mkdtemp(work.data()) == nullptr || chdir(work.c_str()) != 0 || mkdir("folder", 0700) != 0 ||
      open("file", O_RDWR | O_CREAT, 0600) != 3 || write(3, "content", 7) != 7 ||
      pipe2(pair, O_NONBLOCK) != 0 || socket(AF_UNIX, SOCK_STREAM, 0) != 6 ||
      open("folder", O_RDONLY | O_DIRECTORY) != 7) {
    perror(work.c_str());
    _exit(2);
  }
  // Standard input is whoever's who runs this; descriptor 0 shall be the same everywhere, and nobody else's.
  dup2(pair[0], 0);
  int blocked = 0;
  for (const Vector& vector : all) {
    // A call that waits, waits: no need to see that of each vector.
    const std::string outcome = blocked < 3 ? attempt(number, vector) : "blocks";
    blocked += blocked < 3 && outcome == "blocks";
    printf("%ld %s %s\n", number, vector.name.c_str(), outcome.c_str());
  }
  fflush(stdout);
  const bool cleaned = chdir("/") == 0 && system(("rm -rf " + work).c_str()) == 0;
  _exit(cleaned ? 0 : 2);
}

bool excluded(long number) {
  return std::find(std::begin(kExcluded), std::end(kExcluded), number) != std::end(kExcluded) ||
         (number > 334 && number < 424);  // no such numbers
}

// Shared with the children: what they have done is counted even if it was their end.
struct Progress {
  std::atomic<long> calls, faults;
};

// The pages that the vectors point into come and go, one or all of them, or cannot be written to for a while.
void take_away_and_put_back(char* place) {
  constexpr size_t kPage = 4096;
  for (unsigned round = 0;; ++round) {
    char* some = place + round % 3 * kPage;
    if (round % 2 == 0)
      munmap(some, kPage);
    else
      mprotect(some, kPage, round % 4 == 1 ? PROT_READ : PROT_NONE);
    mmap(place, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memcpy(place + kPage, "file", 5);
  }
}

// One call with every vector, for a while. Whatever becomes of this process is its own business.
[[noreturn]] void call_while_unmapping(long number, const std::vector<Vector>& all, Progress& progress) {
  const char* scratch = getenv("TMPDIR");
  const int null = open("/dev/null", O_RDWR);
  if (chdir(scratch == nullptr ? "/tmp" : scratch) != 0 || null != 3) _exit(2);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);  // the calls write to them
  std::thread([] { take_away_and_put_back(reinterpret_cast<char*>(0x30000000)); }).detach();
  // Calls that wait are interrupted.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  const itimerval often{{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &often, nullptr);
  timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (size_t next = 0;; next = (next + 1) % all.size()) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1'000'000 >= 25) _exit(0);
    const uint64_t(&args)[6] = all[next].args;
    const long value = syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    ++progress.calls;
    if (value == -1 && errno == EFAULT) ++progress.faults;
  }
}

int unmapping(const std::vector<Vector>& all) {
  void* shared = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  auto& progress = *new (shared) Progress{};
  for (long number = 0; number < kNumbers; ++number) {
    if (excluded(number)) continue;
    const pid_t pid = fork();
    if (pid == 0) call_while_unmapping(number, all, progress);
    // A call that has blocked the signal, or has stopped its process, is ended from here.
    int status = 0;
    for (int waited = 0;; ++waited) {
      const pid_t seen = waitpid(pid, &status, WNOHANG | WUNTRACED);
      if (seen == pid && !WIFSTOPPED(status)) break;
      if (seen == pid || waited == 1000) kill(pid, SIGKILL);
      usleep(1000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) return 2;
  }
  printf("%ld calls, %ld of them EFAULT\n", progress.calls.load(), progress.faults.load());
  return progress.faults > 1000 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  for (int fd = 3; fd < 200; ++fd) close(fd);
  const std::vector<Vector> all = vectors();
  if (argc > 1 && strcmp(argv[1], "--unmapping") == 0) return unmapping(all);
  const long from = argc > 1 ? atol(argv[1]) : 0, to = argc > 2 ? atol(argv[2]) : kNumbers;
  for (long number = from; number < to; ++number) {
    if (excluded(number)) continue;
    const pid_t pid = fork();
    if (pid == 0) sweep(number, all);
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
      fprintf(stderr, "call %ld: status %#x\n", number, status);
      return 2;
    }
  }
}
