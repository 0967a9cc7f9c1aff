// AF_NETLINK, netlink(7): sockets that ask the kernel, by one of its protocols.
#pragma once

#include <deque>
#include <string>

#include "sentry/net/netlink_message.h"
#include "sentry/net/socket.h"

namespace sentry::net {

class NetlinkSocket final : public Socket {
 public:
  // Null for a protocol that is not there.
  static const NetlinkProtocol* find_protocol(int number);
  NetlinkSocket(int type, const NetlinkProtocol& protocol, int flags, const vfs::CredentialsRef& owner);
  ~NetlinkSocket() override;

  Result<> bind(const Address& address, const Caller& caller) override;
  Result<> connect(const Address& address, const Caller& caller, bool nonblocking) override;
  // Requests are answered at once: what receive() finds.
  Result<size_t> send(mm::Source& source, SendRequest& request) override;
  Result<Received> receive(mm::Sink& sink, const ReceiveRequest& request) override;
  Result<Address> name() override;
  Result<Address> peer_name() override;
  Result<> set_option(int level, int option, std::span<const std::byte> value, const Caller& caller) override;
  Result<std::vector<std::byte>> get_option(int level, int option, size_t room) override;
  Events poll() override;
  // A message from the kernel: lost, with ENOBUFS for the reader, where there is no room.
  void deliver(std::string datagram);

 protected:
  WaitQueue& queue() override { return queue_; }
  int take_error() override { return std::exchange(error_, 0); }

 private:
  Result<> take_port(uint32_t wanted);
  void handle(const nlmsghdr& header, std::span<const std::byte> payload, uint32_t uid);
  bool strict() const { return (option_bits_ >> NETLINK_GET_STRICT_CHK & 1) != 0; }
  void acknowledge(const nlmsghdr& header, int error);
  void go_on_dumping();

  const NetlinkProtocol& protocol_;
  // One at a time, as in netlink_dump_start(): its pieces are made as they are received.
  struct Dump {
    nlmsghdr header;
    std::vector<std::byte> payload;
    uint32_t uid;
    bool strict;
    size_t position;
  };
  std::optional<Dump> dump_;
  uint32_t preferred_port_ = 0;  // the caller's process id
  uint32_t port_ = 0;            // nl_pid; 0: not bound
  uint32_t groups_ = 0;          // multicast groups: nothing ever happens in them
  std::deque<std::string> inbox_;
  size_t queued_ = 0;
  int error_ = 0;
  uint32_t option_bits_ = 0;  // SOL_NETLINK's switches, by number
  WaitQueue queue_;
};

}  // namespace sentry::net
