// POSIX message queues: mq_overview(7).
#include <fcntl.h>

#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timers.h"
#include "sentry/net/netlink_socket.h"
#include "sentry/syscalls/ipc.h"

namespace sentry::syscalls {
namespace {

using fs::mqueue::QueueFile;

Result<std::shared_ptr<QueueFile>> queue_at(Task& task, FdNumber fd) {
  auto file = std::dynamic_pointer_cast<QueueFile>(TRY(task.fds().get_io(fd.value)));
  if (file == nullptr) return Errno(EBADF);
  return file;
}

// An absolute time on CLOCK_REALTIME.
Result<Deadline> read_deadline(Task& task, GuestPtr<const timespec> place) {
  if (!place) return Deadline{};
  const timespec time = TRY(task.memory().read(place));
  if (time.tv_sec < 0 || time.tv_nsec < 0 || time.tv_nsec >= kSecond) return Errno(EINVAL);
  if (time.tv_sec >= INT64_MAX / kSecond) return Deadline{};
  return Deadline(
      TRY(kernel::monotonic_deadline(task, CLOCK_REALTIME, time.tv_sec * kSecond + time.tv_nsec)));
}

// SIGEV_THREAD, as the C library asks for it: the event names a netlink socket, on which its thread waits,
// and a cookie that is sent there with a last byte of what has happened.
Result<fs::mqueue::Queue::Messenger> make_messenger(Task& task, const sigevent& event) {
  constexpr size_t kCookieLength = 32;        // NOTIFY_COOKIE_LEN
  constexpr char kWokenUp = 1, kRemoved = 2;  // NOTIFY_WOKENUP, NOTIFY_REMOVED
  std::string cookie(kCookieLength, '\0');
  TRY(task.memory().read(reinterpret_cast<uint64_t>(event.sigev_value.sival_ptr), cookie.data(),
                         cookie.size()));
  const vfs::FileRef file = TRY(task.fds().get_io(event.sigev_signo));
  if (std::dynamic_pointer_cast<net::Socket>(file) == nullptr) return Errno(ENOTSOCK);
  const auto socket = std::dynamic_pointer_cast<net::NetlinkSocket>(file);
  if (socket == nullptr) return Errno(EINVAL);
  return fs::mqueue::Queue::Messenger([socket, cookie = std::move(cookie)](bool woken) mutable {
    cookie.back() = woken ? kWokenUp : kRemoved;
    socket->deliver(cookie);
  });
}

}  // namespace

Result<int> sys_mq_open(Task& task, GuestPath name_place, int flags, unsigned mode,
                        GuestPtr<const mq_attr> place) {
  std::optional<mq_attr> attributes;
  if (place) attributes = TRY(task.memory().read(place));
  const std::string name = TRY(task.memory().read_string(name_place.address, vfs::kPathMax));
  const vfs::FileRef file = TRY(fs::mqueue::open(task, name, flags, mode, attributes));
  file->credentials = task.credentials;
  return task.install_fd(file, true);
}

Result<> sys_mq_unlink(Task& task, GuestPath name) {
  return fs::mqueue::unlink(task, TRY(task.memory().read_string(name.address, vfs::kPathMax)));
}

Result<> sys_mq_timedsend(Task& task, FdNumber fd, GuestPtr<const char> text, uint64_t length,
                          unsigned priority, GuestPtr<const timespec> timeout) {
  const Deadline deadline = TRY(read_deadline(task, timeout));
  if (priority >= fs::mqueue::kMaxPriority) return Errno(EINVAL);
  const auto file = TRY(queue_at(task, fd));
  if (!file->writable()) return Errno(EBADF);
  const std::shared_ptr<fs::mqueue::Queue> queue = file->queue();
  if (length > queue->message_size) return Errno(EMSGSIZE);
  std::string bytes(static_cast<size_t>(length), '\0');
  TRY(task.memory().read(text.address(), bytes.data(), bytes.size()));
  auto message = TRY(fs::mqueue::Message::create(file->memory(), std::move(bytes), priority));
  return queue->send(task, std::move(message), file->nonblocking(), deadline);
}

Result<uint64_t> sys_mq_timedreceive(Task& task, FdNumber fd, GuestPtr<char> text, uint64_t length,
                                     GuestPtr<unsigned> priority, GuestPtr<const timespec> timeout) {
  const Deadline deadline = TRY(read_deadline(task, timeout));
  const auto file = TRY(queue_at(task, fd));
  if (!file->readable()) return Errno(EBADF);
  const std::shared_ptr<fs::mqueue::Queue> queue = file->queue();
  if (length < queue->message_size) return Errno(EMSGSIZE);
  const fs::mqueue::Message message = TRY(queue->receive(file->nonblocking(), deadline));
  if (priority) TRY(task.memory().write(priority, message.priority()));
  TRY(task.memory().write(text.address(), message.text().data(), message.text().size()));
  return message.text().size();
}

Result<> sys_mq_notify(Task& task, FdNumber fd, GuestPtr<const sigevent> place) {
  sigevent event{};
  fs::mqueue::Queue::Messenger messenger;
  if (place) {
    event = TRY(task.memory().read(place));
    if (event.sigev_notify != SIGEV_NONE && event.sigev_notify != SIGEV_SIGNAL &&
        event.sigev_notify != SIGEV_THREAD)
      return Errno(EINVAL);
    if (event.sigev_notify == SIGEV_SIGNAL && (event.sigev_signo < 0 || event.sigev_signo > kernel::kSignals))
      return Errno(EINVAL);
    if (event.sigev_notify == SIGEV_THREAD) messenger = TRY(make_messenger(task, event));
  }
  const auto file = TRY(queue_at(task, fd));
  if (place) return file->queue()->set_notification(*task.group, event, std::move(messenger));
  file->queue()->clear_notification(*task.group);
  return {};
}

Result<> sys_mq_getsetattr(Task& task, FdNumber fd, GuestPtr<const mq_attr> in, GuestPtr<mq_attr> out) {
  mq_attr wanted{};
  if (in) {
    wanted = TRY(task.memory().read(in));
    if ((wanted.mq_flags & ~long{O_NONBLOCK}) != 0) return Errno(EINVAL);
  }
  const auto file = TRY(queue_at(task, fd));
  const fs::mqueue::Queue& queue = *file->queue();
  mq_attr now{};
  now.mq_flags = file->flags() & O_NONBLOCK;
  now.mq_maxmsg = static_cast<long>(queue.max_messages);
  now.mq_msgsize = static_cast<long>(queue.message_size);
  now.mq_curmsgs = static_cast<long>(queue.size());
  if (in) TRY(file->set_status_flags((file->flags() & ~O_NONBLOCK) | static_cast<int>(wanted.mq_flags)));
  if (out) TRY(task.memory().write(out, now));
  return {};
}

}  // namespace sentry::syscalls
