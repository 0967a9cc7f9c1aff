#include "sentry/base/event_loop.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "sentry/base/log.h"

namespace sentry {
namespace {
EventLoop* current_loop = nullptr;
}

void Timer::arm(Nanoseconds deadline) {
  disarm();
  position_ = loop_.timers_.emplace(deadline, this);
  armed_ = true;
}

void Timer::disarm() {
  if (!armed_) return;
  loop_.timers_.erase(position_);
  armed_ = false;
}

Result<std::unique_ptr<HostWatch>> HostWatch::create(EventLoop& loop, int fd, uint32_t events,
                                                     std::function<void(uint32_t)> ready) {
  std::unique_ptr<HostWatch> watch(new HostWatch(loop, fd, std::move(ready)));
  epoll_event event{};
  event.events = events;
  event.data.ptr = watch.get();
  if (::epoll_ctl(loop.epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error = errno;
    watch->fd_ = -1;
    return Errno(error);
  }
  ++loop.watches_;
  return watch;
}

HostWatch::~HostWatch() {
  if (fd_ < 0) return;
  epoll_event event{};
  ::epoll_ctl(loop_.epoll_.get(), EPOLL_CTL_DEL, fd_, &event);
  --loop_.watches_;
  loop_.removed_.push_back(this);
}

Result<> HostWatch::set_events(uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = this;
  if (::epoll_ctl(loop_.epoll_.get(), EPOLL_CTL_MOD, fd_, &event) != 0) return Errno(errno);
  return {};
}

Result<std::unique_ptr<HostReadiness>> HostReadiness::create(EventLoop& loop, int fd, uint32_t events) {
  std::unique_ptr<HostReadiness> readiness(new HostReadiness(loop, fd));
  epoll_event event{};
  event.events = events;
  event.data.ptr = readiness.get();
  if (::epoll_ctl(loop.asked_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error = errno;
    readiness->fd_ = -1;
    return Errno(error);
  }
  ++loop.asks_;
  return readiness;
}

HostReadiness::~HostReadiness() {
  if (fd_ < 0) return;
  epoll_event event{};
  ::epoll_ctl(loop_.asked_.get(), EPOLL_CTL_DEL, fd_, &event);
  --loop_.asks_;
}

uint32_t HostReadiness::now() const {
  std::vector<epoll_event> events(loop_.asks_);
  const timespec at_once{};
  const int count =
      ::epoll_pwait2(loop_.asked_.get(), events.data(), static_cast<int>(events.size()), &at_once, nullptr);
  for (int i = 0; i < count; ++i)
    if (events[static_cast<size_t>(i)].data.ptr == this) return events[static_cast<size_t>(i)].events;
  return 0;
}

EventLoop::EventLoop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), asked_(::epoll_create1(EPOLL_CLOEXEC)) {
  BULKHEAD_CHECK(epoll_ && asked_, "epoll_create1: error {}", errno);
  BULKHEAD_CHECK(current_loop == nullptr, "a second event loop");
  current_loop = this;
}

EventLoop::~EventLoop() { current_loop = nullptr; }

EventLoop& EventLoop::current() { return *current_loop; }

void EventLoop::run() {
  // Host descriptors are looked at even while fibers keep each other busy, once in so many rounds.
  constexpr int kRoundsBetweenPolls = 16;
  // Or after so long, where traps come one by one.
  constexpr Nanoseconds kLongestUnpolled = 200'000;
  Nanoseconds polled = 0;
  running_ = true;
  int rounds = 0;
  while (running_) {
    bool progressed = fibers_.run_ready();
    while (!posted_.empty()) {
      std::vector<std::function<void()>> actions = std::move(posted_);
      posted_.clear();
      for (const auto& action : actions) action();
      progressed = true;
    }
    if (!running_) break;
    if (!timers_.empty()) progressed |= fire_timers();
    if (traps_ != nullptr) progressed |= traps_->collect();
    if (fibers_.has_ready()) progressed = true;
    if (progressed && ++rounds < kRoundsBetweenPolls) continue;
    rounds = 0;
    if (progressed || !posted_.empty()) {
      poll_host(false);
      continue;
    }
    if (traps_ == nullptr) {
      poll_host(true);
      continue;
    }
    const Deadline next = timers_.empty() ? Deadline() : Deadline(timers_.begin()->first);
    if (traps_->linger(next) || !traps_->may_sleep()) {
      if (const Nanoseconds now = monotonic_now(); now - polled > kLongestUnpolled) {
        poll_host(false);
        polled = now;
      }
      continue;
    }
    poll_host(true);
    traps_->woke();
  }
}

bool EventLoop::fire_timers() {
  const Nanoseconds now = monotonic_now();
  bool fired = false;
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Timer* timer = timers_.begin()->second;
    timer->disarm();
    timer->expired_();
    fired = true;
  }
  return fired;
}

// Whether the host's descriptors have something to say, too.
bool EventLoop::sleep_at_the_door(int doorbell, const timespec* limit, const sigset_t* mask) {
  pollfd both[] = {{doorbell, POLLIN, 0}, {epoll_.get(), POLLIN, 0}};
  if (::ppoll(both, std::size(both), limit, mask) < 0) {
    BULKHEAD_CHECK(errno == EINTR, "ppoll: error {}", errno);
    return false;
  }
  if ((both[0].revents & POLLIN) != 0) traps_->rang();
  return both[1].revents != 0;
}

bool EventLoop::poll_host(bool may_sleep) {
  const int doorbell = traps_ != nullptr ? traps_->doorbell() : -1;
  if (!may_sleep && watches_ == 0 && doorbell < 0) return false;
  epoll_event events[64];
  timespec timeout{};
  timespec* limit = &timeout;
  if (may_sleep) {
    if (timers_.empty()) {
      limit = nullptr;
    } else {
      timeout = to_timespec(std::max<Nanoseconds>(0, timers_.begin()->first - monotonic_now()));
    }
  }
  const sigset_t* mask = may_sleep && traps_ != nullptr ? traps_->sleep_mask() : nullptr;
  if (doorbell >= 0) {
    if (!sleep_at_the_door(doorbell, limit, mask)) return false;
    timeout = {};
    limit = &timeout;
    mask = nullptr;
  }
  const int count = ::epoll_pwait2(epoll_.get(), events, 64, limit, mask);
  if (count < 0) {
    BULKHEAD_CHECK(errno == EINTR, "epoll_pwait2: error {}", errno);
    return false;
  }
  removed_.clear();
  for (int i = 0; i < count; ++i) {
    auto* watch = static_cast<HostWatch*>(events[i].data.ptr);
    if (std::find(removed_.begin(), removed_.end(), watch) == removed_.end()) watch->ready_(events[i].events);
  }
  return count > 0;
}

}  // namespace sentry
