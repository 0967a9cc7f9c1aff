// What the sandbox's sockets share, a network namespace: abstract names and, for the loopback, ports.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "sentry/net/groups.h"
#include "sentry/net/port_table.h"

namespace sentry::net {

class UnixEndpoint;

class Stack {
 public:
  // The one of this process.
  static Stack& current();

  // unix(7) abstract names, each type for itself. claim: false if somebody has it.
  bool claim_abstract(int type, const std::string& name, const std::shared_ptr<UnixEndpoint>& endpoint);
  std::shared_ptr<UnixEndpoint> find_abstract(int type, const std::string& name) const;
  void release_abstract(int type, const std::string& name,
                        const UnixEndpoint& holder);  // if it is the holder's
  PortTable& tcp_ports() { return tcp_ports_; }
  PortTable& udp_ports() { return udp_ports_; }
  GroupCounts& groups() { return groups_; }
  std::set<UnixEndpoint*>& unix_endpoints() { return unix_endpoints_; }
  std::set<uint32_t>& netlink_ports() { return netlink_ports_; }
  uint32_t next_netlink_port() { return --next_netlink_port_; }
  unsigned next_automatic_name() { return next_automatic_name_++; }

 private:
  std::map<std::pair<int, std::string>, std::weak_ptr<UnixEndpoint>> abstract_;
  PortTable tcp_ports_{false}, udp_ports_{true};
  GroupCounts groups_;
  std::set<UnixEndpoint*> unix_endpoints_;  // those with a description
  std::set<uint32_t> netlink_ports_;
  uint32_t next_netlink_port_ = 0xffff'f000;
  unsigned next_automatic_name_ = 0;
};

}  // namespace sentry::net
