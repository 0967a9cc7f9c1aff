#include "sentry/net/internet_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace sentry::net {
namespace {

using kernel::Sysctls;

constexpr int kLeast = INT_MIN, kMost = INT_MAX;
constexpr int kMulticastAll6 = 29;     // IPV6_MULTICAST_ALL
constexpr int kRecvFragmentSize = 25;  // IP_RECVFRAGSIZE
constexpr int kRecvError4884 = 26, kRecvError4884v6 = 31;
constexpr int kUdpGro = 104, kUdpNoCheck6Tx = 101, kUdpNoCheck6Rx = 102;

// Whatever is not 0 is 1.
int flag(int value, bool) { return value != 0 ? 1 : 0; }

// The two lowest bits are TCP's own, for congestion notification: __ip_sock_set_tos().
int type_of_service(int value, bool stream) { return value & (stream ? 0xfc : 0xff); }
int traffic_class(int value, bool stream) { return value == -1 ? 0 : type_of_service(value, stream); }

int unicast_hops4(int value, bool) {
  return value == -1 ? static_cast<int>(Sysctls::current().ip_default_ttl.value()) : value;
}
int unicast_hops6(int value, bool) { return value == -1 ? 64 : value; }
int multicast_hops(int value, bool) { return value == -1 ? 1 : value; }

constexpr int kLongestFin = 120;  // seconds: TCP_FIN_TIMEOUT_MAX
int linger2(int value, bool) {
  if (value < 0) return -1;
  if (value == 0) value = static_cast<int>(Sysctls::current().tcp_fin_timeout.value());
  return std::min(value, kLongestFin);
}

// TCP_DEFER_ACCEPT is kept as a count of retransmissions, secs_to_retrans(): each takes twice as long as the
// one before, 120 s at most.
int deferral(int value, bool) {
  if (value <= 0) return 0;
  int period = 1, timeout = 1;
  for (int retries = 1; value > period && retries < 255; ++retries) {
    timeout = std::min(timeout * 2, 120);
    period += timeout;
  }
  return period;
}

int window_clamp(int value, bool) {
  constexpr int kLeastWindow = 1152;  // SOCK_MIN_RCVBUF / 2
  return value == 0 ? 0 : std::max(value, kLeastWindow);
}

int fast_open_queue(int value, bool) {
  return std::min(value, static_cast<int>(Sysctls::current().somaxconn.value()));
}

int never(int, bool) { return 0; }

using Sockets = NumberOption::Sockets;

constexpr NumberOption kOptions[] = {
    {IPPROTO_IP, IP_TOS, 0, kLeast, kMost, type_of_service},
    {IPPROTO_IP, IP_TTL, 64, -1, 255, unicast_hops4, Sockets::kAll, 0, &Sysctls::ip_default_ttl},
    {IPPROTO_IP, IP_HDRINCL, 0, 0, 0, nullptr, Sockets::kNone, ENOPROTOOPT},
    {IPPROTO_IP, IP_ROUTER_ALERT, 0, 0, 0, nullptr, Sockets::kNone, EINVAL},
    {IPPROTO_IP, IP_PKTINFO, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_RECVTTL, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_RECVTOS, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_RECVOPTS, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_RETOPTS, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_RECVERR, 0, kLeast, kMost, flag},
    {IPPROTO_IP, kRecvError4884, 0, 0, 1},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, 0, kLeast, kMost, flag},
    {IPPROTO_IP, kRecvFragmentSize, 0, kLeast, kMost, flag, Sockets::kDatagrams, EINVAL},
    {IPPROTO_IP, IP_CHECKSUM, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_PASSSEC, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_FREEBIND, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, IP_PMTUDISC_DONT, IP_PMTUDISC_OMIT},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, kLeast, kMost, flag},
    {IPPROTO_IP, IP_MINTTL, 0, 0, 255},
    {IPPROTO_IP, IP_NODEFRAG, 0, 0, 0, nullptr, Sockets::kNone, ENOPROTOOPT},
    {IPPROTO_IP, IP_MULTICAST_TTL, 1, -1, 255, multicast_hops, Sockets::kDatagrams, EINVAL},
    {IPPROTO_IP, IP_MULTICAST_LOOP, 1, kLeast, kMost, flag},
    {IPPROTO_IP, IP_MULTICAST_ALL, 1, 0, 1},
    {IPPROTO_IP, IP_UNICAST_IF, 0, kLeast, kMost},
    {IPPROTO_IPV6, IPV6_UNICAST_IF, 0, kLeast, kMost},
    {IPPROTO_IPV6, IPV6_V6ONLY, 0, kLeast, kMost, flag, Sockets::kAll, 0, &Sysctls::bindv6only},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, -1, 255, unicast_hops6},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, -1, 255, multicast_hops, Sockets::kDatagrams, ENOPROTOOPT},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, 0, 1},
    {IPPROTO_IPV6, kMulticastAll6, 1, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVHOPOPTS, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVRTHDR, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVDSTOPTS, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVPATHMTU, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_RECVERR, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, kRecvError4884v6, 0, 0, 1},
    {IPPROTO_IPV6, IPV6_TCLASS, 0, -1, 255, traffic_class},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_OMIT},
    {IPPROTO_IPV6, IPV6_MINHOPCOUNT, 0, 0, 255},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_FREEBIND, 0, kLeast, kMost, flag},
    {IPPROTO_IPV6, IPV6_DONTFRAG, 0, kLeast, kMost, flag},
    {IPPROTO_TCP, TCP_NODELAY, 0, kLeast, kMost, flag},
    {IPPROTO_TCP, TCP_CORK, 0, kLeast, kMost, flag},
    {IPPROTO_TCP, TCP_KEEPIDLE, 7200, 1, 32767, nullptr, Sockets::kAll, 0, &Sysctls::tcp_keepalive_time},
    {IPPROTO_TCP, TCP_KEEPINTVL, 75, 1, 32767, nullptr, Sockets::kAll, 0, &Sysctls::tcp_keepalive_intvl},
    {IPPROTO_TCP, TCP_KEEPCNT, 9, 1, 127, nullptr, Sockets::kAll, 0, &Sysctls::tcp_keepalive_probes},
    {IPPROTO_TCP, TCP_SYNCNT, 6, 1, 127, nullptr, Sockets::kAll, 0, &Sysctls::tcp_syn_retries},
    {IPPROTO_TCP, TCP_LINGER2, 60, kLeast, kMost, linger2, Sockets::kAll, 0, &Sysctls::tcp_fin_timeout},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, kLeast, kMost, deferral},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, kLeast, kMost, window_clamp},
    {IPPROTO_TCP, TCP_QUICKACK, 1, kLeast, kMost, flag},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 0, kMost},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0, 0, 1},
    {IPPROTO_TCP, TCP_THIN_DUPACK, 0, 0, 1, never},
    {IPPROTO_TCP, TCP_FASTOPEN, 0, 0, kMost, fast_open_queue},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0, 0, 1},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0, kLeast, kMost},
    {IPPROTO_TCP, TCP_INQ, 0, 0, 1},
    {IPPROTO_UDP, UDP_CORK, 0, kLeast, kMost, flag},
    {IPPROTO_UDP, UDP_SEGMENT, 0, 0, 65535},
    {IPPROTO_UDP, kUdpGro, 0, kLeast, kMost, flag},
    {IPPROTO_UDP, kUdpNoCheck6Tx, 0, kLeast, kMost, flag},
    {IPPROTO_UDP, kUdpNoCheck6Rx, 0, kLeast, kMost, flag},
};

}  // namespace

const NumberOption* find_number_option(int level, int option) {
  for (const NumberOption& known : kOptions)
    if (known.level == level && known.option == option) return &known;
  return nullptr;
}

}  // namespace sentry::net
