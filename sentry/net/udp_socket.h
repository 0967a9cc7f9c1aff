// UDP over the sandbox's own loopback, udp(7).
#pragma once

#include <deque>

#include "sentry/net/internet_socket.h"

namespace sentry::net {

class UdpSocket final : public InternetSocket, private PortUser {
 public:
  UdpSocket(int family, int flags, const vfs::CredentialsRef& owner);
  ~UdpSocket() override;

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
  Result<size_t> unread() override { return inbox_.empty() ? 0 : inbox_.front()->size; }
  Result<size_t> unsent() override { return size_t{0}; }
  PortUser& user() override { return *this; }
  PortTable& ports() override;
  bool has_begun() const override { return peer_.has_value(); }

 private:
  struct Datagram {
    std::unique_ptr<std::byte[]> data;
    size_t size = 0;
    InternetAddress from;
    Ip to;
    Nanoseconds arrival = 0;
  };
  // The socket that a datagram reaches, or null. Connected sockets take only what their peer sends.
  static UdpSocket* find(const InternetAddress& from, const InternetAddress& to);
  Result<InternetAddress> destination(const Address& address) const;
  void deliver(std::unique_ptr<Datagram> datagram);
  void add_control(Received& received, const Datagram& datagram) const;

  std::optional<InternetAddress> peer_;
  std::deque<std::shared_ptr<Datagram>> inbox_;
  size_t queued_ = 0;  // bytes in it, with what they cost
  int shutdown_ = 0;
  int error_ = 0;
  WaitQueue queue_;
};

}  // namespace sentry::net
