#include "sentry/net/unix_socket.h"

#include <sys/epoll.h>
#include <sys/stat.h>

#include <climits>

#include "sentry/kernel/sysctl.h"
#include "sentry/net/stack.h"

namespace sentry::net {
namespace {

constexpr Events kIn = EPOLLIN | EPOLLRDNORM;
constexpr Events kOut = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
constexpr Events kAll = kIn | kOut | EPOLLERR | EPOLLHUP | EPOLLRDHUP;

// A stream's bytes travel in messages of at most so many.
constexpr size_t kStreamChunk = 32 * 1024;
// What a message costs besides its bytes, about Linux's sk_buff with its smallest data area: it bounds how
// many empty messages fit into a send buffer.
constexpr size_t kMessageCost = 768;

constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);

bool is_stream_like(int type) { return type == SOCK_STREAM || type == SOCK_SEQPACKET; }

// An address that names something: EINVAL for others. unix_validate_addr().
Result<> check_address(const Address& address) {
  if (address.family() != AF_UNIX || address.length() <= kPathOffset ||
      address.length() > sizeof(sockaddr_un))
    return Errno(EINVAL);
  return {};
}

bool is_abstract(const Address& address) { return address.as<sockaddr_un>().sun_path[0] == '\0'; }

// The path: up to its NUL, or up to the end of the address.
std::string path_of(const Address& address) {
  const auto un = address.as<sockaddr_un>();
  return {un.sun_path, strnlen(un.sun_path, address.length() - kPathOffset)};
}

std::string abstract_name(const Address& address) {
  const auto un = address.as<sockaddr_un>();
  return {un.sun_path, address.length() - kPathOffset};
}

// What bind(2) leaves at the inode.
struct Binding {
  std::weak_ptr<UnixEndpoint> endpoint;
};

UnixEndpoint::Identity identity(const Caller& caller) { return {caller.ids, caller.files.credentials}; }

Address unnamed() {
  const sa_family_t family = AF_UNIX;
  return Address::of(family);
}

}  // namespace

// UnixEndpoint ------------------------------------------------------------------------------------

UnixEndpoint::Message::Message(std::shared_ptr<UnixEndpoint> sender_in, std::unique_ptr<std::byte[]> data_in,
                               size_t size_in)
    : sender(std::move(sender_in)), data(std::move(data_in)), end(size_in) {
  sender->in_use += end + kMessageCost;
}

UnixEndpoint::Message::~Message() {
  sender->in_use -= end + kMessageCost;
  if (!sender->dead) sender->queue.wake(kOut);
}

void UnixEndpoint::deliver(MessageRef message) {
  inbox.push_back(std::move(message));
  queue.wake(kIn);
}

void UnixEndpoint::made_room() {
  room.wake();
  for (const auto& waiting : std::exchange(blocked_pollers, {}))
    if (const auto poller = waiting.lock(); poller != nullptr) poller->queue.wake(kOut);
}

void UnixEndpoint::disconnected_from(UnixEndpoint& old_peer) {
  if (inbox.empty()) return;
  inbox.clear();
  made_room();
  if (!old_peer.dead && old_peer.peer.get() == this) {
    old_peer.error = ECONNRESET;
    old_peer.queue.wake(EPOLLERR);
  }
}

void UnixEndpoint::release() {
  dead = true;
  Stack::current().unix_endpoints().erase(this);
  shutdown = kReceive | kSend;
  if (name.length() > kPathOffset && is_abstract(name))
    Stack::current().release_abstract(type, abstract_name(name), *this);
  if (peer != nullptr && is_stream_like(type) && !peer->dead) {
    peer->shutdown = kReceive | kSend;
    if (!inbox.empty() || embryo) peer->error = ECONNRESET;
    peer->queue.wake(kAll);
  }
  // What ends with this end may end others in turn, so it goes last and from local hands.
  const auto messages = std::exchange(inbox, {});
  const auto unaccepted = std::exchange(embryos, {});
  const auto old_peer = std::exchange(peer, nullptr);
  if (old_peer != nullptr) old_peer->blocked_pollers.erase(weak_from_this());
  place = {};
  queue.wake(kAll);
  made_room();
}

