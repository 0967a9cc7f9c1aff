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
  for (WaitQueue::Round* round = queue_->rounds_; round != nullptr; round = round->outer)
    if (round->next == this) round->next = next_;
  (previous_ != nullptr ? previous_->next_ : queue_->first_) = next_;
  (next_ != nullptr ? next_->previous_ : queue_->last_) = previous_;
  queue_ = nullptr;
  previous_ = next_ = nullptr;
}

WaitQueue::~WaitQueue() {
  while (first_ != nullptr) first_->leave();
  for (Round* round = rounds_; round != nullptr; round = round->outer) round->queue = nullptr;
}

WaitQueue::Round::Round(WaitQueue& of) : queue(&of), next(of.first_), outer(of.rounds_) { of.rounds_ = this; }

WaitQueue::Round::~Round() {
  if (queue != nullptr) queue->rounds_ = outer;
}

size_t WaitQueue::wake(Events events, size_t limit) {
  // A notified waiter may leave, may take others with it, and may destroy the queue. Each round has a
  // generation of its own, and who joins meanwhile belongs to the next.
  const uint64_t generation = ++generation_;
  Round round(*this);
  size_t woken = 0;
  while (round.next != nullptr && woken < limit) {
    Waiter& waiter = *round.next;
    round.next = waiter.next_;
    if (waiter.generation_ >= generation || (waiter.interest_ & events) == 0) continue;
    waiter.generation_ = generation;
    ++woken;
    waiter.notify(events);
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
