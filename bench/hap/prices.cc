// hap_prices PRIMITIVE: a loop over one host primitive, as a workload for the recorder. What the loop reaches
// beyond a process that only spins is what the primitive costs. `hap_prices` alone lists them.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <string>

namespace {

// The recorder's answer to a broken primitive is a failed run: say which step and end.
template <typename T>
T must(T answer, const char* what) {
  if (answer == (T)-1) {  // an integer, or mmap's MAP_FAILED
    std::fprintf(stderr, "hap_prices: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
  }
  return answer;
}
#define MUST(call) must(call, #call)

// Not stdio, which asks for the stream's kind first: the floor is a process that only spins.
void say(const char* line) { MUST(write(1, line, std::strlen(line))); }

// A primitive is set up before the ready line and gives the loop's body.
using Step = std::function<void()>;

constexpr size_t kPage = 4096;

char* anonymous(size_t size, int sharing = MAP_PRIVATE) {
  return static_cast<char*>(
      MUST(mmap(nullptr, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0)));
}

void touch(volatile char* page) { *page = 1; }
char look(const volatile char* page) { return *page; }

// The other side of a pair: a process that serves until the first one is gone.
template <typename Serve>
pid_t partner(Serve serve) {
  const pid_t parent = getpid();
  const pid_t pid = MUST(fork());
  if (pid == 0) {
    close(0);
    close(1);
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    if (getppid() != parent) _exit(0);
    for (;;) serve();
  }
  return pid;
}

long futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout = nullptr) {
  return syscall(SYS_futex, word, operation, value, timeout, nullptr, 0);
}

int new_file(size_t pages) {
  char path[] = "/var/hap/prices-XXXXXX";
  const int file = MUST(mkstemp(path));
  MUST(unlink(path));
  char page[kPage];
  std::memset(page, 'x', sizeof page);
  for (size_t i = 0; i < pages; ++i) MUST(write(file, page, sizeof page));
  MUST(fsync(file));
  return file;
}

// One that has been read since: its access time stays as it is (relatime, mount(8)).
int cached_file(size_t pages) {
  const int file = new_file(pages);
  struct stat facts {};
  const auto later = [](const timespec& one, const timespec& other) {
    return one.tv_sec != other.tv_sec ? one.tv_sec > other.tv_sec : one.tv_nsec > other.tv_nsec;
  };
  do {
    char byte;
    MUST(pread(file, &byte, 1, 0));
    MUST(fstat(file, &facts));
  } while (!later(facts.st_atim, facts.st_mtim) || !later(facts.st_atim, facts.st_ctim));
  return file;
}

constexpr int kFirstReads = 100;

Step spin() {
  return [] {
    volatile unsigned sum = 0;
    for (unsigned i = 0; i < 200000; ++i) sum = sum + i;
  };
}

Step page_faults() {
  constexpr size_t kPages = 1 << 14;
  // 4 KiB pages: a huge page would be one fault in 512.
  char* area = anonymous(kPages * kPage);
  MUST(madvise(area, kPages * kPage, MADV_NOHUGEPAGE));
  return [area, next = size_t{0}]() mutable { touch(area + (next++ % kPages) * kPage); };
}

Step futex_ping_pong() {
  auto* word = new (anonymous(kPage, MAP_SHARED)) std::atomic<uint32_t>(0);
  partner([word] {
    while (word->load() == 0) futex(word, FUTEX_WAIT, 0);
    word->store(0);
    futex(word, FUTEX_WAKE, 1);
  });
  return [word] {
    word->store(1);
    futex(word, FUTEX_WAKE, 1);
    while (word->load() == 1) futex(word, FUTEX_WAIT, 1);
  };
}

Step futex_timeout() {
  auto* word = new (anonymous(kPage, MAP_SHARED)) std::atomic<uint32_t>(0);
  return [word] {
    const timespec timeout{0, 100000};
    futex(word, FUTEX_WAIT, 0, &timeout);
  };
}

// getppid answers `action`, everything else is allowed. Returns the listener, if asked for.
int filter_getppid(uint32_t action, unsigned flags) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(code), code};
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  return static_cast<int>(MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)));
}

void on_signal(int) {}

Step sigsys() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  MUST(sigaction(SIGSYS, &action, nullptr));
  filter_getppid(SECCOMP_RET_TRAP, 0);
  return [] { syscall(SYS_getppid); };
}

