#include "sentry/net/tcp_socket.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include <climits>

#include "sentry/kernel/sysctl.h"
#include "sentry/net/stack.h"

namespace sentry::net {
namespace {

constexpr Events kIn = EPOLLIN | EPOLLRDNORM;
constexpr Events kOut = EPOLLOUT | EPOLLWRNORM;
constexpr Events kAll = kIn | kOut | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
// Bytes copied from the writer at a time.
constexpr size_t kPiece = 64 * 1024;

// The listener that a connection to this address reaches: one bound to the very address before one that takes
// all, and among equals (SO_REUSEPORT) the one with the fewest connections waiting.
TcpEndpoint* find_listener(const InternetAddress& to) {
  TcpEndpoint* best = nullptr;
  const auto rank = [](const TcpEndpoint& endpoint) {
    return std::pair(endpoint.local.ip.is_any(), endpoint.accepted.size() + endpoint.waiting.size());
  };
  Stack::current().tcp_ports().each(to.port, [&](PortUser& user) {
    auto& endpoint = static_cast<TcpEndpoint&>(user);
    if (endpoint.listening && endpoint.receives(to.ip) && (best == nullptr || rank(endpoint) < rank(*best)))
      best = &endpoint;
    return true;
  });
  return best;
}

}  // namespace

// TcpEndpoint -------------------------------------------------------------------------------------

void TcpEndpoint::reset(int reason) {
  // After the peer's FIN a reset says that nobody reads any more, tcp_reset().
  error = (shutdown & kReceive) != 0 ? EPIPE : reason;
  shutdown = kReceive | kSend;
  state = State::kClosed;
  peer = nullptr;
  queue.wake(kAll);
}

void TcpEndpoint::release(bool abort) {
  dead = true;
  description = nullptr;
  if (state == State::kConnected && peer != nullptr) {
    if (abort || !incoming.empty()) {
      peer->reset(ECONNRESET);
    } else {
      peer->shutdown |= kReceive;
      peer->queue.wake(kAll);
    }
  }
  state = State::kClosed;
  listening = false;
  if (local.port != 0) Stack::current().tcp_ports().release(*this);
  for (const auto& connector : std::exchange(waiting, {}))
    if (const auto client = connector.lock(); client != nullptr && client->state == State::kConnecting) {
      client->connect_unanswered = true;
      client->reset(ECONNREFUSED);
    }
  // Connections that nobody accepted are reset.
  for (const auto& connection : std::exchange(accepted, {})) connection->endpoint_->release(true);
  peer = nullptr;
  incoming.clear();
  urgent.reset();
  shutdown = kReceive | kSend;
  queue.wake(kAll);
}

void TcpEndpoint::mark_urgent() {
  // A reader who stands at the old mark does not get to see that byte (tcp_check_urg).
  if (urgent && urgent->distance == 0 && !urgent_inline && incoming.size() > 1) (void)incoming.take(1);
  const size_t distance = incoming.size() - 1;
  urgent = Urgent{distance, *incoming.peek(distance, 1).data()};
  queue.wake(kIn | EPOLLPRI);
}

void TcpEndpoint::consumed(size_t count) {
  if (!urgent) return;
  if (count > urgent->distance)
    urgent.reset();
  else
    urgent->distance -= count;
}

void TcpEndpoint::enqueue(const std::shared_ptr<TcpEndpoint>& connector) {
  if (waiting.size() >= waiting_limit) {
    std::erase_if(waiting, [](const std::weak_ptr<TcpEndpoint>& other) {
      const auto endpoint = other.lock();
      return endpoint == nullptr || endpoint->state != State::kConnecting;
    });
    waiting_limit = std::max<size_t>(128, waiting.size() * 2);
  }
  waiting.push_back(connector);
}

void TcpEndpoint::admit() {
  while (has_room() && !waiting.empty() && description != nullptr) {
    const auto client = waiting.front().lock();
    waiting.pop_front();
    if (client == nullptr || client->dead || client->state != State::kConnecting) continue;
    client->connect_unanswered = true;
    description->establish(*client);
  }
}

bool TcpEndpoint::finished() const {
  return state == State::kConnected && (shutdown & kSend) != 0 &&
         (peer == nullptr || peer->dead || (peer->shutdown & kSend) != 0);
}

int TcpEndpoint::tcp_state() const {
  if (finished()) return TCP_CLOSE;
  const bool sent_fin = (shutdown & kSend) != 0, got_fin = (shutdown & kReceive) != 0;
  switch (state) {
    case State::kConnecting:
      return TCP_SYN_SENT;
    case State::kListening:
      return TCP_LISTEN;
    case State::kConnected:
      return sent_fin ? (got_fin ? TCP_LAST_ACK : TCP_FIN_WAIT2)
                      : (got_fin ? TCP_CLOSE_WAIT : TCP_ESTABLISHED);
    case State::kClosed:
      break;
  }
  return TCP_CLOSE;
}

// TCP_INFO: the state, and what a loopback that loses nothing would show.
tcp_info TcpEndpoint::info() const {
  tcp_info info{};
  info.tcpi_state = static_cast<uint8_t>(tcp_state());
  if (state == TcpEndpoint::State::kListening) {
    info.tcpi_unacked = static_cast<uint32_t>(accepted.size());
    info.tcpi_sacked = static_cast<uint32_t>(backlog);
  }
  info.tcpi_rto = 201'000;  // microseconds
  info.tcpi_ato = 40'000;
  info.tcpi_snd_mss = info.tcpi_rcv_mss = 32768;
  info.tcpi_advmss = 65483;
  info.tcpi_pmtu = 65536;
  info.tcpi_rtt = 20;
  info.tcpi_rttvar = 10;
  info.tcpi_snd_cwnd = 10;
  info.tcpi_rcv_space = 65483;
  return info;
}

// TcpSocket ---------------------------------------------------------------------------------------

TcpSocket::TcpSocket(int family, int flags, const vfs::CredentialsRef& owner)
    : InternetSocket(family, SOCK_STREAM, IPPROTO_TCP, flags, owner),
      endpoint_(std::make_shared<TcpEndpoint>()) {
  endpoint_->family = family;
  endpoint_->v6_only = family == AF_INET6 && kernel::Sysctls::current().bindv6only.value() != 0;
  endpoint_->ino = inode_number();
  if (family == AF_INET) endpoint_->local.ip = endpoint_->remote.ip = Ip::v4(INADDR_ANY);
  options_.send_buffer = 16384;  // net.ipv4.tcp_wmem, tcp_rmem: where tuning begins
  options_.receive_buffer = 131072;
}

TcpSocket::~TcpSocket() {
  if (endpoint_->dead) return;
  endpoint_->release(options_.linger_option.l_onoff != 0 && options_.linger_option.l_linger == 0);
}

PortTable& TcpSocket::ports() { return Stack::current().tcp_ports(); }

Result<> TcpSocket::listen(int backlog, const Caller& caller) {
  TcpEndpoint& self = *endpoint_;
  if (self.state != TcpEndpoint::State::kClosed && self.state != TcpEndpoint::State::kListening)
    return Errno(EINVAL);
  self.uid = caller.files.credentials->euid;
  if (self.state == TcpEndpoint::State::kClosed) {
    TRY(bind_automatically());
    self.listening = true;
    if (const Result<> free = ports().check_listener(self); !free.ok()) {
      self.listening = false;
      return free;
    }
    self.state = TcpEndpoint::State::kListening;
    self.description = this;
    self.shutdown = 0;
    self.error = 0;
  }
  self.backlog =
      std::min<size_t>(static_cast<unsigned>(backlog), kernel::Sysctls::current().somaxconn.value());
  self.admit();
  return {};
}

void TcpSocket::establish(TcpEndpoint& client) {
  TcpEndpoint& self = *endpoint_;
  auto connection = std::make_shared<TcpSocket>(family(), 0, credentials);
  connection->options_ = options_;
  TcpEndpoint& server = *connection->endpoint_;
  server.local = client.remote;
  server.remote = client.local;
  server.v6_only = self.v6_only;
  server.reuse_address = self.reuse_address;
  server.reuse_port = self.reuse_port;
  server.uid = self.uid;
  server.send_limit = self.send_limit;
  server.receive_limit = self.receive_limit;
  server.urgent_inline = self.urgent_inline;
  server.state = client.state = TcpEndpoint::State::kConnected;
  server.peer = client.shared_from_this();
  client.peer = connection->endpoint_;
  client.shutdown = 0;
  ports().share(server);
  self.accepted.push_back(std::move(connection));
  self.queue.wake(kIn);
  client.queue.wake(kOut);
}

Result<std::shared_ptr<Socket>> TcpSocket::accept(bool nonblocking_now) {
  TcpEndpoint& self = *endpoint_;
  if (self.state != TcpEndpoint::State::kListening) return Errno(EINVAL);
  TRY(receive_patience(nonblocking_now).wait(self.queue, kAll, [&] {
    return !self.accepted.empty() || self.state != TcpEndpoint::State::kListening;
  }));
  if (self.accepted.empty()) return Errno(EINVAL);  // it was shut down
  std::shared_ptr<Socket> connection = std::move(self.accepted.front());
  self.accepted.pop_front();
  self.admit();
  return connection;
}

void TcpSocket::start_over() {
  TcpEndpoint& self = *endpoint_;
  self.state = TcpEndpoint::State::kClosed;
  self.shutdown = 0;
  self.error = 0;
  self.connect_unanswered = false;
  self.remote = {family() == AF_INET ? Ip::v4(INADDR_ANY) : Ip(), 0};
  if (!bound_by_caller_) unbind();
}

// connect(2) to AF_UNSPEC: drops the connection, as tcp_disconnect().
Result<> TcpSocket::disconnect() {
  TcpEndpoint& self = *endpoint_;
  if (self.state == TcpEndpoint::State::kConnected && self.peer != nullptr) self.peer->reset(ECONNRESET);
  self.peer = nullptr;
  self.incoming.clear();
  self.urgent.reset();
  start_over();
  self.queue.wake(kAll);
  return {};
}

Result<> TcpSocket::connect(const Address& address, const Caller& caller, bool nonblocking_now) {
  if (address.length() < sizeof(sa_family_t)) return Errno(EINVAL);
  if (address.family() == AF_UNSPEC) return disconnect();
  TcpEndpoint& self = *endpoint_;
  switch (self.state) {
    case TcpEndpoint::State::kListening:
      return Errno(EISCONN);
    case TcpEndpoint::State::kConnected:
      // The connection that an earlier call has begun.
      if (std::exchange(self.connect_unanswered, false)) return {};
      return Errno(EISCONN);
    case TcpEndpoint::State::kConnecting:
      if (nonblocking_now || nonblocking()) return Errno(EALREADY);
      return await_connection(nonblocking_now);
    case TcpEndpoint::State::kClosed:
      break;
  }
  if (self.connect_unanswered) {
    // It was refused meanwhile; whoever has read SO_ERROR gets ECONNABORTED.
    const int error = self.error != 0 ? self.error : ECONNABORTED;
    start_over();
    return Errno(error);
  }
  const InternetAddress given = TRY(parse_internet_address(address, family()));
  if (family() == AF_INET6 && given.ip.is_v4() && self.v6_only) return Errno(ENETUNREACH);
  if (given.ip.is_broadcast()) return Errno(ENETUNREACH);
  const InternetAddress to = TRY(route(given));
  if (self.local.port != 0 && !self.local.ip.is_any() && self.local.ip.is_v4() != to.ip.is_v4())
    return Errno(EINVAL);
  start_over();
  self.uid = caller.files.credentials->euid;
  TRY(bind_automatically());
  if (self.local.ip.is_any()) self.local.ip = Ip::loopback(to.ip.is_v4());
  self.remote = to;
  self.state = TcpEndpoint::State::kConnecting;
  TcpEndpoint* listener = find_listener(to);
  if (listener == nullptr && to == self.local) {
    // Its own SYN reaches it while it waits for an answer: a simultaneous open, RFC 9293 3.5.
    self.connect_unanswered = true;
    self.state = TcpEndpoint::State::kConnected;
    self.peer = endpoint_;
    self.queue.wake(kOut);
  } else if (listener == nullptr) {
    self.connect_unanswered = true;
    self.reset(ECONNREFUSED);
  } else if (listener->has_room() && listener->waiting.empty()) {
    self.connect_unanswered = true;
    listener->description->establish(self);
  } else {
    listener->enqueue(endpoint_);
  }
  // The handshake takes a moment, even here: who does not wait learns of its end by poll(2).
  if (nonblocking_now || nonblocking()) return Errno(EINPROGRESS);
  return await_connection(nonblocking_now);
}

Result<> TcpSocket::await_connection(bool nonblocking_now) {
  TcpEndpoint& self = *endpoint_;
  const Result<> waited = send_patience(nonblocking_now).wait(self.queue, kAll, [&] {
    return self.state != TcpEndpoint::State::kConnecting;
  });
  if (waited.is(EAGAIN)) return Errno(EINPROGRESS);  // SO_SNDTIMEO, socket(7)
  TRY(waited);
  self.connect_unanswered = false;
  if (self.state == TcpEndpoint::State::kConnected) return {};
  const int error = self.error != 0 ? self.error : ECONNABORTED;
  start_over();
  return Errno(error);
}

Result<> TcpSocket::shutdown(int how) {
  if (how < SHUT_RD || how > SHUT_RDWR) return Errno(EINVAL);
  TcpEndpoint& self = *endpoint_;
  const int bits = how + 1;
  switch (self.state) {
    case TcpEndpoint::State::kClosed:
      return Errno(ENOTCONN);
    case TcpEndpoint::State::kListening:
    case TcpEndpoint::State::kConnecting:
      if ((bits & TcpEndpoint::kReceive) == 0) return {};
      // No longer a listener: those that wait are turned away.
      self.listening = false;
      self.state = TcpEndpoint::State::kClosed;
      for (const auto& connection : std::exchange(self.accepted, {})) connection->endpoint_->release(true);
      for (const auto& connector : std::exchange(self.waiting, {}))
        if (const auto client = connector.lock();
            client != nullptr && client->state == TcpEndpoint::State::kConnecting) {
          client->connect_unanswered = true;
          client->reset(ECONNREFUSED);
        }
      self.queue.wake(kAll);
      return {};
    case TcpEndpoint::State::kConnected:
      break;
  }
  if (self.finished()) {
    self.shutdown |= bits;
    return Errno(ENOTCONN);
  }
  self.shutdown |= bits;
  if ((bits & TcpEndpoint::kSend) != 0 && self.peer != nullptr) {
    self.peer->shutdown |= TcpEndpoint::kReceive;
    self.peer->queue.wake(kAll);
  }
  self.queue.wake(kAll);
  return {};
}

Result<Address> TcpSocket::peer_name() {
  if (endpoint_->state != TcpEndpoint::State::kConnected || endpoint_->finished()) return Errno(ENOTCONN);
  return to_address(endpoint_->remote, family());
}

Events TcpSocket::poll() {
  const TcpEndpoint& self = *endpoint_;
  Events events = 0;
  if (self.error != 0) events |= EPOLLERR;
  switch (self.state) {
    case TcpEndpoint::State::kListening:
      return events | (self.accepted.empty() ? Events{0} : kIn);
    case TcpEndpoint::State::kConnecting:
      return events;
    default:
      break;
  }
  constexpr int kBoth = TcpEndpoint::kReceive | TcpEndpoint::kSend;
  if (self.shutdown == kBoth || self.state == TcpEndpoint::State::kClosed) events |= EPOLLHUP;
  if ((self.shutdown & TcpEndpoint::kReceive) != 0) events |= kIn | EPOLLRDHUP;
  const bool passed_over = at_mark() && !self.urgent_inline;  // the byte is not there for readers
  if (self.incoming.size() >= static_cast<size_t>(options_.receive_low_water) + passed_over) events |= kIn;
  if (self.urgent && !self.urgent->read) events |= EPOLLPRI;
  if ((self.shutdown & TcpEndpoint::kSend) != 0 || self.writable()) events |= kOut;
  return events;
}

Result<size_t> TcpSocket::unread() {
  if (endpoint_->state == TcpEndpoint::State::kListening) return Errno(EINVAL);
  if (endpoint_->urgent && !endpoint_->urgent_inline) return endpoint_->urgent->distance;
  return endpoint_->incoming.size();
}

// What the peer has room for counts as acknowledged.
Result<size_t> TcpSocket::unsent() {
  const TcpEndpoint& self = *endpoint_;
  if (self.state == TcpEndpoint::State::kListening) return Errno(EINVAL);
  if (self.peer == nullptr) return size_t{0};
  return self.under_way() > self.peer->receive_limit ? self.under_way() - self.peer->receive_limit : 0;
}

Result<size_t> TcpSocket::send(mm::Source& source, SendRequest& request) {
  TcpEndpoint& self = *endpoint_;
  // tcp(7), Fast Open: the call connects first. Nobody here hands out the cookie with which the bytes could
  // travel along with the SYN, so they follow it, as on a first visit.
  if ((request.flags & MSG_FASTOPEN) != 0 && request.caller != nullptr) {
    const Address nowhere;
    const Address& to = request.to ? *request.to : nowhere;
    if (to.length() >= sizeof(sa_family_t) && to.family() == AF_UNSPEC) return Errno(EOPNOTSUPP);
    TRY(connect(to, *request.caller, request.nonblocking));
  }
  const Patience patience = send_patience(request.nonblocking);
  TRY(patience.wait(self.queue, kAll, [&] { return self.state != TcpEndpoint::State::kConnecting; }));
  size_t sent = 0;
  const auto stopped = [&](int error) -> Result<size_t> {
    if (sent != 0) return sent;
    return Errno(error);
  };
  const auto broken = [&] {
    return self.error != 0 || self.state != TcpEndpoint::State::kConnected ||
           (self.shutdown & TcpEndpoint::kSend) != 0;
  };
  // A pending error counts before EPIPE, sk_stream_error().
  const auto breakage = [&]() -> Result<size_t> {
    if (sent != 0) return sent;
    const int error = take_error();
    return Errno(error != 0 ? error : EPIPE);
  };
  if (broken()) return breakage();
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(
      static_cast<size_t>(std::min<uint64_t>(source.remaining(), kPiece)));
  while (source.remaining() != 0) {
    const auto room = [&] { return self.under_way() < self.window(); };
    if (const Result<> waited = patience.wait(self.queue, kAll, [&] { return broken() || room(); });
        !waited.ok())
      return stopped(waited.error().value());
    if (broken()) return breakage();
    const auto want = static_cast<size_t>(
        std::min<uint64_t>(source.remaining(), std::min(kPiece, self.window() - self.under_way())));
    const Result<size_t> got = source.get(buffer.get(), want);
    if (!got.ok()) return stopped(got.error().value());
    if (broken()) {
      source.unget(*got);
      return breakage();
    }
    sent += *got;
    if (self.peer->dead) {
      // Nobody is there: the bytes are answered with a reset, which the next call will see.
      self.reset(ECONNRESET);
      return sent;
    }
    self.peer->incoming.push(buffer.get(), *got);
    self.peer->queue.wake(kIn);
    if ((request.flags & MSG_OOB) != 0 && *got != 0) self.peer->mark_urgent();
    if (*got < want) break;
  }
  return sent;
}

// tcp_recv_urg.
Result<Received> TcpSocket::receive_urgent(mm::Sink& sink, const ReceiveRequest& request) {
  std::optional<TcpEndpoint::Urgent>& urgent = endpoint_->urgent;
  if (endpoint_->urgent_inline || !urgent || urgent->read) return Errno(EINVAL);
  const std::byte value = urgent->value;
  if ((request.flags & MSG_PEEK) == 0) urgent->read = true;
  Received received;
  received.flags = MSG_OOB;
  if (sink.remaining() == 0) {
    received.flags |= MSG_TRUNC;
    return received;
  }
  if ((request.flags & MSG_TRUNC) == 0 && TRY(sink.put(&value, 1)) != 1) return Errno(EFAULT);
  received.length = 1;
  return received;
}

Result<Received> TcpSocket::receive(mm::Sink& sink, const ReceiveRequest& request) {
  TcpEndpoint& self = *endpoint_;
  if ((request.flags & MSG_ERRQUEUE) != 0) return Errno(EAGAIN);
  if (self.state == TcpEndpoint::State::kListening) return Errno(ENOTCONN);
  if ((request.flags & MSG_OOB) != 0) return receive_urgent(sink, request);
  const bool peek = (request.flags & MSG_PEEK) != 0;
  const bool discard = (request.flags & MSG_TRUNC) != 0;  // tcp(7): the bytes are thrown away
  const uint64_t size = sink.remaining();
  const uint64_t target = std::max<uint64_t>(
      1, (request.flags & MSG_WAITALL) != 0
             ? size
             : std::min<uint64_t>(size, static_cast<unsigned>(options_.receive_low_water)));
  const Patience patience = receive_patience(request.nonblocking);
  Received received;

  size_t passed_over = 0;  // of what is looked at: the urgent byte

  while (received.length < size) {
    const size_t offset = peek ? received.length + passed_over : 0;
    if (self.urgent && self.urgent->distance == offset && passed_over == 0) {
      if (received.length != 0) break;
      if (!self.urgent_inline) {
        if (peek) {
          passed_over = 1;
        } else {
          (void)self.incoming.take(1);
          self.consumed(1);
        }
        continue;
      }
    }
    if (self.incoming.size() <= offset) {
      if (received.length >= target) break;
      const bool ended = self.error != 0 || (self.shutdown & TcpEndpoint::kReceive) != 0 ||
                         self.state == TcpEndpoint::State::kClosed;
      if (ended) {
        if (received.length != 0) break;
        // A FIN that came first is an end of file, whatever came after it.
        if (self.error == EPIPE) break;
        if (self.error != 0) return Errno(take_error());
        if ((self.shutdown & TcpEndpoint::kReceive) != 0) break;
        return Errno(ENOTCONN);
      }
      const Result<> waited = patience.wait(self.queue, kAll, [&] {
        return self.incoming.size() > offset || self.error != 0 ||
               (self.shutdown & TcpEndpoint::kReceive) != 0 || self.state == TcpEndpoint::State::kClosed;
      });
      if (!waited.ok()) {
        if (received.length != 0) break;
        return waited.error();
      }
      continue;
    }
    auto want = static_cast<size_t>(size - received.length);
    if (self.urgent && self.urgent->distance > offset) want = std::min(want, self.urgent->distance - offset);
    ByteQueue::Run run = peek ? self.incoming.peek(offset, want) : self.incoming.take(want);
    if (!peek) self.consumed(run.size());
    const Result<size_t> put = discard ? Result<size_t>(run.size()) : sink.put(run.data(), run.size());
    const size_t copied = put.value_or(0);
    received.length += copied;
    if (!peek) {
      const bool faulted = copied < run.size();
      run.begin += copied;
      if (faulted) {
        if (self.urgent) self.urgent->distance += run.size();
        self.incoming.put_back(std::move(run));
      }
      if (self.peer != nullptr && self.peer->writable()) self.peer->queue.wake(kOut);
      if (!faulted) continue;
    } else if (copied == run.size()) {
      continue;
    }
    if (received.length == 0) return put.ok() ? Errno(EFAULT) : put.error();
    break;
  }
  return received;
}

// Options -----------------------------------------------------------------------------------------

Result<> TcpSocket::set_option(int level, int option, std::span<const std::byte> value,
                               const Caller& caller) {
  if (level == IPPROTO_TCP && option == TCP_CONGESTION) {
    std::string_view name(reinterpret_cast<const char*>(value.data()), value.size());
    name = name.substr(0, name.find('\0'));
    if (value.empty()) return Errno(EINVAL);
    return name == "cubic" || name == "reno" ? Result<>() : Errno(ENOENT);
  }
  if (level == IPPROTO_TCP && option == TCP_MAXSEG) {
    constexpr int kLeast = 88, kMost = 32767;  // TCP_MIN_MSS, MAX_TCP_WINDOW
    const int size = TRY(option_argument<int>(value));
    if (size != 0 && (size < kLeast || size > kMost)) return Errno(EINVAL);
    maximum_segment_ = size;
    return {};
  }
  TRY(InternetSocket::set_option(level, option, value, caller));
  if (level == SOL_SOCKET && (option == SO_SNDBUF || option == SO_SNDBUFFORCE))
    endpoint_->send_limit = static_cast<size_t>(options_.send_buffer);
  if (level == SOL_SOCKET && (option == SO_RCVBUF || option == SO_RCVBUFFORCE))
    endpoint_->receive_limit = static_cast<size_t>(options_.receive_buffer);
  endpoint_->urgent_inline = options_.oob_inline;
  return {};
}

Result<uint64_t> TcpSocket::ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) {
  if (request != SIOCATMARK) return Socket::ioctl(memory, request, argument);
  TRY(memory.write(mm::GuestPtr<int>(argument), int{at_mark()}));
  return uint64_t{0};
}

Result<std::vector<std::byte>> TcpSocket::get_option(int level, int option, size_t room) {
  if (level == IPPROTO_TCP && option == TCP_INFO) return option_value(endpoint_->info());
  if (level == IPPROTO_TCP && option == TCP_MAXSEG) {
    // Until there is a connection: what was asked for, or TCP_MSS_DEFAULT.
    const bool connected = endpoint_->state == TcpEndpoint::State::kConnected;
    if (connected) return option_value(int{32768});
    return option_value(maximum_segment_ != 0 ? maximum_segment_ : int{TCP_MSS_DEFAULT});
  }
  if (level == IPPROTO_TCP && option == TCP_CONGESTION) {
    std::vector<std::byte> name(16);  // TCP_CA_NAME_MAX
    std::memcpy(name.data(), "cubic", 5);
    return name;
  }
  return InternetSocket::get_option(level, option, room);
}

}  // namespace sentry::net
