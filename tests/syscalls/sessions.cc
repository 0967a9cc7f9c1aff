// Process groups, sessions, orphans: setpgid(2), setsid(2), kill(2) to groups, prctl(2)
// PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG.
#include <sys/prctl.h>

#include <algorithm>
#include <thread>

#include "tests/syscalls/check.h"

using check::Gate;

namespace {

TEST(groups_are_inherited) {
  pid_t group = getpgrp(), session = OK(getsid(0));
  JOIN(check::fork_child([&] {
    CHECK_EQ(getpgrp(), group);
    CHECK_EQ(getpgid(0), group);
    CHECK_EQ(getsid(0), session);
  }));
  CHECK_EQ(OK(getpgid(getpid())), group);
  FAILS(ESRCH, getpgid(999'999'99));
  FAILS(ESRCH, getsid(999'999'99));
}

TEST(a_group_of_its_own) {
  JOIN(check::fork_child([] {
    OK(setpgid(0, 0));
    CHECK_EQ(getpgrp(), getpid());
    pid_t group = getpgrp();
    Gate leave;
    pid_t child = check::fork_child([&] { leave.wait(); });
    CHECK_EQ(OK(getpgid(child)), group);
    OK(setpgid(child, child));
    CHECK_EQ(OK(getpgid(child)), child);
    OK(setpgid(child, group));
    leave.notify();
    JOIN(child);
  }));
}

CHILD(nothing) {
  char byte;
  return read(0, &byte, 1) >= 0 ? 0 : 1;
}

TEST(setpgid_rules) {
  FAILS(EINVAL, setpgid(0, -1));
  FAILS(ESRCH, setpgid(1, 1));
  FAILS(EPERM, setpgid(0, 999'999'99));
  // A child that has executed is out of reach.
  int fds[2];
  OK(pipe2(fds, O_CLOEXEC));
  pid_t child = check::fork_child([&] {
    OK(dup2(fds[0], 0));
    execl(check::self(), check::self(), "--child", "nothing", nullptr);
  });
  WAIT_UNTIL([&] {
    if (setpgid(child, child) == 0) return false;
    CHECK_EQ(errno, EACCES);
    return true;
  }());
  OK(close(fds[1]));
  JOIN(child);
  // A session leader keeps its group.
  JOIN(check::fork_child([] {
    OK(setsid());
    FAILS(EPERM, setpgid(0, 0));
    FAILS(EPERM, setpgid(0, getppid()));
  }));
}

TEST(a_session_of_its_own) {
  JOIN(check::fork_child([] {
    CHECK_EQ(OK(setsid()), getpid());
    CHECK_EQ(getsid(0), getpid());
    CHECK_EQ(getpgrp(), getpid());
    FAILS(EPERM, setsid());
    JOIN(check::fork_child([] {
      CHECK_EQ(getsid(0), getppid());
      OK(setsid());
    }));
  }));
  // A group leader cannot make a session.
  JOIN(check::fork_child([] {
    OK(setpgid(0, 0));
    FAILS(EPERM, setsid());
  }));
}

TEST(groups_of_other_sessions_are_out_of_reach) {
  Gate made, leave;
  pid_t child = check::fork_child([&] {
    OK(setsid());
    made.notify();
    leave.wait();
  });
  made.wait();
  FAILS(EPERM, setpgid(child, getpgrp()));
  FAILS(EPERM, setpgid(0, child));
  leave.notify();
  JOIN(child);
}

TEST(kill_a_group) {
  pid_t leader = check::fork_child([] {
    OK(setpgid(0, 0));
    Gate ready;
    for (int i = 0; i < 3; ++i) {
      check::fork_child([&] {
        ready.notify();
        for (;;) pause();
      });
    }
    for (int i = 0; i < 3; ++i) ready.wait();
    signal(SIGTERM, SIG_IGN);
    OK(kill(0, SIGTERM));
    for (int i = 0; i < 3; ++i) {
      int status;
      OK(wait(&status));
      CHECK_KILLED(status, SIGTERM);
    }
  });
  JOIN(leader);
  FAILS(ESRCH, kill(-leader, SIGTERM));
  FAILS(ESRCH, killpg(leader, 0));
}

TEST(kill_checks) {
  OK(kill(getpid(), 0));
  FAILS(EINVAL, kill(getpid(), 65));
  FAILS(EINVAL, kill(getpid(), -1));
  FAILS(ESRCH, kill(999'999'99, 0));
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EPERM, kill(1, SIGTERM));
  FAILS(EPERM, kill(1, 0));
}

