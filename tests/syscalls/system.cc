// What a program asks about itself and the machine: limits, usage, names, random numbers, scheduling, unknown
// calls.
#include <linux/capability.h>
#include <linux/random.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

#include <thread>
#include <vector>

#include "tests/syscalls/check.h"

namespace {

TEST(uname_fields) {
  utsname name;
  OK(uname(&name));
  CHECK_EQ(std::string(name.sysname), "Linux");
  CHECK_EQ(std::string(name.machine), "x86_64");
  CHECK(atoi(name.release) >= 4);
  CHECK(name.nodename[0] != 0);
  char host[65];
  OK(gethostname(host, sizeof host));
  CHECK_EQ(std::string(host), name.nodename);
}

TEST(sysinfo_fields) {
  struct sysinfo info;
  OK(sysinfo(&info));
  CHECK(info.uptime >= 0);
  CHECK(info.totalram > 0);
  CHECK(info.freeram <= info.totalram);
  CHECK(info.procs > 0);
  CHECK(info.mem_unit > 0);
  // What /proc/loadavg rounds; it moves on from time to time.
  WAIT_UNTIL([&] {
    double shown = -1;
    OK(sysinfo(&info));
    CHECK_EQ(sscanf(READ_FILE("/proc/loadavg").c_str(), "%lf", &shown), 1);
    const double told = static_cast<double>(info.loads[0]) / (1 << SI_LOAD_SHIFT);
    return told > shown - 0.02 && told < shown + 0.02;
  }());
}

TEST(resource_limits) {
  rlimit limit;
  for (int resource = 0; resource < 16; ++resource) {
    OK(getrlimit(static_cast<__rlimit_resource>(resource), &limit));
    CHECK(limit.rlim_cur <= limit.rlim_max);
  }
  FAILS(EINVAL, syscall(SYS_getrlimit, 16, &limit));
  OK(getrlimit(RLIMIT_NOFILE, &limit));
  rlimit lower = {limit.rlim_cur / 2, limit.rlim_max};
  OK(setrlimit(RLIMIT_NOFILE, &lower));
  rlimit seen;
  OK(getrlimit(RLIMIT_NOFILE, &seen));
  CHECK_EQ(seen.rlim_cur, limit.rlim_cur / 2);
  rlimit crossed = {10, 5};
  FAILS(EINVAL, setrlimit(RLIMIT_NOFILE, &crossed));
  // The child inherits, and its own changes stay its own.
  JOIN(check::fork_child([&] {
    OK(getrlimit(RLIMIT_NOFILE, &seen));
    CHECK_EQ(seen.rlim_cur, limit.rlim_cur / 2);
    rlimit small = {10, 10};
    OK(setrlimit(RLIMIT_NOFILE, &small));
  }));
  OK(getrlimit(RLIMIT_NOFILE, &seen));
  CHECK_EQ(seen.rlim_cur, limit.rlim_cur / 2);
}

TEST(hard_limits_only_shrink_for_an_ordinary_user) {
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  rlimit limit = {100, 100};
  OK(setrlimit(RLIMIT_NOFILE, &limit));
  limit = {100, 200};
  FAILS(EPERM, setrlimit(RLIMIT_NOFILE, &limit));
  limit = {50, 100};
  OK(setrlimit(RLIMIT_NOFILE, &limit));
  limit = {100, 100};
  OK(setrlimit(RLIMIT_NOFILE, &limit));
}

TEST(prlimit_of_another) {
  check::Gate leave;
  pid_t child = check::fork_child([&] { leave.wait(); });
  rlimit old, fresh = {77, 88};
  OK(prlimit(child, RLIMIT_NOFILE, &fresh, &old));
  rlimit seen;
  OK(prlimit(child, RLIMIT_NOFILE, nullptr, &seen));
  CHECK_EQ(seen.rlim_cur, 77u);
  CHECK_EQ(seen.rlim_max, 88u);
  OK(prlimit(0, RLIMIT_NOFILE, nullptr, &seen));
  CHECK_EQ(seen.rlim_cur, old.rlim_cur);
  FAILS(ESRCH, prlimit(999'999'99, RLIMIT_NOFILE, nullptr, &seen));
  leave.notify();
  JOIN(child);
}

TEST(usage_grows_with_work) {
  rusage before, after;
  OK(getrusage(RUSAGE_SELF, &before));
  uint64_t start = check::now_ns(CLOCK_PROCESS_CPUTIME_ID);
  while (check::now_ns(CLOCK_PROCESS_CPUTIME_ID) < start + 30'000'000) {
  }
  OK(getrusage(RUSAGE_SELF, &after));
  auto micros = [](const rusage& usage) {
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  CHECK(micros(after) - micros(before) >= 10'000);
  CHECK(after.ru_maxrss > 0);
  OK(getrusage(RUSAGE_CHILDREN, &after));
  OK(getrusage(RUSAGE_THREAD, &after));
  FAILS(EINVAL, syscall(SYS_getrusage, 99, &after));
}

TEST(usage_tells_system_time_and_sleeps) {
  rusage before, after;
  OK(getrusage(RUSAGE_THREAD, &before));
  const auto system = [](const rusage& usage) {
    return usage.ru_stime.tv_sec * 1'000'000 + usage.ru_stime.tv_usec;
  };
  const int fd = OK(open("/proc/self/maps", O_RDONLY));
  std::vector<char> text(64 << 10);
  WAIT_UNTIL([&] {
    for (int i = 0; i < 100; ++i) OK(pread(fd, text.data(), text.size(), 0));
    OK(getrusage(RUSAGE_THREAD, &after));
    return system(after) > system(before);
  }());
  OK(close(fd));
  // A sleep that is over before the processor has been given up is none.
  WAIT_UNTIL([&] {
    usleep(1000);
    OK(getrusage(RUSAGE_THREAD, &after));
    return after.ru_nvcsw >= before.ru_nvcsw + 5;
  }());
}

TEST(children_usage_counts_the_reaped) {
  pid_t child = check::fork_child([] {
    while (check::now_ns(CLOCK_PROCESS_CPUTIME_ID) < 30'000'000) {
    }
  });
  WAIT_UNTIL(check::process_state(child) == 'Z');
  tms before, after;
  OK(times(&before));
  JOIN(child);
  OK(times(&after));
  CHECK(after.tms_cutime + after.tms_cstime > before.tms_cutime + before.tms_cstime);
}

TEST(times_is_a_clock) {
  clock_t a = times(nullptr);
  WAIT_UNTIL(times(nullptr) > a);
}

TEST(thread_names) {
  OK(prctl(PR_SET_NAME, "a-name-that-is-too-long"));
  char name[16];
  OK(prctl(PR_GET_NAME, name));
  CHECK_EQ(std::string(name), "a-name-that-is-");
  CHECK_EQ(READ_FILE("/proc/self/comm"), "a-name-that-is-\n");
  std::thread([] {
    OK(prctl(PR_SET_NAME, "other"));
    CHECK_EQ(READ_FILE(("/proc/self/task/" + std::to_string(check::gettid()) + "/comm").c_str()), "other\n");
  }).join();
  OK(prctl(PR_GET_NAME, name));
  CHECK_EQ(std::string(name), "a-name-that-is-");
}

TEST(unknown_prctl) { FAILS(EINVAL, prctl(0x7fff'0000, 0, 0, 0, 0)); }

TEST(personalities) {
  int now = OK(int(syscall(SYS_personality, 0xffffffff)));
  CHECK_EQ(now & 0xff, 0);
  OK(syscall(SYS_personality, 0x0040000));
  CHECK_EQ(syscall(SYS_personality, 0xffffffff), 0x0040000);
  JOIN(check::fork_child([] { CHECK_EQ(syscall(SYS_personality, 0xffffffff), 0x0040000); }));
}

TEST(random_numbers) {
  char a[64] = {}, b[64] = {};
  CHECK_EQ(OK(getrandom(a, sizeof a, 0)), 64);
  CHECK_EQ(OK(getrandom(b, sizeof b, GRND_NONBLOCK)), 64);
  CHECK(memcmp(a, b, sizeof a) != 0);
  CHECK_EQ(OK(getrandom(a, 0, 0)), 0);
  std::string large(1 << 20, 0);
  CHECK_EQ(OK(getrandom(large.data(), large.size(), 0)), 1 << 20);
  FAILS(EINVAL, getrandom(a, sizeof a, 0x100));
  FAILS(EINVAL, getrandom(a, sizeof a, GRND_RANDOM | GRND_INSECURE));
}

TEST(nice_values) {
  errno = 0;
  int start = getpriority(PRIO_PROCESS, 0);
  CHECK_EQ(errno, 0);
  OK(setpriority(PRIO_PROCESS, 0, start + 3));
  CHECK_EQ(getpriority(PRIO_PROCESS, 0), start + 3);
  JOIN(check::fork_child([&] { CHECK_EQ(getpriority(PRIO_PROCESS, 0), start + 3); }));
  CHECK_EQ(getpriority(PRIO_PROCESS, id_t(getpid())), start + 3);
  OK(setpriority(PRIO_PROCESS, 0, 100));
  CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
  FAILS(EINVAL, syscall(SYS_getpriority, 99, 0));
  FAILS(ESRCH, getpriority(PRIO_PROCESS, 999'999'99));
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EACCES, setpriority(PRIO_PROCESS, 0, 0));
}

TEST(scheduling_policy) {
  CHECK_EQ(OK(sched_getscheduler(0)), SCHED_OTHER);
  sched_param param = {0};
  OK(sched_setscheduler(0, SCHED_BATCH, &param));
  CHECK_EQ(OK(sched_getscheduler(0)), SCHED_BATCH);
  param.sched_priority = 5;
  FAILS(EINVAL, sched_setscheduler(0, SCHED_OTHER, &param));
  OK(sched_getparam(0, &param));
  CHECK_EQ(param.sched_priority, 0);
  CHECK_EQ(OK(sched_get_priority_max(SCHED_FIFO)), 99);
  CHECK_EQ(OK(sched_get_priority_min(SCHED_FIFO)), 1);
  CHECK_EQ(OK(sched_get_priority_max(SCHED_OTHER)), 0);
  FAILS(EINVAL, sched_get_priority_max(99));
  FAILS(ESRCH, sched_getscheduler(999'999'99));
  OK(sched_yield());
}

TEST(cpu_affinity) {
  cpu_set_t set;
  OK(sched_getaffinity(0, sizeof set, &set));
  int count = CPU_COUNT(&set);
  CHECK(count >= 1);
  int first = 0;
  while (!CPU_ISSET(first, &set)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  OK(sched_setaffinity(0, sizeof one, &one));
  cpu_set_t seen;
  OK(sched_getaffinity(0, sizeof seen, &seen));
  CHECK_EQ(CPU_COUNT(&seen), 1);
  JOIN(check::fork_child([&] {
    OK(sched_getaffinity(0, sizeof seen, &seen));
    CHECK_EQ(CPU_COUNT(&seen), 1);
  }));
  CPU_ZERO(&one);
  FAILS(EINVAL, sched_setaffinity(0, sizeof one, &one));
  FAILS(EINVAL, syscall(SYS_sched_getaffinity, 0, 1, &seen));
}

TEST(current_cpu) {
  unsigned cpu = 9999, node = 9999;
  OK(syscall(SYS_getcpu, &cpu, &node, nullptr));
  CHECK(cpu < 4096);
  CHECK(sched_getcpu() >= 0);
}

TEST(processors_agree) {
  cpu_set_t set;
  OK(sched_getaffinity(0, sizeof set, &set));
  CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= CPU_COUNT(&set));
}

TEST(unknown_calls) {
  for (long number : {350l, 400l, 423l, 600l, 9999l, 0x7fff'ffffl, -1l, -77l}) {
    FAILS(ENOSYS, syscall(number, 1, 2, 3, 4, 5, 6));
  }
}

TEST(removed_calls) {
  // In the table's middle, and never implemented or gone: afs_syscall, tuxcall, security, vserver,
  // create_module, get_kernel_syms, query_module, nfsservctl.
  for (long number : {183l, 184l, 185l, 236l, 174l, 177l, 178l, 180l}) {
    FAILS(ENOSYS, syscall(number, 0, 0, 0, 0, 0, 0));
  }
}

TEST(reboot_with_other_magic) {
  const bool may = check::is_root() && OK(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT)) == 1;
  const int error = may ? EINVAL : EPERM;
  FAILS(error, syscall(SYS_reboot, 1, 2, 3, nullptr));
  FAILS(error, syscall(SYS_reboot, 0xfee1dead, 2, 0x1234567, nullptr));
}

TEST(calls_that_need_privilege) {
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EPERM, syscall(SYS_reboot, 0xfee1dead, 672274793, 0, nullptr));
  FAILS(EPERM, syscall(SYS_swapon, "/nothing", 0));
  FAILS(EPERM, syscall(SYS_chroot, "/"));
  FAILS(EPERM, syscall(SYS_mount, "a", "/", "tmpfs", 0, nullptr));
  FAILS(EPERM, syscall(SYS_sethostname, "x", 1));
  timespec now;
  OK(clock_gettime(CLOCK_REALTIME, &now));
  FAILS(EPERM, clock_settime(CLOCK_REALTIME, &now));
  FAILS(EPERM, syscall(SYS_acct, "/nothing"));
}

TEST(change_root) {
  if (!check::is_root()) SKIP("not root");
  OK(mkdir("jail", 0755));
  OK(mkdir("jail/inside", 0755));
  WRITE_FILE("jail/inside/a", "text");
  JOIN(check::fork_child([] {
    if (chroot("jail") != 0) SKIP("root without CAP_SYS_CHROOT");
    OK(chdir("/"));
    CHECK_EQ(READ_FILE("/inside/a"), "text");
    FAILS(ENOENT, access("/etc", F_OK));
    FAILS(ENOENT, access("/../../../etc", F_OK));
    char cwd[100];
    OK(getcwd(cwd, sizeof cwd));
    CHECK_EQ(std::string(cwd), "/");
  }));
  OK(access("/etc", F_OK));
}

TEST(membarrier_or_not) {
  long commands = syscall(SYS_membarrier, 0, 0, 0);
  if (commands < 0 && errno == ENOSYS) SKIP_OPTIONAL("no membarrier");
  OK(commands);
  if (commands & 8) {
    OK(syscall(SYS_membarrier, 16, 0, 0));
    OK(syscall(SYS_membarrier, 8, 0, 0));
  }
}

}  // namespace
