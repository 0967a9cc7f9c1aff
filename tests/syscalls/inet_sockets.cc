// tcp(7) and udp(7) over the loopback of the machine, or of the sandbox.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/fib_rules.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#include <algorithm>
#include <set>
#include <thread>

#include "tests/syscalls/check.h"

using check::Fd;

namespace {

struct Address {
  explicit Address(uint16_t port = 0, uint32_t host = INADDR_LOOPBACK) {
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(host);
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&in); }
  socklen_t length = sizeof(sockaddr_in);
  sockaddr_in in = {};
};

uint16_t port_of(int fd) {
  Address address;
  OK(getsockname(fd, address.get(), &address.length));
  return ntohs(address.in.sin_port);
}

void set_option(int fd, int level, int option, int value) {
  OK(setsockopt(fd, level, option, &value, sizeof value));
}

int get_option(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  OK(getsockopt(fd, level, option, &value, &length));
  return value;
}

Fd tcp_listener(int backlog = 10) {
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  Address any_port;
  OK(bind(fd, any_port.get(), any_port.length));
  OK(listen(fd, backlog));
  return fd;
}

Fd tcp_connect(uint16_t port) {
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  Address address(port);
  OK(connect(fd, address.get(), address.length));
  return fd;
}

struct Connection {
  Connection() {
    Fd listener = tcp_listener();
    client = tcp_connect(port_of(listener));
    server = Fd(OK(accept(listener, nullptr, nullptr)));
  }
  Fd client, server;
};

TEST(connect_and_talk) {
  Fd listener = tcp_listener();
  uint16_t port = port_of(listener);
  CHECK(port != 0);
  Fd client = tcp_connect(port);
  Address peer;
  Fd server(OK(accept(listener, peer.get(), &peer.length)));
  CHECK_EQ(peer.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
  CHECK_EQ(ntohs(peer.in.sin_port), port_of(client));
  CHECK_EQ(port_of(server), port);
  OK(write(client, "hello", 5));
  char text[8];
  CHECK_EQ(OK(read(server, text, 8)), 5);
  OK(send(server, "back", 4, 0));
  CHECK_EQ(OK(recv(client, text, 8, 0)), 4);
  client.close();
  CHECK_EQ(OK(read(server, text, 8)), 0);
}

TEST(bulk_transfer_both_ways) {
  Connection c;
  constexpr size_t kTotal = 10 << 20;
  auto pump = [](int fd, bool sending, uint32_t seed) {
    std::string block(256 << 10, 0);
    size_t total = 0;
    while (total < kTotal) {
      size_t n = std::min(block.size(), kTotal - total);
      if (sending) {
        for (size_t i = 0; i < n; i += 64) block[i] = static_cast<char>((total + i) * seed >> 6);
        size_t done = 0;
        while (done < n) done += size_t(OK(write(fd, block.data() + done, n - done)));
      } else {
        n = size_t(OK(recv(fd, block.data(), n, MSG_WAITALL)));
        CHECK(n > 0);
        for (size_t i = (64 - total % 64) % 64; i < n; i += 64) {
          CHECK_EQ(block[i], static_cast<char>((total + i) * seed >> 6));
        }
      }
      total += n;
    }
  };
  pid_t child = check::fork_child([&] {
    std::thread sender([&] { pump(c.client, true, 3); });
    pump(c.client, false, 5);
    sender.join();
  });
  std::thread sender([&] { pump(c.server, true, 5); });
  pump(c.server, false, 3);
  sender.join();
  JOIN(child);
}

TEST(refused) {
  Fd listener = tcp_listener();
  Address address(port_of(listener));
  listener.close();
  Fd client(OK(socket(AF_INET, SOCK_STREAM, 0)));
  FAILS(ECONNREFUSED, connect(client, address.get(), address.length));
}

// A simultaneous open with itself.
TEST(connected_to_itself) {
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  Address own;
  OK(bind(fd, own.get(), own.length));
  Address to(port_of(fd));
  OK(connect(fd, to.get(), to.length));
  CHECK_EQ(OK(send(fd, "echo", 4, 0)), 4);
  char buffer[8];
  CHECK_EQ(OK(recv(fd, buffer, sizeof buffer, 0)), 4);
  CHECK_EQ(std::string(buffer, 4), "echo");
  OK(shutdown(fd, SHUT_WR));
  CHECK_EQ(OK(recv(fd, buffer, sizeof buffer, 0)), 0);
}

TEST(numbers_that_options_keep) {
  struct Row {
    int type, level, option, given, kept;
  };
  const int any = -1;
  const Row rows[] = {
      {any, IPPROTO_IP, IP_PKTINFO, 5, 1},
      {any, IPPROTO_IP, IP_RECVTTL, -3, 1},
      {any, IPPROTO_IP, IP_RECVTOS, 64, 1},
      {any, IPPROTO_IP, IP_RECVERR, 2, 1},
      {any, IPPROTO_IP, IP_FREEBIND, 7, 1},
      {any, IPPROTO_IP, IP_TTL, 77, 77},
      {any, IPPROTO_IP, IP_TTL, -1, 64},
      {any, IPPROTO_IP, IP_MULTICAST_LOOP, 9, 1},
      {SOCK_DGRAM, IPPROTO_IP, IP_TOS, 1000, 232},
      {SOCK_STREAM, IPPROTO_IP, IP_TOS, 255, 252},
      {SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_TTL, -1, 1},
      {SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY, 5, 1},
      {SOCK_STREAM, IPPROTO_TCP, TCP_CORK, 5, 1},
      {SOCK_STREAM, IPPROTO_TCP, TCP_QUICKACK, 0, 0},
      {SOCK_STREAM, IPPROTO_TCP, TCP_LINGER2, 1000, 120},
      {SOCK_STREAM, IPPROTO_TCP, TCP_LINGER2, -5, -1},
      {SOCK_STREAM, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5, 7},
      {SOCK_STREAM, IPPROTO_TCP, TCP_DEFER_ACCEPT, 1000, 1087},
      {SOCK_STREAM, IPPROTO_TCP, TCP_WINDOW_CLAMP, 100, 1152},
      {SOCK_STREAM, IPPROTO_TCP, TCP_MAXSEG, 1000, 1000},
      {SOCK_STREAM, IPPROTO_TCP, TCP_MAXSEG, 0, 536},
      {any, SOL_SOCKET, SO_KEEPALIVE, 5, 1},
      {any, SOL_SOCKET, SO_REUSEADDR, -2, 1},
      {any, SOL_SOCKET, SO_INCOMING_CPU, 1, 1},
  };
  for (const Row& row : rows) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
      if (row.type != any && row.type != type) continue;
      Fd fd(OK(socket(AF_INET, type, 0)));
      set_option(fd, row.level, row.option, row.given);
      CHECK_EQ(get_option(fd, row.level, row.option), row.kept);
    }
  }
}

