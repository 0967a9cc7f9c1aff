// Message queues: msgget(2), msgop(2), msgctl(2).
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "sentry/base/wait_queue.h"
#include "sentry/kernel/sysv.h"

namespace sentry::kernel {

class Task;

struct Message {
  int64_t type = 1;
  std::string text;
};

class MessageTable;

class MessageQueue final : public IpcObject {
 public:
  explicit MessageQueue(MessageTable& table) : table_(table) {}
  ~MessageQueue();

  uint64_t limit = Sysctls::current().msgmnb.value();  // msg_qbytes
  uint64_t bytes = 0;
  pid_t last_sender = 0, last_receiver = 0;
  time_t send_time = 0, receive_time = 0;
  WaitQueue changed;

  size_t size() const { return messages_.size(); }
  bool has_room(size_t length) const { return bytes + length <= limit && messages_.size() + 1 <= limit; }
  void put(Message message);
  using Place = std::list<Message>::iterator;
  std::list<Message>& messages() { return messages_; }
  Message take(Place place);

 private:
  MessageTable& table_;
  std::list<Message> messages_;
};

class MessageTable : public IpcTable<MessageQueue> {
 public:
  // What all queues together may hold: Linux leaves that to the memory control group. A message counts as
  // itself and its list node.
  static constexpr uint64_t kMaxHeld = uint64_t{64} << 20;
  static constexpr uint64_t kOverhead = 64;
  MessageTable() : IpcTable(Sysctls::current().msgmni) {}

  Result<int> get(Task& task, key_t key, int flags);
  // msgsnd(2): the message is checked. EAGAIN with IPC_NOWAIT, EIDRM, ERESTARTNOHAND.
  Result<> send(Task& task, int id, Message message, int flags);
  // msgrcv(2): a message of at most `size` bytes; E2BIG unless MSG_NOERROR cuts it.
  Result<Message> receive(Task& task, int id, uint64_t size, int64_t type, int flags);
  Result<> remove(Task& task, int id);
  uint64_t held() const { return held_; }

 private:
  friend class MessageQueue;
  uint64_t held_ = 0;
};

}  // namespace sentry::kernel
