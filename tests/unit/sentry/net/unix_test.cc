#include <sys/epoll.h>
#include <sys/un.h>

#include "sentry/fs/pipe/pipe_file.h"
#include "sentry/net/unix_socket.h"
#include "tests/unit/sentry/net/sockets.h"

namespace sentry::net {
namespace {

using namespace socket_test;

Address abstract(std::string_view name) {
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path + 1, name.data(), name.size());
  return {&un, offsetof(sockaddr_un, sun_path) + 1 + name.size()};
}

class Unix : public testing::Test {
 protected:
  Pair pair(int type) { return make_socket_pair(AF_UNIX, type, 0, 0, actor.caller).value(); }
  SocketRef listener(std::string_view name, int backlog = 5, int type = SOCK_STREAM) {
    SocketRef socket = make(actor, AF_UNIX, type);
    EXPECT_TRUE(socket->bind(abstract(name), actor.caller).ok());
    EXPECT_TRUE(socket->listen(backlog, actor.caller).ok());
    return socket;
  }
  // Whether the other end of the pipe is closed.
  static bool closed(const fs::pipe::Ends& ends) { return (ends.writer->poll() & EPOLLERR) != 0; }
  Actor actor;
};

TEST_F(Unix, StreamJoinsMessages) {
  const Pair ends = pair(SOCK_STREAM);
  EXPECT_EQ(send(actor, *ends.first, "one").value(), 3u);
  EXPECT_EQ(send(actor, *ends.first, "two").value(), 3u);
  EXPECT_EQ(receive(*ends.second, 4, MSG_DONTWAIT | MSG_PEEK).value(), "onet");
  EXPECT_EQ(receive(*ends.second, 4).value(), "onet");
  EXPECT_EQ(receive(*ends.second, 100).value(), "wo");
  EXPECT_TRUE(receive(*ends.second, 100).is(EAGAIN));
}

TEST_F(Unix, PacketsKeepTheirBounds) {
  for (const int type : {SOCK_SEQPACKET, SOCK_DGRAM}) {
    const Pair ends = pair(type);
    EXPECT_EQ(send(actor, *ends.first, "one").value(), 3u);
    EXPECT_EQ(send(actor, *ends.first, "").value(), 0u);
    EXPECT_EQ(send(actor, *ends.first, "three").value(), 5u);
    EXPECT_EQ(receive(*ends.second, 100).value(), "one");
    EXPECT_EQ(receive(*ends.second, 100).value(), "");
    const Message cut = receive_message(*ends.second, 2, MSG_DONTWAIT | MSG_TRUNC).value();
    EXPECT_EQ(cut.text, "th");
    EXPECT_EQ(cut.received.length, 5u);
    EXPECT_EQ(cut.received.flags, MSG_TRUNC);
    EXPECT_TRUE(receive(*ends.second, 100).is(EAGAIN));
  }
}

TEST_F(Unix, SenderWaitsForRoom) {
  const Pair ends = pair(SOCK_STREAM);
  const std::string sent(1 << 20, 'x');
  std::string received;
  fiber_test::run({[&] { EXPECT_EQ(send(actor, *ends.first, sent, 0).value(), sent.size()); },
                   [&] {
                     while (received.size() < sent.size())
                       received += receive(*ends.second, 10000, 0).value();
                   }});
  EXPECT_EQ(received, sent);
  // And without waiting: as much as the send buffer takes.
  const size_t some = send(actor, *ends.first, sent).value();
  EXPECT_GT(some, 150000u);
  EXPECT_LT(some, 300000u);
  EXPECT_EQ(ends.first->poll() & EPOLLOUT, 0u);
  EXPECT_TRUE(send(actor, *ends.first, "x").is(EAGAIN));
  EXPECT_EQ(receive(*ends.second, 1 << 20).value().size(), some);
  EXPECT_NE(ends.first->poll() & EPOLLOUT, 0u);
}

TEST_F(Unix, WaitAllWaits) {
  const Pair ends = pair(SOCK_STREAM);
  std::string received;
  fiber_test::run({[&] { received = receive(*ends.second, 6, MSG_WAITALL).value(); },
                   [&] {
                     send(actor, *ends.first, "abc").value();
                     fiber_test::let_others_block();
                     EXPECT_EQ(received, "");
                     send(actor, *ends.first, "def").value();
                   }});
  EXPECT_EQ(received, "abcdef");
}

TEST_F(Unix, TimeoutsOfSocketCalls) {
  const Pair ends = pair(SOCK_STREAM);
  ASSERT_TRUE(set(actor, *ends.second, SOL_SOCKET, SO_RCVTIMEO, timeval{0, 2000}).ok());
  fiber_test::run({[&] { EXPECT_TRUE(receive(*ends.second, 1, 0).is(EAGAIN)); }});
  fiber_test::run({[&] {
    Fiber::current()->set_interrupt_check([] { return true; });
    EXPECT_TRUE(receive(*ends.second, 1, 0).is(EINTR)) << "no restart where there is a timeout";
    EXPECT_TRUE(receive(*ends.first, 1, 0).is(kErestartSys));
  }});
}

TEST_F(Unix, CloseAndShutdown) {
  Pair ends = pair(SOCK_STREAM);
  EXPECT_TRUE(ends.first->shutdown(SHUT_WR).ok());
  EXPECT_EQ(receive(*ends.second, 1).value(), "");
  EXPECT_TRUE(send(actor, *ends.first, "x").is(EPIPE));
  EXPECT_EQ(send(actor, *ends.second, "x").value(), 1u);
  EXPECT_EQ(ends.second->poll() & (EPOLLIN | EPOLLRDHUP | EPOLLHUP), Events{EPOLLIN | EPOLLRDHUP});
  ends.first.reset();  // with a byte unread
  EXPECT_EQ(ends.second->poll() & (EPOLLHUP | EPOLLERR), Events{EPOLLHUP | EPOLLERR});
  EXPECT_TRUE(receive(*ends.second, 1).is(ECONNRESET));
  EXPECT_EQ(receive(*ends.second, 1).value(), "");
  EXPECT_TRUE(send(actor, *ends.second, "x").is(EPIPE));
}

TEST_F(Unix, BlockedReaderSeesTheEnd) {
  Pair ends = pair(SOCK_STREAM);
  std::string received = "nothing";
  fiber_test::run({[&] { received = receive(*ends.second, 1, 0).value(); },
                   [&] {
                     fiber_test::let_others_block();
                     ends.first.reset();
                   }});
  EXPECT_EQ(received, "");
}

TEST_F(Unix, ConnectAndAccept) {
  const SocketRef server = listener("server");
  EXPECT_EQ(option(*server, SOL_SOCKET, SO_ACCEPTCONN), 1);
  const Actor other(42, 1000);
  const SocketRef client = make(other, AF_UNIX, SOCK_STREAM);
  EXPECT_EQ(client->poll(), Events{EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND | EPOLLHUP});
  ASSERT_TRUE(client->connect(abstract("server"), other.caller, false).ok());
  EXPECT_EQ(send(other, *client, "early").value(), 5u);
  EXPECT_EQ(server->poll(), Events{EPOLLIN | EPOLLRDNORM});
  const SocketRef connection = server->accept(true).value();
  EXPECT_EQ(receive(*connection, 10).value(), "early");
  EXPECT_TRUE(server->accept(true).is(EAGAIN));
  EXPECT_EQ(client->peer_name().value().length(), abstract("server").length());
  EXPECT_EQ(connection->peer_name().value().length(), 2u);
  const auto bytes = connection->get_option(SOL_SOCKET, SO_PEERCRED, sizeof(ucred)).value();
  ucred peer{};
  std::memcpy(&peer, bytes.data(), sizeof peer);
  EXPECT_EQ(peer.pid, 42);
  EXPECT_EQ(peer.uid, 1000u);
  EXPECT_TRUE(client->connect(abstract("server"), other.caller, false).is(EISCONN));
}

TEST_F(Unix, NamesAreExclusiveAndFreed) {
  SocketRef server = listener("name");
  const SocketRef rival = make(actor, AF_UNIX, SOCK_STREAM);
  EXPECT_TRUE(rival->bind(abstract("name"), actor.caller).is(EADDRINUSE));
  {
    const SocketRef client = make(actor, AF_UNIX, SOCK_STREAM);
    ASSERT_TRUE(client->connect(abstract("name"), actor.caller, false).ok());
    const SocketRef connection = server->accept(true).value();
  }
  EXPECT_TRUE(rival->bind(abstract("name"), actor.caller).is(EADDRINUSE))
      << "a connection does not own the name";
  server.reset();
  EXPECT_TRUE(rival->bind(abstract("name"), actor.caller).ok());
  EXPECT_TRUE(rival->bind(abstract("other"), actor.caller).is(EINVAL));
  const SocketRef client = make(actor, AF_UNIX, SOCK_STREAM);
  EXPECT_TRUE(client->connect(abstract("name"), actor.caller, false).is(ECONNREFUSED))
      << "it does not listen";
  EXPECT_TRUE(client->connect(abstract("nobody"), actor.caller, false).is(ECONNREFUSED));
}

TEST_F(Unix, BacklogIsBounded) {
  const SocketRef server = listener("busy", 1);
  std::vector<SocketRef> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(make(actor, AF_UNIX, SOCK_STREAM));
  EXPECT_TRUE(clients[0]->connect(abstract("busy"), actor.caller, true).ok());
  EXPECT_TRUE(clients[1]->connect(abstract("busy"), actor.caller, true).ok());
  clients[2]->set_nonblocking(true);
  EXPECT_TRUE(clients[2]->connect(abstract("busy"), actor.caller, true).is(EAGAIN));
  clients[2]->set_nonblocking(false);
  bool connected = false;
  fiber_test::run({[&] { connected = clients[2]->connect(abstract("busy"), actor.caller, false).ok(); },
                   [&] {
                     fiber_test::let_others_block();
                     EXPECT_FALSE(connected);
                     EXPECT_TRUE(server->accept(true).ok());
                   }});
  EXPECT_TRUE(connected);
}

TEST_F(Unix, ListenerThatGoesResetsThoseInItsQueue) {
  SocketRef server = listener("short");
  const SocketRef client = make(actor, AF_UNIX, SOCK_STREAM);
  ASSERT_TRUE(client->connect(abstract("short"), actor.caller, false).ok());
  server.reset();
  EXPECT_TRUE(receive(*client, 1).is(ECONNRESET));
  EXPECT_TRUE(send(actor, *client, "x").is(EPIPE));
}

TEST_F(Unix, Datagrams) {
  const SocketRef one = make(actor, AF_UNIX, SOCK_DGRAM), other = make(actor, AF_UNIX, SOCK_DGRAM),
                  third = make(actor, AF_UNIX, SOCK_DGRAM);
  ASSERT_TRUE(one->bind(abstract("one"), actor.caller).ok());
  EXPECT_TRUE(send(actor, *other, "x").is(ENOTCONN));
  EXPECT_EQ(send(actor, *other, "hi", MSG_DONTWAIT, {}, abstract("one")).value(), 2u);
  const Message first = receive_message(*one, 10).value();
  EXPECT_EQ(first.text, "hi");
  EXPECT_EQ(first.received.from.length(), 0u) << "the sender has no name";
  sa_family_t family = AF_UNIX;
  ASSERT_TRUE(other->bind(Address::of(family), actor.caller).ok());
  EXPECT_EQ(other->name().value().length(), offsetof(sockaddr_un, sun_path) + 6)
      << "automatic names have five digits";
  ASSERT_TRUE(other->connect(abstract("one"), actor.caller, false).ok());
  ASSERT_TRUE(one->connect(other->name().value(), actor.caller, false).ok());
  EXPECT_TRUE(send(actor, *third, "x", MSG_DONTWAIT, {}, abstract("one")).is(EPERM))
      << "it has a peer already";
  EXPECT_TRUE(send(actor, *other, std::string(212992, 'x')).is(EMSGSIZE));
}

TEST_F(Unix, DatagramPeerThatIsGone) {
  Pair ends = pair(SOCK_DGRAM);
  ends.second.reset();
  EXPECT_TRUE(send(actor, *ends.first, "x").is(ECONNREFUSED));
  EXPECT_TRUE(send(actor, *ends.first, "x").is(ENOTCONN));
}

TEST_F(Unix, DatagramQueueIsBounded) {
  SocketRef target = make(actor, AF_UNIX, SOCK_DGRAM);
  ASSERT_TRUE(target->bind(abstract("queue"), actor.caller).ok());
  std::vector<SocketRef> senders;
  Result<size_t> result = size_t{0};
  for (int i = 0; i < 20 && result.ok(); ++i) {
    senders.push_back(make(actor, AF_UNIX, SOCK_DGRAM));
    ASSERT_TRUE(senders.back()->connect(abstract("queue"), actor.caller, false).ok());
    for (int j = 0; j < 100 && result.ok(); ++j) result = send(actor, *senders.back(), "x");
  }
  EXPECT_TRUE(result.is(EAGAIN));
  EXPECT_EQ(senders.back()->poll() & EPOLLOUT, 0u);
  bool sent = false;
  fiber_test::run({[&] { sent = send(actor, *senders.back(), "y", 0).ok(); },
                   [&] {
                     fiber_test::let_others_block();
                     EXPECT_FALSE(sent);
                     receive(*target, 1).value();
                   }});
  EXPECT_TRUE(sent);
}

TEST_F(Unix, PassesFiles) {
  const Pair ends = pair(SOCK_STREAM);
  fs::pipe::Ends pipe = fs::pipe::make_pipe(0, actor.credentials);
  send(actor, *ends.first, "before").value();
  send(actor, *ends.first, "with", MSG_DONTWAIT, {pipe.reader}).value();
  send(actor, *ends.first, "after").value();
  pipe.reader.reset();
  EXPECT_FALSE(closed(pipe));
  Message message = receive_message(*ends.second, 100).value();
  EXPECT_EQ(message.text, "beforewith") << "a read ends where files came";
  ASSERT_EQ(message.received.control.files.size(), 1u);
  EXPECT_FALSE(closed(pipe));
  message.received.control.files.clear();
  EXPECT_TRUE(closed(pipe));
  EXPECT_EQ(receive(*ends.second, 100).value(), "after");
}

TEST_F(Unix, FilesOfAnUnreadMessageAreClosed) {
  Pair ends = pair(SOCK_DGRAM);
  fs::pipe::Ends pipe = fs::pipe::make_pipe(0, actor.credentials);
  send(actor, *ends.first, "x", MSG_DONTWAIT, {pipe.reader}).value();
  pipe.reader.reset();
  const Message peeked = receive_message(*ends.second, 1, MSG_DONTWAIT | MSG_PEEK).value();
  EXPECT_EQ(peeked.received.control.files.size(), 1u);
  ends.second.reset();
  EXPECT_FALSE(closed(pipe)) << "the one that was peeked";
}

TEST_F(Unix, RingsOfSocketsInFlightAreCollected) {
  fs::pipe::Ends pipe = fs::pipe::make_pipe(0, actor.credentials);
  fiber_test::run({[&] {
    Pair one = pair(SOCK_STREAM), other = pair(SOCK_STREAM);
    // Each receiving end is only in the queue of the other; a pipe's end goes with them.
    send(actor, *one.first, "x", MSG_DONTWAIT, {other.second}).value();
    send(actor, *other.first, "x", MSG_DONTWAIT, {one.second, pipe.reader}).value();
    pipe.reader.reset();
    one.second.reset();
    other.second.reset();
    collect_garbage();
    EXPECT_TRUE(closed(pipe));
    EXPECT_TRUE(send(actor, *one.first, "x").is(EPIPE));
  }});
}

TEST_F(Unix, ReachableSocketsAreNotCollected) {
  fiber_test::run({[&] {
    Pair outer = pair(SOCK_STREAM), inner = pair(SOCK_STREAM);
    // inner.second holds itself, and can still be received through outer.
    send(actor, *inner.first, "self", MSG_DONTWAIT, {inner.second}).value();
    send(actor, *outer.first, "it", MSG_DONTWAIT, {inner.second}).value();
    inner.second.reset();
    collect_garbage();
    Message message = receive_message(*outer.second, 10).value();
    ASSERT_EQ(message.received.control.files.size(), 1u);
    Message own = receive_message(dynamic_cast<Socket&>(*message.received.control.files[0]), 10).value();
    EXPECT_EQ(own.text, "self");
  }});
}

TEST_F(Unix, LongChainsOfSocketsEndWithoutRecursion) {
  fiber_test::run({[&] {
    fs::pipe::Ends pipe = fs::pipe::make_pipe(0, actor.credentials);
    vfs::FileRef last = std::move(pipe.reader);
    for (int i = 0; i < 20000; ++i) {
      Pair ends = pair(SOCK_DGRAM);
      ASSERT_TRUE(send(actor, *ends.first, "x", MSG_DONTWAIT, {last}).ok());
      last = ends.second;
    }
    last.reset();
    EXPECT_TRUE(closed(pipe));
  }});
}

TEST_F(Unix, FilesInFlightAreLimitedForEachUser) {
  Actor user(7, 1000);
  user.caller.rights_limit = 10;
  const Pair ends = make_socket_pair(AF_UNIX, SOCK_DGRAM, 0, 0, user.caller).value();
  const fs::pipe::Ends pipe = fs::pipe::make_pipe(0, actor.credentials);
  int sent = 0;
  while (sent < 100 && send(user, *ends.first, "x", MSG_DONTWAIT, {pipe.reader}).ok()) ++sent;
  EXPECT_EQ(sent, 11);
  EXPECT_TRUE(send(user, *ends.first, "x", MSG_DONTWAIT, {pipe.reader}).is(ETOOMANYREFS));
  receive(*ends.second, 1).value();
  EXPECT_TRUE(send(user, *ends.first, "x", MSG_DONTWAIT, {pipe.reader}).ok());
}

TEST_F(Unix, SendersAreNotMixedWhereCredentialsAreAsked) {
  const Pair ends = pair(SOCK_STREAM);
  const Actor other(9, 0);
  ASSERT_TRUE(set(actor, *ends.second, SOL_SOCKET, SO_PASSCRED, 1).ok());
  send(actor, *ends.first, "mine").value();
  send(other, *ends.first, "theirs").value();
  const Message first = receive_message(*ends.second, 100).value();
  EXPECT_EQ(first.text, "mine");
  EXPECT_EQ(first.received.control.credentials->pid, 1);
  EXPECT_EQ(receive_message(*ends.second, 100).value().received.control.credentials->pid, 9);
}

TEST_F(Unix, Options) {
  const SocketRef socket = make(actor, AF_UNIX, SOCK_SEQPACKET);
  EXPECT_EQ(option(*socket, SOL_SOCKET, SO_TYPE), SOCK_SEQPACKET);
  EXPECT_EQ(option(*socket, SOL_SOCKET, SO_DOMAIN), AF_UNIX);
  EXPECT_EQ(option(*socket, SOL_SOCKET, SO_SNDBUF), 212992);
  EXPECT_TRUE(set(actor, *socket, SOL_SOCKET, SO_SNDBUF, 10000).ok());
  EXPECT_EQ(option(*socket, SOL_SOCKET, SO_SNDBUF), 20000);
  EXPECT_TRUE(set(actor, *socket, SOL_SOCKET, SO_SNDBUF, 1).ok());
  EXPECT_EQ(option(*socket, SOL_SOCKET, SO_SNDBUF), 4608);
  EXPECT_TRUE(set(actor, *socket, SOL_SOCKET, SO_TYPE, 1).is(ENOPROTOOPT));
  EXPECT_TRUE(set(actor, *socket, SOL_SOCKET, SO_REUSEADDR, char{1}).is(EINVAL));
  EXPECT_TRUE(set(Actor(1, 1000), *socket, SOL_SOCKET, SO_SNDBUFFORCE, 1).is(EPERM));
  EXPECT_TRUE(set(actor, *socket, SOL_SOCKET, SO_RCVTIMEO, timeval{0, 1000000}).is(EDOM));
  EXPECT_TRUE(make_socket(AF_UNIX, SOCK_RDM, 0, 0, actor.caller).is(ESOCKTNOSUPPORT));
  EXPECT_TRUE(make_socket(AF_UNIX, SOCK_STREAM, 5, 0, actor.caller).is(EPROTONOSUPPORT));
  EXPECT_TRUE(make_socket(AF_VSOCK, SOCK_STREAM, 0, 0, actor.caller).is(EAFNOSUPPORT));
}

}  // namespace
}  // namespace sentry::net
