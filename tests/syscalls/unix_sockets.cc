// unix(7): stream, datagram, seqpacket, names, ancillary data.
#include <grp.h>
#include <linux/sock_diag.h>
#include <linux/socket.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>

#include "tests/syscalls/check.h"

using check::Fd;
using check::Gate;

namespace {

struct Name {
  explicit Name(const std::string& path) {
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.data(), path.size());
    // A path ends with a zero, an abstract name with its length.
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (path[0] != 0 ? 1 : 0));
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&address); }
  sockaddr_un address = {};
  socklen_t length;
};

std::string abstract(const std::string& suffix) {
  return std::string(1, '\0') + "syscall-test-" + std::to_string(getpid()) + "-" + suffix;
}

struct Pair {
  explicit Pair(int type) {
    int fds[2];
    OK(socketpair(AF_UNIX, type, 0, fds));
    a = Fd(fds[0]);
    b = Fd(fds[1]);
  }
  Fd a, b;
};

Fd listener_at(const std::string& path, int backlog = 10, int type = SOCK_STREAM) {
  Fd fd(OK(socket(AF_UNIX, type, 0)));
  Name name(path);
  OK(bind(fd, name.get(), name.length));
  OK(listen(fd, backlog));
  return fd;
}

Fd connect_to(const std::string& path, int type = SOCK_STREAM) {
  Fd fd(OK(socket(AF_UNIX, type, 0)));
  Name name(path);
  OK(connect(fd, name.get(), name.length));
  return fd;
}

void set_option(int fd, int option, int value) {
  OK(setsockopt(fd, SOL_SOCKET, option, &value, sizeof value));
}

int get_option(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  OK(getsockopt(fd, SOL_SOCKET, option, &value, &length));
  CHECK_EQ(length, 4u);
  return value;
}

TEST(stream_pair) {
  Pair p(SOCK_STREAM);
  CHECK_EQ(OK(write(p.a, "hello", 5)), 5);
  CHECK_EQ(OK(send(p.b, "world!", 6, 0)), 6);
  char text[16];
  CHECK_EQ(OK(read(p.b, text, 3)), 3);
  CHECK_EQ(OK(recv(p.b, text + 3, 10, 0)), 2);
  CHECK_EQ(std::string(text, 5), "hello");
  CHECK_EQ(OK(read(p.a, text, 16)), 6);
  FAILS(EAGAIN, recv(p.a, text, 1, MSG_DONTWAIT));
  p.b.close();
  CHECK_EQ(OK(read(p.a, text, 1)), 0);
  signal(SIGPIPE, SIG_IGN);
  FAILS(EPIPE, write(p.a, "x", 1));
  FAILS(ESPIPE, lseek(p.a, 0, SEEK_SET));
}

TEST(sigpipe_and_nosignal) {
  Pair p(SOCK_STREAM);
  p.b.close();
  JOIN(check::fork_child([&] { FAILS(EPIPE, send(p.a, "x", 1, MSG_NOSIGNAL)); }));
  CHECK_KILLED(WAIT_STATUS(check::fork_child([&] { (void)!send(p.a, "x", 1, 0); })), SIGPIPE);
}

TEST(unread_data_makes_close_a_reset) {
  Pair p(SOCK_STREAM);
  OK(write(p.b, "unread", 6));
  OK(write(p.a, "x", 1));
  p.b.close();
  char text[8];
  // The peer closed with data of ours unread: its data, then ECONNRESET once.
  ssize_t n = read(p.a, text, sizeof text);
  CHECK((n == -1 && errno == ECONNRESET) || n == 6);
}

TEST(datagram_pair_keeps_boundaries) {
  Pair p(SOCK_DGRAM);
  OK(send(p.a, "one", 3, 0));
  OK(send(p.a, "", 0, 0));
  OK(send(p.a, "three", 5, 0));
  char text[16];
  CHECK_EQ(OK(recv(p.b, text, 16, 0)), 3);
  CHECK_EQ(OK(recv(p.b, text, 16, 0)), 0);
  CHECK_EQ(OK(recv(p.b, text, 2, 0)), 2);
  FAILS(EAGAIN, recv(p.b, text, 16, MSG_DONTWAIT));
}

TEST(truncation_is_told) {
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    Pair p(type);
    OK(send(p.a, "message", 7, 0));
    OK(send(p.a, "message", 7, 0));
    char text[4];
    CHECK_EQ(OK(recv(p.b, text, 4, MSG_TRUNC)), 7);
    iovec io = {text, 4};
    msghdr message = {};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    CHECK_EQ(OK(recvmsg(p.b, &message, 0)), 4);
    CHECK(message.msg_flags & MSG_TRUNC);
  }
}

