// What a sentry gets that has been taken over: denials, and the end of its connection. Never another file,
// never a hanging or dead gofer without a reason in its log.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <random>
#include <thread>

#include "tests/unit/gofer/gofer_process.h"

namespace gofer_test {
namespace {

using namespace gofer;
using namespace std::string_view_literals;

class HostileClient : public testing::TestWithParam<Uring> {
 protected:
  GoferProcess& start(Launch launch) {
    launch.uring = GetParam();
    gofer_.emplace(launch);
    hello_ = gofer_->hello();
    root_ = gofer_->attach().id;
    return *gofer_;
  }
  GoferProcess& start() { return start({.attach = {{tree_.path()}}}); }

  // The gofer is as well as ever.
  void TearDown() override {
    if (!gofer_) return;
    EXPECT_EQ(gofer_->finish(), 0);
    EXPECT_EQ(gofer_->log(), "");
  }

  TemporaryTree tree_;
  std::optional<GoferProcess> gofer_;
  HelloReply hello_;
  Id root_ = kNoId;
};

// Does something over and over beside the test, until the end of its scope.
class Meanwhile {
 public:
  explicit Meanwhile(std::function<void()> act)
      : thread_([this, act = std::move(act)] {
          while (!stop_.load(std::memory_order_relaxed)) {
            act();
            rounds_.fetch_add(1, std::memory_order_relaxed);
          }
        }) {}
  ~Meanwhile() {
    stop_ = true;
    thread_.join();
  }
  int rounds() const { return rounds_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> rounds_{0};
  std::thread thread_;
};

std::vector<uint8_t> name_body(std::string_view name) {
  return GoferProcess::pack(static_cast<uint16_t>(name.size()), {}, name);
}

TEST_P(HostileClient, NamesLeadNowhereElse) {
  std::filesystem::create_directory(tree_.at("dir"));
  tree_.write("file", "x");
  GoferProcess& gofer = start();
  const Id file = gofer.find(root_, {"file"}).id;
  for (const auto name :
       {""sv, "."sv, ".."sv, "/"sv, "/etc"sv, "dir/.."sv, "../x"sv, "dir/"sv, "a\0b"sv, "\0"sv}) {
    EXPECT_EQ(gofer.walk(root_, {name}).error, EINVAL);
    EXPECT_EQ(gofer.walk(root_, {"dir", name}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDWR, .mode = 0600}, {name}).error,
              EINVAL);
    EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 0700}, {name}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kMknod, root_, MakeRequest{.mode = S_IFIFO | 0600}, {name}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kSymlink, root_, MakeRequest{}, {name, "x"}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kLink, root_, LinkRequest{.target = file}, {name}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kUnlink, root_, name_body(name)).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kRmdir, root_, name_body(name)).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = root_}, {name, "x"}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = root_}, {"file", name}).error,
              EINVAL);
  }
  const std::string long_name(kMaxName + 1, 'x');
  EXPECT_EQ(gofer.walk(root_, {long_name}).error, ENAMETOOLONG);
  EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 0700}, {long_name}).error, ENAMETOOLONG);
  EXPECT_EQ(gofer.call(Op::kSymlink, root_, MakeRequest{}, {"l", std::string(kMaxLink + 1, 'x')}).error,
            ENAMETOOLONG);
  EXPECT_EQ(gofer.call(Op::kSymlink, root_, MakeRequest{}, {"l", ""}).error, ENOENT);
  EXPECT_EQ(gofer.call(Op::kSymlink, root_, MakeRequest{}, {"l", "a\0b"sv}).error, EINVAL);
  EXPECT_TRUE(tree_.exists("file"));
  EXPECT_FALSE(tree_.exists("x"));
}

TEST_P(HostileClient, SymlinksAreNeverFollowed) {
  TemporaryTree outside;
  outside.write("secret", "secret");
  std::filesystem::create_directory_symlink(outside.path(), tree_.at("out"));
  std::filesystem::create_symlink(outside.at("secret"), tree_.at("leak"));
  std::filesystem::create_symlink("..", tree_.at("up"));
  GoferProcess& gofer = start();
  for (const auto name : {"out", "up"}) {
    const auto walked = gofer.walk(root_, {name, "secret"}, kWalkOpen, O_RDONLY);
    EXPECT_EQ(walked.head.stop, static_cast<uint16_t>(WalkStop::kSymlink));
    EXPECT_FALSE(walked.opened);
    // Nor is a symlink a directory for the other operations.
    const Id link = walked.nodes.at(0).id;
    EXPECT_EQ(gofer.walk(link, {"secret"}).head.count, 0);
    EXPECT_EQ(gofer.call(Op::kCreate, link, CreateRequest{.flags = O_RDWR, .mode = 0600}, {"new"}).error,
              ENOTDIR);
    EXPECT_EQ(gofer.call(Op::kMkdir, link, MakeRequest{.mode = 0700}, {"new"}).error, ENOTDIR);
    EXPECT_EQ(gofer.call(Op::kUnlink, link, name_body("secret")).error, ENOTDIR);
    EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = link}, {"leak", "x"}).error, ENOTDIR);
    EXPECT_EQ(gofer.readdir(link, 0).error, ENOTDIR);
  }
  const auto leak = gofer.walk(root_, {"leak"}, kWalkOpen, O_RDONLY);
  EXPECT_FALSE(leak.opened);
  EXPECT_EQ(gofer.call(Op::kOpen, leak.nodes[0].id, OpenRequest{.flags = O_RDWR}).error, ELOOP);
  EXPECT_EQ(gofer.call(Op::kSetattr, leak.nodes[0].id, SetattrRequest{.valid = kSetMode, .mode = 0}).error,
            EOPNOTSUPP);
  EXPECT_EQ(gofer.call(Op::kSetattr, leak.nodes[0].id, SetattrRequest{.valid = kSetSize, .size = 0}).error,
            EINVAL);
  EXPECT_EQ(gofer.call(Op::kSetxattr, leak.nodes[0].id, SetxattrRequest{.size = 1}, {"user.x"}, "x").error,
            EPERM);
  // Creating, truncating or removing under a symlink's name touches the name alone.
  EXPECT_EQ(
      gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDWR | O_TRUNC, .mode = 0600}, {"leak"}).error,
      EEXIST);
  EXPECT_EQ(gofer.call(Op::kUnlink, root_, name_body("leak")).error, 0);
  EXPECT_EQ(outside.read("secret"), "secret");
  EXPECT_FALSE(outside.exists("new"));
}

