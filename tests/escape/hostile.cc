// A guest that tries to get out. Each case asserts the denial. run_hostile.sh tells it what there is on the
// host to reach (HOST_… in the environment), checks the host afterwards, and runs a few named cases natively
// first, those that touch nothing but what the runner made: there the reaching must succeed, so that a case
// that cannot fail is noticed. Everything else refuses to run outside a sandbox.
#include <arpa/inet.h>
#include <dirent.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

std::string host(const char* name) {
  const char* value = getenv((std::string("HOST_") + name).c_str());
  if (value == nullptr) SKIP("no HOST_" + std::string(name));
  return value;
}

void only_in_the_sandbox() {
  if (!check::in_sandbox()) SKIP("would harm a host");
}

std::string content_of(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd < 0) return "";
  std::string content(65536, 0);
  ssize_t n = read(fd, content.data(), content.size());
  content.resize(n > 0 ? size_t(n) : 0);
  return content;
}

std::vector<pid_t> listed_processes() {
  std::vector<pid_t> pids;
  DIR* dir = OK(opendir("/proc"));
  while (dirent* entry = readdir(dir)) {
    if (atoi(entry->d_name) > 0) pids.push_back(atoi(entry->d_name));
  }
  closedir(dir);
  return pids;
}

TEST(host_processes_are_not_listed) {
  std::string marker = host("MARKER");
  for (pid_t pid : listed_processes()) {
    CHECK(content_of("/proc/" + std::to_string(pid) + "/cmdline").find(marker) == std::string::npos);
  }
}

TEST(host_processes_cannot_be_signalled) {
  pid_t victim = atoi(host("PID").c_str());
  CHECK(kill(victim, 0) == -1);
  CHECK(syscall(SYS_pidfd_open, victim, 0) == -1);
}

TEST(every_process_that_can_be_signalled_is_listed) {
  only_in_the_sandbox();
  auto listed = listed_processes();
  for (pid_t pid = 1; pid < 6000; ++pid) {
    if (kill(pid, 0) == 0 || errno == EPERM) {
      // A thread's id answers, too: its directory is there though not listed.
      CHECK(std::find(listed.begin(), listed.end(), pid) != listed.end() ||
            access(("/proc/" + std::to_string(pid)).c_str(), F_OK) == 0);
    }
  }
}

TEST(host_process_memory_is_out_of_reach) {
  pid_t victim = atoi(host("PID").c_str());
  CHECK(content_of("/proc/" + std::to_string(victim) + "/environ").find(host("MARKER")) == std::string::npos);
  auto address = strtoull(host("ADDRESS").c_str(), nullptr, 16);
  char buffer[64];
  iovec local = {buffer, sizeof buffer}, remote = {reinterpret_cast<void*>(address), sizeof buffer};
  CHECK(process_vm_readv(victim, &local, 1, &remote, 1, 0) == -1);
  CHECK(ptrace(PTRACE_ATTACH, victim, nullptr, nullptr) == -1);
}

