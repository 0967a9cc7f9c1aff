#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "sentry/kernel/sysctl.h"
#include "sentry/net/internet_address.h"
#include "tests/unit/sentry/net/sockets.h"

namespace sentry::net {
namespace {

using namespace socket_test;

Address v4(std::string_view ip, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET, std::string(ip).c_str(), &in.sin_addr), 1);
  return Address::of(in);
}

Address v6(std::string_view ip, uint16_t port) {
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET6, std::string(ip).c_str(), &in.sin6_addr), 1);
  return Address::of(in);
}

InternetAddress parse(const Address& address) {
  return parse_internet_address(address, address.family()).value();
}

class Tcp : public testing::Test {
 protected:
  SocketRef socket(int family = AF_INET) { return make(actor, family, SOCK_STREAM); }
  SocketRef listener(const Address& address, int backlog = 5) {
    SocketRef made = socket(address.family());
    EXPECT_TRUE(made->bind(address, actor.caller).ok());
    EXPECT_TRUE(made->listen(backlog, actor.caller).ok());
    return made;
  }
  // Connects without waiting: a connection to a listener with room is there at once.
  Result<> connect(Socket& client, const Address& address) {
    return client.connect(address, actor.caller, true);
  }
  struct Ends {
    SocketRef client, server;
  };
  Ends connected() {
    const SocketRef server = listener(v4("127.0.0.1", 0));
    Ends ends{socket(), nullptr};
    EXPECT_TRUE(connect(*ends.client, server->name().value()).is(EINPROGRESS));
    ends.server = server->accept(true).value();
    return ends;
  }
  Actor actor;
};

TEST_F(Tcp, NamesOfBothEnds) {
  const SocketRef server = listener(v4("0.0.0.0", 8080));
  const SocketRef client = socket();
  EXPECT_EQ(parse(client->name().value()), (InternetAddress{Ip::v4(INADDR_ANY), 0}));
  ASSERT_TRUE(connect(*client, v4("127.1.2.3", 8080)).is(EINPROGRESS));
  EXPECT_EQ(option(*client, SOL_SOCKET, SO_ERROR), 0);
  EXPECT_TRUE(connect(*client, v4("127.1.2.3", 8080)).ok()) << "the second call tells of success";
  EXPECT_TRUE(connect(*client, v4("127.1.2.3", 8080)).is(EISCONN));
  const SocketRef connection = server->accept(true).value();
  EXPECT_EQ(parse(client->peer_name().value()), parse(v4("127.1.2.3", 8080)));
  EXPECT_EQ(parse(connection->name().value()), parse(v4("127.1.2.3", 8080)));
  EXPECT_EQ(parse(connection->peer_name().value()), parse(client->name().value()));
  EXPECT_EQ(parse(client->name().value()).ip, Ip::v4(INADDR_LOOPBACK));
  EXPECT_GE(parse(client->name().value()).port, 32768);
  EXPECT_LE(parse(client->name().value()).port, 60999);
  EXPECT_TRUE(server->peer_name().is(ENOTCONN));
}

