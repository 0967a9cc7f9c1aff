// User and group ids, capabilities: setresuid(2) and its kin, getgroups(2), capget(2), prctl(2).
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#include <thread>

#include "tests/syscalls/check.h"

namespace {

struct Ids {
  uid_t real, effective, saved;
  bool operator==(const Ids&) const = default;
};

Ids uids() {
  Ids ids;
  OK(getresuid(&ids.real, &ids.effective, &ids.saved));
  return ids;
}

Ids gids() {
  Ids ids;
  OK(getresgid(&ids.real, &ids.effective, &ids.saved));
  return ids;
}

struct Caps {
  uint64_t effective, permitted, inheritable;
};

Caps caps() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  OK(syscall(SYS_capget, &header, data));
  auto join = [](uint32_t low, uint32_t high) { return uint64_t(high) << 32 | low; };
  return {join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
          join(data[0].inheritable, data[1].inheritable)};
}

long set_caps(Caps c) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  auto low = [](uint64_t x) { return uint32_t(x); };
  auto high = [](uint64_t x) { return uint32_t(x >> 32); };
  __user_cap_data_struct data[2] = {{low(c.effective), low(c.permitted), low(c.inheritable)},
                                    {high(c.effective), high(c.permitted), high(c.inheritable)}};
  return syscall(SYS_capset, &header, data);
}

constexpr uint64_t bit(int cap) { return uint64_t(1) << cap; }

TEST(reading_ids) {
  CHECK_EQ(getuid(), uids().real);
  CHECK_EQ(geteuid(), uids().effective);
  CHECK_EQ(getgid(), gids().real);
  CHECK_EQ(getegid(), gids().effective);
  int n = OK(getgroups(0, nullptr));
  std::vector<gid_t> groups(size_t(n) + 1);
  CHECK_EQ(OK(getgroups(n + 1, groups.data())), n);
  if (n > 1) FAILS(EINVAL, getgroups(1, groups.data()));
  FAILS(EINVAL, getgroups(-1, groups.data()));
}

TEST(an_ordinary_user_moves_between_its_ids) {
  if (check::is_root()) {
    OK(setresgid(1000, 1000, 1000));
    OK(setresuid(1000, 2000, 3000));
    FAILS(EPERM, setresuid(4000, uid_t(-1), uid_t(-1)));
    OK(setresuid(2000, 1000, uid_t(-1)));
    CHECK(uids() == (Ids{2000, 1000, 3000}));
    OK(setreuid(uid_t(-1), 3000));
    CHECK_EQ(geteuid(), 3000u);
    // setuid(2) without privilege sets the effective id only.
    OK(setuid(2000));
    CHECK_EQ(uids().effective, 2000u);
    FAILS(EPERM, setuid(4000));
    OK(seteuid(2000));
  } else {
    OK(setuid(getuid()));
    FAILS(EPERM, setuid(getuid() + 1));
    FAILS(EPERM, setgid(getgid() + 1));
    OK(setresuid(uid_t(-1), uid_t(-1), uid_t(-1)));
  }
  FAILS(EPERM, setgroups(0, nullptr));
}

TEST(root_drops_for_good) {
  if (!check::is_root()) SKIP("not root");
  gid_t groups[] = {10, 20, 30};
  OK(setgroups(3, groups));
  gid_t back[3];
  CHECK_EQ(OK(getgroups(3, back)), 3);
  CHECK_EQ(back[0] + back[1] + back[2], 60u);
  OK(setgid(500));
  CHECK(gids() == (Ids{500, 500, 500}));
  OK(setuid(600));
  CHECK(uids() == (Ids{600, 600, 600}));
  FAILS(EPERM, setuid(0));
  FAILS(EPERM, setgid(0));
  FAILS(EPERM, setgroups(0, nullptr));
  CHECK_EQ(caps().effective, 0u);
  CHECK_EQ(caps().permitted, 0u);
}

TEST(root_returns_through_the_saved_id) {
  if (!check::is_root()) SKIP("not root");
  uint64_t all = caps().permitted;
  OK(seteuid(1000));
  CHECK(uids() == (Ids{0, 1000, 0}));
  CHECK_EQ(caps().effective, 0u);
  CHECK_EQ(caps().permitted, all);
  FAILS(EPERM, setgid(5));
  OK(seteuid(0));
  CHECK_EQ(caps().effective, all);
}

