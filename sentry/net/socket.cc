#include "sentry/net/socket.h"

#include <linux/capability.h>
#include <linux/sock_diag.h>
#include <linux/socket.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include <climits>

#include "sentry/kernel/task.h"
#include "sentry/net/interface.h"
#include "sentry/net/unix_socket.h"
#include "sentry/vfs/anonymous_inode.h"

namespace sentry::net {
namespace {

// net.core.[rw]mem_max; sock_setsockopt() doubles what is asked for and keeps to these minima.
constexpr int kBufferMaximum = 212992, kSendBufferMinimum = 4608, kReceiveBufferMinimum = 2304;

int buffer_size(int asked, int minimum, bool forced) {
  const unsigned limit = forced ? unsigned{INT_MAX} / 2 : unsigned{kBufferMaximum};
  const auto size = static_cast<int>(std::min(static_cast<unsigned>(asked), limit));
  return std::max(size * 2, minimum);
}

Result<Nanoseconds> to_timeout(std::span<const std::byte> value) {
  const timeval time = TRY(option_argument<timeval>(value));
  if (time.tv_usec < 0 || time.tv_usec >= 1'000'000) return Errno(EDOM);
  if (time.tv_sec < 0) return Nanoseconds{1};  // Linux: as good as at once
  if (time.tv_sec >= INT64_MAX / kSecond / 2) return Nanoseconds{0};
  return time.tv_sec * kSecond + time.tv_usec * 1000;
}

std::vector<std::byte> from_timeout(Nanoseconds timeout) {
  timeval time{};
  time.tv_sec = timeout / kSecond;
  time.tv_usec = timeout % kSecond / 1000;
  return option_value(time);
}

size_t sockets = 0;

// The name of the protocol as Linux's struct proto has it.
std::string protocol_name(int family, int type) {
  switch (family) {
    case AF_UNIX:
      return type == SOCK_STREAM ? "UNIX-STREAM" : "UNIX";
    case AF_INET:
      return type == SOCK_STREAM ? "TCP" : "UDP";
    case AF_INET6:
      return type == SOCK_STREAM ? "TCPv6" : "UDPv6";
    default:
      return "NETLINK";
  }
}

// sockfs: one extended attribute, by which strace(1) and lsof(8) tell sockets apart.
class SocketInode final : public vfs::AnonymousInode {
 public:
  SocketInode(int family, int type, const vfs::CredentialsRef& owner)
      : AnonymousInode(S_IFSOCK | 0777, "socket", owner), protocol_(protocol_name(family, type)) {}
  Result<std::string> getxattr(std::string_view name) override {
    if (name != kProtocolAttribute) return Errno(EOPNOTSUPP);
    return protocol_ + '\0';
  }
  Result<std::vector<std::string>> listxattr() override {
    return std::vector<std::string>{std::string(kProtocolAttribute)};
  }

 private:
  static constexpr std::string_view kProtocolAttribute = "system.sockprotoname";
  const std::string protocol_;
};

}  // namespace

size_t Socket::count() { return sockets; }

Socket::~Socket() { --sockets; }

Socket::Socket(int family, int type, int protocol, int flags, const vfs::CredentialsRef& owner)
    : File({}, std::make_shared<SocketInode>(family, type, owner), O_RDWR | (flags & O_NONBLOCK)),
      family_(family),
      type_(type),
      protocol_(protocol) {
  credentials = owner;
  ++sockets;
}

Result<size_t> Socket::read(mm::Sink& sink, const IoOptions& options) {
  ReceiveRequest request;
  request.nonblocking = options.nonblocking;
  return TRY(receive(sink, request)).length;
}

Result<size_t> Socket::write(mm::Source& source, const IoOptions& options) {
  SendRequest request;
  request.nonblocking = options.nonblocking;
  if (const kernel::Task* task = kernel::Task::current_or_null(); task != nullptr)
    request.ids = {task->group->id, task->credentials->uid, task->credentials->gid};
  return send(source, request);
}

Result<std::vector<std::byte>> Socket::peer_credentials() {
  return option_value(ucred{0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)});
}

uint64_t Socket::inode_number() const {
  const Result<vfs::Attributes> attributes = inode()->getattr();
  return attributes.ok() ? attributes->ino : 0;
}

