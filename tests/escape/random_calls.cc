// A guest that issues random calls with random arguments, by 8 threads in 4 processes, which it starts anew
// when they die, hang or stop. Only for a sandbox: they do anything.
//   random_calls N SEED
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

[[noreturn]] void fail(const char* what) {
  perror(what);
  _exit(2);
}

struct Random {
  uint64_t state;
  uint64_t next() {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t limit) { return next() % limit; }
};

constexpr int kProcesses = 4, kThreads = 2;  // of each
constexpr size_t kScratch = 1 << 20;

struct Shared {
  std::atomic<long> left;
  std::atomic<uint64_t> beats[kProcesses];
};
Shared* shared = nullptr;

// Those that would reach beyond the caller's own process, and end or stop the one that counts.
bool spared(long number) {
  switch (number) {
    case SYS_kill:
    case SYS_tkill:
    case SYS_tgkill:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
    case SYS_pidfd_send_signal:
    case SYS_ptrace:
    case SYS_prlimit64:
    case SYS_process_vm_writev:
    case SYS_umount2:
    case SYS_pivot_root:
    case SYS_chroot:
    case SYS_mount:
      return true;
    default:
      return false;
  }
}

uint64_t argument(Random& random, char* scratch) {
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      return reinterpret_cast<uint64_t>(scratch) + random.below(kScratch);
    case 3:
      return reinterpret_cast<uint64_t>(scratch) + random.below(kScratch / 4096) * 4096;
    case 4:
    case 5:
      return random.below(16);
    case 6:
      return random.below(70'000);
    case 7:
      return uint64_t{1} << random.below(64);
    case 8:
      return ~random.below(4);
    default:
      return random.next();
  }
}

void fill(Random& random, char* scratch) {
  // Names, numbers and addresses, so that structs make some sense.
  for (size_t at = 0; at + 64 <= kScratch; at += 64) {
    const uint64_t kind = random.below(4);
    if (kind == 0)
      snprintf(scratch + at, 64, "%c%lu", random.below(2) == 0 ? 'f' : 'd',
               static_cast<unsigned long>(random.below(20)));
    else
      for (size_t word = 0; word < 64; word += 8) {
        const uint64_t value = kind == 1 ? random.below(100) : argument(random, scratch);
        memcpy(scratch + at + word, &value, 8);
      }
  }
}

struct Worker {
  int process;
  uint64_t seed;
  bool main;
};

void* call_at_random(void* worker_in) {
  const Worker worker = *static_cast<Worker*>(worker_in);
  Random random{worker.seed};
  char* const scratch =
      static_cast<char*>(mmap(nullptr, kScratch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (scratch == MAP_FAILED) _exit(2);
  fill(random, scratch);
  constexpr long kCalls = 462;
  for (long i = 0; shared->left.fetch_sub(1) > 0; ++i) {
    shared->beats[worker.process].fetch_add(1);
    const long number = static_cast<long>(random.below(kCalls));
    if (spared(number)) continue;
    uint64_t a[6];
    for (uint64_t& one : a) one = argument(random, scratch);
    if (number == SYS_mmap && random.below(2) == 0) a[0] = 0, a[3] |= MAP_ANONYMOUS, a[1] %= 1 << 20;
    const pid_t before = static_cast<pid_t>(syscall(SYS_getpid));
    const long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    const bool clones =
        number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3;
    if (clones && result == 0) {
      if (syscall(SYS_getpid) != before) syscall(SYS_exit_group, 0);
      syscall(SYS_exit, 0);
    }
  }
  syscall(SYS_exit_group, 0);
  return nullptr;
}

pid_t start_worker(int process, uint64_t seed) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpgid(0, 0);
  // What waits is woken, and what loops is looked after from outside.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  const itimerval every{{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &every, nullptr);
  static Worker workers[kThreads];
  for (int i = 0; i < kThreads; ++i)
    workers[i] = {process, seed * kThreads + static_cast<uint64_t>(i), i == 0};
  for (int i = 1; i < kThreads; ++i) {
    pthread_t thread;
    pthread_create(&thread, nullptr, call_at_random, &workers[i]);
  }
  call_at_random(&workers[0]);
  _exit(0);
}

void remove_objects() {
  for (int id = 0; id < 40'000;) {
    shmid_ds segment;
    msqid_ds queue;
    semid_ds set;
    const int highest_shm = shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&segment));
    const int highest_msg = msgctl(0, MSG_INFO, &queue);
    const int highest_sem = semctl(0, 0, SEM_INFO, &set);
    if (id > highest_shm && id > highest_msg && id > highest_sem) break;
    if (const int real = shmctl(id, SHM_STAT, &segment); real >= 0) shmctl(real, IPC_RMID, nullptr);
    if (const int real = msgctl(id, MSG_STAT, &queue); real >= 0) msgctl(real, IPC_RMID, nullptr);
    if (const int real = semctl(id, 0, SEM_STAT, &set); real >= 0) semctl(real, 0, IPC_RMID);
    ++id;
  }
}

// Everybody else in the sandbox; orphans of the workers too.
void end_others() {
  for (;;) {
    kill(-1, SIGKILL);
    const pid_t pid = waitpid(-1, nullptr, 0);
    if (pid < 0 && errno == ECHILD) return;
  }
}

void random_calls(long count, uint64_t seed) {
  char place[] = "/tmp/churn-XXXXXX";
  if (mkdtemp(place) == nullptr || chdir(place) != 0) fail(place);
  shared->left = count;
  pid_t pids[kProcesses] = {};
  uint64_t seen[kProcesses] = {}, generation = seed * 1'000'003;
  int idle[kProcesses] = {};
  for (int i = 0; i < kProcesses; ++i) pids[i] = start_worker(i, ++generation);
  while (shared->left > 0) {
    usleep(10'000);
    for (int i = 0; i < kProcesses; ++i) {
      const uint64_t beats = shared->beats[i];
      idle[i] = beats == seen[i] ? idle[i] + 1 : 0;
      seen[i] = beats;
      // One that has blocked its own alarm and sleeps, or has stopped itself.
      if (idle[i] > 10) kill(pids[i], SIGKILL);
      if (waitpid(pids[i], nullptr, WNOHANG) == 0) continue;
      idle[i] = 0;
      pids[i] = start_worker(i, ++generation);
    }
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
  end_others();
  remove_objects();
  if (chdir("/") != 0) fail("chdir");
  const std::string remove = std::string("rm -rf ") + place;
  if (system(remove.c_str()) != 0) fail(remove.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (getenv("BULKHEAD_TEST_SANDBOXED") == nullptr) {
    fputs("random_calls: only for a sandbox: BULKHEAD_TEST_SANDBOXED is not set\n", stderr);
    return 2;
  }
  if (argc != 3) return 2;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  shared = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (shared == MAP_FAILED) fail("mmap");
  random_calls(atol(argv[1]), strtoul(argv[2], nullptr, 10));
  return 0;
}