TEST(numbers_that_options_refuse) {
  struct Row {
    int type, level, option, given;
  };
  const Row rows[] = {
      {SOCK_DGRAM, IPPROTO_IP, IP_TTL, 0},           {SOCK_DGRAM, IPPROTO_IP, IP_TTL, 256},
      {SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_ALL, 2}, {SOCK_STREAM, IPPROTO_IP, IP_MULTICAST_TTL, 1},
      {SOCK_STREAM, IPPROTO_TCP, TCP_MAXSEG, 87},    {SOCK_STREAM, IPPROTO_TCP, TCP_MAXSEG, 32768},
      {SOCK_STREAM, IPPROTO_TCP, TCP_KEEPCNT, 128},  {SOCK_STREAM, IPPROTO_TCP, TCP_KEEPIDLE, 0},
  };
  for (const Row& row : rows) {
    Fd fd(OK(socket(AF_INET, row.type, 0)));
    FAILS(EINVAL, setsockopt(fd, row.level, row.option, &row.given, sizeof row.given));
  }
  Fd fd(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  int value = 1;
  socklen_t length = sizeof value;
  FAILS(ENOPROTOOPT, setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value));
  FAILS(EOPNOTSUPP, getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length));
}

TEST(peer_name_as_an_option) {
  const Fd listener = tcp_listener();
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  sockaddr_in peer = {};
  socklen_t length = sizeof peer;
  FAILS(ENOTCONN, getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &length));
  Address to(port_of(listener));
  OK(connect(fd, to.get(), to.length));
  OK(getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &length));
  CHECK_EQ(ntohs(peer.sin_port), port_of(listener));
}

TEST(half_close) {
  Connection c;
  OK(write(c.client, "request", 7));
  OK(shutdown(c.client, SHUT_WR));
  char text[16];
  CHECK_EQ(OK(recv(c.server, text, 16, MSG_WAITALL)), 7);
  OK(write(c.server, "response", 8));
  c.server.close();
  CHECK_EQ(OK(recv(c.client, text, 16, MSG_WAITALL)), 8);
  signal(SIGPIPE, SIG_IGN);
  FAILS(EPIPE, write(c.client, "x", 1));
}

TEST(reset_by_linger_zero) {
  Connection c;
  linger option = {1, 0};
  OK(setsockopt(c.server, SOL_SOCKET, SO_LINGER, &option, sizeof option));
  c.server.close();
  char byte;
  FAILS(ECONNRESET, read(c.client, &byte, 1));
}

// With the second FIN the connection is over, for both: what is unread stays, but nobody is there.
TEST(shutdown_after_both_halves) {
  Connection c;
  OK(write(c.server, "last", 4));
  OK(shutdown(c.client, SHUT_WR));
  Address peer;
  OK(getpeername(c.client, peer.get(), &peer.length));
  OK(shutdown(c.client, SHUT_WR));
  OK(shutdown(c.server, SHUT_WR));
  for (const int fd : {int{c.client}, int{c.server}}) {
    FAILS(ENOTCONN, shutdown(fd, SHUT_WR));
    FAILS(ENOTCONN, shutdown(fd, SHUT_RD));
    FAILS(ENOTCONN, shutdown(fd, SHUT_RDWR));
    FAILS(ENOTCONN, getpeername(fd, peer.get(), &peer.length));
    tcp_info info = {};
    socklen_t length = sizeof info;
    OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK_EQ(info.tcpi_state, TCP_CLOSE);
    FAILS(EPIPE, send(fd, "x", 1, MSG_NOSIGNAL));
  }
  char text[8];
  CHECK_EQ(OK(read(c.client, text, sizeof text)), 4);
  CHECK_EQ(OK(read(c.client, text, sizeof text)), 0);
  CHECK_EQ(OK(read(c.server, text, sizeof text)), 0);
  // Reading no more is this side's own affair: no FIN.
  Connection d;
  OK(shutdown(d.client, SHUT_RDWR));
  OK(shutdown(d.client, SHUT_RDWR));
  OK(shutdown(d.server, SHUT_RD));
  OK(shutdown(d.server, SHUT_RD));
}

TEST(fast_open_connects) {
  Fd listener = tcp_listener();
  Address address(port_of(listener));
  const Fd client(OK(socket(AF_INET, SOCK_STREAM, 0)));
  FAILS(EINVAL, send(client, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL));  // where to?
  CHECK_EQ(OK(sendto(client, "hello", 5, MSG_FASTOPEN, address.get(), address.length)), 5);
  const Fd server(OK(accept(listener, nullptr, nullptr)));
  char text[8];
  CHECK_EQ(OK(read(server, text, sizeof text)), 5);
  FAILS(EISCONN, sendto(client, "hello", 5, MSG_FASTOPEN, address.get(), address.length));
  Address nowhere;
  nowhere.in.sin_family = AF_UNSPEC;
  FAILS(EOPNOTSUPP, sendto(client, "x", 1, MSG_FASTOPEN, nowhere.get(), nowhere.length));

  // Without a cookie of an earlier visit nothing is sent before there is an answer.
  const Fd other(OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)));
  FAILS(EINPROGRESS, sendto(other, "x", 1, MSG_FASTOPEN, address.get(), address.length));
  pollfd ready = {other, POLLOUT, 0};
  CHECK_EQ(OK(poll(&ready, 1, 5000)), 1);
  CHECK_EQ(OK(send(other, "xy", 2, 0)), 2);

  listener.close();
  const Fd late(OK(socket(AF_INET, SOCK_STREAM, 0)));
  FAILS(ECONNREFUSED, sendto(late, "x", 1, MSG_FASTOPEN, address.get(), address.length));
}

