#include "sentry/net/routes.h"

#include <linux/fib_rules.h>
#include <netinet/in.h>

#include <cerrno>
#include <optional>

#include "sentry/net/interface.h"

namespace sentry::net {
namespace {

// The routes that lo brings with it once it is up. They are in the table "local"; "main" is empty.
struct Route {
  uint32_t destination;
  uint8_t prefix, type, scope;
  bool matches(uint32_t address) const { return (address ^ destination) >> (32 - prefix) == 0; }
};
constexpr Route kRoutes[] = {{0x7f000000, 8, RTN_LOCAL, RT_SCOPE_HOST},
                             {INADDR_LOOPBACK, 32, RTN_LOCAL, RT_SCOPE_HOST},
                             {0x7fffffff, 32, RTN_BROADCAST, RT_SCOPE_LINK}};
constexpr uint8_t kPrefix6 = 128;                                         // of the only route of IPv6, to ::1
constexpr uint32_t kLocalFlag = 0x80000000, kBroadcastFlag = 0x10000000;  // RTCF_LOCAL, RTCF_BROADCAST

// What a look-up says it has looked in: the two tables of IPv4 are one until somebody adds rules.
constexpr uint8_t kLookupTable = RT_TABLE_MAIN;

const Route* find_route(uint32_t address) {
  const Route* best = nullptr;
  for (const Route& route : kRoutes)
    if (route.matches(address) && (best == nullptr || best->prefix < route.prefix)) best = &route;
  return best;
}

rtmsg route_header(uint8_t family, uint8_t table, uint8_t prefix, uint8_t type, uint8_t scope) {
  rtmsg message{};
  message.rtm_family = family;
  message.rtm_dst_len = prefix;
  message.rtm_table = table;
  message.rtm_protocol = RTPROT_KERNEL;
  message.rtm_scope = scope;
  message.rtm_type = type;
  return message;
}

void write_route(MessageWriter& writer, const NetlinkRequest& request, uint16_t flags, uint8_t table,
                 const Route& route) {
  writer.begin(request.header, RTM_NEWROUTE, flags, request.port);
  writer.add(route_header(AF_INET, table, route.prefix, route.type, route.scope));
  writer.attribute(RTA_TABLE, uint32_t{table});
  writer.attribute(RTA_DST, htonl(route.destination));
  writer.attribute(RTA_PREFSRC, htonl(uint32_t{INADDR_LOOPBACK}));
  writer.attribute(RTA_OIF, uint32_t{kLoopbackIndex});
  writer.end();
}

// `found`: it answers a question about a destination, and so names a source.
void write_route6(MessageWriter& writer, const NetlinkRequest& request, uint16_t flags, bool found) {
  writer.begin(request.header, RTM_NEWROUTE, flags, request.port);
  rtmsg message = route_header(AF_INET6, RT_TABLE_LOCAL, kPrefix6, RTN_LOCAL, RT_SCOPE_UNIVERSE);
  if (found) message.rtm_src_len = kPrefix6;
  writer.add(message);
  writer.attribute(RTA_TABLE, uint32_t{RT_TABLE_LOCAL});
  writer.attribute(RTA_DST, in6addr_loopback);
  if (found) {
    writer.attribute(RTA_SRC, in6addr_any);
    writer.attribute(RTA_PREFSRC, in6addr_loopback);
  }
  writer.attribute(RTA_PRIORITY, uint32_t{0});
  writer.attribute(RTA_OIF, uint32_t{kLoopbackIndex});
  writer.attribute(RTA_CACHEINFO, rta_cacheinfo{});
  writer.attribute(RTA_PREF, uint8_t{0});
  writer.end();
}

// The attributes behind the header of a question about routes.
std::span<const std::byte> attributes_of(const NetlinkRequest& request) {
  return request.payload.subspan(std::min<size_t>(request.payload.size(), NLMSG_ALIGN(sizeof(rtmsg))));
}

// An attribute as T; nullopt if it is absent or too short.
template <typename T>
std::optional<T> attribute_as(const NetlinkRequest& request, uint16_t type) {
  const auto bytes = find_attribute(attributes_of(request), type);
  T value;
  if (bytes.size() < sizeof value) return std::nullopt;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Only who has asked for strict checks (NETLINK_GET_STRICT_CHK) has a dump filtered.
int dump_routes(MessageWriter& writer, const NetlinkRequest& request, const rtmsg& asked) {
  const bool four = asked.rtm_family == AF_UNSPEC || asked.rtm_family == AF_INET;
  const bool six = asked.rtm_family == AF_UNSPEC || asked.rtm_family == AF_INET6;
  if ((asked.rtm_flags & RTM_F_CLONED) != 0) return 0;  // a cache that Linux has no more
  uint16_t flags = NLM_F_MULTI;
  uint8_t type = RTN_UNSPEC;
  if (request.strict) {
    const uint32_t table = attribute_as<uint32_t>(request, RTA_TABLE).value_or(RT_TABLE_UNSPEC);
    const int device = attribute_as<int>(request, RTA_OIF).value_or(0);
    if (device != 0 && device != kLoopbackIndex) return ENODEV;
    if (table != RT_TABLE_UNSPEC && table != RT_TABLE_LOCAL && table != RT_TABLE_MAIN)
      return asked.rtm_family == AF_UNSPEC ? 0 : ENOENT;
    if (table == RT_TABLE_MAIN) return 0;
    if (asked.rtm_protocol != RTPROT_UNSPEC && asked.rtm_protocol != RTPROT_KERNEL) return 0;
    type = asked.rtm_type;
    if (table != 0 || device != 0 || asked.rtm_protocol != 0 || type != 0) flags |= NLM_F_DUMP_FILTERED;
  }
  for (const Route& route : kRoutes)
    if (four && (type == RTN_UNSPEC || type == route.type))
      write_route(writer, request, flags, RT_TABLE_LOCAL, route);
  if (six && (type == RTN_UNSPEC || type == RTN_LOCAL)) write_route6(writer, request, flags, false);
  return 0;
}

// "ip route get": what a packet to RTA_DST would meet, as inet_rtm_getroute() puts it.
int look_up(MessageWriter& writer, const NetlinkRequest& request, const rtmsg& asked) {
  const uint32_t destination = attribute_as<uint32_t>(request, RTA_DST).value_or(INADDR_ANY);
  const uint32_t source = attribute_as<uint32_t>(request, RTA_SRC).value_or(INADDR_ANY);
  if (attribute_as<uint32_t>(request, RTA_IIF).value_or(0) != 0) return EINVAL;  // nothing comes from outside
  const Route* const from = find_route(ntohl(source));
  if (source != INADDR_ANY && (from == nullptr || from->type != RTN_LOCAL)) return ENETUNREACH;
  const Route* const route = find_route(destination == INADDR_ANY ? INADDR_LOOPBACK : ntohl(destination));
  if (route == nullptr) return ENETUNREACH;
  if ((asked.rtm_flags & RTM_F_FIB_MATCH) != 0) {
    write_route(writer, request, 0, kLookupTable, *route);
    return 0;
  }
  writer.begin(request.header, RTM_NEWROUTE, 0, request.port);
  rtmsg message{};
  message.rtm_family = AF_INET;
  message.rtm_dst_len = 32;
  message.rtm_src_len = source != INADDR_ANY ? 32 : 0;
  message.rtm_table = kLookupTable;
  message.rtm_type = route->type;
  message.rtm_flags = RTM_F_CLONED | kLocalFlag | (route->type == RTN_BROADCAST ? kBroadcastFlag : 0);
  writer.add(message);
  writer.attribute(RTA_TABLE, uint32_t{kLookupTable});
  writer.attribute(RTA_DST, destination);
  if (source != INADDR_ANY) writer.attribute(RTA_SRC, source);
  writer.attribute(RTA_OIF, uint32_t{kLoopbackIndex});
  if (source == INADDR_ANY) writer.attribute(RTA_PREFSRC, htonl(uint32_t{INADDR_LOOPBACK}));
  writer.attribute(RTA_UID, attribute_as<uint32_t>(request, RTA_UID).value_or(request.uid));
  writer.attribute(RTA_CACHEINFO, rta_cacheinfo{});
  writer.end();
  return 0;
}

int look_up6(MessageWriter& writer, const NetlinkRequest& request, const rtmsg& asked) {
  const in6_addr destination = attribute_as<in6_addr>(request, RTA_DST).value_or(in6addr_any);
  if (std::memcmp(&destination, &in6addr_loopback, sizeof destination) != 0) return ENETUNREACH;
  write_route6(writer, request, 0, (asked.rtm_flags & RTM_F_FIB_MATCH) == 0);
  return 0;
}

void write_rule(MessageWriter& writer, const NetlinkRequest& request, uint8_t family, uint8_t table,
                uint32_t priority) {
  writer.begin(request.header, RTM_NEWRULE, NLM_F_MULTI, request.port);
  fib_rule_hdr rule{};
  rule.family = family;
  rule.table = table;
  rule.action = FR_ACT_TO_TBL;
  writer.add(rule);
  writer.attribute(FRA_TABLE, uint32_t{table});
  writer.attribute(FRA_SUPPRESS_PREFIXLEN, ~uint32_t{0});
  writer.attribute(FRA_PROTOCOL, uint8_t{RTPROT_KERNEL});
  if (priority != 0) writer.attribute(FRA_PRIORITY, priority);
  writer.end();
}

}  // namespace

int answer_route_query(MessageWriter& writer, const NetlinkRequest& request) {
  rtmsg asked{};
  if (!request.read(asked) && !request.payload.empty())
    asked.rtm_family = std::to_integer<uint8_t>(request.payload[0]);  // rtgenmsg: the family alone
  if (request.dump) return dump_routes(writer, request, asked);
  const int device = attribute_as<int>(request, RTA_OIF).value_or(0);
  if (device != 0 && device != kLoopbackIndex) return asked.rtm_family == AF_INET6 ? ENETUNREACH : ENODEV;
  switch (asked.rtm_family) {
    case AF_INET:
      return look_up(writer, request, asked);
    case AF_INET6:
      return look_up6(writer, request, asked);
    default:
      return EOPNOTSUPP;
  }
}

void write_rules(MessageWriter& writer, const NetlinkRequest& request) {
  constexpr uint32_t kMain = 32766, kDefault = 32767;  // priorities
  const uint8_t family =
      request.payload.empty() ? uint8_t{AF_UNSPEC} : std::to_integer<uint8_t>(request.payload[0]);
  for (const uint8_t each : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
    if (family != AF_UNSPEC && family != each) continue;
    write_rule(writer, request, each, RT_TABLE_LOCAL, 0);
    write_rule(writer, request, each, RT_TABLE_MAIN, kMain);
    if (each == AF_INET) write_rule(writer, request, each, RT_TABLE_DEFAULT, kDefault);
  }
}

}  // namespace sentry::net
