// Packets with descriptors beside them, on SOCK_SEQPACKET sockets: unix(7), SCM_RIGHTS.
#pragma once

#include <sys/types.h>

#include <string_view>
#include <vector>

#include "sentry/base/fd.h"

namespace sentry {

inline constexpr size_t kMostPacketFds = 253;  // SCM_MAX_FD

// False and errno if it could not be sent.
bool send_packet(int socket, std::string_view bytes, const std::vector<int>& fds);

// Does not wait: what sendmsg(2) answers. (The C library's send would be one more host call, sendto.)
ssize_t send_now(int socket, const void* bytes, size_t size);

// Does not wait. How many bytes came, as recvmsg(2) answers, with the descriptors, closed on exec.
ssize_t receive_packet(int socket, void* buffer, size_t size, std::vector<Fd>& fds);

}  // namespace sentry