std::string UnixEndpoint::path_text() const {
  if (name.length() <= kPathOffset) return {};
  if (!is_abstract(name)) return path_of(name);
  std::string text = abstract_name(name);
  // Each NUL becomes "@", as unix_seq_show() prints it.
  std::replace(text.begin(), text.end(), '\0', '@');
  return text;
}

// UnixSocket --------------------------------------------------------------------------------------

UnixSocket::UnixSocket(int type, int flags, const vfs::CredentialsRef& owner)
    : Socket(AF_UNIX, type, 0, flags, owner), endpoint_(std::make_shared<UnixEndpoint>(type)) {
  endpoint_->ino = inode_number();
  Stack::current().unix_endpoints().insert(endpoint_.get());
}

UnixSocket::~UnixSocket() {
  endpoint_->release();
  collect_garbage_later();
}

void UnixSocket::pair(UnixSocket& first, UnixSocket& second, const Caller& caller) {
  UnixEndpoint& one = *first.endpoint_;
  UnixEndpoint& other = *second.endpoint_;
  one.peer = second.endpoint_;
  other.peer = first.endpoint_;
  one.state = other.state = UnixEndpoint::State::kConnected;
  one.own = one.other = other.own = other.other = identity(caller);
}

// socket(7) SO_PEERGROUPS: the supplementary groups, in the kernel's order.
Result<std::vector<std::byte>> UnixSocket::peer_groups() {
  const vfs::CredentialsRef& peer = endpoint_->other.credentials;
  if (peer == nullptr) return Errno(ENODATA);
  const auto bytes = std::as_bytes(std::span(peer->groups));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

void UnixSocket::for_each_right(const std::function<void(const vfs::FileRef&)>& action) const {
  const auto visit = [&](const UnixEndpoint& endpoint) {
    for (const auto& message : endpoint.inbox)
      for (const vfs::FileRef& file : message->rights.files()) action(file);
  };
  visit(*endpoint_);
  for (const auto& embryo : endpoint_->embryos) visit(*embryo->endpoint_);
}

void UnixSocket::discard_messages() {
  const auto messages = std::exchange(endpoint_->inbox, {});
  const auto unaccepted = std::exchange(endpoint_->embryos, {});
}

bool UnixSocket::in_use_allows(size_t divisor) const {
  return endpoint_->in_use * divisor <= static_cast<size_t>(options_.send_buffer);
}

Result<UnixSocket::EndpointRef> UnixSocket::find(const Address& address, const Caller& caller) const {
  EndpointRef found;
  if (is_abstract(address)) {
    found = Stack::current().find_abstract(type(), abstract_name(address));
  } else {
    const vfs::Walked walked =
        TRY(vfs::walk(caller.files.fs, *caller.files.credentials, caller.files.start, path_of(address), {}));
    const vfs::InodeRef inode = walked.path.dentry->inode();
    TRY(inode->permission(*caller.files.credentials, W_OK));
    if (!S_ISSOCK(inode->type())) return Errno(ECONNREFUSED);
    if (const auto binding = std::static_pointer_cast<Binding>(inode->attachment); binding != nullptr)
      found = binding->endpoint.lock();
  }
  if (found == nullptr || found->dead) return Errno(ECONNREFUSED);
  if (found->type != type()) return Errno(EPROTOTYPE);
  return found;
}

Result<> UnixSocket::bind(const Address& address, const Caller& caller) {
  if (address.family() != AF_UNIX || address.length() > sizeof(sockaddr_un)) return Errno(EINVAL);
  UnixEndpoint& self = *endpoint_;
  if (self.name.length() != 0 || self.binding) return Errno(EINVAL);
  if (address.length() == kPathOffset) return bind_automatically(caller);
  TRY(check_address(address));
  if (is_abstract(address)) {
    if (!Stack::current().claim_abstract(type(), abstract_name(address), endpoint_)) return Errno(EADDRINUSE);
    self.name = address;
    return {};
  }
  const std::string path = path_of(address);
  self.binding = true;
  const Result<vfs::Path> made = vfs::make_node(caller.files, path, S_IFSOCK | 0777, 0);
  self.binding = false;
  if (made.is(EEXIST)) return Errno(EADDRINUSE);
  if (!made.ok()) return made.error();
  made->dentry->inode()->attachment = std::make_shared<Binding>(Binding{endpoint_});
  self.place = *made;
  // getsockname(2) counts the terminating NUL, unix(7).
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, path.data(), path.size());
  self.name = Address(&un, std::min(kPathOffset + path.size() + 1, sizeof un));
  return {};
}