TEST(hidden_files_cannot_be_opened) {
  std::string secret = host("SECRET"), marker = host("MARKER");
  std::vector<std::string> ways = {secret,
                                   "/proc/1/root" + secret,
                                   "/proc/self/root" + secret,
                                   "/proc/thread-self/root" + secret,
                                   "/proc/self/cwd/../../../../../.." + secret,
                                   "/../../.." + secret,
                                   "/dev/fd/../root" + secret,
                                   "/tmp/../.." + secret};
  for (pid_t pid : listed_processes()) {
    ways.push_back("/proc/" + std::to_string(pid) + "/root" + secret);
    ways.push_back("/proc/" + std::to_string(pid) + "/cwd/../../../.." + secret);
    for (int fd = 0; fd < 64; ++fd) {
      ways.push_back("/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd) + secret);
      ways.push_back("/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd) + "/../../../../.." +
                     secret);
    }
  }
  OK(symlink(secret.c_str(), "link"));
  OK(symlink("/proc/1/root", "root"));
  ways.push_back("link");
  ways.push_back("root" + secret);
  for (const std::string& way : ways) CHECK(content_of(way).find(marker) == std::string::npos);
  Fd top(OK(open("/", O_PATH | O_DIRECTORY)));
  CHECK(openat(top, (".." + secret).c_str(), O_RDONLY) == -1);
  CHECK(openat(top, ("../../.." + secret).c_str(), O_RDONLY) == -1);
}

TEST(leaving_the_root_by_chroot) {
  // The classic: a root below, a working directory above.
  std::string secret = host("SECRET"), marker = host("MARKER");
  OK(mkdir("jail", 0755));
  Fd above(OK(open("/", O_RDONLY | O_DIRECTORY)));
  if (chroot("jail") != 0) SKIP("no chroot for this user");
  OK(fchdir(above));
  for (int i = 0; i < 64; ++i) (void)chdir("..");
  CHECK(content_of("." + secret).find(marker) == std::string::npos);
  CHECK(chroot(".") == 0);
  CHECK(content_of(secret).find(marker) == std::string::npos);
}

TEST(file_handles_do_not_pass_the_root) {
  struct Handle {
    unsigned bytes = 128;
    int type = 0;
    unsigned char data[128] = {};
  } handle;
  int mount_id;
  if (syscall(SYS_name_to_handle_at, AT_FDCWD, "/etc", &handle, &mount_id, 0) != 0) return;
  // A handle forged for the file system's root directory, as "shocker" did.
  memset(handle.data, 0, sizeof handle.data);
  handle.data[0] = 2;
  Fd base(OK(open("/", O_RDONLY | O_DIRECTORY)));
  CHECK(syscall(SYS_open_by_handle_at, int(base), &handle, O_RDONLY) == -1);
}

int connect_unix(const std::string& path, int type) {
  Fd fd(OK(socket(AF_UNIX, type, 0)));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  socklen_t length = socklen_t(offsetof(sockaddr_un, sun_path) + path.size() + (path[0] != 0));
  return connect(fd, reinterpret_cast<sockaddr*>(&address), length);
}

TEST(host_abstract_sockets_are_out_of_reach) {
  CHECK(connect_unix(std::string(1, 0) + host("ABSTRACT"), SOCK_STREAM) == -1);
}

TEST(host_sockets_in_a_shown_folder_are_out_of_reach) {
  CHECK(connect_unix(host("SHOWN_SOCKET"), SOCK_STREAM) == -1);
}

TEST(host_sockets_in_a_hidden_folder_are_out_of_reach) {
  CHECK(connect_unix(host("HIDDEN_SOCKET"), SOCK_STREAM) == -1);
}

TEST(host_ports_are_out_of_reach) {
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(atoi(host("PORT").c_str())));
  CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == -1);
}

TEST(no_way_to_other_addresses) {
  only_in_the_sandbox();
  for (const char* text : {"10.0.0.1", "169.254.169.254", "192.168.0.1", "8.8.8.8"}) {
    Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    OK(inet_pton(AF_INET, text, &address.sin_addr));
    CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == -1);
    CHECK(errno == ENETUNREACH || errno == EHOSTUNREACH || errno == EACCES || errno == EPERM);
  }
}

TEST(odd_socket_families_are_refused) {
  only_in_the_sandbox();
  for (int family : {AF_PACKET, AF_VSOCK, AF_ALG, AF_BLUETOOTH, AF_CAN, AF_TIPC, AF_XDP, AF_KEY, AF_RDS}) {
    for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET}) CHECK(socket(family, type, 0) == -1);
  }
}

TEST(host_files_keep_their_content) {
  // Refused, or kept in the sandbox: the runner looks at the file afterwards, and natively all of this
  // succeeds.
  std::string canary = host("CANARY");
  bool changed = false;
  Fd fd(open(canary.c_str(), O_WRONLY | O_TRUNC));
  if (fd >= 0 && write(fd, "changed", 7) == 7) changed = true;
  (void)chmod(canary.c_str(), 0777);
  (void)chown(canary.c_str(), 12345, 12345);
  (void)link(canary.c_str(), (canary + ".linked").c_str());
  (void)rename(canary.c_str(), (canary + ".renamed").c_str());
  (void)unlink(canary.c_str());
  (void)symlink("nowhere", canary.c_str());
  (void)mkdir((canary + ".dir").c_str(), 0777);
  Fd made(open((canary + ".made").c_str(), O_CREAT | O_WRONLY, 0666));
  // A writable shared mapping is another way to write.
  Fd shared(open((canary + ".renamed").c_str(), O_RDWR));
  if (shared >= 0) {
    void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    if (map != MAP_FAILED) memcpy(map, "mapped", 6);
  }
  CHECK(check::in_sandbox() || !changed);
}