enum class Answer { kContinue, kEpoll, kAddFd };

// A filtered process calls without end; the one that answers it counts the rounds.
Step notify(Answer answer) {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  const pid_t caller = MUST(fork());
  if (caller == 0) {
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    const int listener = filter_getppid(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    MUST(write(pair[1], &listener, sizeof listener));
    char byte;
    MUST(read(pair[1], &byte, 1));
    for (;;) syscall(SYS_getppid);
  }
  int remote;
  MUST(read(pair[0], &remote, sizeof remote));
  const int pidfd = static_cast<int>(MUST(syscall(SYS_pidfd_open, caller, 0)));
  const int listener = static_cast<int>(MUST(syscall(SYS_pidfd_getfd, pidfd, remote, 0)));
  int epoll = -1;
  if (answer == Answer::kEpoll) {
    epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = EPOLLIN, .data = {}};
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event));
  }
  const int donated = MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));
  MUST(write(pair[0], "", 1));
  return [=] {
    if (epoll >= 0) {
      epoll_event event;
      MUST(epoll_wait(epoll, &event, 1, -1));
    }
    seccomp_notif request{};
    MUST(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request));
    if (answer == Answer::kAddFd) {
      // Always the same slot: dup2 semantics, as a platform would do it.
      seccomp_notif_addfd add{request.id, SECCOMP_ADDFD_FLAG_SETFD, static_cast<uint32_t>(donated), 50, 0};
      MUST(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
    }
    seccomp_notif_resp response{request.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    MUST(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response));
  };
}

Step map_unmap() {
  return [] { MUST(munmap(anonymous(16 * kPage), 16 * kPage)); };
}

Step protect() {
  char* area = anonymous(4 * kPage);
  touch(area);
  return [area] {
    MUST(mprotect(area, kPage, PROT_READ));
    MUST(mprotect(area, kPage, PROT_READ | PROT_WRITE));
  };
}

Step file_mapping(bool written) {
  constexpr size_t kPages = 16;
  const int file = cached_file(kPages);
  return [=] {
    auto* area =
        static_cast<char*>(MUST(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0)));
    for (size_t i = 0; i < kPages; ++i) {
      if (written)
        touch(area + i * kPage);
      else
        look(area + i * kPage);
    }
    MUST(munmap(area, kPages * kPage));
  };
}

void* sleep_in_futex(void* word) {
  for (;;) futex(static_cast<std::atomic<uint32_t>*>(word), FUTEX_WAIT_PRIVATE, 0);
  return nullptr;
}

std::atomic<uint32_t> handled;
void on_wakeup(int) { ++handled; }

Step tgkill_handler() {
  struct sigaction action {};
  action.sa_handler = on_wakeup;
  MUST(sigaction(SIGUSR1, &action, nullptr));
  static std::atomic<uint32_t> word;
  static pthread_t thread;
  if (pthread_create(&thread, nullptr, sleep_in_futex, &word) != 0) must(-1, "pthread_create");
  return [] {
    const uint32_t before = handled.load();
    if (pthread_kill(thread, SIGUSR1) != 0) must(-1, "pthread_kill");
    while (handled.load() == before) sched_yield();
  };
}

Step fork_wait(bool killed) {
  return [=] {
    const pid_t pid = MUST(fork());
    if (pid == 0) {
      if (!killed) _exit(0);
      for (;;) pause();
    }
    if (killed) MUST(kill(pid, SIGKILL));
    MUST(waitpid(pid, nullptr, 0));
  };
}

Step memfd_life() {
  return [] {
    const int memory = MUST(memfd_create("hap", MFD_CLOEXEC));
    MUST(ftruncate(memory, 16 * kPage));
    auto* area =
        static_cast<char*>(MUST(mmap(nullptr, 16 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)));
    touch(area);
    MUST(munmap(area, 16 * kPage));
    MUST(close(memory));
  };
}

Step memfd_io() {
  const int memory = MUST(memfd_create("hap", MFD_CLOEXEC));
  MUST(ftruncate(memory, 1 << 20));
  return [=, next = off_t{0}]() mutable {
    char bytes[64] = {};
    const off_t at = next++ % 256 * static_cast<off_t>(kPage);
    MUST(pwrite(memory, bytes, sizeof bytes, at));
    MUST(pread(memory, bytes, sizeof bytes, at));
  };
}

