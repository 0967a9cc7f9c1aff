// Names: mkdir(2), rmdir(2), link(2), unlink(2), rename(2), symlink(2), getdents64(2), getcwd(2),
// path_resolution(7).
#include <dirent.h>
#include <limits.h>
#include <linux/fs.h>

#include <map>
#include <set>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

std::map<std::string, int> list(const char* path) {
  std::map<std::string, int> names;
  DIR* dir = OK(opendir(path));
  while (dirent* entry = readdir(dir)) {
    CHECK(names.emplace(entry->d_name, entry->d_type).second);
  }
  closedir(dir);
  return names;
}

std::string cwd() {
  char path[PATH_MAX];
  OK(getcwd(path, sizeof path));
  return path;
}

int rename2(const char* from, const char* to, unsigned flags) {
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags));
}

nlink_t links(const char* path) {
  struct stat st;
  OK(lstat(path, &st));
  return st.st_nlink;
}

ino_t inode(const char* path) {
  struct stat st;
  OK(lstat(path, &st));
  return st.st_ino;
}

TEST(make_and_remove_directories) {
  OK(mkdir("d", 0777));
  struct stat st;
  OK(stat("d", &st));
  CHECK_EQ(st.st_mode, S_IFDIR | 0755);
  FAILS(EEXIST, mkdir("d", 0777));
  FAILS(ENOENT, mkdir("x/y", 0777));
  OK(mkdir("d/e", 0700));
  FAILS(ENOTEMPTY, rmdir("d"));
  OK(rmdir("d/e"));
  OK(rmdir("d"));
  FAILS(ENOENT, rmdir("d"));
  WRITE_FILE("a", "");
  FAILS(ENOTDIR, rmdir("a"));
  FAILS(ENOTDIR, mkdir("a/b", 0755));
  FAILS(EEXIST, mkdir("a", 0755));
  FAILS(EINVAL, rmdir("."));
  OK(mkdir("f", 0755));
  FAILS(ENOTEMPTY, rmdir("f/.."));
  FAILS(EISDIR, unlink("f"));
  OK(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
  FAILS(ENOTDIR, unlinkat(AT_FDCWD, "a", AT_REMOVEDIR));
  OK(unlinkat(AT_FDCWD, "a", 0));
  FAILS(EINVAL, unlinkat(AT_FDCWD, "a", 0x4000));
}

TEST(trailing_slashes) {
  OK(mkdir("d/", 0755));
  OK(mkdir("e///", 0755));
  struct stat st;
  OK(stat("d/", &st));
  OK(stat("d//", &st));
  WRITE_FILE("a", "");
  FAILS(ENOTDIR, stat("a/", &st));
  FAILS(ENOTDIR, open("a/", O_RDONLY));
  FAILS(EISDIR, open("new/", O_CREAT | O_WRONLY, 0644));
  FAILS(ENOTDIR, unlink("a/"));
  FAILS(ENOTDIR, rename("a", "b/"));
  FAILS(ENOTDIR, rename("a/", "b"));
  OK(rename("d", "dd/"));
  OK(rename("dd/", "d"));
  OK(symlink("d", "link"));
  OK(lstat("link/", &st));
  CHECK(S_ISDIR(st.st_mode));
  OK(lstat("link", &st));
  CHECK(S_ISLNK(st.st_mode));
  FAILS(ENOTDIR, unlink("link/"));
  FAILS(ENOTDIR, rmdir("link/"));
  OK(rmdir("e/"));
  FAILS(EEXIST, mkdir("link/", 0755));
}

TEST(dots) {
  OK(mkdir("d", 0755));
  OK(mkdir("d/e", 0755));
  WRITE_FILE("a", "a");
  struct stat st;
  OK(stat("d/./e/.././../a", &st));
  OK(stat("./a", &st));
  OK(stat("././/.//a", &st));
  FAILS(ENOTDIR, stat("a/.", &st));
  FAILS(ENOTDIR, stat("a/..", &st));
  FAILS(ENOENT, stat("missing/../a", &st));
  OK(stat("/../../..", &st));
  CHECK_EQ(inode("/.."), inode("/"));
  // ".." after a link leaves from where the link leads.
  OK(symlink("d/e", "link"));
  CHECK_EQ(inode("link/.."), inode("d"));
  FAILS(EBUSY, rename(".", "x"));
  FAILS(EBUSY, rename("d", ".."));
  FAILS(EEXIST, mkdir(".", 0755));
  FAILS(EEXIST, mkdir("d/..", 0755));
  FAILS(EISDIR, open(".", O_CREAT | O_WRONLY, 0644));
}

TEST(long_names) {
  std::string name(255, 'n');
  WRITE_FILE(name.c_str(), "x");
  CHECK(list(".").contains(name));
  name += 'n';
  struct stat st;
  FAILS(ENAMETOOLONG, stat(name.c_str(), &st));
  FAILS(ENAMETOOLONG, open(name.c_str(), O_CREAT | O_WRONLY, 0644));
  FAILS(ENAMETOOLONG, mkdir(name.c_str(), 0755));
  FAILS(ENAMETOOLONG, symlink("x", name.c_str()));
  std::string path = ".";
  while (path.size() < 4095) path += "/";
  path.resize(4095);
  OK(stat(path.c_str(), &st));
  path += '/';
  FAILS(ENAMETOOLONG, stat(path.c_str(), &st));
  FAILS(ENAMETOOLONG, open(path.c_str(), O_RDONLY));
  FAILS(ENAMETOOLONG, symlink(path.c_str(), "link"));
}

TEST(strange_names) {
  for (const char* name :
       {"with space", "new\nline", "\xff\xfe", "-dash", "...", "*", "\\", "tab\t", "\xc3\xa9"}) {
    WRITE_FILE(name, name);
    CHECK_EQ(READ_FILE(name), name);
    CHECK(list(".").contains(name));
    OK(unlink(name));
  }
}

TEST(hard_links) {
  WRITE_FILE("a", "text");
  OK(link("a", "b"));
  CHECK_EQ(inode("a"), inode("b"));
  CHECK_EQ(links("a"), 2u);
  FAILS(EEXIST, link("a", "b"));
  FAILS(ENOENT, link("missing", "c"));
  OK(mkdir("d", 0755));
  FAILS(EPERM, link("d", "e"));
  WRITE_FILE("b", "changed");
  CHECK_EQ(READ_FILE("a"), "changed");
  OK(unlink("a"));
  CHECK_EQ(links("b"), 1u);
  CHECK_EQ(READ_FILE("b"), "changed");
  // linkat(2): a link is linked itself unless AT_SYMLINK_FOLLOW.
  OK(symlink("b", "sym"));
  OK(link("sym", "sym2"));
  CHECK_EQ(inode("sym"), inode("sym2"));
  OK(linkat(AT_FDCWD, "sym", AT_FDCWD, "c", AT_SYMLINK_FOLLOW));
  CHECK_EQ(inode("c"), inode("b"));
  FAILS(EINVAL, linkat(AT_FDCWD, "b", AT_FDCWD, "x", 0x8000));
}

TEST(symbolic_links) {
  OK(symlink("target", "link"));
  char text[64];
  CHECK_EQ(OK(readlink("link", text, sizeof text)), 6);
  CHECK_EQ(std::string(text, 6), "target");
  CHECK_EQ(OK(readlink("link", text, 3)), 3);
  FAILS(EINVAL, readlink("link", text, 0));
  FAILS(EINVAL, readlink(".", text, sizeof text));
  FAILS(ENOENT, readlink("missing", text, sizeof text));
  struct stat st;
  OK(lstat("link", &st));
  CHECK_EQ(st.st_mode, S_IFLNK | 0777);
  CHECK_EQ(st.st_size, 6);
  FAILS(ENOENT, stat("link", &st));
  FAILS(ENOENT, open("link", O_RDONLY));
  FAILS(EEXIST, symlink("other", "link"));
  FAILS(ENOENT, symlink("", "empty"));
  FAILS(ENOENT, symlink("x", ""));
  WRITE_FILE("target", "text");
  CHECK_EQ(READ_FILE("link"), "text");
  FAILS(EEXIST, mkdir("link", 0755));
  OK(unlink("link"));
  CHECK_EQ(READ_FILE("target"), "text");
  OK(symlink((cwd() + "/target").c_str(), "absolute"));
  CHECK_EQ(READ_FILE("absolute"), "text");
  OK(mkdir("d", 0755));
  OK(symlink("../target", "d/up"));
  CHECK_EQ(READ_FILE("d/up"), "text");
}

TEST(link_loops) {
  OK(symlink("b", "a"));
  OK(symlink("a", "b"));
  struct stat st;
  FAILS(ELOOP, stat("a", &st));
  FAILS(ELOOP, open("a", O_RDONLY));
  FAILS(ELOOP, open("a/x", O_RDONLY));
  OK(lstat("a", &st));
  OK(symlink("self", "self"));
  FAILS(ELOOP, chdir("self"));
  // path_resolution(7): at most 40 links.
  WRITE_FILE("l0", "end");
  for (int i = 1; i <= 41; ++i) {
    OK(symlink(("l" + std::to_string(i - 1)).c_str(), ("l" + std::to_string(i)).c_str()));
  }
  OK(stat("l40", &st));
  FAILS(ELOOP, stat("l41", &st));
}

TEST(rename_files) {
  WRITE_FILE("a", "a");
  WRITE_FILE("b", "b");
  ino_t id = inode("a");
  OK(rename("a", "b"));
  CHECK_EQ(inode("b"), id);
  CHECK_EQ(READ_FILE("b"), "a");
  FAILS(ENOENT, rename("a", "c"));
  FAILS(ENOENT, rename("b", "x/c"));
  OK(mkdir("d", 0755));
  FAILS(EISDIR, rename("b", "d"));
  FAILS(ENOTDIR, rename("d", "b"));
  OK(rename("b", "d/b"));
  CHECK_EQ(READ_FILE("d/b"), "a");
  // rename(2): two names of one file are left as they are.
  OK(link("d/b", "h"));
  OK(rename("d/b", "h"));
  CHECK_EQ(links("h"), 2u);
  OK(access("d/b", F_OK));
  OK(rename("h", "h"));
}

TEST(rename_over_an_open_file) {
  WRITE_FILE("a", "new");
  WRITE_FILE("b", "old");
  Fd fd(OK(open("b", O_RDONLY)));
  OK(rename("a", "b"));
  char text[4];
  CHECK_EQ(OK(read(fd, text, 4)), 3);
  CHECK_EQ(std::string(text, 3), "old");
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 0u);
}

