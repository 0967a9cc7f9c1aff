#include "sentry/init/control.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "sentry/base/log.h"

namespace sentry::init {

ControlLink::ControlLink(EventLoop& loop, Fd socket, std::function<void(const boot::Control&)> received,
                         std::function<void()> closed)
    : socket_(std::move(socket)), received_(std::move(received)), closed_(std::move(closed)) {
  if (!socket_) return;
  auto watch = HostWatch::create(loop, socket_.get(), EPOLLIN, [this](uint32_t) { readable(); });
  BULKHEAD_CHECK(watch.ok(), "the control socket cannot be watched: error {}", watch.error().value());
  watch_ = std::move(*watch);
}

void ControlLink::send(const boot::Control& message, std::string_view text) {
  if (!socket_) return;
  std::string packet(reinterpret_cast<const char*>(&message), sizeof message);
  packet += text;
  (void)!::send(socket_.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ControlLink::readable() {
  boot::Control message;
  for (;;) {
    const ssize_t size = ::recv(socket_.get(), &message, sizeof message, MSG_DONTWAIT);
    if (size == static_cast<ssize_t>(sizeof message)) {
      received_(message);
      continue;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    watch_.reset();
    closed_();
    return;
  }
}

}  // namespace sentry::init
