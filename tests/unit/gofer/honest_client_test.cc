// What a sentry that keeps to the protocol gets, compared with what the host's own calls say.
#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "tests/unit/gofer/gofer_process.h"

namespace gofer_test {
namespace {

using namespace gofer;

struct Variant {
  const char* name;
  Uring uring;
  Confinement confinement;
};

class HonestClient : public testing::TestWithParam<Variant> {
 protected:
  GoferProcess& start(std::vector<Attach> attach, uint64_t buffer_size = 0) {
    gofer_.emplace(Launch{.attach = std::move(attach),
                          .uring = GetParam().uring,
                          .confinement = GetParam().confinement,
                          .buffer_size = buffer_size});
    const HelloReply hello = gofer_->hello();
    EXPECT_EQ(hello.version, kProtocolVersion);
    root_ = gofer_->attach().id;
    return *gofer_;
  }
  GoferProcess& start() { return start({{tree_.path()}}); }

  void TearDown() override {
    if (!gofer_) return;
    EXPECT_EQ(gofer_->finish(), 0);
    EXPECT_EQ(gofer_->log(), "");
  }

  TemporaryTree tree_;
  std::optional<GoferProcess> gofer_;
  Id root_ = kNoId;
};

void expect_same(const Attr& attr, const std::string& path) {
  struct stat status;
  ASSERT_EQ(::lstat(path.c_str(), &status), 0) << path;
  EXPECT_EQ(attr.ino, status.st_ino);
  EXPECT_EQ(attr.mode, status.st_mode);
  EXPECT_EQ(attr.size, static_cast<uint64_t>(status.st_size));
  EXPECT_EQ(attr.nlink, status.st_nlink);
  EXPECT_EQ(attr.blocks, static_cast<uint64_t>(status.st_blocks));
  EXPECT_EQ(attr.blksize, static_cast<uint32_t>(status.st_blksize));
  EXPECT_EQ(attr.dev_major, major(status.st_dev));
  EXPECT_EQ(attr.dev_minor, minor(status.st_dev));
  EXPECT_EQ(attr.mtime.seconds, status.st_mtim.tv_sec);
  EXPECT_EQ(attr.mtime.nanoseconds, status.st_mtim.tv_nsec);
  EXPECT_EQ(attr.ctime.nanoseconds, status.st_ctim.tv_nsec);
}

std::string read_all(int fd) {
  std::string content(1 << 20, '\0');
  const ssize_t got = ::pread(fd, content.data(), content.size(), 0);
  content.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return content;
}

TEST_P(HonestClient, GreetsAndAttaches) {
  tree_.write("file", "content");
  GoferProcess& gofer = start({{tree_.path()}, {tree_.at("file"), true}});
  const auto tree = gofer.call(Op::kAttach, kNoId, AttachRequest{.index = 0}).as<AttachReply>();
  expect_same(tree.node.attr, tree_.path());
  EXPECT_EQ(tree.flags, 0u);
  const auto file = gofer.call(Op::kAttach, kNoId, AttachRequest{.index = 1}).as<AttachReply>();
  expect_same(file.node.attr, tree_.at("file"));
  EXPECT_EQ(file.flags, kAttachReadOnly);
  EXPECT_EQ(gofer.call(Op::kAttach, kNoId, AttachRequest{.index = 2}).error, ENOENT);

  const Reply opened = gofer.call(Op::kOpen, file.node.id, OpenRequest{.flags = O_RDONLY});
  EXPECT_EQ(opened.error, 0);
  EXPECT_EQ(read_all(opened.fd.get()), "content");
  EXPECT_EQ(gofer.call(Op::kOpen, file.node.id, OpenRequest{.flags = O_RDWR}).error, EROFS);
  const auto below = gofer.walk(file.node.id, {"x"});
  EXPECT_EQ(below.head.stop, static_cast<uint16_t>(WalkStop::kNotDirectory));
  EXPECT_EQ(below.head.count, 0);
}

TEST_P(HonestClient, SaysWhetherItHasARing) {
  gofer_.emplace(
      Launch{.attach = {{tree_.path()}}, .uring = GetParam().uring, .confinement = GetParam().confinement});
  EXPECT_EQ(gofer_->hello().flags, GetParam().uring == Uring::kOn ? kHelloUring : 0);
}

TEST_P(HonestClient, WalksAndSaysWhereItStopped) {
  std::filesystem::create_directories(tree_.at("a/b/c"));
  tree_.write("a/b/file", "x");
  std::filesystem::create_symlink("/elsewhere/../x", tree_.at("a/link"));
  GoferProcess& gofer = start();

  const auto whole = gofer.walk(root_, {"a", "b", "file"});
  ASSERT_EQ(whole.head.count, 3);
  EXPECT_EQ(whole.head.stop, static_cast<uint16_t>(WalkStop::kComplete));
  expect_same(whole.nodes[0].attr, tree_.at("a"));
  expect_same(whole.nodes[1].attr, tree_.at("a/b"));
  expect_same(whole.nodes[2].attr, tree_.at("a/b/file"));

  const auto missing = gofer.walk(root_, {"a", "none", "c"});
  EXPECT_EQ(missing.head.count, 1);
  EXPECT_EQ(missing.head.stop, static_cast<uint16_t>(WalkStop::kError));
  EXPECT_EQ(missing.head.error, ENOENT);

  const auto file = gofer.walk(root_, {"a", "b", "file", "more"});
  EXPECT_EQ(file.head.count, 3);
  EXPECT_EQ(file.head.stop, static_cast<uint16_t>(WalkStop::kNotDirectory));

  const auto link = gofer.walk(root_, {"a", "link", "more"});
  EXPECT_EQ(link.head.count, 2);
  EXPECT_EQ(link.head.stop, static_cast<uint16_t>(WalkStop::kSymlink));
  EXPECT_EQ(link.link, "/elsewhere/../x");
  const auto last = gofer.walk(root_, {"a", "link"});
  EXPECT_EQ(last.head.stop, static_cast<uint16_t>(WalkStop::kComplete));
  EXPECT_EQ(last.link, "/elsewhere/../x");
  const Reply target = gofer.call(Op::kReadlink, last.nodes[1].id, std::vector<uint8_t>{});
  EXPECT_EQ(std::string(target.body.begin(), target.body.end()), "/elsewhere/../x");
  EXPECT_EQ(gofer.call(Op::kReadlink, root_, std::vector<uint8_t>{}).error, EINVAL);
}

TEST_P(HonestClient, WalksSixteenDeep) {
  std::string path;
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kMaxWalk; ++i) {
    names.push_back("d");
    path += path.empty() ? "d" : "/d";
  }
  std::filesystem::create_directories(tree_.at(path));
  GoferProcess& gofer = start();
  const auto walked = gofer.walk(root_, names);
  ASSERT_EQ(walked.head.count, kMaxWalk);
  expect_same(walked.nodes.back().attr, tree_.at(path));
}

TEST_P(HonestClient, OpensAndDonates) {
  tree_.write("file", "hello");
  GoferProcess& gofer = start();
  const auto walked = gofer.walk(root_, {"file"}, kWalkOpen, O_RDONLY);
  ASSERT_TRUE(walked.opened);
  EXPECT_EQ(read_all(walked.fd.get()), "hello");
  EXPECT_EQ(::fcntl(walked.fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_LT(::write(walked.fd.get(), "x", 1), 0);

  // What it says of RWF_NOWAIT is what the host does.
  char byte;
  const iovec vec{&byte, 1};
  const bool works = ::preadv2(walked.fd.get(), &vec, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
  EXPECT_EQ(walked.opened->flags & kOpenedNowaitRead, works ? kOpenedNowaitRead : 0);

  const Reply writable =
      gofer.call(Op::kOpen, walked.nodes[0].id, OpenRequest{.flags = O_WRONLY | O_TRUNC | O_APPEND});
  ASSERT_EQ(writable.error, 0);
  EXPECT_EQ(tree_.read("file"), "");
  EXPECT_EQ(::write(writable.fd.get(), "abc", 3), 3);
  EXPECT_EQ(tree_.read("file"), "abc");

  const auto directory = gofer.walk(root_, {"none"}, kWalkOpen, O_RDONLY);
  EXPECT_FALSE(directory.opened);
  const Reply of_directory = gofer.call(Op::kOpen, root_, OpenRequest{.flags = O_RDONLY});
  EXPECT_EQ(of_directory.error, 0);
  EXPECT_FALSE(of_directory.fd) << "a directory descriptor must not leave the gofer";
  EXPECT_EQ(gofer.call(Op::kOpen, root_, OpenRequest{.flags = O_RDWR}).error, EISDIR);
}

TEST_P(HonestClient, OpensSeveralFiles) {
  tree_.write("one", "1");
  tree_.write("two", "2");
  std::filesystem::create_directories(tree_.at("directory"));
  std::filesystem::create_symlink("one", tree_.at("link"));
  ASSERT_EQ(::mkfifo(tree_.at("fifo").c_str(), 0600), 0);
  GoferProcess& gofer = start();
  Reply reply = gofer.call(Op::kOpenFiles, root_, OpenFilesRequest{.count = 6},
                           {"one", "absent", "directory", "link", "fifo", "two"});
  ASSERT_EQ(reply.error, 0);
  Reader reader(reply.body);
  std::vector<OpenedFile> files;
  for (int i = 0; i < 6; ++i) files.push_back(reader.take<OpenedFile>().value());
  EXPECT_TRUE(reader.done());
  expect_same(files[0].node.attr, tree_.at("one"));
  expect_same(files[5].node.attr, tree_.at("two"));
  EXPECT_EQ(files[1].error, ENOENT);
  for (const int other : {2, 3, 4}) EXPECT_EQ(files[static_cast<size_t>(other)].error, EINVAL);
  EXPECT_EQ(read_all(reply.fd.get()), "1");
  ASSERT_EQ(reply.more_fds.size(), 1u);
  EXPECT_EQ(read_all(reply.more_fds[0].get()), "2");
  EXPECT_EQ(::fcntl(reply.more_fds[0].get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(gofer.call(Op::kGetattr, files[5].node.id, std::vector<uint8_t>{}).error, 0);
  EXPECT_EQ(gofer.call(Op::kOpenFiles, files[0].node.id, OpenFilesRequest{.count = 1}, {"one"}).error,
            ENOTDIR);
}

TEST_P(HonestClient, CreatesFiles) {
  GoferProcess& gofer = start();
  const Reply reply = gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDWR, .mode = 0640}, {"new"});
  const auto created = reply.as<CreateReply>();
  expect_same(created.node.attr, tree_.at("new"));
  EXPECT_EQ(created.node.attr.mode, S_IFREG | 0640u);
  EXPECT_EQ(created.node.attr.uid, ::geteuid());
  EXPECT_EQ(::pwrite(reply.fd.get(), "data", 4, 0), 4);
  EXPECT_EQ(tree_.read("new"), "data");
  EXPECT_EQ(gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDWR, .mode = 0600}, {"new"}).error,
            EEXIST);

  // A mode without any right does not hinder who made the file.
  const Reply locked =
      gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_WRONLY, .mode = 0}, {"locked"});
  const auto handle = locked.as<CreateReply>().opened.handle;
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.length = 3}, {}, "abc").as<WriteReply>().count, 3u);
  EXPECT_EQ(gofer.call(Op::kGetattr, handle, std::vector<uint8_t>{}).as<Attr>().size, 3u);
  // The mode is taken as it is: no umask.
  gofer.call(Op::kCreate, root_, CreateRequest{.flags = O_RDONLY, .mode = 0777}, {"open"});
  struct stat status;
  ASSERT_EQ(::stat(tree_.at("open").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 0777u);
}

