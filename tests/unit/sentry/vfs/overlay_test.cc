// The overlay: what is there without a change, after changes, and that the lower tree never changes.
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>

#include <functional>
#include <random>

#include "tests/unit/sentry/vfs/tree.h"

namespace sentry::vfs_test {
namespace {

// Everything that a guest could see of a tree, but for times and numbers.
std::string describe(const Tree& tree, const std::string& path = "") {
  const vfs::Attributes facts = tree.stat(path.empty() ? "/" : path);
  std::string text = fmt::format("{} {:o} n{} {}:{}", path.empty() ? "/" : path, facts.mode, facts.nlink,
                                 facts.uid, facts.gid);
  if (S_ISREG(facts.mode))
    text += fmt::format(" {} {}", facts.size, std::hash<std::string>{}(tree.read(path)));
  if (S_ISLNK(facts.mode)) text += " -> " + tree.find(path, false)->dentry->inode()->readlink().value();
  const auto place = tree.find(path.empty() ? "/" : path, false).value();
  const std::vector<std::string> xattrs = place.dentry->inode()->listxattr().value();
  for (const std::string& name : xattrs)
    text += " " + name + "=" + place.dentry->inode()->getxattr(name).value();
  text += "\n";
  if (S_ISDIR(facts.mode))
    for (const std::string& name : tree.list(path.empty() ? "/" : path))
      text += describe(tree, path + "/" + name);
  return text;
}

void populate(const Tree& tree) {
  tree.mkdir("/etc");
  tree.write("/etc/passwd", "root:0\n");
  tree.write("/etc/hosts", "localhost\n");
  tree.mkdir("/usr");
  tree.mkdir("/usr/lib");
  tree.write("/usr/lib/libc", std::string(300'000, 'c'));
  tree.link("/usr/lib/libc", "/usr/lib/libc.6");
  tree.symlink("libc.6", "/usr/lib/libc.so");
  tree.mkdir("/empty");
  tree.mkdir("/usr/share");
  for (int i = 0; i < 20; ++i) tree.write(fmt::format("/usr/share/{}", i), fmt::format("doc {}", i));
  tree.chmod("/etc/passwd", 0640);
  (void)tree.find("/etc/hosts")->dentry->inode()->setxattr("user.note", "lower", 0);
}

class Overlay : public testing::Test {
 protected:
  Overlay()
      : lower_superblock(fs::tmpfs::make_tmpfs(memory(), {})),
        below(lower_superblock),
        before((populate(below), describe(below))),
        tree(fs::overlay::make_overlay(lower_superblock, memory(), {})) {}
  ~Overlay() override { EXPECT_EQ(describe(below), before) << "the lower tree was changed"; }

  std::shared_ptr<vfs::Superblock> lower_superblock;
  Tree below;
  std::string before;
  Tree tree;
};

TEST_F(Overlay, ShowsTheLowerTree) {
  EXPECT_EQ(describe(tree), before);
  EXPECT_EQ(tree.stat("/etc/passwd").ino, below.stat("/etc/passwd").ino);
  EXPECT_EQ(tree.list("/usr/share").size(), 20u);
  const FileRef directory = tree.open("/etc").value();
  EntryList entries;
  EXPECT_TRUE(directory->readdir(entries).ok());
  EXPECT_EQ(entries.inodes["passwd"], below.stat("/etc/passwd").ino);
  EXPECT_EQ(entries.inodes[".."], tree.stat("/").ino);
}

TEST_F(Overlay, AnUntouchedFileIsTheLowerFile) {
  const auto mapping = tree.open("/usr/lib/libc").value()->mmap(PROT_READ, MAP_PRIVATE).value();
  const auto lower = below.open("/usr/lib/libc").value()->mmap(PROT_READ, MAP_PRIVATE).value();
  const auto here = mapping->backing(4096, 4096, false).value(),
             there = lower->backing(4096, 4096, false).value();
  EXPECT_EQ(here.host_fd, there.host_fd);
  EXPECT_EQ(here.host_offset, there.host_offset);
  EXPECT_EQ(mapping->identity().path, "/usr/lib/libc");
  EXPECT_EQ(mapping->identity().inode, tree.stat("/usr/lib/libc").ino);
  // Another open, another name of the file: the same mapping.
  EXPECT_EQ(tree.open("/usr/lib/libc.6").value()->mmap(PROT_READ, MAP_PRIVATE).value(), mapping);
}

TEST_F(Overlay, AWriteCopiesTheFile) {
  const uint64_t ino = tree.stat("/usr/lib/libc").ino;
  const FileRef reader = tree.open("/usr/lib/libc").value();
  EXPECT_EQ(get(*reader, 3).value(), "ccc");
  const auto old_mapping = reader->mmap(PROT_READ, MAP_PRIVATE).value();
  const FileRef writer = tree.open("/usr/lib/libc.6", O_RDWR).value();
  put(*writer, "new", 3).value();
  EXPECT_EQ(get(*reader, 6, 0).value(), "cccnew");  // who had it open sees the write
  EXPECT_EQ(get(*reader, 4).value(), "newc");       // at its own position
  EXPECT_EQ(tree.read("/usr/lib/libc").size(), 300'000u);
  EXPECT_EQ(tree.stat("/usr/lib/libc").ino, ino);
  EXPECT_EQ(tree.stat("/usr/lib/libc").nlink, 2u);
  EXPECT_EQ(writer->inode(), reader->inode());
  // A mapping from before keeps the lower pages, as overlayfs does; a new one has the new.
  const auto backing = old_mapping->backing(0, 4096, false).value();
  char bytes[6];
  ASSERT_EQ(::pread(backing.host_fd, bytes, 6, static_cast<off_t>(backing.host_offset)), 6);
  EXPECT_EQ(std::string(bytes, 6), "cccccc");
  const auto new_mapping = reader->mmap(PROT_READ, MAP_PRIVATE).value();
  const auto fresh = new_mapping->backing(0, 4096, false).value();
  ASSERT_EQ(::pread(fresh.host_fd, bytes, 6, static_cast<off_t>(fresh.host_offset)), 6);
  EXPECT_EQ(std::string(bytes, 6), "cccnew");
  EXPECT_EQ(new_mapping->identity().inode, ino);
}

TEST_F(Overlay, AttributesAreCopiedWithoutContents) {
  struct statfs start = tree.find("/")->mount->superblock->statfs().value();
  EXPECT_EQ(tree.chmod("/usr/lib/libc", 0700), 0);
  EXPECT_EQ(tree.chown("/etc/passwd", 7, 8), 0);
  struct statfs end = tree.find("/")->mount->superblock->statfs().value();
  EXPECT_EQ(start.f_bfree, end.f_bfree);
  EXPECT_EQ(tree.stat("/usr/lib/libc.6").mode, uint32_t{S_IFREG | 0700});
  EXPECT_EQ(tree.stat("/usr/lib/libc.6").size, 300'000u);
  EXPECT_EQ(tree.stat("/usr/lib/libc.6").blocks, below.stat("/usr/lib/libc").blocks);
  EXPECT_EQ(tree.read("/usr/lib/libc"), std::string(300'000, 'c'));
  EXPECT_EQ(tree.stat("/etc/passwd").uid, 7u);
  tree.credentials = user(7);
  EXPECT_EQ(code(tree.open("/etc/passwd")), 0);
}

TEST_F(Overlay, TruncationCopiesWhatRemains) {
  struct statfs start = tree.find("/")->mount->superblock->statfs().value();
  EXPECT_EQ(tree.write("/usr/lib/libc", "short"), 0);  // O_TRUNC
  EXPECT_EQ(tree.read("/usr/lib/libc.6"), "short");
  struct statfs end = tree.find("/")->mount->superblock->statfs().value();
  EXPECT_EQ(start.f_bfree, end.f_bfree + 1);
  const FileRef file = tree.open("/etc/hosts", O_RDWR).value();
  EXPECT_EQ(code(file->truncate(5, vfs::SetId::kDropped)), 0);
  EXPECT_EQ(tree.read("/etc/hosts"), "local");
  EXPECT_EQ(code(file->truncate(7, vfs::SetId::kDropped)), 0);
  EXPECT_EQ(tree.read("/etc/hosts"), std::string("local\0\0", 7));
}

TEST_F(Overlay, RemovedNamesStayRemoved) {
  EXPECT_EQ(tree.unlink("/etc/passwd"), 0);
  EXPECT_FALSE(tree.exists("/etc/passwd"));
  EXPECT_EQ(tree.list("/etc"), std::vector<std::string>{"hosts"});
  tree.context.space->dentries().trim(0);
  EXPECT_FALSE(tree.exists("/etc/passwd"));
  EXPECT_EQ(tree.write("/etc/passwd", "mine"), 0);
  EXPECT_EQ(tree.read("/etc/passwd"), "mine");
  EXPECT_EQ(tree.list("/etc"), (std::vector<std::string>{"hosts", "passwd"}));
  EXPECT_EQ(tree.stat("/etc/passwd").mode, uint32_t{S_IFREG | 0644});
  EXPECT_EQ(tree.unlink("/etc/passwd"), 0);
  EXPECT_FALSE(tree.exists("/etc/passwd"));

  EXPECT_EQ(tree.rmdir("/etc"), ENOTEMPTY);
  EXPECT_EQ(tree.unlink("/etc/hosts"), 0);
  EXPECT_EQ(tree.rmdir("/etc"), 0);
  EXPECT_EQ(tree.mkdir("/etc"), 0);
  EXPECT_TRUE(tree.list("/etc").empty());  // an opaque directory
  EXPECT_EQ(tree.stat("/etc").nlink, 2u);
}

TEST_F(Overlay, AnUnlinkedFileLivesWhileOpen) {
  const FileRef file = tree.open("/etc/hosts").value();
  EXPECT_EQ(tree.unlink("/etc/hosts"), 0);
  EXPECT_EQ(file->inode()->getattr()->nlink, 0u);
  EXPECT_EQ(get(*file, 100).value(), "localhost\n");
  const FileRef writer = tree.open("/usr/share/1", O_RDWR).value();
  EXPECT_EQ(tree.unlink("/usr/share/1"), 0);
  put(*writer, "DOC").value();
  EXPECT_EQ(get(*writer, 10, 0).value(), "DOC 1");
}

TEST_F(Overlay, ChangesSurviveTheCaches) {
  tree.chmod("/usr/share/3", 0600);
  tree.write("/usr/share/4", "changed");
  tree.mkdir("/usr/share/new");
  tree.write("/usr/share/new/file", "deep");
  const std::string changed = describe(tree);
  tree.context.space->dentries().trim(0);
  EXPECT_EQ(describe(tree), changed);
}

TEST_F(Overlay, DirectoriesMoveWithTheirLowerPart) {
  EXPECT_EQ(tree.rename("/usr", "/etc/usr"), 0);
  EXPECT_EQ(tree.read("/etc/usr/share/7"), "doc 7");
  EXPECT_EQ(tree.list("/etc/usr/share").size(), 20u);
  EXPECT_FALSE(tree.exists("/usr"));
  EXPECT_EQ(tree.stat("/").nlink, 4u);
  EXPECT_EQ(tree.stat("/etc").nlink, 3u);
  tree.context.space->dentries().trim(0);
  EXPECT_EQ(tree.read("/etc/usr/share/7"), "doc 7");
  EXPECT_EQ(tree.write("/etc/usr/share/7", "changed"), 0);
  EXPECT_EQ(tree.mkdir("/usr"), 0);
  EXPECT_TRUE(tree.list("/usr").empty());
  EXPECT_EQ(tree.rename("/etc/usr", "/usr"), 0);  // over an empty one
  EXPECT_EQ(tree.read("/usr/share/7"), "changed");
  EXPECT_EQ(tree.rename("/empty", "/usr"), ENOTEMPTY);
  EXPECT_EQ(tree.rename("/usr/share", "/usr/lib/share", RENAME_NOREPLACE), 0);
  EXPECT_EQ(tree.rename("/usr/lib", "/empty", RENAME_EXCHANGE), 0);
  EXPECT_EQ(tree.read("/empty/share/7"), "changed");
  EXPECT_TRUE(tree.list("/usr/lib").empty());
}

TEST_F(Overlay, HardLinksOfTheLowerTreeStayTogether) {
  EXPECT_EQ(tree.stat("/usr/lib/libc").nlink, 2u);
  EXPECT_EQ(tree.link("/usr/lib/libc", "/etc/third"), 0);
  EXPECT_EQ(tree.stat("/usr/lib/libc.6").nlink, 3u);
  tree.context.space->dentries().trim(0);
  EXPECT_EQ(tree.write("/etc/third", "all"), 0);
  EXPECT_EQ(tree.read("/usr/lib/libc"), "all");
  EXPECT_EQ(tree.unlink("/usr/lib/libc"), 0);
  EXPECT_EQ(tree.stat("/usr/lib/libc.6").nlink, 2u);
  EXPECT_EQ(tree.read("/usr/lib/libc.so"), "all");
}

TEST_F(Overlay, XattrsComeAlong) {
  vfs::Inode& inode = *tree.find("/etc/hosts")->dentry->inode();
  EXPECT_EQ(inode.getxattr("user.note").value(), "lower");
  tree.chmod("/etc/hosts", 0600);
  EXPECT_EQ(inode.getxattr("user.note").value(), "lower");
  EXPECT_EQ(code(inode.setxattr("user.own", "upper", 0)), 0);
  EXPECT_EQ(inode.listxattr().value(), (std::vector<std::string>{"user.note", "user.own"}));
  EXPECT_EQ(code(inode.removexattr("user.note")), 0);
  EXPECT_EQ(inode.listxattr().value(), std::vector<std::string>{"user.own"});
  EXPECT_EQ(code(inode.removexattr("security.capability")), ENODATA);
}

TEST_F(Overlay, HolesStayHoles) {
  {
    const FileRef sparse = below.open("/sparse", O_CREAT | O_RDWR).value();
    put(*sparse, "end", 10 << 20).value();
  }
  const FileRef file = tree.open("/sparse", O_RDWR).value();
  put(*file, "start", 0).value();
  EXPECT_EQ(tree.stat("/sparse").size, (10u << 20) + 3);
  EXPECT_LE(tree.stat("/sparse").blocks, 8u + 128u);
  EXPECT_EQ(get(*file, 8, (10 << 20) - 4).value(), std::string("\0\0\0\0end", 7));
  below.unlink("/sparse");
}

TEST_F(Overlay, MergedListingsSurviveChanges) {
  for (int i = 0; i < 10; ++i) tree.write(fmt::format("/usr/share/own{}", i), "");
  const FileRef file = tree.open("/usr/share", O_DIRECTORY).value();
  std::map<std::string, int> seen;
  for (int round = 0;; ++round) {
    EntryList entries(4);
    ASSERT_TRUE(file->readdir(entries).ok());
    if (entries.names.empty()) break;
    for (const auto& name : entries.names) ++seen[name];
    tree.unlink(fmt::format("/usr/share/{}", 2 * round + 1));
    tree.write(fmt::format("/usr/share/late{}", round), "");
    tree.write(fmt::format("/usr/share/{}", 2 * round % 20), "changed in place");
    ASSERT_LT(round, 100);
  }
  for (int i = 0; i < 20; i += 2) EXPECT_EQ(seen[std::to_string(i)], 1) << i;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(seen[fmt::format("own{}", i)], 1) << i;
  file->seek(0, SEEK_SET).value();
  EntryList all;
  ASSERT_TRUE(file->readdir(all).ok());
  EXPECT_EQ(all.inodes.count("late0"), 1u);
  EXPECT_EQ(all.inodes.count("1"), 0u);
}

TEST_F(Overlay, NoMemoryIsAnErrorAndLeavesTheFile) {
  fs::overlay::Options options;
  options.size_bytes = 10 * 4096;
  Tree small(fs::overlay::make_overlay(lower_superblock, memory(), options));
  const FileRef file = small.open("/usr/lib/libc", O_RDWR).value();
  EXPECT_EQ(code(put(*file, "x", 0)), ENOSPC);
  EXPECT_EQ(get(*file, 2, 0).value(), "cc");
  EXPECT_EQ(small.stat("/usr/lib/libc").size, 300'000u);
  EXPECT_EQ(small.write("/etc/passwd", "fits"), 0);
}

// The same random calls on the overlay and on a plain copy of its lower tree have the same answers and the
// same effect.
TEST_F(Overlay, BehavesLikeAPlainCopy) {
  std::mt19937 random(4711);
  for (int run = 0; run < 30; ++run) {
    Tree plain;
    populate(plain);
    Tree over(fs::overlay::make_overlay(lower_superblock, memory(), {}));
    // Mostly names that exist, so that most calls do something.
    const std::vector<std::string> names{"etc",  "usr",    "lib",    "share", "empty",
                                         "libc", "libc.6", "passwd", "1",     "new"};
    const auto path = [&] {
      std::string text;
      for (uint64_t depth = random() % 4 + 1; depth > 0; --depth) {
        std::vector<std::string> present;
        if (random() % 4 != 0 && plain.find(text + "/.").ok()) present = plain.list(text + "/");
        const std::vector<std::string>& choice = present.empty() ? names : present;
        text += "/" + choice[random() % choice.size()];
      }
      return text;
    };
    for (int step = 0; step < 300; ++step) {
      const std::string one = path(), two = path();
      const uint64_t kind = random() % 12;
      const auto flags = static_cast<unsigned>(random() % 3 == 0 ? random() % 3 : 0);
      const uint64_t number = random() % 100'000;
      const auto apply = [&](const Tree& t) -> int {
        switch (kind) {
          case 0:
            return t.mkdir(one);
          case 1:
            return t.rmdir(one);
          case 2:
            return t.unlink(one);
          case 3:
          case 4:
            return t.rename(one, two, flags);
          case 5:
            return t.link(one, two);
          case 6:
            return t.symlink(two, one);
          case 7:
            return t.write(one, two, O_CREAT | O_WRONLY | (number % 2 == 0 ? O_TRUNC : O_APPEND));
          case 8:
            return t.chmod(one, static_cast<uint32_t>(number % 01000));
          case 9: {
            const auto file = t.open(one, O_RDWR);
            if (!file.ok()) return code(file);
            return number % 2 == 0 ? code((*file)->truncate(number, vfs::SetId::kDropped))
                                   : code(put(**file, two, number));
          }
          case 10:
            t.context.space->dentries().trim(number % 3);
            return 0;
          default: {
            const auto place = t.find(one);
            return place.ok() ? code(place->dentry->inode()->setxattr("user.x", two, 0)) : code(place);
          }
        }
      };
      const int expected = apply(plain), answer = apply(over);
      ASSERT_EQ(answer, expected) << "run " << run << " step " << step << ": " << kind << " " << one << " "
                                  << two << " " << flags;
    }
    ASSERT_EQ(describe(over), describe(plain)) << "run " << run;
  }
}

}  // namespace
}  // namespace sentry::vfs_test