TEST(device_nodes_open_nothing) {
  only_in_the_sandbox();
  struct stat st;
  OK(stat("/", &st));
  struct Device {
    mode_t type;
    dev_t number;
  };
  // The disk below the root, /dev/mem, /dev/kmsg, the first SCSI and virtio disks, /dev/fuse, /dev/kvm.
  for (Device device : {Device{S_IFBLK, st.st_dev},
                        {S_IFCHR, makedev(1, 1)},
                        {S_IFCHR, makedev(1, 11)},
                        {S_IFBLK, makedev(8, 0)},
                        {S_IFBLK, makedev(254, 0)},
                        {S_IFCHR, makedev(10, 229)},
                        {S_IFCHR, makedev(10, 232)}}) {
    if (mknod("node", device.type | 0666, device.number) != 0) continue;
    CHECK(open("node", O_RDONLY | O_NONBLOCK) == -1);
    OK(unlink("node"));
  }
}

TEST(dev_holds_only_the_harmless) {
  only_in_the_sandbox();
  const std::vector<std::string> known = {"null",   "zero",   "full",    "random", "urandom", "tty",
                                          "ptmx",   "pts",    "shm",     "mqueue", "fd",      "stdin",
                                          "stdout", "stderr", "console", "core",   ".",       ".."};
  DIR* dir = OK(opendir("/dev"));
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      check::fail(__FILE__, __LINE__, "/dev/" + name);
    }
  }
  closedir(dir);
}

TEST(kernel_files_are_not_the_hosts) {
  only_in_the_sandbox();
  // What may be opened and written here is the sandbox's own; the runner compares the host's before and
  // after.
  for (const char* path :
       {"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/hostname", "/sys/kernel/uevent_helper",
        "/sys/power/state", "/sys/kernel/mm/ksm/run", "/sys/fs/cgroup/cgroup.procs",
        "/proc/irq/default_smp_affinity"}) {
    Fd fd(open(path, O_WRONLY));
    if (fd >= 0) (void)!write(fd, "1", 1);
  }
  for (const char* path : {"/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg",
                           "/sys/kernel/debug/tracing/trace", "/sys/firmware/acpi/tables/DSDT"}) {
    CHECK(content_of(path).empty());
  }
}

TEST(kernel_symbols_are_not_told) {
  only_in_the_sandbox();
  std::string symbols = content_of("/proc/kallsyms");
  CHECK(symbols.find(" T ") == std::string::npos || symbols.starts_with("0000000000000000"));
}

TEST(calls_that_concern_the_machine_are_refused) {
  only_in_the_sandbox();
  char buffer[4096] = {};
  CHECK(syscall(SYS_init_module, buffer, sizeof buffer, "") == -1);
  CHECK(syscall(SYS_finit_module, 0, "", 0) == -1);
  CHECK(syscall(SYS_delete_module, "ext4", 0) == -1);
  CHECK(syscall(SYS_kexec_load, 0, 0, nullptr, 0) == -1);
  CHECK(syscall(SYS_kexec_file_load, 0, 0, 0, "", 0) == -1);
  CHECK(syscall(SYS_iopl, 3) == -1);
  CHECK(syscall(SYS_ioperm, 0x80, 1, 1) == -1);
  CHECK(syscall(SYS_swapon, "/dev/vda", 0) == -1);
  CHECK(syscall(SYS_quotactl, 0, "/dev/vda", 0, buffer) == -1);
  CHECK(syscall(SYS_acct, "/tmp/acct") == -1);
  CHECK(syscall(SYS_bpf, 5, buffer, 128) == -1);
  CHECK(syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0) == -1);
  CHECK(syscall(SYS_userfaultfd, 0) == -1);
  CHECK(syscall(SYS_io_uring_setup, 8, buffer) == -1);
  CHECK(syscall(SYS_lookup_dcookie, 1, buffer, sizeof buffer) == -1);
  CHECK(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x1234567, nullptr) == -1 ||
        true);  // must not return is fine, too
  timeval when = {1, 0};
  CHECK(settimeofday(&when, nullptr) == -1);
}

