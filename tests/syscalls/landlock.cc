// What a process forbids itself in the tree of files: landlock(7), with what Linux 6.1 has of it.
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

constexpr uint64_t kExecute = LANDLOCK_ACCESS_FS_EXECUTE, kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE,
                   kRead = LANDLOCK_ACCESS_FS_READ_FILE, kList = LANDLOCK_ACCESS_FS_READ_DIR,
                   kRefer = LANDLOCK_ACCESS_FS_REFER, kMakeRegular = LANDLOCK_ACCESS_FS_MAKE_REG,
                   kMakeDirectory = LANDLOCK_ACCESS_FS_MAKE_DIR, kRemoveFile = LANDLOCK_ACCESS_FS_REMOVE_FILE,
                   kAll = 2 * kRefer - 1;

int create_ruleset(uint64_t handled) {
  const landlock_ruleset_attr attributes{handled};
  return static_cast<int>(
      syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0));
}

int add_rule(int ruleset, int parent, uint64_t allowed) {
  const landlock_path_beneath_attr rule{allowed, parent};
  return static_cast<int>(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

int restrict_self(int ruleset) { return static_cast<int>(syscall(SYS_landlock_restrict_self, ruleset, 0)); }

// The kernel may be built or started without it.
void need_landlock() {
  if (syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2)
    SKIP("this kernel has no landlock of ABI 2");
}

struct Rule {
  const char* path;
  uint64_t allowed;
};

// Restricts the calling thread: all of `handled` is forbidden but what the rules allow.
void restrict_to(uint64_t handled, std::initializer_list<Rule> rules) {
  const Fd ruleset(OK(create_ruleset(handled)));
  for (const Rule& rule : rules) {
    const Fd place(OK(open(rule.path, O_PATH | O_CLOEXEC)));
    OK(add_rule(ruleset, place, rule.allowed));
  }
  OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  OK(restrict_self(ruleset));
}

void touch(const char* path) { Fd(OK(open(path, O_CREAT | O_WRONLY, 0666))); }

TEST(version) {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) SKIP("this kernel has no landlock");
  CHECK(version >= 1);
  if (check::in_sandbox()) CHECK_EQ(version, 2);
  landlock_ruleset_attr attributes{kRead};
  FAILS(EINVAL, syscall(SYS_landlock_create_ruleset, &attributes, 0, LANDLOCK_CREATE_RULESET_VERSION));
  FAILS(EINVAL, syscall(SYS_landlock_create_ruleset, nullptr, 8, LANDLOCK_CREATE_RULESET_VERSION));
  FAILS(EINVAL, syscall(SYS_landlock_create_ruleset, nullptr, 0, 0x8000));
}

TEST(rulesets) {
  need_landlock();
  struct {
    uint64_t handled, later[4095 / 8];
  } longer{};
  longer.handled = kRead;
  FAILS(EFAULT, syscall(SYS_landlock_create_ruleset, nullptr, 8, 0));
  FAILS(EFAULT, syscall(SYS_landlock_create_ruleset, 8, 8, 0));
  FAILS(EINVAL, syscall(SYS_landlock_create_ruleset, &longer, 7, 0));
  FAILS(E2BIG, syscall(SYS_landlock_create_ruleset, &longer, 4097, 0));
  Fd(OK(static_cast<int>(syscall(SYS_landlock_create_ruleset, &longer, sizeof longer, 0))));
  longer.later[100] = 1;
  FAILS(E2BIG, syscall(SYS_landlock_create_ruleset, &longer, sizeof longer, 0));
  FAILS(ENOMSG, create_ruleset(0));
  FAILS(EINVAL, create_ruleset(uint64_t{1} << 63));
  const Fd ruleset(OK(create_ruleset(kAll)));
  CHECK_EQ(OK(fcntl(ruleset, F_GETFD)), FD_CLOEXEC);
  CHECK_EQ(OK(fcntl(ruleset, F_GETFL)) & O_ACCMODE, O_RDWR);
  char byte = 0;
  FAILS(EINVAL, read(ruleset, &byte, 1));
  FAILS(EINVAL, write(ruleset, &byte, 1));
}

TEST(rules) {
  need_landlock();
  touch("file");
  const Fd directory(OK(open(".", O_PATH))), file(OK(open("file", O_PATH))),
      plain(OK(open("file", O_RDONLY)));
  const Fd ruleset(OK(create_ruleset(kRead | kList | kWrite)));
  OK(add_rule(ruleset, directory, kRead | kList));
  OK(add_rule(ruleset, directory, kWrite));
  OK(add_rule(ruleset, file, kRead));
  OK(add_rule(ruleset, plain, kWrite));
  FAILS(EBADF, add_rule(-1, directory, kRead));
  FAILS(EBADFD, add_rule(plain, directory, kRead));
  FAILS(EBADF, add_rule(ruleset, -1, kRead));
  FAILS(EBADF, add_rule(ruleset, AT_FDCWD, kRead));
  FAILS(EBADFD, add_rule(ruleset, ruleset, kRead));
  int pipes[2];
  OK(pipe(pipes));
  FAILS(EBADFD, add_rule(ruleset, pipes[0], kRead));
  FAILS(ENOMSG, add_rule(ruleset, directory, 0));
  FAILS(EINVAL, add_rule(ruleset, directory, kExecute));  // it is not handled
  FAILS(EINVAL, add_rule(ruleset, file, kRead | kList));  // for directories alone
  const landlock_path_beneath_attr rule{kRead, directory};
  FAILS(EINVAL, syscall(SYS_landlock_add_rule, int{ruleset}, 0, &rule, 0));
  FAILS(EINVAL, syscall(SYS_landlock_add_rule, int{ruleset}, 99, &rule, 0));
  FAILS(EINVAL, syscall(SYS_landlock_add_rule, int{ruleset}, LANDLOCK_RULE_PATH_BENEATH, &rule, 1));
  FAILS(EFAULT, syscall(SYS_landlock_add_rule, int{ruleset}, LANDLOCK_RULE_PATH_BENEATH, nullptr, 0));
}

TEST(restricting_needs_no_new_privs) {
  need_landlock();
  const Fd ruleset(OK(create_ruleset(kRead)));
  if (!check::is_root()) FAILS(EPERM, restrict_self(ruleset));
  OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  FAILS(EINVAL, syscall(SYS_landlock_restrict_self, int{ruleset}, 0x8000));
  FAILS(EBADF, restrict_self(-1));
  const Fd other(OK(open(".", O_RDONLY)));
  FAILS(EBADFD, restrict_self(other));
  OK(restrict_self(ruleset));
}

TEST(opening) {
  need_landlock();
  OK(mkdir("in", 0777));
  OK(mkdir("in/deep", 0777));
  OK(mkdir("out", 0777));
  touch("in/deep/file");
  touch("in/readonly");
  touch("out/file");
  const Fd before(OK(open("out/file", O_RDWR)));
  restrict_to(kAll, {{"in", kRead | kList | kWrite | kMakeRegular}});
  Fd(OK(open("in/deep/file", O_RDWR)));
  Fd(OK(open("in/deep", O_RDONLY | O_DIRECTORY)));
  Fd(OK(open("in/deep/new", O_CREAT | O_WRONLY, 0666)));
  Fd(OK(open("in", O_RDONLY)));
  FAILS(EACCES, open("out/file", O_RDONLY));
  FAILS(EACCES, open("out/file", O_WRONLY));
  FAILS(EACCES, open("out/file", O_RDWR | O_TRUNC));
  FAILS(EACCES, open("out", O_RDONLY | O_DIRECTORY));
  FAILS(EACCES, open("out/new", O_CREAT | O_WRONLY, 0666));
  FAILS(EACCES, open(".", O_RDONLY));
  FAILS(EACCES, open("in/../out/file", O_RDONLY));
  // Places can be named and looked at; what is open stays open.
  Fd(OK(open("out/file", O_PATH)));
  struct stat status;
  OK(stat("out/file", &status));
  OK(chdir("out"));
  OK(static_cast<int>(write(before, "x", 1)));
  OK(ftruncate(before, 0));
  OK(chmod("file", 0600));
  FAILS(ENOENT, stat("new", &status));
  FAILS(EACCES, open("file", O_RDONLY));
  // By way of /proc it is the same place; what has no name is not of the tree.
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", int{before});
  FAILS(EACCES, open(link, O_RDONLY));
  int pipes[2];
  OK(pipe(pipes));
  snprintf(link, sizeof link, "/proc/self/fd/%d", pipes[0]);
  Fd(OK(open(link, O_RDONLY | O_NONBLOCK)));
  const Fd memory(OK(memfd_create("memory", 0)));
  snprintf(link, sizeof link, "/proc/self/fd/%d", int{memory});
  Fd(OK(open(link, O_RDWR)));
}

TEST(what_is_not_handled_is_allowed) {
  need_landlock();
  touch("file");
  restrict_to(kWrite, {});
  Fd(OK(open("file", O_RDONLY)));
  Fd(OK(open(".", O_RDONLY)));
  FAILS(EACCES, open("file", O_WRONLY));
  OK(mkdir("directory", 0777));
  // A new file that may not be written to: it is made, and not opened.
  FAILS(EACCES, open("new", O_CREAT | O_WRONLY, 0666));
  struct stat status;
  OK(stat("new", &status));
  OK(unlink("new"));
}

TEST(making_and_removing) {
  need_landlock();
  OK(mkdir("in", 0777));
  OK(mkdir("out", 0777));
  OK(mkdir("out/directory", 0777));
  touch("out/file");
  touch("in/victim");
  restrict_to(kAll & ~(kRead | kWrite), {{"in", LANDLOCK_ACCESS_FS_MAKE_SYM | kMakeDirectory | kRemoveFile}});
  OK(mkdir("in/directory", 0777));
  OK(symlink("x", "in/link"));
  OK(unlink("in/link"));
  OK(unlink("in/victim"));
  FAILS(EACCES, rmdir("in/directory"));
  FAILS(EACCES, mknod("in/file", S_IFREG | 0666, 0));
  FAILS(EACCES, open("in/file", O_CREAT | O_RDWR, 0666));
  FAILS(EACCES, mkfifo("in/fifo", 0666));
  if (check::is_root()) {
    FAILS(EACCES, mknod("in/null", S_IFCHR | 0666, makedev(1, 3)));
    FAILS(EACCES, mknod("in/block", S_IFBLK | 0666, makedev(1, 3)));
  }
  const Fd socket(OK(::socket(AF_UNIX, SOCK_STREAM, 0)));
  sockaddr_un address{AF_UNIX, "in/socket"};
  FAILS(EACCES, bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address));
  FAILS(EEXIST, mkdir("out/directory", 0777));  // found before it is asked whether it may be made
  FAILS(EACCES, mkdir("out/new", 0777));
  FAILS(EACCES, symlink("x", "out/link"));
  FAILS(EACCES, unlink("out/file"));
  FAILS(EACCES, rmdir("out/directory"));
  FAILS(ENOENT, unlink("out/none"));
}

