// stat(2) of a path that has been asked for often, right after something has changed. fstat(2) of a
// descriptor, or lstat(2) by another path, says what it must be.
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <atomic>
#include <functional>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "tests/syscalls/check.h"

namespace {

constexpr int kOften = 40;

void make(const char* path, const char* text = "text") {
  const int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
  OK(fd);
  CHECK_EQ(write(fd, text, strlen(text)), static_cast<ssize_t>(strlen(text)));
  OK(close(fd));
}

// What stat says of the path, 0 and the facts or an errno, every time the same.
int ask(const char* path, struct stat* facts, int flags = 0) {
  memset(facts, 0, sizeof *facts);
  const int first = fstatat(AT_FDCWD, path, facts, flags) == 0 ? 0 : errno;
  for (int i = 0; i < kOften; ++i) {
    struct stat again = {};
    CHECK_EQ(fstatat(AT_FDCWD, path, &again, flags) == 0 ? 0 : errno, first);
    CHECK(memcmp(&again, facts, sizeof again) == 0);
  }
  return first;
}

int ask(const char* path, int flags = 0) {
  struct stat facts;
  return ask(path, &facts, flags);
}

// Asks for the path often, changes something by its descriptor or otherwise, and asks again.
template <typename Change>
void changes(const char* path, Change change) {
  const int fd = open(path, O_RDWR);
  OK(fd);
  struct stat before, after, told;
  CHECK_EQ(ask(path, &before), 0);
  change(fd);
  CHECK_EQ(stat(path, &told), 0);
  OK(fstat(fd, &after));
  CHECK(memcmp(&told, &after, sizeof told) == 0);
  CHECK(memcmp(&before, &after, sizeof before) != 0);
  CHECK_EQ(ask(path, &told), 0);
  CHECK(memcmp(&told, &after, sizeof told) == 0);
  OK(close(fd));
}

TEST(contents) {
  make("file");
  changes("file", [](int fd) { CHECK_EQ(write(fd, "longer text", 11), 11); });
  changes("file", [](int fd) { CHECK_EQ(pwrite(fd, "x", 1, 100), 1); });
  changes("file", [](int fd) {
    const iovec two[] = {{const_cast<char*>("a"), 1}, {const_cast<char*>("b"), 1}};
    CHECK_EQ(pwritev(fd, two, 2, 200), 2);
  });
  changes("file", [](int fd) { OK(ftruncate(fd, 1000)); });
  changes("file", [](int) { OK(truncate("file", 10)); });
  changes("file", [](int) { OK(close(open("file", O_WRONLY | O_TRUNC))); });
  changes("file", [](int fd) { OK(fallocate(fd, 0, 0, 5000)); });
  make("source", "of other bytes");
  changes("file", [](int fd) {
    const int source = open("source", O_RDONLY);
    OK(lseek(fd, 6000, SEEK_SET));
    CHECK_EQ(sendfile(fd, source, nullptr, 14), 14);
    OK(close(source));
  });
  changes("file", [](int fd) {
    const int source = open("source", O_RDONLY);
    loff_t to = 7000;
    CHECK_EQ(copy_file_range(source, nullptr, fd, &to, 14, 0), 14);
    OK(close(source));
  });
  changes("file", [](int fd) {
    int ends[2];
    OK(pipe(ends));
    CHECK_EQ(write(ends[1], "piped", 5), 5);
    loff_t to = 8000;
    CHECK_EQ(splice(ends[0], nullptr, fd, &to, 5, 0), 5);
    OK(close(ends[0]));
    OK(close(ends[1]));
  });
}

// Whether the path's attributes are what they were found to be by another call, which nobody else answers.
bool is_current(const char* path) {
  struct stat told;
  struct statx facts;
  OK(stat(path, &told));
  OK(statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &facts));
  return static_cast<uint64_t>(told.st_size) == facts.stx_size &&
         static_cast<uint64_t>(told.st_blocks) == facts.stx_blocks &&
         told.st_mtim.tv_nsec == facts.stx_mtime.tv_nsec && told.st_ctim.tv_nsec == facts.stx_ctime.tv_nsec;
}

