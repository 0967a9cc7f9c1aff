#include "sentry/net/netlink_socket.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include "sentry/net/interface.h"
#include "sentry/net/stack.h"

namespace sentry::net {
namespace {

constexpr Events kIn = EPOLLIN | EPOLLRDNORM;
constexpr size_t kDatagramCost = 512;  // besides its bytes
// netdevice(7)
constexpr unsigned kLoopbackFlags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP;

// One netlink message after another.
class MessageWriter {
 public:
  void begin(const nlmsghdr& request, uint16_t type, uint16_t flags, uint32_t port) {
    start_ = bytes_.size();
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    header.nlmsg_seq = request.nlmsg_seq;
    header.nlmsg_pid = port;
    add(header);
  }
  template <typename T>
  void add(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    pad();
  }
  void attribute(uint16_t type, const void* data, size_t size) {
    const rtattr header{static_cast<uint16_t>(RTA_LENGTH(size)), type};
    bytes_.append(reinterpret_cast<const char*>(&header), sizeof header);
    bytes_.append(static_cast<const char*>(data), size);
    pad();
  }
  template <typename T>
  void attribute(uint16_t type, const T& value) {
    attribute(type, &value, sizeof value);
  }
  void text(uint16_t type, std::string_view value) {
    attribute(type, std::string(value).c_str(), value.size() + 1);
  }
  void end() {
    const auto length = static_cast<uint32_t>(bytes_.size() - start_);
    std::memcpy(bytes_.data() + start_ + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
  }
  std::string take() { return std::exchange(bytes_, {}); }

 private:
  void pad() { bytes_.resize(NLMSG_ALIGN(bytes_.size())); }
  std::string bytes_;
  size_t start_ = 0;
};

void write_link(MessageWriter& writer, const nlmsghdr& request, uint16_t flags, uint32_t port) {
  writer.begin(request, RTM_NEWLINK, flags, port);
  ifinfomsg link{};
  link.ifi_type = ARPHRD_LOOPBACK;
  link.ifi_index = kLoopbackIndex;
  link.ifi_flags = kLoopbackFlags;
  writer.add(link);
  const uint8_t hardware[6] = {};
  writer.text(IFLA_IFNAME, kLoopbackName);
  writer.attribute(IFLA_TXQLEN, uint32_t{1000});
  writer.attribute(IFLA_OPERSTATE, uint8_t{0});
  writer.attribute(IFLA_LINKMODE, uint8_t{0});
  writer.attribute(IFLA_MTU, uint32_t{kLoopbackMtu});
  writer.attribute(IFLA_ADDRESS, hardware);
  writer.attribute(IFLA_BROADCAST, hardware);
  writer.text(IFLA_QDISC, "noqueue");
  writer.attribute(IFLA_STATS64, rtnl_link_stats64{});
  writer.attribute(IFLA_STATS, rtnl_link_stats{});
  writer.end();
}

void write_address(MessageWriter& writer, const nlmsghdr& request, uint32_t port, uint8_t family) {
  writer.begin(request, RTM_NEWADDR, NLM_F_MULTI, port);
  ifaddrmsg message{};
  message.ifa_family = family;
  message.ifa_prefixlen = family == AF_INET ? 8 : 128;
  message.ifa_flags = IFA_F_PERMANENT;
  message.ifa_scope = RT_SCOPE_HOST;
  message.ifa_index = kLoopbackIndex;
  writer.add(message);
  if (family == AF_INET) {
    const uint32_t loopback = htonl(INADDR_LOOPBACK);
    writer.attribute(IFA_ADDRESS, loopback);
    writer.attribute(IFA_LOCAL, loopback);
    writer.text(IFA_LABEL, kLoopbackName);
  } else {
    writer.attribute(IFA_ADDRESS, in6addr_loopback);
  }
  constexpr uint32_t kForever = ~uint32_t{0};
  writer.attribute(IFA_FLAGS, uint32_t{IFA_F_PERMANENT});
  writer.attribute(IFA_CACHEINFO, ifa_cacheinfo{kForever, kForever, 0, 0});
  writer.end();
}

// Whether a request for one link means lo: by index or by IFLA_IFNAME.
bool names_loopback(std::span<const std::byte> payload) {
  ifinfomsg link{};
  if (payload.size() < sizeof link) return false;
  std::memcpy(&link, payload.data(), sizeof link);
  if (link.ifi_index != 0) return link.ifi_index == kLoopbackIndex;
  payload = payload.subspan(std::min<size_t>(payload.size(), NLMSG_ALIGN(sizeof link)));
  while (payload.size() >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, payload.data(), sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > payload.size()) return false;
    if (attribute.rta_type == IFLA_IFNAME) {
      const std::string_view name(reinterpret_cast<const char*>(payload.data()) + sizeof attribute,
                                  attribute.rta_len - sizeof attribute);
      return name.substr(0, name.find('\0')) == kLoopbackName;
    }
    payload = payload.subspan(std::min<size_t>(payload.size(), RTA_ALIGN(attribute.rta_len)));
  }
  return false;
}

}  // namespace

NetlinkSocket::NetlinkSocket(int type, int flags, const vfs::CredentialsRef& owner)
    : Socket(AF_NETLINK, type, NETLINK_ROUTE, flags, owner) {}

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
    handle(header, rest.subspan(sizeof header, header.nlmsg_len - sizeof header));
    rest = rest.subspan(std::min<size_t>(rest.size(), NLMSG_ALIGN(header.nlmsg_len)));
  }
  return static_cast<size_t>(size);
}

