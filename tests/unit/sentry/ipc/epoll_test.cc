#include "sentry/fs/epoll/epoll.h"

#include <set>

#include "sentry/fs/eventfd/eventfd.h"
#include "sentry/fs/pipe/pipe_file.h"
#include "tests/unit/sentry/ipc/fibers.h"

namespace sentry::fs::epoll {
namespace {

using fiber_test::read;
using fiber_test::write;

std::shared_ptr<EpollFile> make() {
  return std::static_pointer_cast<EpollFile>(make_epoll(fiber_test::root()));
}

epoll_event event(uint32_t events, uint64_t data) {
  epoll_event value{};
  value.events = events;
  value.data.u64 = data;
  return value;
}

class Epoll : public testing::Test {
 protected:
  std::shared_ptr<EpollFile> epoll = make();
  pipe::Ends ends = pipe::make_pipe(0, fiber_test::root());
};

TEST_F(Epoll, LevelTriggered) {
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN, 7)).ok());
  EXPECT_TRUE(epoll->collect(10).empty());
  write(*ends.writer, "x").value();
  for (int i = 0; i < 3; ++i) {
    const auto events = epoll->collect(10);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].events, uint32_t{EPOLLIN});
    EXPECT_EQ(events[0].data.u64, 7u);
  }
  EXPECT_EQ(epoll->poll(), Events{EPOLLIN | EPOLLRDNORM});
  read(*ends.reader, 1).value();
  EXPECT_EQ(epoll->poll(), Events{0});
  EXPECT_TRUE(epoll->collect(10).empty());
}

TEST_F(Epoll, EdgeTriggered) {
  write(*ends.writer, "x").value();
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN | EPOLLET, 7)).ok());
  EXPECT_EQ(epoll->collect(10).size(), 1u) << "what is ready at once counts";
  EXPECT_TRUE(epoll->collect(10).empty());
  write(*ends.writer, "y").value();
  EXPECT_EQ(epoll->collect(10).size(), 1u) << "new data is an edge, though old data is unread";
  ASSERT_TRUE(epoll->modify(3, *ends.reader, event(EPOLLIN | EPOLLET, 8)).ok());
  EXPECT_EQ(epoll->collect(10).at(0).data.u64, 8u) << "so is a modification";
  EXPECT_TRUE(epoll->collect(10).empty());
}

TEST_F(Epoll, OneShot) {
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN | EPOLLONESHOT, 7)).ok());
  write(*ends.writer, "x").value();
  EXPECT_EQ(epoll->collect(10).size(), 1u);
  write(*ends.writer, "y").value();
  ends.writer.reset();
  EXPECT_TRUE(epoll->collect(10).empty()) << "not even a hangup";
  ASSERT_TRUE(epoll->modify(3, *ends.reader, event(EPOLLIN | EPOLLONESHOT, 7)).ok());
  EXPECT_EQ(epoll->collect(10).at(0).events, uint32_t{EPOLLIN | EPOLLHUP});
}

TEST_F(Epoll, Errors) {
  EXPECT_TRUE(epoll->add(3, epoll, event(EPOLLIN, 0)).is(EINVAL));
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN, 0)).ok());
  EXPECT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN, 0)).is(EEXIST));
  EXPECT_TRUE(epoll->add(4, ends.reader, event(EPOLLIN, 0)).ok()) << "a duplicate counts by itself";
  EXPECT_TRUE(epoll->remove(5, *ends.reader).is(ENOENT));
  EXPECT_TRUE(epoll->modify(5, *ends.reader, event(EPOLLIN, 0)).is(ENOENT));
  EXPECT_TRUE(epoll->add(6, ends.writer, event(EPOLLIN | EPOLLEXCLUSIVE | EPOLLRDHUP, 0)).is(EINVAL));
  ASSERT_TRUE(epoll->add(6, ends.writer, event(EPOLLIN | EPOLLEXCLUSIVE, 0)).ok());
  EXPECT_TRUE(epoll->modify(6, *ends.writer, event(EPOLLIN, 0)).is(EINVAL));
}