// By which strace -yy and lsof know them.
TEST(protocol_name_as_an_attribute) {
  const char* const name = "system.sockprotoname";
  const struct {
    int family, type;
    const char* protocol;
  } all[] = {{AF_UNIX, SOCK_STREAM, "UNIX-STREAM"}, {AF_UNIX, SOCK_DGRAM, "UNIX"},
             {AF_UNIX, SOCK_SEQPACKET, "UNIX"},     {AF_INET, SOCK_STREAM, "TCP"},
             {AF_INET, SOCK_DGRAM, "UDP"},          {AF_INET6, SOCK_STREAM, "TCPv6"},
             {AF_INET6, SOCK_DGRAM, "UDPv6"},       {AF_NETLINK, SOCK_RAW, "NETLINK"}};
  char text[64];
  for (const auto& each : all) {
    const Fd fd(OK(socket(each.family, each.type, 0)));
    CHECK_EQ(OK(fgetxattr(fd, name, text, sizeof text)), strlen(each.protocol) + 1);
    CHECK_EQ(std::string(text), each.protocol);
    CHECK_EQ(OK(flistxattr(fd, text, sizeof text)), strlen(name) + 1);
    CHECK_EQ(std::string(text), name);
  }
  Connection c;
  CHECK_EQ(OK(fgetxattr(c.server, name, nullptr, 0)), 4);
  FAILS(ERANGE, fgetxattr(c.server, name, text, 3));
  FAILS(EOPNOTSUPP, fgetxattr(c.server, "system.other", text, sizeof text));
  FAILS(EOPNOTSUPP, fgetxattr(c.server, "security.selinux", text, sizeof text));
  FAILS(EOPNOTSUPP, fsetxattr(c.server, name, "x", 1, 0));
  FAILS(EOPNOTSUPP, fremovexattr(c.server, name));
  int fds[2];
  OK(pipe(fds));
  FAILS(EOPNOTSUPP, fgetxattr(fds[0], name, text, sizeof text));
}

TEST(options_about_the_device) {
  const Fd fd(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  CHECK_EQ(get_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX), 0);
  char name[IFNAMSIZ] = {};
  socklen_t length = sizeof name;
  OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
  CHECK_EQ(length, 0);
  const int loopback = static_cast<int>(if_nametoindex("lo"));
  int value = -1;
  FAILS(EINVAL, setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &value, sizeof value));
  set_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, loopback);
  CHECK_EQ(get_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX), loopback);
  length = sizeof name;
  OK(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
  CHECK_EQ(length, 3);
  CHECK_EQ(std::string(name), "lo");
  length = 3;
  FAILS(EINVAL, getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
  FAILS(ENODEV, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "no-such", 7));

  const auto network = static_cast<int>(htonl(static_cast<uint32_t>(loopback)));
  FAILS(EINVAL, setsockopt(fd, IPPROTO_IP, IP_UNICAST_IF, &network, sizeof network));  // it has its device
  const Fd four(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  set_option(four, IPPROTO_IP, IP_UNICAST_IF, network);
  CHECK_EQ(get_option(four, IPPROTO_IP, IP_UNICAST_IF), network);
  value = static_cast<int>(htonl(999'999));
  FAILS(EADDRNOTAVAIL, setsockopt(fd, IPPROTO_IP, IP_UNICAST_IF, &value, sizeof value));
  set_option(four, IPPROTO_IP, IP_UNICAST_IF, 0);
  CHECK_EQ(get_option(four, IPPROTO_IP, IP_UNICAST_IF), 0);
  const Fd six(OK(socket(AF_INET6, SOCK_STREAM, 0)));
  set_option(six, IPPROTO_IPV6, IPV6_UNICAST_IF, network);
  CHECK_EQ(get_option(six, IPPROTO_IPV6, IPV6_UNICAST_IF), network);
  FAILS(EADDRNOTAVAIL, setsockopt(six, IPPROTO_IPV6, IPV6_UNICAST_IF, &value, sizeof value));

  CHECK_EQ(get_option(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL), 0);
  set_option(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, 0);
  if (!check::is_root()) return;
  OK(setresuid(65534, 65534, 65534));
  value = 1;
  FAILS(EPERM, setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &value, sizeof value));
  FAILS(EPERM, setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &loopback, sizeof loopback));
}

TEST(write_to_a_gone_peer) {
  Connection c;
  signal(SIGPIPE, SIG_IGN);
  c.server.close();
  int result = 0;
  WAIT_UNTIL((result = static_cast<int>(write(c.client, "x", 1))) < 0);
  CHECK(errno == EPIPE || errno == ECONNRESET);
}

TEST(nonblocking_connect_with_epoll) {
  Fd listener = tcp_listener();
  Fd client(OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)));
  Address address(port_of(listener));
  int result = connect(client, address.get(), address.length);
  CHECK(result == 0 || errno == EINPROGRESS);
  Fd ep(OK(epoll_create1(0)));
  epoll_event event = {};
  event.events = EPOLLOUT | EPOLLET;
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, client, &event));
  CHECK_EQ(OK(epoll_wait(ep, &event, 1, 5000)), 1);
  CHECK_EQ(event.events, EPOLLOUT);
  CHECK_EQ(get_option(client, SOL_SOCKET, SO_ERROR), 0);
  Fd server(OK(accept(listener, nullptr, nullptr)));
  char byte;
  FAILS(EAGAIN, read(client, &byte, 1));
  // The call that finds the connection made answers 0 once.
  if (result != 0) OK(connect(client, address.get(), address.length));
  FAILS(EISCONN, connect(client, address.get(), address.length));
}

