#include "sentry/fs/host/console_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "sentry/base/packet.h"

namespace sentry::fs::host {

Result<std::unique_ptr<ConsoleStream>> ConsoleStream::create(EventLoop& loop, Fd socket, ConsolePeer& peer) {
  std::unique_ptr<ConsoleStream> stream(new ConsoleStream(loop, std::move(socket), peer));
  ConsoleStream* self = stream.get();
  stream->watched_ = EPOLLIN;
  stream->watch_ = TRY(HostWatch::create(loop, self->socket_.get(), EPOLLIN, [self](uint32_t events) {
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) self->input_blocked_ = false;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) self->output_blocked_ = false;
    self->update();
    // HUP cannot be masked: a peer without room would hear of it for ever, and nothing more can be shown.
    if (!self->closed() && (events & EPOLLHUP) != 0 && self->peer_.input_room() == 0) {
      self->close();
      self->peer_.stream_closed();
    }
  }));
  return stream;
}

void ConsoleStream::close() {
  if (closed()) return;
  // We may be inside the watch's own callback: it goes, and the socket after it, once that has returned.
  struct Retired {
    Fd socket;
    std::unique_ptr<HostWatch> watch;
  };
  loop_.post([retired = std::make_shared<Retired>(Retired{std::move(socket_), std::move(watch_)})] {});
}

void ConsoleStream::update() {
  // Input makes echo, which is output: the nested call only asks for another round.
  if (moving_) {
    again_ = true;
    return;
  }
  moving_ = true;
  bool progress = true;
  while (!closed() && (progress || again_)) {
    again_ = false;
    progress = move_output();
    if (!closed()) progress |= move_input();
  }
  moving_ = false;
  if (closed()) return;
  uint32_t wanted = 0;
  if (peer_.input_room() > 0) wanted |= EPOLLIN;
  if (!peer_.output().empty()) wanted |= EPOLLOUT;
  if (wanted != watched_ && watch_->set_events(wanted).ok()) watched_ = wanted;
}

bool ConsoleStream::move_input() {
  if (input_blocked_) return false;
  char buffer[4096];
  const size_t room = std::min(peer_.input_room(), sizeof buffer);
  if (room == 0) return false;
  // Not RWF_NOWAIT: sockets have known it since Linux 6.5 only.
  iovec piece{buffer, room};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  const ssize_t count = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
  if (count > 0) {
    peer_.input({buffer, static_cast<size_t>(count)});
    return true;
  }
  if (count < 0 && errno == EINTR) return true;
  if (count < 0 && errno == EAGAIN) {
    input_blocked_ = true;
    return false;
  }
  close();
  peer_.stream_closed();
  return false;
}

bool ConsoleStream::move_output() {
  if (output_blocked_) return false;
  const std::string_view text = peer_.output();
  if (text.empty()) return false;
  const ssize_t count = send_now(socket_.get(), text.data(), text.size());
  if (count > 0) {
    peer_.output_taken(static_cast<size_t>(count));
    return true;
  }
  if (count < 0 && errno == EINTR) return true;
  if (count == 0 || errno == EAGAIN) {
    output_blocked_ = true;
    return false;
  }
  close();
  peer_.stream_closed();
  return false;
}

}  // namespace sentry::fs::host