// Another process swaps a directory for a symlink that leads out, as fast as it can.
TEST_P(HostileClient, ASwappedSymlinkDoesNotLeadOut) {
  TemporaryTree outside;
  outside.write("secret", "secret");
  std::filesystem::create_directory(tree_.at("dir"));
  tree_.write("dir/secret", "public");
  std::filesystem::create_directory_symlink(outside.path(), tree_.at("link"));
  struct stat secret;
  ASSERT_EQ(::stat(outside.at("secret").c_str(), &secret), 0);
  GoferProcess& gofer = start();
  const Fd tree(::open(tree_.path().c_str(), O_PATH | O_CLOEXEC));
  Meanwhile swap(
      [&] { ::syscall(SYS_renameat2, tree.get(), "dir", tree.get(), "link", 2 /* RENAME_EXCHANGE */); });
  int inside = 0, stopped = 0, made = 0;
  for (int i = 0; i < 20000 && (i < 2000 || inside < 100 || stopped < 100); ++i) {
    auto walked = gofer.walk(root_, {"dir", "secret"}, kWalkOpen, O_RDONLY);
    std::vector<Id> ids;
    for (const Node& node : walked.nodes) {
      EXPECT_NE(node.attr.ino, secret.st_ino);
      ids.push_back(node.id);
    }
    if (walked.opened) {
      char content[16] = {};
      EXPECT_EQ(::pread(walked.fd.get(), content, sizeof(content), 0), 6);
      EXPECT_STREQ(content, "public");
      ids.push_back(walked.opened->handle);
      ++inside;
    } else {
      ++stopped;
    }
    // A name in the swapped place: what is made lands in the directory that was walked to.
    if (!walked.nodes.empty()) {
      const Reply reply = gofer.call(Op::kMkdir, walked.nodes[0].id, MakeRequest{.mode = 0700}, {"made"});
      if (reply.error == 0) {
        ids.push_back(reply.as<Node>().id);
        EXPECT_EQ(gofer.call(Op::kRmdir, walked.nodes[0].id, name_body("made")).error, 0);
        ++made;
      }
    }
    if (!ids.empty()) gofer.forget(ids);
  }
  EXPECT_GT(inside, 0);
  EXPECT_GT(stopped, 0);
  EXPECT_GT(made, 0);
  EXPECT_GT(swap.rounds(), 100);
  EXPECT_FALSE(outside.exists("made"));
}

// The file behind a node is renamed over and over: reopening it, changing its mode, linking it must reach it
// and nothing else.
TEST_P(HostileClient, ANodeNeverTurnsIntoAnotherFile) {
  tree_.write("victim", "victim");
  tree_.write("other", "other!");
  ASSERT_EQ(::mkfifo(tree_.at("fifo").c_str(), 0600), 0);
  GoferProcess& gofer = start();
  const Node node = gofer.find(root_, {"victim"});
  const Fd tree(::open(tree_.path().c_str(), O_PATH | O_CLOEXEC));
  struct stat other_before, fifo_before;
  ASSERT_EQ(::stat(tree_.at("other").c_str(), &other_before), 0);
  ASSERT_EQ(::stat(tree_.at("fifo").c_str(), &fifo_before), 0);
  {
    Meanwhile shuffle([&] {
      ::syscall(SYS_renameat2, tree.get(), "victim", tree.get(), "other", 2);
      ::syscall(SYS_renameat2, tree.get(), "victim", tree.get(), "fifo", 2);
    });
    for (int i = 0; i < 1000 || shuffle.rounds() < 100; ++i) {
      const Reply opened = gofer.call(Op::kOpen, node.id, OpenRequest{.flags = O_RDONLY});
      ASSERT_EQ(opened.error, 0);
      char content[16] = {};
      EXPECT_EQ(::pread(opened.fd.get(), content, sizeof(content), 0), 6);
      EXPECT_STREQ(content, "victim");
      const auto mode = static_cast<uint32_t>(0600 + i % 0100);
      const Attr attr =
          gofer.call(Op::kSetattr, node.id, SetattrRequest{.valid = kSetMode, .mode = mode}).as<Attr>();
      EXPECT_EQ(attr.ino, node.attr.ino);
      EXPECT_EQ(attr.mode & 07777, mode);
      const auto linked = gofer.call(Op::kLink, root_, LinkRequest{.target = node.id}, {"linked"});
      EXPECT_EQ(linked.as<Attr>().ino, node.attr.ino);
      EXPECT_EQ(gofer.find(root_, {"linked"}).attr.ino, node.attr.ino);
      EXPECT_EQ(gofer.call(Op::kUnlink, root_, name_body("linked")).error, 0);
      gofer.forget({opened.as<Opened>().handle});
    }
  }
  for (const char* name : {"victim", "other", "fifo"}) {
    struct stat status;
    ASSERT_EQ(::stat(tree_.at(name).c_str(), &status), 0);
    if (status.st_ino == other_before.st_ino) {
      EXPECT_EQ(status.st_mode, other_before.st_mode);
    }
    if (status.st_ino == fifo_before.st_ino) {
      EXPECT_EQ(status.st_mode, fifo_before.st_mode);
    }
  }
}