TEST(seqpacket) {
  Pair p(SOCK_SEQPACKET);
  OK(send(p.a, "one", 3, 0));
  OK(send(p.a, "two", 3, 0));
  char text[16];
  CHECK_EQ(OK(recv(p.b, text, 16, 0)), 3);
  CHECK_EQ(OK(recv(p.b, text, 16, 0)), 3);
  p.a.close();
  CHECK_EQ(OK(recv(p.b, text, 16, 0)), 0);
}

TEST(peek) {
  Pair p(SOCK_STREAM);
  OK(write(p.a, "abcdef", 6));
  char text[16];
  CHECK_EQ(OK(recv(p.b, text, 3, MSG_PEEK)), 3);
  CHECK_EQ(OK(recv(p.b, text, 16, MSG_PEEK)), 6);
  CHECK_EQ(OK(recv(p.b, text, 16, 0)), 6);
  Pair d(SOCK_DGRAM);
  OK(send(d.a, "abc", 3, 0));
  CHECK_EQ(OK(recv(d.b, text, 16, MSG_PEEK)), 3);
  CHECK_EQ(OK(recv(d.b, text, 16, 0)), 3);
}

TEST(wait_for_all) {
  Pair p(SOCK_STREAM);
  pid_t writer = check::fork_child([&] {
    for (int i = 0; i < 10; ++i) OK(write(p.a, "abc", 3));
  });
  char text[30];
  CHECK_EQ(OK(recv(p.b, text, 30, MSG_WAITALL)), 30);
  JOIN(writer);
}

TEST(shutdown_halves) {
  Pair p(SOCK_STREAM);
  OK(write(p.a, "last", 4));
  OK(shutdown(p.a, SHUT_WR));
  signal(SIGPIPE, SIG_IGN);
  FAILS(EPIPE, write(p.a, "x", 1));
  char text[8];
  CHECK_EQ(OK(read(p.b, text, 8)), 4);
  CHECK_EQ(OK(read(p.b, text, 8)), 0);
  OK(write(p.b, "back", 4));
  CHECK_EQ(OK(read(p.a, text, 8)), 4);
  OK(shutdown(p.a, SHUT_RD));
  CHECK_EQ(OK(read(p.a, text, 8)), 0);
  FAILS(EPIPE, write(p.b, "x", 1));
  FAILS(EINVAL, shutdown(p.a, 9));
}

TEST(shutdown_wakes_a_reader) {
  Pair p(SOCK_STREAM);
  pid_t reader = check::fork_child([&] {
    char byte;
    CHECK_EQ(OK(read(p.b, &byte, 1)), 0);
  });
  WAIT_BLOCKED(reader);
  OK(shutdown(p.a, SHUT_WR));
  JOIN(reader);
}