TEST(nonblocking_connect_refused) {
  Fd listener = tcp_listener();
  Address address(port_of(listener));
  listener.close();
  Fd client(OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)));
  int result = connect(client, address.get(), address.length);
  CHECK_EQ(result, -1);
  if (errno == EINPROGRESS) {
    pollfd entry = {client, POLLOUT, 0};
    CHECK_EQ(OK(poll(&entry, 1, 5000)), 1);
    CHECK(entry.revents & POLLERR);
    CHECK_EQ(get_option(client, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    CHECK_EQ(get_option(client, SOL_SOCKET, SO_ERROR), 0);
  } else {
    CHECK_EQ(errno, ECONNREFUSED);
  }
}

TEST(addresses_in_use) {
  Fd listener = tcp_listener();
  Address address(port_of(listener));
  Fd second(OK(socket(AF_INET, SOCK_STREAM, 0)));
  FAILS(EADDRINUSE, bind(second, address.get(), address.length));
  set_option(second, SOL_SOCKET, SO_REUSEADDR, 1);
  FAILS(EADDRINUSE, bind(second, address.get(), address.length));
  FAILS(EINVAL, bind(listener, address.get(), address.length));
  Address foreign(0, 0x08080808);
  Fd third(OK(socket(AF_INET, SOCK_STREAM, 0)));
  FAILS(EADDRNOTAVAIL, bind(third, foreign.get(), foreign.length));
}

TEST(reuse_after_close) {
  uint16_t port;
  {
    Fd listener(OK(socket(AF_INET, SOCK_STREAM, 0)));
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    Address address;
    OK(bind(listener, address.get(), address.length));
    OK(listen(listener, 5));
    port = port_of(listener);
    Fd client = tcp_connect(port);
    Fd server(OK(accept(listener, nullptr, nullptr)));
    server.close();
    char byte;
    CHECK_EQ(OK(read(client, &byte, 1)), 0);
  }
  Fd again(OK(socket(AF_INET, SOCK_STREAM, 0)));
  set_option(again, SOL_SOCKET, SO_REUSEADDR, 1);
  Address address(port);
  OK(bind(again, address.get(), address.length));
  OK(listen(again, 5));
}

TEST(ephemeral_ports_differ) {
  Fd listener = tcp_listener(64);
  std::vector<Fd> clients;
  std::vector<uint16_t> ports;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(tcp_connect(port_of(listener)));
    ports.push_back(port_of(clients.back()));
  }
  std::sort(ports.begin(), ports.end());
  CHECK(std::adjacent_find(ports.begin(), ports.end()) == ports.end());
}

