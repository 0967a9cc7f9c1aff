// What TCP and UDP sockets share: addresses, ports, the options of ip(7) and ipv6(7).
#pragma once

#include <map>

#include "sentry/net/groups.h"
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
  Memberships memberships_;
  // Where what is for groups goes: lo once it has been named, else nowhere, for there is no default route.
  bool sends_to_groups() const { return group_index_ != 0; }

 private:
  Result<> change_membership(int level, int option, std::span<const std::byte> value);
  Result<> set_group_interface(int level, std::span<const std::byte> value);

  std::map<std::pair<int, int>, int> numbers_;
  int group_index_ = 0;
  in_addr group_interface_{};  // as IP_MULTICAST_IF was given it
};

}  // namespace sentry::net