TEST_F(Tcp, GoesBySysctls) {
  kernel::Sysctls& sysctls = kernel::Sysctls::current();
  const auto set = [](kernel::Sysctl& sysctl, std::string_view text) {
    const kernel::Sysctl::Values before = sysctl.values();
    EXPECT_TRUE(sysctl.set(text)) << text;
    return std::shared_ptr<void>(nullptr, [&sysctl, before](void*) { sysctl.restore(before); });
  };
  [[maybe_unused]] const auto restored = {
      set(sysctls.ip_local_port_range, "2000 2001"), set(sysctls.tcp_keepalive_probes, "3"),
      set(sysctls.tcp_keepalive_time, "17"), set(sysctls.ip_default_ttl, "9"), set(sysctls.bindv6only, "1")};
  const SocketRef server = listener(v4("127.0.0.1", 0)), other = listener(v4("127.0.0.1", 0));
  EXPECT_EQ(parse(server->name().value()).port + parse(other->name().value()).port, 4001);
  EXPECT_TRUE(socket()->bind(v4("127.0.0.1", 0), actor.caller).is(EADDRINUSE));
  const SocketRef made = socket(), modern = socket(AF_INET6);
  EXPECT_EQ(option(*made, IPPROTO_TCP, TCP_KEEPIDLE), 17);
  EXPECT_EQ(option(*made, IPPROTO_TCP, TCP_KEEPCNT), 3);
  EXPECT_EQ(option(*made, IPPROTO_IP, IP_TTL), 9);
  EXPECT_EQ(option(*modern, IPPROTO_IPV6, IPV6_V6ONLY), 1);
  EXPECT_TRUE(modern->bind(v6("::", 8089), actor.caller).ok());
  EXPECT_TRUE(made->bind(v4("0.0.0.0", 8089), actor.caller).ok()) << "not taken";
}

TEST_F(Tcp, ManyConnectionsMayWait) {
  kernel::Sysctl& somaxconn = kernel::Sysctls::current().somaxconn;
  const kernel::Sysctl::Values before = somaxconn.values();
  ASSERT_TRUE(somaxconn.set("2"));
  const SocketRef server = listener(v4("127.0.0.1", 8090), 100);
  somaxconn.restore(before);
  std::vector<SocketRef> clients;
  int connected = 0;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(socket());
    EXPECT_TRUE(connect(*clients.back(), v4("127.0.0.1", 8090)).is(EINPROGRESS));
    connected += (clients.back()->poll() & EPOLLOUT) != 0;
  }
  EXPECT_EQ(connected, 3) << "one more than the backlog, as on Linux";
}

