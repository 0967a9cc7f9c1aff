// Sockets, socket(7): what all families share. A family overrides what its sockets can do; what it leaves
// alone answers as Linux does for protocols without the operation.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sentry/net/address.h"
#include "sentry/vfs/file.h"
#include "sentry/vfs/operations.h"

namespace sentry::net {

// Who calls: for names in the tree and for the credentials that travel.
struct Caller {
  const vfs::Caller& files;
  ucred ids{};
  uint64_t rights_limit = 0;  // descriptors that its user may have in flight: RLIMIT_NOFILE
};

// A control message that carries nothing but bytes: SCM_TIMESTAMP, IP_PKTINFO.
struct ControlMessage {
  int level, type;
  std::vector<std::byte> data;
};

// Ancillary data, cmsg(3).
struct Control {
  std::vector<vfs::FileRef> files;    // SCM_RIGHTS
  std::optional<ucred> credentials;   // SCM_CREDENTIALS
  std::vector<ControlMessage> other;  // IP_TOS, UDP_SEGMENT and their kin, to send
};

struct SendRequest {
  int flags = 0;  // MSG_*
  std::optional<Address> to;
  Control control;
  bool nonblocking = false;
  const Caller* caller = nullptr;  // null: write(2), which names nothing
  ucred ids{};                     // of the sender, real
};

struct ReceiveRequest {
  int flags = 0;  // MSG_*
  bool nonblocking = false;
};

// What came. `length` is what recvmsg(2) answers: with MSG_TRUNC the real length of a datagram.
struct Received {
  size_t length = 0;
  int flags = 0;  // MSG_TRUNC, MSG_EOR... of the message
  Address from;   // empty if there is none
  Control control;
  std::vector<ControlMessage> extra;
};

class Socket : public vfs::File {
 public:
  // `flags`: O_NONBLOCK. `owner` made it.
  Socket(int family, int type, int protocol, int flags, const vfs::CredentialsRef& owner);
  ~Socket() override;
  // How many there are.
  static size_t count();

  int family() const { return family_; }
  int type() const { return type_; }
  int protocol() const { return protocol_; }
  // accept4(2) of a connection that was made before anybody asked for it.
  void set_nonblocking(bool on) { flags_ = on ? flags_ | O_NONBLOCK : flags_ & ~O_NONBLOCK; }

  virtual Result<> bind(const Address&, const Caller&) { return Errno(EOPNOTSUPP); }
  virtual Result<> listen(int /*backlog*/, const Caller&) { return Errno(EOPNOTSUPP); }
  // The connection, not yet in any table; its peer_name() is the address that accept(2) answers.
  virtual Result<std::shared_ptr<Socket>> accept(bool /*nonblocking*/) { return Errno(EOPNOTSUPP); }
  virtual Result<> connect(const Address&, const Caller&, bool /*nonblocking*/) { return Errno(EOPNOTSUPP); }
  // EPIPE: the caller raises SIGPIPE unless MSG_NOSIGNAL.
  virtual Result<size_t> send(mm::Source& source, SendRequest& request) = 0;
  virtual Result<Received> receive(mm::Sink& sink, const ReceiveRequest& request) = 0;
  virtual Result<> shutdown(int /*how: SHUT_**/) { return Errno(EOPNOTSUPP); }
  virtual Result<Address> name() = 0;
  virtual Result<Address> peer_name() = 0;  // ENOTCONN

  // Options by level and name; ENOPROTOOPT for unknown ones. `value` is the guest's, of its length. An answer
  // is cut to the guest's room by the caller; the one that may not be cut, SO_PEERGROUPS, is ERANGE then.
  virtual Result<> set_option(int level, int option, std::span<const std::byte> value, const Caller& caller);
  virtual Result<std::vector<std::byte>> get_option(int level, int option, size_t room);

  Result<size_t> read(mm::Sink& sink, const IoOptions& options) override;
  Result<size_t> write(mm::Source& source, const IoOptions& options) override;
  Result<uint64_t> ioctl(mm::AddressSpaceMap& memory, unsigned request, uint64_t argument) override;
  WaitQueue* wait_queue() override { return &queue(); }

  // Whether SO_PASSCRED asks for the sender's credentials.
  bool passes_credentials() const { return options_.passcred; }