TEST(moving_within_a_directory) {
  need_landlock();
  for (const char* path : {"a", "b"}) OK(mkdir(path, 0777));
  for (const char* path : {"a/one", "a/two", "b/one", "b/two"}) touch(path);
  restrict_to(kMakeRegular | kRemoveFile, {{"a", kMakeRegular | kRemoveFile}, {"b", kMakeRegular}});
  OK(rename("a/one", "a/three"));
  OK(rename("a/three", "a/two"));
  FAILS(EACCES, rename("b/one", "b/three"));
  FAILS(EACCES, rename("b/one", "b/two"));
  OK(link("b/one", "b/linked"));
  OK(link("a/two", "a/linked"));
}

TEST(moving_elsewhere) {
  need_landlock();
  for (const char* path : {"a", "a/below", "b", "c"}) OK(mkdir(path, 0777));
  for (const char* path : {"a/one", "a/two", "b/one", "c/one"}) touch(path);
  // Without a rule that allows it, reparenting is forbidden by each ruleset, whatever it handles.
  JOIN(check::fork_child([] {
    restrict_to(kExecute, {});
    FAILS(EXDEV, rename("a/one", "b/new"));
    FAILS(EXDEV, link("a/one", "b/new"));
    OK(rename("a/one", "a/three"));
    OK(rename("a/three", "a/one"));
  }));
  JOIN(check::fork_child([] {
    constexpr uint64_t kMove = kRefer | kMakeRegular | kRemoveFile;
    restrict_to(kMove | kExecute | kMakeDirectory,
                {{"a", kMove}, {"b", kMove | kExecute}, {"c", kMakeRegular | kRemoveFile}});
    FAILS(EXDEV, rename("a/one", "b/new"));  // more would be allowed with it there
    OK(rename("b/one", "a/new"));
    OK(rename("a/two", "a/below/two"));
    FAILS(EXDEV, rename("a/one", "c/new"));
    FAILS(EXDEV, rename("c/one", "a/other"));
    FAILS(EXDEV, link("a/one", "b/new"));
    OK(link("a/one", "a/below/linked"));
    FAILS(EXDEV, syscall(SYS_renameat2, AT_FDCWD, "a/one", AT_FDCWD, "c/one", 2 /* RENAME_EXCHANGE */));
    OK(static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, "a/one", AT_FDCWD, "a/below/two", 2)));
    FAILS(EACCES, rename("a/below", "b/below"));  // a directory may not be made there
  }));
}