TEST(rename_directories) {
  OK(mkdir("d", 0755));
  OK(mkdir("d/e", 0755));
  WRITE_FILE("d/e/a", "text");
  OK(rename("d", "f"));
  CHECK_EQ(READ_FILE("f/e/a"), "text");
  FAILS(EINVAL, rename("f", "f/e/x"));
  OK(mkdir("full", 0755));
  WRITE_FILE("full/x", "");
  int result = rename("f", "full");
  CHECK(result == -1 && (errno == ENOTEMPTY || errno == EEXIST));
  OK(mkdir("empty", 0755));
  OK(rename("f", "empty"));
  CHECK_EQ(READ_FILE("empty/e/a"), "text");
  result = rename("empty/e", "empty");
  CHECK(result == -1 && (errno == ENOTEMPTY || errno == EEXIST));
  // A moved directory's ".." is its new parent.
  OK(mkdir("other", 0755));
  OK(rename("empty/e", "other/e"));
  CHECK_EQ(inode("other/e/.."), inode("other"));
  CHECK_EQ(inode("empty/.."), inode("."));
}

TEST(rename_directory_from_below) {
  OK(mkdir("d", 0755));
  OK(mkdir("to", 0755));
  std::string base = cwd();
  OK(chdir("d"));
  OK(rename("../d", "../to/moved"));
  CHECK_EQ(cwd(), base + "/to/moved");
  WRITE_FILE("a", "x");
  CHECK_EQ(READ_FILE((base + "/to/moved/a").c_str()), "x");
}