TEST(connections_by_path) {
  Fd server = listener_at("socket");
  struct stat st;
  OK(stat("socket", &st));
  CHECK(S_ISSOCK(st.st_mode));
  Fd client = connect_to("socket");
  sockaddr_un peer = {};
  socklen_t length = sizeof peer;
  Fd accepted(OK(accept(server, reinterpret_cast<sockaddr*>(&peer), &length)));
  CHECK_EQ(length, 2u);  // the client has no name
  CHECK_EQ(peer.sun_family, AF_UNIX);
  OK(write(client, "hi", 2));
  char text[8];
  CHECK_EQ(OK(read(accepted, text, 8)), 2);
  length = sizeof peer;
  OK(getpeername(client, reinterpret_cast<sockaddr*>(&peer), &length));
  CHECK_EQ(std::string(peer.sun_path), "socket");
  length = sizeof peer;
  OK(getsockname(accepted, reinterpret_cast<sockaddr*>(&peer), &length));
  CHECK_EQ(std::string(peer.sun_path), "socket");
  FAILS(ENXIO, open("socket", O_RDWR));
  OK(unlink("socket"));
  FAILS(ENOENT, [] {
    Fd late(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
    Name name("socket");
    return connect(late, name.get(), name.length);
  }());
  // The connection lives on.
  OK(write(accepted, "ok", 2));
  CHECK_EQ(OK(read(client, text, 8)), 2);
}

TEST(name_errors) {
  Fd a(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  Fd b(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  Name name("s"), other_name("t"), missing("missing/s"), plain("plain");
  OK(bind(a, name.get(), name.length));
  FAILS(EADDRINUSE, bind(b, name.get(), name.length));
  FAILS(EINVAL, bind(a, other_name.get(), other_name.length));
  FAILS(ENOENT, bind(b, missing.get(), missing.length));
  // Bound, but nobody listens; a file that is no socket.
  FAILS(ECONNREFUSED, connect(b, name.get(), name.length));
  WRITE_FILE("plain", "");
  FAILS(ECONNREFUSED, connect(b, plain.get(), plain.length));
  FAILS(EINVAL, listen(b, 1));
  FAILS(EINVAL, bind(b, name.get(), 200));
  sockaddr other = {};
  other.sa_family = AF_INET;
  FAILS(EINVAL, bind(b, &other, sizeof other));
  Fd datagram(OK(socket(AF_UNIX, SOCK_DGRAM, 0)));
  FAILS(EPROTOTYPE, connect(datagram, name.get(), name.length));
  FAILS(EOPNOTSUPP, listen(datagram, 1));
  FAILS(EINVAL, accept(b, nullptr, nullptr));
  char byte;
  FAILS(EINVAL, recv(b, &byte, 1, 0));
  FAILS(ENOTCONN, send(b, "x", 1, MSG_NOSIGNAL));
  FAILS(ENOTSOCK, listen(0, 1));
  FAILS(EAFNOSUPPORT, socket(99, SOCK_STREAM, 0));
  FAILS(ESOCKTNOSUPPORT, socket(AF_UNIX, 9, 0));
  FAILS(EPROTONOSUPPORT, socket(AF_UNIX, SOCK_STREAM, 99));
}

TEST(abstract_names) {
  std::string path = abstract("a");
  Fd server = listener_at(path);
  Fd client = connect_to(path);
  Fd accepted(OK(accept(server, nullptr, nullptr)));
  sockaddr_un seen = {};
  socklen_t length = sizeof seen;
  OK(getpeername(client, reinterpret_cast<sockaddr*>(&seen), &length));
  CHECK_EQ(std::string(seen.sun_path, length - 2), path);
  Fd second(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  Name name(path);
  FAILS(EADDRINUSE, bind(second, name.get(), name.length));
  server.close();
  accepted.close();
  OK(bind(second, name.get(), name.length));
  Name longer(path + "x");
  Fd third(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  FAILS(ECONNREFUSED, connect(third, longer.get(), longer.length));
}

TEST(autobind) {
  Fd fd(OK(socket(AF_UNIX, SOCK_DGRAM, 0)));
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  OK(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t)));
  socklen_t length = sizeof name;
  OK(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length));
  CHECK_EQ(length, sizeof(sa_family_t) + 6);
  CHECK_EQ(name.sun_path[0], 0);
}

TEST(backlog) {
  Fd server = listener_at("s", 1);
  Fd a = connect_to("s"), b = connect_to("s");
  Fd c(OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)));
  Name name("s");
  FAILS(EAGAIN, connect(c, name.get(), name.length));
  Gate ready;
  pid_t waiter = check::fork_child([&] {
    ready.notify();
    Fd d = connect_to("s");
  });
  ready.wait();
  WAIT_BLOCKED(waiter);
  Fd first(OK(accept(server, nullptr, nullptr)));
  JOIN(waiter);
}

