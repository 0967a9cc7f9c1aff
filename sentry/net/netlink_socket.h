// AF_NETLINK with NETLINK_ROUTE, netlink(7), rtnetlink(7): enough to ask what interfaces, addresses and
// routes there are.
#pragma once

#include <linux/netlink.h>

#include <deque>
#include <string>

#include "sentry/net/socket.h"

namespace sentry::net {

class NetlinkSocket final : public Socket {
 public:
  NetlinkSocket(int type, int flags, const vfs::CredentialsRef& owner);
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
  void handle(const nlmsghdr& request, std::span<const std::byte> payload);

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
