#include "sentry/net/udp_socket.h"

#include <sys/epoll.h>

#include "sentry/net/interface.h"
#include "sentry/net/stack.h"

namespace sentry::net {
namespace {

constexpr Events kIn = EPOLLIN | EPOLLRDNORM;
constexpr Events kOut = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
constexpr int kReceive = 1, kSend = 2;
constexpr size_t kMaximumDatagram = 65507;  // 65535 less the headers of IP and UDP
// What a datagram costs the receive buffer besides its bytes, about Linux's sk_buff.
constexpr size_t kDatagramCost = 512;

}  // namespace

UdpSocket::UdpSocket(int family, int flags, const vfs::CredentialsRef& owner)
    : InternetSocket(family, SOCK_DGRAM, IPPROTO_UDP, flags, owner) {
  PortUser::family = family;
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

Result<InternetAddress> UdpSocket::destination(const Address& address) const {
  const InternetAddress given = TRY(parse_internet_address(address, InternetSocket::family(), true));
  if (given.ip.is_v4() && InternetSocket::family() == AF_INET6 && v6_only) return Errno(ENETUNREACH);
  if (given.ip.is_v4() && given.ip.to_v4() == INADDR_BROADCAST && !options_.broadcast) return Errno(EACCES);
  return route(given);
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
  if (error_ != 0) events |= EPOLLERR;
  if ((shutdown_ & kReceive) != 0) events |= kIn | EPOLLRDHUP;
  if (shutdown_ == (kReceive | kSend)) events |= EPOLLHUP;
  return events;
}

void UdpSocket::deliver(std::unique_ptr<Datagram> datagram) {
  const size_t cost = datagram->size + kDatagramCost;
  // What does not fit is lost, as in any network.
  if (queued_ + cost > static_cast<size_t>(options_.receive_buffer) || (shutdown_ & kReceive) != 0) return;
  queued_ += cost;
  inbox_.push_back(std::move(datagram));
  queue_.wake(kIn);
}

Result<size_t> UdpSocket::send(mm::Source& source, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  const uint64_t size = source.remaining();
  if (size > kMaximumDatagram) return Errno(EMSGSIZE);
  InternetAddress to;
  if (request.to) {
    to = TRY(destination(*request.to));
    if (to.port == 0) return Errno(EINVAL);
  } else if (peer_) {
    to = *peer_;
  } else {
    return Errno(EDESTADDRREQ);
  }
  if (error_ != 0) return Errno(take_error());
  if ((shutdown_ & kSend) != 0) return Errno(EPIPE);
  auto datagram = std::make_unique<Datagram>();
  datagram->size = static_cast<size_t>(size);
  datagram->data = std::make_unique_for_overwrite<std::byte[]>(datagram->size);
  if (size != 0 && TRY(source.get(datagram->data.get(), datagram->size)) < size) return Errno(EFAULT);

  TRY(bind_automatically());
  datagram->from = {local.ip.is_any() ? Ip::loopback(to.ip.is_v4()) : local.ip, local.port};
  datagram->to = to.ip;
  datagram->arrival = read_clock(CLOCK_REALTIME);
  if (UdpSocket* target = find(datagram->from, to); target != nullptr) {
    target->deliver(std::move(datagram));
  } else if (peer_ && *peer_ == to) {
    // "Port unreachable" comes back; only connected sockets hear of it, udp(7).
    error_ = ECONNREFUSED;
    queue_.wake(EPOLLERR);
  }
  return static_cast<size_t>(size);
}

Result<Received> UdpSocket::receive(mm::Sink& sink, const ReceiveRequest& request) {
  if ((request.flags & MSG_ERRQUEUE) != 0) return Errno(EAGAIN);
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  TRY(receive_patience(request.nonblocking).wait(queue_, kAllEvents, [&] {
    return !inbox_.empty() || error_ != 0 || (shutdown_ & kReceive) != 0;
  }));
  if (error_ != 0) return Errno(take_error());
  Received received;
  if (inbox_.empty()) return received;  // shut down
  const std::shared_ptr<Datagram> datagram = inbox_.front();
  if ((request.flags & MSG_PEEK) == 0) {
    inbox_.pop_front();
    queued_ -= datagram->size + kDatagramCost;
  }
  received.from = to_address(datagram->from, InternetSocket::family());
  add_timestamp(received, datagram->arrival);
  add_control(received, *datagram);
  const auto count = static_cast<size_t>(std::min<uint64_t>(datagram->size, sink.remaining()));
  if (count != 0 && TRY(sink.put(datagram->data.get(), count)) < count) return Errno(EFAULT);
  if (count < datagram->size) received.flags |= MSG_TRUNC;
  received.length = (request.flags & MSG_TRUNC) != 0 ? datagram->size : count;
  return received;
}

// ip(7) IP_PKTINFO, ipv6(7) IPV6_RECVPKTINFO and their kin.
void UdpSocket::add_control(Received& received, const Datagram& datagram) const {
  if (InternetSocket::family() == AF_INET || datagram.to.is_v4()) {
    if (option_number(IPPROTO_IP, IP_PKTINFO) != 0) {
      in_pktinfo info{};
      info.ipi_ifindex = kLoopbackIndex;
      info.ipi_addr.s_addr = info.ipi_spec_dst.s_addr = htonl(datagram.to.to_v4());
      received.extra.push_back({IPPROTO_IP, IP_PKTINFO, option_value(info)});
    }
    if (option_number(IPPROTO_IP, IP_RECVTTL) != 0)
      received.extra.push_back({IPPROTO_IP, IP_TTL, option_value(int{64})});
    if (option_number(IPPROTO_IP, IP_RECVTOS) != 0)
      received.extra.push_back({IPPROTO_IP, IP_TOS, option_value(uint8_t{0})});
  }
  if (InternetSocket::family() == AF_INET6) {
    if (option_number(IPPROTO_IPV6, IPV6_RECVPKTINFO) != 0) {
      in6_pktinfo info{};
      info.ipi6_ifindex = kLoopbackIndex;
      info.ipi6_addr = datagram.to.to_v6();
      received.extra.push_back({IPPROTO_IPV6, IPV6_PKTINFO, option_value(info)});
    }
    if (option_number(IPPROTO_IPV6, IPV6_RECVHOPLIMIT) != 0)
      received.extra.push_back({IPPROTO_IPV6, IPV6_HOPLIMIT, option_value(int{64})});
    if (option_number(IPPROTO_IPV6, IPV6_RECVTCLASS) != 0)
      received.extra.push_back({IPPROTO_IPV6, IPV6_TCLASS, option_value(int{0})});
  }
}

}  // namespace sentry::net