// unix(7) "Autobind": five hexadecimal digits in the abstract space.
Result<> UnixSocket::bind_automatically(const Caller&) {
  if (endpoint_->name.length() != 0) return {};
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  for (unsigned attempt = 0; attempt < 0x100000; ++attempt) {
    const unsigned number = Stack::current().next_automatic_name() & 0xfffff;
    const std::string digits = fmt::format("{:05x}", number);
    if (!Stack::current().claim_abstract(type(), std::string(1, '\0') + digits, endpoint_)) continue;
    std::memcpy(un.sun_path + 1, digits.data(), digits.size());
    endpoint_->name = Address(&un, kPathOffset + 1 + digits.size());
    return {};
  }
  return Errno(ENOSPC);
}

Result<> UnixSocket::listen(int backlog, const Caller& caller) {
  if (!is_stream_like(type())) return Errno(EOPNOTSUPP);
  UnixEndpoint& self = *endpoint_;
  if (self.name.length() == 0 || self.state == UnixEndpoint::State::kConnected) return Errno(EINVAL);
  const size_t limit =
      std::min<size_t>(static_cast<unsigned>(backlog), kernel::Sysctls::current().somaxconn.value());
  const bool grows = limit > self.backlog;
  self.backlog = limit;
  self.state = UnixEndpoint::State::kListening;
  self.own = self.other = identity(caller);
  if (grows) self.made_room();
  return {};
}

Result<std::shared_ptr<Socket>> UnixSocket::accept(bool nonblocking_now) {
  if (!is_stream_like(type())) return Errno(EOPNOTSUPP);
  UnixEndpoint& self = *endpoint_;
  if (self.state != UnixEndpoint::State::kListening) return Errno(EINVAL);
  TRY(receive_patience(nonblocking_now).wait(self.queue, kAll, [&] {
    return !self.embryos.empty() || (self.shutdown & UnixEndpoint::kReceive) != 0;
  }));
  if (self.embryos.empty()) return Errno(EINVAL);  // it was shut down
  const std::shared_ptr<UnixSocket> connection = std::move(self.embryos.front());
  self.embryos.pop_front();
  connection->endpoint_->embryo = false;
  self.made_room();
  return std::shared_ptr<Socket>(connection);
}

Result<> UnixSocket::connect(const Address& address, const Caller& caller, bool nonblocking_now) {
  if (!is_stream_like(type())) return connect_datagram(address, caller);
  return connect_stream(address, caller, nonblocking_now);
}