TEST(users_may_only_signal_their_own) {
  if (!check::is_root()) SKIP("not root");
  Gate leave, ready;
  pid_t other = check::fork_child([&] {
    OK(setresuid(1001, 1001, 1001));
    ready.notify();
    leave.wait();
  });
  ready.wait();
  JOIN(check::fork_child([&] {
    OK(setresuid(1002, 1002, 1002));
    FAILS(EPERM, kill(other, SIGTERM));
  }));
  JOIN(check::fork_child([&] {
    OK(setresuid(1001, 1001, 1001));
    OK(kill(other, 0));
  }));
  leave.notify();
  JOIN(other);
}

TEST(orphans_go_to_init) {
  int fds[2];
  OK(pipe(fds));
  pid_t middle = check::fork_child([&] {
    pid_t self = getpid();
    check::fork_child([&, self] {
      // Alone now? Then tell who the parent is.
      WAIT_UNTIL(getppid() != self);
      pid_t parent = getppid();
      OK(write(fds[1], &parent, sizeof parent));
    });
  });
  JOIN(middle);
  pid_t parent;
  CHECK_EQ(OK(read(fds[0], &parent, sizeof parent)), ssize_t(sizeof parent));
  CHECK(parent != getpid());
  CHECK(parent != middle);
}

TEST(subreaper_adopts) {
  JOIN(check::fork_child([] {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int set = 0;
    OK(prctl(PR_GET_CHILD_SUBREAPER, &set));
    CHECK_EQ(set, 1);
    int fds[2];
    OK(pipe(fds));
    pid_t middle = check::fork_child([&] {
      pid_t self = getpid();
      pid_t orphan = check::fork_child([&, self] {
        WAIT_UNTIL(getppid() != self);
        _exit(23);
      });
      OK(write(fds[1], &orphan, sizeof orphan));
    });
    JOIN(middle);
    pid_t orphan;
    OK(read(fds[0], &orphan, sizeof orphan));
    CHECK_EXITED(WAIT_STATUS(orphan), 23);
    // Not inherited by children.
    JOIN(check::fork_child([] {
      int child_set = 7;
      OK(prctl(PR_GET_CHILD_SUBREAPER, &child_set));
      CHECK_EQ(child_set, 0);
    }));
  }));
}

TEST(parent_death_signal) {
  int fds[2];
  OK(pipe(fds));
  pid_t middle = check::fork_child([&] {
    Gate ready;
    check::fork_child([&] {
      OK(close(fds[0]));
      OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
      int number = 0;
      OK(prctl(PR_GET_PDEATHSIG, &number));
      CHECK_EQ(number, SIGUSR1);
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGUSR1);
      OK(sigprocmask(SIG_BLOCK, &set, nullptr));
      ready.notify();
      timespec limit = {10, 0};
      CHECK_EQ(OK(sigtimedwait(&set, nullptr, &limit)), SIGUSR1);
      OK(write(fds[1], "y", 1));
    });
    ready.wait();
  });
  JOIN(middle);
  OK(close(fds[1]));
  char byte;
  CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  FAILS(EINVAL, prctl(PR_SET_PDEATHSIG, 99));
}

TEST(orphaned_stopped_group_gets_hup_and_cont) {
  int fds[2];
  OK(pipe(fds));
  // setpgid(2): when a group becomes orphaned and has a stopped member, all get SIGHUP, then SIGCONT.
  pid_t session = check::fork_child([&] {
    OK(setsid());
    pid_t member = check::fork_child([&] {
      OK(setpgid(0, 0));
      OK(close(fds[0]));
      static int out;
      out = fds[1];
      signal(SIGHUP, [](int) { (void)!write(out, "H", 1); });
      signal(SIGCONT, [](int) {
        (void)!write(out, "C", 1);
        _exit(0);
      });
      raise(SIGSTOP);
      for (;;) pause();
    });
    int status;
    OK(waitpid(member, &status, WUNTRACED));
    CHECK(WIFSTOPPED(status));
  });
  JOIN(session);
  OK(close(fds[1]));
  std::string told;
  char byte;
  while (OK(read(fds[0], &byte, 1)) == 1) told += byte;
  std::sort(told.begin(), told.end());
  CHECK(told == "CH" || told == "C");
}

TEST(children_of_a_thread_belong_to_the_process) {
  Gate leave;
  pid_t child = 0;
  std::thread([&] { child = check::fork_child([&] { leave.wait(); }); }).join();
  std::string status = READ_FILE(("/proc/" + std::to_string(child) + "/status").c_str());
  CHECK(status.find("\nPPid:\t" + std::to_string(getpid()) + "\n") != std::string::npos);
  leave.notify();
  JOIN(child);
}

TEST(pids_grow_and_are_unique) {
  pid_t last = 0;
  for (int i = 0; i < 20; ++i) {
    pid_t pid = check::fork_child([] {});
    CHECK(pid != last);
    last = pid;
    JOIN(pid);
  }
}

}  // namespace