TEST(options) {
  Connection c;
  CHECK_EQ(get_option(c.client, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
  CHECK_EQ(get_option(c.client, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
  CHECK_EQ(get_option(c.client, SOL_SOCKET, SO_DOMAIN), AF_INET);
  set_option(c.client, IPPROTO_TCP, TCP_NODELAY, 1);
  CHECK_EQ(get_option(c.client, IPPROTO_TCP, TCP_NODELAY), 1);
  set_option(c.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  CHECK_EQ(get_option(c.client, SOL_SOCKET, SO_KEEPALIVE), 1);
  set_option(c.client, IPPROTO_TCP, TCP_KEEPIDLE, 100);
  CHECK_EQ(get_option(c.client, IPPROTO_TCP, TCP_KEEPIDLE), 100);
  set_option(c.client, SOL_SOCKET, SO_RCVBUF, 100'000);
  CHECK_EQ(get_option(c.client, SOL_SOCKET, SO_RCVBUF), 200'000);
  CHECK(get_option(c.client, SOL_SOCKET, SO_SNDBUF) > 0);
  set_option(c.client, SOL_SOCKET, SO_OOBINLINE, 1);
  set_option(c.client, IPPROTO_IP, IP_TOS, 0x10);
  CHECK_EQ(get_option(c.client, IPPROTO_IP, IP_TOS), 0x10);
  tcp_info info = {};
  socklen_t length = sizeof info;
  OK(getsockopt(c.client, IPPROTO_TCP, TCP_INFO, &info, &length));
  CHECK_EQ(info.tcpi_state, TCP_ESTABLISHED);
  int value = 1;
  FAILS(ENOPROTOOPT, setsockopt(c.client, IPPROTO_TCP, 9999, &value, sizeof value));
  FAILS(EINVAL, setsockopt(c.client, SOL_SOCKET, SO_KEEPALIVE, &value, 1));
}

TEST(readiness) {
  Fd listener = tcp_listener();
  pollfd entry = {listener, POLLIN | POLLOUT, 0};
  CHECK_EQ(OK(poll(&entry, 1, 0)), 0);
  Fd client = tcp_connect(port_of(listener));
  CHECK_EQ(OK(poll(&entry, 1, 5000)), 1);
  CHECK_EQ(entry.revents, POLLIN);
  Fd server(OK(accept(listener, nullptr, nullptr)));
  entry = {server, POLLIN | POLLOUT | POLLRDHUP, 0};
  OK(poll(&entry, 1, 0));
  CHECK_EQ(entry.revents, POLLOUT);
  OK(write(client, "x", 1));
  entry.events = POLLIN | POLLRDHUP;
  CHECK_EQ(OK(poll(&entry, 1, 5000)), 1);
  CHECK_EQ(entry.revents, POLLIN);
  OK(shutdown(client, SHUT_WR));
  entry.events = POLLRDHUP;
  CHECK_EQ(OK(poll(&entry, 1, 5000)), 1);
  CHECK_EQ(entry.revents, POLLRDHUP);
  int bytes = 0;
  OK(ioctl(server, FIONREAD, &bytes));
  CHECK_EQ(bytes, 1);
}

TEST(peek_and_dontwait) {
  Connection c;
  char text[8];
  FAILS(EAGAIN, recv(c.server, text, 8, MSG_DONTWAIT));
  OK(write(c.client, "abc", 3));
  CHECK_EQ(OK(recv(c.server, text, 8, MSG_PEEK)), 3);
  CHECK_EQ(OK(recv(c.server, text, 8, 0)), 3);
}

// What is there to be read without waiting, "-" for nothing.
std::string received(int fd, int flags = 0) {
  char text[32];
  const ssize_t size = recv(fd, text, sizeof text, flags | MSG_DONTWAIT);
  if (size < 0) {
    CHECK_EQ(errno, EAGAIN);
    return "-";
  }
  return std::string(text, static_cast<size_t>(size));
}

bool at_mark(int fd) {
  int mark = -1;
  OK(ioctl(fd, SIOCATMARK, &mark));
  return mark == 1;
}

int readable_bytes(int fd) {
  int count = -1;
  OK(ioctl(fd, FIONREAD, &count));
  return count;
}

short events_of(int fd) {
  pollfd entry{fd, POLLIN | POLLPRI, 0};
  OK(poll(&entry, 1, 0));
  return entry.revents;
}

TEST(urgent_data) {
  Connection c;
  char byte = 0;
  FAILS(EINVAL, recv(c.server, &byte, 1, MSG_OOB));
  CHECK(!at_mark(c.server));
  CHECK_EQ(OK(send(c.client, "abc", 3, 0)), 3);
  CHECK_EQ(OK(send(c.client, "deU", 3, MSG_OOB)), 3);
  CHECK_EQ(OK(send(c.client, "fgh", 3, 0)), 3);
  WAIT_UNTIL(events_of(c.server) == (POLLIN | POLLPRI));
  WAIT_UNTIL(readable_bytes(c.server) == 5);
  CHECK_EQ(OK(recv(c.server, &byte, 1, MSG_OOB | MSG_PEEK)), 1);
  CHECK_EQ(byte, 'U');
  // Readers stop at the mark and then pass over it.
  CHECK_EQ(received(c.server, MSG_PEEK), "abcde");
  CHECK_EQ(received(c.server), "abcde");
  CHECK(at_mark(c.server));
  CHECK_EQ(received(c.server, MSG_PEEK), "fgh");
  byte = 0;
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  CHECK_EQ(OK(recvmsg(c.server, &message, MSG_OOB)), 1);
  CHECK_EQ(byte, 'U');
  CHECK_EQ(message.msg_flags & MSG_OOB, MSG_OOB);
  FAILS(EINVAL, recv(c.server, &byte, 1, MSG_OOB));  // it has been read
  CHECK_EQ(events_of(c.server), POLLIN);
  CHECK_EQ(received(c.server), "fgh");
  CHECK(!at_mark(c.server));
  CHECK_EQ(received(c.server), "-");
}

TEST(urgent_byte_alone) {
  Connection c;
  CHECK_EQ(OK(send(c.client, "1", 1, MSG_OOB)), 1);
  WAIT_UNTIL(events_of(c.server) == POLLPRI);
  CHECK(at_mark(c.server));
  CHECK_EQ(readable_bytes(c.server), 0);
  // A second one takes its place.
  CHECK_EQ(OK(send(c.client, "2", 1, MSG_OOB)), 1);
  char byte = 0;
  WAIT_UNTIL(recv(c.server, &byte, 1, MSG_OOB | MSG_PEEK) == 1 && byte == '2');
  CHECK_EQ(received(c.server), "-");  // reading on loses it
  FAILS(EINVAL, recv(c.server, &byte, 1, MSG_OOB));
  CHECK_EQ(events_of(c.server), 0);
}

TEST(urgent_data_inline) {
  Connection c;
  set_option(c.server, SOL_SOCKET, SO_OOBINLINE, 1);
  CHECK_EQ(OK(send(c.client, "abU", 3, MSG_OOB)), 3);
  CHECK_EQ(OK(send(c.client, "cd", 2, 0)), 2);
  WAIT_UNTIL(readable_bytes(c.server) == 5);
  CHECK_EQ(events_of(c.server), POLLIN | POLLPRI);
  char byte = 0;
  FAILS(EINVAL, recv(c.server, &byte, 1, MSG_OOB));
  CHECK_EQ(received(c.server), "ab");
  CHECK(at_mark(c.server));
  CHECK_EQ(received(c.server), "Ucd");
  CHECK(!at_mark(c.server));
  CHECK_EQ(events_of(c.server), 0);
}

TEST(urgent_data_signals_the_owner) {
  Connection c;
  static volatile sig_atomic_t heard = 0;
  signal(SIGURG, [](int) { heard = 1; });
  OK(fcntl(c.server, F_SETOWN, getpid()));
  CHECK_EQ(OK(send(c.client, "a", 1, 0)), 1);
  CHECK_EQ(OK(send(c.client, "U", 1, MSG_OOB)), 1);
  WAIT_UNTIL(heard == 1);
  CHECK_EQ(received(c.server), "a");
}

TEST(send_buffer_fills) {
  Connection c;
  OK(fcntl(c.client, F_SETFL, O_NONBLOCK));
  std::string block(1 << 20, 'x');
  size_t total = 0;
  ssize_t n;
  while ((n = write(c.client, block.data(), block.size())) > 0) {
    total += size_t(n);
    CHECK(total < size_t(256) << 20);
  }
  CHECK_EQ(errno, EAGAIN);
  pollfd entry = {c.client, POLLOUT, 0};
  CHECK_EQ(OK(poll(&entry, 1, 0)), 0);
  size_t received = 0;
  while (received < total) received += size_t(OK(read(c.server, block.data(), block.size())));
  CHECK_EQ(received, total);
  CHECK_EQ(OK(poll(&entry, 1, 5000)), 1);
}

TEST(names_of_unconnected_sockets) {
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  Address address;
  FAILS(ENOTCONN, getpeername(fd, address.get(), &address.length));
  OK(getsockname(fd, address.get(), &address.length));
  CHECK_EQ(address.in.sin_port, 0);
  CHECK_EQ(address.in.sin_family, AF_INET);
  char byte;
  FAILS(ENOTCONN, read(fd, &byte, 1));
  FAILS(EPIPE, send(fd, &byte, 1, MSG_NOSIGNAL));
  FAILS(EINVAL, accept(fd, nullptr, nullptr));
  // listen without bind takes a port.
  OK(listen(fd, 1));
  CHECK(port_of(fd) != 0);
}

TEST(any_address_accepts_loopback) {
  Fd listener(OK(socket(AF_INET, SOCK_STREAM, 0)));
  Address any(0, INADDR_ANY);
  OK(bind(listener, any.get(), any.length));
  OK(listen(listener, 1));
  Fd client = tcp_connect(port_of(listener));
  Fd server(OK(accept(listener, nullptr, nullptr)));
}

TEST(privileged_ports) {
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  Fd fd(OK(socket(AF_INET, SOCK_STREAM, 0)));
  Address address(81);
  FAILS(EACCES, bind(fd, address.get(), address.length));
}

TEST(ipv6_loopback) {
  int raw = socket(AF_INET6, SOCK_STREAM, 0);
  if (raw < 0 && errno == EAFNOSUPPORT) SKIP("no IPv6");
  Fd listener(OK(raw));
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno == EADDRNOTAVAIL) {
    SKIP("no ::1");
  }
  OK(listen(listener, 1));
  socklen_t length = sizeof address;
  OK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length));
  CHECK_EQ(length, 28u);
  Fd client(OK(socket(AF_INET6, SOCK_STREAM, 0)));
  OK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address));
  sockaddr_in6 peer = {};
  length = sizeof peer;
  Fd server(OK(accept(listener, reinterpret_cast<sockaddr*>(&peer), &length)));
  CHECK(IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr));
  OK(write(client, "six", 3));
  char text[4];
  CHECK_EQ(OK(read(server, text, 4)), 3);
}

TEST(ipv4_through_an_ipv6_socket) {
  int raw = socket(AF_INET6, SOCK_STREAM, 0);
  if (raw < 0 && errno == EAFNOSUPPORT) SKIP("no IPv6");
  Fd listener(OK(raw));
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  set_option(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  OK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address));
  OK(listen(listener, 1));
  socklen_t length = sizeof address;
  OK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length));
  Fd client = tcp_connect(ntohs(address.sin6_port));
  sockaddr_in6 peer = {};
  length = sizeof peer;
  Fd server(OK(accept(listener, reinterpret_cast<sockaddr*>(&peer), &length)));
  CHECK(IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr));
}

