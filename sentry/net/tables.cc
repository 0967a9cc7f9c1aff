#include "sentry/net/tables.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>

#include "sentry/net/stack.h"
#include "sentry/net/tcp_socket.h"
#include "sentry/net/udp_socket.h"
#include "sentry/net/unix_socket.h"

namespace sentry::net {
namespace {

// "0100007F:1F90": each 32-bit word of the address as it lies in memory, read as a number of this machine.
std::string address_text(const InternetAddress& address, int family) {
  if (family == AF_INET) return fmt::format("{:08X}:{:04X}", htonl(address.ip.to_v4()), address.port);
  const in6_addr bytes = address.ip.to_v6();
  uint32_t words[4];
  std::memcpy(words, &bytes, sizeof words);
  return fmt::format("{:08X}{:08X}{:08X}{:08X}:{:04X}", words[0], words[1], words[2], words[3], address.port);
}

std::string line(size_t number, const PortUser& user, const InternetAddress& remote, int state, size_t unsent,
                 size_t unread) {
  return fmt::format("{:4}: {} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:5}        0 {}", number,
                     address_text(user.local, user.family), address_text(remote, user.family), state, unsent,
                     unread, user.uid, user.ino);
}

InternetAddress nowhere(int family) { return {family == AF_INET ? Ip::v4(INADDR_ANY) : Ip(), 0}; }

template <int kFamily>
std::string tcp_text() {
  std::string text =
      kFamily == AF_INET
          ? fmt::format("{:<149}\n",
                        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   "
                        "uid  timeout inode")
          : "  sl  local_address                         remote_address                        st "
            "tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
  size_t number = 0;
  for (const auto& [port, user] : Stack::current().tcp_ports().users()) {
    const auto& endpoint = static_cast<const TcpEndpoint&>(*user);
    if (endpoint.family != kFamily) continue;
    // A socket that is only bound is in no table.
    if (endpoint.state == TcpEndpoint::State::kClosed) continue;
    const bool listening = endpoint.state == TcpEndpoint::State::kListening;
    const size_t unread = listening ? endpoint.accepted.size() : endpoint.incoming.size();
    const std::string shown = line(number++, endpoint, listening ? nowhere(kFamily) : endpoint.remote,
                                   endpoint.tcp_state(), endpoint.under_way(), unread);
    text += kFamily == AF_INET ? fmt::format("{:<149}\n", shown + " 1 0000000000000000 20 4 30 10 -1")
                               : shown + " 1 0000000000000000 20 4 30 10 -1\n";
  }
  return text;
}

template <int kFamily>
std::string udp_text() {
  std::string text =
      kFamily == AF_INET
          ? "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
            "inode ref pointer drops             \n"
          : "  sl  local_address                         remote_address                        st "
            "tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
  size_t number = 0;
  for (const auto& [port, user] : Stack::current().udp_ports().users()) {
    if (user->family != kFamily) continue;
    const UdpSocket& socket = UdpSocket::of(*user);
    text += line(number++, *user, socket.peer().value_or(nowhere(kFamily)),
                 socket.peer() ? TCP_ESTABLISHED : TCP_CLOSE, 0, socket.queued()) +
            " 2 0000000000000000 0\n";
  }
  return text;
}

std::string unix_text() {
  std::string text = "Num       RefCount Protocol Flags    Type St Inode Path\n";
  for (const UnixEndpoint* endpoint : Stack::current().unix_endpoints()) {
    const bool listening = endpoint->state == UnixEndpoint::State::kListening;
    // include/uapi/linux/net.h: SS_UNCONNECTED 1, SS_CONNECTED 3; __SO_ACCEPTCON 1 << 16.
    const int state = endpoint->state == UnixEndpoint::State::kConnected ? 3 : 1;
    text += fmt::format("{:016x}: {:08X} {:08X} {:08X} {:04X} {:02X} {:5}", 0, 2, 0, listening ? 1 << 16 : 0,
                        endpoint->type, state, endpoint->ino);
    std::string path = endpoint->path_text();
    if (!path.empty()) text += ' ' + path;
    text += '\n';
  }
  return text;
}

// How many sockets of a family there are; of TCP's those in a state, or all for nullptr.
size_t count_users(const PortTable& ports, int family) {
  size_t count = 0;
  for (const auto& [port, user] : ports.users()) count += user->family == family;
  return count;
}
size_t count_streams(int family, bool (*wanted)(int state)) {
  size_t count = 0;
  for (const auto& [port, user] : Stack::current().tcp_ports().users())
    count += user->family == family && wanted(static_cast<const TcpEndpoint&>(*user).tcp_state());
  return count;
}
bool in_use(int state) { return state != TCP_CLOSE; }
bool established(int state) { return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT; }

std::string sockstat_text() {
  const size_t streams = count_streams(AF_INET, in_use);
  return fmt::format(
      "sockets: used {}\nTCP: inuse {} orphan 0 tw 0 alloc {} mem 0\nUDP: inuse {} mem 0\nUDPLITE: inuse 0\n"
      "RAW: inuse 0\nFRAG: inuse 0 memory 0\n",
      Socket::count(), streams, streams + count_streams(AF_INET6, in_use),
      count_users(Stack::current().udp_ports(), AF_INET));
}

std::string sockstat6_text() {
  return fmt::format(
      "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
      count_streams(AF_INET6, in_use), count_users(Stack::current().udp_ports(), AF_INET6));
}

// There are no packets to count, but connections there are.
std::string snmp_text() {
  return fmt::format(
      "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos "
      "InDiscards "
      "InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs "
      "FragFails FragCreates\nIp: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
      "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab "
      "InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\nTcp: 1 200 120000 -1 0 0 0 0 {} 0 0 0 0 0 0\n"
      "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti "
      "MemErrors\nUdp: 0 0 0 0 0 0 0 0 0\n",
      count_streams(AF_INET, established) + count_streams(AF_INET6, established));
}

constexpr Table kTables[] = {{"tcp", &tcp_text<AF_INET>},    {"tcp6", &tcp_text<AF_INET6>},
                             {"udp", &udp_text<AF_INET>},    {"udp6", &udp_text<AF_INET6>},
                             {"snmp", &snmp_text},           {"sockstat", &sockstat_text},
                             {"sockstat6", &sockstat6_text}, {"unix", &unix_text}};

}  // namespace

std::span<const Table> tables() { return kTables; }

}  // namespace sentry::net