TEST_P(HonestClient, SetsOwnersOfNewFiles) {
  GoferProcess& gofer = start();
  const bool may = ::geteuid() == 0 && GetParam().confinement == Confinement::kPlain;
  const Reply file = gofer.call(
      Op::kCreate, root_, CreateRequest{.flags = O_RDWR, .mode = 04755, .uid = 1234, .gid = 2345}, {"f"});
  const Reply directory =
      gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 0755, .uid = 1234, .gid = 2345}, {"d"});
  const Reply link = gofer.call(Op::kSymlink, root_, MakeRequest{.uid = 1234, .gid = 2345}, {"l", "target"});
  if (may) {
    const auto created = file.as<CreateReply>().node.attr;
    EXPECT_EQ(created.uid, 1234u);
    EXPECT_EQ(created.gid, 2345u);
    EXPECT_EQ(created.mode, S_IFREG | 04755u);
    EXPECT_EQ(directory.as<Node>().attr.uid, 1234u);
    EXPECT_EQ(link.as<Node>().attr.gid, 2345u);
    for (const char* name : {"f", "d", "l"}) {
      struct stat status;
      ASSERT_EQ(::lstat(tree_.at(name).c_str(), &status), 0);
      EXPECT_EQ(status.st_uid, 1234u);
      EXPECT_EQ(status.st_gid, 2345u);
    }
  } else {
    // What cannot have its owner is not left behind.
    for (const Reply* reply : {&file, &directory, &link})
      EXPECT_TRUE(reply->error == EPERM || reply->error == EINVAL);
    for (const char* name : {"f", "d", "l"}) EXPECT_FALSE(tree_.exists(name));
  }
}