TEST(udp_datagrams) {
  Fd server(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  Address address;
  OK(bind(server, address.get(), address.length));
  Address to(port_of(server));
  Fd client(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  CHECK_EQ(OK(sendto(client, "ping", 4, 0, to.get(), to.length)), 4);
  Address from;
  char text[16];
  CHECK_EQ(OK(recvfrom(server, text, 16, 0, from.get(), &from.length)), 4);
  CHECK_EQ(ntohs(from.in.sin_port), port_of(client));
  OK(sendto(server, "pong", 4, 0, from.get(), from.length));
  CHECK_EQ(OK(recv(client, text, 16, 0)), 4);
  OK(connect(client, to.get(), to.length));
  OK(send(client, "", 0, 0));
  OK(send(client, "long message", 12, 0));
  CHECK_EQ(OK(recv(server, text, 16, 0)), 0);
  CHECK_EQ(OK(recv(server, text, 4, MSG_TRUNC)), 12);
  FAILS(EAGAIN, recv(server, text, 4, MSG_DONTWAIT));
  std::string large(70'000, 'x');
  FAILS(EMSGSIZE, send(client, large.data(), large.size(), 0));
  Fd other(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  FAILS(EDESTADDRREQ, send(other, "x", 1, 0));
  Fd same(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  FAILS(EADDRINUSE, bind(same, to.get(), to.length));
}

TEST(udp_connected_ignores_strangers_and_hears_of_closed_ports) {
  Fd a(OK(socket(AF_INET, SOCK_DGRAM, 0))), b(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  Fd c(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  Address any;
  OK(bind(a, any.get(), any.length));
  OK(bind(b, any.get(), any.length));
  Address to_a(port_of(a)), to_b(port_of(b));
  OK(connect(a, to_b.get(), to_b.length));
  OK(sendto(c, "stranger", 8, 0, to_a.get(), to_a.length));
  OK(sendto(b, "friend", 6, 0, to_a.get(), to_a.length));
  char text[16];
  CHECK_EQ(OK(recv(a, text, 16, 0)), 6);
  b.close();
  OK(send(a, "x", 1, 0));
  FAILS(ECONNREFUSED, recv(a, text, 16, 0));
}

TEST(unknown_families_and_types) {
  FAILS(EINVAL, socket(AF_INET, 99, 0));
  FAILS(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  FAILS(EOPNOTSUPP, socketpair(AF_INET, SOCK_STREAM, 0, std::vector<int>(2).data()));
  if (check::is_root()) OK(setresuid(65534, 65534, 65534));
  FAILS(EPERM, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  int packet = socket(AF_PACKET, SOCK_RAW, 0);
  CHECK(packet == -1 && (errno == EPERM || errno == EAFNOSUPPORT));
}

TEST(interfaces_by_netlink) {
  ifaddrs* all = nullptr;
  OK(getifaddrs(&all));
  bool link = false, address = false;
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    if (strcmp(each->ifa_name, "lo") != 0 || each->ifa_addr == nullptr) continue;
    CHECK((each->ifa_flags & IFF_LOOPBACK) != 0);
    link = link || each->ifa_addr->sa_family == AF_PACKET;
    if (each->ifa_addr->sa_family == AF_INET)
      address =
          reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
  }
  freeifaddrs(all);
  CHECK(link);
  CHECK(address);
  CHECK(if_nametoindex("lo") > 0);
}

namespace {

// Every message that sock_diag(7) answers a dump with, and how it ends.
template <typename Request>
int dump_sockets(const Request& request, const std::function<void(const nlmsghdr&)>& each) {
  Fd fd(OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)));
  struct {
    nlmsghdr header;
    Request request;
  } message = {};
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.request = request;
  OK(send(fd, &message, sizeof message, 0));
  alignas(nlmsghdr) char buffer[65536];
  for (;;) {
    auto left = static_cast<unsigned>(OK(recv(fd, buffer, sizeof buffer, 0)));
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return 0;
      if (header->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
      each(*header);
    }
  }
}

ino_t inode_of(int fd) {
  struct stat status;
  OK(fstat(fd, &status));
  return status.st_ino;
}

}  // namespace

namespace {

// A request of rtnetlink(7) with one attribute, if `size` says so, and all messages that answer it: an errno,
// or 0 after NLMSG_DONE or the only message.
template <typename Header>
int ask_routes(int fd, uint16_t type, bool dump, const Header& body, uint16_t attribute, const void* value,
               size_t size, const std::function<void(nlmsghdr*)>& each) {
  alignas(nlmsghdr) char request[128] = {};
  auto* const header = reinterpret_cast<nlmsghdr*>(request);
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0));
  header->nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(sizeof body));
  memcpy(NLMSG_DATA(header), &body, sizeof body);
  if (size != 0) {
    const rtattr head = {static_cast<uint16_t>(RTA_LENGTH(size)), attribute};
    memcpy(request + header->nlmsg_len, &head, sizeof head);
    memcpy(request + header->nlmsg_len + RTA_LENGTH(0), value, size);
    header->nlmsg_len += static_cast<uint32_t>(RTA_LENGTH(size));
  }
  OK(send(fd, request, header->nlmsg_len, 0));
  alignas(nlmsghdr) static char buffer[65536];
  for (;;) {
    auto left = static_cast<unsigned>(OK(recv(fd, buffer, sizeof buffer, 0)));
    for (auto* h = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
      if (h->nlmsg_type == NLMSG_DONE) return -*static_cast<int*>(NLMSG_DATA(h));
      if (h->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(h))->error;
      each(h);
      if (!dump) return 0;
    }
  }
}

std::string attribute_of(nlmsghdr* message, size_t header_size, uint16_t type) {
  auto* at = reinterpret_cast<rtattr*>(static_cast<char*>(NLMSG_DATA(message)) + NLMSG_ALIGN(header_size));
  auto left = static_cast<int>(message->nlmsg_len - NLMSG_LENGTH(header_size));
  for (; RTA_OK(at, left); at = RTA_NEXT(at, left))
    if (at->rta_type == type) return {static_cast<char*>(RTA_DATA(at)), RTA_PAYLOAD(at)};
  return {};
}

std::string address_text(int family, const std::string& bytes) {
  char text[INET6_ADDRSTRLEN] = "none";
  if (bytes.size() == (family == AF_INET ? 4 : 16)) inet_ntop(family, bytes.data(), text, sizeof text);
  return text;
}

// "destination/length type scope source", if it leads to lo.
std::string route_text(nlmsghdr* message) {
  CHECK_EQ(message->nlmsg_type, RTM_NEWROUTE);
  const auto* route = static_cast<rtmsg*>(NLMSG_DATA(message));
  uint32_t device = 0;
  const std::string bytes = attribute_of(message, sizeof *route, RTA_OIF);
  memcpy(&device, bytes.data(), std::min(bytes.size(), sizeof device));
  if (device != if_nametoindex("lo")) return {};
  return address_text(route->rtm_family, attribute_of(message, sizeof *route, RTA_DST)) + "/" +
         std::to_string(route->rtm_dst_len) + " " + std::to_string(route->rtm_type) + " " +
         std::to_string(route->rtm_scope) + " " +
         address_text(route->rtm_family, attribute_of(message, sizeof *route, RTA_PREFSRC));
}

}  // namespace

TEST(routes_by_netlink) {
  const Fd fd(OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)));
  set_option(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  std::set<std::string> seen;
  const auto note = [&](nlmsghdr* message) {
    CHECK_EQ(static_cast<rtmsg*>(NLMSG_DATA(message))->rtm_table, RT_TABLE_LOCAL);
    CHECK((message->nlmsg_flags & NLM_F_DUMP_FILTERED) != 0);
    seen.insert(route_text(message));
  };
  rtmsg route = {};
  route.rtm_family = AF_INET;
  uint32_t table = RT_TABLE_LOCAL;
  CHECK_EQ(ask_routes(fd, RTM_GETROUTE, true, route, RTA_TABLE, &table, sizeof table, note), 0);
  const auto kind = [](int type, int scope) { return std::to_string(type) + " " + std::to_string(scope); };
  CHECK(seen.count("127.0.0.0/8 " + kind(RTN_LOCAL, RT_SCOPE_HOST) + " 127.0.0.1") == 1);
  CHECK(seen.count("127.0.0.1/32 " + kind(RTN_LOCAL, RT_SCOPE_HOST) + " 127.0.0.1") == 1);
  CHECK(seen.count("127.255.255.255/32 " + kind(RTN_BROADCAST, RT_SCOPE_LINK) + " 127.0.0.1") == 1);
  const Fd six(OK(socket(AF_INET6, SOCK_DGRAM, 0)));
  sockaddr_in6 loopback = {};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  const bool has_six = bind(six, reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) == 0;
  if (has_six) {
    route.rtm_family = AF_INET6;
    CHECK_EQ(ask_routes(fd, RTM_GETROUTE, true, route, RTA_TABLE, &table, sizeof table, note), 0);
    CHECK(seen.count("::1/128 " + kind(RTN_LOCAL, RT_SCOPE_UNIVERSE) + " none") == 1);
  }
  table = 7777;
  const auto nothing = [](nlmsghdr*) {};
  CHECK_EQ(ask_routes(fd, RTM_GETROUTE, true, route, RTA_TABLE, &table, sizeof table, nothing), ENOENT);

  // One destination, "ip route get".
  const auto look_up = [&](int family, const char* text) {
    rtmsg question = {};
    question.rtm_family = static_cast<unsigned char>(family);
    question.rtm_dst_len = family == AF_INET ? 32 : 128;
    char address[16];
    CHECK_EQ(inet_pton(family, text, address), 1);
    std::string found;
    const int error = ask_routes(fd, RTM_GETROUTE, false, question, RTA_DST, address,
                                 family == AF_INET ? 4 : 16, [&](nlmsghdr* m) { found = route_text(m); });
    return error != 0 ? check::show_errno(error) : found;
  };
  const std::string local = " " + kind(RTN_LOCAL, RT_SCOPE_UNIVERSE);
  CHECK_EQ(look_up(AF_INET, "127.0.0.1"), "127.0.0.1/32" + local + " 127.0.0.1");
  CHECK_EQ(look_up(AF_INET, "127.1.2.3"), "127.1.2.3/32" + local + " 127.0.0.1");
  CHECK_EQ(look_up(AF_INET, "127.255.255.255"),
           "127.255.255.255/32 " + kind(RTN_BROADCAST, RT_SCOPE_UNIVERSE) + " 127.0.0.1");
  if (has_six) CHECK_EQ(look_up(AF_INET6, "::1"), "::1/128" + local + " ::1");
}

TEST(rules_by_netlink) {
  const Fd fd(OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)));
  const auto rules = [&](int family) {
    fib_rule_hdr asked = {};
    asked.family = static_cast<uint8_t>(family);
    std::string text;
    CHECK_EQ(ask_routes(fd, RTM_GETRULE, true, asked, 0, nullptr, 0,
                        [&](nlmsghdr* message) {
                          CHECK_EQ(message->nlmsg_type, RTM_NEWRULE);
                          const auto* rule = static_cast<fib_rule_hdr*>(NLMSG_DATA(message));
                          CHECK_EQ(rule->family, family);
                          CHECK_EQ(rule->action, FR_ACT_TO_TBL);
                          uint32_t priority = 0;
                          const std::string bytes = attribute_of(message, sizeof *rule, FRA_PRIORITY);
                          memcpy(&priority, bytes.data(), std::min(bytes.size(), sizeof priority));
                          text += std::to_string(priority) + ":" + std::to_string(rule->table) + " ";
                        }),
             0);
    return text;
  };
  CHECK_EQ(rules(AF_INET), "0:255 32766:254 32767:253 ");
  CHECK_EQ(rules(AF_INET6), "0:255 32766:254 ");
}