TEST(rulesets_stack) {
  need_landlock();
  OK(mkdir("in", 0777));
  OK(mkdir("in/deep", 0777));
  touch("in/file");
  touch("in/deep/file");
  restrict_to(kRead | kWrite, {{"in", kRead | kWrite}});
  Fd(OK(open("in/file", O_RDWR)));
  // A later one takes away, and does not give back.
  restrict_to(kRead | kWrite, {{"in", kRead}, {"in/deep", kWrite}, {"/", kRead}});
  Fd(OK(open("in/file", O_RDONLY)));
  FAILS(EACCES, open("in/file", O_WRONLY));
  Fd(OK(open("in/deep/file", O_RDWR)));
  for (int layer = 2; layer < 16; ++layer) restrict_to(kExecute, {});
  const Fd ruleset(OK(create_ruleset(kExecute)));
  FAILS(E2BIG, restrict_self(ruleset));
}

TEST(a_rule_follows_its_directory) {
  need_landlock();
  OK(mkdir("in", 0777));
  touch("in/file");
  restrict_to(kRead, {{"in", kRead}});
  OK(rename("in", "renamed"));
  OK(mkdir("in", 0777));
  touch("in/file");
  Fd(OK(open("renamed/file", O_RDONLY)));
  FAILS(EACCES, open("in/file", O_RDONLY));
}