TEST_P(HonestClient, MakesOtherFiles) {
  GoferProcess& gofer = start();
  EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 01777}, {"d"}).as<Node>().attr.mode,
            S_IFDIR | 01777u);
  EXPECT_EQ(gofer.call(Op::kMkdir, root_, MakeRequest{.mode = 0755}, {"d"}).error, EEXIST);
  EXPECT_EQ(gofer.call(Op::kMknod, root_, MakeRequest{.mode = S_IFIFO | 0600}, {"p"}).as<Node>().attr.mode,
            S_IFIFO | 0600u);
  EXPECT_EQ(gofer.call(Op::kMknod, root_, MakeRequest{.mode = S_IFSOCK | 0666}, {"s"}).as<Node>().attr.mode,
            S_IFSOCK | 0666u);
  EXPECT_EQ(gofer.call(Op::kMknod, root_, MakeRequest{.mode = S_IFREG | 0644}, {"r"}).as<Node>().attr.mode,
            S_IFREG | 0644u);
  EXPECT_EQ(gofer.call(Op::kSymlink, root_, MakeRequest{}, {"l", "a/b"}).as<Node>().attr.mode & S_IFMT,
            S_IFLNK);
  EXPECT_EQ(std::filesystem::read_symlink(tree_.at("l")), "a/b");
  expect_same(gofer.find(root_, {"p"}).attr, tree_.at("p"));
}