TEST_P(HostileClient, ForgedIdsReachNothing) {
  tree_.write("file", "x");
  GoferProcess& gofer = start();
  const auto walked = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR);
  const Id node = walked.nodes[0].id;
  const Id handle = walked.opened->handle;
  const auto open = [&](Id id) { return gofer.call(Op::kOpen, id, OpenRequest{.flags = O_RDONLY}).error; };
  const auto read = [&](Id id) { return gofer.call(Op::kRead, id, ReadRequest{.length = 1}).error; };
  EXPECT_EQ(open(handle), EBADF);
  EXPECT_EQ(read(node), EBADF);
  EXPECT_EQ(gofer.walk(handle, {"x"}).error, EBADF);
  EXPECT_EQ(gofer.call(Op::kSetattr, handle, SetattrRequest{}).error, EBADF);
  EXPECT_EQ(gofer.call(Op::kSetattr, node, SetattrRequest{.valid = kSetSize, .handle = node}).error, EBADF);
  for (const Id id : {Id{0}, Id{1}, ~Id{0}, node + (Id{1} << 32), node + 1000, Id{1} << 63}) {
    EXPECT_EQ(open(id), EBADF) << id;
    EXPECT_EQ(read(id), EBADF) << id;
    EXPECT_EQ(gofer.walk(id, {"x"}).error, EBADF);
    EXPECT_EQ(gofer.readdir(id, 0).error, EBADF);
    EXPECT_EQ(gofer.call(Op::kLink, root_, LinkRequest{.target = id}, {"l"}).error, EBADF);
    EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = id}, {"file", "x"}).error, EBADF);
    EXPECT_EQ(gofer.call(Op::kFsync, id, FsyncRequest{}).error, EBADF);
    EXPECT_EQ(gofer.call(Op::kGetattr, id, std::vector<uint8_t>{}).error, EBADF);
  }
  gofer.forget({node, handle, node, 0, ~Id{0}, root_});
  EXPECT_EQ(open(node), ESTALE);
  EXPECT_EQ(read(handle), ESTALE);
  const Node again = gofer.find(root_, {"file"});
  EXPECT_NE(again.id, node);
  EXPECT_EQ(open(node), ESTALE);
  EXPECT_EQ(open(again.id), 0);

  std::mt19937_64 random(1);
  int hits = 0;
  for (int i = 0; i < 2000; ++i)
    if (gofer.call(Op::kGetattr, random(), std::vector<uint8_t>{}).error == 0) ++hits;
  EXPECT_EQ(hits, 0);
}