TEST(rename_noreplace_and_exchange) {
  WRITE_FILE("a", "a");
  WRITE_FILE("b", "b");
  FAILS(EEXIST, rename2("a", "b", RENAME_NOREPLACE));
  OK(rename2("a", "c", RENAME_NOREPLACE));
  CHECK_EQ(READ_FILE("c"), "a");
  OK(rename2("b", "c", RENAME_EXCHANGE));
  CHECK_EQ(READ_FILE("b"), "a");
  CHECK_EQ(READ_FILE("c"), "b");
  FAILS(ENOENT, rename2("b", "missing", RENAME_EXCHANGE));
  OK(mkdir("d", 0755));
  WRITE_FILE("d/x", "x");
  OK(rename2("b", "d", RENAME_EXCHANGE));
  CHECK_EQ(READ_FILE("b/x"), "x");
  CHECK_EQ(READ_FILE("d"), "a");
  FAILS(EINVAL, rename2("b", "c", RENAME_NOREPLACE | RENAME_EXCHANGE));
  FAILS(EINVAL, rename2("b", "c", 0x100));
}

TEST(getcwd_follows_chdir) {
  std::string base = cwd();
  OK(mkdir("d", 0755));
  OK(mkdir("d/e", 0755));
  OK(chdir("d/e"));
  CHECK_EQ(cwd(), base + "/d/e");
  OK(chdir(".."));
  CHECK_EQ(cwd(), base + "/d");
  Fd fd(OK(open(".", O_RDONLY | O_DIRECTORY)));
  OK(chdir("/"));
  CHECK_EQ(cwd(), "/");
  OK(fchdir(fd));
  CHECK_EQ(cwd(), base + "/d");
  OK(symlink("e", "link"));
  OK(chdir("link"));
  CHECK_EQ(cwd(), base + "/d/e");
  FAILS(ENOENT, chdir("missing"));
  WRITE_FILE("a", "");
  FAILS(ENOTDIR, chdir("a"));
  Fd file(OK(open("a", O_RDONLY)));
  FAILS(ENOTDIR, fchdir(file));
  char text[4];
  FAILS(ERANGE, syscall(SYS_getcwd, text, sizeof text));
  // The raw call counts the terminating zero.
  char path[PATH_MAX];
  CHECK_EQ(OK(syscall(SYS_getcwd, path, sizeof path)), long(base.size() + 5));
}

