// udp(7) and what ip(7) tells of datagrams: corking, segments, broadcast, groups, ancillary data.
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

sockaddr_in address(uint16_t port, const char* host = "127.0.0.1") {
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  inet_pton(AF_INET, host, &in.sin_addr);
  return in;
}
const sockaddr* generic(const sockaddr_in& in) { return reinterpret_cast<const sockaddr*>(&in); }

void set_option(int fd, int level, int option, int value) {
  OK(setsockopt(fd, level, option, &value, sizeof value));
}

Fd bound(const char* host = "127.0.0.1", uint16_t port = 0) {
  Fd fd(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  const sockaddr_in in = address(port, host);
  OK(bind(fd, generic(in), sizeof in));
  return fd;
}

uint16_t port_of(int fd) {
  sockaddr_in in = {};
  socklen_t length = sizeof in;
  OK(getsockname(fd, reinterpret_cast<sockaddr*>(&in), &length));
  return ntohs(in.sin_port);
}

Fd connected_to(int fd) {
  Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  const sockaddr_in in = address(port_of(fd));
  OK(connect(sender, generic(in), sizeof in));
  return sender;
}

std::string next(int fd, int flags = MSG_DONTWAIT) {
  char buffer[4096];
  const ssize_t count = recv(fd, buffer, sizeof buffer, flags);
  if (count < 0) return errno == EAGAIN ? "nothing" : check::show_errno(errno);
  return std::string(buffer, static_cast<size_t>(count));
}

// The bytes of one ancillary message; empty if it is not there.
std::string receive_control(int fd, int level, int type) {
  char bytes[16], control[512];
  iovec piece = {bytes, sizeof bytes};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  OK(recvmsg(fd, &message, 0));
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c))
    if (c->cmsg_level == level && c->cmsg_type == type)
      return std::string(reinterpret_cast<char*>(CMSG_DATA(c)), c->cmsg_len - CMSG_LEN(0));
  return {};
}

// Sends `text` with one ancillary message, of `size` bytes.
ssize_t send_control(int fd, const char* text, int level, int type, const void* value, size_t size) {
  alignas(cmsghdr) char control[64] = {};
  iovec piece = {const_cast<char*>(text), strlen(text)};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(header), value, size);
  return sendmsg(fd, &message, 0);
}

template <typename T>
T as(const std::string& bytes) {
  CHECK_EQ(bytes.size(), sizeof(T));
  T value;
  memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

TEST(more_makes_one_datagram) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  CHECK_EQ(OK(send(sender, "ab", 2, MSG_MORE)), 2);
  CHECK_EQ(OK(send(sender, "cd", 2, MSG_MORE)), 2);
  CHECK_EQ(next(receiver), "nothing");
  CHECK_EQ(OK(send(sender, "ef", 2, 0)), 2);
  CHECK_EQ(next(receiver), "abcdef");
  CHECK_EQ(OK(send(sender, "gh", 2, 0)), 2);
  CHECK_EQ(next(receiver), "gh");
}

TEST(more_keeps_the_first_destination) {
  const Fd receiver = bound(), other = bound();
  Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  const sockaddr_in first = address(port_of(receiver)), second = address(port_of(other));
  OK(sendto(sender, "a", 1, MSG_MORE, generic(first), sizeof first));
  OK(sendto(sender, "b", 1, 0, generic(second), sizeof second));
  CHECK_EQ(next(receiver), "ab");
  CHECK_EQ(next(other), "nothing");
}

TEST(cork) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  set_option(sender, IPPROTO_UDP, UDP_CORK, 1);
  OK(send(sender, "one", 3, 0));
  OK(write(sender, " two", 4));
  CHECK_EQ(next(receiver), "nothing");
  set_option(sender, IPPROTO_UDP, UDP_CORK, 0);
  CHECK_EQ(next(receiver), "one two");
  OK(send(sender, "three", 5, 0));
  CHECK_EQ(next(receiver), "three");
}