Step seqpacket() {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
  partner([socket = pair[1]] {
    char bytes[64];
    const ssize_t size = MUST(recv(socket, bytes, sizeof bytes, 0));
    MUST(send(socket, bytes, static_cast<size_t>(size), 0));
  });
  return [socket = pair[0]] {
    char bytes[64] = {};
    MUST(send(socket, bytes, sizeof bytes, 0));
    MUST(recv(socket, bytes, sizeof bytes, 0));
  };
}

Step rights() {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
  const int donated = MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return [=] {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &donated, sizeof donated);
    MUST(sendmsg(pair[0], &message, 0));
    message.msg_controllen = sizeof control;
    MUST(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    int received;
    std::memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
    MUST(close(received));
  };
}

Step file_pread() {
  const int file = cached_file(1);
  return [=] {
    char bytes[64];
    MUST(pread(file, bytes, sizeof bytes, 0));
  };
}

// Each file's access time is older than its content.
Step first_read() {
  std::vector<int> files;
  for (int i = 0; i < kFirstReads; ++i) files.push_back(new_file(1));
  return [=, next = size_t{0}]() mutable {
    char bytes[64];
    MUST(pread(files.at(next++), bytes, sizeof bytes, 0));
  };
}

Step file_pwrite() {
  const int file = cached_file(16);
  return [=, next = off_t{0}]() mutable {
    const char bytes[64] = {};
    MUST(pwrite(file, bytes, sizeof bytes, next++ % 64 * static_cast<off_t>(kPage)));
  };
}

Step open_close() {
  const int file = MUST(open("/var/hap/prices-open", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  MUST(close(file));
  return [] { MUST(close(MUST(open("/var/hap/prices-open", O_RDONLY | O_CLOEXEC)))); };
}

Step pipe_no_sleep() {
  int ends[2];
  MUST(pipe(ends));
  return [=] {
    char byte = 0;
    MUST(write(ends[1], &byte, 1));
    MUST(read(ends[0], &byte, 1));
  };
}

Step eventfd_epoll() {
  const int here = MUST(eventfd(0, EFD_CLOEXEC)), there = MUST(eventfd(0, EFD_CLOEXEC));
  const auto watch = [](int fd) {
    const int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{.events = EPOLLIN, .data = {}};
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    return epoll;
  };
  const auto await = [](int epoll, int fd) {
    epoll_event event;
    MUST(epoll_wait(epoll, &event, 1, -1));
    uint64_t count;
    MUST(read(fd, &count, sizeof count));
  };
  const auto post = [](int fd) {
    const uint64_t one = 1;
    MUST(write(fd, &one, sizeof one));
  };
  partner([=, epoll = watch(there)] {
    await(epoll, there);
    post(here);
  });
  return [=, epoll = watch(here)] {
    post(there);
    await(epoll, here);
  };
}

Step epoll_timeout() {
  const int event_fd = MUST(eventfd(0, EFD_CLOEXEC));
  const int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {}};
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, event_fd, &event));
  return [=] {
    epoll_event happened;
    MUST(epoll_wait(epoll, &happened, 1, 1));
  };
}

Step ptrace_sysemu() {
  const pid_t pid = MUST(fork());
  if (pid == 0) {
    MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    MUST(ptrace(PTRACE_TRACEME, 0, 0, 0));
    MUST(raise(SIGSTOP));
    for (;;) syscall(SYS_getppid);
  }
  int status;
  MUST(waitpid(pid, &status, 0));
  return [=]() mutable {
    MUST(ptrace(PTRACE_SYSEMU, pid, 0, 0));
    MUST(waitpid(pid, &status, 0));
    user_regs_struct registers;
    MUST(ptrace(PTRACE_GETREGS, pid, 0, &registers));
    registers.rax = 1;
    MUST(ptrace(PTRACE_SETREGS, pid, 0, &registers));
  };
}

Step remote_read() {
  char* area = anonymous(kPage);
  touch(area);
  const pid_t pid = partner([] { pause(); });
  return [=] {
    char bytes[64];
    const iovec local{bytes, sizeof bytes}, remote{area, sizeof bytes};
    MUST(process_vm_readv(pid, &local, 1, &remote, 1, 0));
  };
}

