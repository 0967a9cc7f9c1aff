// Wait queues: how fibers, and pollers such as epoll, learn that an object has become ready.
#pragma once

#include <cstdint>
#include <list>

#include "sentry/base/event_loop.h"
#include "sentry/base/fiber.h"
#include "sentry/base/result.h"
#include "sentry/base/time.h"

namespace sentry {

// EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR, EPOLLPRI, EPOLLRDHUP: poll(2)'s bits, which share their values.
using Events = uint32_t;
inline constexpr Events kAllEvents = ~Events{0};

class WaitQueue;

// Something that wants to be told. Leaves its queue by destruction.
class Waiter {
 public:
  explicit Waiter(Events interest = kAllEvents) : interest_(interest) {}
  virtual ~Waiter() { leave(); }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // An event of interest came. Must not park; may leave the queue.
  virtual void notify(Events events) = 0;

  void join(WaitQueue& queue);
  void leave();
  bool waiting() const { return queue_ != nullptr; }
  Events interest() const { return interest_; }

 private:
  friend class WaitQueue;
  WaitQueue* queue_ = nullptr;
  Waiter* previous_ = nullptr;
  Waiter* next_ = nullptr;
  Events interest_;
  uint64_t generation_ = 0;
};

// Waiters in order of arrival. Those left at its destruction are dropped silently.
class WaitQueue {
 public:
  WaitQueue() = default;
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // Notifies waiters whose interest meets `events`, at most `limit` of them; how many.
  size_t wake(Events events = kAllEvents, size_t limit = SIZE_MAX);
  bool empty() const { return first_ == nullptr; }

 private:
  friend class Waiter;
  // A round of wake() that goes on: who is next, kept right while waiters leave.
  struct Round {
    explicit Round(WaitQueue& of);
    ~Round();
    WaitQueue* queue;  // null when it has been destroyed
    Waiter* next;
    Round* outer;
  };

  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
  Round* rounds_ = nullptr;  // innermost first: a notified waiter may wake the same queue
  uint64_t generation_ = 0;
};

// Wakes a fiber.
class FiberWaiter final : public Waiter {
 public:
  explicit FiberWaiter(Events interest = kAllEvents) : Waiter(interest), fiber_(Fiber::current()) {}
  void notify(Events) override {
    notified_ = true;
    fiber_->wake();
  }
  bool notified() const { return notified_; }

 private:
  Fiber* fiber_;
  bool notified_ = false;
};

// Parks the current fiber until woken or until the deadline. ETIMEDOUT at the deadline, ERESTARTSYS when a
// signal wants the task back; otherwise success, which may be spurious.
Result<> park_interruptible(Deadline deadline = std::nullopt);

// Waits on `queue` until `ready()` holds. Errors as park_interruptible.
template <typename Ready>
Result<> wait_until(WaitQueue& queue, Events interest, Ready ready, Deadline deadline = std::nullopt) {
  if (ready()) return {};
  FiberWaiter waiter(interest);
  waiter.join(queue);
  for (;;) {
    if (ready()) return {};
    TRY(park_interruptible(deadline));
  }
}

}  // namespace sentry
