// Sockets without a guest: a caller with root's credentials, and calls on strings.
#pragma once

#include <string>
#include <string_view>

#include "sentry/net/socket.h"
#include "tests/unit/sentry/ipc/fibers.h"

namespace socket_test {

using sentry::Errno;
using sentry::Result;
using sentry::net::Received;
using sentry::net::Socket;
using SocketRef = std::shared_ptr<Socket>;

// A caller as a task's system call makes it; no name in the tree can be looked up.
struct Actor {
  explicit Actor(pid_t pid = 1, uid_t uid = 0) : caller{files, {pid, uid, uid}, UINT64_MAX} {
    auto identity = std::make_shared<sentry::vfs::Credentials>();
    identity->uid = identity->euid = identity->fsuid = uid;
    if (uid == 0) identity->cap_effective = ~uint64_t{0};
    credentials = identity;
  }
  sentry::vfs::FsContext fs;
  sentry::vfs::CredentialsRef credentials;
  sentry::vfs::Caller files{fs, credentials, {}};
  sentry::net::Caller caller;
};

inline SocketRef make(const Actor& actor, int family, int type) {
  return sentry::net::make_socket(family, type, 0, 0, actor.caller).value();
}

inline Result<size_t> send(const Actor& actor, Socket& socket, std::string_view text,
                           int flags = MSG_DONTWAIT, std::vector<sentry::vfs::FileRef> files = {},
                           std::optional<sentry::net::Address> to = std::nullopt) {
  sentry::net::SendRequest request;
  request.flags = flags;
  request.nonblocking = (flags & MSG_DONTWAIT) != 0;
  request.caller = &actor.caller;
  request.ids = actor.caller.ids;
  request.to = to;
  request.control.files = std::move(files);
  sentry::mm::BufferSource source(text.data(), text.size());
  return socket.send(source, request);
}

struct Message {
  std::string text;
  Received received;
};

inline Result<Message> receive_message(Socket& socket, size_t size, int flags = MSG_DONTWAIT) {
  Message message;
  message.text.resize(size);
  sentry::net::ReceiveRequest request;
  request.flags = flags;
  request.nonblocking = (flags & MSG_DONTWAIT) != 0;
  sentry::mm::BufferSink sink(message.text.data(), size);
  message.received = TRY(socket.receive(sink, request));
  message.text.resize(std::min(size, message.received.length));
  return message;
}

inline Result<std::string> receive(Socket& socket, size_t size, int flags = MSG_DONTWAIT) {
  return TRY(receive_message(socket, size, flags)).text;
}

inline int option(Socket& socket, int level, int name) {
  const auto bytes = socket.get_option(level, name, sizeof(int)).value();
  int value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <typename T>
Result<> set(const Actor& actor, Socket& socket, int level, int name, const T& value) {
  return socket.set_option(level, name, std::as_bytes(std::span(&value, 1)), actor.caller);
}

}  // namespace socket_test