TEST_P(HostileClient, ReadOnlyMeansReadOnly) {
  std::filesystem::create_directories(tree_.at("d/e"));
  tree_.write("file", "content");
  ::setxattr(tree_.at("file").c_str(), "user.x", "1", 1, 0);
  struct stat before;
  ASSERT_EQ(::stat(tree_.at("file").c_str(), &before), 0);
  GoferProcess& gofer = start({.attach = {{tree_.path(), true}, {tree_.path(), false}}});
  const Id writable = gofer.attach(1).id;
  const Id file = gofer.find(root_, {"file"}).id;
  const Id d = gofer.find(root_, {"d"}).id;

  for (const uint32_t flags :
       std::initializer_list<uint32_t>{O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_APPEND}) {
    EXPECT_EQ(gofer.call(Op::kOpen, file, OpenRequest{.flags = flags}).error, EROFS);
    EXPECT_EQ(gofer.walk(root_, {"file"}, kWalkOpen, flags).head.open_error, EROFS);
  }
  EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDONLY, .mode = 0600}, {"new"}).error,
            EROFS);
  EXPECT_EQ(gofer.call(Op::kMkdir, d, MakeRequest{.mode = 0700}, {"new"}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kMknod, d, MakeRequest{.mode = S_IFREG | 0600}, {"new"}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kSymlink, d, MakeRequest{}, {"new", "x"}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kLink, d, LinkRequest{.target = file}, {"new"}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kUnlink, root_, name_body("file")).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kRmdir, d, name_body("e")).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = d}, {"file", "new"}).error, EROFS);
  for (const uint32_t what :
       {kSetMode, kSetUid, kSetGid, kSetSize, kSetAtime, kSetMtime, kSetAtimeNow, kSetMtimeNow})
    EXPECT_EQ(gofer.call(Op::kSetattr, file, SetattrRequest{.valid = what, .uid = 0, .gid = 0}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kSetxattr, file, SetxattrRequest{.size = 1}, {"user.x"}, "2").error, EROFS);
  EXPECT_EQ(gofer.call(Op::kRemovexattr, file, name_body("user.x")).error, EROFS);

  const Reply opened = gofer.call(Op::kOpen, file, OpenRequest{.flags = O_RDONLY});
  const Id handle = opened.as<Opened>().handle;
  EXPECT_EQ(::fcntl(opened.fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.length = 1}, {}, "x").error, EROFS);
  EXPECT_EQ(gofer.call(Op::kFallocate, handle, FallocateRequest{.length = 1}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kSetattr, file, SetattrRequest{.valid = kSetSize, .handle = handle}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kFsync, handle, FsyncRequest{}).error, 0);

  // The writable attach point beside it is no way around.
  const Id target = gofer.find(writable, {"d"}).id;
  EXPECT_EQ(gofer.call(Op::kLink, target, LinkRequest{.target = file}, {"new"}).error, EXDEV);
  EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = target}, {"file", "new"}).error, EROFS);
  EXPECT_EQ(gofer.call(Op::kRename, target, RenameRequest{.directory = root_}, {"e", "new"}).error, EROFS);
  const Reply other =
      gofer.walk(writable, {"file"}, kWalkOpen, O_RDWR).opened
          ? gofer.call(Op::kOpen, gofer.find(writable, {"file"}).id, OpenRequest{.flags = O_RDWR})
          : Reply{};
  EXPECT_EQ(
      gofer.call(Op::kSetattr, file, SetattrRequest{.valid = kSetSize, .handle = other.as<Opened>().handle})
          .error,
      EROFS);

  struct stat after;
  ASSERT_EQ(::stat(tree_.at("file").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
  EXPECT_EQ(tree_.read("file"), "content");
  EXPECT_FALSE(tree_.exists("d/new"));
}

// If one of these were opened, the gofer would hang (fifo) or do something to a device.
TEST_P(HostileClient, SpecialFilesAreNeverOpened) {
  ASSERT_EQ(::mkfifo(tree_.at("fifo").c_str(), 0666), 0);
  ASSERT_EQ(::mknod(tree_.at("socket").c_str(), S_IFSOCK | 0666, 0), 0);
  const bool device = ::mknod(tree_.at("device").c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0;
  if (::geteuid() == 0) {
    EXPECT_TRUE(device);
  }
  GoferProcess& gofer = start();
  std::vector<std::pair<std::string_view, int>> cases = {{"fifo", ENXIO}, {"socket", ENXIO}};
  if (device) cases.push_back({"device", EACCES});
  for (const auto& [name, error] : cases) {
    const Id id = gofer.find(root_, {name}).id;
    for (const uint32_t flags : std::initializer_list<uint32_t>{O_RDONLY, O_WRONLY, O_RDWR}) {
      EXPECT_EQ(gofer.call(Op::kOpen, id, OpenRequest{.flags = flags}).error, error);
      const auto walked = gofer.walk(root_, {name}, kWalkOpen, flags);
      EXPECT_FALSE(walked.opened);
      EXPECT_FALSE(walked.fd);
      EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = flags, .mode = 0600}, {name}).error,
                EEXIST);
    }
    EXPECT_EQ(gofer.call(Op::kSetattr, id, SetattrRequest{.valid = kSetSize}).error, EINVAL);
    EXPECT_EQ(gofer.readdir(id, 0).error, ENOTDIR);
    EXPECT_EQ(gofer.call(Op::kGetattr, id, std::vector<uint8_t>{}).error, 0);
  }
  for (const uint32_t type : std::initializer_list<uint32_t>{S_IFCHR, S_IFBLK})
    EXPECT_EQ(gofer.call(Op::kMknod, root_, MakeRequest{.mode = type | 0666}, {"dev"}).error, EPERM);
  for (const uint32_t type : std::initializer_list<uint32_t>{S_IFDIR, S_IFLNK, 0})
    EXPECT_EQ(gofer.call(Op::kMknod, root_, MakeRequest{.mode = type | 0666}, {"dev"}).error, EINVAL);
  EXPECT_FALSE(tree_.exists("dev"));
}

// An attach point that is itself a device or fifo is no different.
TEST_P(HostileClient, SpecialAttachPointsAreNeverOpened) {
  ASSERT_EQ(::mkfifo(tree_.at("fifo").c_str(), 0666), 0);
  GoferProcess& gofer = start({.attach = {{tree_.at("fifo")}, {"/dev/null"}}});
  EXPECT_EQ(gofer.call(Op::kOpen, root_, OpenRequest{.flags = O_RDONLY}).error, ENXIO);
  EXPECT_EQ(gofer.call(Op::kOpen, gofer.attach(1).id, OpenRequest{.flags = O_RDONLY}).error, EACCES);
}

