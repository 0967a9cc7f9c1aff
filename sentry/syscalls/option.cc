// Socket options as strace(1) writes them: the name by the level, the value by the option.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "sentry/syscalls/arguments.h"

namespace sentry::syscalls {
namespace {

// Those of the socket level whose value is an int.
constexpr FlagName kIntegerNames[] = {{SO_DEBUG, "SO_DEBUG"},
                                      {SO_REUSEADDR, "SO_REUSEADDR"},
                                      {SO_TYPE, "SO_TYPE"},
                                      {SO_ERROR, "SO_ERROR"},
                                      {SO_DONTROUTE, "SO_DONTROUTE"},
                                      {SO_BROADCAST, "SO_BROADCAST"},
                                      {SO_SNDBUF, "SO_SNDBUF"},
                                      {SO_RCVBUF, "SO_RCVBUF"},
                                      {SO_SNDBUFFORCE, "SO_SNDBUFFORCE"},
                                      {SO_RCVBUFFORCE, "SO_RCVBUFFORCE"},
                                      {SO_KEEPALIVE, "SO_KEEPALIVE"},
                                      {SO_OOBINLINE, "SO_OOBINLINE"},
                                      {SO_NO_CHECK, "SO_NO_CHECK"},
                                      {SO_PRIORITY, "SO_PRIORITY"},
                                      {SO_REUSEPORT, "SO_REUSEPORT"},
                                      {SO_PASSCRED, "SO_PASSCRED"},
                                      {SO_RCVLOWAT, "SO_RCVLOWAT"},
                                      {SO_SNDLOWAT, "SO_SNDLOWAT"},
                                      {SO_TIMESTAMP_OLD, "SO_TIMESTAMP_OLD"},
                                      {SO_ACCEPTCONN, "SO_ACCEPTCONN"},
                                      {SO_PASSSEC, "SO_PASSSEC"},
                                      {SO_TIMESTAMPNS_OLD, "SO_TIMESTAMPNS_OLD"},
                                      {SO_MARK, "SO_MARK"},
                                      {SO_PROTOCOL, "SO_PROTOCOL"},
                                      {SO_DOMAIN, "SO_DOMAIN"},
                                      {SO_RXQ_OVFL, "SO_RXQ_OVFL"},
                                      {SO_PEEK_OFF, "SO_PEEK_OFF"},
                                      {SO_BUSY_POLL, "SO_BUSY_POLL"},
                                      {SO_INCOMING_CPU, "SO_INCOMING_CPU"},
                                      {SO_ZEROCOPY, "SO_ZEROCOPY"},
                                      {SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE"},
                                      {SO_BINDTOIFINDEX, "SO_BINDTOIFINDEX"},
                                      {SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL"},
                                      {SO_BUF_LOCK, "SO_BUF_LOCK"},
                                      {SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW"},
                                      {SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW"},
                                      {0, nullptr}};
constexpr FlagName kOtherNames[] = {{SO_LINGER, "SO_LINGER"},
                                    {SO_PEERCRED, "SO_PEERCRED"},
                                    {SO_RCVTIMEO_OLD, "SO_RCVTIMEO_OLD"},
                                    {SO_SNDTIMEO_OLD, "SO_SNDTIMEO_OLD"},
                                    {SO_BINDTODEVICE, "SO_BINDTODEVICE"},
                                    {SO_ATTACH_FILTER, "SO_ATTACH_FILTER"},
                                    {SO_DETACH_FILTER, "SO_DETACH_FILTER"},
                                    {SO_PEERNAME, "SO_PEERNAME"},
                                    {SO_PEERSEC, "SO_PEERSEC"},
                                    {SO_TIMESTAMPING_OLD, "SO_TIMESTAMPING_OLD"},
                                    {SO_COOKIE, "SO_COOKIE"},
                                    {SO_MEMINFO, "SO_MEMINFO"},
                                    {SO_PEERGROUPS, "SO_PEERGROUPS"},
                                    {SO_RCVTIMEO_NEW, "SO_RCVTIMEO_NEW"},
                                    {SO_SNDTIMEO_NEW, "SO_SNDTIMEO_NEW"},
                                    {0, nullptr}};
constexpr FlagName kInternetNames[] = {{IP_TOS, "IP_TOS"},
                                       {IP_TTL, "IP_TTL"},
                                       {IP_HDRINCL, "IP_HDRINCL"},
                                       {IP_OPTIONS, "IP_OPTIONS"},
                                       {IP_RETOPTS, "IP_RETOPTS"},
                                       {IP_PKTINFO, "IP_PKTINFO"},
                                       {IP_MTU_DISCOVER, "IP_MTU_DISCOVER"},
                                       {IP_RECVERR, "IP_RECVERR"},
                                       {IP_RECVTTL, "IP_RECVTTL"},
                                       {IP_RECVTOS, "IP_RECVTOS"},
                                       {IP_MTU, "IP_MTU"},
                                       {IP_FREEBIND, "IP_FREEBIND"},
                                       {IP_TRANSPARENT, "IP_TRANSPARENT"},
                                       {IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"},
                                       {IP_MULTICAST_IF, "IP_MULTICAST_IF"},
                                       {IP_MULTICAST_TTL, "IP_MULTICAST_TTL"},
                                       {IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"},
                                       {IP_ADD_MEMBERSHIP, "IP_ADD_MEMBERSHIP"},
                                       {IP_DROP_MEMBERSHIP, "IP_DROP_MEMBERSHIP"},
                                       {0, nullptr}};
constexpr FlagName kInternet6Names[] = {{IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"},
                                        {IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF"},
                                        {IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"},
                                        {IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"},
                                        {IPV6_ADD_MEMBERSHIP, "IPV6_ADD_MEMBERSHIP"},
                                        {IPV6_DROP_MEMBERSHIP, "IPV6_DROP_MEMBERSHIP"},
                                        {IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"},
                                        {IPV6_MTU, "IPV6_MTU"},
                                        {IPV6_RECVERR, "IPV6_RECVERR"},
                                        {IPV6_V6ONLY, "IPV6_V6ONLY"},
                                        {IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"},
                                        {IPV6_PKTINFO, "IPV6_PKTINFO"},
                                        {IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"},
                                        {IPV6_RECVTCLASS, "IPV6_RECVTCLASS"},
                                        {IPV6_TCLASS, "IPV6_TCLASS"},
                                        {0, nullptr}};
constexpr FlagName kTcpNames[] = {{TCP_NODELAY, "TCP_NODELAY"},
                                  {TCP_MAXSEG, "TCP_MAXSEG"},
                                  {TCP_CORK, "TCP_CORK"},
                                  {TCP_KEEPIDLE, "TCP_KEEPIDLE"},
                                  {TCP_KEEPINTVL, "TCP_KEEPINTVL"},
                                  {TCP_KEEPCNT, "TCP_KEEPCNT"},
                                  {TCP_SYNCNT, "TCP_SYNCNT"},
                                  {TCP_LINGER2, "TCP_LINGER2"},
                                  {TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"},
                                  {TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP"},
                                  {TCP_INFO, "TCP_INFO"},
                                  {TCP_QUICKACK, "TCP_QUICKACK"},
                                  {TCP_CONGESTION, "TCP_CONGESTION"},
                                  {TCP_MD5SIG, "TCP_MD5SIG"},
                                  {TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"},
                                  {TCP_THIN_DUPACK, "TCP_THIN_DUPACK"},
                                  {TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"},
                                  {TCP_FASTOPEN, "TCP_FASTOPEN"},
                                  {TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"},
                                  {TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT"},
                                  {TCP_ULP, "TCP_ULP"},
                                  {TCP_INQ, "TCP_INQ"},
                                  {0, nullptr}};
constexpr FlagName kUdpNames[] = {
    {UDP_CORK, "UDP_CORK"}, {UDP_SEGMENT, "UDP_SEGMENT"}, {UDP_GRO, "UDP_GRO"}, {0, nullptr}};

const char* name_of(int option, const FlagName* names) {
  for (; names->name != nullptr; ++names)
    if (names->bits == static_cast<uint64_t>(option)) return names->name;
  return nullptr;
}

bool is_integer(int level, int option) {
  return level == SOL_SOCKET && name_of(option, kIntegerNames) != nullptr;
}

template <typename T>
std::string integer_at(Task& task, uint64_t place) {
  const Result<T> read = task.memory().read(GuestPtr<const T>(place));
  return read.ok() ? fmt::format("[{}]", *read) : text::address(place);
}

// The int members of a struct that came, the last of them perhaps in part.
std::string members(Task& task, uint64_t place, size_t length, std::initializer_list<const char*> names) {
  std::string out = "{";
  for (const char* name : names) {
    if (length == 0) break;
    const size_t size = std::min(length, sizeof(int));
    const Result<int> value = task.memory().read(GuestPtr<const int>(place));
    if (size == sizeof(int) && !value.ok()) return text::address(place);
    out += fmt::format("{}{}={}", out.size() == 1 ? "" : ", ", name,
                       size == sizeof(int) ? text::integer(*value) : text::binary_data(task, place, size));
    place += size;
    length -= size;
  }
  return out + "}";
}

int level_of(const CallView& call) { return static_cast<int>(call.raw[1]); }
int option_of(const CallView& call) { return static_cast<int>(call.raw[2]); }

}  // namespace

std::string OptionName::print(const CallView& call, size_t index) {
  const int option = static_cast<int>(call.raw[index]);
  struct Level {
    int level;
    const FlagName* names;
    const char* unknown;
  };
  static constexpr Level kLevels[] = {
      {SOL_SOCKET, kIntegerNames, nullptr},   {SOL_SOCKET, kOtherNames, "SO_???"},
      {IPPROTO_IP, kInternetNames, "IP_???"}, {IPPROTO_IPV6, kInternet6Names, "IPV6_???"},
      {IPPROTO_TCP, kTcpNames, "TCP_???"},    {IPPROTO_UDP, kUdpNames, "UDP_???"}};
  for (const Level& level : kLevels) {
    if (level.level != level_of(call)) continue;
    if (const char* name = name_of(option, level.names); name != nullptr) return name;
    if (level.unknown != nullptr) return fmt::format("{:#x} /* {} */", option, level.unknown);
  }
  return text::integer(option);
}

std::string InOption::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index];
  const int length = static_cast<int>(call.raw[index + 1]);
  const bool whole = length >= static_cast<int>(sizeof(int));
  if (place == 0 || length < 0) return text::address(place);
  if (is_integer(level_of(call), option_of(call)))
    return whole ? integer_at<int>(call.task, place) : text::address(place);
  if (level_of(call) == SOL_SOCKET && option_of(call) == SO_LINGER) {
    if (length < static_cast<int>(sizeof(linger))) return text::address(place);
    return members(call.task, place, sizeof(linger), {"l_onoff", "l_linger"});
  }
  if (length == static_cast<int>(sizeof(int))) return integer_at<int>(call.task, place);
  return text::data(call.task, place, static_cast<uint64_t>(length));
}

std::string OutOption::print(const CallView& call, size_t index) {
  const uint64_t place = call.raw[index];
  const Result<int> came = call.task.memory().read(GuestPtr<const int>(call.raw[index + 1]));
  if (!call.succeeded() || !came.ok() || *came <= 0) return text::address(place);
  const auto length = static_cast<size_t>(*came);
  const int level = level_of(call), option = option_of(call);
  if (level == SOL_SOCKET && option == SO_ERROR && length < sizeof(int))
    return text::binary_data(call.task, place, length);
  if (level == SOL_SOCKET && option == SO_LINGER)
    return members(call.task, place, length, {"l_onoff", "l_linger"});
  if (level == SOL_SOCKET && option == SO_PEERCRED)
    return members(call.task, place, length, {"pid", "uid", "gid"});
  if (length == sizeof(int)) return integer_at<int>(call.task, place);
  return text::data(call.task, place, length);
}

}  // namespace sentry::syscalls