TEST(a_rule_for_a_file) {
  need_landlock();
  touch("one");
  touch("two");
  OK(link("one", "other"));
  restrict_to(kRead | kWrite, {{"one", kRead}});
  Fd(OK(open("one", O_RDONLY)));
  Fd(OK(open("other", O_RDONLY)));
  FAILS(EACCES, open("one", O_RDWR));
  FAILS(EACCES, open("two", O_RDONLY));
}

TEST(rules_added_later_have_no_effect) {
  need_landlock();
  touch("file");
  const Fd ruleset(OK(create_ruleset(kRead))), place(OK(open(".", O_PATH)));
  OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  OK(restrict_self(ruleset));
  OK(add_rule(ruleset, place, kRead));
  FAILS(EACCES, open("file", O_RDONLY));
}

TEST(executing) {
  need_landlock();
  const std::string program = check::self();
  const std::string folder = program.substr(0, program.rfind('/'));
  const auto run = [](uint64_t allowed, const std::string& place) {
    return WAIT_STATUS(check::fork_child([&] {
      restrict_to(kExecute | kRead, {{"/", kRead}, {place.c_str(), allowed}});
      execl(check::self(), check::self(), "--child", "restricted", nullptr);
      _exit(errno);
    }));
  };
  CHECK_EQ(WEXITSTATUS(run(kRead, folder)), EACCES);
  CHECK_EQ(WEXITSTATUS(run(kExecute, "/")), 0);
}
CHILD(restricted) { return 0; }