TEST(setreuid_sets_the_saved_id) {
  if (!check::is_root()) SKIP("not root");
  OK(setreuid(1000, 2000));
  CHECK(uids() == (Ids{1000, 2000, 2000}));
}

TEST(fs_ids_follow_the_effective_ones) {
  CHECK_EQ(setfsuid(uid_t(-1)), int(geteuid()));
  CHECK_EQ(setfsgid(gid_t(-1)), int(getegid()));
  if (!check::is_root()) return;
  CHECK_EQ(setfsuid(1234), 0);
  CHECK_EQ(setfsuid(uid_t(-1)), 1234);
  OK(seteuid(0));
  CHECK_EQ(setfsuid(uid_t(-1)), 0);
}

TEST(ids_of_all_threads_change_together_in_libc_only) {
  if (!check::is_root()) SKIP("not root");
  check::Gate go, done;
  uid_t seen = 77;
  std::thread other([&] {
    go.wait();
    seen = static_cast<uid_t>(syscall(SYS_geteuid));
  });
  // The raw call concerns the calling thread alone.
  OK(syscall(SYS_setresuid, 1000, 1000, 1000));
  go.notify();
  other.join();
  CHECK_EQ(seen, 0u);
}

TEST(capability_sets) {
  Caps all = caps();
  if (!check::is_root()) {
    CHECK_EQ(all.effective, 0u);
    FAILS(EPERM, set_caps({bit(CAP_CHOWN), bit(CAP_CHOWN), 0}));
    return;
  }
  if ((all.permitted & bit(CAP_CHOWN)) == 0) SKIP("root without CAP_CHOWN");
  OK(set_caps({0, all.permitted, 0}));
  WRITE_FILE("a", "");
  FAILS(EPERM, chown("a", 5, 5));
  OK(set_caps({bit(CAP_CHOWN), all.permitted, 0}));
  OK(chown("a", 5, 5));
  OK(set_caps({0, bit(CAP_CHOWN), 0}));
  FAILS(EPERM, set_caps({0, bit(CAP_CHOWN) | bit(CAP_KILL), 0}));
  FAILS(EPERM, set_caps({bit(CAP_KILL), bit(CAP_CHOWN), 0}));
}

TEST(capget_versions) {
  __user_cap_header_struct header = {0x1234, 0};
  FAILS(EINVAL, syscall(SYS_capget, &header, header.pid == 0 ? &header : nullptr));
  CHECK_EQ(header.version, unsigned(_LINUX_CAPABILITY_VERSION_3));
  header.pid = 999'999'99;
  __user_cap_data_struct data[2];
  FAILS(ESRCH, syscall(SYS_capget, &header, data));
}

TEST(dropping_uid_zero_clears_capabilities_unless_kept) {
  if (!check::is_root()) SKIP("not root");
  uint64_t all = caps().permitted;
  JOIN(check::fork_child([&] {
    OK(prctl(PR_SET_KEEPCAPS, 1));
    CHECK_EQ(OK(prctl(PR_GET_KEEPCAPS)), 1);
    OK(setresuid(1000, 1000, 1000));
    CHECK_EQ(caps().permitted, all);
    CHECK_EQ(caps().effective, 0u);
  }));
  JOIN(check::fork_child([&] {
    OK(setresuid(1000, 1000, 1000));
    CHECK_EQ(caps().permitted, 0u);
  }));
}

