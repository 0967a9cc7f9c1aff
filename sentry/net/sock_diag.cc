#include "sentry/net/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>

#include <cerrno>
#include <optional>

#include "sentry/kernel/sysctl.h"
#include "sentry/net/stack.h"
#include "sentry/net/tcp_socket.h"
#include "sentry/net/udp_socket.h"
#include "sentry/net/unix_socket.h"

namespace sentry::net {
namespace {

// A TCP or UDP socket as the protocol shows it.
struct Shown {
  const PortUser& user;
  int state;
  InternetAddress remote;
  size_t receive_queue, send_queue;
  const TcpEndpoint* stream = nullptr;
};

inet_diag_sockid identity(const Shown& shown) {
  inet_diag_sockid id{};
  id.idiag_sport = htons(shown.user.local.port);
  id.idiag_dport = htons(shown.remote.port);
  const auto put = [&](const Ip& ip, __be32(&place)[4]) {
    const in6_addr six = ip.to_v6();
    if (shown.user.family == AF_INET)
      place[0] = htonl(ip.is_v4() ? ip.to_v4() : INADDR_ANY);
    else
      std::memcpy(place, &six, sizeof six);
  };
  put(shown.user.local.ip, id.idiag_src);
  put(shown.remote.ip, id.idiag_dst);
  id.idiag_cookie[0] = static_cast<uint32_t>(shown.user.ino);  // as SO_COOKIE
  id.idiag_cookie[1] = static_cast<uint32_t>(shown.user.ino >> 32);
  return id;
}

// ---- the bytecode of filters, include/uapi/linux/inet_diag.h: jumps forward over each other

// inet_diag_hostcond and its address, of which only the words that the prefix is in need be there.
struct HostCondition {
  uint8_t family, prefix_len;
  int port;  // -1: any
  __be32 address[4];
};
constexpr size_t kHostConditionStart = sizeof(inet_diag_hostcond);
static_assert(offsetof(HostCondition, address) == kHostConditionStart);

bool matches(const HostCondition& wanted, int family, const __be32 (&address)[4], uint16_t port) {
  if (wanted.port != -1 && wanted.port != port) return false;
  if (wanted.prefix_len == 0) return true;
  const __be32* bytes = address;
  if (wanted.family != AF_UNSPEC && wanted.family != family) {
    const bool mapped = address[0] == 0 && address[1] == 0 && address[2] == htonl(0xffff);
    if (family != AF_INET6 || wanted.family != AF_INET || !mapped) return false;
    bytes += 3;
  }
  const size_t words = wanted.prefix_len / 32, rest = wanted.prefix_len % 32;
  if (std::memcmp(bytes, wanted.address, words * sizeof *bytes) != 0) return false;
  return rest == 0 || ((bytes[words] ^ wanted.address[words]) & htonl(~uint32_t{0} << (32 - rest))) == 0;
}

// Whether the code lets a socket through; EINVAL for what is no such code. An operation's jumps lead forward.
Result<bool> passes(std::span<const std::byte> code, const Shown& shown) {
  const inet_diag_sockid id = identity(shown);
  const uint16_t local = shown.user.local.port, remote = shown.remote.port;
  size_t at = 0;
  while (at < code.size()) {
    inet_diag_bc_op op{}, second{};
    if (code.size() - at < sizeof op) return Errno(EINVAL);
    std::memcpy(&op, code.data() + at, sizeof op);
    const auto argument = [&](void* place, size_t size) {
      if (code.size() - at - sizeof op < size) return false;
      std::memcpy(place, code.data() + at + sizeof op, size);
      return true;
    };
    bool yes = true;
    switch (op.code) {
      case INET_DIAG_BC_NOP:
        break;
      case INET_DIAG_BC_JMP:
        yes = false;
        break;
      case INET_DIAG_BC_S_GE:
      case INET_DIAG_BC_S_LE:
      case INET_DIAG_BC_D_GE:
      case INET_DIAG_BC_D_LE:
      case INET_DIAG_BC_S_EQ:
      case INET_DIAG_BC_D_EQ: {
        if (!argument(&second, sizeof second)) return Errno(EINVAL);
        const bool source =
            op.code == INET_DIAG_BC_S_GE || op.code == INET_DIAG_BC_S_LE || op.code == INET_DIAG_BC_S_EQ;
        const uint16_t port = source ? local : remote;
        if (op.code == INET_DIAG_BC_S_EQ || op.code == INET_DIAG_BC_D_EQ)
          yes = port == second.no;
        else
          yes = op.code == INET_DIAG_BC_S_GE || op.code == INET_DIAG_BC_D_GE ? port >= second.no
                                                                             : port <= second.no;
        break;
      }
      case INET_DIAG_BC_AUTO: {
        const kernel::Sysctl& range = kernel::Sysctls::current().ip_local_port_range;
        yes = local >= range[0] && local <= range[1];
        break;
      }
      case INET_DIAG_BC_S_COND:
      case INET_DIAG_BC_D_COND: {
        HostCondition condition{};
        if (!argument(&condition, kHostConditionStart)) return Errno(EINVAL);
        const size_t length = (condition.prefix_len + 31u) / 32 * sizeof(__be32);
        if (length > sizeof condition.address || !argument(&condition, kHostConditionStart + length))
          return Errno(EINVAL);
        const bool source = op.code == INET_DIAG_BC_S_COND;
        yes = matches(condition, shown.user.family, source ? id.idiag_src : id.idiag_dst,
                      source ? local : remote);
        break;
      }
      default:
        return Errno(EINVAL);  // devices, marks and control groups, of which there is one each
    }
    const size_t step = yes ? op.yes : op.no;
    if (step < sizeof op || step % 4 != 0) return Errno(EINVAL);
    // One operation behind the end is "no", inet_diag_bc_run().
    at += step;
  }
  return at == code.size();
}

// ---- TCP and UDP

uint32_t extension(int number) { return 1u << (number - 1); }

void write_internet(MessageWriter& writer, const NetlinkRequest& request, const Shown& shown,
                    uint32_t wanted) {
  writer.begin(request.header, SOCK_DIAG_BY_FAMILY, request.dump ? NLM_F_MULTI : 0, request.port);
  inet_diag_msg message{};
  message.idiag_family = static_cast<uint8_t>(shown.user.family);
  message.idiag_state = static_cast<uint8_t>(shown.state);
  message.id = identity(shown);
  message.idiag_rqueue = static_cast<uint32_t>(shown.receive_queue);
  message.idiag_wqueue = static_cast<uint32_t>(shown.send_queue);
  message.idiag_uid = shown.user.uid;
  message.idiag_inode = static_cast<uint32_t>(shown.user.ino);
  writer.add(message);
  const TcpEndpoint* const stream = shown.stream;
  writer.attribute(INET_DIAG_SHUTDOWN, static_cast<uint8_t>(stream != nullptr ? stream->shutdown : 0));
  if (shown.user.family == AF_INET6) {
    const bool unconnected = shown.state == TCP_LISTEN || shown.state == TCP_CLOSE;
    if (unconnected) writer.attribute(INET_DIAG_SKV6ONLY, static_cast<uint8_t>(shown.user.v6_only));
  }
  const auto receive_bytes = static_cast<uint32_t>(shown.receive_queue);
  if ((wanted & extension(INET_DIAG_MEMINFO)) != 0)
    writer.attribute(INET_DIAG_MEMINFO, inet_diag_meminfo{receive_bytes, 0, 0, 0});
  if ((wanted & extension(INET_DIAG_SKMEMINFO)) != 0) {
    uint32_t memory[SK_MEMINFO_VARS] = {};
    memory[SK_MEMINFO_RMEM_ALLOC] = receive_bytes;
    if (stream != nullptr) {
      memory[SK_MEMINFO_RCVBUF] = static_cast<uint32_t>(stream->receive_limit);
      memory[SK_MEMINFO_SNDBUF] = static_cast<uint32_t>(stream->send_limit);
    }
    writer.attribute(INET_DIAG_SKMEMINFO, memory);
  }
  if (stream != nullptr && (wanted & extension(INET_DIAG_INFO)) != 0)
    writer.attribute(INET_DIAG_INFO, stream->info());
  if (stream != nullptr && (wanted & extension(INET_DIAG_CONG)) != 0) writer.text(INET_DIAG_CONG, "cubic");
  writer.end();
}

std::optional<Shown> show(const PortUser& user, uint32_t protocol) {
  const InternetAddress nowhere{user.family == AF_INET ? Ip::v4(INADDR_ANY) : Ip(), 0};
  if (protocol == IPPROTO_UDP) {
    const UdpSocket& socket = UdpSocket::of(user);
    return Shown{user, socket.peer() ? TCP_ESTABLISHED : TCP_CLOSE, socket.peer().value_or(nowhere),
                 socket.queued(), 0};
  }
  const auto& endpoint = static_cast<const TcpEndpoint&>(user);
  // A socket that is only bound is in no table.
  if (endpoint.state == TcpEndpoint::State::kClosed) return std::nullopt;
  if (endpoint.state == TcpEndpoint::State::kListening)
    return Shown{user, TCP_LISTEN, nowhere, endpoint.accepted.size(), endpoint.backlog, &endpoint};
  return Shown{user, endpoint.tcp_state(), endpoint.remote, endpoint.incoming.size(), 0, &endpoint};
}

int answer_internet(MessageWriter& writer, const NetlinkRequest& request, size_t& position) {
  inet_diag_req_v2 wanted{};
  if (!request.read(wanted)) return EINVAL;
  const auto attributes =
      request.payload.subspan(std::min<size_t>(request.payload.size(), NLMSG_ALIGN(sizeof wanted)));
  uint32_t protocol = wanted.sdiag_protocol;
  // Numbers such as MPTCP's do not fit there.
  if (const auto wide = find_attribute(attributes, INET_DIAG_REQ_PROTOCOL); wide.size() == sizeof protocol)
    std::memcpy(&protocol, wide.data(), sizeof protocol);
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return request.dump ? 0 : ENOENT;
  const auto code = find_attribute(attributes, INET_DIAG_REQ_BYTECODE);
  Stack& stack = Stack::current();
  const auto& users = protocol == IPPROTO_TCP ? stack.tcp_ports().users() : stack.udp_ports().users();
  const size_t before = std::exchange(position, 0);
  size_t index = 0;
  for (const auto& [port, user] : users) {
    if (index++ < before || user->family != wanted.sdiag_family) continue;
    const std::optional<Shown> shown = show(*user, protocol);
    if (!shown) continue;
    if (request.dump) {
      if ((wanted.idiag_states >> shown->state & 1) == 0) continue;
      const Result<bool> passed = passes(code, *shown);
      if (!passed.ok()) return passed.error().value();
      if (!*passed) continue;
    } else {
      // One socket, by its addresses.
      inet_diag_sockid id = identity(*shown), asked = wanted.id;
      const bool any_cookie = asked.idiag_cookie[0] == INET_DIAG_NOCOOKIE;
      if (any_cookie) std::copy(id.idiag_cookie, id.idiag_cookie + 2, asked.idiag_cookie);
      asked.idiag_if = 0;
      if (std::memcmp(&id, &asked, sizeof id) != 0) continue;
    }
    write_internet(writer, request, *shown, wanted.idiag_ext);
    if (!request.dump) return 0;
    if (writer.size() >= kNetlinkPiece) {
      position = index;
      return 0;
    }
  }
  return request.dump ? 0 : ENOENT;
}

// ---- AF_UNIX

int unix_state(const UnixEndpoint& endpoint) {
  switch (endpoint.state) {
    case UnixEndpoint::State::kListening:
      return TCP_LISTEN;
    case UnixEndpoint::State::kConnected:
      return TCP_ESTABLISHED;
    case UnixEndpoint::State::kUnconnected:
      break;
  }
  return TCP_CLOSE;
}

void write_unix(MessageWriter& writer, const NetlinkRequest& request, const UnixEndpoint& endpoint,
                uint32_t show) {
  writer.begin(request.header, SOCK_DIAG_BY_FAMILY, request.dump ? NLM_F_MULTI : 0, request.port);
  unix_diag_msg message{};
  message.udiag_family = AF_UNIX;
  message.udiag_type = static_cast<uint8_t>(endpoint.type);
  message.udiag_state = static_cast<uint8_t>(unix_state(endpoint));
  message.udiag_ino = message.udiag_cookie[0] = static_cast<uint32_t>(endpoint.ino);
  writer.add(message);
  const bool listens = endpoint.state == UnixEndpoint::State::kListening;
  if ((show & UDIAG_SHOW_NAME) != 0 && endpoint.name.length() > offsetof(sockaddr_un, sun_path)) {
    const auto* const bytes = static_cast<const char*>(endpoint.name.data());
    writer.attribute(UNIX_DIAG_NAME, bytes + offsetof(sockaddr_un, sun_path),
                     endpoint.name.length() - offsetof(sockaddr_un, sun_path));
  }
  if ((show & UDIAG_SHOW_PEER) != 0 && endpoint.peer != nullptr)
    writer.attribute(UNIX_DIAG_PEER, static_cast<uint32_t>(endpoint.peer->dead ? 0 : endpoint.peer->ino));
  if ((show & UDIAG_SHOW_RQLEN) != 0) {
    unix_diag_rqlen queues{};
    if (listens) {
      queues.udiag_rqueue = static_cast<uint32_t>(endpoint.embryos.size());
      queues.udiag_wqueue = static_cast<uint32_t>(endpoint.backlog);
    } else {
      size_t unread = 0;
      for (const auto& waiting : endpoint.inbox) unread += waiting->end - waiting->begin;
      queues.udiag_rqueue = static_cast<uint32_t>(unread);
      queues.udiag_wqueue = static_cast<uint32_t>(endpoint.in_use);
    }
    writer.attribute(UNIX_DIAG_RQLEN, queues);
  }
  if ((show & UDIAG_SHOW_UID) != 0) writer.attribute(UNIX_DIAG_UID, uint32_t{endpoint.own.ids.uid});
  writer.attribute(UNIX_DIAG_SHUTDOWN, static_cast<uint8_t>(endpoint.shutdown));
  writer.end();
}

int answer_unix(MessageWriter& writer, const NetlinkRequest& request, size_t& position) {
  unix_diag_req wanted{};
  if (!request.read(wanted)) return EINVAL;
  if (!request.dump && wanted.udiag_ino == 0) return EINVAL;
  const size_t before = std::exchange(position, 0);
  size_t index = 0;
  for (const UnixEndpoint* const endpoint : Stack::current().unix_endpoints()) {
    if (index++ < before) continue;
    if (request.dump ? (wanted.udiag_states >> unix_state(*endpoint) & 1) == 0
                     : endpoint->ino != wanted.udiag_ino)
      continue;
    write_unix(writer, request, *endpoint, wanted.udiag_show);
    if (!request.dump) return 0;
    if (writer.size() >= kNetlinkPiece) {
      position = index;
      return 0;
    }
  }
  return request.dump ? 0 : ENOENT;
}

}  // namespace

int answer_socket_request(MessageWriter& writer, const NetlinkRequest& request, size_t& position) {
  sock_diag_req wanted{};
  switch (request.header.nlmsg_type) {
    case SOCK_DIAG_BY_FAMILY:
      break;
    case SOCK_DESTROY:
      return EPERM;
    default:
      return EINVAL;
  }
  if (!request.read(wanted)) return EINVAL;
  switch (wanted.sdiag_family) {
    case AF_INET:
    case AF_INET6:
      return answer_internet(writer, request, position);
    case AF_UNIX:
      return answer_unix(writer, request, position);
    default:
      return wanted.sdiag_family >= AF_MAX ? EINVAL : ENOENT;
  }
}

}  // namespace sentry::net
