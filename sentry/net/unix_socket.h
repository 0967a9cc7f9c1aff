// AF_UNIX, unix(7): streams, datagrams, sequenced packets.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "sentry/net/rights.h"
#include "sentry/net/socket.h"

namespace sentry::net {

class UnixSocket;

// One end as its peers know it: it outlives its description for as long as somebody is connected to it or a
// message of its own is unread. Ends refer to each other until they are released, which happens when the
// description is closed.
class UnixEndpoint : public std::enable_shared_from_this<UnixEndpoint> {
 public:
  enum class State { kUnconnected, kListening, kConnected };

  // A message in somebody's inbox. Its bytes count against the sender's SO_SNDBUF until it is gone.
  struct Message {
    Message(std::shared_ptr<UnixEndpoint> sender_in, std::unique_ptr<std::byte[]> data_in, size_t size_in);
    ~Message();
    std::shared_ptr<UnixEndpoint> sender;
    std::unique_ptr<std::byte[]> data;
    size_t begin = 0, end;  // of what is unread
    Rights rights;
    ucred credentials{};
    Address from;
    Nanoseconds sent = 0;
  };
  using MessageRef = std::shared_ptr<Message>;

  explicit UnixEndpoint(int type_in) : type(type_in) {}
  void deliver(MessageRef message);
  // After a message has left the inbox.
  void made_room();
  // The description is closed.
  void release();
  bool readable_end() const { return (shutdown & kReceive) != 0; }
  void disconnected_from(UnixEndpoint& old_peer);

  static constexpr int kReceive = 1, kSend = 2;
  // The name for /proc/net/unix: "@abstract", or empty.
  std::string path_text() const;

  const int type;
  uint64_t ino = 0;  // of the description
  State state = State::kUnconnected;
  Address name;                        // empty: unnamed
  vfs::Path place;                     // keeps the node's inode, and so its attachment, in memory
  std::shared_ptr<UnixEndpoint> peer;  // may be dead
  std::deque<MessageRef> inbox;
  std::deque<std::shared_ptr<UnixSocket>> embryos;  // connections that wait for accept(2)
  size_t backlog = 0;
  int shutdown = 0;  // kReceive | kSend
  int error = 0;
  bool dead = false;
  bool embryo = false;   // in a listener's queue
  bool binding = false;  // bind(2) is under way
  size_t in_use = 0;     // of the send buffer
  // Who made, or listens at, an end: SO_PEERCRED and SO_PEERGROUPS of the other.
  struct Identity {
    ucred ids{0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)};
    vfs::CredentialsRef credentials;  // null: nobody yet
  };
  Identity own{{}, nullptr}, other;
  WaitQueue queue;  // the description's
  WaitQueue room;   // others', who want to send or connect to this one
  std::set<std::weak_ptr<UnixEndpoint>, std::owner_less<>>
      blocked_pollers;  // peers that polled while there was no room
};

class UnixSocket final : public Socket {
 public:
  UnixSocket(int type, int flags, const vfs::CredentialsRef& owner);
  ~UnixSocket() override;

  Result<> bind(const Address& address, const Caller& caller) override;
  Result<> listen(int backlog, const Caller& caller) override;
  Result<std::shared_ptr<Socket>> accept(bool nonblocking) override;
  Result<> connect(const Address& address, const Caller& caller, bool nonblocking) override;
  Result<size_t> send(mm::Source& source, SendRequest& request) override;
  Result<Received> receive(mm::Sink& sink, const ReceiveRequest& request) override;
  Result<> shutdown(int how) override;
  Result<Address> name() override;
  Result<Address> peer_name() override;
  Events poll() override;

  // socketpair(2): connects two fresh sockets.
  static void pair(UnixSocket& first, UnixSocket& second, const Caller& caller);

  // For collect_garbage().
  void for_each_right(const std::function<void(const vfs::FileRef&)>& action) const;
  void discard_messages();

 protected:
  WaitQueue& queue() override { return endpoint_->queue; }
  int take_error() override { return std::exchange(endpoint_->error, 0); }
  bool listening() const override { return endpoint_->state == UnixEndpoint::State::kListening; }
  Result<std::vector<std::byte>> peer_credentials() override { return option_value(endpoint_->other.ids); }
  Result<std::vector<std::byte>> peer_groups() override;
  bool has_peek_offset() const override { return true; }
  Result<size_t> unread() override;
  Result<size_t> unsent() override { return endpoint_->in_use; }

 private:
  using EndpointRef = std::shared_ptr<UnixEndpoint>;
  Result<EndpointRef> find(const Address& address, const Caller& caller) const;
  Result<> bind_automatically(const Caller& caller);
  Result<> connect_stream(const Address& address, const Caller& caller, bool nonblocking);
  Result<> connect_datagram(const Address& address, const Caller& caller);
  Result<size_t> send_stream(mm::Source& source, SendRequest& request);
  Result<size_t> send_packet(mm::Source& source, SendRequest& request);
  Result<Received> receive_stream(mm::Sink& sink, const ReceiveRequest& request);
  Result<Received> receive_packet(mm::Sink& sink, const ReceiveRequest& request);
  Result<UnixEndpoint::MessageRef> fetch(mm::Source& source, size_t size) const;
  void attach_control(UnixEndpoint::Message& message, Rights rights, const SendRequest& request) const;
  bool writable_now() const { return in_use_allows(4); }
  bool in_use_allows(size_t divisor) const;

  const EndpointRef endpoint_;
};

}  // namespace sentry::net
