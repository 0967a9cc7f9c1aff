#include "sentry/fs/eventfd/eventfd.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cstring>

#include "tests/unit/sentry/ipc/fibers.h"

namespace sentry::fs::eventfd {
namespace {

Result<uint64_t> take(vfs::File& file, bool nonblocking = true) {
  const std::string bytes = TRY(fiber_test::read(file, 8, nonblocking));
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Result<size_t> add(vfs::File& file, uint64_t value, bool nonblocking = true) {
  return fiber_test::write(file, {reinterpret_cast<const char*>(&value), sizeof value}, nonblocking);
}

TEST(Eventfd, SumsAndResets) {
  const vfs::FileRef file = make_eventfd(3, 0, fiber_test::root());
  EXPECT_EQ(file->poll(), Events{EPOLLIN | EPOLLOUT});
  EXPECT_EQ(add(*file, 4).value(), 8u);
  EXPECT_EQ(take(*file).value(), 7u);
  EXPECT_TRUE(take(*file).is(EAGAIN));
  EXPECT_EQ(file->poll(), Events{EPOLLOUT});
  EXPECT_TRUE(fiber_test::read(*file, 7).is(EINVAL));
  EXPECT_TRUE(fiber_test::write(*file, "1234567").is(EINVAL));
}

TEST(Eventfd, CountsDownAsSemaphore) {
  const vfs::FileRef file = make_eventfd(2, EFD_SEMAPHORE, fiber_test::root());
  EXPECT_EQ(take(*file).value(), 1u);
  EXPECT_EQ(take(*file).value(), 1u);
  EXPECT_TRUE(take(*file).is(EAGAIN));
}

TEST(Eventfd, DoesNotOverflow) {
  const vfs::FileRef file = make_eventfd(0, 0, fiber_test::root());
  EXPECT_TRUE(add(*file, ~uint64_t{0}).is(EINVAL));
  EXPECT_TRUE(add(*file, ~uint64_t{0} - 1).ok());
  EXPECT_EQ(file->poll(), Events{EPOLLIN});
  EXPECT_TRUE(add(*file, 1).is(EAGAIN));
  Result<size_t> late = Errno(EIO);
  fiber_test::run({[&] { late = add(*file, 5, false); },
                   [&] {
                     fiber_test::let_others_block();
                     EXPECT_TRUE(late.is(EIO));
                     EXPECT_EQ(take(*file).value(), ~uint64_t{0} - 1);
                   }});
  EXPECT_TRUE(late.ok());
  EXPECT_EQ(take(*file).value(), 5u);
}

}  // namespace
}  // namespace sentry::fs::eventfd
