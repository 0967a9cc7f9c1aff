#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>

#include "tests/unit/sentry/net/sockets.h"

namespace sentry::net {
namespace {

using namespace socket_test;

struct Request {
  nlmsghdr header{};
  rtgenmsg family{};
};

std::string request(uint16_t type, uint16_t flags, uint8_t family = AF_UNSPEC) {
  Request value;
  value.header.nlmsg_len = sizeof value;
  value.header.nlmsg_type = type;
  value.header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  value.header.nlmsg_seq = 7;
  value.family.rtgen_family = family;
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// The types of the messages in a datagram; checks that they fill it.
std::vector<int> types(const std::string& datagram) {
  std::vector<int> found;
  size_t offset = 0;
  while (offset + sizeof(nlmsghdr) <= datagram.size()) {
    nlmsghdr header{};
    std::memcpy(&header, datagram.data() + offset, sizeof header);
    EXPECT_EQ(header.nlmsg_seq, 7u);
    found.push_back(header.nlmsg_type);
    offset += NLMSG_ALIGN(header.nlmsg_len);
  }
  EXPECT_EQ(offset, datagram.size());
  return found;
}

int error_in(const std::string& datagram) {
  nlmsgerr error{};
  std::memcpy(&error, datagram.data() + sizeof(nlmsghdr), sizeof error);
  return -error.error;
}

class Netlink : public testing::Test {
 protected:
  Actor actor{33};
  SocketRef socket = make(actor, AF_NETLINK, SOCK_RAW);
};

TEST_F(Netlink, DumpsTheLoopback) {
  EXPECT_TRUE(send(actor, *socket, request(RTM_GETLINK, NLM_F_DUMP)).ok());
  EXPECT_NE(socket->poll() & EPOLLIN, 0u);
  const std::string links = receive(*socket, 8192).value();
  EXPECT_EQ(types(links), std::vector<int>{RTM_NEWLINK});
  EXPECT_NE(links.find(std::string("lo\0", 3)), std::string::npos);
  EXPECT_EQ(types(receive(*socket, 8192).value()), std::vector<int>{NLMSG_DONE});
  EXPECT_TRUE(send(actor, *socket, request(RTM_GETADDR, NLM_F_DUMP)).ok());
  EXPECT_EQ(types(receive(*socket, 8192).value()), (std::vector<int>{RTM_NEWADDR, RTM_NEWADDR}));
  receive(*socket, 8192).value();
  EXPECT_TRUE(send(actor, *socket, request(RTM_GETADDR, NLM_F_DUMP, AF_INET)).ok());
  EXPECT_EQ(types(receive(*socket, 8192).value()), std::vector<int>{RTM_NEWADDR});
}

TEST_F(Netlink, RefusesChanges) {
  EXPECT_TRUE(send(actor, *socket, request(RTM_NEWLINK, NLM_F_ACK)).ok());
  EXPECT_EQ(error_in(receive(*socket, 100).value()), EPERM);
  EXPECT_TRUE(send(actor, *socket, request(9999, 0)).ok());
  EXPECT_EQ(error_in(receive(*socket, 100).value()), EOPNOTSUPP);
  EXPECT_TRUE(send(actor, *socket, std::string("short")).ok());
  EXPECT_TRUE(receive(*socket, 100).is(EAGAIN));
}

TEST_F(Netlink, PortsAreTheProcessIdOrUnique) {
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  ASSERT_TRUE(socket->bind(Address::of(any), actor.caller).ok());
  EXPECT_EQ(socket->name().value().as<sockaddr_nl>().nl_pid, 33u);
  const SocketRef other = make(actor, AF_NETLINK, SOCK_DGRAM);
  ASSERT_TRUE(other->bind(Address::of(any), actor.caller).ok());
  EXPECT_NE(other->name().value().as<sockaddr_nl>().nl_pid, 33u);
  any.nl_pid = 33;
  EXPECT_TRUE(make(actor, AF_NETLINK, SOCK_RAW)->bind(Address::of(any), actor.caller).is(EADDRINUSE));
  EXPECT_TRUE(make_socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT, 0, actor.caller).is(EPROTONOSUPPORT));
}

TEST_F(Netlink, AnswersAreBounded) {
  std::string many;
  for (int i = 0; i < 5000; ++i) {
    const std::string one = request(RTM_GETLINK, NLM_F_DUMP);
    many += one + std::string(NLMSG_ALIGN(one.size()) - one.size(), '\0');
  }
  EXPECT_TRUE(send(actor, *socket, many).ok());
  EXPECT_TRUE(receive(*socket, 8192).is(ENOBUFS));
  int answers = 0;
  while (receive(*socket, 8192).ok()) ++answers;
  EXPECT_GT(answers, 10);
  EXPECT_LT(answers, 1000);
}

}  // namespace
}  // namespace sentry::net
