// UDP over the sandbox's own loopback, udp(7).
#pragma once

#include <deque>

#include "sentry/net/internet_socket.h"

namespace sentry::net {

class UdpSocket final : public InternetSocket, private PortUser {
 public:
  UdpSocket(int family, int flags, const vfs::CredentialsRef& owner);
  ~UdpSocket() override;

  Result<> set_option(int level, int option, std::span<const std::byte> value, const Caller& caller) override;
  Result<> connect(const Address& address, const Caller& caller, bool nonblocking) override;
  Result<size_t> send(mm::Source& source, SendRequest& request) override;
  Result<Received> receive(mm::Sink& sink, const ReceiveRequest& request) override;
  Result<> shutdown(int how) override;
  Result<Address> peer_name() override;
  Events poll() override;

  // The socket that a user of a UDP port is.
  static const UdpSocket& of(const PortUser& user) { return static_cast<const UdpSocket&>(user); }
  const std::optional<InternetAddress>& peer() const { return peer_; }
  size_t queued() const { return queued_; }

 protected:
  WaitQueue& queue() override { return queue_; }
  int take_error() override { return std::exchange(error_, 0); }
  Result<size_t> unread() override { return inbox_.empty() ? 0 : inbox_.front().datagram->data.size(); }
  Result<size_t> unsent() override { return size_t{0}; }
  PortUser& user() override { return *this; }
  PortTable& ports() override;
  bool has_begun() const override { return peer_.has_value(); }
  bool has_peek_offset() const override { return true; }

 private:
  // What one datagram says besides its bytes: by the socket's options, or by its ancillary data.
  struct Manner {
    Ip from;  // any: chosen by where it goes
    int ttl = 0, tos = 0;
    size_t segment = 0;  // UDP_SEGMENT: bytes of each datagram; 0: one takes all
  };
  struct Datagram {
    std::vector<std::byte> data;
    InternetAddress from, to;
    Manner manner;
    Nanoseconds arrival = 0;
  };
  // What MSG_MORE and UDP_CORK gather: all of it goes where the first piece was to go.
  struct Gathered {
    std::vector<std::byte> data;
    InternetAddress to;
    Manner manner;
  };
  // The socket that a datagram reaches, or null. Connected sockets take only what their peer sends.
  static UdpSocket* find(const InternetAddress& from, const InternetAddress& to);
  // All that a broadcast or a group's datagram reaches.
  static std::vector<UdpSocket*> find_all(const InternetAddress& from, const InternetAddress& to);
  Result<InternetAddress> destination(const Address& address) const;
  Result<Manner> manner(const InternetAddress& to, const Control& control) const;
  Result<> transmit(Gathered gathered);
  void transmit_one(const std::shared_ptr<const Datagram>& datagram);
  void deliver(const std::shared_ptr<const Datagram>& datagram);
  void hear_refusal(const std::shared_ptr<const Datagram>& datagram);
  Result<Received> receive_error(mm::Sink& sink);
  void add_control(Received& received, const Datagram& datagram) const;

  std::optional<InternetAddress> peer_;
  // A datagram may be in several inboxes; how many had been lost in this one when it came.
  struct Arrived {
    std::shared_ptr<const Datagram> datagram;
    uint32_t drops;
  };
  std::deque<Arrived> inbox_;
  std::optional<Gathered> gathered_;
  // IP_RECVERR: datagrams that nobody took, ip(7).
  static constexpr size_t kMostErrors = 64;
  std::deque<std::shared_ptr<const Datagram>> errors_;
  uint32_t drops_ = 0;
  size_t queued_ = 0;  // bytes in it, with what they cost
  int shutdown_ = 0;
  int error_ = 0;
  WaitQueue queue_;
};

}  // namespace sentry::net
