#include "sentry/net/route_messages.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#include <cerrno>

#include "sentry/net/interface.h"
#include "sentry/net/routes.h"

namespace sentry::net {
namespace {

// netdevice(7)
constexpr unsigned kLoopbackFlags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP;

void write_link(MessageWriter& writer, const nlmsghdr& request, uint16_t flags, uint32_t port) {
  writer.begin(request, RTM_NEWLINK, flags, port);
  ifinfomsg link{};
  link.ifi_type = ARPHRD_LOOPBACK;
  link.ifi_index = kLoopbackIndex;
  link.ifi_flags = kLoopbackFlags;
  writer.add(link);
  const uint8_t hardware[6] = {};
  writer.text(IFLA_IFNAME, kLoopbackName);
  writer.attribute(IFLA_TXQLEN, uint32_t{1000});
  writer.attribute(IFLA_OPERSTATE, uint8_t{0});
  writer.attribute(IFLA_LINKMODE, uint8_t{0});
  writer.attribute(IFLA_MTU, uint32_t{kLoopbackMtu});
  writer.attribute(IFLA_ADDRESS, hardware);
  writer.attribute(IFLA_BROADCAST, hardware);
  writer.text(IFLA_QDISC, "noqueue");
  writer.attribute(IFLA_STATS64, rtnl_link_stats64{});
  writer.attribute(IFLA_STATS, rtnl_link_stats{});
  writer.end();
}

void write_address(MessageWriter& writer, const nlmsghdr& request, uint32_t port, uint8_t family) {
  writer.begin(request, RTM_NEWADDR, NLM_F_MULTI, port);
  ifaddrmsg message{};
  message.ifa_family = family;
  message.ifa_prefixlen = family == AF_INET ? 8 : 128;
  message.ifa_flags = IFA_F_PERMANENT;
  message.ifa_scope = RT_SCOPE_HOST;
  message.ifa_index = kLoopbackIndex;
  writer.add(message);
  if (family == AF_INET) {
    const uint32_t loopback = htonl(INADDR_LOOPBACK);
    writer.attribute(IFA_ADDRESS, loopback);
    writer.attribute(IFA_LOCAL, loopback);
    writer.text(IFA_LABEL, kLoopbackName);
  } else {
    writer.attribute(IFA_ADDRESS, in6addr_loopback);
  }
  constexpr uint32_t kForever = ~uint32_t{0};
  writer.attribute(IFA_FLAGS, uint32_t{IFA_F_PERMANENT});
  writer.attribute(IFA_CACHEINFO, ifa_cacheinfo{kForever, kForever, 0, 0});
  writer.end();
}

// Whether a request for one link means lo: by index or by IFLA_IFNAME.
bool names_loopback(std::span<const std::byte> payload) {
  ifinfomsg link{};
  if (payload.size() < sizeof link) return false;
  std::memcpy(&link, payload.data(), sizeof link);
  if (link.ifi_index != 0) return link.ifi_index == kLoopbackIndex;
  const auto given = find_attribute(
      payload.subspan(std::min<size_t>(payload.size(), NLMSG_ALIGN(sizeof link))), IFLA_IFNAME);
  const std::string_view name(reinterpret_cast<const char*>(given.data()), given.size());
  return name.substr(0, name.find('\0')) == kLoopbackName;
}

}  // namespace

int answer_route_request(MessageWriter& writer, const NetlinkRequest& request, size_t&) {
  const nlmsghdr& header = request.header;
  const uint8_t family =
      request.payload.empty() ? uint8_t{AF_UNSPEC} : std::to_integer<uint8_t>(request.payload[0]);
  int error = 0;
  switch (header.nlmsg_type) {
    case RTM_GETLINK:
      if (request.dump) {
        write_link(writer, header, NLM_F_MULTI, request.port);
      } else if (names_loopback(request.payload)) {
        write_link(writer, header, 0, request.port);
      } else {
        error = ENODEV;
      }
      break;
    case RTM_GETADDR:
      if (!request.dump) error = EOPNOTSUPP;
      if (request.dump && (family == AF_UNSPEC || family == AF_INET))
        write_address(writer, header, request.port, AF_INET);
      if (request.dump && (family == AF_UNSPEC || family == AF_INET6))
        write_address(writer, header, request.port, AF_INET6);
      break;
    case RTM_GETROUTE:
      error = answer_route_query(writer, request);
      break;
    case RTM_GETRULE:
      if (!request.dump) error = EOPNOTSUPP;
      if (request.dump) write_rules(writer, request);
      break;
    case RTM_GETNEIGH:
    case RTM_GETQDISC:
    case RTM_GETNEIGHTBL:
    case RTM_GETADDRLABEL:
    case RTM_GETNSID:
    case RTM_GETNETCONF:
      if (!request.dump) error = EOPNOTSUPP;
      break;
    default:
      // rtnetlink numbers its messages in fours: new, delete, get, set. Only "get" is for everybody.
      error = header.nlmsg_type <= RTM_MAX && header.nlmsg_type % 4 != 2 ? EPERM : EOPNOTSUPP;
      break;
  }
  return error;
}

}  // namespace sentry::net