 protected:
  // SOL_SOCKET's values; times in nanoseconds, 0 for never.
  struct Options {
    int send_buffer = 212992, receive_buffer = 212992;  // net.core.[rw]mem_default
    Nanoseconds send_timeout = 0, receive_timeout = 0;
    linger linger_option{};
    int priority = 0, mark = 0, receive_low_water = 1, peek_offset = -1;
    bool reuse_address = false, reuse_port = false, keep_alive = false, broadcast = false, passcred = false,
         oob_inline = false, dont_route = false, debug = false, timestamp = false, timestamp_ns = false,
         timestamp_new = false, no_check = false, passsec = false, count_drops = false,
         select_error_queue = false, prefer_busy_poll = false;
    int locked_buffers = 0;  // SOCK_SNDBUF_LOCK, SOCK_RCVBUF_LOCK
    int bound_device = 0;    // an interface's index, or 0
    int incoming_cpu = -1;
    uint64_t pacing_rate = ~uint64_t{0};
  };

  // Where poll() changes are told.
  virtual WaitQueue& queue() = 0;
  // socket(7) SO_ERROR: the pending error, which it clears.
  virtual int take_error() { return 0; }
  virtual bool listening() const { return false; }
  virtual Result<std::vector<std::byte>> peer_credentials();
  virtual Result<std::vector<std::byte>> peer_groups() { return Errno(ENODATA); }
  // socket(7) SO_PEEK_OFF. Whether the family does it, where MSG_PEEK starts, and what moves that on and
  // back.
  virtual bool has_peek_offset() const { return false; }
  size_t peek_start(int flags) const {
    return (flags & MSG_PEEK) != 0 && options_.peek_offset > 0 ? static_cast<size_t>(options_.peek_offset)
                                                               : 0;
  }
  void peeked(size_t count);
  void taken(size_t count);
  // Bytes for FIONREAD and SIOCOUTQ.
  virtual Result<size_t> unread() { return Errno(ENOTTY); }
  virtual Result<size_t> unsent() { return Errno(ENOTTY); }

  // Waits for `ready` as socket calls do: EAGAIN if nonblocking or at the timeout of SO_RCVTIMEO or
  // SO_SNDTIMEO; after a signal ERESTARTSYS, or EINTR where there is a timeout (sock_intr_errno).
  class Patience {
   public:
    Patience(bool nonblocking, Nanoseconds timeout)
        : nonblocking_(nonblocking),
          deadline_(timeout == 0 ? Deadline{} : Deadline{monotonic_now() + timeout}) {}
    template <typename Ready>
    Result<> wait(WaitQueue& queue, Events events, Ready ready) const {
      if (ready()) return {};
      if (nonblocking_) return Errno(EAGAIN);
      const Result<> waited = wait_until(queue, events, ready, deadline_);
      if (waited.is(ETIMEDOUT)) return Errno(EAGAIN);
      if (waited.is(kErestartSys) && deadline_) return Errno(EINTR);
      return waited;
    }

   private:
    bool nonblocking_;
    Deadline deadline_;
  };
  Patience receive_patience(bool nonblocking_now) const {
    return {nonblocking_now || nonblocking(), options_.receive_timeout};
  }
  Patience send_patience(bool nonblocking_now) const {
    return {nonblocking_now || nonblocking(), options_.send_timeout};
  }

  uint64_t inode_number() const;
  // What poll(2) tells of an error or an error queue, SO_SELECT_ERR_QUEUE, for all but streams of the
  // internet.
  Events error_events() const { return EPOLLERR | (options_.select_error_queue ? EPOLLPRI : Events{0}); }
  // Adds when a datagram came, if SO_TIMESTAMP or SO_TIMESTAMPNS asks for it.
  void add_timestamp(Received& received, Nanoseconds arrival) const;

  Options options_;

 private:
  const int family_, type_, protocol_;
};

// An option's value as bytes.
template <typename T>
std::vector<std::byte> option_value(const T& value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  return {bytes, bytes + sizeof value};
}
// The value that the guest gave for an option of type T; EINVAL if it is too short.
template <typename T>
Result<T> option_argument(std::span<const std::byte> value) {
  if (value.size() < sizeof(T)) return Errno(EINVAL);
  T argument;
  std::memcpy(&argument, value.data(), sizeof argument);
  return argument;
}

// socket(2): EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT. `type` without SOCK_CLOEXEC and SOCK_NONBLOCK.
Result<std::shared_ptr<Socket>> make_socket(int family, int type, int protocol, int flags,
                                            const Caller& caller);
// socketpair(2): EOPNOTSUPP for families without.
struct Pair {
  std::shared_ptr<Socket> first, second;
};
Result<Pair> make_socket_pair(int family, int type, int protocol, int flags, const Caller& caller);

}  // namespace sentry::net