Result<> UnixSocket::connect_stream(const Address& address, const Caller& caller, bool nonblocking_now) {
  TRY(check_address(address));
  UnixEndpoint& self = *endpoint_;
  if (options_.passcred) TRY(bind_automatically(caller));
  const Patience patience = send_patience(nonblocking_now);
  for (;;) {
    const EndpointRef listener = TRY(find(address, caller));
    const auto gone = [&] {
      return listener->dead || listener->state != UnixEndpoint::State::kListening ||
             (listener->shutdown & UnixEndpoint::kReceive) != 0;
    };
    const auto full = [&] { return listener->embryos.size() > listener->backlog; };
    if (gone()) return Errno(ECONNREFUSED);
    if (full()) {
      TRY(patience.wait(listener->room, kAllEvents, [&] { return gone() || !full(); }));
      continue;  // the name may stand for another by now
    }
    if (self.state == UnixEndpoint::State::kConnected) return Errno(EISCONN);
    if (self.state == UnixEndpoint::State::kListening) return Errno(EINVAL);

    auto server = std::make_shared<UnixSocket>(type(), 0, caller.files.credentials);
    UnixEndpoint& other = *server->endpoint_;
    other.name = listener->name;
    other.peer = endpoint_;
    other.other = identity(caller);
    other.own = listener->own;
    other.state = UnixEndpoint::State::kConnected;
    other.embryo = true;
    self.peer = server->endpoint_;
    self.other = listener->own;
    self.own = identity(caller);
    self.state = UnixEndpoint::State::kConnected;
    listener->embryos.push_back(std::move(server));
    listener->queue.wake(kIn);
    self.queue.wake(kOut);
    return {};
  }
}

Result<> UnixSocket::connect_datagram(const Address& address, const Caller& caller) {
  if (address.length() < sizeof(sa_family_t)) return Errno(EINVAL);
  UnixEndpoint& self = *endpoint_;
  EndpointRef other;
  if (address.family() != AF_UNSPEC) {
    TRY(check_address(address));
    if (options_.passcred) TRY(bind_automatically(caller));
    other = TRY(find(address, caller));
    if (other->peer != nullptr && other->peer != endpoint_) return Errno(EPERM);
  }
  const EndpointRef old = std::exchange(self.peer, other);
  self.state = other != nullptr ? UnixEndpoint::State::kConnected : UnixEndpoint::State::kUnconnected;
  if (old != nullptr && old != other) {
    old->blocked_pollers.erase(endpoint_);
    self.disconnected_from(*old);
  }
  self.queue.wake(kOut);
  return {};
}

Result<> UnixSocket::shutdown(int how) {
  if (how < SHUT_RD || how > SHUT_RDWR) return Errno(EINVAL);
  UnixEndpoint& self = *endpoint_;
  const int bits = how + 1;  // kReceive, kSend, both
  self.shutdown |= bits;
  if (self.peer != nullptr && is_stream_like(type())) {
    if ((bits & UnixEndpoint::kReceive) != 0) self.peer->shutdown |= UnixEndpoint::kSend;
    if ((bits & UnixEndpoint::kSend) != 0) self.peer->shutdown |= UnixEndpoint::kReceive;
    self.peer->queue.wake(kAll);
  }
  self.queue.wake(kAll);
  self.made_room();
  return {};
}

Result<Address> UnixSocket::name() { return endpoint_->name.length() != 0 ? endpoint_->name : unnamed(); }

Result<Address> UnixSocket::peer_name() {
  if (endpoint_->peer == nullptr) return Errno(ENOTCONN);
  return endpoint_->peer->name.length() != 0 ? endpoint_->peer->name : unnamed();
}

Events UnixSocket::poll() {
  UnixEndpoint& self = *endpoint_;
  Events events = 0;
  if (self.error != 0) events |= type() == SOCK_STREAM ? EPOLLERR : error_events();
  if (self.shutdown == (UnixEndpoint::kReceive | UnixEndpoint::kSend)) events |= EPOLLHUP;
  if ((self.shutdown & UnixEndpoint::kReceive) != 0) events |= EPOLLRDHUP | kIn;
  if (!self.inbox.empty() || !self.embryos.empty()) events |= kIn;
  if (is_stream_like(type())) {
    if (self.state == UnixEndpoint::State::kUnconnected) events |= EPOLLHUP;
    if (self.state != UnixEndpoint::State::kListening && writable_now()) events |= kOut;
    return events;
  }
  if (writable_now()) {
    UnixEndpoint* peer = self.peer.get();
    const bool blocked = peer != nullptr && peer != &self && peer->peer.get() != &self && !peer->dead &&
                         peer->inbox.size() > kernel::Sysctls::current().max_dgram_qlen.value();
    if (blocked)
      peer->blocked_pollers.insert(endpoint_);
    else
      events |= kOut;
  }
  return events;
}

