#include "sentry/init/control.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "sentry/base/log.h"

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
  (void)!::send(socket_.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ControlLink::readable() {
  constexpr size_t kMostText = 4096, kMostFds = 253;  // unix(7), SCM_MAX_FD
  char packet[sizeof(boot::Control) + kMostText];
  alignas(cmsghdr) char rights[CMSG_SPACE(sizeof(int) * kMostFds)];
  for (;;) {
    iovec vec{packet, sizeof packet};
    msghdr header{};
    header.msg_iov = &vec;
    header.msg_iovlen = 1;
    header.msg_control = rights;
    header.msg_controllen = sizeof rights;
    const ssize_t size = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < static_cast<ssize_t>(sizeof(boot::Control))) {
      watch_.reset();
      closed_();
      return;
    }
    Order order;
    std::memcpy(&order.control, packet, sizeof order.control);
    order.text.assign(packet + sizeof order.control, static_cast<size_t>(size) - sizeof order.control);
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
      if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(each) + i * sizeof fd, sizeof fd);
        order.fds.emplace_back(fd);
      }
    }
    received_(std::move(order));
    if (watch_ == nullptr) return;
  }
}

}  // namespace sentry::init
