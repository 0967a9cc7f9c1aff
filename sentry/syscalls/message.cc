// System V message queues: msgget(2), msgop(2), msgctl(2).
#include <linux/capability.h>

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/sysv_message.h"
#include "sentry/syscalls/ipc.h"

namespace sentry::syscalls {
namespace {

using kernel::MessageQueue;
using kernel::MessageTable;

msqid_ds describe(const MessageQueue& queue) {
  msqid_ds info{};
  info.msg_perm = to_ipc_perm(queue);
  info.msg_stime = queue.send_time;
  info.msg_rtime = queue.receive_time;
  info.msg_ctime = queue.change_time;
  info.__msg_cbytes = queue.bytes;
  info.msg_qnum = queue.size();
  info.msg_qbytes = queue.limit;
  info.msg_lspid = queue.last_sender;
  info.msg_lrpid = queue.last_receiver;
  return info;
}

msginfo limits(MessageTable& table, bool used) {
  const kernel::Sysctls& sysctls = kernel::Sysctls::current();
  const auto msgmnb = static_cast<int>(sysctls.msgmnb.value());
  msginfo info{};
  info.msgmni = static_cast<int>(sysctls.msgmni.value());
  info.msgmax = static_cast<int>(sysctls.msgmax.value());
  info.msgmnb = msgmnb;
  info.msgssz = 16;
  info.msgseg = 0xffff;
  info.msgpool = static_cast<int>(sysctls.msgmni.value() * sysctls.msgmnb.value() / 1024);
  info.msgmap = msgmnb;
  info.msgtql = msgmnb;
  if (!used) return info;
  size_t messages = 0;
  uint64_t bytes = 0;
  for (const auto& queue : table.all()) {
    messages += queue->size();
    bytes += queue->bytes;
  }
  info.msgpool = static_cast<int>(table.size());
  info.msgmap = static_cast<int>(messages);
  info.msgtql = static_cast<int>(bytes);
  return info;
}

// The text stands behind the type: struct msgbuf.
uint64_t text_of(GuestPtr<const int64_t> message) { return message.at(1).address(); }

}  // namespace

Result<int> sys_msgget(Task& task, int key, Flags<kIpcGetNames> flags) {
  return task.kernel.ipc->messages->get(task, key, flags);
}

Result<> sys_msgsnd(Task& task, int id, GuestPtr<const int64_t> place, uint64_t size, int flags) {
  kernel::Message message;
  message.type = TRY(task.memory().read(place));
  if (size > kernel::Sysctls::current().msgmax.value() || id < 0 || message.type < 1) return Errno(EINVAL);
  message.text.resize(size);
  TRY(task.memory().read(text_of(place), message.text.data(), size));
  return task.kernel.ipc->messages->send(task, id, std::move(message), flags);
}

Result<uint64_t> sys_msgrcv(Task& task, int id, GuestPtr<int64_t> place, uint64_t size, int64_t type,
                            int flags) {
  if (id < 0 || static_cast<int64_t>(size) < 0) return Errno(EINVAL);
  if ((flags & MSG_COPY) != 0 && ((flags & MSG_EXCEPT) != 0 || (flags & IPC_NOWAIT) == 0))
    return Errno(EINVAL);
  const kernel::Message message = TRY(task.kernel.ipc->messages->receive(task, id, size, type, flags));
  TRY(task.memory().write(place, message.type));
  TRY(task.memory().write(text_of(place), message.text.data(), message.text.size()));
  return message.text.size();
}

Result<int> sys_msgctl(Task& task, int id, Flags<kMsgctlNames> command, GuestPtr<msqid_ds> argument) {
  MessageTable& table = *task.kernel.ipc->messages;
  if (id < 0 || command < 0) return Errno(EINVAL);
  switch (command) {
    case IPC_INFO:
    case MSG_INFO:
      TRY(task.memory().write(argument.as<msginfo>(), limits(table, command == MSG_INFO)));
      return table.highest();
    case IPC_STAT:
    case MSG_STAT:
    case MSG_STAT_ANY: {
      const auto queue = TRY(command == IPC_STAT ? table.find(id) : table.at(id));
      if (command != MSG_STAT_ANY) TRY(check_access(*task.credentials, *queue, 0444));
      TRY(task.memory().write(argument, describe(*queue)));
      return command == IPC_STAT ? 0 : queue->id;
    }
    case IPC_SET: {
      const msqid_ds wanted = TRY(task.memory().read(argument));
      const auto queue = TRY(table.find(id));
      TRY(check_owner(*task.credentials, *queue));
      if (wanted.msg_qbytes > kernel::Sysctls::current().msgmnb.value() &&
          !task.credentials->capable(CAP_SYS_RESOURCE))
        return Errno(EPERM);
      queue->limit = wanted.msg_qbytes;
      set_owner(*queue, wanted.msg_perm);
      queue->changed.wake();
      return 0;
    }
    case IPC_RMID:
      TRY(table.remove(task, id));
      return 0;
    default:
      return Errno(EINVAL);
  }
}

}  // namespace sentry::syscalls