TEST(cork_has_room_for_one_datagram) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  const std::string big(60'000, 'x');
  OK(send(sender, big.data(), big.size(), MSG_MORE));
  FAILS(EMSGSIZE, send(sender, big.data(), big.size(), 0));
  OK(send(sender, "later", 5, 0));
  CHECK_EQ(next(receiver), "later");  // what had been gathered is gone
}

TEST(closing_sends_no_gathered_bytes) {
  const Fd receiver = bound();
  Fd sender = connected_to(receiver);
  OK(send(sender, "ab", 2, MSG_MORE));
  sender.close();
  CHECK_EQ(next(receiver), "nothing");
}

TEST(segments) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  set_option(sender, IPPROTO_UDP, UDP_SEGMENT, 4);
  OK(send(sender, "abcdefghij", 10, 0));
  CHECK_EQ(next(receiver), "abcd");
  CHECK_EQ(next(receiver), "efgh");
  CHECK_EQ(next(receiver), "ij");
  CHECK_EQ(next(receiver), "nothing");
  set_option(sender, IPPROTO_UDP, UDP_SEGMENT, 0);
  OK(send(sender, "abcdefghij", 10, 0));
  CHECK_EQ(next(receiver), "abcdefghij");

  const uint16_t size = 3;
  OK(send_control(sender, "123456", IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size));
  CHECK_EQ(next(receiver), "123");
  CHECK_EQ(next(receiver), "456");
}

TEST(too_many_segments) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  set_option(sender, IPPROTO_UDP, UDP_SEGMENT, 1);
  const std::string big(200, 'x');
  FAILS(EINVAL, send(sender, big.data(), big.size(), 0));
  int value = 65536;
  FAILS(EINVAL, setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof value));
}

TEST(broadcast_needs_permission) {
  const Fd any = bound("0.0.0.0");
  const Fd one = bound("127.0.0.1", port_of(any)), other = bound("127.255.255.255", port_of(any));
  Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  const sockaddr_in to = address(port_of(any), "127.255.255.255");
  FAILS(EACCES, sendto(sender, "x", 1, 0, generic(to), sizeof to));
  FAILS(EACCES, connect(sender, generic(to), sizeof to));
  set_option(sender, SOL_SOCKET, SO_BROADCAST, 1);
  OK(sendto(sender, "x", 1, 0, generic(to), sizeof to));
  CHECK_EQ(next(any), "x");
  CHECK_EQ(next(other), "x");
  CHECK_EQ(next(one), "nothing");
}

namespace {

const char kGroup[] = "239.255.77.1";

ip_mreq membership(const char* group = kGroup) {
  ip_mreq request = {};
  inet_pton(AF_INET, group, &request.imr_multiaddr);
  request.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
  return request;
}

void send_to_group(int sender, uint16_t port, const char* text, const char* group = kGroup) {
  const sockaddr_in to = address(port, group);
  OK(sendto(sender, text, strlen(text), 0, generic(to), sizeof to));
}

Fd group_sender() {
  Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  const in_addr loopback = {htonl(INADDR_LOOPBACK)};
  OK(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof loopback));
  return sender;
}

}  // namespace