TEST_P(HonestClient, LinksRenamesRemoves) {
  std::filesystem::create_directories(tree_.at("d/e"));
  tree_.write("one", "1");
  tree_.write("two", "2");
  std::filesystem::create_symlink("one", tree_.at("soft"));
  GoferProcess& gofer = start();
  const Id one = gofer.find(root_, {"one"}).id;
  const Id soft = gofer.find(root_, {"soft"}).id;
  const Id d = gofer.find(root_, {"d"}).id;
  EXPECT_EQ(gofer.call(Op::kLink, d, LinkRequest{.target = one}, {"hard"}).as<Attr>().nlink, 2u);
  EXPECT_EQ(tree_.read("d/hard"), "1");
  EXPECT_EQ(gofer.call(Op::kLink, d, LinkRequest{.target = soft}, {"softer"}).error, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(tree_.at("d/softer")));
  EXPECT_EQ(gofer.call(Op::kLink, d, LinkRequest{.target = one}, {"hard"}).error, EEXIST);
  EXPECT_EQ(gofer.call(Op::kLink, d, LinkRequest{.target = d}, {"x"}).error, EPERM);

  EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = d}, {"two", "three"}).error, 0);
  EXPECT_EQ(tree_.read("d/three"), "2");
  EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = d, .flags = 1}, {"one", "three"}).error,
            EEXIST);
  EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = d, .flags = 2}, {"one", "three"}).error,
            0);
  EXPECT_EQ(tree_.read("one"), "2");
  EXPECT_EQ(tree_.read("d/three"), "1");
  EXPECT_EQ(gofer.call(Op::kRename, root_, RenameRequest{.directory = d}, {"none", "x"}).error, ENOENT);
  EXPECT_EQ(
      gofer.call(Op::kRename, root_, RenameRequest{.directory = gofer.find(d, {"e"}).id}, {"d", "x"}).error,
      EINVAL);

  const auto unlink = [&](Id directory, std::string_view name) {
    return gofer.call(Op::kUnlink, directory, GoferProcess::pack(uint16_t(name.size()), {}, name)).error;
  };
  const auto rmdir = [&](Id directory, std::string_view name) {
    return gofer.call(Op::kRmdir, directory, GoferProcess::pack(uint16_t(name.size()), {}, name)).error;
  };
  EXPECT_EQ(unlink(d, "three"), 0);
  EXPECT_EQ(unlink(d, "three"), ENOENT);
  EXPECT_EQ(unlink(d, "e"), EISDIR);
  EXPECT_EQ(rmdir(root_, "d"), ENOTEMPTY);
  EXPECT_EQ(rmdir(root_, "one"), ENOTDIR);
  EXPECT_EQ(rmdir(d, "e"), 0);
  EXPECT_FALSE(tree_.exists("d/e"));
}

TEST_P(HonestClient, ANodeStaysItsFile) {
  tree_.write("file", "old");
  GoferProcess& gofer = start();
  const Node node = gofer.find(root_, {"file"});
  std::filesystem::rename(tree_.at("file"), tree_.at("moved"));
  tree_.write("file", "new, under the old name");
  const Reply opened = gofer.call(Op::kOpen, node.id, OpenRequest{.flags = O_RDWR});
  EXPECT_EQ(read_all(opened.fd.get()), "old");
  EXPECT_EQ(
      gofer.call(Op::kSetattr, node.id, SetattrRequest{.valid = kSetMode, .mode = 0600}).as<Attr>().mode &
          07777,
      0600u);
  EXPECT_EQ(gofer.find(root_, {"moved"}).attr.ino, node.attr.ino);

  // And without any name.
  std::filesystem::remove(tree_.at("moved"));
  const Reply again = gofer.call(Op::kOpen, node.id, OpenRequest{.flags = O_RDONLY});
  EXPECT_EQ(read_all(again.fd.get()), "old");
  EXPECT_EQ(gofer.call(Op::kGetattr, node.id, std::vector<uint8_t>{}).as<Attr>().nlink, 0u);
  EXPECT_EQ(gofer.call(Op::kLink, root_, LinkRequest{.target = node.id}, {"back"}).error, ENOENT);
}