TEST_P(HostileClient, KernelInterfacesBelowAreClosed) {
  GoferProcess& gofer = start({.attach = {{"/", true}}});
  for (const auto name : {"proc"sv, "sys"sv}) {
    const auto top = gofer.walk(root_, {name}, kWalkOpen, O_RDONLY);
    ASSERT_EQ(top.nodes.size(), 1u);
    EXPECT_FALSE(top.opened);
    EXPECT_EQ(gofer.readdir(top.nodes[0].id, 0).error, EACCES);
    const auto below = gofer.walk(root_, {name, "kernel"});
    EXPECT_EQ(below.head.count, 1);
    EXPECT_EQ(below.head.error, EACCES);
    EXPECT_EQ(gofer.walk(root_, {"proc", "self", "root"}).head.error, EACCES);
    EXPECT_EQ(gofer.walk(top.nodes[0].id, {"version"}).head.error, EACCES);
  }
}

TEST_P(HostileClient, RunsOutOfDescriptorsGracefully) {
  constexpr int kFiles = 200;
  for (int i = 0; i < kFiles; ++i) tree_.write(std::to_string(i), "x");
  GoferProcess& gofer = start({.attach = {{tree_.path()}}, .descriptors = 128});
  EXPECT_LT(hello_.max_ids, 128u);
  std::vector<Id> held;
  for (int i = 0;; ++i) {
    ASSERT_LT(i, kFiles);
    const auto walked = gofer.walk(root_, {std::to_string(i)}, kWalkOpen, O_RDWR);
    if (walked.head.stop == static_cast<uint16_t>(WalkStop::kError)) {
      EXPECT_EQ(walked.head.error, ENFILE);
      break;
    }
    held.push_back(walked.nodes[0].id);
    if (!walked.opened) {
      EXPECT_EQ(walked.head.open_error, ENFILE);
      break;
    }
    held.push_back(walked.opened->handle);
  }
  EXPECT_EQ(held.size() + 1, hello_.max_ids);  // and the root
  // Nothing half done is left.
  EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDWR, .mode = 0600}, {"new"}).error,
            ENFILE);
  EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 0700}, {"new"}).error, ENFILE);
  EXPECT_EQ(gofer.call(Op::kSymlink, root_, MakeRequest{}, {"new", "x"}).error, ENFILE);
  EXPECT_EQ(gofer.call(Op::kOpen, held[0], OpenRequest{}).error, ENFILE);
  EXPECT_EQ(gofer.readdir(root_, 0).error, ENFILE);
  EXPECT_FALSE(tree_.exists("new"));
  // What needs none still works.
  EXPECT_EQ(gofer.call(Op::kGetattr, held[0], std::vector<uint8_t>{}).error, 0);
  EXPECT_EQ(gofer.call(Op::kRead, held[1], ReadRequest{.length = 1}).error, 0);
  EXPECT_EQ(gofer.call(Op::kSetattr, held[0], SetattrRequest{.valid = kSetSize, .size = 0}).error, 0);

  gofer.forget({held[0], held[1]});
  EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDWR, .mode = 0600}, {"new"}).error, 0);
  EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 0700}, {"newer"}).error, ENFILE);
}

TEST_P(HostileClient, DescriptorsInFlightAreBounded) {
  tree_.write("file", "x");
  GoferProcess& gofer = start({.attach = {{tree_.path()}}, .descriptors = 200});
  const Id file = gofer.find(root_, {"file"}).id;
  // Asks for many open files and receives none of them yet.
  constexpr uint32_t kOpens = 300;
  std::thread asker([&] {
    for (uint32_t i = 0; i < kOpens; ++i) gofer.post(Op::kOpen, i, file, OpenRequest{});
  });
  int opened = 0, refused = 0;
  for (uint32_t i = 0; i < kOpens; ++i) {
    const Reply reply = gofer.receive();
    ASSERT_TRUE(reply.error == 0 || reply.error == ENFILE) << reply.error;
    ++(reply.error == 0 ? opened : refused);
  }
  asker.join();
  EXPECT_GT(opened, 100);
  EXPECT_GT(refused, 100);
  EXPECT_LT(opened, 200);
}

