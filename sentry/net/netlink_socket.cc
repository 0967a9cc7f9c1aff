#include "sentry/net/netlink_socket.h"

#include <sys/epoll.h>

#include "sentry/net/route_messages.h"
#include "sentry/net/sock_diag.h"
#include "sentry/net/stack.h"

namespace sentry::net {
namespace {

constexpr Events kIn = EPOLLIN | EPOLLRDNORM;
constexpr size_t kDatagramCost = 512;  // besides its bytes

constexpr NetlinkProtocol kProtocols[] = {{NETLINK_ROUTE, answer_route_request},
                                          {NETLINK_SOCK_DIAG, answer_socket_request}};

}  // namespace

const NetlinkProtocol* NetlinkSocket::find_protocol(int number) {
  for (const NetlinkProtocol& known : kProtocols)
    if (known.number == number) return &known;
  return nullptr;
}

NetlinkSocket::NetlinkSocket(int type, const NetlinkProtocol& protocol, int flags,
                             const vfs::CredentialsRef& owner)
    : Socket(AF_NETLINK, type, protocol.number, flags, owner), protocol_(protocol) {}

NetlinkSocket::~NetlinkSocket() {
  if (port_ != 0) Stack::current().netlink_ports().erase(port_);
}

Result<> NetlinkSocket::take_port(uint32_t wanted) {
  auto& ports = Stack::current().netlink_ports();
  if (wanted == 0) {
    // The process's own id is the first choice, netlink(7); then numbers that are no process's.
    wanted = preferred_port_;
    while (wanted == 0 || ports.contains(wanted)) wanted = Stack::current().next_netlink_port();
  } else if (ports.contains(wanted)) {
    return Errno(EADDRINUSE);
  }
  ports.insert(wanted);
  port_ = wanted;
  return {};
}

Result<> NetlinkSocket::bind(const Address& address, const Caller& caller) {
  if (address.length() < sizeof(sockaddr_nl) || address.family() != AF_NETLINK) return Errno(EINVAL);
  const auto wanted = address.as<sockaddr_nl>();
  if (port_ != 0 && wanted.nl_pid != port_ && wanted.nl_pid != 0) return Errno(EINVAL);
  preferred_port_ = static_cast<uint32_t>(caller.ids.pid);
  if (port_ == 0) TRY(take_port(wanted.nl_pid));
  groups_ = wanted.nl_groups;
  return {};
}

Result<> NetlinkSocket::connect(const Address& address, const Caller& caller, bool) {
  if (address.length() < sizeof(sa_family_t)) return Errno(EINVAL);
  if (address.family() == AF_UNSPEC) return {};
  if (address.length() < sizeof(sockaddr_nl) || address.family() != AF_NETLINK) return Errno(EINVAL);
  if (address.as<sockaddr_nl>().nl_pid != 0) return Errno(ECONNREFUSED);  // only the kernel is there
  preferred_port_ = static_cast<uint32_t>(caller.ids.pid);
  if (port_ == 0) TRY(take_port(0));
  return {};
}

Result<Address> NetlinkSocket::name() {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_pid = port_;
  address.nl_groups = groups_;
  return Address::of(address);
}

Result<Address> NetlinkSocket::peer_name() {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  return Address::of(address);
}

Result<size_t> NetlinkSocket::send(mm::Source& source, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  if (request.to) {
    if (request.to->length() < sizeof(sockaddr_nl) || request.to->family() != AF_NETLINK)
      return Errno(EINVAL);
    const auto to = request.to->as<sockaddr_nl>();
    if (to.nl_groups != 0) return Errno(EPERM);
    if (to.nl_pid != 0) return Errno(ECONNREFUSED);
  }
  const uint64_t size = source.remaining();
  if (size > static_cast<uint64_t>(options_.send_buffer - 32)) return Errno(EMSGSIZE);
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  if (size != 0 && TRY(source.get(bytes.data(), bytes.size())) < size) return Errno(EFAULT);
  preferred_port_ = static_cast<uint32_t>(request.ids.pid);
  if (port_ == 0) TRY(take_port(0));

  std::span<const std::byte> rest(bytes);
  while (rest.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header{};
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) break;
    handle(header, rest.subspan(sizeof header, header.nlmsg_len - sizeof header), request.ids.uid);
    rest = rest.subspan(std::min<size_t>(rest.size(), NLMSG_ALIGN(header.nlmsg_len)));
  }
  return static_cast<size_t>(size);
}

