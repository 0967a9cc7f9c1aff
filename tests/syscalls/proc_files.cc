// proc(5): what programs read there about themselves, others and the machine.
#include <dirent.h>
#include <sys/mount.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <sstream>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

std::string of(pid_t pid, const char* file) { return "/proc/" + std::to_string(pid) + "/" + file; }

std::string link_target(const std::string& path) {
  char text[4096];
  ssize_t n = OK(readlink(path.c_str(), text, sizeof text));
  return std::string(text, size_t(n));
}

std::map<std::string, std::string> status_of(pid_t pid) {
  std::map<std::string, std::string> fields;
  std::istringstream lines(READ_FILE(of(pid, "status").c_str()));
  for (std::string line; std::getline(lines, line);) {
    size_t colon = line.find(':');
    CHECK(colon != std::string::npos);
    size_t value = line.find_first_not_of("\t ", colon + 1);
    fields[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return fields;
}

TEST(self_is_the_caller) {
  CHECK_EQ(link_target("/proc/self"), std::to_string(getpid()));
  JOIN(check::fork_child([] { CHECK_EQ(link_target("/proc/self"), std::to_string(getpid())); }));
  pid_t pid = getpid();
  std::thread([&] {
    CHECK_EQ(link_target("/proc/self"), std::to_string(pid));
    CHECK_EQ(link_target("/proc/thread-self"),
             std::to_string(pid) + "/task/" + std::to_string(check::gettid()));
  }).join();
}

TEST(directories_are_not_read) {
  for (const char* path : {"/proc", "/proc/self", "/proc/self/fd", "/proc/sys/kernel", "/sys", "/dev/pts",
                           "/dev/mqueue", "/sys/fs/cgroup"}) {
    Fd directory(open(path, O_RDONLY | O_DIRECTORY));
    if (directory < 0 && errno == ENOENT) continue;
    OK(int(directory));
    char byte;
    FAILS(EISDIR, read(directory, &byte, 1));
    FAILS(EISDIR, read(directory, &byte, 0));
    FAILS(EISDIR, pread(directory, &byte, 1, 0));
  }
}

TEST(processes_are_listed) {
  Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  bool self = false, other = false;
  DIR* dir = OK(opendir("/proc"));
  while (dirent* entry = readdir(dir)) {
    int pid = atoi(entry->d_name);
    if (pid == getpid()) self = true;
    if (pid == child) other = true;
    if (pid > 0) CHECK_EQ(entry->d_type, DT_DIR);
  }
  closedir(dir);
  CHECK(self && other);
  OK(kill(child, SIGKILL));
  WAIT_STATUS(child);
  FAILS(ENOENT, open(of(child, "stat").c_str(), O_RDONLY));
  FAILS(ENOENT, open("/proc/99999999/stat", O_RDONLY));
}

TEST(stat_fields) {
  std::string stat = READ_FILE("/proc/self/stat");
  size_t close = stat.rfind(')');
  CHECK_EQ(atoi(stat.c_str()), getpid());
  std::istringstream rest(stat.substr(close + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  CHECK(fields.size() >= 50);
  CHECK_EQ(fields[0], "R");
  CHECK_EQ(atoi(fields[1].c_str()), getppid());
  CHECK_EQ(atoi(fields[2].c_str()), getpgrp());
  CHECK_EQ(atoi(fields[3].c_str()), getsid(0));
  CHECK_EQ(atoi(fields[17].c_str()), 1);                 // threads
  CHECK(strtoull(fields[20].c_str(), nullptr, 10) > 0);  // virtual size
  CHECK(strtoull(fields[21].c_str(), nullptr, 10) > 0);  // resident pages
  std::string statm = READ_FILE("/proc/self/statm");
  CHECK(atol(statm.c_str()) > 0);
}

TEST(start_times_are_in_order) {
  auto start_time = [](pid_t pid) {
    std::string stat = READ_FILE(of(pid, "stat").c_str());
    std::istringstream rest(stat.substr(stat.rfind(')') + 1));
    std::string field;
    for (int i = 0; i < 20; ++i) rest >> field;
    return strtoull(field.c_str(), nullptr, 10);
  };
  Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  CHECK(start_time(child) >= start_time(getpid()));
  // In clock ticks since boot.
  double uptime = atof(READ_FILE("/proc/uptime").c_str());
  CHECK(double(start_time(child)) / 100 <= uptime + 1);
  leave.notify();
  JOIN(child);
}

TEST(status_fields) {
  auto s = status_of(getpid());
  CHECK(s["Name"] == "proc_files" || s["Name"] == "proc_files_dyna");
  CHECK_EQ(s["Tgid"], std::to_string(getpid()));
  CHECK_EQ(s["Pid"], std::to_string(getpid()));
  CHECK_EQ(s["PPid"], std::to_string(getppid()));
  CHECK_EQ(s["TracerPid"], "0");
  std::string uid = std::to_string(getuid());
  CHECK_EQ(s["Uid"], uid + "\t" + uid + "\t" + uid + "\t" + uid);
  CHECK_EQ(s["Threads"], "1");
  CHECK(s["State"].starts_with("R"));
  CHECK(s["VmRSS"].ends_with(" kB"));
  CHECK(s["VmSize"].ends_with(" kB"));
  CHECK_EQ(s["SigBlk"], "0000000000000000");
  CHECK(s.contains("SigIgn") && s.contains("SigCgt") && s.contains("SigPnd") && s.contains("ShdPnd"));
  CHECK(s.contains("CapEff") && s.contains("CapBnd") && s.contains("NoNewPrivs") && s.contains("Seccomp"));
  CHECK(s.contains("FDSize") && s.contains("Groups"));
}

TEST(status_shows_signal_sets) {
  signal(SIGUSR1, SIG_IGN);
  signal(SIGUSR2, [](int) {});
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  OK(sigprocmask(SIG_BLOCK, &set, nullptr));
  OK(kill(getpid(), SIGHUP));
  auto s = status_of(getpid());
  auto bits = [&](const char* name) { return strtoull(s[name].c_str(), nullptr, 16); };
  auto bit = [](int number) { return 1ull << (number - 1); };
  CHECK(bits("SigIgn") & bit(SIGUSR1));
  CHECK(bits("SigCgt") & bit(SIGUSR2));
  CHECK_EQ(bits("SigBlk"), bit(SIGHUP));
  CHECK((bits("ShdPnd") | bits("SigPnd")) & bit(SIGHUP));
}

CHILD(linger) {
  char byte;
  return read(0, &byte, 1) >= 0 ? 0 : 1;
}

TEST(command_line_and_environment) {
  int fds[2];
  OK(pipe2(fds, O_CLOEXEC));
  pid_t child = check::fork_child([&] {
    OK(dup2(fds[0], 0));
    const char* args[] = {"zero", "--child", "linger", "", "last one", nullptr};
    const char* env[] = {"A=1", "B=two words", nullptr};
    execve(check::self(), const_cast<char**>(args), const_cast<char**>(env));
  });
  WAIT_UNTIL(READ_FILE(of(child, "cmdline").c_str()).starts_with("zero"));
  CHECK_EQ(READ_FILE(of(child, "cmdline").c_str()), std::string("zero\0--child\0linger\0\0last one\0", 30));
  CHECK_EQ(READ_FILE(of(child, "environ").c_str()), std::string("A=1\0B=two words\0", 16));
  CHECK_EQ(link_target(of(child, "exe")), link_target("/proc/self/exe"));
  CHECK_EQ(READ_FILE(of(child, "comm").c_str()).substr(0, 10), "proc_files");
  OK(close(fds[1]));
  WAIT_UNTIL(check::process_state(child) == 'Z');
  CHECK_EQ(READ_FILE(of(child, "cmdline").c_str()), "");
  JOIN(child);
}

TEST(own_command_line) {
  std::string line = READ_FILE("/proc/self/cmdline");
  CHECK(!line.empty());
  CHECK_EQ(line.back(), 0);
}

TEST(working_directory_and_root) {
  char cwd[4096];
  OK(getcwd(cwd, sizeof cwd));
  CHECK_EQ(link_target("/proc/self/cwd"), cwd);
  CHECK_EQ(link_target("/proc/self/root"), "/");
  OK(mkdir("d", 0755));
  WRITE_FILE("d/a", "through cwd");
  Gate ready, leave;
  pid_t child = check::fork_child([&] {
    OK(chdir("d"));
    ready.notify();
    leave.wait();
  });
  ready.wait();
  CHECK_EQ(link_target(of(child, "cwd")), std::string(cwd) + "/d");
  CHECK_EQ(READ_FILE(of(child, "cwd/a").c_str()), "through cwd");
  leave.notify();
  JOIN(child);
}

TEST(executable) {
  std::string exe = link_target("/proc/self/exe");
  CHECK(exe.ends_with("/proc_files") || exe.ends_with("/proc_files_dynamic"));
  struct stat a, b;
  OK(stat("/proc/self/exe", &a));
  OK(stat(exe.c_str(), &b));
  CHECK_EQ(a.st_ino, b.st_ino);
  Fd fd(OK(open("/proc/self/exe", O_RDONLY)));
  char magic[4];
  OK(read(fd, magic, 4));
  CHECK_EQ(memcmp(magic,
                  "\x7f"
                  "ELF",
                  4),
           0);
}

TEST(tasks) {
  Gate leave;
  std::atomic<pid_t> tid = 0;
  std::thread other([&] {
    tid = check::gettid();
    leave.wait();
  });
  WAIT_UNTIL(tid != 0);
  std::vector<int> listed;
  DIR* dir = OK(opendir("/proc/self/task"));
  while (dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') listed.push_back(atoi(entry->d_name));
  }
  closedir(dir);
  std::sort(listed.begin(), listed.end());
  CHECK_EQ(listed.size(), 2u);
  CHECK_EQ(listed[0], getpid());
  CHECK_EQ(listed[1], tid.load());
  CHECK_EQ(status_of(getpid())["Threads"], "2");
  std::string status = READ_FILE(("/proc/self/task/" + std::to_string(tid) + "/status").c_str());
  CHECK(status.find("\nTgid:\t" + std::to_string(getpid()) + "\n") != std::string::npos);
  CHECK(status.find("\nPid:\t" + std::to_string(tid) + "\n") != std::string::npos);
  leave.notify();
  other.join();
}

TEST(mounts) {
  std::string mounts = READ_FILE("/proc/self/mounts");
  CHECK(mounts.find(" / ") != std::string::npos);
  CHECK(mounts.find(" /proc proc ") != std::string::npos);
  std::istringstream lines(mounts);
  for (std::string line; std::getline(lines, line);) CHECK_EQ(std::count(line.begin(), line.end(), ' '), 5);
  CHECK_EQ(READ_FILE("/proc/mounts"), mounts);
  std::string info = READ_FILE("/proc/self/mountinfo");
  CHECK(info.find(" / / ") != std::string::npos);
  CHECK(info.find(" - proc ") != std::string::npos);
}

TEST(memory_information) {
  std::map<std::string, long> fields;
  std::istringstream lines(READ_FILE("/proc/meminfo"));
  for (std::string line; std::getline(lines, line);) {
    size_t colon = line.find(':');
    fields[line.substr(0, colon)] = atol(line.c_str() + colon + 1);
  }
  CHECK(fields["MemTotal"] > 0);
  CHECK(fields["MemFree"] >= 0 && fields["MemFree"] <= fields["MemTotal"]);
  CHECK(fields["MemAvailable"] > 0 && fields["MemAvailable"] <= fields["MemTotal"]);
  CHECK(fields.contains("Buffers") && fields.contains("Cached") && fields.contains("SwapTotal"));
  struct sysinfo info;
  OK(sysinfo(&info));
  CHECK_EQ(fields["MemTotal"], long(info.totalram * info.mem_unit / 1024));
}

TEST(processor_information) {
  std::string text = READ_FILE("/proc/cpuinfo");
  long processors = 0;
  std::istringstream lines(text);
  bool flags = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("processor\t: ")) ++processors;
    if (line.starts_with("flags\t\t: ")) flags = line.find(" sse2 ") != std::string::npos;
  }
  CHECK_EQ(processors, sysconf(_SC_NPROCESSORS_ONLN));
  CHECK(flags);
}

TEST(time_and_load) {
  double up, idle;
  CHECK_EQ(sscanf(READ_FILE("/proc/uptime").c_str(), "%lf %lf", &up, &idle), 2);
  timespec boot;
  OK(clock_gettime(CLOCK_BOOTTIME, &boot));
  CHECK(up <= double(boot.tv_sec) + 2 && up >= double(boot.tv_sec) - 2);
  double a, b, c;
  int running, total, last;
  CHECK_EQ(
      sscanf(READ_FILE("/proc/loadavg").c_str(), "%lf %lf %lf %d/%d %d", &a, &b, &c, &running, &total, &last),
      6);
  CHECK(running >= 1 && total >= running);
  std::string stat = READ_FILE("/proc/stat");
  CHECK(stat.starts_with("cpu  "));
  CHECK(stat.find("\ncpu0 ") != std::string::npos);
  CHECK(stat.find("\nbtime ") != std::string::npos);
}

TEST(version_and_filesystems) {
  CHECK(READ_FILE("/proc/version").starts_with("Linux version "));
  std::string filesystems = READ_FILE("/proc/filesystems");
  CHECK(filesystems.find("nodev\tproc\n") != std::string::npos);
  CHECK(filesystems.find("nodev\ttmpfs\n") != std::string::npos);
}

TEST(system_settings) {
  CHECK_EQ(READ_FILE("/proc/sys/kernel/ostype"), "Linux\n");
  CHECK(atoi(READ_FILE("/proc/sys/kernel/osrelease").c_str()) >= 4);
  CHECK(atoi(READ_FILE("/proc/sys/kernel/pid_max").c_str()) >= 32768);
  CHECK(!READ_FILE("/proc/sys/kernel/hostname").empty());
  CHECK(atol(READ_FILE("/proc/sys/fs/file-max").c_str()) > 0);
  CHECK(atol(READ_FILE("/proc/sys/fs/pipe-max-size").c_str()) >= 65536);
  int overcommit = atoi(READ_FILE("/proc/sys/vm/overcommit_memory").c_str());
  CHECK(overcommit >= 0 && overcommit <= 2);
  CHECK_EQ(READ_FILE("/proc/sys/kernel/random/boot_id").size(), 37u);
  CHECK(READ_FILE("/proc/sys/kernel/random/uuid") != READ_FILE("/proc/sys/kernel/random/uuid"));
}

TEST(limits) {
  std::string text = READ_FILE("/proc/self/limits");
  CHECK(text.starts_with("Limit                     Soft Limit           Hard Limit           Units"));
  CHECK(text.find("Max open files") != std::string::npos);
}

TEST(reading_at_offsets_and_in_pieces) {
  std::string whole = READ_FILE("/proc/version");
  Fd fd(OK(open("/proc/version", O_RDONLY)));
  std::string pieces;
  char byte;
  while (OK(read(fd, &byte, 1)) == 1) pieces += byte;
  CHECK_EQ(pieces, whole);
  OK(lseek(fd, 6, SEEK_SET));
  char text[7];
  CHECK_EQ(OK(read(fd, text, 7)), 7);
  CHECK_EQ(std::string(text, 7), "version");
  CHECK_EQ(OK(pread(fd, text, 5, 0)), 5);
  CHECK_EQ(std::string(text, 5), "Linux");
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 0);
  CHECK(S_ISREG(st.st_mode));
}

TEST(nothing_can_be_made_or_removed) {
  int result = open("/proc/new", O_CREAT | O_WRONLY, 0644);
  CHECK(result == -1 && (errno == ENOENT || errno == EACCES || errno == EROFS || errno == EPERM));
  result = mkdir("/proc/dir", 0755);
  CHECK(result == -1 && (errno == ENOENT || errno == EACCES || errno == EROFS || errno == EPERM));
  CHECK(unlink("/proc/version") == -1);
  CHECK(rename("/proc/version", "/proc/other") == -1);
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EACCES, open("/proc/version", O_WRONLY));
}