TEST(groups) {
  const Fd member = bound("0.0.0.0");
  const Fd second = bound(kGroup, port_of(member)), elsewhere = bound("127.0.0.1", port_of(member));
  const ip_mreq group = membership();
  for (const int fd : {int{member}, int{second}, int{elsewhere}})
    OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  FAILS(EADDRINUSE, setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  const Fd sender = group_sender();
  send_to_group(sender, port_of(member), "hello");
  CHECK_EQ(next(member), "hello");
  CHECK_EQ(next(second), "hello");
  CHECK_EQ(next(elsewhere), "nothing");  // bound to another address
  OK(setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
  FAILS(EADDRNOTAVAIL, setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
  // IP_MULTICAST_ALL: what others on this host have joined.
  send_to_group(sender, port_of(member), "again");
  CHECK_EQ(next(member), "again");
  set_option(member, IPPROTO_IP, IP_MULTICAST_ALL, 0);
  send_to_group(sender, port_of(member), "last");
  CHECK_EQ(next(member), "nothing");
}

TEST(groups_that_nobody_joined) {
  const Fd receiver = bound("0.0.0.0");
  const Fd sender = group_sender();
  send_to_group(sender, port_of(receiver), "x", "239.255.77.9");
  CHECK_EQ(next(receiver), "nothing");
}

// What goes out by lo comes back by it, whatever IP_MULTICAST_LOOP says.
TEST(group_without_loop) {
  const Fd member = bound("0.0.0.0");
  const ip_mreq group = membership();
  OK(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  const Fd sender = group_sender();
  set_option(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
  send_to_group(sender, port_of(member), "heard");
  CHECK_EQ(next(member), "heard");
}

TEST(group_errors) {
  Fd fd(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  ip_mreq group = membership("127.0.0.1");
  FAILS(EINVAL, setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  group = membership();
  FAILS(EINVAL, setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, 4));
  group.imr_interface.s_addr = htonl(0xc0000201);  // 192.0.2.1, nobody's
  FAILS(ENODEV, setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  const in_addr nobodys = {htonl(0xc0000201)};
  FAILS(EADDRNOTAVAIL, setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &nobodys, sizeof nobodys));
  Fd stream(OK(socket(AF_INET, SOCK_STREAM, 0)));
  group = membership();
  FAILS(EPROTO, setsockopt(stream, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
}

TEST(group_by_index) {
  const Fd member = bound("0.0.0.0");
  ip_mreqn group = {};
  inet_pton(AF_INET, kGroup, &group.imr_multiaddr);
  group.imr_ifindex = static_cast<int>(if_nametoindex("lo"));
  OK(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  OK(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof group));
  send_to_group(sender, port_of(member), "by index");
  CHECK_EQ(next(member), "by index");
}

TEST(what_came_with_a_datagram) {
  const Fd receiver = bound("0.0.0.0"), sender = connected_to(receiver);
  set_option(sender, IPPROTO_IP, IP_TOS, 0x28);
  set_option(sender, IPPROTO_IP, IP_TTL, 33);
  set_option(receiver, IPPROTO_IP, IP_RECVTOS, 1);
  OK(send(sender, "x", 1, 0));
  CHECK_EQ(as<uint8_t>(receive_control(receiver, IPPROTO_IP, IP_TOS)), 0x28);
  set_option(receiver, IPPROTO_IP, IP_RECVTTL, 1);
  OK(send(sender, "x", 1, 0));
  CHECK_EQ(as<int>(receive_control(receiver, IPPROTO_IP, IP_TTL)), 33);
  set_option(receiver, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
  OK(send(sender, "x", 1, 0));
  const auto original = as<sockaddr_in>(receive_control(receiver, IPPROTO_IP, IP_ORIGDSTADDR));
  CHECK_EQ(original.sin_family, AF_INET);
  CHECK_EQ(ntohs(original.sin_port), port_of(receiver));
  CHECK_EQ(ntohl(original.sin_addr.s_addr), INADDR_LOOPBACK);
}

TEST(tos_and_ttl_of_one_message) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  set_option(receiver, IPPROTO_IP, IP_RECVTOS, 1);
  const int tos = 0x10;
  OK(send_control(sender, "x", IPPROTO_IP, IP_TOS, &tos, sizeof tos));
  CHECK_EQ(as<uint8_t>(receive_control(receiver, IPPROTO_IP, IP_TOS)), 0x10);
  OK(send(sender, "x", 1, 0));
  CHECK_EQ(as<uint8_t>(receive_control(receiver, IPPROTO_IP, IP_TOS)), 0);
}

TEST(peek_offset) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  OK(send(sender, "abcdef", 6, 0));
  OK(send(sender, "ghi", 3, 0));
  set_option(receiver, SOL_SOCKET, SO_PEEK_OFF, 2);
  char buffer[2];
  CHECK_EQ(OK(recv(receiver, buffer, sizeof buffer, MSG_PEEK)), 2);
  CHECK_EQ(std::string(buffer, 2), "cd");
  CHECK_EQ(OK(recv(receiver, buffer, sizeof buffer, MSG_PEEK)), 2);
  CHECK_EQ(std::string(buffer, 2), "ef");
  CHECK_EQ(next(receiver, MSG_PEEK | MSG_DONTWAIT), "ghi");
  CHECK_EQ(next(receiver, MSG_PEEK | MSG_DONTWAIT), "nothing");
  CHECK_EQ(next(receiver), "abcdef");
  int offset = -1;
  socklen_t length = sizeof offset;
  OK(getsockopt(receiver, SOL_SOCKET, SO_PEEK_OFF, &offset, &length));
  CHECK_EQ(offset, 3);
}

// SO_SELECT_ERR_QUEUE: what waits in the error queue is exceptional for poll(2) too.
TEST(error_queue_as_exceptional) {
  const uint16_t closed = port_of(bound());
  const Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  set_option(sender, IPPROTO_IP, IP_RECVERR, 1);
  const sockaddr_in to = address(closed);
  for (const int on : {0, 1}) {
    set_option(sender, SOL_SOCKET, SO_SELECT_ERR_QUEUE, on);
    int value = -1;
    socklen_t length = sizeof value;
    OK(getsockopt(sender, SOL_SOCKET, SO_SELECT_ERR_QUEUE, &value, &length));
    CHECK_EQ(value, on);
    OK(sendto(sender, "x", 1, 0, generic(to), sizeof to));
    pollfd ready = {sender, POLLPRI, 0};
    CHECK_EQ(OK(poll(&ready, 1, 5000)), 1);
    CHECK_EQ(ready.revents, on != 0 ? POLLERR | POLLPRI : POLLERR);
    next(sender, MSG_ERRQUEUE);
    OK(getsockopt(sender, SOL_SOCKET, SO_ERROR, &value, &length));
    CHECK_EQ(OK(poll(&ready, 1, 0)), 0);
  }
}

// The options of 64-bit times have numbers of their own, and so have their messages.
TEST(timestamps_old_and_new) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  const int all[] = {SO_TIMESTAMP_OLD, SO_TIMESTAMPNS_OLD, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW};
  for (const int option : all) {
    set_option(receiver, SOL_SOCKET, option, 1);
    OK(send(sender, "x", 1, 0));
    const std::string bytes = receive_control(receiver, SOL_SOCKET, option);
    CHECK_EQ(bytes.size(), sizeof(timespec));
    timespec came;
    memcpy(&came, bytes.data(), sizeof came);
    CHECK(std::abs(came.tv_sec - time(nullptr)) < 100);
    std::string on;
    for (const int other : all) {
      int value = -1;
      socklen_t length = sizeof value;
      OK(getsockopt(receiver, SOL_SOCKET, other, &value, &length));
      on += value != 0 ? '1' : '0';
    }
    const char* const expected[] = {"1000", "0100", "0010", "0011"};
    CHECK_EQ(on, expected[std::find(all, all + 4, option) - all]);
  }
  set_option(receiver, SOL_SOCKET, SO_TIMESTAMPNS_NEW, 0);
  OK(send(sender, "x", 1, 0));
  CHECK_EQ(receive_control(receiver, SOL_SOCKET, SO_TIMESTAMPNS_NEW), "");
}

// What means something on a unix socket only is not looked at; what nobody knows is refused.
TEST(control_messages_of_other_families) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  const auto send_zeros = [&](int type, size_t size) {
    const char zeros[16] = {};
    return send_control(sender, "x", SOL_SOCKET, type, zeros, size);
  };
  CHECK_EQ(OK(send_zeros(SCM_RIGHTS, sizeof(int))), 1);
  CHECK_EQ(OK(send_zeros(SCM_CREDENTIALS, sizeof(ucred))), 1);
  CHECK_EQ(next(receiver), "x");
  CHECK_EQ(next(receiver), "x");
  FAILS(EINVAL, send_zeros(999, sizeof(int)));
  if (check::is_root()) {
    CHECK_EQ(OK(send_zeros(SO_MARK, sizeof(int))), 1);
    FAILS(EINVAL, send_zeros(SO_MARK, 2));
    OK(setresuid(65534, 65534, 65534));
  }
  FAILS(EPERM, send_zeros(SO_MARK, sizeof(int)));
}

TEST(dropped_datagrams_are_counted) {
  const Fd receiver = bound(), sender = connected_to(receiver);
  set_option(receiver, SOL_SOCKET, SO_RCVBUF, 4608);
  set_option(receiver, SOL_SOCKET, SO_RXQ_OVFL, 1);
  const std::string big(4000, 'x');
  for (int i = 0; i < 20; ++i) OK(send(sender, big.data(), big.size(), 0));
  while (next(receiver) != "nothing") {
  }
  OK(send(sender, "x", 1, 0));
  const uint32_t dropped = as<uint32_t>(receive_control(receiver, SOL_SOCKET, SO_RXQ_OVFL));
  CHECK(dropped >= 10 && dropped < 20);
}

// What nobody takes comes back with the reason, if IP_RECVERR asks for it.
TEST(error_queue) {
  const sockaddr_in nobody = address(port_of(bound()));
  Fd sender(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  set_option(sender, IPPROTO_IP, IP_RECVERR, 1);
  OK(sendto(sender, "lost", 4, 0, generic(nobody), sizeof nobody));
  pollfd ready = {sender, POLLIN, 0};
  CHECK_EQ(OK(poll(&ready, 1, 1000)), 1);
  CHECK_EQ(ready.revents, POLLERR);
  char bytes[16], control[512];
  sockaddr_in from = {};
  iovec piece = {bytes, sizeof bytes};
  msghdr message = {};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  CHECK_EQ(OK(recvmsg(sender, &message, MSG_ERRQUEUE)), 4);
  CHECK_EQ(std::string(bytes, 4), "lost");
  CHECK_EQ(message.msg_flags, MSG_ERRQUEUE);
  CHECK_EQ(from.sin_port, nobody.sin_port);
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  CHECK(header != nullptr);
  CHECK_EQ(header->cmsg_level, IPPROTO_IP);
  CHECK_EQ(header->cmsg_type, IP_RECVERR);
  sock_extended_err error;
  memcpy(&error, CMSG_DATA(header), sizeof error);
  CHECK_EQ(error.ee_errno, ECONNREFUSED);
  CHECK_EQ(error.ee_origin, SO_EE_ORIGIN_ICMP);
  CHECK_EQ(error.ee_type, 3);
  CHECK_EQ(error.ee_code, 3);
  FAILS(EAGAIN, recvmsg(sender, &message, MSG_ERRQUEUE));
  FAILS(EAGAIN, recv(sender, bytes, sizeof bytes, MSG_DONTWAIT));
}

// lo speaks IPv6 where the kernel has it.
TEST(ipv6_groups) {
  Fd member(socket(AF_INET6, SOCK_DGRAM, 0));
  if (member < 0) SKIP_OPTIONAL("no IPv6");
  sockaddr_in6 any = {};
  any.sin6_family = AF_INET6;
  OK(bind(member, reinterpret_cast<sockaddr*>(&any), sizeof any));
  socklen_t length = sizeof any;
  OK(getsockname(member, reinterpret_cast<sockaddr*>(&any), &length));
  ipv6_mreq group = {};
  inet_pton(AF_INET6, "ff02::77:1", &group.ipv6mr_multiaddr);
  group.ipv6mr_interface = if_nametoindex("lo");
  if (setsockopt(member, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group) != 0)
    SKIP_OPTIONAL("lo has no IPv6 address");
  FAILS(EADDRINUSE, setsockopt(member, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
  OK(setsockopt(member, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &group, sizeof group));
  FAILS(EADDRNOTAVAIL, setsockopt(member, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &group, sizeof group));
}