// What the gofer does for a name that it meets first: open it by path without opening the file, ask for its
// attributes, read a link; and a name that is not there, which no cache knows.
Step look_up() {
  const int folder = MUST(open("/usr/lib", O_PATH | O_DIRECTORY | O_CLOEXEC));
  char link[] = "/var/hap/prices-link-XXXXXX";
  MUST(close(MUST(mkstemp(link))));
  MUST(unlink(link));
  MUST(symlink("/nowhere", link));
  return [=, next = 0u]() mutable {
    open_how how{};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_NO_MAGICLINKS;
    const int node = static_cast<int>(MUST(syscall(SYS_openat2, AT_FDCWD, link, &how, sizeof how)));
    struct statx status;
    MUST(statx(node, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status));
    char target[64];
    MUST(readlinkat(node, "", target, sizeof target));
    MUST(close(node));
    const std::string absent = "hap-" + std::to_string(next++);
    if (syscall(SYS_openat2, folder, absent.c_str(), &how, sizeof how) >= 0) must(-1, "absent");
  };
}

// A file that is held by O_PATH, opened by way of /proc.
Step open_held() {
  const int held = cached_file(1);
  return [path = "/proc/self/fd/" + std::to_string(held)] {
    MUST(close(MUST(open(path.c_str(), O_RDONLY | O_CLOEXEC))));
  };
}

Step list_folder() {
  return [] {
    const int folder = MUST(open("/usr/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    char entries[4096];
    MUST(syscall(SYS_getdents64, folder, entries, sizeof entries));
    MUST(lseek(folder, 0, SEEK_SET));
    MUST(close(folder));
  };
}

// A huge page made, split by protecting one of its small ones, and given back.
Step huge_page() {
  constexpr size_t kHuge = size_t{2} << 20;
  return [] {
    char* area = anonymous(2 * kHuge);
    char* aligned = area + (kHuge - reinterpret_cast<uintptr_t>(area) % kHuge) % kHuge;
    MUST(madvise(aligned, kHuge, MADV_HUGEPAGE));
    touch(aligned);
    MUST(mprotect(aligned + kPage, kPage, PROT_READ));
    MUST(madvise(aligned, 4 * kPage, MADV_DONTNEED));
    MUST(munmap(area, 2 * kHuge));
  };
}

// The clock is read in a process that has just been made: its page is mapped then.
Step clock_page() {
  return [] {
    const pid_t pid = MUST(fork());
    if (pid == 0) {
      timespec now;
      MUST(clock_gettime(CLOCK_MONOTONIC, &now));
      _exit(0);
    }
    MUST(waitpid(pid, nullptr, 0));
  };
}

// Many processes at once: what one after the other finds in the kernel's caches is made anew.
Step many_processes() {
  return [] {
    std::array<pid_t, 24> pids;
    for (pid_t& pid : pids) {
      pid = MUST(fork());
      if (pid == 0) {
        for (;;) pause();
      }
    }
    for (const pid_t pid : pids) MUST(kill(pid, SIGKILL));
    for (const pid_t pid : pids) MUST(waitpid(pid, nullptr, 0));
  };
}

Step thread_life() {
  return [] {
    pthread_t thread;
    if (pthread_create(
            &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr) != 0)
      must(-1, "pthread_create");
    pthread_join(thread, nullptr);
  };
}

// A page of a memory file given back and taken again, and a search for holes.
Step memfd_hole() {
  const int memory = MUST(memfd_create("hap", MFD_CLOEXEC));
  constexpr off_t kSize = 64 * static_cast<off_t>(kPage);
  MUST(ftruncate(memory, kSize));
  auto* area = static_cast<char*>(MUST(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)));
  return [=] {
    for (size_t page = 0; page < 4; ++page) touch(area + page * kPage);
    MUST(lseek(memory, 0, SEEK_HOLE));
    MUST(fallocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 3 * kPage));
    MUST(fallocate(memory, 0, 0, 2 * kPage));
  };
}

Step heap() {
  return [] {
    MUST(sbrk(16 * kPage) == reinterpret_cast<void*>(-1) ? -1 : 0);
    touch(static_cast<char*>(sbrk(0)) - kPage);
    MUST(sbrk(-16 * static_cast<intptr_t>(kPage)) == reinterpret_cast<void*>(-1) ? -1 : 0);
  };
}