TEST_F(Tcp, WhatCannotBeReached) {
  const SocketRef one = socket();
  EXPECT_EQ(one->poll(), Events{EPOLLOUT | EPOLLWRNORM | EPOLLHUP});
  EXPECT_TRUE(one->connect(v4("127.0.0.1", 9), actor.caller, false).is(ECONNREFUSED));
  EXPECT_EQ(one->poll(), Events{EPOLLOUT | EPOLLWRNORM | EPOLLHUP}) << "as good as new";
  EXPECT_EQ(parse(one->name().value()).port, 0);
  EXPECT_TRUE(connect(*one, v4("127.0.0.1", 9)).is(EINPROGRESS));
  EXPECT_NE(one->poll() & EPOLLERR, 0u);
  EXPECT_NE(one->poll() & EPOLLOUT, 0u);
  EXPECT_EQ(option(*one, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  EXPECT_EQ(option(*one, SOL_SOCKET, SO_ERROR), 0);
  const SocketRef other = socket();
  EXPECT_TRUE(other->connect(v4("8.8.8.8", 53), actor.caller, false).is(ENETUNREACH));
  EXPECT_TRUE(other->connect(v6("::1", 53), actor.caller, false).is(EAFNOSUPPORT));
  EXPECT_TRUE(socket(AF_INET6)->connect(v6("2001:db8::1", 53), actor.caller, false).is(ENETUNREACH));
  EXPECT_TRUE(socket()->bind(v4("10.0.0.1", 1), actor.caller).is(EADDRNOTAVAIL));
  EXPECT_TRUE(socket()->bind(Address("\2", 1), actor.caller).is(EINVAL));
  EXPECT_TRUE(send(actor, *other, "x").is(EPIPE));
  EXPECT_TRUE(receive(*other, 1).is(ENOTCONN));
  EXPECT_TRUE(other->shutdown(SHUT_WR).is(ENOTCONN));
}

TEST_F(Tcp, BothFamiliesMeet) {
  const SocketRef server = listener(v6("::", 8081));
  const SocketRef old = socket();
  ASSERT_TRUE(connect(*old, v4("127.0.0.1", 8081)).is(EINPROGRESS));
  const Address seen = server->accept(true).value()->peer_name().value();
  EXPECT_EQ(seen.family(), AF_INET6);
  EXPECT_EQ(parse(seen).ip, Ip::v4(INADDR_LOOPBACK)) << "mapped";
  const SocketRef modern = socket(AF_INET6);
  ASSERT_TRUE(connect(*modern, v6("::1", 8081)).is(EINPROGRESS));
  EXPECT_TRUE(server->accept(true).ok());
  EXPECT_TRUE(socket()->bind(v4("127.0.0.1", 8081), actor.caller).is(EADDRINUSE));

  const SocketRef only = socket(AF_INET6);
  ASSERT_TRUE(set(actor, *only, IPPROTO_IPV6, IPV6_V6ONLY, 1).ok());
  ASSERT_TRUE(only->bind(v6("::", 8082), actor.caller).ok());
  EXPECT_TRUE(socket()->bind(v4("0.0.0.0", 8082), actor.caller).ok()) << "nothing in common";
}

TEST_F(Tcp, PortsAndReuse) {
  const SocketRef first = listener(v4("127.0.0.1", 8083));
  EXPECT_TRUE(socket()->bind(v4("127.0.0.1", 8083), actor.caller).is(EADDRINUSE));
  EXPECT_TRUE(socket()->bind(v4("0.0.0.0", 8083), actor.caller).is(EADDRINUSE));
  EXPECT_TRUE(socket()->bind(v4("127.0.0.2", 8083), actor.caller).ok());
  EXPECT_TRUE(first->bind(v4("127.0.0.1", 8084), actor.caller).is(EINVAL));
  const SocketRef reusing = socket();
  ASSERT_TRUE(set(actor, *reusing, SOL_SOCKET, SO_REUSEADDR, 1).ok());
  EXPECT_TRUE(reusing->bind(v4("127.0.0.1", 8083), actor.caller).is(EADDRINUSE)) << "not beside a listener";
  const Actor user(1, 1000);
  EXPECT_TRUE(socket()->bind(v4("127.0.0.1", 80), user.caller).is(EACCES));
  std::vector<SocketRef> group;
  for (int i = 0; i < 2; ++i) {
    group.push_back(socket());
    ASSERT_TRUE(set(actor, *group.back(), SOL_SOCKET, SO_REUSEPORT, 1).ok());
    ASSERT_TRUE(group.back()->bind(v4("127.0.0.1", 8085), actor.caller).ok());
    ASSERT_TRUE(group.back()->listen(5, actor.caller).ok());
  }
  std::vector<SocketRef> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(socket());
    ASSERT_TRUE(connect(*clients.back(), v4("127.0.0.1", 8085)).is(EINPROGRESS));
  }
  for (const SocketRef& member : group) EXPECT_TRUE(member->accept(true).ok() && member->accept(true).ok());
}

TEST_F(Tcp, RestartedServerGetsItsPort) {
  SocketRef server = listener(v4("127.0.0.1", 8086));
  const SocketRef client = socket();
  ASSERT_TRUE(connect(*client, v4("127.0.0.1", 8086)).is(EINPROGRESS));
  SocketRef connection = server->accept(true).value();
  server.reset();
  EXPECT_TRUE(socket()->bind(v4("127.0.0.1", 8086), actor.caller).is(EADDRINUSE))
      << "a connection still has it";
  connection.reset();
  listener(v4("127.0.0.1", 8086));
}

TEST_F(Tcp, MovesManyBytesEitherWay) {
  const Ends ends = connected();
  std::string sent;
  for (int i = 0; i < 2'000'000; ++i) sent += static_cast<char>(i * 31);
  std::string received, answer;
  fiber_test::run({[&] {
                     EXPECT_EQ(send(actor, *ends.client, sent, 0).value(), sent.size());
                     EXPECT_TRUE(ends.client->shutdown(SHUT_WR).ok());
                     answer = receive(*ends.client, 100, 0).value();
                   },
                   [&] {
                     for (;;) {
                       const std::string part = receive(*ends.server, 12345, 0).value();
                       if (part.empty()) break;
                       received += part;
                     }
                     EXPECT_TRUE(send(actor, *ends.server, "all of it").ok()) << "half closed";
                   }});
  EXPECT_EQ(received, sent);
  EXPECT_EQ(answer, "all of it");
}

TEST_F(Tcp, BackPressure) {
  const Ends ends = connected();
  const size_t some = send(actor, *ends.client, std::string(4 << 20, 'x')).value();
  EXPECT_LT(some, size_t{1} << 20);
  EXPECT_EQ(ends.client->poll() & EPOLLOUT, 0u);
  EXPECT_TRUE(send(actor, *ends.client, "x").is(EAGAIN));
  EXPECT_EQ(receive(*ends.server, 10, MSG_DONTWAIT | MSG_PEEK).value(), std::string(10, 'x'));
  size_t got = 0;
  while (got < some) got += receive(*ends.server, 100000).value().size();
  EXPECT_EQ(got, some);
  EXPECT_NE(ends.client->poll() & EPOLLOUT, 0u);
}

TEST_F(Tcp, SmallWritesCostLittle) {
  const Ends ends = connected();
  for (int i = 0; i < 10000; ++i) ASSERT_TRUE(send(actor, *ends.client, "ab").ok());
  EXPECT_EQ(receive(*ends.server, 100000).value().substr(0, 6), "ababab");
}

TEST_F(Tcp, CloseWithoutUnreadBytesIsAnEnd) {
  Ends ends = connected();
  send(actor, *ends.client, "last").value();
  ends.client.reset();
  EXPECT_EQ(ends.server->poll() & (EPOLLIN | EPOLLRDHUP | EPOLLHUP), Events{EPOLLIN | EPOLLRDHUP});
  EXPECT_EQ(receive(*ends.server, 10).value(), "last");
  EXPECT_EQ(receive(*ends.server, 10).value(), "");
  EXPECT_EQ(send(actor, *ends.server, "too late").value(), 8u) << "the reset comes back for it";
  EXPECT_TRUE(send(actor, *ends.server, "x").is(EPIPE));
}

TEST_F(Tcp, CloseWithUnreadBytesResets) {
  Ends ends = connected();
  send(actor, *ends.client, "unread").value();
  ends.server.reset();
  EXPECT_NE(ends.client->poll() & EPOLLERR, 0u);
  EXPECT_TRUE(receive(*ends.client, 10).is(ECONNRESET));
  EXPECT_EQ(receive(*ends.client, 10).value(), "");
  EXPECT_TRUE(send(actor, *ends.client, "x").is(EPIPE));

  Ends other = connected();
  ASSERT_TRUE(set(actor, *other.server, SOL_SOCKET, SO_LINGER, linger{1, 0}).ok());
  other.server.reset();
  EXPECT_TRUE(receive(*other.client, 10).is(ECONNRESET)) << "and so does SO_LINGER with 0";
}

TEST_F(Tcp, FullBacklogKeepsConnectorsWaiting) {
  const SocketRef server = listener(v4("127.0.0.1", 8087), 0);
  const SocketRef first = socket(), second = socket(), third = socket();
  EXPECT_TRUE(connect(*first, v4("127.0.0.1", 8087)).is(EINPROGRESS));
  EXPECT_TRUE(connect(*second, v4("127.0.0.1", 8087)).is(EINPROGRESS));
  EXPECT_EQ(second->poll(), Events{0});
  EXPECT_TRUE(connect(*second, v4("127.0.0.1", 8087)).is(EALREADY));
  bool connected_now = false;
  fiber_test::run({[&] { connected_now = third->connect(v4("127.0.0.1", 8087), actor.caller, false).ok(); },
                   [&] {
                     fiber_test::let_others_block();
                     EXPECT_TRUE(server->accept(true).ok());
                     EXPECT_NE(second->poll() & EPOLLOUT, 0u);
                     fiber_test::let_others_block();
                     EXPECT_FALSE(connected_now);
                     EXPECT_TRUE(server->accept(true).ok());
                   }});
  EXPECT_TRUE(connected_now);
}

TEST_F(Tcp, ListenerThatGoes) {
  SocketRef server = listener(v4("127.0.0.1", 8088), 0);
  const SocketRef first = socket(), second = socket();
  EXPECT_TRUE(connect(*first, v4("127.0.0.1", 8088)).is(EINPROGRESS));
  EXPECT_TRUE(connect(*second, v4("127.0.0.1", 8088)).is(EINPROGRESS));
  EXPECT_TRUE(server->accept(true).ok());  // takes the first, lets the second in
  EXPECT_TRUE(server->accept(true).ok());
  bool refused = false;
  fiber_test::run({[&] { refused = server->accept(false).is(EINVAL); },
                   [&] {
                     fiber_test::let_others_block();
                     EXPECT_TRUE(server->shutdown(SHUT_RD).ok());
                   }});
  EXPECT_TRUE(refused);
  SocketRef other = listener(v4("127.0.0.1", 8089), 0);
  const SocketRef accepted = socket(), waiting = socket();
  EXPECT_TRUE(connect(*accepted, v4("127.0.0.1", 8089)).is(EINPROGRESS));
  EXPECT_TRUE(connect(*waiting, v4("127.0.0.1", 8089)).is(EINPROGRESS));
  other.reset();
  EXPECT_TRUE(receive(*accepted, 1).is(ECONNRESET));
  EXPECT_EQ(option(*waiting, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

TEST_F(Tcp, Options) {
  const SocketRef one = socket();
  EXPECT_EQ(option(*one, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
  EXPECT_EQ(option(*one, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_TRUE(set(actor, *one, IPPROTO_TCP, TCP_NODELAY, 1).ok());
  EXPECT_EQ(option(*one, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_TRUE(set(actor, *one, IPPROTO_TCP, TCP_KEEPIDLE, 0).is(EINVAL));
  EXPECT_TRUE(set(actor, *one, IPPROTO_TCP, 12345, 0).is(ENOPROTOOPT));
  EXPECT_TRUE(set(actor, *one, IPPROTO_IPV6, IPV6_V6ONLY, 0).is(ENOPROTOOPT));
  EXPECT_TRUE(make_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP, 0, actor.caller).is(EPROTONOSUPPORT));
  EXPECT_TRUE(make_socket(AF_INET, SOCK_SEQPACKET, 0, 0, actor.caller).is(ESOCKTNOSUPPORT));
  EXPECT_TRUE(make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP, 0, Actor(1, 1000).caller).is(EPERM));
  const Ends ends = connected();
  tcp_info info{};
  const auto bytes = ends.client->get_option(IPPROTO_TCP, TCP_INFO, sizeof info).value();
  std::memcpy(&info, bytes.data(), sizeof info);
  EXPECT_EQ(info.tcpi_state, TCP_ESTABLISHED);
}

TEST_F(Tcp, Disconnect) {
  const Ends ends = connected();
  const sockaddr unspecified{};
  EXPECT_TRUE(ends.client->connect(Address::of(unspecified), actor.caller, false).ok());
  EXPECT_TRUE(ends.client->peer_name().is(ENOTCONN));
  EXPECT_TRUE(receive(*ends.server, 1).is(ECONNRESET));
  const SocketRef server = listener(v4("127.0.0.1", 0));
  EXPECT_TRUE(connect(*ends.client, server->name().value()).is(EINPROGRESS));
  EXPECT_TRUE(server->accept(true).ok());
}

}  // namespace
}  // namespace sentry::net