TEST(cwd_is_per_process) {
  std::string base = cwd();
  OK(mkdir("d", 0755));
  JOIN(check::fork_child([&] {
    OK(chdir("d"));
    CHECK_EQ(cwd(), base + "/d");
  }));
  CHECK_EQ(cwd(), base);
}

TEST(removed_working_directory) {
  OK(mkdir("d", 0755));
  OK(chdir("d"));
  OK(rmdir("../d"));
  char path[PATH_MAX];
  FAILS(ENOENT, syscall(SYS_getcwd, path, sizeof path));
  FAILS(ENOENT, open("a", O_CREAT | O_WRONLY, 0644));
  FAILS(ENOENT, mkdir("e", 0755));
  OK(chdir(".."));
}

TEST(directory_entries_have_types_and_inodes) {
  WRITE_FILE("file", "");
  OK(mkdir("dir", 0755));
  OK(symlink("x", "link"));
  OK(mkfifo("fifo", 0644));
  auto names = list(".");
  CHECK_EQ(names.size(), 6u);
  CHECK(names.contains(".") && names.contains(".."));
  CHECK_EQ(names["file"], DT_REG);
  CHECK_EQ(names["dir"], DT_DIR);
  CHECK_EQ(names["link"], DT_LNK);
  CHECK_EQ(names["fifo"], DT_FIFO);
  DIR* dir = OK(opendir("."));
  while (dirent* entry = readdir(dir)) {
    if (strcmp(entry->d_name, "..") != 0) CHECK_EQ(entry->d_ino, inode(entry->d_name));
  }
  closedir(dir);
}

