// A POSIX message queue, mq_overview(7): messages by priority, tasks that wait for one or for room, one
// process that wants to be told.
#pragma once

#include <mqueue.h>

#include <csignal>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "sentry/base/wait_queue.h"
#include "sentry/kernel/task.h"

namespace sentry::fs::mqueue {

// What the messages of all queues together may take: Linux has RLIMIT_MSGQUEUE, which a privileged guest
// raises, and the memory control group.
class Memory {
 public:
  static constexpr uint64_t kMaximum = uint64_t{64} << 20;
  static constexpr uint64_t kOverhead = 64;  // of a message, about

 private:
  friend class Message;
  uint64_t held_ = 0;
};

// A message that is counted for as long as it exists.
class Message {
 public:
  // ENOMEM.
  static Result<Message> create(std::shared_ptr<Memory> memory, std::string text, unsigned priority);
  ~Message();
  Message(Message&& other) = default;
  Message& operator=(Message&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(text_, other.text_);
    std::swap(priority_, other.priority_);
    return *this;
  }

  const std::string& text() const { return text_; }
  unsigned priority() const { return priority_; }

 private:
  Message(std::shared_ptr<Memory> memory, std::string text, unsigned priority)
      : memory_(std::move(memory)), text_(std::move(text)), priority_(priority) {}
  std::shared_ptr<Memory> memory_;  // null once moved from
  std::string text_;
  unsigned priority_ = 0;
};

class Queue {
 public:
  Queue(size_t max_messages, size_t message_size) : max_messages(max_messages), message_size(message_size) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  const size_t max_messages, message_size;

  size_t size() const { return count_; }
  uint64_t bytes() const { return bytes_; }
  // EPOLLIN, EPOLLOUT as poll(2) has them.
  Events poll() const;
  WaitQueue& changed() { return changed_; }

  // mq_timedsend(3), the message checked; EAGAIN, ETIMEDOUT, ERESTARTSYS. `sender` is for the notification.
  Result<> send(kernel::Task& sender, Message message, bool nonblocking, Deadline deadline);
  // mq_timedreceive(3): the oldest of the highest priority.
  Result<Message> receive(bool nonblocking, Deadline deadline);

  // mq_notify(3): EBUSY where another process is registered already.
  // `messenger` is SIGEV_THREAD's: told once of a message (true) or of the notification's end (false).
  using Messenger = std::function<void(bool woken)>;
  Result<> set_notification(kernel::ThreadGroup& process, const sigevent& event, Messenger messenger);
  // The process wants none any more, or closes a descriptor of the queue.
  void clear_notification(const kernel::ThreadGroup& process);
  // For reading the queue as a file: "QSIZE:129 NOTIFY:0 ...".
  std::string status();

 private:
  struct Receiver {
    Fiber* fiber;
    std::optional<Message> message;
  };
  struct Sender {
    Fiber* fiber;
    std::optional<Message> message;  // gone once it was taken in
  };
  struct Notification {
    std::weak_ptr<kernel::ThreadGroup> process;
    sigevent event{};
    Messenger messenger;
  };
  void insert(Message message);
  Message take();
  void notify(kernel::Task& sender);

  std::map<unsigned, std::deque<Message>, std::greater<>> messages_;  // by priority
  size_t count_ = 0;
  uint64_t bytes_ = 0;
  // In order of arrival. Whoever comes hands over directly, so that nobody who came later takes what they
  // wait for.
  std::list<Receiver*> receivers_;
  std::list<Sender*> senders_;
  std::optional<Notification> notification_;
  WaitQueue changed_;
};

}  // namespace sentry::fs::mqueue
