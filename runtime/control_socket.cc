#include "runtime/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "sentry/base/packet.h"

namespace runtime {
namespace {

using sentry::Fd;

constexpr const char* kName = "control";
constexpr size_t kMostText = 4096;

struct RequestHeader {
  Request::Kind kind;
  int32_t value;
};

struct AnswerHeader {
  int32_t failed;
};

// sun_path is short and state directories are not: the folder by its descriptor.
Outcome<sockaddr_un> address_of(const Fd& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder.get(), kName);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Outcome<Fd> open_folder(const std::string& folder) {
  Fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return system_failure(errno, "cannot open {}", folder);
  return fd;
}

Outcome<Fd> new_socket(int more) {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | more, 0));
  if (!socket) return system_failure(errno, "cannot make a socket");
  return socket;
}

}  // namespace

Outcome<ControlConnection> ControlConnection::open(const std::string& folder) {
  const Fd directory = TRY(open_folder(folder));
  Fd socket = TRY(new_socket(0));
  const sockaddr_un address = TRY(address_of(directory));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) return failure("container not running");
    return system_failure(errno, "cannot connect to {}/{}", folder, kName);
  }
  return ControlConnection(std::move(socket));
}

Outcome<std::string> ControlConnection::ask(const Request& request) const {
  const RequestHeader header{request.kind, request.value};
  std::string packet(reinterpret_cast<const char*>(&header), sizeof header);
  packet += request.text;
  if (!sentry::send_packet(socket_.get(), packet, request.fds)) {
    if (errno == EPIPE || errno == ECONNRESET) return failure("container not running");
    return system_failure(errno, "cannot reach the container's supervisor");
  }
  std::string answer(sizeof(AnswerHeader) + kMostText, '\0');
  const ssize_t size = TEMP_FAILURE_RETRY(::recv(socket_.get(), answer.data(), answer.size(), 0));
  if (size < static_cast<ssize_t>(sizeof(AnswerHeader))) return failure("container not running");
  AnswerHeader result{};
  std::memcpy(&result, answer.data(), sizeof result);
  answer.resize(static_cast<size_t>(size));
  answer.erase(0, sizeof result);
  if (result.failed != 0) return Failure{answer};
  return answer;
}

Outcome<Fd> listen_for_commands(const std::string& folder) {
  const Fd directory = TRY(open_folder(folder));
  Fd socket = TRY(new_socket(SOCK_NONBLOCK));
  const sockaddr_un address = TRY(address_of(directory));
  ::unlinkat(directory.get(), kName, 0);
  constexpr int kBacklog = 128;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0)
    return system_failure(errno, "cannot listen on {}/{}", folder, kName);
  return socket;
}

bool receive_request(int socket, ReceivedRequest& received) {
  std::string packet(sizeof(RequestHeader) + kMostText, '\0');
  const ssize_t size = sentry::receive_packet(socket, packet.data(), packet.size(), received.fds);
  if (size < static_cast<ssize_t>(sizeof(RequestHeader))) return false;
  RequestHeader header{};
  std::memcpy(&header, packet.data(), sizeof header);
  received.request.kind = header.kind;
  received.request.value = header.value;
  received.request.text.assign(packet, sizeof header, static_cast<size_t>(size) - sizeof header);
  return true;
}

namespace {

void answer_with(int socket, int32_t failed, const std::string& text) {
  const AnswerHeader header{failed};
  std::string packet(reinterpret_cast<const char*>(&header), sizeof header);
  packet += text.substr(0, kMostText);
  [[maybe_unused]] const ssize_t sent =
      ::send(socket, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

void answer_request(int socket, const std::string& text) { answer_with(socket, 0, text); }
void refuse_request(int socket, const std::string& message) { answer_with(socket, 1, message); }

}  // namespace runtime