TEST(five_thousand_entries) {
  std::set<std::string> made;
  OK(mkdir("d", 0755));
  OK(chdir("d"));
  for (int i = 0; i < 5000; ++i) {
    std::string name = "entry-" + std::to_string(i);
    Fd fd(OK(open(name.c_str(), O_CREAT | O_WRONLY | O_EXCL, 0644)));
    made.insert(name);
  }
  auto names = list(".");
  CHECK_EQ(names.size(), 5002u);
  for (const std::string& name : made) CHECK(names.contains(name));
  // Deleting what a listing in progress has returned makes it skip nothing (readdir(3) leaves open only
  // whether entries made or removed meanwhile are seen). This is how rm -r works.
  DIR* dir = OK(opendir("."));
  int removed = 0;
  while (dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    OK(unlink(entry->d_name));
    ++removed;
  }
  CHECK_EQ(removed, 5000);
  rewinddir(dir);
  int left = 0;
  while (readdir(dir) != nullptr) ++left;
  CHECK_EQ(left, 2);
  closedir(dir);
  OK(chdir(".."));
  OK(rmdir("d"));
}

TEST(listing_while_entries_come_and_go) {
  for (int i = 0; i < 500; ++i) WRITE_FILE(("stay-" + std::to_string(i)).c_str(), "");
  DIR* dir = OK(opendir("."));
  std::set<std::string> seen;
  int round = 0;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    CHECK(seen.insert(name).second);
    std::string other = "come-" + std::to_string(round);
    if (round++ < 300) {
      WRITE_FILE(other.c_str(), "");
      OK(unlink(other.c_str()));
    }
  }
  closedir(dir);
  for (int i = 0; i < 500; ++i) CHECK(seen.contains("stay-" + std::to_string(i)));
}

TEST(seekdir_returns_to_a_place) {
  for (int i = 0; i < 100; ++i) WRITE_FILE(("f" + std::to_string(i)).c_str(), "");
  DIR* dir = OK(opendir("."));
  for (int i = 0; i < 50; ++i) OK(readdir(dir));
  long place = telldir(dir);
  std::string expected = OK(readdir(dir))->d_name;
  while (readdir(dir) != nullptr) {
  }
  seekdir(dir, place);
  CHECK_EQ(OK(readdir(dir))->d_name, expected);
  closedir(dir);
}

TEST(getdents_buffers) {
  WRITE_FILE("a-rather-long-name-for-a-small-buffer", "");
  Fd fd(OK(open(".", O_RDONLY | O_DIRECTORY)));
  char small[16];
  FAILS(EINVAL, syscall(SYS_getdents64, int(fd), small, sizeof small));
  // One entry at a time in a buffer that holds just one.
  std::set<std::string> seen;
  alignas(8) char buffer[64];
  long n;
  while ((n = OK(syscall(SYS_getdents64, int(fd), buffer, sizeof buffer))) > 0) {
    for (long at = 0; at < n;) {
      auto* entry = reinterpret_cast<dirent64*>(buffer + at);
      CHECK_EQ(entry->d_reclen % 8, 0);
      seen.insert(entry->d_name);
      at += entry->d_reclen;
    }
  }
  CHECK_EQ(seen.size(), 3u);
  OK(lseek(fd, 0, SEEK_SET));
  CHECK(OK(syscall(SYS_getdents64, int(fd), buffer, sizeof buffer)) > 0);
  WRITE_FILE("file", "");
  Fd file(OK(open("file", O_RDONLY)));
  FAILS(ENOTDIR, syscall(SYS_getdents64, int(file), buffer, sizeof buffer));
}

