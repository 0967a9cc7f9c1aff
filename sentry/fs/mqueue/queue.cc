#include "sentry/fs/mqueue/queue.h"

#include <fmt/format.h>
#include <sys/epoll.h>

namespace sentry::fs::mqueue {

Result<Message> Message::create(std::shared_ptr<Memory> memory, std::string text, unsigned priority) {
  const uint64_t weight = text.size() + Memory::kOverhead;
  if (memory->held_ + weight > Memory::kMaximum) return Errno(ENOMEM);
  memory->held_ += weight;
  return Message(std::move(memory), std::move(text), priority);
}

Message::~Message() {
  if (memory_ != nullptr) memory_->held_ -= text_.size() + Memory::kOverhead;
}

Events Queue::poll() const {
  Events events = 0;
  if (count_ > 0) events |= EPOLLIN | EPOLLRDNORM;
  if (count_ < max_messages) events |= EPOLLOUT | EPOLLWRNORM;
  return events;
}

void Queue::insert(Message message) {
  ++count_;
  bytes_ += message.text().size();
  messages_[message.priority()].push_back(std::move(message));
  changed_.wake(EPOLLIN | EPOLLRDNORM);
}

Message Queue::take() {
  const auto highest = messages_.begin();
  Message message = std::move(highest->second.front());
  highest->second.pop_front();
  if (highest->second.empty()) messages_.erase(highest);
  --count_;
  bytes_ -= message.text().size();
  changed_.wake(EPOLLOUT | EPOLLWRNORM);
  return message;
}

Result<> Queue::send(kernel::Task& sender, Message message, bool nonblocking, Deadline deadline) {
  if (count_ < max_messages) {
    if (!receivers_.empty()) {
      // Somebody waits, so the queue is empty: it stays so, and nobody is notified.
      Receiver& receiver = *receivers_.front();
      receivers_.pop_front();
      receiver.message.emplace(std::move(message));
      receiver.fiber->wake();
      return {};
    }
    insert(std::move(message));
    if (count_ == 1) notify(sender);
    return {};
  }
  if (nonblocking) return Errno(EAGAIN);
  Sender self{Fiber::current(), std::move(message)};
  const auto place = senders_.insert(senders_.end(), &self);
  for (;;) {
    const Result<> parked = park_interruptible(deadline);
    if (!self.message) return {};
    if (!parked.ok()) {
      senders_.erase(place);
      return parked;
    }
  }
}

Result<Message> Queue::receive(bool nonblocking, Deadline deadline) {
  if (count_ > 0) {
    Message message = take();
    if (!senders_.empty()) {
      Sender& sender = *senders_.front();
      senders_.pop_front();
      insert(std::move(*sender.message));
      sender.message.reset();
      sender.fiber->wake();
    }
    return message;
  }
  if (nonblocking) return Errno(EAGAIN);
  Receiver self{Fiber::current(), std::nullopt};
  const auto place = receivers_.insert(receivers_.end(), &self);
  for (;;) {
    const Result<> parked = park_interruptible(deadline);
    if (self.message) return std::move(*self.message);
    if (!parked.ok()) {
      receivers_.erase(place);
      return parked.error();
    }
  }
}

void Queue::notify(kernel::Task& sender) {
  if (!notification_) return;
  const Notification notification = std::move(*notification_);
  notification_.reset();  // once only, mq_notify(3)
  const auto process = notification.process.lock();
  if (process == nullptr) return;
  if (notification.messenger) notification.messenger(true);
  if (notification.event.sigev_notify != SIGEV_SIGNAL) return;
  kernel::SignalInfo info = kernel::make_signal(notification.event.sigev_signo, SI_MESGQ, sender.group->id,
                                                sender.credentials->uid);
  info.si_value = notification.event.sigev_value;
  process->send(info);
}

Result<> Queue::set_notification(kernel::ThreadGroup& process, const sigevent& event, Messenger messenger) {
  if (notification_) {
    const auto registered = notification_->process.lock();
    if (registered != nullptr && !registered->dead) return Errno(EBUSY);
  }
  notification_ = Notification{process.weak_from_this(), event, std::move(messenger)};
  return {};
}

void Queue::clear_notification(const kernel::ThreadGroup& process) {
  if (!notification_ || notification_->process.lock().get() != &process) return;
  const Messenger messenger = std::move(notification_->messenger);
  notification_.reset();
  if (messenger) messenger(false);
}

std::string Queue::status() {
  pid_t pid = 0;
  int how = 0, signo = 0;
  if (notification_) {
    if (const auto process = notification_->process.lock()) {
      pid = process->id;
      how = notification_->event.sigev_notify;
      if (how == SIGEV_SIGNAL) signo = notification_->event.sigev_signo;
    }
  }
  return fmt::format("QSIZE:{:<10} NOTIFY:{:<5} SIGNO:{:<5} NOTIFY_PID:{:<6}\n", bytes_, how, signo, pid);
}

}  // namespace sentry::fs::mqueue