Result<size_t> UnixSocket::unread() {
  const UnixEndpoint& self = *endpoint_;
  if (self.state == UnixEndpoint::State::kListening) return Errno(EINVAL);
  if (type() == SOCK_DGRAM) return self.inbox.empty() ? 0 : self.inbox.front()->end;
  size_t total = 0;
  for (const auto& message : self.inbox) total += message->end - message->begin;
  return total;
}

// Sending -----------------------------------------------------------------------------------------

Result<size_t> UnixSocket::send(mm::Source& source, SendRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno(EOPNOTSUPP);
  return type() == SOCK_STREAM ? send_stream(source, request) : send_packet(source, request);
}

Result<UnixEndpoint::MessageRef> UnixSocket::fetch(mm::Source& source, size_t size) const {
  auto data = std::make_unique_for_overwrite<std::byte[]>(size);
  const size_t count = size == 0 ? 0 : TRY(source.get(data.get(), size));
  return std::make_shared<UnixEndpoint::Message>(endpoint_, std::move(data), count);
}

void UnixSocket::attach_control(UnixEndpoint::Message& message, Rights rights,
                                const SendRequest& request) const {
  message.rights = std::move(rights);
  message.credentials = request.control.credentials.value_or(request.ids);
  message.from = endpoint_->name;
  message.sent = read_clock(CLOCK_REALTIME);
}

Result<size_t> UnixSocket::send_stream(mm::Source& source, SendRequest& request) {
  UnixEndpoint& self = *endpoint_;
  const bool connected = self.state == UnixEndpoint::State::kConnected;
  if (request.to) return Errno(connected ? EISCONN : EOPNOTSUPP);
  if (!connected) return Errno(ENOTCONN);
  const EndpointRef peer = self.peer;
  const auto broken = [&] {
    return (self.shutdown & UnixEndpoint::kSend) != 0 || peer->dead ||
           (peer->shutdown & UnixEndpoint::kReceive) != 0;
  };
  if (broken()) return Errno(EPIPE);
  Rights rights = TRY(Rights::make(std::move(request.control.files), request.ids.uid,
                                   request.caller != nullptr ? request.caller->rights_limit : 0));
  const Patience patience = send_patience(request.nonblocking);
  size_t sent = 0;
  const auto stopped = [&](Errno error) -> Result<size_t> {
    if (sent != 0) return sent;
    return error;
  };
  while (source.remaining() != 0) {
    const auto writable = [&] { return self.in_use < static_cast<size_t>(options_.send_buffer) || broken(); };
    if (const Result<> waited = patience.wait(self.queue, kAll, writable); !waited.ok())
      return stopped(waited.error());
    const auto half = static_cast<size_t>(options_.send_buffer) / 2 - 64;
    const auto want =
        static_cast<size_t>(std::min<uint64_t>(source.remaining(), std::min(half, kStreamChunk)));
    const Result<UnixEndpoint::MessageRef> message = fetch(source, want);
    if (!message.ok()) return stopped(message.error());
    const size_t count = (*message)->end;
    if (broken()) {
      source.unget(count);
      return stopped(Errno(EPIPE));
    }
    attach_control(**message, std::exchange(rights, Rights()), request);
    peer->deliver(*message);
    sent += count;
    if (count < want) break;
  }
  return sent;
}