TEST(sockets_by_netlink) {
  const Fd listener = tcp_listener(7);
  const uint16_t port = port_of(listener);
  const Fd client = tcp_connect(port);
  OK(send(client, "abc", 3, 0));
  inet_diag_req_v2 request = {};
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = 1u << TCP_LISTEN | 1u << TCP_ESTABLISHED;
  int listeners = 0, ends = 0;
  CHECK_EQ(dump_sockets(request,
                        [&](const nlmsghdr& header) {
                          const auto& seen = *static_cast<const inet_diag_msg*>(NLMSG_DATA(&header));
                          if (ntohs(seen.id.idiag_sport) != port && ntohs(seen.id.idiag_dport) != port)
                            return;
                          CHECK_EQ(ntohl(seen.id.idiag_src[0]), INADDR_LOOPBACK);
                          if (seen.idiag_state == TCP_LISTEN) {
                            ++listeners;
                            CHECK_EQ(seen.idiag_inode, inode_of(listener));
                            CHECK_EQ(seen.idiag_rqueue, 1);
                            CHECK_EQ(seen.idiag_wqueue, 7);
                          } else {
                            ++ends;
                            CHECK_EQ(seen.idiag_state, TCP_ESTABLISHED);
                            if (ntohs(seen.id.idiag_sport) == port)
                              CHECK_EQ(seen.idiag_rqueue, 3);
                            else
                              CHECK_EQ(seen.idiag_inode, inode_of(client));
                          }
                        }),
           0);
  CHECK_EQ(listeners, 1);
  CHECK_EQ(ends, 2);
  request.idiag_states = 1u << TCP_SYN_SENT;
  CHECK_EQ(dump_sockets(request,
                        [&](const nlmsghdr& header) {
                          const auto& seen = *static_cast<const inet_diag_msg*>(NLMSG_DATA(&header));
                          CHECK(ntohs(seen.id.idiag_dport) != port);
                        }),
           0);
}

