// TCP over the sandbox's own loopback, tcp(7). There are no packets: a connection is two byte queues, and
// what a segment would tell (SYN, FIN, RST) is told at once.
#pragma once

#include <netinet/tcp.h>

#include <deque>
#include <optional>

#include "sentry/net/byte_queue.h"
#include "sentry/net/internet_socket.h"

namespace sentry::net {

class TcpSocket;

// One end as its peer knows it; see UnixEndpoint.
class TcpEndpoint : public PortUser, public std::enable_shared_from_this<TcpEndpoint> {
 public:
  enum class State { kClosed, kConnecting, kConnected, kListening };
  static constexpr int kReceive = 1, kSend = 2;
  // Buffers where SO_SNDBUF and SO_RCVBUF have not been set; Linux tunes them by itself.
  static constexpr size_t kSendDefault = 256 * 1024, kReceiveDefault = 128 * 1024;

  // Bytes that this end may have under way.
  size_t window() const { return send_limit + (peer != nullptr ? peer->receive_limit : 0); }
  size_t under_way() const { return peer != nullptr ? peer->incoming.size() : 0; }
  // sk_stream_is_writeable(): a third of the room is free.
  bool writable() const { return under_way() * 3 <= window() * 2; }
  void reset(int reason);
  void release(bool abort);
  void enqueue(const std::shared_ptr<TcpEndpoint>& connector);
  // Lets connections in that waited for room in the accept queue.
  void admit();
  // TCP_ESTABLISHED and its kin, as TCP_INFO and /proc/net/tcp show it.
  int tcp_state() const;
  // Both sides have sent their FIN: Linux's socket is in TCP_CLOSE, although it may still have bytes to read.
  bool finished() const;
  tcp_info info() const;
  bool has_room() const { return accepted.size() <= backlog; }
  // The last byte of `incoming` is urgent; what was so before is no longer.
  void mark_urgent();
  // Bytes have been taken out of `incoming`.
  void consumed(size_t count);

  State state = State::kClosed;
  InternetAddress remote;
  std::shared_ptr<TcpEndpoint> peer;
  ByteQueue incoming;
  // tcp(7) "urgent data": one byte, which stays where it is in the stream; readers stop there, and pass over
  // it unless SO_OOBINLINE is set.
  struct Urgent {
    size_t distance;  // bytes of `incoming` before it
    std::byte value;
    bool read = false;  // by MSG_OOB
  };
  std::optional<Urgent> urgent;
  bool urgent_inline = false;
  int shutdown = 0;
  int error = 0;
  bool dead = false;
  bool connect_unanswered = false;  // a connection that connect(2) did not wait for has been made or refused
  size_t send_limit = kSendDefault, receive_limit = kReceiveDefault;
  size_t backlog = 0;
  std::deque<std::shared_ptr<TcpSocket>> accepted;  // connections that wait for accept(2)
  std::deque<std::weak_ptr<TcpEndpoint>> waiting;   // those that connect while there is no room
  size_t waiting_limit = 128;                       // beyond, those that have gone are dropped first
  TcpSocket* description = nullptr;                 // a listener's own, while it lives
  WaitQueue queue;
};

class TcpSocket final : public InternetSocket {
 public:
  TcpSocket(int family, int flags, const vfs::CredentialsRef& owner);
  ~TcpSocket() override;

  Result<> listen(int backlog, const Caller& caller) override;
  Result<std::shared_ptr<Socket>> accept(bool nonblocking) override;
  Result<> connect(const Address& address, const Caller& caller, bool nonblocking) override;
  Result<size_t> send(mm::Source& source, SendRequest& request) override;
  Result<Received> receive(mm::Sink& sink, const ReceiveRequest& request) override;
  Result<> shutdown(int how) override;
  Result<Address> peer_name() override;
  Result<> set_option(int level, int option, std::span<const std::byte> value, const Caller& caller) override;
  Result<std::vector<std::byte>> get_option(int level, int option, size_t room) override;
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override;
  Events poll() override;

  const TcpEndpoint& endpoint() const { return *endpoint_; }

 protected:
  WaitQueue& queue() override { return endpoint_->queue; }
  int take_error() override { return std::exchange(endpoint_->error, 0); }
  bool listening() const override { return endpoint_->state == TcpEndpoint::State::kListening; }
  Result<size_t> unread() override;
  Result<size_t> unsent() override;
  PortUser& user() override { return *endpoint_; }
  PortTable& ports() override;
  bool has_begun() const override { return endpoint_->state != TcpEndpoint::State::kClosed; }

 private:
  friend class TcpEndpoint;
  // Makes the listener's end of a connection.
  void establish(TcpEndpoint& client);
  Result<> disconnect();
  Result<Received> receive_urgent(mm::Sink& sink, const ReceiveRequest& request);
  bool at_mark() const { return endpoint_->urgent && endpoint_->urgent->distance == 0; }
  Result<> await_connection(bool nonblocking);
  // After a failed connect(2) the socket is as good as new.
  void start_over();

  int maximum_segment_ = 0;  // TCP_MAXSEG; 0: not set
  const std::shared_ptr<TcpEndpoint> endpoint_;
};

}  // namespace sentry::net