TEST(children_and_programs_inherit) {
  need_landlock();
  touch("file");
  restrict_to(kWrite, {{"/dev", kWrite}});
  JOIN(check::fork_child([] { FAILS(EACCES, open("file", O_WRONLY)); }));
  JOIN(check::fork_child([] { OK(execl(check::self(), check::self(), "--child", "write_file", nullptr)); }));
  std::thread([] { FAILS(EACCES, open("file", O_WRONLY)); }).join();
}
CHILD(write_file) { return open("file", O_WRONLY) == -1 && errno == EACCES ? 0 : 1; }

TEST(threads_restrict_themselves_alone) {
  need_landlock();
  touch("file");
  std::thread([] {
    restrict_to(kRead, {});
    FAILS(EACCES, open("file", O_RDONLY));
  }).join();
  Fd(OK(open("file", O_RDONLY)));
}

TEST(mounts_stay) {
  need_landlock();
  if (!check::is_root()) SKIP("only root may mount");
  OK(mkdir("place", 0777));
  JOIN(check::fork_child([] {
    restrict_to(kRefer, {{"/", kRefer}});
    FAILS(EPERM, mount("none", "place", "tmpfs", 0, nullptr));
    FAILS(EPERM, mount("place", "place", nullptr, MS_BIND, nullptr));
    FAILS(EPERM, umount("/proc"));
    OK(chroot("place"));
  }));
}

TEST(rules_outlive_a_mount) {
  need_landlock();
  if (!check::is_root()) SKIP("only root may mount");
  OK(mkdir("place", 0777));
  JOIN(check::fork_child([] {
    (void)unshare(CLONE_NEWNS);  // natively: nobody else is to see it
    (void)mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (mount("none", "place", "tmpfs", 0, nullptr) != 0) SKIP_OPTIONAL("no mounts here");
    OK(mkdir("place/deep", 0777));
    touch("place/deep/file");
    const Fd ruleset(OK(create_ruleset(kRead)));
    for (const char* path : {"place", "place/deep", "place/deep/file"}) {
      const Fd place(OK(open(path, O_PATH)));
      OK(add_rule(ruleset, place, kRead));
    }
    OK(umount("place"));
    OK(mkdir("place/deep", 0777));
    touch("place/deep/file");
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(restrict_self(ruleset));
    FAILS(EACCES, open("place/deep/file", O_RDONLY));  // another one
  }));
}

TEST(tracing_those_who_may_more) {
  need_landlock();
  check::Gate restricted, done;
  const pid_t target = check::fork_child([&] { done.wait(); });
  JOIN(check::fork_child([&] {
    restrict_to(kExecute, {});
    FAILS(EPERM, ptrace(PTRACE_ATTACH, target, 0, 0));
    FAILS(EPERM, ptrace(PTRACE_SEIZE, target, 0, 0));
    // Who is as restricted can be traced.
    check::Gate end;
    const pid_t child = check::fork_child([&] { end.wait(); });
    OK(static_cast<int>(ptrace(PTRACE_SEIZE, child, 0, 0)));
    OK(static_cast<int>(ptrace(PTRACE_INTERRUPT, child, 0, 0)));
    CHECK(WIFSTOPPED(WAIT_STATUS(child)));
    OK(static_cast<int>(ptrace(PTRACE_DETACH, child, 0, 0)));
    end.notify();
    JOIN(child);
    // And who is more so.
    const pid_t traced = check::fork_child([] {
      restrict_to(kExecute, {});
      OK(static_cast<int>(ptrace(PTRACE_TRACEME, 0, 0, 0)));
      raise(SIGSTOP);
    });
    CHECK(WIFSTOPPED(WAIT_STATUS(traced)));
    OK(static_cast<int>(ptrace(PTRACE_CONT, traced, 0, 0)));
    JOIN(traced);
  }));
  done.notify();
  JOIN(target);
}

}  // namespace
