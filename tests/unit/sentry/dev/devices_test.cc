#include "sentry/fs/dev/devices.h"

#include <gtest/gtest.h>
#include <linux/random.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "sentry/fs/tmpfs/tmpfs.h"
#include "tests/unit/sentry/proc/test_kernel.h"

namespace sentry::fs::dev {
namespace {

using test::find;
using test::LocalMemory;
using test::TestKernel;

class DevTest : public testing::Test {
 protected:
  TestKernel test;
  std::shared_ptr<vfs::Superblock> dev;
  vfs::InodeRef root;

  void SetUp() override {
    register_memory_devices(vfs::DeviceRegistry::current(), test.kernel);
    make({});
  }
  void make(const std::vector<boot::Device>& devices) {
    tmpfs::Options options;
    options.budget = std::make_shared<tmpfs::Budget>();
    dev = tmpfs::make_tmpfs(test.memory_file, options);
    root = dev->root();
    ASSERT_TRUE(populate(*dev, true, devices).ok());
  }
  vfs::FileRef open(const char* name) {
    const Result<vfs::InodeRef> node = find(root, name);
    EXPECT_TRUE(node.ok());
    Result<vfs::FileRef> file =
        (*node)->open({nullptr, std::make_shared<vfs::Dentry>(nullptr, name, *node)}, O_RDWR);
    EXPECT_TRUE(file.ok());
    return *file;
  }
  static Result<std::string> read(vfs::File& file, size_t size) {
    std::string text(size, 'x');
    mm::BufferSink sink(text.data(), size);
    text.resize(TRY(file.read(sink, {})));
    return text;
  }
  static Result<size_t> write(vfs::File& file, std::string_view text) {
    mm::BufferSource source(text.data(), text.size());
    return file.write(source, {});
  }
};

TEST_F(DevTest, Nodes) {
  struct Expected {
    const char* name;
    unsigned major, minor;
  };
  for (const Expected& node : {Expected{"null", 1, 3},
                               {"zero", 1, 5},
                               {"full", 1, 7},
                               {"random", 1, 8},
                               {"urandom", 1, 9},
                               {"tty", 5, 0},
                               {"console", 5, 1},
                               {"ptmx", 5, 2}}) {
    const auto attributes = (*find(root, node.name))->getattr();
    EXPECT_TRUE(S_ISCHR(attributes->mode)) << node.name;
    EXPECT_EQ(attributes->rdev, makedev(node.major, node.minor)) << node.name;
  }
  EXPECT_EQ((*find(root, "null"))->getattr()->mode & 07777, 0666u);
  EXPECT_EQ((*find(root, "shm"))->getattr()->mode & 07777, 01777u);
  EXPECT_EQ((*find(root, "stdin"))->readlink().value(), "/proc/self/fd/0");
  EXPECT_EQ((*find(root, "fd"))->readlink().value(), "/proc/self/fd");
}

TEST_F(DevTest, Null) {
  const vfs::FileRef null = open("null");
  EXPECT_EQ(read(*null, 10).value(), "");
  EXPECT_EQ(write(*null, "gone").value(), 4u);
  EXPECT_EQ(null->seek(1000, SEEK_SET).value(), 0u);
  EXPECT_TRUE(null->mmap(PROT_READ, MAP_PRIVATE).is(ENODEV));
}

TEST_F(DevTest, Zero) {
  const vfs::FileRef zero = open("zero");
  EXPECT_EQ(read(*zero, 1'000'000).value(), std::string(1'000'000, '\0'));
  EXPECT_EQ(write(*zero, "gone").value(), 4u);
}

TEST_F(DevTest, ZeroMapsFreshMemoryEachTime) {
  const vfs::FileRef zero = open("zero");
  const auto first = zero->mmap(PROT_READ | PROT_WRITE, MAP_SHARED),
             second = zero->mmap(PROT_READ, MAP_SHARED);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto one = (*first)->backing(4096, 8192, true), other = (*second)->backing(4096, 8192, false);
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_NE(one->host_offset, other->host_offset);
  const auto next = (*first)->backing(8192, 4096, true);
  EXPECT_EQ(next->host_offset, one->host_offset + 4096);
  EXPECT_TRUE((*first)->backing(0, 4096, true).is(ENOMEM)) << "before what was mapped first";
  EXPECT_EQ((*first)->backing(~0ull - 4095, 4096, true)->host_fd, -1) << "beyond what was mapped first";
  EXPECT_EQ((*first)->identity().path, "/dev/zero");
}

TEST_F(DevTest, Full) {
  const vfs::FileRef full = open("full");
  EXPECT_EQ(read(*full, 3).value(), std::string(3, '\0'));
  EXPECT_TRUE(write(*full, "x").is(ENOSPC));
}

TEST_F(DevTest, RandomIsNotTheSameTwice) {
  const vfs::FileRef random = open("urandom");
  EXPECT_NE(read(*random, 10'000).value(), read(*random, 10'000).value());
  EXPECT_EQ(write(*random, std::string(10'000, 's')).value(), 10'000u);
  LocalMemory memory;
  int bits = 0;
  EXPECT_TRUE(random->ioctl(memory.map, RNDGETENTCNT, LocalMemory::address(&bits)).ok());
  EXPECT_EQ(bits, 256);
  EXPECT_TRUE(random->ioctl(memory.map, RNDCLEARPOOL, 0).is(EPERM));
}

TEST_F(DevTest, OperatorsDevices) {
  make({{.path = "/dev/net/tun", .type = 'c', .major = 10, .minor = 200, .mode = 0660, .uid = 3, .gid = 4},
        {.path = "/dev/null", .type = 'c', .major = 1, .minor = 3, .mode = 0600},
        {.path = "/dev/pipe", .type = 'p'},
        {.path = "/elsewhere/node", .type = 'c', .major = 1, .minor = 3}});
  const auto tun = (*find(root, "net/tun"))->getattr();
  EXPECT_EQ(tun->mode, S_IFCHR | 0660u);
  EXPECT_EQ(tun->rdev, makedev(10, 200));
  EXPECT_EQ(tun->uid, 3u);
  EXPECT_EQ((*find(root, "null"))->getattr()->mode, S_IFCHR | 0600u);
  EXPECT_EQ((*find(root, "pipe"))->type(), static_cast<uint32_t>(S_IFIFO));
  EXPECT_TRUE(root->lookup("elsewhere").is(ENOENT));
}

TEST_F(DevTest, OperatorsDeviceWithABadPath) {
  for (const char* path : {"/dev/", "/dev/../x", "/dev/a/./b"}) {
    tmpfs::Options options;
    options.budget = std::make_shared<tmpfs::Budget>();
    const auto other = tmpfs::make_tmpfs(test.memory_file, options);
    EXPECT_TRUE(populate(*other, false, {{.path = path}}).is(EINVAL)) << path;
  }
}

}  // namespace
}  // namespace sentry::fs::dev