TEST(bounding_set) {
  CHECK(prctl(PR_CAPBSET_READ, CAP_CHOWN) >= 0);
  FAILS(EINVAL, prctl(PR_CAPBSET_READ, 63));
  if (!check::is_root()) {
    FAILS(EPERM, prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    return;
  }
  if ((caps().effective & bit(CAP_SETPCAP)) == 0) SKIP("root without CAP_SETPCAP");
  OK(prctl(PR_CAPBSET_DROP, CAP_NET_RAW));
  CHECK_EQ(OK(prctl(PR_CAPBSET_READ, CAP_NET_RAW)), 0);
}

CHILD(print_caps) {
  Caps c = caps();
  dprintf(1, "%lx %lx %lx %d", c.effective, c.permitted, c.inheritable,
          prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  return 0;
}

std::string exec_caps(const std::function<void()>& before) {
  int fds[2];
  OK(pipe(fds));
  pid_t pid = check::fork_child([&] {
    before();
    OK(dup2(fds[1], 1));
    execl(check::self(), check::self(), "--child", "print_caps", nullptr);
  });
  JOIN(pid);
  char text[100] = {};
  OK(read(fds[0], text, sizeof text - 1));
  return text;
}

TEST(capabilities_over_exec) {
  Caps all = caps();
  char expected[100];
  if (check::is_root()) {
    snprintf(expected, sizeof expected, "%lx %lx %lx 0", all.permitted, all.permitted, all.inheritable);
    CHECK_EQ(exec_caps([] { OK(set_caps({0, caps().permitted, 0})); }), std::string(expected));
    CHECK_EQ(exec_caps([] { OK(setresuid(1000, 1000, 1000)); }), "0 0 0 0");
  } else {
    CHECK_EQ(exec_caps([] {}), "0 0 0 0");
  }
}

TEST(ambient_capabilities) {
  if (!check::is_root() || (caps().permitted & bit(CAP_NET_BIND_SERVICE)) == 0) SKIP("not root");
  CHECK_EQ(exec_caps([] {
             Caps c = caps();
             OK(set_caps({c.effective, c.permitted, bit(CAP_NET_BIND_SERVICE)}));
             OK(prctl(PR_SET_KEEPCAPS, 1));
             OK(setresuid(1000, 1000, 1000));
             OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
             CHECK_EQ(OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0)), 1);
           }),
           "400 400 400 0");
}

TEST(no_new_privs) {
  CHECK_EQ(OK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)), 0);
  OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  CHECK_EQ(OK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)), 1);
  FAILS(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  CHECK(exec_caps([] {}).ends_with(" 1"));
  JOIN(check::fork_child([] { CHECK_EQ(OK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)), 1); }));
}

TEST(securebits) {
  int bits = OK(prctl(PR_GET_SECUREBITS));
  if (!check::is_root()) {
    FAILS(EPERM, prctl(PR_SET_SECUREBITS, bits ^ 1));
  }
}

TEST(saved_ids_over_exec) {
  if (!check::is_root()) SKIP("not root");
  // execve(2): the effective id is copied to the saved one.
  OK(setresuid(1000, 2000, 3000));
  std::string status;
  int fds[2];
  OK(pipe(fds));
  pid_t pid = check::fork_child([&] {
    OK(dup2(fds[1], 1));
    execl("/bin/grep", "grep", "Uid:", "/proc/self/status", nullptr);
  });
  JOIN(pid);
  char text[100] = {};
  OK(read(fds[0], text, sizeof text - 1));
  CHECK_EQ(std::string(text), "Uid:\t1000\t2000\t2000\t2000\n");
}

TEST(capabilities_of_the_first_process) {
  struct {
    uint32_t version = 0x20080522;  // _LINUX_CAPABILITY_VERSION_3
    int pid = 1;
  } header;
  uint32_t sets[6];
  OK(syscall(SYS_capget, &header, sets));
  header.pid = 0x3fffff;
  FAILS(ESRCH, syscall(SYS_capget, &header, sets));
}

TEST(huge_pages_are_disabled_by_process) {
  CHECK_EQ(OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 0);
  OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  CHECK_EQ(OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 1);
  JOIN(check::fork_child([] { CHECK_EQ(OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 1); }));
  OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
  CHECK_EQ(OK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)), 0);
  FAILS(EINVAL, prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
  FAILS(EINVAL, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 1));
  FAILS(EINVAL, prctl(PR_SET_THP_DISABLE, 1, 0, 1, 0));
}

TEST(the_time_stamp_counter_can_be_read) {
  int mode = 0;
  OK(prctl(PR_GET_TSC, &mode, 0, 0, 0));
  CHECK_EQ(mode, PR_TSC_ENABLE);
  OK(prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0));
  FAILS(EINVAL, prctl(PR_SET_TSC, 3, 0, 0, 0));
  FAILS(EFAULT, prctl(PR_GET_TSC, 8, 0, 0, 0));
}

TEST(dumpable_after_a_change_of_ids) {
  if (!check::is_root()) SKIP("not root");
  CHECK_EQ(OK(prctl(PR_GET_DUMPABLE)), 1);
  OK(prctl(PR_SET_DUMPABLE, 0));
  CHECK_EQ(OK(prctl(PR_GET_DUMPABLE)), 0);
  FAILS(EINVAL, prctl(PR_SET_DUMPABLE, 7));
}

}  // namespace
