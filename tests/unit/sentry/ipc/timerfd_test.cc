#include "sentry/fs/timerfd/timerfd.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <cstring>

#include "tests/unit/sentry/ipc/fibers.h"

namespace sentry::fs::timerfd {
namespace {

std::shared_ptr<TimerFile> make(clockid_t clock = CLOCK_MONOTONIC) {
  return std::static_pointer_cast<TimerFile>(make_timerfd(clock, 0, fiber_test::root()).value());
}

Result<uint64_t> take(TimerFile& file, bool nonblocking = false) {
  const std::string bytes = TRY(fiber_test::read(file, 8, nonblocking));
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

TEST(Timerfd, RingsOnce) {
  fiber_test::run({[] {
    const auto timer = make();
    EXPECT_TRUE(take(*timer, true).is(EAGAIN));
    EXPECT_EQ(timer->get().value, 0);
    timer->set(0, {0, 2 * kMillisecond});
    EXPECT_GT(timer->get().value, 0);
    EXPECT_EQ(timer->poll(), Events{0});
    EXPECT_EQ(take(*timer).value(), 1u);
    EXPECT_EQ(timer->get().value, 0);
    EXPECT_TRUE(take(*timer, true).is(EAGAIN));
    EXPECT_TRUE(fiber_test::read(*timer, 7).is(EINVAL));
  }});
}

TEST(Timerfd, CountsWhatPassedUnread) {
  fiber_test::run({[] {
    const auto timer = make();
    const Nanoseconds start = monotonic_now();
    timer->set(0, {kMillisecond, kMillisecond});
    while (monotonic_now() < start + 20 * kMillisecond) Fiber::yield();
    EXPECT_EQ(timer->poll(), Events{EPOLLIN});
    const uint64_t count = take(*timer).value();
    EXPECT_GE(count, 19u);
    EXPECT_LE(count, static_cast<uint64_t>((monotonic_now() - start) / kMillisecond));
    const Events after = timer->poll();
    const bool none_since = static_cast<uint64_t>((monotonic_now() - start) / kMillisecond) == count;
    EXPECT_TRUE(!none_since || after == Events{0});
    EXPECT_GE(take(*timer).value(), 1u) << "it goes on";
  }});
}

TEST(Timerfd, AbsoluteTimesOfEachClock) {
  for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}) {
    fiber_test::run({[clock] {
      const auto timer = make(clock);
      const Nanoseconds start = read_clock(clock);
      timer->set(TFD_TIMER_ABSTIME, {0, start + 3 * kMillisecond});
      EXPECT_EQ(take(*timer).value(), 1u);
      EXPECT_GE(read_clock(clock), start + 3 * kMillisecond);
      timer->set(TFD_TIMER_ABSTIME, {0, start});
      EXPECT_EQ(take(*timer, true).value(), 1u) << "a moment that has passed";
      timer->set(TFD_TIMER_ABSTIME, {10 * kSecond, start - 25 * kSecond});
      EXPECT_EQ(take(*timer, true).value(), 3u) << "with the periods since";
    }});
  }
}

TEST(Timerfd, SettingAnswersWhatWas) {
  fiber_test::run({[] {
    const auto timer = make();
    timer->set(0, {5 * kSecond, 7 * kSecond});
    const TimerFile::Setting before = timer->set(0, {0, 0});
    EXPECT_EQ(before.interval, 5 * kSecond);
    EXPECT_GT(before.value, 6 * kSecond);
    EXPECT_LE(before.value, 7 * kSecond);
    timer->set(0, {INT64_MAX, INT64_MAX});
    EXPECT_GT(timer->get().value, 1'000'000 * kSecond);
    EXPECT_EQ(timer->poll(), Events{0});
  }});
}

TEST(Timerfd, Clocks) {
  EXPECT_TRUE(make_timerfd(CLOCK_PROCESS_CPUTIME_ID, 0, fiber_test::root()).is(EINVAL));
}

}  // namespace
}  // namespace sentry::fs::timerfd
