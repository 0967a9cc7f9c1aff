// inotify(7).
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

struct Event {
  int wd;
  uint32_t mask;
  uint32_t cookie;
  std::string name;
};

std::vector<Event> events(int fd) {
  std::vector<Event> found;
  alignas(inotify_event) char buffer[16384];
  ssize_t size;
  while ((size = read(fd, buffer, sizeof buffer)) > 0) {
    for (char* next = buffer; next < buffer + size;) {
      auto* event = reinterpret_cast<inotify_event*>(next);
      found.push_back({event->wd, event->mask, event->cookie, event->len != 0 ? event->name : ""});
      next += sizeof *event + event->len;
    }
  }
  CHECK_EQ(errno, EAGAIN);
  return found;
}

// The events as text: "wd:mask name", in hexadecimal, joined.
std::string text(int fd) {
  std::string joined;
  for (const Event& event : events(fd)) {
    char line[400];
    snprintf(line, sizeof line, "%d:%x %s;", event.wd, event.mask, event.name.c_str());
    joined += line;
  }
  return joined;
}

struct Watcher {
  Fd fd{OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC))};
  int directory = OK(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
};

TEST(life_of_a_file) {
  Watcher w;
  CHECK_EQ(text(w.fd), "");
  {
    Fd file(OK(open("a", O_CREAT | O_RDWR, 0644)));
    CHECK_EQ(text(w.fd), "1:100 a;1:20 a;");
    OK(write(file, "xx", 2));
    CHECK_EQ(text(w.fd), "1:2 a;");
    char byte;
    OK(pread(file, &byte, 1, 0));
    CHECK_EQ(text(w.fd), "1:1 a;");
    OK(ftruncate(file, 0));
    CHECK_EQ(text(w.fd), "1:2 a;");
    OK(fchmod(file, 0600));
    CHECK_EQ(text(w.fd), "1:4 a;");
  }
  CHECK_EQ(text(w.fd), "1:8 a;");
  { Fd file(OK(open("a", O_RDONLY))); }
  CHECK_EQ(text(w.fd), "1:20 a;1:10 a;");
  OK(unlink("a"));
  CHECK_EQ(text(w.fd), "1:200 a;");
}

TEST(directories_say_so) {
  Watcher w;
  OK(mkdir("d", 0755));
  OK(rmdir("d"));
  CHECK_EQ(text(w.fd), "1:40000100 d;1:40000200 d;");
}

TEST(renames_share_a_cookie) {
  WRITE_FILE("a", "1");
  Watcher w;
  int file = OK(inotify_add_watch(w.fd, "a", IN_MOVE_SELF));
  OK(rename("a", "b"));
  std::vector<Event> found = events(w.fd);
  CHECK_EQ(found.size(), 3u);
  CHECK_EQ(found[0].mask, unsigned{IN_MOVED_FROM});
  CHECK_EQ(found[0].name, std::string("a"));
  CHECK_EQ(found[1].mask, unsigned{IN_MOVED_TO});
  CHECK_EQ(found[1].name, std::string("b"));
  CHECK(found[0].cookie != 0 && found[0].cookie == found[1].cookie);
  CHECK_EQ(found[2].wd, file);
  CHECK_EQ(found[2].mask, unsigned{IN_MOVE_SELF});
}

TEST(links_and_the_end_of_an_inode) {
  WRITE_FILE("a", "1");
  Fd fd(OK(inotify_init1(IN_NONBLOCK)));
  OK(inotify_add_watch(fd, "a", IN_ALL_EVENTS));
  OK(link("a", "b"));
  CHECK_EQ(text(fd), "1:4 ;");
  OK(unlink("b"));
  CHECK_EQ(text(fd), "1:4 ;");
  OK(unlink("a"));
  CHECK_EQ(text(fd), "1:4 ;1:400 ;1:8000 ;");
  FAILS(EINVAL, inotify_rm_watch(fd, 1));
}

