#include <arpa/inet.h>
#include <sys/epoll.h>

#include "sentry/net/internet_address.h"
#include "tests/unit/sentry/net/sockets.h"

namespace sentry::net {
namespace {

using namespace socket_test;

Address v4(uint32_t ip, uint16_t port) { return to_address({Ip::v4(ip), port}, AF_INET); }
constexpr uint32_t kLocal = INADDR_LOOPBACK;

class Udp : public testing::Test {
 protected:
  SocketRef socket(int family = AF_INET) { return make(actor, family, SOCK_DGRAM); }
  SocketRef bound(uint16_t port, uint32_t ip = kLocal) {
    SocketRef made = socket();
    EXPECT_TRUE(made->bind(v4(ip, port), actor.caller).ok());
    return made;
  }
  Result<size_t> send_to(Socket& from, std::string_view text, const Address& to) {
    return send(actor, from, text, MSG_DONTWAIT, {}, to);
  }
  Actor actor;
};

TEST_F(Udp, DeliversWithTheSendersAddress) {
  const SocketRef server = bound(5000, INADDR_ANY), client = socket();
  EXPECT_TRUE(send(actor, *client, "x").is(EDESTADDRREQ));
  EXPECT_EQ(send_to(*client, "question", v4(kLocal, 5000)).value(), 8u);
  EXPECT_EQ(server->poll() & EPOLLIN, Events{EPOLLIN});
  const Message message = receive_message(*server, 100).value();
  EXPECT_EQ(message.text, "question");
  EXPECT_EQ(send_to(*server, "answer", message.received.from).value(), 6u);
  EXPECT_EQ(receive(*client, 100).value(), "answer");
  EXPECT_TRUE(receive(*client, 100).is(EAGAIN));
  EXPECT_TRUE(send_to(*client, std::string(65508, 'x'), v4(kLocal, 5000)).is(EMSGSIZE));
  EXPECT_TRUE(send_to(*client, "x", v4(kLocal, 0)).is(EINVAL));
  EXPECT_TRUE(send_to(*client, "x", v4(0x08080808, 53)).is(ENETUNREACH));
  EXPECT_TRUE(send_to(*client, "x", v4(INADDR_BROADCAST, 53)).is(EACCES));
}

TEST_F(Udp, ConnectedSocketsTakeOnlyTheirPeersDatagrams) {
  const SocketRef one = bound(5001), other = bound(5002), stranger = socket();
  ASSERT_TRUE(one->connect(v4(kLocal, 5002), actor.caller, false).ok());
  EXPECT_TRUE(send_to(*stranger, "no", v4(kLocal, 5001)).ok());
  EXPECT_TRUE(send_to(*other, "yes", v4(kLocal, 5001)).ok());
  EXPECT_EQ(receive(*one, 10).value(), "yes");
  EXPECT_TRUE(receive(*one, 10).is(EAGAIN));
}

TEST_F(Udp, OnlyTheConnectedHearOfUnreachablePorts) {
  const SocketRef loose = socket(), tied = socket();
  EXPECT_TRUE(send_to(*loose, "x", v4(kLocal, 9)).ok());
  EXPECT_TRUE(send_to(*loose, "x", v4(kLocal, 9)).ok());
  ASSERT_TRUE(tied->connect(v4(kLocal, 9), actor.caller, false).ok());
  EXPECT_TRUE(send(actor, *tied, "x").ok());
  EXPECT_NE(tied->poll() & EPOLLERR, 0u);
  EXPECT_TRUE(receive(*tied, 1).is(ECONNREFUSED));
  EXPECT_TRUE(receive(*tied, 1).is(EAGAIN));
  const sockaddr unspecified{};
  EXPECT_TRUE(tied->connect(Address::of(unspecified), actor.caller, false).ok());
  EXPECT_TRUE(tied->peer_name().is(ENOTCONN));
}

TEST_F(Udp, TheReceiveBufferIsBounded) {
  const SocketRef server = bound(5003), client = socket();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(send_to(*client, std::string(1000, 'x'), v4(kLocal, 5003)).ok());
  int received = 0;
  while (receive(*server, 2000).ok()) ++received;
  EXPECT_GT(received, 100);
  EXPECT_LT(received, 250);
}

TEST_F(Udp, LongDatagramsAreCut) {
  const SocketRef server = bound(5004), client = socket();
  send_to(*client, "123456", v4(kLocal, 5004)).value();
  const Message peeked = receive_message(*server, 2, MSG_DONTWAIT | MSG_PEEK).value();
  EXPECT_EQ(peeked.received.flags, MSG_TRUNC);
  EXPECT_EQ(peeked.received.length, 2u);
  EXPECT_EQ(receive_message(*server, 2, MSG_DONTWAIT | MSG_TRUNC).value().received.length, 6u);
}

TEST_F(Udp, SharedPorts) {
  const SocketRef first = socket(), second = socket();
  ASSERT_TRUE(set(actor, *first, SOL_SOCKET, SO_REUSEADDR, 1).ok());
  ASSERT_TRUE(set(actor, *second, SOL_SOCKET, SO_REUSEADDR, 1).ok());
  ASSERT_TRUE(first->bind(v4(INADDR_ANY, 5005), actor.caller).ok());
  ASSERT_TRUE(second->bind(v4(INADDR_ANY, 5005), actor.caller).ok());
  EXPECT_TRUE(socket()->bind(v4(INADDR_ANY, 5005), actor.caller).is(EADDRINUSE));
}

TEST_F(Udp, TellsWhereADatagramWasSent) {
  const SocketRef server = bound(5006, INADDR_ANY), client = socket();
  ASSERT_TRUE(set(actor, *server, IPPROTO_IP, IP_PKTINFO, 1).ok());
  send_to(*client, "x", v4(0x7f000005, 5006)).value();
  const Message message = receive_message(*server, 10).value();
  ASSERT_EQ(message.received.extra.size(), 1u);
  in_pktinfo info{};
  std::memcpy(&info, message.received.extra[0].data.data(), sizeof info);
  EXPECT_EQ(info.ipi_addr.s_addr, htonl(0x7f000005));
  EXPECT_EQ(info.ipi_ifindex, 1);
}

TEST_F(Udp, BothFamiliesMeet) {
  const SocketRef server = socket(AF_INET6), client = socket();
  ASSERT_TRUE(server->bind(to_address({Ip(), 5007}, AF_INET6), actor.caller).ok());
  send_to(*client, "old", v4(kLocal, 5007)).value();
  const Message message = receive_message(*server, 10).value();
  EXPECT_EQ(message.received.from.family(), AF_INET6);
  EXPECT_EQ(send_to(*server, "back", message.received.from).value(), 4u);
  EXPECT_EQ(receive(*client, 10).value(), "back");
}

}  // namespace
}  // namespace sentry::net