TEST(many_sockets_by_netlink) {
  std::vector<Fd> fds;
  for (int i = 0; i < 500; ++i) {
    fds.emplace_back(OK(socket(AF_INET, SOCK_DGRAM, 0)));
    Address any_port;
    OK(bind(fds.back(), any_port.get(), any_port.length));
  }
  std::set<ino_t> wanted;
  for (const Fd& fd : fds) wanted.insert(inode_of(fd));
  inet_diag_req_v2 request = {};
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = IPPROTO_UDP;
  request.idiag_states = ~0u;
  CHECK_EQ(dump_sockets(request,
                        [&](const nlmsghdr& header) {
                          const auto& seen = *static_cast<const inet_diag_msg*>(NLMSG_DATA(&header));
                          wanted.erase(seen.idiag_inode);
                        }),
           0);
  CHECK(wanted.empty());
}

TEST(unix_sockets_by_netlink) {
  int fds[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  const Fd one(fds[0]), other(fds[1]);
  OK(write(one, "abcde", 5));
  unix_diag_req request = {};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0u;
  request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  int seen_both = 0;
  CHECK_EQ(dump_sockets(
               request,
               [&](const nlmsghdr& header) {
                 const auto& seen = *static_cast<const unix_diag_msg*>(NLMSG_DATA(&header));
                 if (seen.udiag_ino != inode_of(one) && seen.udiag_ino != inode_of(other)) return;
                 ++seen_both;
                 CHECK_EQ(seen.udiag_type, SOCK_STREAM);
                 CHECK_EQ(seen.udiag_state, TCP_ESTABLISHED);
                 auto left = static_cast<unsigned>(header.nlmsg_len - NLMSG_LENGTH(sizeof seen));
                 const bool reader = seen.udiag_ino == inode_of(other);
                 for (auto* a = reinterpret_cast<const rtattr*>(&seen + 1); RTA_OK(a, left);
                      a = RTA_NEXT(a, left)) {
                   if (a->rta_type == UNIX_DIAG_PEER)
                     CHECK_EQ(*static_cast<const uint32_t*>(RTA_DATA(a)), inode_of(reader ? one : other));
                   if (a->rta_type == UNIX_DIAG_RQLEN)
                     CHECK_EQ(static_cast<const unix_diag_rqlen*>(RTA_DATA(a))->udiag_rqueue, reader ? 5 : 0);
                 }
               }),
           0);
  CHECK_EQ(seen_both, 2);
}

TEST(unknown_requests_by_netlink) {
  inet_diag_req_v2 request = {};
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = IPPROTO_IGMP;
  CHECK_EQ(dump_sockets(request, [](const nlmsghdr&) {}), 0);
  request.sdiag_family = AF_MAX;
  CHECK_EQ(dump_sockets(request, [](const nlmsghdr&) {}), EINVAL);
}

TEST(error_queue_is_empty) {
  Connection c;
  char byte = 0;
  FAILS(EAGAIN, recv(c.client, &byte, 1, MSG_ERRQUEUE));
  const Fd datagrams(OK(socket(AF_INET, SOCK_DGRAM, 0)));
  FAILS(EAGAIN, recv(datagrams, &byte, 1, MSG_ERRQUEUE));
}

TEST(server_with_forked_clients) {
  Fd listener = tcp_listener(64);
  uint16_t port = port_of(listener);
  std::vector<pid_t> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(check::fork_child([=] {
      Fd fd = tcp_connect(port);
      std::string request(1000, static_cast<char>('a' + i)), reply(1000, 0);
      OK(send(fd, request.data(), request.size(), 0));
      CHECK_EQ(OK(recv(fd, reply.data(), reply.size(), MSG_WAITALL)), 1000);
      CHECK_EQ(reply, request);
    }));
  }
  for (int i = 0; i < 10; ++i) {
    Fd fd(OK(accept(listener, nullptr, nullptr)));
    JOIN(check::fork_child([&] {
      std::string block(1000, 0);
      CHECK_EQ(OK(recv(fd, block.data(), block.size(), MSG_WAITALL)), 1000);
      OK(send(fd, block.data(), block.size(), 0));
    }));
  }
  for (pid_t pid : clients) JOIN(pid);
}

}  // namespace