TEST(accept_flags_and_nonblocking) {
  Fd server = listener_at("s");
  OK(fcntl(server, F_SETFL, O_NONBLOCK));
  FAILS(EAGAIN, accept(server, nullptr, nullptr));
  Fd client = connect_to("s");
  Fd accepted(OK(accept4(server, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  CHECK(OK(fcntl(accepted, F_GETFL)) & O_NONBLOCK);
  CHECK_EQ(OK(fcntl(accepted, F_GETFD)), FD_CLOEXEC);
  Fd client2 = connect_to("s");
  // Not inherited from the listener.
  Fd plain(OK(accept(server, nullptr, nullptr)));
  CHECK_EQ(OK(fcntl(plain, F_GETFL)) & O_NONBLOCK, 0);
  FAILS(EINVAL, accept4(server, nullptr, nullptr, 1));
}

TEST(data_before_accept) {
  Fd server = listener_at("s");
  {
    Fd client = connect_to("s");
    OK(write(client, "early", 5));
  }
  Fd accepted(OK(accept(server, nullptr, nullptr)));
  char text[8];
  CHECK_EQ(OK(read(accepted, text, 8)), 5);
  CHECK_EQ(OK(read(accepted, text, 8)), 0);
}

TEST(closing_the_listener_refuses_the_waiting) {
  Fd server = listener_at("s");
  Fd client = connect_to("s");
  server.close();
  char byte;
  ssize_t n = read(client, &byte, 1);
  CHECK(n == 0 || (n == -1 && errno == ECONNRESET));
  Fd late(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  Name name("s");
  FAILS(ECONNREFUSED, connect(late, name.get(), name.length));
}

TEST(datagrams_by_name) {
  Fd server(OK(socket(AF_UNIX, SOCK_DGRAM, 0)));
  Name server_name("server"), client_name("client");
  OK(bind(server, server_name.get(), server_name.length));
  Fd client(OK(socket(AF_UNIX, SOCK_DGRAM, 0)));
  OK(bind(client, client_name.get(), client_name.length));
  OK(sendto(client, "ping", 4, 0, server_name.get(), server_name.length));
  sockaddr_un from = {};
  socklen_t length = sizeof from;
  char text[8];
  CHECK_EQ(OK(recvfrom(server, text, 8, 0, reinterpret_cast<sockaddr*>(&from), &length)), 4);
  CHECK_EQ(std::string(from.sun_path), "client");
  OK(sendto(server, "pong", 4, 0, reinterpret_cast<sockaddr*>(&from), length));
  CHECK_EQ(OK(recv(client, text, 8, 0)), 4);
  FAILS(ENOTCONN, send(client, "x", 1, 0));
  OK(connect(client, server_name.get(), server_name.length));
  OK(send(client, "x", 1, 0));
  server.close();
  FAILS(ECONNREFUSED, send(client, "x", 1, 0));
}

// Sends descriptors with one byte of data.
ssize_t send_fds(int socket_fd, const std::vector<int>& fds) {
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  char byte = 'f';
  iovec io = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  return sendmsg(socket_fd, &message, 0);
}

std::vector<int> receive_fds(int socket_fd, size_t room, int flags = 0, int* message_flags = nullptr) {
  std::vector<char> control(CMSG_SPACE(room * sizeof(int)));
  char byte;
  iovec io = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  CHECK_EQ(OK(recvmsg(socket_fd, &message, flags)), 1);
  if (message_flags != nullptr) *message_flags = message.msg_flags;
  std::vector<int> fds;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr) {
    CHECK_EQ(header->cmsg_level, SOL_SOCKET);
    CHECK_EQ(header->cmsg_type, SCM_RIGHTS);
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    fds.resize(count);
    memcpy(fds.data(), CMSG_DATA(header), count * sizeof(int));
  }
  return fds;
}

TEST(passing_a_descriptor) {
  Pair p(SOCK_STREAM);
  WRITE_FILE("a", "0123456789");
  Fd file(OK(open("a", O_RDONLY)));
  CHECK_EQ(OK(send_fds(p.a, {file})), 1);
  pid_t child = check::fork_child([&] {
    auto fds = receive_fds(p.b, 1);
    CHECK_EQ(fds.size(), 1u);
    char text[4];
    CHECK_EQ(OK(read(fds[0], text, 4)), 4);
    CHECK_EQ(std::string(text, 4), "0123");
    CHECK_EQ(OK(fcntl(fds[0], F_GETFD)), 0);
  });
  JOIN(child);
  // One description: the offset is shared.
  CHECK_EQ(OK(lseek(file, 0, SEEK_CUR)), 4);
}

TEST(passed_descriptors_live_in_flight) {
  Pair p(SOCK_STREAM);
  int fds[2];
  OK(pipe(fds));
  OK(send_fds(p.a, {fds[1]}));
  OK(close(fds[1]));
  // The only writer is in flight: no end of file yet.
  OK(fcntl(fds[0], F_SETFL, O_NONBLOCK));
  char byte;
  FAILS(EAGAIN, read(fds[0], &byte, 1));
  auto got = receive_fds(p.b, 1, MSG_CMSG_CLOEXEC);
  CHECK_EQ(OK(fcntl(got[0], F_GETFD)), FD_CLOEXEC);
  OK(write(got[0], "x", 1));
  CHECK_EQ(OK(read(fds[0], &byte, 1)), 1);
  OK(close(got[0]));
  CHECK_EQ(OK(read(fds[0], &byte, 1)), 0);
}

TEST(descriptors_in_flight_are_closed_with_the_socket) {
  int fds[2];
  OK(pipe(fds));
  {
    Pair p(SOCK_STREAM);
    OK(send_fds(p.a, {fds[1]}));
    OK(close(fds[1]));
  }
  char byte;
  CHECK_EQ(OK(read(fds[0], &byte, 1)), 0);
}

TEST(many_descriptors_in_one_message) {
  Pair p(SOCK_STREAM);
  std::vector<int> fds(253, 0);
  OK(send_fds(p.a, fds));
  auto got = receive_fds(p.b, 253);
  CHECK_EQ(got.size(), 253u);
  for (int fd : got) OK(close(fd));
  fds.push_back(0);
  FAILS(EINVAL, send_fds(p.a, fds));
  FAILS(EBADF, send_fds(p.a, {999}));
}

TEST(too_little_room_for_descriptors) {
  Pair p(SOCK_STREAM);
  OK(send_fds(p.a, {0, 1, 2}));
  Fd next(OK(dup(0)));
  int lowest = next;
  next.close();
  int flags = 0;
  auto got = receive_fds(p.b, 1, 0, &flags);
  // Room for one int, but CMSG_SPACE rounds up to eight bytes, so two may fit.
  CHECK(got.size() == 1 || got.size() == 2);
  CHECK(flags & MSG_CTRUNC);
  for (int fd : got) OK(close(fd));
  // The rest were dropped, not leaked.
  Fd again(OK(dup(0)));
  CHECK_EQ(int(again), lowest);
}

TEST(descriptors_separate_stream_messages) {
  Pair p(SOCK_STREAM);
  OK(write(p.a, "before", 6));
  OK(send_fds(p.a, {0}));
  OK(write(p.a, "after", 5));
  char text[32], control[64];
  iovec io = {text, sizeof text};
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = OK(recvmsg(p.b, &message, 0));
  CHECK(n == 6 || n == 7);
  if (n == 6) {
    CHECK(message.msg_controllen == 0);
    auto got = receive_fds(p.b, 1);
    CHECK_EQ(got.size(), 1u);
  }
  CHECK_EQ(OK(read(p.b, text, sizeof text)), 5);
}

TEST(socket_passed_through_itself) {
  // A cycle: collected by the kernel when both ends are closed.
  for (int i = 0; i < 20; ++i) {
    Pair p(SOCK_STREAM);
    OK(send_fds(p.a, {p.b, p.a}));
  }
  Fd low(OK(dup(0)));
  CHECK(low < 20);
}

TEST(sending_a_socket_and_using_it) {
  Pair p(SOCK_DGRAM), q(SOCK_STREAM);
  OK(send_fds(p.a, {q.a}));
  q.a.close();
  auto got = receive_fds(p.b, 1);
  OK(write(got[0], "via", 3));
  char text[4];
  CHECK_EQ(OK(read(q.b, text, 4)), 3);
}

ucred receive_credentials(int fd) {
  char control[CMSG_SPACE(sizeof(ucred))], byte;
  iovec io = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  OK(recvmsg(fd, &message, 0));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  CHECK(header != nullptr);
  CHECK_EQ(header->cmsg_type, SCM_CREDENTIALS);
  ucred credentials;
  memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
  return credentials;
}

ssize_t send_credentials(int fd, ucred credentials) {
  char control[CMSG_SPACE(sizeof(ucred))] = {}, byte = 'c';
  iovec io = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_CREDENTIALS;
  header->cmsg_len = CMSG_LEN(sizeof credentials);
  memcpy(CMSG_DATA(header), &credentials, sizeof credentials);
  return sendmsg(fd, &message, 0);
}

TEST(credentials) {
  Pair p(SOCK_DGRAM);
  set_option(p.b, SO_PASSCRED, 1);
  pid_t child = check::fork_child([&] { OK(write(p.a, "x", 1)); });
  ucred seen = receive_credentials(p.b);
  CHECK_EQ(seen.pid, child);
  CHECK_EQ(seen.uid, getuid());
  CHECK_EQ(seen.gid, getgid());
  JOIN(child);
  OK(send_credentials(p.a, {getpid(), getuid(), getgid()}));
  CHECK_EQ(receive_credentials(p.b).pid, getpid());
  if (check::is_root()) {
    OK(send_credentials(p.a, {getpid(), 1234, 5678}));
    CHECK_EQ(receive_credentials(p.b).uid, 1234u);
    OK(setresuid(65534, 65534, 65534));
  }
  FAILS(EPERM, send_credentials(p.a, {getpid(), 0, 0}));
  FAILS(EPERM, send_credentials(p.a, {1, getuid(), getgid()}));
}

TEST(peer_credentials) {
  Fd server = listener_at("s");
  int fds[2];
  OK(pipe(fds));
  pid_t child = check::fork_child([&] {
    Fd client = connect_to("s");
    char byte;
    OK(read(fds[0], &byte, 1));
  });
  Fd accepted(OK(accept(server, nullptr, nullptr)));
  ucred seen = {};
  socklen_t length = sizeof seen;
  OK(getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &seen, &length));
  CHECK_EQ(seen.pid, child);
  CHECK_EQ(seen.uid, getuid());
  OK(write(fds[1], "x", 1));
  JOIN(child);
}

namespace {

// SO_PEERGROUPS with room for so many.
std::vector<gid_t> peer_groups(int fd, size_t room = 64) {
  std::vector<gid_t> groups(room);
  auto length = static_cast<socklen_t>(room * sizeof(gid_t));
  OK(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length));
  groups.resize(length / sizeof(gid_t));
  return groups;
}

}  // namespace

TEST(peer_groups) {
  gid_t group = 0;
  socklen_t length = sizeof group;
  const Fd unconnected(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  FAILS(ENODATA, getsockopt(unconnected, SOL_SOCKET, SO_PEERGROUPS, &group, &length));
  const Fd internet(OK(socket(AF_INET, SOCK_STREAM, 0)));
  FAILS(ENODATA, getsockopt(internet, SOL_SOCKET, SO_PEERGROUPS, &group, &length));

  std::vector<gid_t> own(static_cast<size_t>(OK(getgroups(0, nullptr))));
  OK(getgroups(static_cast<int>(own.size()), own.data()));
  const Pair before(SOCK_DGRAM);
  CHECK(peer_groups(before.a) == own);
  if (!check::is_root()) return;
  Fd server = listener_at("s");
  const gid_t servers[] = {7, 4, 1000};
  const gid_t clients[] = {33};
  JOIN(check::fork_child([&] {
    OK(setgroups(3, servers));
    OK(listen(server, 10));  // whose groups count: the last one to listen
  }));
  const Fd client(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
  JOIN(check::fork_child([&] {
    OK(setgroups(1, clients));
    Name name("s");
    OK(connect(client, name.get(), name.length));
  }));
  const Fd accepted(OK(accept(server, nullptr, nullptr)));
  CHECK(peer_groups(accepted) == std::vector<gid_t>({33}));
  CHECK(peer_groups(client) == std::vector<gid_t>({4, 7, 1000}));
  // Too little room: how much it takes.
  length = sizeof group;
  FAILS(ERANGE, getsockopt(client, SOL_SOCKET, SO_PEERGROUPS, &group, &length));
  CHECK_EQ(length, 3 * sizeof(gid_t));
  FAILS(ENOPROTOOPT, setsockopt(client, SOL_SOCKET, SO_PEERGROUPS, &group, sizeof group));
}

TEST(credentials_of_nobody) {
  Pair p(SOCK_DGRAM);
  const auto nobody = static_cast<uid_t>(-1);
  FAILS(EINVAL, send_credentials(p.a, {getpid(), nobody, getgid()}));
  FAILS(EINVAL, send_credentials(p.a, {getpid(), getuid(), nobody}));
}

TEST(options_about_buffers) {
  Pair p(SOCK_STREAM);
  CHECK_EQ(get_option(p.a, SO_BUF_LOCK), 0);
  set_option(p.a, SO_SNDBUF, 20'000);
  CHECK_EQ(get_option(p.a, SO_BUF_LOCK), SOCK_SNDBUF_LOCK);
  set_option(p.a, SO_RCVBUF, 30'000);
  CHECK_EQ(get_option(p.a, SO_BUF_LOCK), SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);
  set_option(p.a, SO_BUF_LOCK, SOCK_RCVBUF_LOCK);
  CHECK_EQ(get_option(p.a, SO_BUF_LOCK), SOCK_RCVBUF_LOCK);
  int value = 4;
  FAILS(EINVAL, setsockopt(p.a, SOL_SOCKET, SO_BUF_LOCK, &value, sizeof value));
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t length = sizeof memory;
  OK(getsockopt(p.a, SOL_SOCKET, SO_MEMINFO, memory, &length));
  CHECK_EQ(length, sizeof memory);
  CHECK_EQ(memory[SK_MEMINFO_SNDBUF], 40'000u);
  CHECK_EQ(memory[SK_MEMINFO_RCVBUF], 60'000u);
  CHECK_EQ(memory[SK_MEMINFO_WMEM_ALLOC], 0u);
  OK(write(p.a, "bytes", 5));
  length = sizeof memory;
  OK(getsockopt(p.a, SOL_SOCKET, SO_MEMINFO, memory, &length));
  CHECK(memory[SK_MEMINFO_WMEM_ALLOC] >= 5);
  length = 6;
  OK(getsockopt(p.a, SOL_SOCKET, SO_MEMINFO, memory, &length));
  CHECK_EQ(length, 6);
  FAILS(ENOPROTOOPT, setsockopt(p.a, SOL_SOCKET, SO_MEMINFO, memory, sizeof memory));
}

TEST(options) {
  Pair p(SOCK_STREAM);
  CHECK_EQ(get_option(p.a, SO_TYPE), SOCK_STREAM);
  CHECK_EQ(get_option(p.a, SO_DOMAIN), AF_UNIX);
  CHECK_EQ(get_option(p.a, SO_ERROR), 0);
  CHECK_EQ(get_option(p.a, SO_ACCEPTCONN), 0);
  set_option(p.a, SO_SNDBUF, 20'000);
  CHECK_EQ(get_option(p.a, SO_SNDBUF), 40'000);
  CHECK(get_option(p.a, SO_RCVBUF) > 0);
  Fd server = listener_at("s");
  CHECK_EQ(get_option(server, SO_ACCEPTCONN), 1);
  int value;
  socklen_t length = sizeof value;
  FAILS(ENOPROTOOPT, getsockopt(p.a, SOL_SOCKET, 9999, &value, &length));
  FAILS(EBADF, getsockopt(999, SOL_SOCKET, SO_TYPE, &value, &length));
  FAILS(ENOTSOCK, getsockopt(0, SOL_SOCKET, SO_TYPE, &value, &length));
}

TEST(timeouts) {
  Pair p(SOCK_STREAM);
  timeval limit = {0, 20'000};
  OK(setsockopt(p.a, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
  OK(setsockopt(p.a, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
  char byte;
  uint64_t start = check::now_ns();
  FAILS(EAGAIN, read(p.a, &byte, 1));
  CHECK(check::now_ns() - start >= 18'000'000);
  std::string block(65536, 'x');
  ssize_t n;
  while ((n = write(p.a, block.data(), block.size())) > 0) {
  }
  CHECK_EQ(n, -1);
  CHECK_EQ(errno, EAGAIN);
}

TEST(flow_control) {
  Pair p(SOCK_STREAM);
  constexpr size_t kTotal = 4 << 20;
  pid_t writer = check::fork_child([&] {
    p.b.close();
    std::string block(100'000, 0);
    size_t sent = 0;
    while (sent < kTotal) {
      size_t n = std::min(block.size(), kTotal - sent);
      for (size_t i = 0; i < n; ++i) block[i] = static_cast<char>((sent + i) * 13 >> 2);
      CHECK_EQ(OK(write(p.a, block.data(), n)), ssize_t(n));
      sent += n;
    }
  });
  p.a.close();
  size_t total = 0;
  std::string block(70'000, 0);
  ssize_t n;
  while ((n = OK(read(p.b, block.data(), block.size()))) > 0) {
    for (ssize_t i = 0; i < n; i += 97) {
      CHECK_EQ(block[size_t(i)], static_cast<char>((total + size_t(i)) * 13 >> 2));
    }
    total += size_t(n);
  }
  CHECK_EQ(total, kTotal);
  JOIN(writer);
}

TEST(datagram_queue_is_bounded) {
  Pair p(SOCK_DGRAM);
  OK(fcntl(p.a, F_SETFL, O_NONBLOCK));
  int sent = 0;
  while (sent < 100'000 && send(p.a, "message", 7, 0) == 7) ++sent;
  CHECK(sent < 100'000);
  CHECK_EQ(errno, EAGAIN);
  char text[8];
  for (int i = 0; i < sent; ++i) CHECK_EQ(OK(recv(p.b, text, 8, MSG_DONTWAIT)), 7);
  std::string large(1 << 24, 'x');
  FAILS(EMSGSIZE, send(p.a, large.data(), large.size(), 0));
}

TEST(several_messages_in_one_call) {
  Pair p(SOCK_DGRAM);
  mmsghdr out[3] = {};
  iovec io[3];
  char texts[3][4] = {"one", "two", "xyz"};
  for (size_t i = 0; i < 3; ++i) {
    io[i] = {texts[i], 3};
    out[i].msg_hdr.msg_iov = &io[i];
    out[i].msg_hdr.msg_iovlen = 1;
  }
  CHECK_EQ(OK(sendmmsg(p.a, out, 3, 0)), 3);
  CHECK_EQ(out[2].msg_len, 3u);
  mmsghdr in[5] = {};
  char buffers[5][8];
  iovec io_in[5];
  for (size_t i = 0; i < 5; ++i) {
    io_in[i] = {buffers[i], 8};
    in[i].msg_hdr.msg_iov = &io_in[i];
    in[i].msg_hdr.msg_iovlen = 1;
  }
  CHECK_EQ(OK(recvmmsg(p.b, in, 5, MSG_DONTWAIT, nullptr)), 3);
  CHECK_EQ(std::string(buffers[1], in[1].msg_len), "two");
}

TEST(gathered_and_scattered) {
  Pair p(SOCK_STREAM);
  char a[] = "abc", b[] = "defg";
  iovec out[] = {{a, 3}, {b, 4}};
  msghdr message = {};
  message.msg_iov = out;
  message.msg_iovlen = 2;
  CHECK_EQ(OK(sendmsg(p.a, &message, 0)), 7);
  char c[5], d[5];
  iovec in[] = {{c, 5}, {d, 5}};
  message.msg_iov = in;
  CHECK_EQ(OK(recvmsg(p.b, &message, 0)), 7);
  CHECK_EQ(std::string(c, 5) + std::string(d, 2), "abcdefg");
}

TEST(bytes_waiting) {
  Pair p(SOCK_STREAM);
  OK(write(p.a, "12345", 5));
  int bytes = 0;
  OK(ioctl(p.b, FIONREAD, &bytes));
  CHECK_EQ(bytes, 5);
  int on = 1;
  OK(ioctl(p.b, FIONBIO, &on));
  CHECK(OK(fcntl(p.b, F_GETFL)) & O_NONBLOCK);
}

TEST(accept_wakes_and_polls) {
  Fd server = listener_at("s");
  pollfd entry = {server, POLLIN, 0};
  CHECK_EQ(OK(poll(&entry, 1, 0)), 0);
  pid_t child = check::fork_child([&] {
    Fd accepted(OK(accept(server, nullptr, nullptr)));
    OK(write(accepted, "w", 1));
  });
  WAIT_BLOCKED(child);
  Fd client = connect_to("s");
  char byte;
  CHECK_EQ(OK(read(client, &byte, 1)), 1);
  JOIN(child);
  Fd second = connect_to("s");
  CHECK_EQ(OK(poll(&entry, 1, 0)), 1);
}

TEST(many_clients) {
  Fd server = listener_at("s", 64);
  std::vector<pid_t> children;
  for (int i = 0; i < 20; ++i) {
    children.push_back(check::fork_child([&, i] {
      Fd client = connect_to("s");
      for (int round = 0; round < 5; ++round) {
        int value = i * 100 + round, back = 0;
        OK(write(client, &value, 4));
        CHECK_EQ(OK(recv(client, &back, 4, MSG_WAITALL)), 4);
        CHECK_EQ(back, value + 1);
      }
    }));
  }
  Fd ep(OK(epoll_create1(0)));
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = server;
  OK(epoll_ctl(ep, EPOLL_CTL_ADD, server, &event));
  int open_connections = 0, seen = 0;
  while (seen < 20 || open_connections > 0) {
    epoll_event events[8];
    int n = OK(epoll_wait(ep, events, 8, 10'000));
    CHECK(n > 0);
    for (int i = 0; i < n; ++i) {
      int fd = events[i].data.fd;
      if (fd == server) {
        int accepted = OK(accept(server, nullptr, nullptr));
        event.data.fd = accepted;
        OK(epoll_ctl(ep, EPOLL_CTL_ADD, accepted, &event));
        ++open_connections;
        ++seen;
        continue;
      }
      int value;
      ssize_t got = OK(read(fd, &value, 4));
      if (got == 0) {
        OK(close(fd));
        --open_connections;
      } else {
        ++value;
        OK(write(fd, &value, 4));
      }
    }
  }
  for (pid_t pid : children) JOIN(pid);
}

TEST(peek_offset_in_a_stream) {
  Pair pair(SOCK_STREAM);
  CHECK_EQ(get_option(pair.b, SO_PEEK_OFF), -1);
  OK(write(pair.a, "abcd", 4));
  OK(write(pair.a, "efgh", 4));
  set_option(pair.b, SO_PEEK_OFF, 2);
  char buffer[4];
  CHECK_EQ(OK(recv(pair.b, buffer, 4, MSG_PEEK)), 4);
  CHECK_EQ(std::string(buffer, 4), "cdef");
  CHECK_EQ(get_option(pair.b, SO_PEEK_OFF), 6);
  CHECK_EQ(OK(recv(pair.b, buffer, 4, 0)), 4);
  CHECK_EQ(std::string(buffer, 4), "abcd");
  CHECK_EQ(get_option(pair.b, SO_PEEK_OFF), 2);
  CHECK_EQ(OK(recv(pair.b, buffer, 4, MSG_PEEK)), 2);
  CHECK_EQ(std::string(buffer, 2), "gh");
  FAILS(EAGAIN, recv(pair.b, buffer, 4, MSG_PEEK | MSG_DONTWAIT));
  set_option(pair.b, SO_PEEK_OFF, -1);
  CHECK_EQ(OK(recv(pair.b, buffer, 4, MSG_PEEK)), 4);
  CHECK_EQ(std::string(buffer, 4), "efgh");
}

TEST(peek_offset_in_messages) {
  Pair pair(SOCK_SEQPACKET);
  OK(send(pair.a, "abcd", 4, 0));
  OK(send(pair.a, "ef", 2, 0));
  set_option(pair.b, SO_PEEK_OFF, 1);
  char buffer[8];
  CHECK_EQ(OK(recv(pair.b, buffer, 8, MSG_PEEK)), 3);
  CHECK_EQ(std::string(buffer, 3), "bcd");
  CHECK_EQ(OK(recv(pair.b, buffer, 8, MSG_PEEK)), 2);
  CHECK_EQ(std::string(buffer, 2), "ef");
  CHECK_EQ(OK(recv(pair.b, buffer, 8, 0)), 4);
  CHECK_EQ(get_option(pair.b, SO_PEEK_OFF), 2);
}

TEST(connect_permission) {
  Fd server = listener_at("s");
  OK(chmod("s", 0600));
  OK(chmod(".", 0755));
  if (!check::is_root()) SKIP("not root");
  JOIN(check::fork_child([] {
    OK(setresuid(65534, 65534, 65534));
    Fd client(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
    Name name("s");
    FAILS(EACCES, connect(client, name.get(), name.length));
  }));
}

}  // namespace