TEST(reading_a_directory) {
  OK(mkdir("d", 0755));
  Watcher w;
  {
    const Fd directory(OK(open("d", O_RDONLY | O_DIRECTORY)));
    CHECK_EQ(text(w.fd), "1:40000020 d;");
    char entries[1024];
    CHECK(OK(syscall(SYS_getdents64, int{directory}, entries, sizeof entries)) > 0);
    CHECK_EQ(text(w.fd), "1:40000001 d;");
    CHECK_EQ(OK(syscall(SYS_getdents64, int{directory}, entries, sizeof entries)), 0);
    CHECK_EQ(text(w.fd), "1:40000001 d;");
  }
  CHECK_EQ(text(w.fd), "1:40000010 d;");
}

// What is still open is there until it is closed.
TEST(an_unlinked_file_lives_on) {
  Fd file(OK(open("a", O_CREAT | O_RDWR, 0644)));
  Fd fd(OK(inotify_init1(IN_NONBLOCK)));
  OK(inotify_add_watch(fd, "a", IN_ALL_EVENTS));
  OK(unlink("a"));
  CHECK_EQ(text(fd), "1:4 ;");
  OK(write(file, "x", 1));
  CHECK_EQ(text(fd), "1:2 ;");
  file.close();
  CHECK_EQ(text(fd), "1:8 ;1:400 ;1:8000 ;");
}

TEST(a_replaced_file_lives_on) {
  Fd file(OK(open("a", O_CREAT | O_RDWR, 0644)));
  WRITE_FILE("b", "1");
  Fd fd(OK(inotify_init1(IN_NONBLOCK)));
  OK(inotify_add_watch(fd, "a", IN_ALL_EVENTS));
  OK(rename("b", "a"));
  CHECK_EQ(text(fd), "1:4 ;");
  file.close();
  CHECK_EQ(text(fd), "1:8 ;1:400 ;1:8000 ;");
}

TEST(a_removed_working_directory_lives_on) {
  OK(mkdir("d", 0755));
  Fd fd(OK(inotify_init1(IN_NONBLOCK)));
  OK(inotify_add_watch(fd, "d", IN_DELETE_SELF));
  OK(chdir("d"));
  OK(rmdir("../d"));
  CHECK_EQ(text(fd), "");
  OK(chdir("/"));
  CHECK_EQ(text(fd), "1:400 ;1:8000 ;");
}

TEST(sizes_and_owners) {
  Fd file(OK(open("a", O_CREAT | O_RDWR, 0644)));
  Watcher w;
  if (fallocate(file, 0, 0, 4096) == 0) CHECK_EQ(text(w.fd), "1:2 a;");
  OK(fchown(file, static_cast<uid_t>(-1), static_cast<gid_t>(-1)));
  CHECK_EQ(text(w.fd), "");
  OK(fchown(file, geteuid(), static_cast<gid_t>(-1)));
  CHECK_EQ(text(w.fd), "1:4 a;");
}

TEST(watches_can_be_changed_and_removed) {
  Watcher w;
  CHECK_EQ(OK(inotify_add_watch(w.fd, ".", IN_CREATE)), w.directory);
  WRITE_FILE("a", "1");
  CHECK_EQ(text(w.fd), "1:100 a;");
  CHECK_EQ(OK(inotify_add_watch(w.fd, ".", IN_DELETE | IN_MASK_ADD)), w.directory);
  WRITE_FILE("b", "1");
  OK(unlink("a"));
  CHECK_EQ(text(w.fd), "1:100 b;1:200 a;");
  FAILS(EEXIST, inotify_add_watch(w.fd, ".", IN_CREATE | IN_MASK_CREATE));
  OK(inotify_rm_watch(w.fd, w.directory));
  OK(unlink("b"));
  CHECK_EQ(text(w.fd), "1:8000 ;");
}

TEST(one_shot) {
  Fd fd(OK(inotify_init1(IN_NONBLOCK)));
  OK(inotify_add_watch(fd, ".", IN_CREATE | IN_ONESHOT | IN_ONLYDIR));
  WRITE_FILE("a", "1");
  WRITE_FILE("b", "1");
  CHECK_EQ(text(fd), "1:100 a;1:8000 ;");
}