TEST_P(HonestClient, SetsAttributes) {
  tree_.write("file", "0123456789");
  std::filesystem::create_symlink("file", tree_.at("link"));
  ASSERT_EQ(::mkfifo(tree_.at("fifo").c_str(), 0600), 0);
  GoferProcess& gofer = start();
  const Id file = gofer.find(root_, {"file"}).id;
  const auto set = [&](Id id, const SetattrRequest& request) {
    return gofer.call(Op::kSetattr, id, request);
  };

  EXPECT_EQ(set(file, {.valid = kSetMode, .mode = 04711}).as<Attr>().mode, S_IFREG | 04711u);
  EXPECT_EQ(set(file, {.valid = kSetSize, .size = 4}).as<Attr>().size, 4u);
  EXPECT_EQ(tree_.read("file"), "0123");
  const Reply opened = gofer.call(Op::kOpen, file, OpenRequest{.flags = O_WRONLY});
  const Id handle = opened.as<Opened>().handle;
  EXPECT_EQ(set(file, {.valid = kSetSize, .size = 2, .handle = handle}).as<Attr>().size, 2u);
  const Id reader = gofer.call(Op::kOpen, file, OpenRequest{.flags = O_RDONLY}).as<Opened>().handle;
  EXPECT_EQ(set(file, {.valid = kSetSize, .size = 1, .handle = reader}).error, EINVAL);
  EXPECT_EQ(set(root_, {.valid = kSetSize, .size = 1}).error, EISDIR);

  const Attr timed =
      set(file, {.valid = kSetAtime | kSetMtime, .atime = {1000, 111}, .mtime = {-5, 999'999'999}})
          .as<Attr>();
  EXPECT_EQ(timed.atime.seconds, 1000);
  EXPECT_EQ(timed.atime.nanoseconds, 111u);
  EXPECT_EQ(timed.mtime.seconds, -5);
  EXPECT_EQ(timed.mtime.nanoseconds, 999'999'999u);
  const Attr half = set(file, {.valid = kSetMtimeNow}).as<Attr>();
  EXPECT_EQ(half.atime.seconds, 1000);
  EXPECT_NEAR(static_cast<double>(half.mtime.seconds), static_cast<double>(::time(nullptr)), 5);
  EXPECT_EQ(set(file, {.valid = kSetMtime, .mtime = {0, 1'000'000'000}}).error, EINVAL);
  EXPECT_EQ(set(file, {.valid = kSetMtime, .mtime = {0, UTIME_NOW}}).error, EINVAL);

  const Id link = gofer.find(root_, {"link"}).id;
  EXPECT_EQ(set(link, {.valid = kSetMtime, .mtime = {77, 0}}).as<Attr>().mtime.seconds, 77);
  EXPECT_EQ(set(link, {.valid = kSetMode, .mode = 0}).error, EOPNOTSUPP);
  expect_same(gofer.find(root_, {"file"}).attr, tree_.at("file"));
  const Id fifo = gofer.find(root_, {"fifo"}).id;
  EXPECT_EQ(set(fifo, {.valid = kSetMode | kSetMtime, .mode = 0640, .mtime = {5, 0}}).as<Attr>().mode,
            S_IFIFO | 0640u);
  EXPECT_EQ(set(fifo, {.valid = kSetSize, .size = 0}).error, EINVAL);
}

TEST_P(HonestClient, ReadsAndWrites) {
  tree_.write("file", "0123456789");
  GoferProcess& gofer = start();
  const auto opened = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR);
  ASSERT_TRUE(opened.opened);
  const Id handle = opened.opened->handle;
  const auto read = [&](uint64_t offset, uint32_t length) {
    const Reply reply = gofer.call(Op::kRead, handle, ReadRequest{.offset = offset, .length = length});
    const auto head = reply.as<ReadReply>();
    EXPECT_EQ(head.count + sizeof(head), reply.body.size());
    return std::string(reply.body.begin() + sizeof(head), reply.body.end());
  };
  EXPECT_EQ(read(0, 100), "0123456789");
  EXPECT_EQ(read(4, 3), "456");
  EXPECT_EQ(read(10, 3), "");
  EXPECT_EQ(read(1 << 30, 3), "");
  EXPECT_EQ(read(0, 0), "");
  EXPECT_EQ(
      gofer.call(Op::kWrite, handle, WriteRequest{.offset = 2, .length = 2}, {}, "xy").as<WriteReply>().count,
      2u);
  EXPECT_EQ(read(0, 5), "01xy4");
  const auto appended =
      gofer
          .call(Op::kWrite, handle, WriteRequest{.length = 3, .flags = kWriteAppend | kWriteDsync}, {}, "end")
          .as<WriteReply>();
  EXPECT_EQ(appended.count, 3u);
  EXPECT_EQ(appended.size, 13u);
  EXPECT_EQ(read(10, 100), "end");

  const std::string most(kMaxInline, 'z');
  EXPECT_EQ(
      gofer.call(Op::kWrite, handle, WriteRequest{.length = kMaxInline}, {}, most).as<WriteReply>().count,
      kMaxInline);
  EXPECT_EQ(read(0, kMaxInline), most);
  EXPECT_EQ(tree_.read("file"), most);

  const Id reader =
      gofer.call(Op::kOpen, opened.nodes[0].id, OpenRequest{.flags = O_RDONLY}).as<Opened>().handle;
  EXPECT_EQ(gofer.call(Op::kWrite, reader, WriteRequest{.length = 1}, {}, "x").error, EBADF);
  const Id writer =
      gofer.call(Op::kOpen, opened.nodes[0].id, OpenRequest{.flags = O_WRONLY}).as<Opened>().handle;
  EXPECT_EQ(gofer.call(Op::kRead, writer, ReadRequest{.length = 1}).error, EBADF);
  const Id directory = gofer.call(Op::kOpen, root_, OpenRequest{}).as<Opened>().handle;
  EXPECT_EQ(gofer.call(Op::kRead, directory, ReadRequest{.length = 1}).error, EISDIR);
}

TEST_P(HonestClient, UsesTheSharedBuffer) {
  std::string content(3 << 20, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 >> 8);
  tree_.write("file", content);
  GoferProcess& gofer = start({{tree_.path()}}, 4 << 20);
  const auto opened = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR);
  const Id handle = opened.opened->handle;
  const auto request = ReadRequest{.offset = 1, .buffer = 4096, .length = 3 << 20};
  const Reply reply = gofer.call(Op::kRead, handle, request);
  EXPECT_EQ(reply.as<ReadReply>().count, content.size() - 1);
  EXPECT_EQ(reply.body.size(), sizeof(ReadReply));
  EXPECT_EQ(std::memcmp(gofer.buffer() + 4096, content.data() + 1, content.size() - 1), 0);

  std::memset(gofer.buffer(), 'q', 1 << 20);
  EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.offset = 5, .buffer = 0, .length = 1 << 20})
                .as<WriteReply>()
                .count,
            1u << 20);
  content.replace(5, 1 << 20, std::string(1 << 20, 'q'));
  EXPECT_EQ(tree_.read("file"), content);

  for (const auto& [offset, length] : {std::pair<uint64_t, uint32_t>{4 << 20, 1},
                                       {0, (4 << 20) + 1},
                                       {~1ull, 2},
                                       {(4 << 20) + 1, 0},
                                       {1ull << 63, 0xffffffff}}) {
    EXPECT_EQ(gofer.call(Op::kRead, handle, ReadRequest{.buffer = offset, .length = length}).error, EINVAL);
    EXPECT_EQ(gofer.call(Op::kWrite, handle, WriteRequest{.buffer = offset, .length = length}).error, EINVAL);
  }
}

