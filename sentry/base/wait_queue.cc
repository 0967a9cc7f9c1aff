#include "sentry/base/wait_queue.h"

namespace sentry {

void Waiter::join(WaitQueue& queue) {
  leave();
  queue_ = &queue;
  generation_ = queue.generation_;
  previous_ = queue.last_;
  next_ = nullptr;
  (previous_ != nullptr ? previous_->next_ : queue.first_) = this;
  queue.last_ = this;
}

void Waiter::leave() {
  if (queue_ == nullptr) return;
  (previous_ != nullptr ? previous_->next_ : queue_->first_) = next_;
  (next_ != nullptr ? next_->previous_ : queue_->last_) = previous_;
  queue_ = nullptr;
  previous_ = next_ = nullptr;
}

WaitQueue::~WaitQueue() {
  while (first_ != nullptr) first_->leave();
}

size_t WaitQueue::wake(Events events, size_t limit) {
  // A notified waiter may leave, and may take its neighbours with it: after each one start over, skipping
  // those of this round. Each round has a generation of its own, and who joins meanwhile belongs to the next.
  const uint64_t round = ++generation_;
  size_t woken = 0;
  Waiter* waiter = first_;
  while (waiter != nullptr && woken < limit) {
    if (waiter->generation_ >= round || (waiter->interest_ & events) == 0) {
      waiter = waiter->next_;
      continue;
    }
    waiter->generation_ = round;
    ++woken;
    Waiter* const next = waiter->next_;
    const bool next_stays = next == nullptr;
    waiter->notify(events);
    waiter = next_stays ? nullptr : first_;
  }
  return woken;
}

Result<> park_interruptible(Deadline deadline) {
  Fiber* self = Fiber::current();
  if (self->interrupted()) return Errno(kErestartSys);
  const auto sleep = [self] {
    self->set_sleeping(true);
    Fiber::park();
    self->set_sleeping(false);
  };
  if (!deadline) {
    sleep();
    return {};
  }
  if (*deadline <= monotonic_now()) return Errno(ETIMEDOUT);
  Timer timer(EventLoop::current(), [self] { self->wake(); });
  timer.arm(*deadline);
  sleep();
  return {};
}

}  // namespace sentry