void Socket::add_timestamp(Received& received, Nanoseconds arrival) const {
  const timespec time = to_timespec(arrival);
  const bool is_new = options_.timestamp_new;  // the layout is the same for 64-bit programs
  if (options_.timestamp_ns)
    received.extra.push_back(
        {SOL_SOCKET, is_new ? SO_TIMESTAMPNS_NEW : SO_TIMESTAMPNS_OLD, option_value(time)});
  else if (options_.timestamp)
    received.extra.push_back({SOL_SOCKET, is_new ? SO_TIMESTAMP_NEW : SO_TIMESTAMP_OLD,
                              option_value(timeval{time.tv_sec, time.tv_nsec / 1000})});
}

void Socket::peeked(size_t count) {
  if (options_.peek_offset >= 0)
    options_.peek_offset =
        static_cast<int>(std::min<size_t>(static_cast<size_t>(options_.peek_offset) + count, INT_MAX));
}

void Socket::taken(size_t count) {
  if (options_.peek_offset > 0)
    options_.peek_offset -= static_cast<int>(std::min(static_cast<size_t>(options_.peek_offset), count));
}

Result<> Socket::set_option(int level, int option, std::span<const std::byte> value, const Caller& caller) {
  if (level != SOL_SOCKET) return Errno(EOPNOTSUPP);  // sock_no_setsockopt()
  const vfs::Credentials& credentials_now = *caller.files.credentials;
  // The options that are not ints.
  switch (option) {
    case SO_LINGER:
      options_.linger_option = TRY(option_argument<linger>(value));
      return {};
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
      options_.receive_timeout = TRY(to_timeout(value));
      return {};
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
      options_.send_timeout = TRY(to_timeout(value));
      return {};
    case SO_BINDTODEVICE: {
      std::string_view device(reinterpret_cast<const char*>(value.data()), value.size());
      device = device.substr(0, device.find('\0'));
      if (!device.empty() && device != kLoopbackName) return Errno(ENODEV);
      if (options_.bound_device != 0 && !credentials_now.capable(CAP_NET_RAW)) return Errno(EPERM);
      options_.bound_device = device.empty() ? 0 : kLoopbackIndex;
      return {};
    }
    default:
      break;
  }
  const int number = TRY(option_argument<int>(value));
  const bool on = number != 0;
  switch (option) {
    case SO_DEBUG:
      if (on && !credentials_now.capable(CAP_NET_ADMIN)) return Errno(EACCES);
      options_.debug = on;
      return {};
    case SO_REUSEADDR:
      options_.reuse_address = on;
      return {};
    case SO_REUSEPORT:
      options_.reuse_port = on;
      return {};
    case SO_DONTROUTE:
      options_.dont_route = on;
      return {};
    case SO_BROADCAST:
      options_.broadcast = on;
      return {};
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
      if (!credentials_now.capable(CAP_NET_ADMIN)) return Errno(EPERM);
      [[fallthrough]];
    case SO_SNDBUF:
    case SO_RCVBUF: {
      const bool forced = option == SO_SNDBUFFORCE || option == SO_RCVBUFFORCE;
      if (option == SO_SNDBUF || option == SO_SNDBUFFORCE) {
        options_.send_buffer = buffer_size(number, kSendBufferMinimum, forced);
        options_.locked_buffers |= SOCK_SNDBUF_LOCK;
        queue().wake(EPOLLOUT | EPOLLWRNORM);
      } else {
        options_.receive_buffer = buffer_size(number, kReceiveBufferMinimum, forced);
        options_.locked_buffers |= SOCK_RCVBUF_LOCK;
      }
      return {};
    }
    case SO_KEEPALIVE:
      options_.keep_alive = on;
      return {};
    case SO_OOBINLINE:
      options_.oob_inline = on;
      return {};
    case SO_NO_CHECK:
      options_.no_check = on;
      return {};
    case SO_PRIORITY:
      if ((number < 0 || number > 6) && !credentials_now.capable(CAP_NET_ADMIN) &&
          !credentials_now.capable(CAP_NET_RAW))
        return Errno(EPERM);
      options_.priority = number;
      return {};
    case SO_MARK:
      if (!credentials_now.capable(CAP_NET_ADMIN) && !credentials_now.capable(CAP_NET_RAW))
        return Errno(EPERM);
      options_.mark = number;
      return {};
    case SO_PASSCRED:
      options_.passcred = on;
      return {};
    case SO_PASSSEC:
      options_.passsec = on;
      return {};
    case SO_RCVLOWAT:
      options_.receive_low_water = number < 0 ? INT_MAX : std::max(number, 1);
      return {};
    case SO_TIMESTAMP_OLD:
    case SO_TIMESTAMP_NEW:
      options_.timestamp = on;
      options_.timestamp_ns = false;
      if (on) options_.timestamp_new = option == SO_TIMESTAMP_NEW;
      return {};
    case SO_TIMESTAMPNS_OLD:
    case SO_TIMESTAMPNS_NEW:
      options_.timestamp = options_.timestamp_ns = on;
      if (on) options_.timestamp_new = option == SO_TIMESTAMPNS_NEW;
      return {};
    case SO_PEEK_OFF:
      if (!has_peek_offset()) return Errno(EOPNOTSUPP);
      options_.peek_offset = number;
      return {};
    case SO_RXQ_OVFL:
      options_.count_drops = on;
      return {};
    case SO_INCOMING_CPU:
      options_.incoming_cpu = number;
      return {};
    case SO_MAX_PACING_RATE:
      options_.pacing_rate = static_cast<unsigned>(number);
      if (value.size() >= sizeof(uint64_t))
        options_.pacing_rate = TRY(option_argument<uint64_t>(value));
      else if (number == -1)
        options_.pacing_rate = ~uint64_t{0};
      return {};
    case SO_BSDCOMPAT:
      return {};  // it has been without effect for long
    case SO_BUSY_POLL:
      if (number < 0) return Errno(EINVAL);
      if (on && !credentials_now.capable(CAP_NET_ADMIN)) return Errno(EPERM);
      return {};  // a hint about hardware queues, of which there are none
    case SO_PREFER_BUSY_POLL:
      if (on && !credentials_now.capable(CAP_NET_ADMIN)) return Errno(EPERM);
      options_.prefer_busy_poll = on;
      return {};
    case SO_BUF_LOCK:
      // Whether Linux may tune them; here a buffer has the size that it was given.
      if ((number & ~(SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK)) != 0) return Errno(EINVAL);
      options_.locked_buffers = number;
      return {};
    case SO_SELECT_ERR_QUEUE:
      options_.select_error_queue = on;
      return {};
    case SO_BINDTOIFINDEX:
      if (options_.bound_device != 0 && !credentials_now.capable(CAP_NET_RAW)) return Errno(EPERM);
      if (number < 0) return Errno(EINVAL);
      options_.bound_device = number;
      return {};
    case SO_DETACH_FILTER:
      return Errno(ENOENT);
    default:
      return Errno(ENOPROTOOPT);
  }
}

