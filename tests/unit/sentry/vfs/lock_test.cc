// flock(2), fcntl(2)'s record locks.
#include "sentry/vfs/lock.h"

#include <sys/file.h>

#include "sentry/base/event_loop.h"
#include "sentry/base/log.h"
#include "tests/unit/sentry/vfs/tree.h"

namespace sentry::vfs_test {
namespace {

using vfs::RecordLock;

constexpr uint64_t kEnd = ~uint64_t{0};
constexpr bool kShared = false, kExclusive = true;

class Locks : public testing::Test {
 protected:
  Locks() {
    tree.write("/f", "");
    inode = tree.find("/f")->dentry->inode();
  }
  int lock(const void* owner, bool exclusive, uint64_t start, uint64_t end, bool wait = false,
           pid_t pid = 1) {
    return code(vfs::set_record_lock(*inode, {owner, exclusive, start, end, pid}, false, wait));
  }
  int unlock(const void* owner, uint64_t start, uint64_t end) {
    return code(vfs::set_record_lock(*inode, {owner, false, start, end, 1}, true, false));
  }
  // "a:0-9w" for each record, in order.
  std::string records() {
    std::string text;
    for (const RecordLock& held : inode->locks().records) {
      if (!text.empty()) text += ' ';
      text += fmt::format("{}:{}-{}{}", held.owner == &a ? 'a' : 'b', held.start,
                          held.end == kEnd ? "" : fmt::format("{}", held.end), held.exclusive ? 'w' : 'r');
    }
    return text;
  }
  EventLoop loop;
  Tree tree;
  vfs::InodeRef inode;
  int a = 0, b = 0;
};

TEST_F(Locks, SplitAndMerge) {
  EXPECT_EQ(lock(&a, kExclusive, 0, 99), 0);
  EXPECT_EQ(unlock(&a, 40, 59), 0);
  EXPECT_EQ(records(), "a:0-39w a:60-99w");
  EXPECT_EQ(lock(&a, kExclusive, 40, 59), 0);
  EXPECT_EQ(records(), "a:0-99w");
  EXPECT_EQ(lock(&a, kShared, 10, 19), 0);
  EXPECT_EQ(records(), "a:0-9w a:10-19r a:20-99w");
  EXPECT_EQ(lock(&a, kShared, 0, 9), 0);
  EXPECT_EQ(records(), "a:0-19r a:20-99w");
  EXPECT_EQ(lock(&a, kExclusive, 100, kEnd), 0);
  EXPECT_EQ(records(), "a:0-19r a:20-w");
  EXPECT_EQ(unlock(&a, 0, kEnd), 0);
  EXPECT_EQ(records(), "");
}

TEST_F(Locks, Conflicts) {
  EXPECT_EQ(lock(&a, kShared, 0, 9), 0);
  EXPECT_EQ(lock(&b, kShared, 5, 15), 0);
  EXPECT_EQ(lock(&b, kExclusive, 5, 15), EAGAIN);
  EXPECT_EQ(lock(&b, kExclusive, 10, 15), 0);
  EXPECT_EQ(lock(&a, kShared, 15, 15), EAGAIN);
  const RecordLock* found = vfs::find_conflict(*inode, {&a, kExclusive, 0, kEnd, 1});
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->start, 5u);
  EXPECT_FALSE(found->exclusive);
  vfs::release_locks(*inode, &b);
  EXPECT_EQ(vfs::find_conflict(*inode, {&a, kExclusive, 0, kEnd, 1}), nullptr);
}

TEST_F(Locks, WaitersGetTheLockWhenItIsFree) {
  FiberScheduler& fibers = loop.fibers();
  EXPECT_EQ(lock(&a, kExclusive, 0, 9), 0);
  int answer = -1;
  fibers.spawn([&] { answer = lock(&b, kExclusive, 5, 5, true); });
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(answer, -1);
  EXPECT_EQ(unlock(&a, 0, 4), 0);
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(answer, -1);
  EXPECT_EQ(unlock(&a, 5, 5), 0);
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(answer, 0);
  EXPECT_EQ(records(), "b:5-5w a:6-9w");
}

TEST_F(Locks, ACircleIsRefused) {
  FiberScheduler& fibers = loop.fibers();
  EXPECT_EQ(lock(&a, kExclusive, 0, 0), 0);
  EXPECT_EQ(lock(&b, kExclusive, 1, 1), 0);
  int first = -1, second = -1;
  fibers.spawn([&] { first = lock(&a, kExclusive, 1, 1, true); });
  fibers.spawn([&] { second = lock(&b, kExclusive, 0, 0, true); });
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(first, -1);
  EXPECT_EQ(second, EDEADLK);
  vfs::release_locks(*inode, &b);
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(first, 0);
}

TEST_F(Locks, Flock) {
  FiberScheduler& fibers = loop.fibers();
  const FileRef one = tree.open("/f").value(), other = tree.open("/f").value();
  EXPECT_EQ(code(vfs::flock(*inode, one.get(), LOCK_SH, true, 1)), 0);
  EXPECT_EQ(code(vfs::flock(*inode, other.get(), LOCK_SH, true, 1)), 0);
  EXPECT_EQ(code(vfs::flock(*inode, one.get(), LOCK_EX, true, 1)), EWOULDBLOCK);
  // The failed conversion has lost the old lock, flock(2).
  EXPECT_EQ(code(vfs::flock(*inode, other.get(), LOCK_EX, true, 1)), 0);
  int answer = -1;
  fibers.spawn([&] { answer = code(vfs::flock(*inode, one.get(), LOCK_EX, false, 1)); });
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(answer, -1);
  const_cast<FileRef&>(other).reset();  // the last close lets go
  while (fibers.run_ready()) {
  }
  EXPECT_EQ(answer, 0);
}

TEST_F(Locks, ClosingAnyDescriptorDropsAProcessesRecordLocks) {
  vfs::FdTable table;
  const int first = table.install(tree.open("/f").value(), false, 10).value();
  const int second = table.install(tree.open("/f").value(), false, 10).value();
  EXPECT_EQ(lock(&table, kExclusive, 0, 9), 0);
  EXPECT_EQ(lock(&a, kExclusive, 0, 9), EAGAIN);
  EXPECT_EQ(code(table.close(second)), 0);
  EXPECT_EQ(lock(&a, kExclusive, 0, 9), 0);
  EXPECT_EQ(code(table.close(first)), 0);
  EXPECT_EQ(lock(&b, kExclusive, 0, 9), EAGAIN);
}

}  // namespace
}  // namespace sentry::vfs_test
