// Who is notified, and what a waiter may do to the queue while it is.
#include "sentry/base/wait_queue.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

using sentry::Events;
using sentry::Waiter;
using sentry::WaitQueue;

class Acting final : public Waiter {
 public:
  explicit Acting(std::function<void()> action, Events interest = sentry::kAllEvents)
      : Waiter(interest), action_(std::move(action)) {}
  void notify(Events) override { action_(); }

 private:
  std::function<void()> action_;
};

TEST(WaitQueue, NotifiesInOrderByInterestUpToTheLimit) {
  WaitQueue queue;
  std::string said;
  Acting a([&] { said += 'a'; }, 1), b([&] { said += 'b'; }, 2), c([&] { said += 'c'; }, 3);
  for (Acting* each : {&a, &b, &c}) each->join(queue);
  EXPECT_EQ(queue.wake(1), 2);
  EXPECT_EQ(said, "ac");
  EXPECT_EQ(queue.wake(2, 1), 1);
  EXPECT_EQ(said, "acb");
}

TEST(WaitQueue, WaitersMayLeaveAndTakeOthersWithThem) {
  WaitQueue queue;
  std::string said;
  Acting d([&] { said += 'd'; }), c([&] { said += 'c'; });
  Acting b([&] {
    said += 'b';
    c.leave();
    b.leave();
  });
  Acting a([&] { said += 'a'; });
  for (Acting* each : {&a, &b, &c, &d}) each->join(queue);
  EXPECT_EQ(queue.wake(), 3);
  EXPECT_EQ(said, "abd");
}

TEST(WaitQueue, WhoJoinsMeanwhileWaitsForTheNextRound) {
  WaitQueue queue;
  int count = 0;
  Acting again([&] {
    ++count;
    again.join(queue);
  });
  again.join(queue);
  EXPECT_EQ(queue.wake(), 1);
  EXPECT_EQ(queue.wake(), 1);
  EXPECT_EQ(count, 2);
}

TEST(WaitQueue, AWaiterMayWakeItsQueueAgain) {
  WaitQueue queue;
  std::string said;
  Acting b([&] {
    said += 'b';
    b.leave();
  });
  Acting a([&] {
    said += 'a';
    a.leave();
    queue.wake();
  });
  Acting c([&] { said += 'c'; });
  for (Acting* each : {&a, &b, &c}) each->join(queue);
  queue.wake();
  EXPECT_EQ(said, "abc");
}

TEST(WaitQueue, AWaiterMayDestroyTheQueue) {
  auto queue = std::make_unique<WaitQueue>();
  std::string said;
  Acting a([&] {
    said += 'a';
    queue.reset();
  });
  Acting b([&] { said += 'b'; });
  a.join(*queue);
  b.join(*queue);
  EXPECT_EQ(queue->wake(), 1);
  EXPECT_EQ(said, "a");
  EXPECT_FALSE(b.waiting());
}

}  // namespace