TEST_P(HonestClient, AnswersManyRequestsByTheirTags) {
  constexpr uint32_t kFiles = 100;
  std::map<uint32_t, std::string> expected;
  for (uint32_t i = 0; i < kFiles; ++i) {
    expected[1000 + i] = std::string(1 + i * 37, static_cast<char>('a' + i % 26));
    tree_.write(std::to_string(i), expected[1000 + i]);
  }
  GoferProcess& gofer = start();
  std::vector<Id> handles;
  for (uint32_t i = 0; i < kFiles; ++i)
    handles.push_back(gofer.walk(root_, {std::to_string(i)}, kWalkOpen, O_RDWR).opened->handle);
  // Within what the socket holds, so that neither end waits on the other.
  for (uint32_t i = 0; i < kFiles; ++i)
    gofer.post(Op::kRead, 1000 + i, handles[i], ReadRequest{.length = 8000});
  for (uint32_t i = 0; i < kFiles; ++i) {
    const Reply reply = gofer.receive();
    const auto head = reply.as<ReadReply>();
    ASSERT_EQ(expected.count(reply.tag), 1u);
    EXPECT_EQ(std::string(reply.body.begin() + sizeof(head), reply.body.end()), expected[reply.tag]);
    expected.erase(reply.tag);
  }
  for (uint32_t i = 0; i < kFiles; ++i)
    gofer.post(Op::kFsync, i, handles[i], FsyncRequest{.data_only = i % 2});
  std::set<uint32_t> tags;
  for (uint32_t i = 0; i < kFiles; ++i) {
    const Reply reply = gofer.receive();
    EXPECT_EQ(reply.error, 0);
    tags.insert(reply.tag);
  }
  EXPECT_EQ(tags.size(), kFiles);
}

