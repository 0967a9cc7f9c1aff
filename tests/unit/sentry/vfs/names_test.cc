// open(2) with creation, mkdir(2), unlink(2), rename(2), link(2): errors in Linux's order, over tmpfs.
#include <linux/fs.h>

#include "sentry/vfs/lock.h"
#include "tests/unit/sentry/vfs/tree.h"

namespace sentry::vfs_test {
namespace {

class Names : public OnEachFilesystem {
 protected:
};

TEST_P(Names, Open) {
  EXPECT_EQ(code(tree.open("/f")), ENOENT);
  EXPECT_EQ(code(tree.open("/f", O_CREAT | O_WRONLY, 0666)), 0);
  EXPECT_EQ(tree.stat("/f").mode, uint32_t{S_IFREG | 0644});
  EXPECT_EQ(code(tree.open("/f", O_CREAT | O_EXCL | O_WRONLY)), EEXIST);
  EXPECT_EQ(code(tree.open("/f/", O_RDONLY)), ENOTDIR);
  EXPECT_EQ(code(tree.open("/g/", O_CREAT | O_WRONLY)), EISDIR);
  EXPECT_EQ(code(tree.open("/f", O_DIRECTORY)), ENOTDIR);
  EXPECT_EQ(code(tree.open("/", O_WRONLY)), EISDIR);
  EXPECT_EQ(code(tree.open("/", O_RDWR)), EISDIR);
  EXPECT_EQ(code(tree.open("/", O_CREAT)), EISDIR);
  EXPECT_EQ(code(tree.open("/", O_CREAT | O_EXCL)), EEXIST);
  EXPECT_EQ(code(tree.open("/", O_TRUNC)), EISDIR);
  EXPECT_EQ(code(tree.open("/", O_DIRECTORY)), 0);
  EXPECT_EQ(code(tree.open("/new", O_CREAT | O_DIRECTORY)), EINVAL);
}

TEST_P(Names, OpenAndLinks) {
  tree.write("/target", "text");
  tree.symlink("target", "/link");
  tree.symlink("fresh", "/dangling");
  EXPECT_EQ(tree.read("/link"), "text");
  EXPECT_EQ(code(tree.open("/link", O_NOFOLLOW)), ELOOP);
  EXPECT_EQ(code(tree.open("/link", O_NOFOLLOW | O_DIRECTORY)), ENOTDIR);
  EXPECT_EQ(code(tree.open("/link", O_CREAT | O_EXCL | O_WRONLY)), EEXIST);
  EXPECT_EQ(code(tree.open("/dangling")), ENOENT);
  EXPECT_EQ(code(tree.open("/dangling", O_CREAT | O_EXCL | O_WRONLY)), EEXIST);
  EXPECT_EQ(tree.write("/dangling", "made"), 0);  // creates what the link names
  EXPECT_EQ(tree.read("/fresh"), "made");
  const FileRef place = tree.open("/link", O_PATH | O_NOFOLLOW).value();
  EXPECT_TRUE(place->inode()->is_symlink());
  EXPECT_FALSE(place->readable());
}

TEST_P(Names, OpenChecksPermissions) {
  tree.write("/secret", "s");
  tree.chmod("/secret", 0640);
  tree.chown("/secret", 0, 50);
  tree.mkdir("/dir");
  tree.credentials = user(1000);
  EXPECT_EQ(code(tree.open("/secret")), EACCES);
  EXPECT_EQ(code(tree.open("/secret", O_PATH)), 0);
  EXPECT_EQ(code(tree.open("/dir/new", O_CREAT | O_WRONLY)), EACCES);
  EXPECT_EQ(code(tree.open("/dir/new")), ENOENT);
  tree.credentials = user(1000, {50});
  EXPECT_EQ(code(tree.open("/secret")), 0);
  EXPECT_EQ(code(tree.open("/secret", O_WRONLY)), EACCES);
  EXPECT_EQ(code(tree.open("/secret", O_RDONLY | O_TRUNC)), EACCES);
  EXPECT_EQ(code(tree.open("/secret", O_NOATIME)), EPERM);
}

TEST_P(Names, AReadOnlyFileMadeForWritingIsOpenForWriting) {
  tree.credentials = user(1000);
  const FileRef file = tree.open("/mine", O_CREAT | O_WRONLY, 0400).value();
  EXPECT_EQ(put(*file, "x").value(), 1u);
  EXPECT_EQ(code(tree.open("/mine", O_WRONLY)), EACCES);
}

TEST_P(Names, TheGroupOfADirectoryIsInherited) {
  tree.mkdir("/shared", 0777);
  tree.chown("/shared", 0, 77);
  tree.chmod("/shared", 02777);
  tree.credentials = user(1000);
  tree.context.umask = 0;
  tree.write("/shared/f", "");
  EXPECT_EQ(tree.stat("/shared/f").gid, 77u);
  tree.mkdir("/shared/d", 0777);
  EXPECT_EQ(tree.stat("/shared/d").mode, uint32_t{S_IFDIR | 02777});
  EXPECT_EQ(tree.stat("/shared/d").gid, 77u);
  // S_ISGID for a group that one is not in would be a gift (mode_strip_sgid).
  tree.mknod("/shared/s", S_IFREG | 02755);
  EXPECT_EQ(tree.stat("/shared/s").mode, uint32_t{S_IFREG | 0755});
}

TEST_P(Names, MkdirAndRmdir) {
  EXPECT_EQ(tree.mkdir("/d/"), 0);
  EXPECT_EQ(tree.mkdir("/d"), EEXIST);
  EXPECT_EQ(tree.mkdir("/d/."), EEXIST);
  EXPECT_EQ(tree.mkdir("/d/.."), EEXIST);
  EXPECT_EQ(tree.mkdir("/"), EEXIST);
  EXPECT_EQ(tree.mkdir("/none/x"), ENOENT);
  EXPECT_EQ(tree.mkdir("/d/e", 07777), 0);
  EXPECT_EQ(tree.stat("/d/e").mode, uint32_t{S_IFDIR | 01755});
  EXPECT_EQ(tree.stat("/d").nlink, 3u);
  EXPECT_EQ(tree.rmdir("/d"), ENOTEMPTY);
  EXPECT_EQ(tree.rmdir("/d/."), EINVAL);
  EXPECT_EQ(tree.rmdir("/d/e/.."), ENOTEMPTY);
  EXPECT_EQ(tree.rmdir("/"), EBUSY);
  EXPECT_EQ(tree.rmdir("/none"), ENOENT);
  tree.write("/f", "");
  EXPECT_EQ(tree.rmdir("/f"), ENOTDIR);
  EXPECT_EQ(tree.mkdir("/f/x"), ENOTDIR);
  EXPECT_EQ(tree.rmdir("/d/e"), 0);
  EXPECT_EQ(tree.stat("/d").nlink, 2u);
  EXPECT_EQ(tree.rmdir("/d/"), 0);
  EXPECT_FALSE(tree.exists("/d"));
}

TEST_P(Names, Unlink) {
  tree.mkdir("/d");
  tree.write("/f", "kept while open");
  const FileRef open = tree.open("/f").value();
  EXPECT_EQ(tree.unlink("/d"), EISDIR);
  EXPECT_EQ(tree.unlink("/d/"), EISDIR);
  EXPECT_EQ(tree.unlink("/f/"), ENOTDIR);
  EXPECT_EQ(tree.unlink("/"), EISDIR);
  EXPECT_EQ(tree.unlink("/."), EISDIR);
  EXPECT_EQ(tree.unlink("/none"), ENOENT);
  EXPECT_EQ(tree.unlink("/none/"), ENOENT);
  EXPECT_EQ(tree.unlink("/f"), 0);
  EXPECT_EQ(tree.unlink("/f"), ENOENT);
  EXPECT_EQ(open->inode()->getattr()->nlink, 0u);
  EXPECT_EQ(get(*open, 100).value(), "kept while open");
  EXPECT_EQ(vfs::full_path(open->path()), "/f (deleted)");
}

TEST_P(Names, StickyDirectories) {
  tree.mkdir("/tmp");
  tree.chmod("/tmp", 01777);
  tree.credentials = user(1000);
  tree.write("/tmp/theirs", "");
  tree.mkdir("/tmp/dir");
  tree.credentials = user(1001);
  tree.write("/tmp/mine", "");
  EXPECT_EQ(tree.unlink("/tmp/theirs"), EPERM);
  EXPECT_EQ(tree.rmdir("/tmp/dir"), EPERM);
  EXPECT_EQ(tree.rename("/tmp/theirs", "/tmp/x"), EPERM);
  EXPECT_EQ(tree.rename("/tmp/mine", "/tmp/theirs"), EPERM);
  EXPECT_EQ(tree.unlink("/tmp/mine"), 0);
}

TEST_P(Names, HardLinks) {
  tree.write("/f", "one");
  tree.mkdir("/d");
  tree.symlink("f", "/l");
  EXPECT_EQ(tree.link("/f", "/g"), 0);
  EXPECT_EQ(tree.link("/f", "/g"), EEXIST);
  EXPECT_EQ(tree.link("/d", "/e"), EPERM);
  EXPECT_EQ(tree.link("/none", "/e"), ENOENT);
  EXPECT_EQ(tree.link("/f", "/e/"), ENOENT);
  EXPECT_EQ(tree.stat("/f").nlink, 2u);
  EXPECT_EQ(tree.stat("/f").ino, tree.stat("/g").ino);
  tree.write("/g", "two");
  EXPECT_EQ(tree.read("/f"), "two");
  EXPECT_EQ(tree.link("/l", "/l2"), 0);
  EXPECT_TRUE(S_ISLNK(tree.stat("/l2").mode));
  EXPECT_EQ(tree.link("/l", "/f2", AT_SYMLINK_FOLLOW), 0);
  EXPECT_EQ(tree.stat("/f2").ino, tree.stat("/f").ino);
  EXPECT_EQ(tree.link("/f", "/f3", AT_SYMLINK_NOFOLLOW), EINVAL);
  EXPECT_EQ(tree.unlink("/f"), 0);
  EXPECT_EQ(tree.read("/g"), "two");
}

TEST_P(Names, UnnamedFiles) {
  tree.mkdir("/d");
  EXPECT_EQ(code(tree.open("/d", O_TMPFILE | O_RDONLY)), EINVAL);
  EXPECT_EQ(code(tree.open("/none", O_TMPFILE | O_RDWR)), ENOENT);
  const FileRef file = tree.open("/d", O_TMPFILE | O_RDWR, 0600).value();
  EXPECT_EQ(put(*file, "unnamed").value(), 7u);
  EXPECT_EQ(file->inode()->getattr()->nlink, 0u);
  EXPECT_TRUE(tree.list("/d").empty());
  vfs::Caller from = tree.caller();
  from.start = file->path();
  EXPECT_EQ(code(vfs::link(from, "", tree.caller(), "/d/named", AT_EMPTY_PATH)), 0);
  EXPECT_EQ(tree.read("/d/named"), "unnamed");
  EXPECT_EQ(tree.stat("/d/named").nlink, 1u);

  const FileRef fixed = tree.open("/d", O_TMPFILE | O_RDWR | O_EXCL, 0600).value();
  from.start = fixed->path();
  EXPECT_EQ(code(vfs::link(from, "", tree.caller(), "/d/other", AT_EMPTY_PATH)), ENOENT);
}

TEST_P(Names, Rename) {
  tree.write("/f", "f");
  tree.write("/g", "g");
  tree.mkdir("/d");
  tree.mkdir("/d/sub");
  tree.mkdir("/empty");
  EXPECT_EQ(tree.rename("/none", "/x"), ENOENT);
  EXPECT_EQ(tree.rename("/f", "/d"), EISDIR);
  EXPECT_EQ(tree.rename("/d", "/f"), ENOTDIR);
  EXPECT_EQ(tree.rename("/empty", "/d"), ENOTEMPTY);
  EXPECT_EQ(tree.rename("/d", "/d/sub/x"), EINVAL);
  EXPECT_EQ(tree.rename("/d", "/d/x"), EINVAL);
  EXPECT_EQ(tree.rename("/d/sub", "/d"), ENOTEMPTY);
  EXPECT_EQ(tree.rename("/f", "/x/"), ENOTDIR);
  EXPECT_EQ(tree.rename("/f/", "/x"), ENOTDIR);
  EXPECT_EQ(tree.rename("/d/.", "/x"), EBUSY);
  EXPECT_EQ(tree.rename("/d", "/."), EBUSY);
  EXPECT_EQ(tree.rename("/f", "/g"), 0);
  EXPECT_EQ(tree.read("/g"), "f");
  EXPECT_FALSE(tree.exists("/f"));
  EXPECT_EQ(tree.rename("/d", "/empty/"), 0);
  EXPECT_TRUE(tree.exists("/empty/sub"));
  EXPECT_FALSE(tree.exists("/d"));
  tree.link("/g", "/h");
  EXPECT_EQ(tree.rename("/g", "/h"), 0);  // the same file: nothing happens
  EXPECT_TRUE(tree.exists("/g"));
}

TEST_P(Names, RenameMovesDirectoriesWithWhatIsCachedBelow) {
  tree.mkdir("/a");
  tree.mkdir("/a/b");
  tree.mkdir("/c");
  tree.write("/a/b/f", "deep");
  tree.context.cwd = tree.find("/a/b").value();
  EXPECT_EQ(tree.rename("/a", "/c/z"), 0);
  EXPECT_EQ(tree.read("/c/z/b/f"), "deep");
  EXPECT_EQ(tree.context.space->path_text(tree.context.cwd, tree.context.root), "/c/z/b");
  EXPECT_EQ(tree.read("f"), "deep");
  EXPECT_EQ(tree.text_of("../.."), "/c");
  EXPECT_EQ(tree.stat("/").nlink, 3u);
  EXPECT_EQ(tree.stat("/c").nlink, 3u);
  EXPECT_FALSE(tree.exists("/a/b/f"));
}

TEST_P(Names, RenameFlags) {
  tree.write("/f", "f");
  tree.mkdir("/d");
  tree.mkdir("/e");
  EXPECT_EQ(tree.rename("/f", "/d", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(tree.rename("/f", "/none", RENAME_EXCHANGE), ENOENT);
  EXPECT_EQ(tree.rename("/f", "/d", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
  EXPECT_EQ(tree.rename("/f", "/x", RENAME_WHITEOUT), EINVAL);
  EXPECT_EQ(tree.rename("/f", "/e/d", RENAME_NOREPLACE), 0);
  EXPECT_EQ(tree.rename("/e/d", "/d", RENAME_EXCHANGE), 0);
  EXPECT_EQ(tree.read("/d"), "f");
  EXPECT_TRUE(tree.find("/e/d")->dentry->inode()->is_directory());
  EXPECT_EQ(tree.stat("/").nlink, 3u);  // ., .., e
  EXPECT_EQ(tree.stat("/e").nlink, 3u);
  EXPECT_EQ(tree.text_of("/e/d"), "/e/d");
  EXPECT_EQ(tree.rename("/e", "/e/d", RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(tree.rename("/e/d", "/e", RENAME_EXCHANGE), EINVAL);
}

TEST_P(Names, ReadOnlyMounts) {
  tree.write("/f", "text");
  tree.symlink("f", "/l");
  tree.context.space->root_mount()->read_only = true;
  EXPECT_EQ(tree.read("/f"), "text");
  EXPECT_EQ(code(tree.open("/f", O_WRONLY)), EROFS);
  EXPECT_EQ(code(tree.open("/f", O_RDONLY | O_TRUNC)), EROFS);
  EXPECT_EQ(code(tree.open("/f", O_CREAT)), 0);
  EXPECT_EQ(code(tree.open("/g", O_CREAT)), EROFS);
  EXPECT_EQ(code(tree.open("/", O_TMPFILE | O_RDWR)), EROFS);
  EXPECT_EQ(tree.mkdir("/d"), EROFS);
  EXPECT_EQ(tree.mkdir("/f"), EEXIST);
  EXPECT_EQ(tree.unlink("/none"), EROFS);
  EXPECT_EQ(tree.rename("/f", "/g"), EROFS);
  EXPECT_EQ(tree.link("/f", "/g"), EROFS);
  EXPECT_EQ(tree.chmod("/f", 0600), EROFS);
  EXPECT_EQ(code(vfs::access(*tree.credentials, tree.find("/f").value(), 2)), EROFS);
  EXPECT_EQ(code(vfs::access(*tree.credentials, tree.find("/f").value(), 4)), 0);
}

TEST_P(Names, SpecialFiles) {
  EXPECT_EQ(tree.mknod("/fifo", S_IFIFO | 0666), 0);
  EXPECT_EQ(tree.mknod("/sock", S_IFSOCK | 0666), 0);
  EXPECT_EQ(tree.mknod("/dev", S_IFCHR | 0666, 0x103), 0);
  EXPECT_EQ(tree.mknod("/dir", S_IFDIR | 0666), EPERM);
  EXPECT_EQ(tree.mknod("/odd", 0170000), EINVAL);
  EXPECT_EQ(tree.stat("/dev").rdev, 0x103u);
  EXPECT_EQ(code(tree.open("/sock")), ENXIO);
  EXPECT_EQ(code(tree.open("/dev")), ENXIO);  // nobody registered it here
  tree.context.space->root_mount()->nodev = true;
  EXPECT_EQ(code(tree.open("/dev")), EACCES);
  tree.credentials = user(1000);
  EXPECT_EQ(tree.mknod("/dev2", S_IFCHR | 0666, 0x103), EPERM);
}

TEST_P(Names, AttributesAndTheirOwners) {
  tree.write("/f", "x");
  tree.chmod("/f", 06777);
  EXPECT_EQ(tree.stat("/f").mode & 07777, 06777u);
  EXPECT_EQ(tree.chown("/f", 1000, 1000), 0);
  EXPECT_EQ(tree.stat("/f").mode & 07777, 0777u);  // set-id bits went with the owner
  tree.credentials = user(1000);
  EXPECT_EQ(tree.chmod("/f", 02755), 0);
  EXPECT_EQ(tree.stat("/f").mode & 07777, 02755u);
  EXPECT_EQ(tree.chown("/f", 0, static_cast<gid_t>(-1)), EPERM);
  EXPECT_EQ(tree.chown("/f", static_cast<uid_t>(-1), 5), EPERM);
  tree.credentials = user(1000, {5});
  EXPECT_EQ(tree.chown("/f", static_cast<uid_t>(-1), 5), 0);
  tree.credentials = user(1001);
  EXPECT_EQ(tree.chmod("/f", 0), EPERM);

  // A write by somebody without CAP_FSETID takes the bits away as well.
  tree.credentials = root_user();
  tree.chmod("/f", 04777);
  tree.credentials = user(1001);
  EXPECT_EQ(tree.write("/f", "y", O_WRONLY), 0);
  EXPECT_EQ(tree.stat("/f").mode & 07777, 0777u);
}

TEST_P(Names, Times) {
  tree.write("/f", "x");
  const vfs::Path place = tree.find("/f").value();
  vfs::TimeChange change;
  change.mtime = 123'456'789'012;
  EXPECT_EQ(code(vfs::utimens(*tree.credentials, place, change)), 0);
  EXPECT_EQ(tree.stat("/f").mtime, 123'456'789'012);
  const Nanoseconds atime = tree.stat("/f").atime;
  EXPECT_NE(atime, 123'456'789'012);
  EXPECT_EQ(code(vfs::utimens(*user(5), place, change)), EPERM);
  vfs::TimeChange now;
  now.atime_now = now.mtime_now = true;
  EXPECT_EQ(code(vfs::utimens(*user(5), place, now)), EACCES);
  tree.chmod("/f", 0666);
  EXPECT_EQ(code(vfs::utimens(*user(5), place, now)), 0);
  now.mtime_now = false;
  EXPECT_EQ(code(vfs::utimens(*user(5), place, now)), EPERM);
  EXPECT_GT(tree.stat("/f").mtime, 123'456'789'012);
}

TEST_P(Names, ExecutingAndWritingExcludeEachOther) {
  tree.write("/prog", "x");
  const vfs::InodeRef inode = tree.find("/prog")->dentry->inode();
  {
    const FileRef writer = tree.open("/prog", O_WRONLY).value();
    EXPECT_EQ(code(vfs::deny_writes(inode)), ETXTBSY);
  }
  {
    const auto token = vfs::deny_writes(inode).value();
    EXPECT_EQ(code(tree.open("/prog", O_RDWR)), ETXTBSY);
    EXPECT_EQ(code(vfs::truncate(*tree.credentials, tree.find("/prog").value(), 0)), ETXTBSY);
    EXPECT_EQ(code(tree.open("/prog")), 0);
    EXPECT_EQ(tree.unlink("/prog"), 0);
  }
}

TEST_P(Names, ReaddirSeesWhatStaysExactlyOnce) {
  tree.mkdir("/d");
  for (int i = 0; i < 100; ++i) tree.write("/d/" + std::to_string(i), "");
  const FileRef file = tree.open("/d", O_DIRECTORY).value();
  std::map<std::string, int> seen;
  int round = 0;
  for (;;) {
    EntryList entries(7);
    ASSERT_TRUE(file->readdir(entries).ok());
    if (entries.names.empty()) break;
    for (const auto& name : entries.names) ++seen[name];
    // Others remove, add and rename meanwhile, for ever if need be; even numbers stay.
    tree.unlink("/d/" + std::to_string(2 * round + 1));
    tree.write("/d/new" + std::to_string(round), "");
    tree.rename("/d/" + std::to_string(99 - 2 * round), "/d/moved" + std::to_string(round));
    ASSERT_LT(++round, 100);
  }
  for (int i = 0; i < 100; i += 2) EXPECT_EQ(seen[std::to_string(i)], 1) << i;
  EXPECT_EQ(seen["."], 1);
  EXPECT_EQ(seen[".."], 1);
  // seekdir(3): back to a position that was handed out.
  file->seek(0, SEEK_SET).value();
  EntryList first(5), rest(1), again(1);
  ASSERT_TRUE(file->readdir(first).ok());
  const uint64_t middle = first.last;
  ASSERT_TRUE(file->readdir(rest).ok());
  file->seek(static_cast<int64_t>(middle), SEEK_SET).value();
  ASSERT_TRUE(file->readdir(again).ok());
  EXPECT_EQ(rest.names, again.names);
}

TEST_P(Names, FullNamespace) {
  fs::tmpfs::Options options;
  options.max_inodes = 4;  // the root and three more
  Tree small(fs::tmpfs::make_tmpfs(memory(), options));
  EXPECT_EQ(small.mkdir("/a"), 0);
  EXPECT_EQ(small.symlink("x", "/b"), 0);
  EXPECT_EQ(small.write("/c", ""), 0);
  EXPECT_EQ(small.write("/d", ""), ENOSPC);
  EXPECT_EQ(small.mkdir("/d"), ENOSPC);
  EXPECT_EQ(small.link("/c", "/d"), 0);
  EXPECT_EQ(small.unlink("/b"), 0);
  EXPECT_EQ(small.mkdir("/e"), 0);
}

TEST_P(Names, Xattrs) {
  tree.write("/f", "");
  vfs::Inode& inode = *tree.find("/f")->dentry->inode();
  EXPECT_EQ(code(inode.getxattr("user.a")), ENODATA);
  EXPECT_EQ(code(inode.setxattr("user.a", "1", 0)), 0);
  EXPECT_EQ(code(inode.setxattr("user.a", "2", 1 /* CREATE */)), EEXIST);
  EXPECT_EQ(code(inode.setxattr("user.b", "2", 2 /* REPLACE */)), ENODATA);
  EXPECT_EQ(code(inode.setxattr("odd.b", "2", 0)), EOPNOTSUPP);
  EXPECT_EQ(inode.getxattr("user.a").value(), "1");
  EXPECT_EQ(inode.listxattr().value(), std::vector<std::string>{"user.a"});
  EXPECT_EQ(code(inode.setxattr("user.big", std::string(65536, 'x'), 0)), 0);
  EXPECT_EQ(code(inode.setxattr("user.bigger", std::string(65536, 'x'), 0)), ENOSPC);
  EXPECT_EQ(code(inode.removexattr("user.a")), 0);
  EXPECT_EQ(code(inode.removexattr("user.a")), ENODATA);
}

INSTANTIATE_TEST_SUITE_P(, Names, testing::ValuesIn(kFilesystems),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sentry::vfs_test