// What is touched first makes a page of a file with holes, and no call has to be made for that.
TEST(mappings) {
  constexpr size_t kSize = 1 << 20;
  make("source", "to be read");
  const int source = open("source", O_RDONLY), fd = open("file", O_RDWR | O_CREAT, 0644);
  OK(source);
  OK(fd);
  // Of what does not lie in the file when it is mapped.
  auto* const memory =
      static_cast<volatile char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  CHECK(memory != MAP_FAILED);
  OK(ftruncate(fd, kSize));
  const auto after = [](auto touch) {
    CHECK_EQ(ask("file"), 0);
    touch();
    CHECK(is_current("file"));
  };
  after([&] { memory[0] = 1; });
  after([&] { memory[300'000] = 1; });
  after([&] { CHECK_EQ(pread(source, const_cast<char*>(memory) + 500'000, 4, 0), 4); });
  after([&] { JOIN(check::fork_child([&] { memory[700'000] = 1; })); });
  after([&] { OK(madvise(const_cast<char*>(memory) + kSize / 2, 65536, MADV_POPULATE_WRITE)); });
  after([&] {
    memory[900'000] = 1;
    OK(munmap(const_cast<char*>(memory), kSize));
  });
}

TEST(a_write_that_fails) {
  const int fd = open("file", O_RDWR | O_CREAT, 0644);
  OK(fd);
  for (const size_t count : std::initializer_list<size_t>{20, 200'000}) {
    CHECK_EQ(ask("file"), 0);
    CHECK_EQ(pwrite(fd, reinterpret_cast<void*>(1), count, 100'000), -1);
    CHECK_EQ(errno, EFAULT);
    CHECK(is_current("file"));
  }
}

TEST(attributes) {
  make("file");
  changes("file", [](int) { OK(chmod("file", 0600)); });
  changes("file", [](int fd) { OK(fchmod(fd, 0640)); });
  changes("file", [](int) {
    const timespec times[2] = {{1000, 1}, {2000, 2}};
    OK(utimensat(AT_FDCWD, "file", times, 0));
  });
  changes("file", [](int) { OK(link("file", "another")); });
  changes("file", [](int) { OK(unlink("another")); });
  if (geteuid() == 0) changes("file", [](int) { OK(chown("file", 12, 34)); });
}

TEST(access_time) {
  make("file", "to be read");
  const timespec times[2] = {{1000, 0}, {2000, 0}};
  OK(utimensat(AT_FDCWD, "file", times, 0));
  struct stat before, after;
  CHECK_EQ(ask("file", &before), 0);
  const int fd = open("file", O_RDONLY);
  char byte;
  CHECK_EQ(read(fd, &byte, 1), 1);
  OK(stat("file", &after));
  struct stat facts;
  OK(fstat(fd, &facts));
  CHECK(memcmp(&after, &facts, sizeof after) == 0);
}

TEST(names) {
  CHECK_EQ(ask("file"), ENOENT);
  make("file");
  CHECK_EQ(ask("file"), 0);
  OK(rename("file", "other"));
  CHECK_EQ(ask("file"), ENOENT);
  CHECK_EQ(ask("other"), 0);
  OK(unlink("other"));
  CHECK_EQ(ask("other"), ENOENT);
  OK(mkdir("other", 0755));
  CHECK_EQ(ask("other/file"), ENOENT);
  make("other/file");
  CHECK_EQ(ask("other/file"), 0);
  CHECK_EQ(ask("other/file/"), ENOTDIR);
  CHECK_EQ(ask("other/file/below"), ENOTDIR);
  OK(rename("other", "third"));
  CHECK_EQ(ask("other/file"), ENOENT);
  CHECK_EQ(ask("third/file"), 0);
  make("file", "a longer one");
  struct stat before, after;
  CHECK_EQ(ask("third/file", &before), 0);
  OK(rename("file", "third/file"));
  CHECK_EQ(ask("third/file", &after), 0);
  CHECK(before.st_ino != after.st_ino && after.st_size == 12);
  OK(mkfifo("fifo", 0600));
  CHECK_EQ(ask("fifo", &after), 0);
  CHECK(S_ISFIFO(after.st_mode));
  CHECK_EQ(ask(""), ENOENT);
}

TEST(directories) {
  OK(mkdir("directory", 0755));
  struct stat before, after;
  CHECK_EQ(ask("directory", &before), 0);
  OK(mkdir("directory/below", 0755));
  CHECK_EQ(ask("directory", &after), 0);
  CHECK_EQ(after.st_nlink, before.st_nlink + 1);
  OK(rmdir("directory/below"));
  CHECK_EQ(ask("directory", &after), 0);
  CHECK_EQ(after.st_nlink, before.st_nlink);
  CHECK_EQ(ask("."), 0);
  CHECK_EQ(ask("directory/.."), 0);
}

TEST(symbolic_links) {
  make("one", "1");
  make("two", "22");
  OK(symlink("one", "link"));
  struct stat facts;
  CHECK_EQ(ask("link", &facts), 0);
  CHECK_EQ(facts.st_size, 1);
  CHECK_EQ(ask("link", &facts, AT_SYMLINK_NOFOLLOW), 0);
  CHECK(S_ISLNK(facts.st_mode));
  OK(symlink("two", "next"));
  OK(rename("next", "link"));
  CHECK_EQ(ask("link", &facts), 0);
  CHECK_EQ(facts.st_size, 2);
  OK(unlink("two"));
  CHECK_EQ(ask("link"), ENOENT);
  CHECK_EQ(ask("link", AT_SYMLINK_NOFOLLOW), 0);
}

TEST(working_directories) {
  OK(mkdir("a", 0755));
  OK(mkdir("b", 0755));
  make("a/file", "1");
  make("b/file", "22");
  struct stat facts;
  OK(chdir("a"));
  CHECK_EQ(ask("file", &facts), 0);
  CHECK_EQ(facts.st_size, 1);
  JOIN(check::fork_child([] {
    struct stat there;
    CHECK_EQ(ask("file", &there), 0);
    CHECK_EQ(there.st_size, 1);
    OK(chdir("../b"));
    CHECK_EQ(ask("file", &there), 0);
    CHECK_EQ(there.st_size, 2);
  }));
  CHECK_EQ(ask("file", &facts), 0);
  CHECK_EQ(facts.st_size, 1);
  OK(rename("../a", "../c"));
  CHECK_EQ(ask("file", &facts), 0);
  CHECK_EQ(facts.st_size, 1);
  OK(unlink("file"));
  CHECK_EQ(ask("file"), ENOENT);
  const int other = open("../b", O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < kOften; ++i) {
    OK(fstatat(other, "file", &facts, 0));
    CHECK_EQ(facts.st_size, 2);
  }
  std::thread([] {
    OK(unshare(CLONE_FS));
    OK(chdir("../b"));
    CHECK_EQ(ask("file"), 0);
  }).join();
  CHECK_EQ(ask("file"), ENOENT);
}

// A thread that makes no call hears of it as well, from one that shares the directory with it.
TEST(working_directories_of_threads) {
  constexpr int kTimes = 20;
  OK(mkdir("a", 0755));
  OK(mkdir("b", 0755));
  make("a/file", "1");
  make("b/file", "22");
  OK(chdir("a"));
  std::atomic<int> turn = 0;
  std::thread other([&] {
    for (int i = 0; i < kTimes; ++i) {
      while (turn != 2 * i + 1) {
      }
      struct stat facts;
      CHECK_EQ(ask("file", &facts), 0);
      CHECK_EQ(facts.st_size, i % 2 == 0 ? 2 : 1);
      turn = 2 * i + 2;
    }
  });
  for (int i = 0; i < kTimes; ++i) {
    OK(chdir(i % 2 == 0 ? "../b" : "../a"));
    turn = 2 * i + 1;
    while (turn != 2 * i + 2) sched_yield();
  }
  other.join();
}

// Nor does a process that shares its root, though for somebody else what the old one answered holds.
TEST(a_root_that_another_process_changes) {
  if (geteuid() != 0) SKIP("needs root");
  OK(mkdir("root", 0755));
  make("file");
  char here[PATH_MAX];
  CHECK(getcwd(here, sizeof here) != nullptr);
  const std::string file = std::string(here) + "/file";
  auto* const step = static_cast<std::atomic<int>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t sharing = check::fork_child([&] {
    const auto other = static_cast<pid_t>(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    OK(other);
    if (other == 0) {
      CHECK_EQ(ask(file.c_str()), 0);
      *step = 1;
      while (*step != 3) {
      }
      CHECK_EQ(ask(file.c_str()), ENOENT);
      _exit(0);
    }
    while (*step != 1) sched_yield();
    OK(chroot("root"));
    *step = 2;
    JOIN(other);
  });
  while (*step != 2) sched_yield();
  CHECK_EQ(ask(file.c_str()), 0);
  *step = 3;
  JOIN(sharing);
}

TEST(another_root) {
  if (geteuid() != 0) SKIP("needs root");
  OK(mkdir("root", 0755));
  OK(mkdir("root/etc", 0755));
  CHECK_EQ(ask("/etc/passwd"), 0);
  JOIN(check::fork_child([] {
    OK(chroot("root"));
    CHECK_EQ(ask("/etc/passwd"), ENOENT);
    OK(chdir("/etc"));
    make("passwd", "x");
    struct stat facts;
    CHECK_EQ(ask("/etc/passwd", &facts), 0);
    CHECK_EQ(facts.st_size, 1);
  }));
  struct stat facts;
  CHECK_EQ(ask("/etc/passwd", &facts), 0);
  CHECK(facts.st_size != 1);
}

TEST(another_user) {
  if (geteuid() != 0) SKIP("needs root");
  OK(chmod(".", 0755));
  OK(mkdir("secret", 0700));
  make("secret/file");
  CHECK_EQ(ask("secret/file"), 0);
  JOIN(check::fork_child([] {
    CHECK_EQ(ask("secret/file"), 0);
    OK(setresgid(1234, 1234, 1234));
    OK(setresuid(1234, 1234, 1234));
    CHECK_EQ(ask("secret/file"), EACCES);
    CHECK_EQ(ask("secret"), 0);
  }));
  // Back again.
  JOIN(check::fork_child([] {
    OK(seteuid(1234));
    CHECK_EQ(ask("secret/file"), EACCES);
    OK(seteuid(0));
    CHECK_EQ(ask("secret/file"), 0);
  }));
  CHECK_EQ(ask("secret/file"), 0);
}

// What tells one user of the sandbox about files is no other one's to read, wherever it lies.
sigjmp_buf out;
void check_nothing_above_the_stack() {
  struct sigaction action = {};
  action.sa_handler = [](int) { siglongjmp(out, 1); };
  action.sa_flags = SA_NODEFER;
  OK(sigaction(SIGSEGV, &action, nullptr));
  for (uint64_t at = 0x7fff'1200'1000; at < 0x7fff'1300'0000; at += 0x10'0000) {
    if (sigsetjmp(out, 1) != 0) continue;
    (void)*reinterpret_cast<volatile char*>(at);
    const bool readable = true;
    CHECK(!readable);
  }
}

TEST(nothing_lies_above_the_stack_for_another_user) {
  if (geteuid() != 0) SKIP("needs root");
  make("file");
  CHECK_EQ(ask("file"), 0);
  JOIN(check::fork_child([] {
    OK(setresuid(1234, 1234, 1234));
    check_nothing_above_the_stack();
  }));
}

TEST(nor_for_whoever_may_not_ask) {
  make("file");
  CHECK_EQ(ask("file"), 0);
  JOIN(check::fork_child([] {
    sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_newfstatat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program = {4, steps};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    // Not for another thread either, which makes no call.
    std::atomic<int> step = 0;
    std::thread other([&] {
      CHECK_EQ(ask("file"), 0);
      step = 1;
      while (step != 2) {
      }
      CHECK_EQ(ask("file"), EPERM);
    });
    while (step != 1) sched_yield();
    OK(static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program)));
    step = 2;
    other.join();
    check_nothing_above_the_stack();
  }));
}

// Times of /proc are not looked at.
void check_self() {
  struct stat self, by_number;
  OK(stat(("/proc/" + std::to_string(getpid())).c_str(), &by_number));
  for (int i = 0; i < kOften; ++i) {
    OK(stat("/proc/self", &self));
    CHECK_EQ(self.st_ino, by_number.st_ino);
  }
}

TEST(places_that_are_each_processs_own) {
  check_self();
  JOIN(check::fork_child(check_self));
  check_self();
  struct stat facts;
  make("file", "1");
  OK(mkdir("other", 0755));
  make("other/file", "22");
  CHECK_EQ(ask("/proc/self/cwd/file", &facts), 0);
  CHECK_EQ(facts.st_size, 1);
  OK(chdir("other"));
  CHECK_EQ(ask("/proc/self/cwd/file", &facts), 0);
  CHECK_EQ(facts.st_size, 2);
}

// What the other name of a file has gone through, its own being long gone or elsewhere.
TEST(hard_links) {
  OK(mkdir("a", 0755));
  OK(mkdir("b", 0755));
  make("a/file");
  OK(link("a/file", "b/file"));
  OK(link("a/file", "removed"));
  struct stat facts;
  const int fd = open("removed", O_RDWR);
  OK(fd);
  OK(unlink("removed"));
  for (int i = 1; i <= 3; ++i) {
    CHECK_EQ(ask("b/file", &facts), 0);
    CHECK_EQ(facts.st_size, 4 * i);
    CHECK_EQ(pwrite(fd, "more", 4, 4 * i), 4);
    CHECK_EQ(ask("a/file", &facts), 0);
    CHECK_EQ(facts.st_size, 4 * i + 4);
  }
  OK(chmod("a/file", 0600));
  CHECK_EQ(ask("b/file", &facts), 0);
  CHECK_EQ(facts.st_mode & 07777, 0600);
  OK(fchmod(fd, 0640));
  CHECK_EQ(ask("b/file", &facts), 0);
  CHECK_EQ(facts.st_mode & 07777, 0640);
  OK(unlink("a/file"));
  CHECK_EQ(ask("b/file", &facts), 0);
  CHECK_EQ(facts.st_nlink, 1u);
  OK(ftruncate(fd, 0));
  CHECK_EQ(ask("b/file", &facts), 0);
  CHECK_EQ(facts.st_size, 0);
  OK(close(fd));
}

// Each part of a long path, for whatever lies below it.
TEST(deep_paths) {
  std::string path = "top";
  std::vector<std::string> parts;
  for (int i = 0; i < 20; ++i) {
    OK(mkdir(path.c_str(), 0755));
    parts.push_back(path);
    path += "/d";
  }
  for (const std::string& part : parts) {
    const std::string file = part + "/file";
    make(file.c_str());
    CHECK_EQ(ask(file.c_str()), 0);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string elsewhere = parts[i] + "_";
    OK(rename(parts[i].c_str(), elsewhere.c_str()));
    for (size_t j = i; j < parts.size(); ++j) CHECK_EQ(ask((parts[j] + "/file").c_str()), ENOENT);
    OK(rename(elsewhere.c_str(), parts[i].c_str()));
    for (size_t j = i; j < parts.size(); ++j) CHECK_EQ(ask((parts[j] + "/file").c_str()), 0);
  }
}

// What one look has shown no later one, by another way, takes back: sizes that only grow, or only shrink.
void only_in_one_direction(bool grows, int fd, const std::function<void()>& change) {
  std::atomic<bool> over = false;
  const int here = open(".", O_PATH);
  OK(here);
  std::vector<std::thread> watchers;
  for (int i = 0; i < 2; ++i)
    watchers.emplace_back([&] {
      while (!over) {
        struct stat told = {}, known = {};
        OK(fstatat(here, "file", &told, 0));
        OK(stat("file", &known));
        CHECK(grows ? known.st_size >= told.st_size : known.st_size <= told.st_size);
      }
    });
  change();
  over = true;
  for (std::thread& watcher : watchers) watcher.join();
  OK(close(here));
  OK(close(fd));
}

TEST(while_it_grows) {
  const int fd = open("file", O_CREAT | O_RDWR, 0644);
  OK(fd);
  const std::vector<char> much(4 << 20, 'x');
  only_in_one_direction(true, fd, [&] {
    for (int i = 0; i < 300; ++i) CHECK_EQ(write(fd, much.data(), 40000), 40000);
    for (int i = 0; i < 4; ++i)
      CHECK_EQ(write(fd, much.data(), much.size()), static_cast<ssize_t>(much.size()));
  });
}

TEST(while_it_shrinks_and_is_mapped) {
  constexpr size_t kPages = 200, kPage = 4096;
  make("file");
  const int fd = open("file", O_RDWR);
  OK(fd);
  const std::vector<char> page(kPage, 'x');
  for (size_t i = 0; i < kPages; ++i)
    CHECK_EQ(pwrite(fd, page.data(), kPage, static_cast<off_t>(i * kPage)), static_cast<ssize_t>(kPage));
  auto* const memory =
      static_cast<volatile char*>(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  CHECK(memory != MAP_FAILED);
  for (size_t i = 0; i < kPages; ++i) CHECK_EQ(memory[i * kPage], 'x');
  only_in_one_direction(false, fd, [&] {
    for (size_t i = kPages - 1; i > 0; --i) OK(ftruncate(fd, static_cast<off_t>(i * kPage)));
  });
}

// Random changes in a small tree; after each, every path is looked at both ways.
TEST(whatever_changes) {
  unsigned seed = 20261122;
  const auto below = [&](unsigned limit) {
    seed = seed * 1103515245 + 12345;
    return seed / 65536 % limit;
  };
  const char* const kDirectories[] = {".", "a", "b", "a/c", "a/c/d"};
  const char* const kNames[] = {"a", "b", "c", "d", "x", "y"};
  std::vector<std::string> paths;
  for (const char* directory : kDirectories)
    for (const char* name : kNames) paths.push_back(std::string(directory) + "/" + name);
  paths.push_back("a/..");
  paths.push_back("a/c/../../b/x");
  paths.push_back("a/c/d/.");
  const int here = open(".", O_RDONLY | O_DIRECTORY);
  OK(here);
  int held = -1;
  const auto any = [&] { return paths[below(static_cast<unsigned>(paths.size()) - 3)].c_str(); };
  for (int step = 0; step < 400; ++step) {
    switch (below(16)) {
      case 0:
      case 1:
        (void)mkdir(any(), 0700);
        break;
      case 2:
      case 3:
        if (const int fd = open(any(), O_CREAT | O_WRONLY, 0600); fd >= 0) {
          if (held >= 0) OK(close(held));
          held = fd;
        }
        break;
      case 4:
        (void)unlink(any());
        break;
      case 5:
        (void)rmdir(any());
        break;
      case 6:
      case 7:
        (void)rename(any(), any());
        break;
      case 8:
        (void)syscall(SYS_renameat2, AT_FDCWD, any(), AT_FDCWD, any(), RENAME_EXCHANGE);
        break;
      case 9:
        (void)link(any(), any());
        break;
      case 10:
        (void)symlink(below(2) == 0 ? "a" : "../b/x", any());
        break;
      case 11:
        (void)chmod(any(), below(4) == 0 ? 0 : 0700);
        break;
      case 12:
        if (held >= 0) CHECK_EQ(write(held, "data", 4), 4);
        break;
      case 13:
        if (held >= 0) OK(ftruncate(held, below(3000)));
        break;
      case 14:
        if (held >= 0) OK(fchmod(held, 0600 | below(64)));
        break;
      default:
        (void)truncate(any(), 100);
    }
    for (const std::string& path : paths) {
      for (const int flags : {0, AT_SYMLINK_NOFOLLOW}) {
        struct stat known = {}, told = {};
        const int known_error = fstatat(AT_FDCWD, path.c_str(), &known, flags) == 0 ? 0 : errno;
        const int told_error = fstatat(here, path.c_str(), &told, flags) == 0 ? 0 : errno;
        CHECK_EQ(known_error, told_error);
        CHECK(memcmp(&known, &told, sizeof known) == 0);
      }
    }
  }
  OK(close(here));
}

TEST(what_another_process_has_done) {
  constexpr int kTimes = 500;
  int there[2], back[2];
  OK(pipe(there));
  OK(pipe(back));
  make("file", "");
  const pid_t child = check::fork_child([&] {
    char byte;
    for (int i = 0; i < kTimes; ++i) {
      CHECK_EQ(read(there[0], &byte, 1), 1);
      const int fd = open("file", O_WRONLY | O_APPEND);
      CHECK_EQ(write(fd, "x", 1), 1);
      OK(close(fd));
      CHECK_EQ(write(back[1], "x", 1), 1);
    }
  });
  char byte;
  struct stat facts;
  for (int i = 0; i < kTimes; ++i) {
    for (int j = 0; j < 20; ++j) {
      OK(stat("file", &facts));
      CHECK_EQ(facts.st_size, i);
    }
    CHECK_EQ(write(there[1], "x", 1), 1);
    CHECK_EQ(read(back[0], &byte, 1), 1);
    OK(stat("file", &facts));
    CHECK_EQ(facts.st_size, i + 1);
  }
  JOIN(child);
}

TEST(while_other_threads_change_it) {
  constexpr int kTimes = 3000;
  make("file");
  std::atomic<bool> over = false;
  std::atomic<int> least = 0;  // what has surely been set by now
  std::thread writer([&] {
    const int fd = open("file", O_RDWR);
    for (int i = 1; i <= kTimes; ++i) {
      OK(ftruncate(fd, i));
      least = i;
      if (i % 16 == 0) sched_yield();
    }
    over = true;
  });
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      while (!over) {
        const int bound = least;
        struct stat facts;
        for (int j = 0; j < 12; ++j) {
          OK(stat("file", &facts));
          CHECK(facts.st_size >= bound);
        }
      }
    });
  writer.join();
  for (std::thread& reader : readers) reader.join();
}

TEST(addresses) {
  make("file");
  struct stat facts;
  CHECK_EQ(ask("file", &facts), 0);
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(syscall(SYS_stat, "file", 1), -1);
    CHECK_EQ(errno, EFAULT);
    CHECK_EQ(syscall(SYS_stat, 1, &facts), -1);
    CHECK_EQ(errno, EFAULT);
    CHECK_EQ(syscall(SYS_newfstatat, AT_FDCWD, "file", &facts, 0x40000000), -1);
    CHECK_EQ(errno, EINVAL);
  }
  // A path that ends with its page, one that does not end, and an answer across the end.
  auto* const page =
      static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mprotect(page + 4096, 4096, PROT_NONE));
  memcpy(page + 4096 - 5, "file", 5);
  CHECK_EQ(ask(page + 4096 - 5), 0);
  memcpy(page + 4096 - 4, "file", 4);
  CHECK_EQ(ask(page + 4096 - 4), EFAULT);
  for (int i = 0; i < kOften; ++i) {
    CHECK_EQ(syscall(SYS_stat, "file", page + 4096 - 100), -1);
    CHECK_EQ(errno, EFAULT);
  }
}

TEST(lengths) {
  for (const size_t length :
       std::initializer_list<size_t>{1, 7, 8, 9, 31, 32, 33, 63, 64, 79, 80, 87, 88, 89, 127, 128, 255}) {
    const std::string name(length, 'n'), longer = name + "m";
    make(name.c_str());
    CHECK_EQ(ask(name.c_str()), 0);
    if (length < 255) CHECK_EQ(ask(longer.c_str()), ENOENT);
    OK(unlink(name.c_str()));
    CHECK_EQ(ask(name.c_str()), ENOENT);
  }
}

}  // namespace