Step drop_memory() {
  char* area = anonymous(64 * kPage);
  return [=] {
    for (size_t page = 0; page < 64; ++page) touch(area + page * kPage);
    MUST(madvise(area, 32 * kPage, MADV_FREE));
    MUST(madvise(area, 64 * kPage, MADV_DONTNEED));
  };
}

Step random_bytes() {
  return [] {
    char bytes[32];
    MUST(getrandom(bytes, sizeof bytes, 0));
  };
}

// A stream read and written as the sentry does it: never waiting, asked first where it can be neither.
Step streams() {
  int ends[2];
  MUST(pipe(ends));
  return [=] {
    char byte = 0;
    iovec part{&byte, 1};
    struct stat status;
    MUST(fstat(ends[0], &status));
    MUST(pwritev2(ends[1], &part, 1, -1, 0));
    pollfd ready{ends[0], POLLIN, 0};
    MUST(poll(&ready, 1, 0));
    MUST(preadv2(ends[0], &part, 1, -1, 0));
  };
}

// Another process's processor time.
Step processor_time() {
  const pid_t pid = partner([] { pause(); });
  clockid_t clock;
  if (clock_getcpuclockid(pid, &clock) != 0) must(-1, "clock_getcpuclockid");
  return [=] {
    timespec used;
    MUST(clock_gettime(clock, &used));
  };
}

const struct Primitive {
  const char* name;
  int rounds;
  Step (*prepare)();
} kPrimitives[] = {
    {"spin", 2000, spin},
    {"page-faults", 10000, page_faults},
    {"futex", 3000, futex_ping_pong},
    {"sigsys", 3000, sigsys},
    {"notify", 3000, [] { return notify(Answer::kContinue); }},
    {"notify-addfd", 3000, [] { return notify(Answer::kAddFd); }},
    {"mmap", 3000, map_unmap},
    {"mprotect", 3000, protect},
    {"file-map-read", 1000, [] { return file_mapping(false); }},
    {"file-map-write", 1000, [] { return file_mapping(true); }},
    {"tgkill", 3000, tgkill_handler},
    {"fork-kill", 300, [] { return fork_wait(true); }},
    {"fork-exit", 300, [] { return fork_wait(false); }},
    {"memfd", 1000, memfd_life},
    {"seqpacket", 3000, seqpacket},
    {"rights", 3000, rights},
    {"pread", 3000, file_pread},
    {"first-read", kFirstReads, first_read},
    {"futex-timeout", 1000, futex_timeout},
    {"eventfd-epoll", 3000, eventfd_epoll},
    {"notify-epoll", 3000, [] { return notify(Answer::kEpoll); }},
    {"memfd-io", 3000, memfd_io},
    {"pipe", 3000, pipe_no_sleep},
    {"epoll-timeout", 300, epoll_timeout},
    {"ptrace", 3000, ptrace_sysemu},
    {"remote-read", 3000, remote_read},
    {"open-close", 3000, open_close},
    {"pwrite", 3000, file_pwrite},
    {"look-up", 1000, look_up},
    {"open-held", 1000, open_held},
    {"list", 300, list_folder},
    {"huge-page", 100, huge_page},
    {"clock-page", 100, clock_page},
    {"processes", 20, many_processes},
    {"thread", 300, thread_life},
    {"memfd-hole", 1000, memfd_hole},
    {"heap", 1000, heap},
    {"drop-memory", 300, drop_memory},
    {"random", 1000, random_bytes},
    {"streams", 1000, streams},
    {"processor-time", 1000, processor_time},
};

}  // namespace

int main(int argc, char** argv) {
  for (const Primitive& primitive : kPrimitives) {
    if (argc < 2) {
      std::puts(primitive.name);
      continue;
    }
    if (std::strcmp(argv[1], primitive.name) != 0) continue;
    const Step step = primitive.prepare();
    char line[64];
    say("hap: ready\n");
    if (read(0, line, sizeof line) <= 0) return 1;
    for (int round = 0; round < primitive.rounds; ++round) step();
    say("hap: done\n");
    while (read(0, line, sizeof line) > 0) {
    }
    return 0;
  }
  return argc < 2 ? 0 : 1;
}