Result<std::vector<std::byte>> Socket::get_option(int level, int option, size_t room) {
  if (level != SOL_SOCKET) return Errno(EOPNOTSUPP);  // sock_no_getsockopt()
  switch (option) {
    case SO_LINGER:
      return option_value(options_.linger_option);
    case SO_PEERNAME: {
      const Address peer = TRY(peer_name());
      if (peer.length() < room) return Errno(EINVAL);
      const auto* bytes = static_cast<const std::byte*>(static_cast<const void*>(peer.data()));
      return std::vector<std::byte>(bytes, bytes + peer.length());
    }
    case SO_MAX_PACING_RATE:
      if (room < sizeof(uint64_t))
        return option_value(static_cast<uint32_t>(std::min<uint64_t>(options_.pacing_rate, UINT32_MAX)));
      return option_value(options_.pacing_rate);
    case SO_RCVTIMEO_OLD:
    case SO_RCVTIMEO_NEW:
      return from_timeout(options_.receive_timeout);
    case SO_SNDTIMEO_OLD:
    case SO_SNDTIMEO_NEW:
      return from_timeout(options_.send_timeout);
    case SO_PEERCRED:
      return peer_credentials();
    case SO_PEERGROUPS:
      return peer_groups();
    case SO_BINDTODEVICE: {
      if (options_.bound_device == 0) return std::vector<std::byte>{};
      if (room < IFNAMSIZ) return Errno(EINVAL);
      if (options_.bound_device != kLoopbackIndex) return Errno(ENODEV);
      constexpr char kName[] = "lo";
      static_assert(kLoopbackName == kName);
      return option_value(kName);
    }
    case SO_MEMINFO: {
      uint32_t information[SK_MEMINFO_VARS] = {};
      information[SK_MEMINFO_RMEM_ALLOC] = static_cast<uint32_t>(unread().value_or(0));
      information[SK_MEMINFO_RCVBUF] = static_cast<uint32_t>(options_.receive_buffer);
      information[SK_MEMINFO_WMEM_ALLOC] = static_cast<uint32_t>(unsent().value_or(0));
      information[SK_MEMINFO_SNDBUF] = static_cast<uint32_t>(options_.send_buffer);
      return option_value(information);
    }
    case SO_COOKIE: {
      if (room < sizeof(uint64_t)) return Errno(EINVAL);
      return option_value(inode_number());
    }
    default:
      break;
  }
  const auto number = [](int value) -> Result<std::vector<std::byte>> { return option_value(value); };
  switch (option) {
    case SO_DEBUG:
      return number(options_.debug);
    case SO_REUSEADDR:
      return number(options_.reuse_address);
    case SO_REUSEPORT:
      return number(options_.reuse_port);
    case SO_DONTROUTE:
      return number(options_.dont_route);
    case SO_BROADCAST:
      return number(options_.broadcast);
    case SO_SNDBUF:
      return number(options_.send_buffer);
    case SO_RCVBUF:
      return number(options_.receive_buffer);
    case SO_KEEPALIVE:
      return number(options_.keep_alive);
    case SO_OOBINLINE:
      return number(options_.oob_inline);
    case SO_NO_CHECK:
      return number(options_.no_check);
    case SO_PRIORITY:
      return number(options_.priority);
    case SO_MARK:
      return number(options_.mark);
    case SO_PASSCRED:
      return number(options_.passcred);
    case SO_PASSSEC:
      return number(options_.passsec);
    case SO_RCVLOWAT:
      return number(options_.receive_low_water);
    case SO_SNDLOWAT:
      return number(1);  // socket(7): not changeable
    case SO_TIMESTAMP_OLD:
      return number(options_.timestamp && !options_.timestamp_new && !options_.timestamp_ns);
    case SO_TIMESTAMPNS_OLD:
      return number(options_.timestamp_ns && !options_.timestamp_new);
    case SO_TIMESTAMP_NEW:  // sk_getsockopt() does not ask about nanoseconds here
      return number(options_.timestamp && options_.timestamp_new);
    case SO_TIMESTAMPNS_NEW:
      return number(options_.timestamp_ns && options_.timestamp_new);
    case SO_TYPE:
      return number(type_);
    case SO_DOMAIN:
      return number(family_);
    case SO_PROTOCOL:
      return number(protocol_);
    case SO_ERROR:
      return number(take_error());
    case SO_ACCEPTCONN:
      return number(listening());
    case SO_BUSY_POLL:
      return number(0);
    case SO_INCOMING_CPU:
      return number(options_.incoming_cpu);
    case SO_PEEK_OFF:
      if (!has_peek_offset()) return Errno(EOPNOTSUPP);
      return number(options_.peek_offset);
    case SO_RXQ_OVFL:
      return number(options_.count_drops);
    case SO_BSDCOMPAT:
      return number(0);
    case SO_PREFER_BUSY_POLL:
      return number(options_.prefer_busy_poll);
    case SO_BUF_LOCK:
      return number(options_.locked_buffers);
    case SO_SELECT_ERR_QUEUE:
      return number(options_.select_error_queue);
    case SO_BINDTOIFINDEX:
      return number(options_.bound_device);
    default:
      return Errno(ENOPROTOOPT);
  }
}

Result<uint64_t> Socket::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  const auto answer = [&](int value) -> Result<uint64_t> {
    TRY(memory.write(mm::GuestPtr<int>(argument), value));
    return uint64_t{0};
  };
  switch (request) {
    case SIOCINQ:  // FIONREAD
      return answer(static_cast<int>(std::min<size_t>(TRY(unread()), INT_MAX)));
    case SIOCOUTQ:  // TIOCOUTQ
      return answer(static_cast<int>(std::min<size_t>(TRY(unsent()), INT_MAX)));
    default:
      return interface_ioctl(memory, family_, request, argument);
  }
}

}  // namespace sentry::net