TEST_P(HonestClient, Allocates) {
  tree_.write("file", "");
  GoferProcess& gofer = start();
  const auto opened = gofer.walk(root_, {"file"}, kWalkOpen, O_RDWR);
  const Id handle = opened.opened->handle;
  const int native =
      ::posix_fallocate(Fd(::open(tree_.at("probe").c_str(), O_CREAT | O_RDWR, 0600)).get(), 0, 1);
  ASSERT_EQ(native, 0);
  EXPECT_EQ(gofer.call(Op::kFallocate, handle, FallocateRequest{.offset = 0, .length = 8192}).error, 0);
  EXPECT_EQ(gofer.call(Op::kGetattr, handle, std::vector<uint8_t>{}).as<Attr>().size, 8192u);
  EXPECT_EQ(gofer.call(Op::kFallocate, handle, FallocateRequest{.offset = 0, .length = 0}).error, EINVAL);
  EXPECT_EQ(gofer.call(Op::kFallocate, handle, FallocateRequest{.mode = 1 << 20, .length = 1}).error,
            EOPNOTSUPP);
  EXPECT_EQ(gofer.call(Op::kFallocate, handle, FallocateRequest{.offset = ~0ull, .length = 1}).error, EINVAL);
}

TEST_P(HonestClient, ListsDirectories) {
  std::set<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = std::to_string(i) + std::string(static_cast<size_t>(i % 200), 'n');
    tree_.write(name, std::string(static_cast<size_t>(i % 5), 'x'));
    expected.insert(name);
  }
  std::filesystem::create_directory(tree_.at("dir"));
  std::filesystem::create_symlink("x", tree_.at("link"));
  expected.insert({"dir", "link"});
  GoferProcess& gofer = start();
  const Id handle = gofer.call(Op::kOpen, root_, OpenRequest{}).as<Opened>().handle;
  for (const Id id : {root_, handle}) {
    for (const uint32_t options : {0u, kReaddirAttr}) {
      for (const uint32_t max_bytes : {0u, 1000u}) {
        std::set<std::string> seen;
        uint64_t cookie = 0;
        int batches = 0;
        for (bool end = false; !end; ++batches) {
          const auto batch = gofer.readdir(id, cookie, options, max_bytes);
          ASSERT_EQ(batch.error, 0);
          end = batch.end;
          for (const auto& entry : batch.list) {
            EXPECT_TRUE(seen.insert(entry.name).second) << entry.name;
            cookie = entry.head.next;
            if (options & kReaddirAttr) {
              EXPECT_EQ(entry.head.has_attr, 1);
              EXPECT_EQ(entry.attr.ino, entry.head.ino);
              EXPECT_EQ(IFTODT(entry.attr.mode), entry.head.type);
            }
          }
          ASSERT_TRUE(end || !batch.list.empty());
        }
        EXPECT_EQ(seen, expected);
        EXPECT_GT(batches, 1);
      }
    }
  }
  // Any entry's cookie continues behind it, in any order of asking.
  const auto first = gofer.readdir(root_, 0);
  ASSERT_GT(first.list.size(), 20u);
  const auto later = gofer.readdir(root_, first.list[9].head.next, 0, 2000);
  EXPECT_EQ(later.list[0].name, first.list[10].name);
  const auto again = gofer.readdir(root_, 0, 0, 300);
  EXPECT_EQ(again.list[0].name, first.list[0].name);
  EXPECT_EQ(gofer.readdir(root_, 0, 0, 10).error, EINVAL);
}

TEST_P(HonestClient, ListsASmallDirectoryInOneGo) {
  for (int i = 0; i < 50; ++i) tree_.write(std::to_string(i), "");
  GoferProcess& gofer = start();
  for (const uint32_t options : {0u, kReaddirAttr}) {
    const auto entries = gofer.readdir(root_, 0, options);
    EXPECT_TRUE(entries.end);
    EXPECT_EQ(entries.list.size(), 50u);
  }
}

