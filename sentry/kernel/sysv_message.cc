#include "sentry/kernel/sysv_message.h"

#include <sys/msg.h>

#include <algorithm>
#include <limits>

#include "sentry/kernel/kernel.h"

namespace sentry::kernel {
namespace {

// The first message that msgrcv(2)'s `type` asks for.
MessageQueue::Place select(std::list<Message>& messages, int64_t type, int flags) {
  if ((flags & MSG_COPY) != 0) {
    if (type < 0 || static_cast<uint64_t>(type) >= messages.size()) return messages.end();
    return std::next(messages.begin(), type);
  }
  if (type == 0) return messages.begin();
  if (type > 0) {
    const bool except = (flags & MSG_EXCEPT) != 0;
    return std::find_if(messages.begin(), messages.end(),
                        [&](const Message& message) { return (message.type == type) != except; });
  }
  // The lowest type that is not above -type, and of those the first.
  const int64_t limit =
      type == std::numeric_limits<int64_t>::min() ? std::numeric_limits<int64_t>::max() : -type;
  auto best = messages.end();
  for (auto next = messages.begin(); next != messages.end(); ++next)
    if (next->type <= limit && (best == messages.end() || next->type < best->type)) best = next;
  return best;
}

}  // namespace

MessageQueue::~MessageQueue() {
  for (const Message& message : messages_) table_.held_ -= message.text.size() + MessageTable::kOverhead;
}

void MessageQueue::put(Message message) {
  bytes += message.text.size();
  table_.held_ += message.text.size() + MessageTable::kOverhead;
  messages_.push_back(std::move(message));
}

Message MessageQueue::take(Place place) {
  Message message = std::move(*place);
  messages_.erase(place);
  bytes -= message.text.size();
  table_.held_ -= message.text.size() + MessageTable::kOverhead;
  return message;
}

Result<int> MessageTable::get(Task& task, key_t key, int flags) {
  const auto fits = [](const MessageQueue&) -> Result<> { return {}; };
  const auto make = [this]() -> Result<std::shared_ptr<MessageQueue>> {
    return std::make_shared<MessageQueue>(*this);
  };
  return IpcTable::get(*task.credentials, key, flags, fits, make);
}

Result<> MessageTable::send(Task& task, int id, Message message, int flags) {
  const auto queue = TRY(find(id));
  const uint64_t weight = message.text.size() + kOverhead;
  FiberWaiter waiter;
  for (;;) {
    if (queue->removed) return Errno(EIDRM);
    TRY(check_access(*task.credentials, *queue, 0222));
    if (queue->has_room(message.text.size())) break;
    if ((flags & IPC_NOWAIT) != 0) return Errno(EAGAIN);
    if (!waiter.waiting()) waiter.join(queue->changed);
    if (!park_interruptible().ok()) return Errno(kErestartNoHand);
  }
  if (held_ + weight > kMaxHeld) return Errno(ENOMEM);
  queue->put(std::move(message));
  queue->last_sender = task.group->id;
  queue->send_time = ipc_time();
  waiter.leave();
  queue->changed.wake();
  return {};
}

Result<Message> MessageTable::receive(Task& task, int id, uint64_t size, int64_t type, int flags) {
  const auto queue = TRY(find(id));
  FiberWaiter waiter;
  for (;;) {
    if (queue->removed) return Errno(EIDRM);
    TRY(check_access(*task.credentials, *queue, 0444));
    const auto place = select(queue->messages(), type, flags);
    if (place != queue->messages().end()) {
      if (place->text.size() > size && (flags & MSG_NOERROR) == 0) return Errno(E2BIG);
      if ((flags & MSG_COPY) != 0) {
        Message copy = *place;
        copy.text.resize(std::min<size_t>(copy.text.size(), size));
        return copy;
      }
      Message message = queue->take(place);
      message.text.resize(std::min<size_t>(message.text.size(), size));
      queue->last_receiver = task.group->id;
      queue->receive_time = ipc_time();
      waiter.leave();
      queue->changed.wake();
      return message;
    }
    if ((flags & IPC_NOWAIT) != 0) return Errno(ENOMSG);
    if (!waiter.waiting()) waiter.join(queue->changed);
    if (!park_interruptible().ok()) return Errno(kErestartNoHand);
  }
}

Result<> MessageTable::remove(Task& task, int id) {
  const auto queue = TRY(find(id));
  TRY(check_owner(*task.credentials, *queue));
  IpcTable::remove(*queue);
  queue->changed.wake();
  return {};
}

}  // namespace sentry::kernel