TEST(getdents_of_a_removed_directory) {
  OK(mkdir("d", 0755));
  Fd fd(OK(open("d", O_RDONLY | O_DIRECTORY)));
  OK(rmdir("d"));
  char buffer[256];
  FAILS(ENOENT, syscall(SYS_getdents64, int(fd), buffer, sizeof buffer));
}

TEST(old_getdents) {
  WRITE_FILE("a", "");
  Fd fd(OK(open(".", O_RDONLY | O_DIRECTORY)));
  alignas(8) char buffer[512];
  long n = OK(syscall(SYS_getdents, int(fd), buffer, sizeof buffer));
  int entries = 0;
  for (long at = 0; at < n; ++entries) {
    uint16_t length;
    memcpy(&length, buffer + at + 16, 2);
    CHECK(length > 0);
    at += length;
  }
  CHECK_EQ(entries, 3);
}

TEST(parent_link_counts) {
  OK(mkdir("d", 0755));
  struct stat st;
  OK(stat("d", &st));
  if (st.st_nlink == 1) SKIP_OPTIONAL("directories of this file system have one link (btrfs, overlay)");
  CHECK_EQ(st.st_nlink, 2u);
  OK(mkdir("d/e", 0755));
  CHECK_EQ(links("d"), 3u);
  OK(rmdir("d/e"));
  CHECK_EQ(links("d"), 2u);
}

TEST(deep_trees) {
  std::string base = cwd();
  for (int i = 0; i < 200; ++i) {
    OK(mkdir("level", 0755));
    OK(chdir("level"));
  }
  std::string deep = cwd();
  CHECK_EQ(deep.size(), base.size() + 200 * 6);
  OK(chdir(base.c_str()));
  OK(chdir(deep.c_str()));
  for (int i = 0; i < 200; ++i) {
    OK(chdir(".."));
    OK(rmdir("level"));
  }
  CHECK_EQ(cwd(), base);
}

TEST(special_nodes) {
  OK(mknod("file", S_IFREG | 0640, 0));
  OK(mknod("fifo", S_IFIFO | 0600, 0));
  OK(mknod("plain", 0600, 0));
  struct stat st;
  OK(stat("file", &st));
  CHECK_EQ(st.st_mode, S_IFREG | 0640);
  OK(stat("fifo", &st));
  CHECK_EQ(st.st_mode, S_IFIFO | 0600);
  OK(stat("plain", &st));
  CHECK(S_ISREG(st.st_mode));
  FAILS(EEXIST, mknod("file", S_IFREG | 0640, 0));
  FAILS(EPERM, mknod("dir", S_IFDIR | 0755, 0));
  FAILS(EINVAL, mknod("bad", 0170000, 0));
}

TEST(search_permission) {
  if (check::is_root()) {
    OK(chmod(".", 0777));
    OK(setresuid(65534, 65534, 65534));
  }
  OK(mkdir("d", 0755));
  OK(mkdir("d/e", 0755));
  struct stat st;
  OK(chmod("d", 0600));
  FAILS(EACCES, stat("d/e", &st));
  FAILS(EACCES, mkdir("d/f", 0755));
  OK(chmod("d", 0300));
  OK(stat("d/e", &st));
  FAILS(EACCES, open("d", O_RDONLY));
  OK(chmod("d", 0500));
  FAILS(EACCES, mkdir("d/f", 0755));
  FAILS(EACCES, rmdir("d/e"));
  FAILS(EACCES, rename("d/e", "d/f"));
  OK(chmod("d", 0700));
}

}  // namespace