TEST(repeated_events_are_told_once) {
  Watcher w;
  Fd file(OK(open("a", O_CREAT | O_WRONLY, 0644)));
  for (int i = 0; i < 5; ++i) OK(write(file, "x", 1));
  CHECK_EQ(text(w.fd), "1:100 a;1:20 a;1:2 a;");
}

TEST(waiting) {
  Watcher w;
  pollfd p = {w.fd, POLLIN, 0};
  CHECK_EQ(OK(poll(&p, 1, 0)), 0);
  pid_t child = check::fork_child([&] {
    CHECK_EQ(OK(poll(&p, 1, 10000)), 1);
    CHECK_EQ(p.revents, POLLIN);
  });
  WAIT_BLOCKED(child);
  OK(mkdir("d", 0755));
  JOIN(child);
  int bytes = 0;
  OK(ioctl(w.fd, FIONREAD, &bytes));
  CHECK_EQ(bytes, 32);
  char small[16];
  FAILS(EINVAL, read(w.fd, small, sizeof small));
}

TEST(errors) {
  Fd fd(OK(inotify_init()));
  FAILS(EINVAL, inotify_init1(1));
  FAILS(EINVAL, inotify_add_watch(fd, ".", 0));
  FAILS(ENOENT, inotify_add_watch(fd, "absent", IN_CREATE));
  WRITE_FILE("a", "1");
  FAILS(ENOTDIR, inotify_add_watch(fd, "a", IN_CREATE | IN_ONLYDIR));
  FAILS(EBADF, inotify_add_watch(-1, ".", IN_CREATE));
  FAILS(EINVAL, inotify_add_watch(0, ".", IN_CREATE));
  FAILS(EFAULT, inotify_add_watch(fd, reinterpret_cast<char*>(1), IN_CREATE));
}

// ---- its older sister: signals for changes in a directory, fcntl(2) F_NOTIFY

volatile sig_atomic_t notices = 0, notice_fd = -1, notice_code = 0;

TEST(directory_notices) {
  const Fd directory(OK(open(".", O_RDONLY))), file(OK(open("file", O_WRONLY | O_CREAT, 0600)));
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    notices = notices + 1;
    notice_fd = info->si_fd;
    notice_code = info->si_code;
  };
  OK(sigaction(SIGRTMIN, &action, nullptr));
  OK(fcntl(directory, F_SETSIG, SIGRTMIN));
  OK(fcntl(directory, F_NOTIFY, DN_CREATE | DN_DELETE));
  CHECK_EQ(write(file, "x", 1), 1);
  CHECK_EQ(notices, 0);
  OK(mkdir("one", 0700));
  WAIT_UNTIL(notices == 1);
  CHECK_EQ(notice_fd, int{directory});
  CHECK_EQ(notice_code, POLL_MSG);
  OK(mkdir("two", 0700));  // once only
  OK(fcntl(directory, F_NOTIFY, static_cast<int>(DN_MODIFY | DN_DELETE | DN_MULTISHOT)));
  CHECK_EQ(notices, 1);
  OK(rmdir("one"));
  WAIT_UNTIL(notices == 2);
  CHECK_EQ(write(file, "x", 1), 1);
  WAIT_UNTIL(notices == 3);
  OK(fcntl(directory, F_NOTIFY, 0));
  OK(rmdir("two"));
  CHECK_EQ(notices, 3);
  FAILS(ENOTDIR, fcntl(file, F_NOTIFY, DN_CREATE));
}

TEST(directory_notices_end_with_the_descriptor) {
  static volatile sig_atomic_t heard = 0;
  signal(SIGIO, [](int) { heard = heard + 1; });
  {
    const Fd directory(OK(open(".", O_RDONLY)));
    OK(fcntl(directory, F_NOTIFY, static_cast<int>(DN_CREATE | DN_MULTISHOT)));
    OK(mkdir("one", 0700));
    WAIT_UNTIL(heard == 1);
  }
  OK(mkdir("two", 0700));
  CHECK_EQ(heard, 1);
}

}  // namespace