TEST(adjusting_oneself) {
  int fd = open("/proc/self/oom_score_adj", O_RDWR);
  OK(fd);
  OK(write(fd, "500\n", 4));
  CHECK_EQ(READ_FILE("/proc/self/oom_score_adj"), "500\n");
  FAILS(EINVAL, write(fd, "9999", 4));
  fd = OK(open("/proc/self/comm", O_WRONLY));
  OK(write(fd, "renamed", 7));
  CHECK_EQ(READ_FILE("/proc/self/comm"), "renamed\n");
  CHECK_EQ(status_of(getpid())["Name"], "renamed");
}

TEST(memory_file) {
  int value = 12345;
  Fd fd(OK(open("/proc/self/mem", O_RDWR)));
  int seen = 0;
  CHECK_EQ(OK(pread(fd, &seen, sizeof seen, reinterpret_cast<off_t>(&value))), 4);
  CHECK_EQ(seen, 12345);
  seen = 99;
  CHECK_EQ(OK(pwrite(fd, &seen, sizeof seen, reinterpret_cast<off_t>(&value))), 4);
  CHECK_EQ(*static_cast<volatile int*>(&value), 99);
  FAILS(EIO, pread(fd, &seen, sizeof seen, 4096));
}

TEST(others_are_private) {
  if (!check::is_root()) SKIP("not root");
  Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  JOIN(check::fork_child([&] {
    OK(setresuid(65534, 65534, 65534));
    FAILS(EACCES, open(of(child, "environ").c_str(), O_RDONLY));
    FAILS(EACCES, opendir(of(child, "fd").c_str()) == nullptr ? -1 : 0);
    char text[100];
    FAILS(EACCES, readlink(of(child, "exe").c_str(), text, sizeof text));
    READ_FILE(of(child, "stat").c_str());
    READ_FILE(of(child, "status").c_str());
    READ_FILE(of(child, "cmdline").c_str());
  }));
  leave.notify();
  JOIN(child);
}

TEST(user_maps_and_groups) {
  unsigned inside, outside, count;
  CHECK_EQ(sscanf(READ_FILE("/proc/self/uid_map").c_str(), "%u %u %u", &inside, &outside, &count), 3);
  CHECK(count >= 1);
  CHECK(!READ_FILE("/proc/self/cgroup").empty());
}

TEST(network_files) {
  std::string devices = READ_FILE("/proc/net/dev");
  CHECK(devices.find("lo:") != std::string::npos);
  CHECK(READ_FILE("/proc/net/unix").starts_with("Num "));
}

TEST(sysfs_basics) {
  CHECK(!READ_FILE("/sys/devices/system/cpu/online").empty());
  struct stat st;
  OK(stat("/sys/devices/system/cpu/cpu0", &st));
}

}  // namespace