TEST_P(HonestClient, KeepsExtendedAttributes) {
  tree_.write("file", "");
  if (::setxattr(tree_.at("file").c_str(), "user.there", "value", 5, 0) != 0)
    GTEST_SKIP() << "the test directory's file system has no extended attributes";
  GoferProcess& gofer = start();
  const Id file = gofer.find(root_, {"file"}).id;
  const auto get = [&](std::string_view name, uint32_t max) {
    return gofer.call(Op::kGetxattr, file, XattrRequest{.max = max}, {name});
  };
  const auto text = [](const Reply& reply) {
    const auto head = reply.as<XattrReply>();
    const std::string value(reply.body.begin() + sizeof(head), reply.body.end());
    EXPECT_EQ(value.size(), head.size);
    return value;
  };
  EXPECT_EQ(get("user.there", 0).as<XattrReply>().size, 5u);
  EXPECT_EQ(text(get("user.there", 100)), "value");
  EXPECT_EQ(get("user.there", 4).error, ERANGE);
  EXPECT_EQ(get("user.none", 100).error, ENODATA);
  EXPECT_EQ(get("trusted.overlay.opaque", 100).error, EOPNOTSUPP);
  EXPECT_EQ(get("security.capability", 100).error, ENODATA);

  EXPECT_EQ(gofer.call(Op::kSetxattr, file, SetxattrRequest{.size = 3}, {"user.new"}, "abc").error, 0);
  EXPECT_EQ(
      gofer.call(Op::kSetxattr, file, SetxattrRequest{.flags = XATTR_CREATE, .size = 3}, {"user.new"}, "abc")
          .error,
      EEXIST);
  EXPECT_EQ(gofer.call(Op::kSetxattr, file, SetxattrRequest{.size = 1}, {"security.capability"}, "x").error,
            EPERM);
  EXPECT_EQ(gofer.call(Op::kSetxattr, file, SetxattrRequest{.size = 1}, {"trusted.x"}, "x").error,
            EOPNOTSUPP);
  char value[8];
  EXPECT_EQ(::getxattr(tree_.at("file").c_str(), "user.new", value, sizeof(value)), 3);

  const Reply names = gofer.call(Op::kListxattr, file, XattrRequest{.max = 1000});
  const std::string list = text(names);
  EXPECT_NE(list.find("user.new\0"), list.npos);
  EXPECT_NE(list.find("user.there\0"), list.npos);
  EXPECT_EQ(gofer.call(Op::kListxattr, file, XattrRequest{.max = 0}).as<XattrReply>().size, list.size());
  EXPECT_EQ(gofer.call(Op::kListxattr, file, XattrRequest{.max = 3}).error, ERANGE);

  const std::string_view name = "user.new";
  const auto remove = GoferProcess::pack(uint16_t(name.size()), {}, name);
  EXPECT_EQ(gofer.call(Op::kRemovexattr, file, remove).error, 0);
  EXPECT_EQ(gofer.call(Op::kRemovexattr, file, remove).error, ENODATA);
}

TEST_P(HonestClient, SaysWhatTheFileSystemIs) {
  GoferProcess& gofer = start();
  struct statfs status;
  ASSERT_EQ(::statfs(tree_.path().c_str(), &status), 0);
  const auto reply = gofer.call(Op::kStatfs, root_, std::vector<uint8_t>{}).as<StatfsReply>();
  EXPECT_EQ(reply.type, static_cast<uint64_t>(status.f_type));
  EXPECT_EQ(reply.block_size, static_cast<uint64_t>(status.f_bsize));
  EXPECT_EQ(reply.blocks, status.f_blocks);
  EXPECT_EQ(reply.name_length, static_cast<uint64_t>(status.f_namelen));
}

std::map<std::string, std::string> status_lines(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::map<std::string, std::string> lines;
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(":\t");
    if (colon != line.npos) lines[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return lines;
}

TEST_P(HonestClient, IsConfined) {
  GoferProcess& gofer = start({{tree_.path()}, {tree_.path(), true}});
  pid_t pid = gofer.pid();
  if (GetParam().confinement == Confinement::kNamespaces) {
    const std::string self = std::to_string(pid);
    std::ifstream("/proc/" + self + "/task/" + self + "/children") >> pid;
  }
  auto lines = status_lines(pid);
  EXPECT_EQ(lines["Seccomp"], "2");
  EXPECT_EQ(lines["NoNewPrivs"], "1");
  const std::string none = "0000000000000000";
  // Of all of root's: CHOWN, DAC_OVERRIDE, FOWNER, FSETID. An ordinary user's has none to keep.
  const bool root = ::geteuid() == 0;
  EXPECT_EQ(lines["CapEff"], root ? "000000000000001b" : none);
  EXPECT_EQ(lines["CapPrm"], lines["CapEff"]);
  EXPECT_EQ(lines["CapInh"], none);
  EXPECT_EQ(lines["CapAmb"], none);
  if (root) {
    EXPECT_EQ(lines["CapBnd"], none);
  }

  // Not dumpable: its /proc files are root's.
  struct stat status;
  ASSERT_EQ(::stat(("/proc/" + std::to_string(pid) + "/status").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);

  // The socket, the ring (or its placeholder), the log, the attach points. Nothing else.
  std::error_code error;
  size_t count = 0;
  for ([[maybe_unused]] const auto& fd :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error))
    ++count;
  if (::geteuid() == 0) {  // only root may look
    EXPECT_EQ(count, 5u);
  }
}

TEST(ReadOnlyGofer, KeepsTheOneCapabilityToRead) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  TemporaryTree tree;
  GoferProcess gofer(Launch{.attach = {{tree.path(), true}}});
  gofer.hello();
  EXPECT_EQ(status_lines(gofer.pid())["CapEff"], "0000000000000004");
}

std::vector<Variant> variants() {
  std::vector<Variant> all = {{"ring", Uring::kOn, Confinement::kPlain},
                              {"plain", Uring::kOff, Confinement::kPlain}};
#ifdef BULKHEAD_STATIC
  // The empty root has no dynamic linker.
  all.push_back({"ringInNamespaces", Uring::kOn, Confinement::kNamespaces});
#endif
  return all;
}

INSTANTIATE_TEST_SUITE_P(Gofer, HonestClient, testing::ValuesIn(variants()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace gofer_test
