#include "sentry/net/udp_socket.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <sys/epoll.h>

#include "sentry/kernel/sysctl.h"
#include "sentry/net/interface.h"
#include "sentry/net/stack.h"

namespace sentry::net {
namespace {

constexpr Events kIn = EPOLLIN | EPOLLRDNORM;
constexpr Events kOut = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
constexpr int kReceive = 1, kSend = 2;
constexpr size_t kLongest = 65535, kMaximumDatagram = 65507;  // the same less the headers of IP and UDP
// What a datagram costs the receive buffer besides its bytes, about Linux's sk_buff.
constexpr size_t kDatagramCost = 512;

}  // namespace

UdpSocket::UdpSocket(int family, int flags, const vfs::CredentialsRef& owner)
    : InternetSocket(family, SOCK_DGRAM, IPPROTO_UDP, flags, owner) {
  PortUser::family = family;
  v6_only = family == AF_INET6 && kernel::Sysctls::current().bindv6only.value() != 0;
  ino = inode_number();
  if (family == AF_INET) local.ip = Ip::v4(INADDR_ANY);
}

UdpSocket::~UdpSocket() {
  if (local.port != 0) ports().release(*this);
}

PortTable& UdpSocket::ports() { return Stack::current().udp_ports(); }

UdpSocket* UdpSocket::find(const InternetAddress& from, const InternetAddress& to) {
  UdpSocket* best = nullptr;
  int best_score = -1;
  Stack::current().udp_ports().each(to.port, [&](PortUser& user) {
    auto& socket = static_cast<UdpSocket&>(user);
    if (!socket.receives(to.ip) || (socket.peer_ && *socket.peer_ != from)) return true;
    const int score = (socket.local.ip.is_any() ? 0 : 2) + (socket.peer_ ? 4 : 0);
    if (score > best_score) {
      best = &socket;
      best_score = score;
    }
    return true;
  });
  return best;
}

std::vector<UdpSocket*> UdpSocket::find_all(const InternetAddress& from, const InternetAddress& to) {
  std::vector<UdpSocket*> found;
  if (to.ip.is_multicast() && !Memberships::joined_by_anybody(to.ip)) return found;
  Stack::current().udp_ports().each(to.port, [&](PortUser& user) {
    auto& socket = static_cast<UdpSocket&>(user);
    if (!socket.receives(to.ip) || (socket.peer_ && *socket.peer_ != from)) return true;
    const bool wanted = !to.ip.is_multicast() || socket.memberships_.contains(to.ip) ||
                        socket.option_number(IPPROTO_IP, IP_MULTICAST_ALL) != 0;
    if (wanted) found.push_back(&socket);
    return true;
  });
  return found;
}

Result<InternetAddress> UdpSocket::destination(const Address& address) const {
  const InternetAddress given = TRY(parse_internet_address(address, InternetSocket::family(), true));
  if (given.ip.is_v4() && InternetSocket::family() == AF_INET6 && v6_only) return Errno(ENETUNREACH);
  if (given.ip.is_broadcast() && !options_.broadcast) return Errno(EACCES);
  // lo takes IPv4 groups only: it has no link-local address.
  if (given.ip.is_multicast() && given.ip.is_v4() && sends_to_groups()) return given;
  return route(given);
}

// What ancillary data asks for takes the place of the socket's options: ip_cmsg_send(),
// ip6_datagram_send_ctl().
Result<UdpSocket::Manner> UdpSocket::manner(const InternetAddress& to, const Control& control) const {
  Manner manner;
  const bool four = to.ip.is_v4();
  if (!local.ip.is_any() && !local.ip.is_multicast() && !local.ip.is_broadcast()) manner.from = local.ip;
  if (four)
    manner.ttl = option_number(IPPROTO_IP, to.ip.is_multicast() ? IP_MULTICAST_TTL : IP_TTL);
  else
    manner.ttl = option_number(IPPROTO_IPV6, IPV6_UNICAST_HOPS);
  manner.tos = four ? option_number(IPPROTO_IP, IP_TOS) : option_number(IPPROTO_IPV6, IPV6_TCLASS);
  manner.segment = static_cast<size_t>(option_number(IPPROTO_UDP, UDP_SEGMENT));
  for (const ControlMessage& message : control.other) {
    const auto number = [&](int least, int most) -> Result<int> {
      if (message.data.size() != sizeof(int)) return Errno(EINVAL);
      const int value = TRY(option_argument<int>(message.data));
      if (value < least || value > most) return Errno(EINVAL);
      return value;
    };
    if (message.level == IPPROTO_UDP && message.type == UDP_SEGMENT) {
      if (message.data.size() != sizeof(uint16_t)) return Errno(EINVAL);
      manner.segment = TRY(option_argument<uint16_t>(message.data));
    } else if (message.level == IPPROTO_IP && four) {
      switch (message.type) {
        case IP_TOS:
          manner.tos = message.data.size() == 1 ? std::to_integer<int>(message.data[0]) : TRY(number(0, 255));
          break;
        case IP_TTL:
          manner.ttl = TRY(number(1, 255));
          break;
        case IP_PKTINFO: {
          if (message.data.size() != sizeof(in_pktinfo)) return Errno(EINVAL);
          const auto info = TRY(option_argument<in_pktinfo>(message.data));
          const Ip from = Ip::v4(ntohl(info.ipi_spec_dst.s_addr));
          if (info.ipi_ifindex != 0 && info.ipi_ifindex != kLoopbackIndex) return Errno(ENODEV);
          if (!from.is_any() && !from.is_loopback()) return Errno(EINVAL);
          if (!from.is_any()) manner.from = from;
          break;
        }
        default:
          return Errno(EINVAL);
      }
    } else if (message.level == IPPROTO_IPV6 && InternetSocket::family() == AF_INET6) {
      switch (message.type) {
        case IPV6_TCLASS: {
          const int value = TRY(number(-1, 255));
          if (value != -1) manner.tos = value;
          break;
        }
        case IPV6_HOPLIMIT: {
          const int value = TRY(number(-1, 255));
          if (value != -1) manner.ttl = value;
          break;
        }
        case IPV6_PKTINFO: {
          const auto info = TRY(option_argument<in6_pktinfo>(message.data));
          const Ip from(info.ipi6_addr);
          if (info.ipi6_ifindex != 0 && info.ipi6_ifindex != kLoopbackIndex) return Errno(ENODEV);
          if (!from.is_any() && !from.is_loopback()) return Errno(EINVAL);
          if (!from.is_any()) manner.from = from;
          break;
        }
        default:
          return Errno(EINVAL);
      }
    }
  }
  return manner;
}

Result<> UdpSocket::connect(const Address& address, const Caller& caller, bool) {
  if (address.length() < sizeof(sa_family_t)) return Errno(EINVAL);
  if (address.family() == AF_UNSPEC) {
    peer_.reset();
    if (!bound_by_caller_) unbind();
    return {};
  }
  const InternetAddress to = TRY(destination(address));
  uid = caller.files.credentials->euid;
  TRY(bind_automatically());
  if (local.ip.is_any()) local.ip = Ip::loopback(to.ip.is_v4());
  peer_ = to;
  return {};
}

Result<> UdpSocket::shutdown(int how) {
  if (how < SHUT_RD || how > SHUT_RDWR) return Errno(EINVAL);
  if (!peer_) return Errno(ENOTCONN);
  shutdown_ |= how + 1;
  queue_.wake();
  return {};
}

Result<Address> UdpSocket::peer_name() {
  if (!peer_) return Errno(ENOTCONN);
  return to_address(*peer_, InternetSocket::family());
}

Events UdpSocket::poll() {
  Events events = kOut;
  if (!inbox_.empty()) events |= kIn;
  if (error_ != 0 || !errors_.empty()) events |= error_events();
  if ((shutdown_ & kReceive) != 0) events |= kIn | EPOLLRDHUP;
  if (shutdown_ == (kReceive | kSend)) events |= EPOLLHUP;
  return events;
}

void UdpSocket::deliver(const std::shared_ptr<const Datagram>& datagram) {
  const size_t cost = datagram->data.size() + kDatagramCost;
  if ((shutdown_ & kReceive) != 0) return;
  // What does not fit is lost, as in any network.
  if (queued_ + cost > static_cast<size_t>(options_.receive_buffer)) {
    ++drops_;
    return;
  }
  queued_ += cost;
  inbox_.push_back({datagram, drops_});
  queue_.wake(kIn);
}

Result<size_t> UdpSocket::send(mm::Source& source, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  const uint64_t size = source.remaining();
  if (size > kLongest) return Errno(EMSGSIZE);
  const bool more = (request.flags & MSG_MORE) != 0 || option_number(IPPROTO_UDP, UDP_CORK) != 0;
  Gathered piece;
  if (!gathered_) {
    if (request.to) {
      piece.to = TRY(destination(*request.to));
      if (piece.to.port == 0) return Errno(EINVAL);
    } else if (peer_) {
      piece.to = *peer_;
    } else {
      return Errno(EDESTADDRREQ);
    }
  }
  if (error_ != 0) return Errno(take_error());
  if ((shutdown_ & kSend) != 0) return Errno(EPIPE);
  if (!gathered_) piece.manner = TRY(manner(piece.to, request.control));
  std::vector<std::byte> data(static_cast<size_t>(size));
  if (size != 0) {
    const Result<size_t> got = source.get(data.data(), data.size());
    if (!got.ok() || *got < size) {
      gathered_.reset();
      return got.ok() ? Errno(EFAULT) : got.error();
    }
  }
  // Another call may have begun, or sent, one meanwhile.
  if (gathered_)
    piece = std::move(*std::exchange(gathered_, {}));
  else if (piece.to.port == 0)
    return Errno(EDESTADDRREQ);
  // Too much is lost, all of it: ip_append_data(), udp_flush_pending_frames().
  if (piece.data.size() + data.size() > kMaximumDatagram) return Errno(EMSGSIZE);
  if (piece.data.empty())
    piece.data = std::move(data);
  else
    piece.data.insert(piece.data.end(), data.begin(), data.end());
  TRY(bind_automatically());
  if (more)
    gathered_ = std::move(piece);
  else
    TRY(transmit(std::move(piece)));
  return static_cast<size_t>(size);
}

Result<> UdpSocket::transmit(Gathered gathered) {
  constexpr size_t kMostSegments = 128;  // UDP_MAX_SEGMENTS
  std::vector<std::byte>& data = gathered.data;
  size_t segment = gathered.manner.segment;
  if (segment == 0 || segment >= data.size()) segment = data.size();
  if (segment != 0 && data.size() > segment * kMostSegments) return Errno(EINVAL);
  const Ip from = gathered.manner.from.is_any() ? Ip::loopback(gathered.to.ip.is_v4()) : gathered.manner.from;
  size_t done = 0;
  do {
    const size_t size = std::min(segment, data.size() - done);
    auto datagram = std::make_shared<Datagram>();
    if (size == data.size())
      datagram->data = std::move(data);
    else
      datagram->data.assign(data.begin() + static_cast<ptrdiff_t>(done),
                            data.begin() + static_cast<ptrdiff_t>(done + size));
    datagram->from = {from, local.port};
    datagram->to = gathered.to;
    datagram->manner = gathered.manner;
    datagram->arrival = read_clock(CLOCK_REALTIME);
    transmit_one(datagram);
    done += size;
  } while (done < data.size());
  return {};
}

void UdpSocket::transmit_one(const std::shared_ptr<const Datagram>& datagram) {
  const InternetAddress& to = datagram->to;
  if (to.ip.is_multicast() || to.ip.is_broadcast()) {
    for (UdpSocket* const target : find_all(datagram->from, to)) target->deliver(datagram);
  } else if (UdpSocket* const target = find(datagram->from, to); target != nullptr) {
    target->deliver(datagram);
  } else {
    hear_refusal(datagram);
  }
}

// "Port unreachable" comes back. Only sockets that are connected or have set IP_RECVERR hear of it, udp(7).
void UdpSocket::hear_refusal(const std::shared_ptr<const Datagram>& datagram) {
  const bool four = datagram->to.ip.is_v4();
  const bool queues = InternetSocket::family() == AF_INET6 ? option_number(IPPROTO_IPV6, IPV6_RECVERR) != 0
                                                           : option_number(IPPROTO_IP, IP_RECVERR) != 0;
  if (!queues && !(peer_ && *peer_ == datagram->to)) return;
  if (queues && four == (InternetSocket::family() == AF_INET) && errors_.size() < kMostErrors)
    errors_.push_back(datagram);
  error_ = ECONNREFUSED;
  queue_.wake(EPOLLERR);
}

// MSG_ERRQUEUE, recv(2): the datagram as it was sent, where to, and what became of it.
Result<Received> UdpSocket::receive_error(mm::Sink& sink) {
  if (errors_.empty()) return Errno(EAGAIN);
  const std::shared_ptr<const Datagram> datagram = std::move(errors_.front());
  errors_.pop_front();
  // The next one's error is pending again, sock_dequeue_err_skb().
  error_ = errors_.empty() ? 0 : ECONNREFUSED;
  const int family = InternetSocket::family();
  Received received;
  received.flags = MSG_ERRQUEUE;
  received.from = to_address(datagram->to, family);
  const InternetAddress offender{datagram->to.ip, 0};
  if (family == AF_INET) {
    constexpr uint8_t kUnreachable = 3, kPort = 3;  // ICMP_DEST_UNREACH, ICMP_PORT_UNREACH
    const struct {
      sock_extended_err error;
      sockaddr_in offender;
    } told{{ECONNREFUSED, SO_EE_ORIGIN_ICMP, kUnreachable, kPort, 0, 0, {0}},
           to_address(offender, AF_INET).as<sockaddr_in>()};
    received.extra.push_back({IPPROTO_IP, IP_RECVERR, option_value(told)});
  } else {
    constexpr uint8_t kUnreachable = 1, kPort = 4;  // ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH
    const struct {
      sock_extended_err error;
      sockaddr_in6 offender;
    } told{{ECONNREFUSED, SO_EE_ORIGIN_ICMP6, kUnreachable, kPort, 0, 0, {0}},
           to_address(offender, AF_INET6).as<sockaddr_in6>()};
    received.extra.push_back({IPPROTO_IPV6, IPV6_RECVERR, option_value(told)});
  }
  const auto count = static_cast<size_t>(std::min<uint64_t>(datagram->data.size(), sink.remaining()));
  if (count != 0 && TRY(sink.put(datagram->data.data(), count)) < count) return Errno(EFAULT);
  if (count < datagram->data.size()) received.flags |= MSG_TRUNC;
  received.length = count;
  return received;
}

Result<> UdpSocket::set_option(int level, int option, std::span<const std::byte> value,
                               const Caller& caller) {
  TRY(InternetSocket::set_option(level, option, value, caller));
  const bool uncorked = level == IPPROTO_UDP && option == UDP_CORK && option_number(level, option) == 0;
  if (uncorked && gathered_) TRY(transmit(std::move(*std::exchange(gathered_, {}))));
  return {};
}

Result<Received> UdpSocket::receive(mm::Sink& sink, const ReceiveRequest& request) {
  if ((request.flags & MSG_ERRQUEUE) != 0) return receive_error(sink);
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  // SO_PEEK_OFF counts on through the datagrams.
  size_t index = 0, skipped = 0;
  const auto find_next = [&] {
    index = 0;
    skipped = peek_start(request.flags);
    while (index < inbox_.size() && skipped != 0 && skipped >= inbox_[index].datagram->data.size())
      skipped -= inbox_[index++].datagram->data.size();
    return index < inbox_.size();
  };
  TRY(receive_patience(request.nonblocking).wait(queue_, kAllEvents, [&] {
    return find_next() || error_ != 0 || (shutdown_ & kReceive) != 0;
  }));
  if (error_ != 0) return Errno(take_error());
  Received received;
  if (!find_next()) return received;  // shut down
  const Arrived arrived = inbox_[index];
  const Datagram& datagram = *arrived.datagram;
  const size_t size = datagram.data.size() - skipped;
  const auto count = static_cast<size_t>(std::min<uint64_t>(size, sink.remaining()));
  if ((request.flags & MSG_PEEK) == 0) {
    inbox_.pop_front();
    queued_ -= size + kDatagramCost;
    taken(size);
  } else {
    peeked(count);
  }
  received.from = to_address(datagram.from, InternetSocket::family());
  add_timestamp(received, datagram.arrival);
  if (options_.count_drops && arrived.drops != 0)
    received.extra.push_back({SOL_SOCKET, SO_RXQ_OVFL, option_value(arrived.drops)});
  add_control(received, datagram);
  if (count != 0 && TRY(sink.put(datagram.data.data() + skipped, count)) < count) return Errno(EFAULT);
  if (count < size) received.flags |= MSG_TRUNC;
  received.length = (request.flags & MSG_TRUNC) != 0 ? size : count;
  return received;
}

// ip(7) IP_PKTINFO, ipv6(7) IPV6_RECVPKTINFO and their kin.
void UdpSocket::add_control(Received& received, const Datagram& datagram) const {
  if (InternetSocket::family() == AF_INET || datagram.to.ip.is_v4()) {
    if (option_number(IPPROTO_IP, IP_PKTINFO) != 0) {
      in_pktinfo info{};
      info.ipi_ifindex = kLoopbackIndex;
      info.ipi_addr.s_addr = htonl(datagram.to.ip.to_v4());
      const bool one = datagram.to.ip.is_loopback() && !datagram.to.ip.is_broadcast();
      info.ipi_spec_dst.s_addr = one ? info.ipi_addr.s_addr : htonl(INADDR_LOOPBACK);
      received.extra.push_back({IPPROTO_IP, IP_PKTINFO, option_value(info)});
    }
    if (option_number(IPPROTO_IP, IP_RECVTTL) != 0)
      received.extra.push_back({IPPROTO_IP, IP_TTL, option_value(datagram.manner.ttl)});
    if (option_number(IPPROTO_IP, IP_RECVTOS) != 0)
      received.extra.push_back({IPPROTO_IP, IP_TOS, option_value(static_cast<uint8_t>(datagram.manner.tos))});
    if (option_number(IPPROTO_IP, IP_RECVORIGDSTADDR) != 0)
      received.extra.push_back(
          {IPPROTO_IP, IP_ORIGDSTADDR, option_value(to_address(datagram.to, AF_INET).as<sockaddr_in>())});
  }
  if (InternetSocket::family() == AF_INET6) {
    if (option_number(IPPROTO_IPV6, IPV6_RECVPKTINFO) != 0) {
      in6_pktinfo info{};
      info.ipi6_ifindex = kLoopbackIndex;
      info.ipi6_addr = datagram.to.ip.to_v6();
      received.extra.push_back({IPPROTO_IPV6, IPV6_PKTINFO, option_value(info)});
    }
    if (option_number(IPPROTO_IPV6, IPV6_RECVHOPLIMIT) != 0)
      received.extra.push_back({IPPROTO_IPV6, IPV6_HOPLIMIT, option_value(datagram.manner.ttl)});
    if (option_number(IPPROTO_IPV6, IPV6_RECVTCLASS) != 0)
      received.extra.push_back({IPPROTO_IPV6, IPV6_TCLASS, option_value(datagram.manner.tos)});
    if (option_number(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR) != 0)
      received.extra.push_back({IPPROTO_IPV6, IPV6_ORIGDSTADDR,
                                option_value(to_address(datagram.to, AF_INET6).as<sockaddr_in6>())});
  }
}

}  // namespace sentry::net