void NetlinkSocket::handle(const nlmsghdr& request, std::span<const std::byte> payload) {
  if ((request.nlmsg_flags & NLM_F_REQUEST) == 0 || request.nlmsg_type < NLMSG_MIN_TYPE) return;
  const bool dump = (request.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  const uint8_t family = payload.empty() ? uint8_t{AF_UNSPEC} : std::to_integer<uint8_t>(payload[0]);
  MessageWriter writer;
  int error = 0;
  switch (request.nlmsg_type) {
    case RTM_GETLINK:
      if (dump) {
        write_link(writer, request, NLM_F_MULTI, port_);
      } else if (names_loopback(payload)) {
        write_link(writer, request, 0, port_);
      } else {
        error = ENODEV;
      }
      break;
    case RTM_GETADDR:
      if (!dump) error = EOPNOTSUPP;
      if (dump && (family == AF_UNSPEC || family == AF_INET)) write_address(writer, request, port_, AF_INET);
      if (dump && (family == AF_UNSPEC || family == AF_INET6))
        write_address(writer, request, port_, AF_INET6);
      break;
    case RTM_GETROUTE:
      if (!dump) error = ENETUNREACH;  // the main table is empty
      break;
    case RTM_GETNEIGH:
    case RTM_GETRULE:
    case RTM_GETQDISC:
    case RTM_GETNEIGHTBL:
    case RTM_GETADDRLABEL:
    case RTM_GETNSID:
    case RTM_GETNETCONF:
      if (!dump) error = EOPNOTSUPP;
      break;
    default:
      // rtnetlink numbers its messages in fours: new, delete, get, set. Only "get" is for everybody.
      error = request.nlmsg_type <= RTM_MAX && request.nlmsg_type % 4 != 2 ? EPERM : EOPNOTSUPP;
      break;
  }
  if (std::string data = writer.take(); !data.empty()) deliver(std::move(data));
  if (error == 0 && dump) {
    writer.begin(request, NLMSG_DONE, NLM_F_MULTI, port_);
    writer.add(int{0});
    writer.end();
    deliver(writer.take());
  } else if (error != 0 || (request.nlmsg_flags & NLM_F_ACK) != 0) {
    writer.begin(request, NLMSG_ERROR, 0, port_);
    writer.add(nlmsgerr{-error, request});
    writer.end();
    deliver(writer.take());
  }
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
  if (error_ != 0) events |= EPOLLERR;
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