Result<size_t> UnixSocket::send_packet(mm::Source& source, SendRequest& request) {
  UnixEndpoint& self = *endpoint_;
  EndpointRef target;
  if (type() == SOCK_SEQPACKET) {
    if (self.state != UnixEndpoint::State::kConnected) return Errno(ENOTCONN);
    request.to.reset();
  }
  if (request.to) {
    TRY(check_address(*request.to));
    if (options_.passcred) TRY(bind_automatically(*request.caller));
  } else if (self.peer == nullptr) {
    return Errno(ENOTCONN);
  }
  const uint64_t size = source.remaining();
  if (size > static_cast<uint64_t>(options_.send_buffer - 32)) return Errno(EMSGSIZE);
  if (self.error != 0) return Errno(take_error());
  if ((self.shutdown & UnixEndpoint::kSend) != 0) return Errno(EPIPE);
  Rights rights = TRY(Rights::make(std::move(request.control.files), request.ids.uid,
                                   request.caller != nullptr ? request.caller->rights_limit : 0));
  const Patience patience = send_patience(request.nonblocking);
  TRY(patience.wait(self.queue, kAll, [&] {
    return self.in_use < static_cast<size_t>(options_.send_buffer) ||
           (self.shutdown & UnixEndpoint::kSend) != 0;
  }));
  const UnixEndpoint::MessageRef message = TRY(fetch(source, static_cast<size_t>(size)));
  if (message->end < size) return Errno(EFAULT);

  for (;;) {
    target = request.to ? TRY(find(*request.to, *request.caller)) : self.peer;
    if (target == nullptr) return Errno(ENOTCONN);
    if (target->dead) {
      if (type() == SOCK_SEQPACKET) return Errno(EPIPE);
      // A datagram socket forgets a peer that has gone.
      if (self.peer == target) {
        self.peer = nullptr;
        self.state = UnixEndpoint::State::kUnconnected;
        self.disconnected_from(*target);
      }
      return Errno(ECONNREFUSED);
    }
    if ((self.shutdown & UnixEndpoint::kSend) != 0) return Errno(EPIPE);
    if (target->peer != nullptr && target->peer != endpoint_) return Errno(EPERM);
    if ((target->shutdown & UnixEndpoint::kReceive) != 0) return Errno(EPIPE);
    const auto full = [&] {
      return target->peer != endpoint_ && target != endpoint_ &&
             target->inbox.size() > kernel::Sysctls::current().max_dgram_qlen.value();
    };
    if (!full()) break;
    TRY(patience.wait(target->room, kAllEvents, [&] { return target->dead || !full(); }));
  }
  attach_control(*message, std::move(rights), request);
  target->deliver(message);
  return static_cast<size_t>(size);
}

// Receiving ---------------------------------------------------------------------------------------

Result<Received> UnixSocket::receive(mm::Sink& sink, const ReceiveRequest& request) {
  if ((request.flags & MSG_OOB) != 0) return Errno(type() == SOCK_STREAM ? EINVAL : EOPNOTSUPP);
  return type() == SOCK_STREAM ? receive_stream(sink, request) : receive_packet(sink, request);
}

