#include "sentry/init/control.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "sentry/base/log.h"
#include "sentry/base/packet.h"

namespace sentry::init {

ControlLink::ControlLink(EventLoop& loop, Fd socket, std::function<void(Order)> received,
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
  (void)!send_now(socket_.get(), packet.data(), packet.size());
}

void ControlLink::readable() {
  constexpr size_t kMostText = 4096;
  char packet[sizeof(boot::Control) + kMostText];
  for (;;) {
    Order order;
    const ssize_t size = receive_packet(socket_.get(), packet, sizeof packet, order.fds);
    if (size < 0 && errno == EAGAIN) return;
    if (size < static_cast<ssize_t>(sizeof(boot::Control))) {
      watch_.reset();
      closed_();
      return;
    }
    std::memcpy(&order.control, packet, sizeof order.control);
    order.text.assign(packet + sizeof order.control, static_cast<size_t>(size) - sizeof order.control);
    received_(std::move(order));
    if (watch_ == nullptr) return;
  }
}

}  // namespace sentry::init