TEST_F(Epoll, ForgetsWhatIsClosed) {
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN, 7)).ok());
  write(*ends.writer, "x").value();
  ASSERT_EQ(epoll->collect(10).size(), 1u);
  ends.reader.reset();
  EXPECT_TRUE(epoll->collect(10).empty());
  EXPECT_EQ(epoll->fdinfo(), "");
  ASSERT_TRUE(epoll->add(4, ends.writer, event(EPOLLOUT, 8)).ok());
  epoll.reset();  // before what it watches
  ends.writer.reset();
}

TEST_F(Epoll, IsFair) {
  std::vector<vfs::FileRef> files;
  for (int i = 0; i < 5; ++i) {
    files.push_back(eventfd::make_eventfd(1, 0, fiber_test::root()));
    ASSERT_TRUE(epoll->add(i, files.back(), event(EPOLLIN, static_cast<uint64_t>(i))).ok());
  }
  std::set<uint64_t> seen;
  for (int i = 0; i < 5; ++i) seen.insert(epoll->collect(1).at(0).data.u64);
  EXPECT_EQ(seen.size(), 5u);
}

TEST_F(Epoll, Waits) {
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN, 7)).ok());
  bool over = false;
  fiber_test::run({[&] {
                     EXPECT_TRUE(epoll->wait(1, monotonic_now() + kMillisecond, true).value().empty());
                     over = true;
                     EXPECT_EQ(epoll->wait(1, std::nullopt, true).value().size(), 1u);
                   },
                   [&] {
                     while (!over) Fiber::yield();
                     write(*ends.writer, "x").value();
                   }});
}

TEST_F(Epoll, InterruptedWait) {
  fiber_test::run({[&] {
    Fiber::current()->set_interrupt_check([] { return true; });
    EXPECT_TRUE(epoll->wait(1, std::nullopt, true).is(EINTR));
  }});
}

TEST_F(Epoll, Nested) {
  const auto outer = make();
  ASSERT_TRUE(outer->add(9, epoll, event(EPOLLIN, 9)).ok());
  ASSERT_TRUE(epoll->add(3, ends.reader, event(EPOLLIN, 7)).ok());
  EXPECT_TRUE(outer->collect(1).empty());
  write(*ends.writer, "x").value();
  EXPECT_EQ(outer->collect(1).size(), 1u);
  read(*ends.reader, 1).value();
  EXPECT_TRUE(outer->collect(1).empty());
  EXPECT_TRUE(epoll->add(4, outer, event(EPOLLIN, 0)).is(ELOOP));
}

TEST_F(Epoll, DepthIsLimitedFromAboveAndFromBelow) {
  std::vector<std::shared_ptr<EpollFile>> chain{epoll};
  for (size_t i = 1; i < EpollFile::kMaximumDepth; ++i) {
    chain.push_back(make());
    ASSERT_TRUE(chain[i - 1]->add(1, chain[i], event(EPOLLIN, 0)).ok());
  }
  const auto more = make();
  EXPECT_TRUE(chain.back()->add(1, more, event(EPOLLIN, 0)).is(ELOOP));
  EXPECT_TRUE(more->add(1, chain.front(), event(EPOLLIN, 0)).is(ELOOP));
  EXPECT_TRUE(chain[3]->add(2, more, event(EPOLLIN, 0)).ok());
  chain[2].reset();  // the chain is broken: both halves may grow
  EXPECT_TRUE(chain.back()->add(1, make(), event(EPOLLIN, 0)).ok());
}

TEST_F(Epoll, PathsAreLimited) {
  // Layers of 30 that all watch each other: 900 ways from the lowest to the highest.
  std::vector<std::vector<std::shared_ptr<EpollFile>>> layers(3);
  for (auto& layer : layers)
    for (int i = 0; i < 30; ++i) layer.push_back(make());
  bool refused = false;
  for (size_t level = 0; level + 1 < layers.size(); ++level)
    for (const auto& upper : layers[level])
      for (const auto& lower : layers[level + 1])
        refused |= upper->add(1, lower, event(EPOLLIN, 0)).is(EINVAL);
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace sentry::fs::epoll