Result<Received> UnixSocket::receive_stream(mm::Sink& sink, const ReceiveRequest& request) {
  UnixEndpoint& self = *endpoint_;
  if (self.state != UnixEndpoint::State::kConnected) return Errno(EINVAL);
  const bool peek = (request.flags & MSG_PEEK) != 0;
  const uint64_t size = sink.remaining();
  const uint64_t target = std::max<uint64_t>(
      1, (request.flags & MSG_WAITALL) != 0
             ? size
             : std::min<uint64_t>(size, static_cast<unsigned>(options_.receive_low_water)));
  const Patience patience = receive_patience(request.nonblocking);
  Received received;
  bool first = true;
  size_t index = 0;  // of the next message to look at, when peeking
  size_t skipped = peek_start(request.flags);

  while (first || sink.remaining() != 0) {
    if (index >= self.inbox.size()) {
      if (received.length >= target) break;
      if (self.error != 0) {
        if (received.length != 0) break;
        return Errno(take_error());
      }
      if ((self.shutdown & UnixEndpoint::kReceive) != 0) break;
      const Result<> waited = patience.wait(self.queue, kAll, [&] {
        return index < self.inbox.size() || self.error != 0 || (self.shutdown & UnixEndpoint::kReceive) != 0;
      });
      if (!waited.ok()) {
        if (received.length != 0) break;
        return waited.error();
      }
      continue;
    }
    const UnixEndpoint::MessageRef message = self.inbox[index];
    if (skipped != 0 && skipped >= message->end - message->begin) {
      skipped -= message->end - message->begin;
      ++index;
      continue;
    }
    // Bytes of different senders are not mixed where the receiver asks who they are.
    if (options_.passcred && !first && received.control.credentials &&
        std::memcmp(&*received.control.credentials, &message->credentials, sizeof(ucred)) != 0)
      break;
    received.control.credentials = message->credentials;
    if (first) received.from = message->from;
    first = false;

    // Taken out before it is copied, which may park; what a fault keeps back returns.
    const size_t begin = message->begin + std::exchange(skipped, 0);
    const auto count = static_cast<size_t>(std::min<uint64_t>(message->end - begin, sink.remaining()));
    const bool has_rights = !message->rights.empty();
    if (peek) {
      received.control.files = message->rights.files();
      peeked(count);
      ++index;
    } else {
      taken(count);
      received.control.files = message->rights.take();
      message->begin += count;
      if (message->begin == message->end) {
        self.inbox.pop_front();
        self.made_room();
      }
    }
    const Result<size_t> put =
        count == 0 ? Result<size_t>(size_t{0}) : sink.put(message->data.get() + begin, count);
    const size_t copied = put.value_or(0);
    received.length += copied;
    if (copied < count) {
      if (!peek) {
        if (message->begin == message->end) self.inbox.push_front(message);
        message->begin = begin + copied;
      }
      if (received.length == 0) return put.ok() ? Errno(EFAULT) : put.error();
      break;
    }
    if (has_rights) break;  // a message ends where descriptors were sent, unix(7)
  }
  return received;
}

Result<Received> UnixSocket::receive_packet(mm::Sink& sink, const ReceiveRequest& request) {
  UnixEndpoint& self = *endpoint_;
  if (type() == SOCK_SEQPACKET && self.state != UnixEndpoint::State::kConnected) return Errno(ENOTCONN);
  const bool peek = (request.flags & MSG_PEEK) != 0;
  // SO_PEEK_OFF counts on through the messages.
  size_t index = 0, skipped = 0;
  const auto find_next = [&] {
    index = 0;
    skipped = peek_start(request.flags);
    while (index < self.inbox.size() && skipped != 0 && skipped >= self.inbox[index]->end)
      skipped -= self.inbox[index++]->end;
    return index < self.inbox.size();
  };
  const Result<> waited = receive_patience(request.nonblocking).wait(self.queue, kAll, [&] {
    return find_next() || self.error != 0 ||
           ((self.shutdown & UnixEndpoint::kReceive) != 0 &&
            (type() == SOCK_SEQPACKET || !request.nonblocking));
  });
  if (!waited.ok()) return waited.error();
  Received received;
  if (self.error != 0) return Errno(take_error());
  if (!find_next()) return received;  // shut down

  const UnixEndpoint::MessageRef message = self.inbox[index];
  const size_t size = message->end - skipped;
  const auto count = static_cast<size_t>(std::min<uint64_t>(size, sink.remaining()));
  if (peek) {
    peeked(count);
  } else {
    self.inbox.pop_front();
    self.made_room();
    taken(size);
  }
  received.from = message->from;
  received.control.credentials = message->credentials;
  received.control.files = peek ? message->rights.files() : message->rights.take();
  add_timestamp(received, message->sent);
  if (count != 0 && TRY(sink.put(message->data.get() + skipped, count)) < count) return Errno(EFAULT);
  if (count < size) received.flags |= MSG_TRUNC;
  received.length = (request.flags & MSG_TRUNC) != 0 ? size : count;
  return received;
}

}  // namespace sentry::net
