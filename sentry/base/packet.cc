#include "sentry/base/packet.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sentry {

bool send_packet(int socket, std::string_view bytes, const std::vector<int>& fds) {
  iovec vec{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char rights[CMSG_SPACE(sizeof(int) * kMostPacketFds)] = {};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  if (!fds.empty() && fds.size() <= kMostPacketFds) {
    message.msg_control = rights;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  return TEMP_FAILURE_RETRY(::sendmsg(socket, &message, MSG_NOSIGNAL)) == static_cast<ssize_t>(bytes.size());
}

ssize_t send_now(int socket, const void* bytes, size_t size) {
  iovec vec{const_cast<void*>(bytes), size};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  return ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t receive_packet(int socket, void* buffer, size_t size, std::vector<Fd>& fds) {
  alignas(cmsghdr) char rights[CMSG_SPACE(sizeof(int) * kMostPacketFds)];
  iovec vec{buffer, size};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = rights;
  message.msg_controllen = sizeof rights;
  const ssize_t received = TEMP_FAILURE_RETRY(::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (received < 0) return received;
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(each) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return received;
}

}  // namespace sentry
