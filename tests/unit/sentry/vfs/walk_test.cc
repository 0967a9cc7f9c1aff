// path_resolution(7), symlink(7), openat2(2).
#include <linux/openat2.h>

#include "tests/unit/sentry/vfs/tree.h"

namespace sentry::vfs_test {
namespace {

class Walk : public testing::Test {
 protected:
  Walk() {
    tree.mkdir("/a");
    tree.mkdir("/a/b");
    tree.write("/a/b/file", "x");
    tree.symlink("b", "/a/link");
    tree.symlink("/a/b/", "/a/slash");
    tree.symlink("nowhere", "/a/dangling");
    tree.symlink("loop", "/a/loop");
  }
  int error(std::string_view path, bool follow = true, uint64_t resolve = 0) {
    return code(tree.find(path, follow, resolve));
  }
  Tree tree;
};

TEST_F(Walk, FindsPlaces) {
  EXPECT_EQ(tree.text_of("/"), "/");
  EXPECT_EQ(tree.text_of("///a//b///file"), "/a/b/file");
  EXPECT_EQ(tree.text_of("a/./b/../b/file"), "/a/b/file");
  EXPECT_EQ(tree.text_of("/../../a"), "/a");
  EXPECT_EQ(tree.text_of("/a/link/file"), "/a/b/file");
  EXPECT_EQ(tree.text_of("/a/slash/file"), "/a/b/file");
  EXPECT_EQ(tree.text_of("/a/link/.."), "/a");
  tree.context.cwd = tree.find("/a/b").value();
  EXPECT_EQ(tree.text_of("../link"), "/a/b");
  EXPECT_EQ(tree.text_of("."), "/a/b");
}

TEST_F(Walk, TellsWhatIsWrong) {
  EXPECT_EQ(error(""), ENOENT);
  EXPECT_EQ(error("/none"), ENOENT);
  EXPECT_EQ(error("/none/x"), ENOENT);
  EXPECT_EQ(error("/a/b/file/x"), ENOTDIR);
  EXPECT_EQ(error("/a/b/file/"), ENOTDIR);
  EXPECT_EQ(error("/a/b/file/."), ENOTDIR);
  EXPECT_EQ(error("/a/b/file/.."), ENOTDIR);
  EXPECT_EQ(error("/a/dangling"), ENOENT);
  EXPECT_EQ(error("/a/dangling", false), 0);
  EXPECT_EQ(error("/a/dangling/", false), ENOENT);
  EXPECT_EQ(error("/a/loop"), ELOOP);
  EXPECT_EQ(error("/a/loop/x"), ELOOP);
  EXPECT_EQ(error("/a/" + std::string(255, 'n')), ENOENT);
  EXPECT_EQ(error("/a/" + std::string(256, 'n')), ENAMETOOLONG);
  EXPECT_EQ(error(std::string(2048, '/') + std::string(2047, '/')), 0);
  EXPECT_EQ(error(std::string(4096, '/')), ENAMETOOLONG);
}

TEST_F(Walk, ATrailingSlashFollowsTheLink) {
  EXPECT_TRUE(tree.find("/a/link", false)->dentry->inode()->is_symlink());
  EXPECT_EQ(tree.text_of("/a/link/"), "/a/b");
  EXPECT_TRUE(tree.find("/a/link/", false)->dentry->inode()->is_directory());
  tree.symlink("b/file/", "/a/filelink");
  EXPECT_EQ(error("/a/filelink"), ENOTDIR);
}

TEST_F(Walk, FollowsFortyLinksAndNotMore) {
  tree.mkdir("/chain");
  tree.write("/chain/0", "end");
  for (int i = 1; i <= 41; ++i) tree.symlink(std::to_string(i - 1), "/chain/" + std::to_string(i));
  EXPECT_EQ(error("/chain/40"), 0);
  EXPECT_EQ(error("/chain/41"), ELOOP);
  EXPECT_EQ(error("/chain/41", false), 0);
}

TEST_F(Walk, NeedsSearchPermissionOnEachDirectory) {
  tree.mkdir("/closed");
  tree.mkdir("/closed/in");
  tree.write("/closed/in/file", "x");
  tree.chmod("/closed", 0600);
  tree.credentials = user(1000);
  EXPECT_EQ(error("/closed"), 0);
  EXPECT_EQ(error("/closed/in"), EACCES);
  EXPECT_EQ(error("/closed/none"), EACCES);
  EXPECT_EQ(error("/closed/in/file"), EACCES);
  EXPECT_EQ(error("/closed/.."), EACCES);
  EXPECT_EQ(error("/closed/" + std::string(300, 'n')), EACCES);
}

TEST_F(Walk, ResolveFlags) {
  EXPECT_EQ(error("/a/link/file", true, RESOLVE_NO_SYMLINKS), ELOOP);
  EXPECT_EQ(error("/a/link", false, RESOLVE_NO_SYMLINKS), 0);
  EXPECT_EQ(error("/a/link", true, RESOLVE_NO_SYMLINKS), ELOOP);
  EXPECT_EQ(error("/a", true, RESOLVE_BENEATH), EXDEV);
  tree.context.cwd = tree.find("/a").value();
  EXPECT_EQ(error("b/../b/file", true, RESOLVE_BENEATH), 0);
  EXPECT_EQ(error("../a", true, RESOLVE_BENEATH), EXDEV);
  EXPECT_EQ(error("slash/file", true, RESOLVE_BENEATH), EXDEV);
  EXPECT_EQ(error("/b/../../b/file", true, RESOLVE_IN_ROOT), 0);
  EXPECT_EQ(error("slash", true, RESOLVE_IN_ROOT), ENOENT);  // "/a/b" below /a
  EXPECT_EQ(error("b/file", true, RESOLVE_CACHED), 0);       // known since the fixture made it
  EXPECT_EQ(error("b/unknown", true, RESOLVE_CACHED), EAGAIN);
  EXPECT_EQ(error("b/unknown"), ENOENT);
  EXPECT_EQ(error("b/unknown", true, RESOLVE_CACHED), ENOENT);  // and now its absence is known
}

TEST_F(Walk, CrossesMountsBothWays) {
  const auto inner =
      tree.context.space->mount(tree.find("/a/b").value(), fs::tmpfs::make_tmpfs(memory(), {}));
  ASSERT_TRUE(inner.ok());
  EXPECT_EQ(error("/a/b/file"), ENOENT);
  tree.write("/a/b/new", "inner");
  EXPECT_EQ(tree.text_of("/a/b/new"), "/a/b/new");
  EXPECT_EQ(tree.text_of("/a/b/../link/new"), "/a/b/new");
  EXPECT_EQ(error("/a/b/new", true, RESOLVE_NO_XDEV), EXDEV);
  EXPECT_EQ(tree.rmdir("/a/b"), EBUSY);
  EXPECT_EQ(tree.rename("/a/b", "/a/c"), EBUSY);
  EXPECT_EQ(tree.rename("/a/b/new", "/a/new"), EXDEV);
  EXPECT_EQ(tree.link("/a/b/new", "/a/new"), EXDEV);

  {
    const auto busy = tree.open("/a/b/new").value();
    EXPECT_EQ(code(tree.context.space->unmount(tree.find("/a/b").value(), false)), EBUSY);
  }
  EXPECT_EQ(code(tree.context.space->unmount(tree.find("/a").value(), false)), EINVAL);
  EXPECT_NE(tree.stat("/a").ino, 0u);
  const std::weak_ptr<vfs::Superblock> gone = (*inner)->superblock;
  const_cast<Result<vfs::MountRef>&>(inner).value().reset();
  EXPECT_EQ(code(tree.context.space->unmount(tree.find("/a/b").value(), false)), 0);
  EXPECT_TRUE(gone.expired()) << "something holds on to the unmounted file system";
  EXPECT_EQ(tree.read("/a/b/file"), "x");
}

TEST_F(Walk, BindMountsShareNames) {
  tree.mkdir("/view");
  ASSERT_TRUE(tree.context.space->bind(tree.find("/view").value(), tree.find("/a").value(), false).ok());
  EXPECT_EQ(tree.read("/view/b/file"), "x");
  tree.write("/view/b/second", "y");
  EXPECT_EQ(tree.read("/a/b/second"), "y");
  EXPECT_EQ(tree.text_of("/view/b/../.."), "/");
  tree.rename("/a/b/second", "/a/b/third");
  EXPECT_FALSE(tree.exists("/view/b/second"));
  tree.write("/plain", "");
  EXPECT_EQ(code(tree.context.space->bind(tree.find("/plain").value(), tree.find("/a").value(), false)),
            ENOTDIR);
  ASSERT_TRUE(
      tree.context.space->bind(tree.find("/plain").value(), tree.find("/a/b/file").value(), false).ok());
  EXPECT_EQ(tree.read("/plain"), "x");
}

TEST_F(Walk, AMountMayForbidToFollow) {
  tree.mkdir("/view");
  tree.symlink("/view/b", "/into");
  const auto view = tree.context.space->bind(tree.find("/view").value(), tree.find("/a").value(), false);
  ASSERT_TRUE(view.ok());
  (*view)->nosymfollow = true;
  EXPECT_EQ((*view)->options_text(), "rw,relatime,nosymfollow");
  EXPECT_EQ(error("/view/link"), ELOOP);
  EXPECT_EQ(error("/view/link/file"), ELOOP);
  EXPECT_EQ(error("/view/link", false), 0);
  // The link's mount counts, not that of what it leads to.
  EXPECT_EQ(tree.read("/into/file"), "x");
  EXPECT_EQ(tree.read("/a/link/file"), "x");
}

TEST_F(Walk, ARemovedDirectoryIsAPlaceWithoutNames) {
  tree.mkdir("/gone");
  tree.context.cwd = tree.find("/gone").value();
  EXPECT_EQ(tree.rmdir("/gone"), 0);
  EXPECT_EQ(error("."), 0);
  EXPECT_EQ(error(".."), 0);
  EXPECT_EQ(error("x"), ENOENT);
  EXPECT_EQ(tree.mkdir("x"), ENOENT);
  EXPECT_EQ(tree.write("x", ""), ENOENT);
  EXPECT_EQ(tree.context.space->path_text(tree.context.cwd, tree.context.root), "/gone (deleted)");
}

TEST_F(Walk, AProcessRootIsACeiling) {
  tree.context.root = tree.find("/a").value();
  EXPECT_EQ(tree.text_of("/b/file"), "/b/file");
  EXPECT_EQ(error("/../../a"), ENOENT);
  EXPECT_EQ(tree.text_of("/../.."), "/");
  // The working directory is outside of the new root, chroot(2).
  EXPECT_EQ(tree.context.space->path_text(tree.context.cwd, tree.context.root), "(unreachable)/");
}

TEST_F(Walk, ADeepTreeIsTakenDownWithoutRecursion) {
  // Each level is held by the one below only: 100,000 frames would not fit on a fiber's stack.
  Tree deep;
  vfs::FsContext& context = deep.context;
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_EQ(deep.mkdir("d"), 0);
    context.cwd = deep.find("d").value();
  }
  context.space->dentries().trim(0);
  context.cwd = context.root;
}

TEST_F(Walk, TheCacheIsBounded) {
  Tree wide;
  wide.mkdir("/w");
  for (int i = 0; i < 40'000; ++i) EXPECT_FALSE(wide.exists("/w/" + std::to_string(i)));
  EXPECT_LE(wide.context.space->dentries().size(), 16384u);
  EXPECT_EQ(wide.mkdir("/w/1"), 0);
  EXPECT_TRUE(wide.exists("/w/1"));
}

}  // namespace
}  // namespace sentry::vfs_test
