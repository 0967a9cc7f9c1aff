#include "sentry/vfs/fd_table.h"

#include "tests/unit/sentry/vfs/tree.h"

namespace sentry::vfs_test {
namespace {

constexpr uint64_t kLimit = 1024;

class FdTableTest : public testing::Test {
 protected:
  FileRef file() { return tree.open("/", O_DIRECTORY).value(); }
  Tree tree;
  vfs::FdTable table;
};

TEST_F(FdTableTest, HandsOutTheLowest) {
  for (int i = 0; i < 200; ++i) EXPECT_EQ(table.install(file(), false, kLimit).value(), i);
  EXPECT_EQ(code(table.close(5)), 0);
  EXPECT_EQ(code(table.close(130)), 0);
  EXPECT_EQ(code(table.close(64)), 0);
  EXPECT_EQ(table.install(file(), false, kLimit, 60).value(), 64);
  EXPECT_EQ(table.install(file(), false, kLimit, 60).value(), 130);
  EXPECT_EQ(table.install(file(), false, kLimit).value(), 5);
  EXPECT_EQ(table.install(file(), false, kLimit).value(), 200);
  EXPECT_EQ(table.install(file(), false, kLimit, 500).value(), 500);
  EXPECT_EQ(table.install(file(), false, kLimit).value(), 201);
}

TEST_F(FdTableTest, KeepsToTheLimit) {
  for (int i = 0; i < 4; ++i) EXPECT_EQ(table.install(file(), false, 4).value(), i);
  EXPECT_EQ(code(table.install(file(), false, 4)), EMFILE);
  EXPECT_EQ(code(table.check_room(4)), EMFILE);
  EXPECT_EQ(code(table.check_room(5)), 0);
  EXPECT_EQ(code(table.install_at(4, file(), false, 4)), EBADF);
  EXPECT_EQ(code(table.install_at(-1, file(), false, 4)), EBADF);
  EXPECT_EQ(code(table.install_at(3, file(), false, 4)), 0);
  EXPECT_EQ(code(table.install(file(), false, 4, 9)), EMFILE);
  EXPECT_EQ(code(table.install_at(1 << 20, file(), false, ~0ull)), EBADF);
}

TEST_F(FdTableTest, BadDescriptors) {
  EXPECT_EQ(code(table.get(0)), EBADF);
  EXPECT_EQ(code(table.get(-1)), EBADF);
  EXPECT_EQ(code(table.get(INT32_MIN)), EBADF);
  EXPECT_EQ(code(table.close(-5)), EBADF);
  EXPECT_EQ(table.remove(-5), nullptr);
  EXPECT_EQ(code(table.set_cloexec(3, true)), EBADF);
  table.install(tree.open("/", O_PATH).value(), false, kLimit).value();
  EXPECT_EQ(code(table.get(0)), 0);
  EXPECT_EQ(code(table.get_io(0)), EBADF);
}

TEST_F(FdTableTest, CloseOnExecAndCopies) {
  table.install(file(), true, kLimit).value();
  table.install(file(), false, kLimit).value();
  const auto copy = table.clone();
  EXPECT_TRUE(copy->cloexec(0).value());
  EXPECT_EQ(copy->get(1).value(), table.get(1).value());
  table.close_on_exec();
  EXPECT_EQ(table.list(), std::vector<int>{1});
  EXPECT_EQ(copy->list(), (std::vector<int>{0, 1}));
  EXPECT_EQ(table.install(file(), false, kLimit).value(), 0);
}

TEST_F(FdTableTest, CloseRange) {
  for (int i = 0; i < 100; ++i) table.install(file(), false, kLimit).value();
  EXPECT_EQ(code(table.close_range(5, 3, false)), EINVAL);
  EXPECT_EQ(code(table.close_range(10, 89, false)), 0);
  EXPECT_EQ(table.list().size(), 20u);
  EXPECT_EQ(code(table.close_range(95, ~0u, true)), 0);
  table.close_on_exec();
  EXPECT_EQ(table.list().back(), 94);
  EXPECT_EQ(code(table.close_range(0, ~0u, false)), 0);
  EXPECT_TRUE(table.list().empty());
  EXPECT_EQ(table.install(file(), false, kLimit).value(), 0);
}

}  // namespace
}  // namespace sentry::vfs_test