void NetlinkSocket::handle(const nlmsghdr& header, std::span<const std::byte> payload, uint32_t uid) {
  if ((header.nlmsg_flags & NLM_F_REQUEST) == 0 || header.nlmsg_type < NLMSG_MIN_TYPE) return;
  const NetlinkRequest request{header,   payload, port_, (header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP,
                               strict(), uid};
  if (request.dump) {
    if (dump_) {
      acknowledge(header, EBUSY);
      return;
    }
    dump_ = Dump{header, {payload.begin(), payload.end()}, uid, strict(), 0};
    go_on_dumping();
    return;
  }
  MessageWriter writer;
  size_t position = 0;
  const int error = protocol_.answer(writer, request, position);
  if (std::string data = writer.take(); !data.empty()) deliver(std::move(data));
  if (error != 0 || (header.nlmsg_flags & NLM_F_ACK) != 0) acknowledge(header, error);
}

void NetlinkSocket::acknowledge(const nlmsghdr& header, int error) {
  MessageWriter writer;
  writer.begin(header, NLMSG_ERROR, 0, port_);
  writer.add(nlmsgerr{-error, header});
  writer.end();
  deliver(writer.take());
}

// The next piece, or the end: always something to receive.
void NetlinkSocket::go_on_dumping() {
  MessageWriter writer;
  const int error = protocol_.answer(
      writer, {dump_->header, dump_->payload, port_, true, dump_->strict, dump_->uid}, dump_->position);
  const nlmsghdr header = dump_->header;
  if (error != 0) {
    dump_.reset();
    acknowledge(header, error);
    return;
  }
  const bool last = dump_->position == 0;
  if (std::string data = writer.take(); !data.empty()) deliver(std::move(data));
  if (!last) return;
  dump_.reset();
  writer.begin(header, NLMSG_DONE, NLM_F_MULTI, port_);
  writer.add(int{0});
  writer.end();
  deliver(writer.take());
}

void NetlinkSocket::deliver(std::string datagram) {
  const size_t cost = datagram.size() + kDatagramCost;
  if (queued_ + cost > static_cast<size_t>(options_.receive_buffer)) {
    error_ = ENOBUFS;
    queue_.wake(EPOLLERR);
    return;
  }
  queued_ += cost;
  inbox_.push_back(std::move(datagram));
  queue_.wake(kIn);
}

Result<Received> NetlinkSocket::receive(mm::Sink& sink, const ReceiveRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  TRY(receive_patience(request.nonblocking).wait(queue_, kAllEvents, [&] {
    return !inbox_.empty() || error_ != 0;
  }));
  if (error_ != 0) return Errno(take_error());
  std::string datagram = inbox_.front();
  if ((request.flags & MSG_PEEK) == 0) {
    inbox_.pop_front();
    queued_ -= datagram.size() + kDatagramCost;
    if (dump_ && inbox_.empty()) go_on_dumping();
  }
  Received received;
  received.from = TRY(peer_name());
  received.control.credentials = ucred{};  // the kernel's
  const auto count = static_cast<size_t>(std::min<uint64_t>(datagram.size(), sink.remaining()));
  if (count != 0 && TRY(sink.put(datagram.data(), count)) < count) return Errno(EFAULT);
  if (count < datagram.size()) received.flags |= MSG_TRUNC;
  received.length = (request.flags & MSG_TRUNC) != 0 ? datagram.size() : count;
  return received;
}

Events NetlinkSocket::poll() {
  Events events = EPOLLOUT | EPOLLWRNORM;
  if (!inbox_.empty()) events |= kIn;
  if (error_ != 0) events |= error_events();
  return events;
}

Result<> NetlinkSocket::set_option(int level, int option, std::span<const std::byte> value,
                                   const Caller& caller) {
  if (level != SOL_SOCKET && level != SOL_NETLINK) return Errno(ENOPROTOOPT);
  if (level == SOL_SOCKET) return Socket::set_option(level, option, value, caller);
  if (option < NETLINK_ADD_MEMBERSHIP || option > NETLINK_GET_STRICT_CHK) return Errno(ENOPROTOOPT);
  const bool on = TRY(option_argument<int>(value)) != 0;
  option_bits_ = on ? option_bits_ | 1u << option : option_bits_ & ~(1u << option);
  return {};
}

Result<std::vector<std::byte>> NetlinkSocket::get_option(int level, int option, size_t room) {
  if (level != SOL_SOCKET && level != SOL_NETLINK) return Errno(ENOPROTOOPT);
  if (level == SOL_SOCKET) return Socket::get_option(level, option, room);
  if (option < NETLINK_PKTINFO || option > NETLINK_GET_STRICT_CHK) return Errno(ENOPROTOOPT);
  return option_value(static_cast<int>(option_bits_ >> option & 1));
}

}  // namespace sentry::net