TEST(privileged_ports_of_hardware_fault) {
  pid_t child = check::fork_child([] { asm volatile("inb $0x60, %%al" ::: "rax"); });
  CHECK_KILLED(WAIT_STATUS(child), SIGSEGV);
}

// Runs `body` in a child that is killed after `seconds`: whatever it does to itself, the sandbox must go on
// and SIGKILL must end it.
void survive(unsigned seconds, const std::function<void()>& body) {
  pid_t child = check::fork_child(body);
  uint64_t deadline = check::now_ns() + seconds * 1'000'000'000ull;
  auto gone = [&] { return waitpid(child, nullptr, WNOHANG) == child; };
  while (!gone()) {
    if (check::now_ns() > deadline) {
      OK(kill(child, SIGKILL));
      WAIT_UNTIL(gone());
      return;
    }
    timespec pause = {0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
}

TEST(x32_calls) {
  only_in_the_sandbox();
  survive(10, [] {
    for (long number = 0; number < 600; ++number) {
      if (number == SYS_exit || number == SYS_exit_group || number == SYS_pause || number == SYS_rt_sigreturn)
        continue;
      (void)syscall(0x4000'0000 | number, -1, -1, -1, -1, -1, -1);
    }
  });
}

TEST(int80_calls) {
  only_in_the_sandbox();
  for (long number = 0; number < 460; ++number) {
    if (number == 29) continue;  // pause
    survive(2, [&] {
      long result = number;
      asm volatile("int $0x80"
                   : "+a"(result)
                   : "b"(-1l), "c"(-1l), "d"(-1l)
                   : "memory", "r8", "r9", "r10", "r11");
    });
  }
}

uint64_t seed = 0x9e37'79b9'7f4a'7c15;
uint64_t next_random() {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

uint64_t hostile_argument(char* memory) {
  switch (next_random() % 12) {
    case 0:
      return 0;
    case 1:
      return ~0ul;
    case 2:
      return next_random() % 8;
    case 3:
      return reinterpret_cast<uint64_t>(memory);
    case 4:
      return reinterpret_cast<uint64_t>(memory) + next_random() % 65536;
    case 5:
      return 0x7fff'ffff;
    case 6:
      return 0x8000'0000'0000'0000;
    case 7:
      return 0x7fff'ffff'f000;
    case 8:
      return next_random();
    case 9:
      return 1ul << (next_random() % 64);
    case 10:
      return 4096 * (next_random() % 64);
    default:
      return next_random() % 100;
  }
}

TEST(random_calls) {
  only_in_the_sandbox();
  for (uint64_t round = 0; round < 60; ++round) {
    survive(2, [&] {
      seed += round * 0x1234'5678'9abc'def1;
      next_random();
      char* memory = static_cast<char*>(
          OK(mmap(nullptr, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
      for (int i = 0; i < 400; ++i) {
        for (int j = 0; j < 64; ++j) memory[next_random() % (1 << 17)] = static_cast<char>(next_random());
        auto number = static_cast<long>(next_random() % 470);
        // kill and its kin could end the runner, which is another guest process: no concern of the sandbox.
        if (number == SYS_kill || number == SYS_tkill || number == SYS_tgkill || number == SYS_exit ||
            number == SYS_exit_group || number == SYS_rt_sigqueueinfo || number == SYS_rt_tgsigqueueinfo ||
            number == SYS_pause || number == SYS_reboot || number == SYS_pidfd_send_signal ||
            number == SYS_rt_sigsuspend || number == SYS_ptrace || number == SYS_process_vm_writev) {
          continue;
        }
        (void)syscall(number, hostile_argument(memory), hostile_argument(memory), hostile_argument(memory),
                      hostile_argument(memory), hostile_argument(memory), hostile_argument(memory));
      }
    });
  }
}

TEST(forged_signal_frames) {
  only_in_the_sandbox();
  for (uint64_t round = 0; round < 100; ++round) {
    survive(2, [&] {
      seed += round * 0x1234'5678'9abc'def1;
      alignas(64) static uint64_t frame[512];
      for (uint64_t& word : frame) word = hostile_argument(reinterpret_cast<char*>(frame));
      asm volatile("mov %0, %%rsp\n mov $15, %%eax\n syscall\n ud2\n" ::"r"(frame + 1) : "memory");
    });
  }
}

TEST(unmapping_everything) {
  only_in_the_sandbox();
  survive(3, [] {
    asm volatile(
        "xor %%edi, %%edi\n mov $0x7ffffffff000, %%rsi\n mov $11, %%eax\n syscall\n"
        "mov $39, %%eax\n syscall\n ud2\n" ::
            : "memory");
  });
  survive(3, [] {
    for (uint64_t at = 0x10000; at < 0x7fff'ffff'0000; at += 0x40'0000'0000) {
      mprotect(reinterpret_cast<void*>(at), 0x40'0000'0000, PROT_NONE);
      munmap(reinterpret_cast<void*>(at), 0x40'0000'0000);
    }
  });
}

TEST(mapping_over_everything) {
  only_in_the_sandbox();
  for (uint64_t at : {0x1000ul, 0x40'0000ul, 0x7fff'ffff'0000ul, 0x7000'0000'0000ul, 0x5555'5555'0000ul,
                      0xffff'ffff'ff60'0000ul, 0x7fff'f7ff'0000ul}) {
    survive(3, [&] {
      (void)mmap(reinterpret_cast<void*>(at), 1ul << 30, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      (void)mmap(reinterpret_cast<void*>(at), 1ul << 46, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                 -1, 0);
    });
  }
}

TEST(too_many_of_everything) {
  only_in_the_sandbox();
  survive(20, [] {
    std::vector<int> fds;
    for (int fd; fds.size() < 100'000 && (fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0;) fds.push_back(fd);
    CHECK(errno == EMFILE || errno == ENFILE || errno == ENOMEM);
  });
  survive(20, [] {
    // A chain of sockets in flight in sockets: collected, not recursed into.
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    for (int i = 0; i < 2000; ++i) {
      int next[2];
      if (socketpair(AF_UNIX, SOCK_DGRAM, 0, next) != 0) break;
      char control[CMSG_SPACE(2 * sizeof(int))] = {};
      char byte = 0;
      iovec io = {&byte, 1};
      msghdr message = {};
      message.msg_iov = &io;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof pair);
      memcpy(CMSG_DATA(header), pair, sizeof pair);
      if (sendmsg(next[0], &message, MSG_DONTWAIT) < 0) break;
      close(pair[0]);
      close(pair[1]);
      memcpy(pair, next, sizeof pair);
    }
  });
  survive(20, [] {
    for (int i = 0; i < 50'000; ++i) {
      void* p =
          mmap(nullptr, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED) break;
    }
  });
  survive(20, [] {
    std::string name(255, 'n');
    for (int i = 0; i < 300; ++i) {
      if (mkdir(name.c_str(), 0755) != 0 || chdir(name.c_str()) != 0) break;
    }
    struct stat st;
    for (int i = 0; i < 300; ++i) (void)stat("..", &st);
  });
}

int run_image(const std::string& image, const char* name) {
  {
    Fd fd(OK(open(name, O_CREAT | O_WRONLY | O_TRUNC, 0755)));
    CHECK_EQ(OK(write(fd, image.data(), image.size())), ssize_t(image.size()));
  }
  pid_t child = check::fork_child([&] {
    rlimit cpu = {2, 2}, memory = {1u << 30, 1u << 30};
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_AS, &memory);
    alarm(1);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    // As `true`, which busybox answers to as well; and with no environment, for a mutant may be anything.
    const char* args[] = {"true", nullptr};
    execve(name, const_cast<char**>(args), const_cast<char**>(args + 1));
    _exit(126);
  });
  return WAIT_STATUS(child);
}

// Mutations of the parts that the loader reads: the header, the program headers, and the interpreter's name.
void mutate_and_run(const char* path, int count) {
  only_in_the_sandbox();
  const std::string original = READ_FILE(path);
  int refused = 0, killed = 0, exited = 0;
  for (int i = 0; i < count; ++i) {
    seed = 0x9e37'79b9'7f4a'7c15 + static_cast<uint64_t>(i) * 0x1234'5678'9abc'def1;
    std::string image = original;
    if (i % 10 == 9) {
      image.resize(next_random() % std::min<size_t>(image.size(), 8192));
    } else {
      size_t reach = i % 2 == 0 ? 64 : std::min<size_t>(image.size(), 1024);
      for (int j = 0; j <= i % 5; ++j) {
        size_t at = next_random() % reach;
        switch (next_random() % 4) {
          case 0:
            image[at] = static_cast<char>(next_random());
            break;
          case 1:
            image[at] = static_cast<char>(0xff);
            break;
          case 2:
            image[at] = 0;
            break;
          default:
            image[at] = static_cast<char>(image[at] ^ (1 << (next_random() % 8)));
        }
        // Whole words of the program headers turned hostile: offsets, addresses, sizes.
        if (i % 3 == 0) {
          size_t word = 64 + 8 * (next_random() % 56);
          uint64_t value = next_random() % 2 ? ~0ul : 1ul << (next_random() % 64);
          if (word + 8 <= image.size()) memcpy(&image[word], &value, 8);
        }
      }
    }
    int status = run_image(image, "mutant");
    if (WIFSIGNALED(status)) {
      ++killed;
    } else if (WEXITSTATUS(status) == 126) {
      ++refused;
    } else {
      ++exited;
    }
  }
  dprintf(1, "  %s: %d refused, %d killed, %d exited\n", path, refused, killed, exited);
  CHECK(refused > 0);
  // The sandbox is whole: the original runs.
  CHECK_EXITED(run_image(READ_FILE("/bin/true"), "whole"), 0);
}

TEST(mutated_dynamic_images) { mutate_and_run("/bin/true", 60); }

TEST(mutated_static_images) { mutate_and_run("/bin/busybox", 60); }

TEST(hostile_scripts) {
  only_in_the_sandbox();
  auto attempt = [](const std::string& content) { (void)run_image(content, "script"); };
  attempt("#!");
  attempt("#! \t \n");
  attempt("#!/bin/sh\0-c\n");
  attempt("#!" + std::string(100'000, 'a'));
  attempt("#!" + std::string(4096, '/') + "\n");
  attempt("#!/proc/self/exe\n");
  attempt("#!./script\n");
  attempt("#!/dev/zero\n");
  attempt("#!/bin/sh " + std::string(255, '\xff') + "\n");
  attempt("#!\0/bin/sh\n");
}

TEST(namespaces_lead_nowhere) {
  // Whatever the sandbox lets a guest make of these, the host's files and mounts stay as they were.
  only_in_the_sandbox();
  std::string secret = host("SECRET"), marker = host("MARKER");
  survive(5, [&] {
    (void)unshare(CLONE_NEWUSER);
    (void)unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
    (void)mount("proc", "/proc", "proc", 0, nullptr);
    CHECK(content_of(secret).find(marker) == std::string::npos);
  });
  for (const char* kind : {"user", "mnt", "pid", "net", "uts", "ipc", "cgroup"}) {
    Fd fd(open(("/proc/1/ns/" + std::string(kind)).c_str(), O_RDONLY));
    if (fd >= 0)
      survive(5, [&] {
        (void)setns(fd, 0);
        CHECK(content_of(secret).find(marker) == std::string::npos);
      });
  }
  OK(mkdir("m", 0755));
  (void)mount("/dev/vda", "m", "ext4", 0, nullptr);
  (void)mount("/", "m", nullptr, MS_BIND | MS_REC, nullptr);
  CHECK(content_of("m" + secret).find(marker) == std::string::npos);
}

TEST(the_last_case_still_runs) {
  JOIN(check::fork_child([] {}));
}

}  // namespace
