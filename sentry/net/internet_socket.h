// What TCP and UDP sockets share: addresses, ports, the options of ip(7) and ipv6(7).
#pragma once

#include <map>

#include "sentry/net/port_table.h"
#include "sentry/net/socket.h"

namespace sentry::net {

class InternetSocket : public Socket {
 public:
  InternetSocket(int family, int type, int protocol, int flags, const vfs::CredentialsRef& owner)
      : Socket(family, type, protocol, flags, owner) {}

  Result<> bind(const Address& address, const Caller& caller) override;
  Result<Address> name() override { return to_address(user().local, family()); }
  Result<> set_option(int level, int option, std::span<const std::byte> value, const Caller& caller) override;
  Result<std::vector<std::byte>> get_option(int level, int option, size_t room) override;

 protected:
  virtual PortUser& user() = 0;
  virtual PortTable& ports() = 0;
  // Whether bind(2) is too late: EINVAL.
  virtual bool has_begun() const = 0;

  // An ephemeral port, if there is none yet.
  Result<> bind_automatically();
  void unbind();
  // Where packets to `to` go: 0.0.0.0 and :: are this host. ENETUNREACH for what is not on the loopback.
  Result<InternetAddress> route(InternetAddress to) const;
  // An option's value as a number, as set or by default.
  int option_number(int level, int option) const;

  bool bound_by_caller_ = false;  // and not automatically

 private:
  std::map<std::pair<int, int>, int> numbers_;
};

}  // namespace sentry::net
