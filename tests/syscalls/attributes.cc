// What is known about a file: stat(2), statx(2), access(2), chmod(2), chown(2), utimensat(2), statfs(2),
// xattr(7).
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include <functional>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

struct stat stat_of(const char* path) {
  struct stat st;
  OK(lstat(path, &st));
  return st;
}

bool before(const timespec& a, const timespec& b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

TEST(stat_of_a_file) {
  WRITE_FILE("a", std::string(5000, 'x'));
  struct stat st = stat_of("a");
  CHECK_EQ(st.st_mode, S_IFREG | 0644);
  CHECK_EQ(st.st_size, 5000);
  CHECK_EQ(st.st_nlink, 1u);
  CHECK_EQ(st.st_uid, geteuid());
  CHECK(st.st_blksize > 0);
  CHECK(st.st_blocks > 0);
  CHECK(st.st_ino != 0);
  struct stat by_fd, by_at;
  Fd fd(OK(open("a", O_RDONLY)));
  OK(fstat(fd, &by_fd));
  OK(fstatat(AT_FDCWD, "a", &by_at, 0));
  CHECK_EQ(by_fd.st_ino, st.st_ino);
  CHECK_EQ(by_at.st_ino, st.st_ino);
  CHECK_EQ(by_fd.st_dev, st.st_dev);
  OK(fstatat(fd, "", &by_at, AT_EMPTY_PATH));
  CHECK_EQ(by_at.st_ino, st.st_ino);
  FAILS(ENOENT, fstatat(fd, "", &by_at, 0));
  FAILS(ENOENT, lstat("missing", &st));
  FAILS(ENOENT, lstat("", &st));
  FAILS(EINVAL, fstatat(AT_FDCWD, "a", &by_at, 0x4'0000));
}

TEST(different_files_have_different_inodes) {
  WRITE_FILE("a", "");
  WRITE_FILE("b", "");
  CHECK(stat_of("a").st_ino != stat_of("b").st_ino);
  CHECK_EQ(stat_of("a").st_dev, stat_of("b").st_dev);
}

TEST(inode_number_is_stable) {
  WRITE_FILE("a", "");
  struct stat first = stat_of("a");
  OK(chmod("a", 0600));
  WRITE_FILE("a", "more");
  OK(rename("a", "b"));
  CHECK_EQ(stat_of("b").st_ino, first.st_ino);
  CHECK_EQ(stat_of("/etc/passwd").st_ino, stat_of("/etc/passwd").st_ino);
}

TEST(statx_fields) {
  WRITE_FILE("a", "text");
  struct statx sx;
  memset(&sx, 0xff, sizeof sx);
  OK(statx(AT_FDCWD, "a", 0, STATX_BASIC_STATS, &sx));
  CHECK_EQ(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
  struct stat st = stat_of("a");
  CHECK_EQ(sx.stx_mode, st.st_mode);
  CHECK_EQ(sx.stx_size, 4u);
  CHECK_EQ(sx.stx_ino, st.st_ino);
  CHECK_EQ(sx.stx_nlink, 1u);
  CHECK_EQ(sx.stx_uid, st.st_uid);
  CHECK_EQ(sx.stx_mtime.tv_sec, st.st_mtim.tv_sec);
  CHECK_EQ(sx.stx_mtime.tv_nsec, uint32_t(st.st_mtim.tv_nsec));
  CHECK_EQ(makedev(sx.stx_dev_major, sx.stx_dev_minor), st.st_dev);
  OK(symlink("a", "link"));
  OK(statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx));
  CHECK(S_ISLNK(sx.stx_mode));
  Fd fd(OK(open("a", O_RDONLY)));
  OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx));
  CHECK_EQ(sx.stx_size, 4u);
  FAILS(EINVAL, statx(AT_FDCWD, "a", 0, STATX__RESERVED, &sx));
  FAILS(EINVAL, statx(AT_FDCWD, "a", 0x4'0000, STATX_SIZE, &sx));
  FAILS(ENOENT, statx(AT_FDCWD, "missing", 0, STATX_SIZE, &sx));
}

TEST(change_mode) {
  WRITE_FILE("a", "");
  OK(chmod("a", 0604));
  CHECK_EQ(stat_of("a").st_mode, S_IFREG | 0604);
  OK(chmod("a", 07777));
  CHECK_EQ(stat_of("a").st_mode, S_IFREG | 07777);
  Fd fd(OK(open("a", O_RDONLY)));
  OK(fchmod(fd, 0400));
  CHECK_EQ(stat_of("a").st_mode, S_IFREG | 0400);
  OK(fchmodat(AT_FDCWD, "a", 0644, 0));
  OK(symlink("a", "link"));
  OK(chmod("link", 0640));
  CHECK_EQ(stat_of("a").st_mode, S_IFREG | 0640);
  OK(mkdir("d", 0755));
  OK(chmod("d", 01777));
  CHECK_EQ(stat_of("d").st_mode, S_IFDIR | 01777);
  FAILS(ENOENT, chmod("missing", 0644));
}

TEST(change_owner) {
  WRITE_FILE("a", "");
  OK(chown("a", geteuid(), getegid()));
  OK(chown("a", uid_t(-1), gid_t(-1)));
  if (!check::is_root()) {
    FAILS(EPERM, chown("a", 0, gid_t(-1)));
    return;
  }
  OK(chown("a", 1234, 5678));
  CHECK_EQ(stat_of("a").st_uid, 1234u);
  CHECK_EQ(stat_of("a").st_gid, 5678u);
  OK(chown("a", uid_t(-1), 9));
  CHECK_EQ(stat_of("a").st_uid, 1234u);
  CHECK_EQ(stat_of("a").st_gid, 9u);
  OK(symlink("a", "link"));
  OK(lchown("link", 77, 77));
  CHECK_EQ(stat_of("link").st_uid, 77u);
  CHECK_EQ(stat_of("a").st_uid, 1234u);
  Fd fd(OK(open("a", O_RDONLY)));
  OK(fchown(fd, 0, 0));
  OK(fchownat(fd, "", 5, 6, AT_EMPTY_PATH));
  CHECK_EQ(stat_of("a").st_gid, 6u);
}

TEST(chown_drops_setuid_bits) {
  WRITE_FILE("a", "");
  OK(chmod("a", 06755));
  OK(chown("a", geteuid(), getegid()));
  CHECK_EQ(stat_of("a").st_mode & 06000, 0u);
}

TEST(umask_is_returned_and_inherited) {
  CHECK_EQ(umask(077), 022u);
  JOIN(check::fork_child([] { CHECK_EQ(umask(0), 077u); }));
  CHECK_EQ(umask(0), 077u);
  Fd fd(OK(open("a", O_CREAT | O_WRONLY, 0666)));
  CHECK_EQ(stat_of("a").st_mode, S_IFREG | 0666);
  umask(0xffff);
  CHECK_EQ(umask(0), 0777u);
}

TEST(access_checks) {
  WRITE_FILE("a", "");
  OK(access("a", F_OK));
  OK(access("a", R_OK | W_OK));
  FAILS(EACCES, access("a", X_OK));
  FAILS(ENOENT, access("missing", F_OK));
  FAILS(EINVAL, access("a", 8));
  OK(chmod("a", 0755));
  OK(access("a", X_OK));
  OK(faccessat(AT_FDCWD, "a", R_OK, 0));
  OK(static_cast<int>(syscall(SYS_faccessat2, AT_FDCWD, "a", R_OK, AT_EACCESS)));
  OK(symlink("missing", "link"));
  FAILS(ENOENT, access("link", F_OK));
  OK(static_cast<int>(syscall(SYS_faccessat2, AT_FDCWD, "link", F_OK, AT_SYMLINK_NOFOLLOW)));
  FAILS(EINVAL, syscall(SYS_faccessat2, AT_FDCWD, "a", R_OK, 0x4000));
}

TEST(permission_bits_decide_for_an_ordinary_user) {
  if (check::is_root()) {
    OK(chmod(".", 0777));
    OK(setresgid(65534, 65534, 65534));
    OK(setresuid(65534, 65534, 65534));
  }
  WRITE_FILE("a", "text");
  OK(chmod("a", 0));
  FAILS(EACCES, open("a", O_RDONLY));
  FAILS(EACCES, open("a", O_WRONLY));
  FAILS(EACCES, access("a", R_OK));
  OK(chmod("a", 0400));
  Fd reader(OK(open("a", O_RDONLY)));
  FAILS(EACCES, open("a", O_WRONLY));
  FAILS(EACCES, truncate("a", 0));
  OK(chmod("a", 0200));
  FAILS(EACCES, open("a", O_RDONLY));
  Fd writer(OK(open("a", O_WRONLY)));
  // The owner's bits decide for the owner even if the others' allow more.
  OK(chmod("a", 0066));
  FAILS(EACCES, open("a", O_RDONLY));
  // The overflow uid is also what a user namespace shows for owners that it does not map: as nobody, all is
  // ours.
  struct stat passwd;
  OK(stat("/etc/passwd", &passwd));
  if (passwd.st_uid == getuid()) return;
  FAILS(EPERM, chmod("/etc/passwd", 0777));
  FAILS(EACCES, open("/etc/passwd", O_WRONLY));
  FAILS(EACCES, open("/etc/newfile", O_WRONLY | O_CREAT, 0644));
}

TEST(root_passes_permission_bits) {
  if (!check::is_root()) SKIP("not root");
  WRITE_FILE("a", "text");
  OK(chmod("a", 0));
  Fd fd(OK(open("a", O_RDWR)));
  OK(access("a", R_OK | W_OK));
  FAILS(EACCES, access("a", X_OK));
}

TEST(sticky_directories) {
  if (!check::is_root()) SKIP("not root");
  OK(chmod(".", 0755));
  OK(mkdir("d", 0755));
  OK(chmod("d", 01777));
  WRITE_FILE("d/a", "");
  JOIN(check::fork_child([] {
    OK(setresuid(65534, 65534, 65534));
    FAILS(EPERM, unlink("d/a"));
    FAILS(EPERM, rename("d/a", "d/b"));
    WRITE_FILE("d/mine", "");
    OK(unlink("d/mine"));
  }));
}

TEST(setgid_directories_pass_on_their_group) {
  if (!check::is_root()) SKIP("not root");
  OK(mkdir("d", 0755));
  OK(chown("d", 0, 4321));
  OK(chmod("d", 02775));
  WRITE_FILE("d/a", "");
  CHECK_EQ(stat_of("d/a").st_gid, 4321u);
  OK(mkdir("d/e", 0755));
  CHECK_EQ(stat_of("d/e").st_gid, 4321u);
  CHECK(stat_of("d/e").st_mode & S_ISGID);
}

// What is left of `mode` when the data of a file of the user 4321's have changed by `change`, made by root
// or, on the same descriptor, by its owner.
unsigned mode_after(unsigned mode, bool as_owner, const std::function<void(int)>& change) {
  WRITE_FILE("set-id", "text");
  OK(chown("set-id", 4321, 4321));
  Fd fd(OK(open("set-id", O_RDWR)));
  OK(fchmod(fd, mode));
  JOIN(check::fork_child([&] {
    if (as_owner) OK(setresgid(4321, 4321, 4321)), OK(setresuid(4321, 4321, 4321));
    change(fd);
  }));
  const unsigned left = stat_of("set-id").st_mode & 07777;
  OK(unlink("set-id"));
  return left;
}

TEST(set_id_bits_survive_only_the_privileged) {
  if (!check::is_root()) SKIP("not root");
  OK(chmod(".", 0777));
  int pipe_ends[2];
  OK(pipe(pipe_ends));
  const std::function<void(int)> kChanges[] = {
      [](int fd) { OK(write(fd, "x", 1)); },
      [](int fd) { OK(pwrite(fd, "x", 1, 100)); },
      [](int fd) { OK(ftruncate(fd, 2)); },
      [](int fd) { OK(ftruncate(fd, 4)); },  // its size already
      [](int) { OK(truncate("set-id", 2)); },
      [](int) { Fd cut(OK(open("set-id", O_WRONLY | O_TRUNC))); },
      [](int fd) { OK(fallocate(fd, 0, 0, 100)); },
      [](int fd) { OK(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 2)); },
      [&](int fd) {
        OK(write(pipe_ends[1], "x", 1));
        OK(splice(pipe_ends[0], nullptr, fd, nullptr, 1, 0));
      },
  };
  for (const auto& change : kChanges) {
    CHECK_EQ(mode_after(06777, false, change), 06777u);
    CHECK_EQ(mode_after(06777, true, change), 00777u);
    // Without group execution the bit means something else.
    CHECK_EQ(mode_after(06767, true, change), 02767u);
  }
  const auto nothing = [](int fd) { OK(write(fd, "", 0)); };
  CHECK_EQ(mode_after(06777, true, nothing), 06777u);
  // A new owner never inherits them.
  const auto give = [](int fd) { OK(fchown(fd, 1234, 1234)); };
  CHECK_EQ(mode_after(06777, false, give), 00777u);
}

TEST(set_times) {
  WRITE_FILE("a", "");
  timespec times[2] = {{1'000'000'000, 123'456'789}, {1'100'000'000, 987'654'321}};
  OK(utimensat(AT_FDCWD, "a", times, 0));
  struct stat st = stat_of("a");
  CHECK_EQ(st.st_atim.tv_sec, 1'000'000'000);
  CHECK_EQ(st.st_atim.tv_nsec, 123'456'789);
  CHECK_EQ(st.st_mtim.tv_sec, 1'100'000'000);
  CHECK_EQ(st.st_mtim.tv_nsec, 987'654'321);
  timespec partial[2] = {{0, UTIME_OMIT}, {1'200'000'000, 0}};
  OK(utimensat(AT_FDCWD, "a", partial, 0));
  st = stat_of("a");
  CHECK_EQ(st.st_atim.tv_sec, 1'000'000'000);
  CHECK_EQ(st.st_mtim.tv_sec, 1'200'000'000);
  timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  OK(utimensat(AT_FDCWD, "a", now, 0));
  CHECK(stat_of("a").st_atim.tv_sec > 1'600'000'000);
  OK(utimensat(AT_FDCWD, "a", nullptr, 0));
  CHECK(stat_of("a").st_mtim.tv_sec > 1'600'000'000);
  timespec bad[2] = {{0, 1'000'000'000}, {0, 0}};
  FAILS(EINVAL, utimensat(AT_FDCWD, "a", bad, 0));
  Fd fd(OK(open("a", O_RDONLY)));
  OK(futimens(fd, times));
  CHECK_EQ(stat_of("a").st_mtim.tv_sec, 1'100'000'000);
  OK(symlink("a", "link"));
  OK(utimensat(AT_FDCWD, "link", partial, AT_SYMLINK_NOFOLLOW));
  CHECK_EQ(stat_of("link").st_mtim.tv_sec, 1'200'000'000);
  CHECK_EQ(stat_of("a").st_mtim.tv_sec, 1'100'000'000);
  FAILS(ENOENT, utimensat(AT_FDCWD, "missing", times, 0));
}

TEST(writing_moves_the_times) {
  WRITE_FILE("a", "text");
  timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  OK(utimensat(AT_FDCWD, "a", old, 0));
  struct stat st = stat_of("a");
  CHECK(before(st.st_mtim, st.st_ctim));
  Fd fd(OK(open("a", O_WRONLY)));
  OK(write(fd, "x", 1));
  st = stat_of("a");
  CHECK(st.st_mtim.tv_sec > 1'600'000'000);
  OK(utimensat(AT_FDCWD, "a", old, 0));
  OK(ftruncate(fd, 1));
  CHECK(stat_of("a").st_mtim.tv_sec > 1'600'000'000);
  OK(mkdir("d", 0755));
  OK(utimensat(AT_FDCWD, "d", old, 0));
  WRITE_FILE("d/new", "");
  CHECK(stat_of("d").st_mtim.tv_sec > 1'600'000'000);
  OK(utimensat(AT_FDCWD, "d", old, 0));
  OK(unlink("d/new"));
  CHECK(stat_of("d").st_mtim.tv_sec > 1'600'000'000);
}

TEST(file_times_are_near_the_clock) {
  timespec start, end;
  OK(clock_gettime(CLOCK_REALTIME, &start));
  WRITE_FILE("a", "x");
  OK(clock_gettime(CLOCK_REALTIME, &end));
  struct stat st = stat_of("a");
  // A file's clock is coarse: it may lag by a tick.
  CHECK(st.st_mtim.tv_sec >= start.tv_sec - 1 && st.st_mtim.tv_sec <= end.tv_sec);
}

TEST(statfs_fields) {
  struct statfs fs;
  OK(statfs(".", &fs));
  CHECK(fs.f_bsize > 0);
  CHECK(fs.f_blocks >= fs.f_bfree);
  CHECK(fs.f_namelen >= 255);
  Fd fd(OK(open(".", O_RDONLY)));
  struct statfs by_fd;
  OK(fstatfs(fd, &by_fd));
  CHECK_EQ(by_fd.f_type, fs.f_type);
  OK(statfs("/proc", &fs));
  CHECK_EQ(fs.f_type, 0x9fa0);
  FAILS(ENOENT, statfs("missing", &fs));
  int pipe_fds[2];
  OK(pipe(pipe_fds));
  OK(fstatfs(pipe_fds[0], &fs));
  CHECK_EQ(fs.f_type, 0x50495045);
}

TEST(user_extended_attributes) {
  WRITE_FILE("a", "");
  if (setxattr("a", "user.one", "first", 5, 0) != 0 && errno == EOPNOTSUPP) {
    SKIP_OPTIONAL("no user.* attributes on this file system");
  }
  char value[64];
  CHECK_EQ(OK(getxattr("a", "user.one", nullptr, 0)), 5);
  CHECK_EQ(OK(getxattr("a", "user.one", value, sizeof value)), 5);
  CHECK_EQ(std::string(value, 5), "first");
  FAILS(ERANGE, getxattr("a", "user.one", value, 2));
  FAILS(ENODATA, getxattr("a", "user.none", value, sizeof value));
  FAILS(EEXIST, setxattr("a", "user.one", "x", 1, XATTR_CREATE));
  FAILS(ENODATA, setxattr("a", "user.two", "x", 1, XATTR_REPLACE));
  OK(setxattr("a", "user.two", "", 0, 0));
  ssize_t n = OK(listxattr("a", value, sizeof value));
  std::string names(value, size_t(n));
  CHECK(names.find(std::string("user.one\0", 9)) != std::string::npos);
  CHECK(names.find(std::string("user.two\0", 9)) != std::string::npos);
  Fd fd(OK(open("a", O_RDWR)));
  OK(fsetxattr(fd, "user.one", "changed", 7, 0));
  CHECK_EQ(OK(fgetxattr(fd, "user.one", value, sizeof value)), 7);
  OK(removexattr("a", "user.one"));
  FAILS(ENODATA, fremovexattr(fd, "user.one"));
  std::string name = "user." + std::string(251, 'n');
  FAILS(ERANGE, setxattr("a", name.c_str(), "x", 1, 0));
}

TEST(attribute_calls_on_missing_attributes) {
  WRITE_FILE("a", "");
  char value[16];
  // What ls -l and cp -a ask: either answer is Linux's, by file system.
  ssize_t n = getxattr("a", "security.selinux", value, sizeof value);
  CHECK(n >= 0 || errno == ENODATA || errno == EOPNOTSUPP);
  n = getxattr("a", "system.posix_acl_access", value, sizeof value);
  CHECK(n == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
  FAILS(EOPNOTSUPP, getxattr("a", "nonsense", value, sizeof value));
  FAILS(ENOENT, listxattr("missing", value, sizeof value));
}

}  // namespace