TEST_P(HostileClient, OddArgumentsAreRefused) {
  tree_.write("file", "x");
  GoferProcess& gofer = start();
  const auto walked = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR);
  const Id file = walked.nodes[0].id;
  const Id handle = walked.opened->handle;
  for (const uint32_t flags :
       std::initializer_list<uint32_t>{O_CREAT, O_EXCL, O_PATH, O_TMPFILE, O_DIRECTORY, O_DIRECT, O_NONBLOCK,
                                       O_NOATIME, O_ASYNC, O_ACCMODE, O_CLOEXEC, ~0u}) {
    EXPECT_EQ(gofer.call(Op::kOpen, file, OpenRequest{.flags = flags}).error, EINVAL) << flags;
    EXPECT_EQ(gofer.walk(root_, {"file"}, kWalkOpen, flags).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = flags, .mode = 0600}, {"new"}).error,
              EINVAL);
  }
  EXPECT_EQ(gofer.walk(root_, {"file"}, 0x8000).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.mode = 0100600}, {"new"}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = ~0u}, {"new"}).error, EINVAL);
  EXPECT_EQ(
      gofer.call(Op::kRename, root_, RenameRequest{.directory = root_, .flags = 4}, {"file", "x"}).error,
      EINVAL);
  EXPECT_EQ(
      gofer.call(Op::kRename, root_, RenameRequest{.directory = root_, .flags = 3}, {"file", "x"}).error,
      EINVAL);
  EXPECT_EQ(gofer.call(Op::kSetattr, file, SetattrRequest{.valid = 1 << 20}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kSetattr, file, SetattrRequest{.valid = kSetMode, .mode = 010000}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kSetattr, file, SetattrRequest{.valid = kSetSize, .size = ~0ull}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kSetattr, file, SetattrRequest{.valid = kSetSize, .size = ~0ull, .handle = handle})
                .error,
            EINVAL);
  EXPECT_EQ(gofer.readdir(root_, 0, 8).error, EINVAL);
  EXPECT_EQ(gofer.readdir(file, 0).error, ENOTDIR);
  gofer.readdir(root_, ~0ull);  // any answer but the gofer's death
  gofer.readdir(root_, 1ull << 63);
  EXPECT_EQ(gofer.call(Op::kRead, handle, ReadRequest{.length = kMaxInline + 1}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kRead, handle, ReadRequest{.length = ~0u}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kRead, handle, ReadRequest{.offset = ~0ull, .length = 1}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kRead, handle, ReadRequest{.buffer = 0, .length = 1}).error,
            EINVAL);  // there is none
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.offset = ~0ull, .length = 1}, {}, "x").error,
            EINVAL);
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.buffer = 0, .length = ~0u}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.length = 1, .flags = 8}, {}, "x").error, EINVAL);
  const int at_end =
      gofer.call(Op::kWrite, handle, WriteRequest{.offset = INT64_MAX, .length = 1}, {}, "x").error;
  EXPECT_TRUE(at_end == EFBIG || at_end == EINVAL) << at_end;
  EXPECT_EQ(gofer.call(Op::kGetxattr, file, XattrRequest{.max = ~0u}, {"user.none"}).error > 0, true);
  EXPECT_EQ(gofer.call(Op::kGetxattr, file, XattrRequest{.max = 1}, {""}).error, ERANGE);
  EXPECT_EQ(gofer.call(Op::kGetxattr, file, XattrRequest{.max = 1}, {std::string(256, 'u')}).error, ERANGE);
  EXPECT_EQ(gofer.call(Op::kSetxattr, file, SetxattrRequest{.flags = 4, .size = 1}, {"user.x"}, "x").error,
            EINVAL);
  EXPECT_EQ(tree_.read("file"), "x");
}

TEST_P(HostileClient, AFileSizeLimitIsAnErrorNotAnEnd) {
  tree_.write("file", "x");
  GoferProcess& gofer = start({.attach = {{tree_.path()}}, .file_size = 4096});
  const auto walked = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR);
  const Id handle = walked.opened->handle;
  EXPECT_EQ(
      gofer.call(Op::kSetattr, walked.nodes[0].id, SetattrRequest{.valid = kSetSize, .size = 8192}).error,
      EFBIG);
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.offset = 8192, .length = 1}, {}, "x").error, EFBIG);
  EXPECT_EQ(
      gofer.call(Op::kWrite, handle, WriteRequest{.offset = 8192, .length = 1, .flags = kWriteDsync}, {}, "x")
          .error,
      EFBIG);
  EXPECT_EQ(gofer.call(Op::kFallocate, handle, FallocateRequest{.offset = 0, .length = 8192}).error, EFBIG);
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.offset = 4095, .length = 1}, {}, "x").error, 0);
}

TEST_P(HostileClient, BuffersThatCouldShrinkAreRefused) {
  gofer_.emplace(Launch{.attach = {{tree_.path()}}, .uring = GetParam()});
  const auto hello = [&](uint64_t size, int fd) {
    return gofer_->call(Op::kHello, kNoId, GoferProcess::pack(HelloRequest{.buffer_size = size}), fd).error;
  };
  const Fd open(::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(open.get(), 4096), 0);
  EXPECT_EQ(hello(4096, open.get()), EINVAL);
  const Fd file(::open(tree_.at("file").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  EXPECT_EQ(hello(4096, file.get()), EINVAL);
  ASSERT_EQ(::fcntl(open.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_EQ(hello(8192, open.get()), EINVAL);  // larger than it is
  EXPECT_EQ(hello(0, open.get()), EINVAL);
  EXPECT_EQ(hello(4096, -1), EINVAL);
  EXPECT_EQ(hello(~0ull, open.get()), EINVAL);
  EXPECT_EQ(gofer_->call(Op::kHello, kNoId, GoferProcess::pack(HelloRequest{.version = 99})).error,
            EPROTONOSUPPORT);
  EXPECT_EQ(hello(4096, open.get()), 0);
}

TEST_P(HostileClient, LeavingInTheMiddleEndsTheGofer) {
  tree_.write("file", std::string(1 << 20, 'x'));
  GoferProcess& gofer = start();
  const Id handle = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR).opened->handle;
  // More replies than the socket holds: the gofer waits in its send when we go.
  for (uint32_t i = 0; i < 40; ++i) gofer.post(Op::kRead, i, handle, ReadRequest{.length = kMaxInline});
}

INSTANTIATE_TEST_SUITE_P(Gofer, HostileClient, testing::Values(Uring::kOff, Uring::kOn),
                         [](const auto& info) { return info.param == Uring::kOn ? "ring" : "plain"; });

// Requests of a wrong form: the gofer says what was wrong and goes.
class MalformedRequest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(tree_.at("dir"));
    tree_.write("file", "x");
  }

  // Greets (unless told not to), sends the packet and checks that it was the last one.
  void expect_end(const std::vector<uint8_t>& packet, std::string_view reason, bool greet = true,
                  int fd = -1) {
    GoferProcess gofer(Launch{.attach = {{tree_.path()}}});
    if (greet) gofer.hello();
    ASSERT_TRUE(gofer.send(packet.data(), packet.size(), fd));
    EXPECT_EQ(gofer.receive().error, -1);
    EXPECT_EQ(gofer.wait(), kExitProtocol);
    const std::string log = gofer.log();
    EXPECT_NE(log.find("malformed"), log.npos) << log;
    EXPECT_NE(log.find(reason), log.npos) << log;
    EXPECT_EQ(tree_.read("file"), "x");
  }

  static std::vector<uint8_t> request(uint16_t op, std::vector<uint8_t> body, uint16_t reserved = 0) {
    std::vector<uint8_t> packet =
        GoferProcess::pack(RequestHeader{.tag = 7, .op = op, .reserved = reserved, .id = Id{1} << 32});
    packet.insert(packet.end(), body.begin(), body.end());
    return packet;
  }
  static std::vector<uint8_t> request(Op op, std::vector<uint8_t> body) {
    return request(static_cast<uint16_t>(op), std::move(body));
  }

  TemporaryTree tree_;
};

TEST_F(MalformedRequest, Headers) {
  expect_end({1}, "header");
  expect_end(std::vector<uint8_t>(sizeof(RequestHeader) - 1, 0), "header");
  expect_end(request(0, {}), "no operation 0");
  expect_end(request(kLastOp + 1, {}), "no operation");
  expect_end(request(0xffff, {}), "no operation");
  expect_end(request(static_cast<uint16_t>(Op::kGetattr), {}, 1), "no operation");
}

TEST_F(MalformedRequest, Order) {
  expect_end(request(Op::kGetattr, {}), "kHello", /*greet=*/false);
  expect_end(request(Op::kHello, GoferProcess::pack(HelloRequest{})), "twice");
}

TEST_F(MalformedRequest, Descriptors) {
  expect_end(request(Op::kGetattr, {}), "descriptors", /*greet=*/true, 0);
  expect_end(request(Op::kGetattr, {}), "kHello", /*greet=*/false, 0);
}

TEST_F(MalformedRequest, Sizes) {
  expect_end(std::vector<uint8_t>(kMaxMessage + 1, 0), "longer");
  expect_end(std::vector<uint8_t>(100'000, 0xff), "longer");
}

TEST_F(MalformedRequest, Counts) {
  using P = GoferProcess;
  for (const uint16_t count : {uint16_t{0}, uint16_t{17}, uint16_t{0xffff}}) {
    auto body =
        P::pack(WalkRequest{.count = count}, std::vector<std::string_view>(count == 0 ? 0 : 16, "dir"));
    expect_end(request(Op::kWalk, body), "bounds");
  }
  for (const uint32_t count : {0u, uint32_t{kMaxOpen} + 1, ~0u})
    expect_end(request(Op::kOpenFiles, P::pack(OpenFilesRequest{.count = count}, {"file"})), "bounds");
  expect_end(request(Op::kOpenFiles, P::pack(OpenFilesRequest{.count = 2}, {"file"})), "cut off");
  expect_end(request(Op::kWalk, P::pack(WalkRequest{.count = 2}, {"dir"})), "cut off");
  expect_end(request(Op::kWalk, P::pack(WalkRequest{.count = 1}, {"dir", "dir"})), "follow");
  expect_end(request(Op::kForget, P::pack(ForgetRequest{.count = 0})), "bounds");
  expect_end(request(Op::kForget, P::pack(ForgetRequest{.count = ~0u})), "bounds");
  expect_end(request(Op::kForget, P::pack(ForgetRequest{.count = 1025})), "bounds");
  expect_end(request(Op::kForget, P::pack(ForgetRequest{.count = 2}, {}, "12345678")), "cut off");
  expect_end(request(Op::kForget, P::pack(ForgetRequest{.count = 1}, {}, "123456789")), "follow");
  expect_end(request(Op::kWrite,
                     P::pack(WriteRequest{.length = kMaxInline + 1}, {}, std::string(kMaxInline + 1, 'x'))),
             "bounds");
  expect_end(request(Op::kWrite, P::pack(WriteRequest{.length = ~0u}, {}, "x")), "bounds");
  expect_end(request(Op::kWrite, P::pack(WriteRequest{.length = 2}, {}, "x")), "cut off");
  expect_end(request(Op::kWrite, P::pack(WriteRequest{.length = 1}, {}, "xy")), "follow");
  expect_end(request(Op::kWrite, P::pack(WriteRequest{.buffer = 0, .length = 1}, {}, "x")), "follow");
  expect_end(request(Op::kSetxattr, P::pack(SetxattrRequest{.size = ~0u}, {"user.x"}, "x")), "cut off");
  expect_end(request(Op::kUnlink, P::pack(uint16_t{0xffff}, {}, "file")), "cut off");
}

// Each operation with its body one byte short, and one byte long.
TEST_F(MalformedRequest, Bodies) {
  using P = GoferProcess;
  const std::pair<Op, std::vector<uint8_t>> whole[] = {
      {Op::kAttach, P::pack(AttachRequest{})},
      {Op::kWalk, P::pack(WalkRequest{.count = 1}, {"dir"})},
      {Op::kOpen, P::pack(OpenRequest{})},
      {Op::kOpenFiles, P::pack(OpenFilesRequest{.count = 1}, {"file"})},
      {Op::kCreate, P::pack(CreateRequest{.mode = 0600}, {"file"})},
      {Op::kMkdir, P::pack(MakeRequest{.mode = 0700}, {"file"})},
      {Op::kMknod, P::pack(MakeRequest{.mode = S_IFREG}, {"file"})},
      {Op::kSymlink, P::pack(MakeRequest{}, {"file", "target"})},
      {Op::kLink, P::pack(LinkRequest{}, {"file"})},
      {Op::kUnlink, P::pack(uint16_t{4}, {}, "none")},
      {Op::kRmdir, P::pack(uint16_t{4}, {}, "none")},
      {Op::kRename, P::pack(RenameRequest{}, {"none", "none"})},
      {Op::kGetattr, {}},
      {Op::kSetattr, P::pack(SetattrRequest{})},
      {Op::kReaddir, P::pack(ReaddirRequest{})},
      {Op::kReadlink, {}},
      {Op::kStatfs, {}},
      {Op::kGetxattr, P::pack(XattrRequest{}, {"user.x"})},
      {Op::kSetxattr, P::pack(SetxattrRequest{.size = 1}, {"user.x"}, "x")},
      {Op::kListxattr, P::pack(XattrRequest{})},
      {Op::kRemovexattr, P::pack(uint16_t{6}, {}, "user.x")},
      {Op::kRead, P::pack(ReadRequest{})},
      {Op::kWrite, P::pack(WriteRequest{.length = 1}, {}, "x")},
      {Op::kFsync, P::pack(FsyncRequest{})},
      {Op::kFallocate, P::pack(FallocateRequest{})},
      {Op::kForget, P::pack(ForgetRequest{.count = 1}, {}, "12345678")},
  };
  for (const auto& [op, body] : whole) {
    SCOPED_TRACE(static_cast<int>(op));
    if (!body.empty()) {
      expect_end(request(op, std::vector<uint8_t>(body.begin(), body.end() - 1)), "operation");
      expect_end(request(op, {}), "operation");
    }
    auto longer = body;
    longer.push_back(0);
    expect_end(request(op, longer), "follow");
  }
}

// Thousands of arbitrary packets of plausible shape: each is answered or ends the connection with a reason.
TEST_F(MalformedRequest, Arbitrary) {
  std::mt19937 random(20240229);
  int answered = 0, ended = 0;
  for (int connection = 0; connection < 100; ++connection) {
    GoferProcess gofer(
        Launch{.attach = {{tree_.path(), true}}, .uring = connection % 2 ? Uring::kOn : Uring::kOff});
    gofer.hello();
    for (int i = 0; i < 200; ++i) {
      std::vector<uint8_t> body(random() % 80);
      for (auto& byte : body) byte = static_cast<uint8_t>(random() % 4 ? random() % 5 : random());
      auto packet = request(static_cast<uint16_t>(3 + random() % (kLastOp - 3u)), body);
      ASSERT_TRUE(gofer.send(packet.data(), packet.size()));
      if (gofer.receive().error < 0) break;
      ++answered;
    }
    const int status = gofer.finish();
    ASSERT_TRUE(status == 0 || status == kExitProtocol) << status << gofer.log();
    if (status == kExitProtocol) {
      ++ended;
      EXPECT_NE(gofer.log().find("malformed"), std::string::npos);
    }
  }
  EXPECT_GT(answered, 0);
  EXPECT_GT(ended, 0);
}

TEST(GoferCommandLine, SaysWhatIsWrong) {
  const auto run = [](std::vector<const char*> words) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      words.insert(words.begin(), "bulkhead-gofer");
      words.push_back(nullptr);
      const int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, 2);
      ::execv(BULKHEAD_GOFER_PATH, const_cast<char**>(words.data()));
      ::_exit(99);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
  };
  EXPECT_EQ(run({}), kExitUsage);
  EXPECT_EQ(run({"--socket"}), kExitUsage);
  EXPECT_EQ(run({"--socket", "x"}), kExitUsage);
  EXPECT_EQ(run({"--socket", "-1", "--attach", "0"}), kExitUsage);
  EXPECT_EQ(run({"--socket", "900", "--attach", "2"}), kExitUsage);
  EXPECT_EQ(run({"--socket", "2"}), kExitUsage);
  EXPECT_EQ(run({"--socket", "2", "--attach", "2"}), kExitUsage);  // not a socket
  EXPECT_EQ(run({"--socket", "2", "--attach", "2", "--proc", "2"}), kExitUsage);
  EXPECT_EQ(run({"--bogus"}), kExitUsage);
}

}  // namespace
}  // namespace gofer_test
