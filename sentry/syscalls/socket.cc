// socket(2) and its family.
#include "sentry/net/socket.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#include <climits>

#include "sentry/kernel/kernel.h"
#include "sentry/net/rights.h"
#include "sentry/syscalls/iovec.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/table.h"

namespace sentry::syscalls {
namespace {

using net::Address;
using net::Socket;
using SocketRef = std::shared_ptr<Socket>;

constexpr int kTypeMask = 0xf;  // include/linux/net.h SOCK_TYPE_MASK
// net.core.optmem_max: room for one call's control messages and options.
constexpr size_t kControlMaximum = 20480;

using MessageFlags = Flags<kMessageFlagNames>;

// The calling task as the sockets see it.
struct Actor {
  explicit Actor(Task& task)
      : files{task.fs(), task.credentials, task.fs().cwd},
        caller{files, {task.group->id, task.credentials->euid, task.credentials->egid}, rights_limit(task)} {}
  // too_many_unix_fds(): the privileged are not limited.
  static uint64_t rights_limit(const Task& task) {
    if (task.credentials->capable(CAP_SYS_RESOURCE) || task.credentials->capable(CAP_SYS_ADMIN))
      return UINT64_MAX;
    return task.group->limit(RLIMIT_NOFILE);
  }
  vfs::Caller files;
  net::Caller caller;
};

Result<SocketRef> socket_at(Task& task, FdNumber fd) {
  const vfs::FileRef file = TRY(task.fds().get_io(fd.value));
  auto socket = std::dynamic_pointer_cast<Socket>(file);
  if (socket == nullptr) return Errno(ENOTSOCK);
  return socket;
}

Result<Address> read_address(Task& task, GuestPtr<const void> place, int length) {
  if (length < 0 || length > static_cast<int>(sizeof(sockaddr_storage))) return Errno(EINVAL);
  sockaddr_storage storage{};
  if (length != 0) TRY(task.memory().read(place.address(), &storage, static_cast<size_t>(length)));
  return Address(&storage, static_cast<size_t>(length));
}

// Copies what fits and says how long the whole is, getsockname(2).
Result<> write_address(Task& task, GuestPtr<void> place, GuestPtr<int> length_place, const Address& address) {
  const int room = TRY(task.memory().read(length_place));
  if (room < 0) return Errno(EINVAL);
  const size_t count = std::min<size_t>(static_cast<unsigned>(room), address.length());
  if (count != 0) TRY(task.memory().write(place.address(), address.data(), count));
  return task.memory().write(length_place, static_cast<int>(address.length()));
}

// Making and connecting ---------------------------------------------------------------------------

Result<int> sys_socket(Task& task, Choice<kAddressFamilyNames> family, Flags<kSocketTypeNames> type,
                       SocketProtocol protocol) {
  const int flags = type & ~kTypeMask;
  if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) return Errno(EINVAL);
  const Actor actor(task);
  const SocketRef socket =
      TRY(net::make_socket(family, type & kTypeMask, protocol, flags & SOCK_NONBLOCK, actor.caller));
  return task.install_fd(socket, (flags & SOCK_CLOEXEC) != 0);
}

Result<> sys_socketpair(Task& task, Choice<kAddressFamilyNames> family, Flags<kSocketTypeNames> type,
                        SocketProtocol protocol, OutFdPair out) {
  const int flags = type & ~kTypeMask;
  if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) return Errno(EINVAL);
  // Linux tells the descriptors before it makes the sockets.
  const int none[2] = {-1, -1};
  TRY(task.memory().write(out.address(), none, sizeof none));
  const Actor actor(task);
  const net::Pair pair =
      TRY(net::make_socket_pair(family, type & kTypeMask, protocol, flags & SOCK_NONBLOCK, actor.caller));
  const bool cloexec = (flags & SOCK_CLOEXEC) != 0;
  const int first = TRY(task.install_fd(pair.first, cloexec));
  const Result<int> second = task.install_fd(pair.second, cloexec);
  if (!second.ok()) {
    task.fds().remove(first);
    return second.error();
  }
  const int fds[2] = {first, *second};
  const Result<> written = task.memory().write(out.address(), fds, sizeof fds);
  if (!written.ok()) {
    task.fds().remove(first);
    task.fds().remove(*second);
  }
  return written;
}

Result<> sys_bind(Task& task, FdNumber fd, InAddress place, int length) {
  const SocketRef socket = TRY(socket_at(task, fd));
  const Address address = TRY(read_address(task, place, length));
  return socket->bind(address, Actor(task).caller);
}

Result<> sys_listen(Task& task, FdNumber fd, int backlog) {
  return TRY(socket_at(task, fd))->listen(backlog, Actor(task).caller);
}

Result<> sys_connect(Task& task, FdNumber fd, InAddress place, int length) {
  TRY(task.fds().get_io(fd.value));
  const Address address = TRY(read_address(task, place, length));
  const SocketRef socket = TRY(socket_at(task, fd));
  return socket->connect(address, Actor(task).caller, false);
}

Result<int> sys_accept4(Task& task, FdNumber fd, OutAddress place, OutLength length,
                        Flags<kSocketFlagNames> flags) {
  TRY(task.fds().get_io(fd.value));
  if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0) return Errno(EINVAL);
  const SocketRef listener = TRY(socket_at(task, fd));
  // No connection may be lost because there is no descriptor for it: EMFILE comes first.
  TRY(task.fds().check_room(task.group->limit(RLIMIT_NOFILE)));
  const SocketRef connection = TRY(listener->accept(false));
  connection->set_nonblocking((flags & SOCK_NONBLOCK) != 0);
  if (place) {
    const Result<Address> peer = connection->peer_name();
    if (!peer.ok()) return Errno(ECONNABORTED);
    TRY(write_address(task, place, length, *peer));
  }
  return task.install_fd(connection, (flags & SOCK_CLOEXEC) != 0);
}

Result<int> sys_accept(Task& task, FdNumber fd, OutAddress place, OutLength length) {
  return sys_accept4(task, fd, place, length, {0});
}

Result<> sys_shutdown(Task& task, FdNumber fd, Choice<kShutdownNames> how) {
  return TRY(socket_at(task, fd))->shutdown(how);
}

Result<> sys_getsockname(Task& task, FdNumber fd, OutAddress place, OutLength length) {
  return write_address(task, place, length, TRY(TRY(socket_at(task, fd))->name()));
}

Result<> sys_getpeername(Task& task, FdNumber fd, OutAddress place, OutLength length) {
  return write_address(task, place, length, TRY(TRY(socket_at(task, fd))->peer_name()));
}

Result<> sys_setsockopt(Task& task, FdNumber fd, Choice<kSocketLevelNames> level, OptionName option,
                        InOption place, int length) {
  const SocketRef socket = TRY(socket_at(task, fd));
  if (length < 0) return Errno(EINVAL);
  if (static_cast<size_t>(length) > kControlMaximum) return Errno(ENOBUFS);
  const std::vector<std::byte> value = TRY(task.memory().read_array(place, static_cast<size_t>(length)));
  return socket->set_option(level, option, value, Actor(task).caller);
}

Result<> sys_getsockopt(Task& task, FdNumber fd, Choice<kSocketLevelNames> level, OptionName option,
                        OutOption place, OptionLength length_place) {
  const SocketRef socket = TRY(socket_at(task, fd));
  const int room = TRY(task.memory().read(length_place));
  if (room < 0) return Errno(EINVAL);
  const std::vector<std::byte> value = TRY(socket->get_option(level, option, static_cast<size_t>(room)));
  if (level == SOL_SOCKET && option == SO_PEERGROUPS && value.size() > static_cast<size_t>(room)) {
    TRY(task.memory().write(length_place, static_cast<int>(value.size())));
    return Errno(ERANGE);
  }
  const size_t count = std::min(value.size(), static_cast<size_t>(room));
  if (count != 0) TRY(task.memory().write(place.address(), value.data(), count));
  return task.memory().write(length_place, static_cast<int>(count));
}

// Sending -----------------------------------------------------------------------------------------

// unix(7) SCM_CREDENTIALS: who may claim to be whom.
Result<ucred> checked_credentials(Task& task, const ucred& claimed) {
  const vfs::Credentials& own = *task.credentials;
  if (claimed.uid == static_cast<uid_t>(-1) || claimed.gid == static_cast<gid_t>(-1)) return Errno(EINVAL);
  if (claimed.pid != task.group->id && !own.capable(CAP_SYS_ADMIN)) return Errno(EPERM);
  if (claimed.uid != own.uid && claimed.uid != own.euid && claimed.uid != own.suid &&
      !own.capable(CAP_SETUID))
    return Errno(EPERM);
  if (claimed.gid != own.gid && claimed.gid != own.egid && claimed.gid != own.sgid &&
      !own.capable(CAP_SETGID))
    return Errno(EPERM);
  if (claimed.pid != task.group->id && task.kernel.find_task(claimed.pid) == nullptr) return Errno(ESRCH);
  return claimed;
}

// socket(7)'s control messages on a socket that carries neither descriptors nor credentials: Linux lets
// those two pass unseen, and the others stand for the options of their name (__sock_cmsg_send).
Result<> check_socket_control(const Task& task, int type, size_t size) {
  const vfs::Credentials& own = *task.credentials;
  switch (type) {
    case SCM_RIGHTS:
    case SCM_CREDENTIALS:
      return {};
    case SO_MARK:
      if (!own.capable(CAP_NET_ADMIN) && !own.capable(CAP_NET_RAW)) return Errno(EPERM);
      return size == sizeof(uint32_t) ? Result<>() : Errno(EINVAL);  // there is nothing to tell it to
    default:
      return Errno(EINVAL);
  }
}

// Ancillary data of one message, already copied: cmsg(3).
Result<net::Control> parse_control(Task& task, const Socket& socket, std::span<const std::byte> bytes) {
  net::Control control;
  while (bytes.size() >= sizeof(cmsghdr)) {
    cmsghdr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.cmsg_len < sizeof header || header.cmsg_len > bytes.size()) return Errno(EINVAL);
    const auto data = bytes.subspan(sizeof header, header.cmsg_len - sizeof header);
    const bool internet = socket.family() == AF_INET || socket.family() == AF_INET6;
    if (header.cmsg_level == SOL_SOCKET && internet) {
      TRY(check_socket_control(task, header.cmsg_type, data.size()));
    } else if (header.cmsg_level == SOL_SOCKET) {
      if (header.cmsg_type == SCM_RIGHTS) {
        if (socket.family() != AF_UNIX) return Errno(EINVAL);
        const size_t count = data.size() / sizeof(int);
        if (control.files.size() + count > net::Rights::kMaximumFiles) return Errno(EINVAL);
        for (size_t i = 0; i < count; ++i) {
          int fd = -1;
          std::memcpy(&fd, data.data() + i * sizeof fd, sizeof fd);
          control.files.push_back(TRY(task.fds().get(fd)));
        }
      } else if (header.cmsg_type == SCM_CREDENTIALS) {
        if (data.size() != sizeof(ucred)) return Errno(EINVAL);
        ucred claimed{};
        std::memcpy(&claimed, data.data(), sizeof claimed);
        control.credentials = TRY(checked_credentials(task, claimed));
      } else {
        return Errno(EINVAL);
      }
    } else if (internet) {
      control.other.push_back({header.cmsg_level, header.cmsg_type, {data.begin(), data.end()}});
    }
    bytes = bytes.subspan(std::min(bytes.size(), CMSG_ALIGN(header.cmsg_len)));
  }
  return control;
}

Result<size_t> send(Task& task, Socket& socket, mm::Source& source, net::SendRequest& request) {
  const Actor actor(task);
  request.caller = &actor.caller;
  request.ids = {task.group->id, task.credentials->uid, task.credentials->gid};
  request.nonblocking = (request.flags & MSG_DONTWAIT) != 0;
  const Result<size_t> sent = socket.send(source, request);
  if (sent.is(EPIPE) && (request.flags & MSG_NOSIGNAL) == 0 && socket.type() != SOCK_DGRAM)
    task.send(kernel::make_signal(SIGPIPE));
  return sent;
}

Result<size_t> sys_sendto(Task& task, FdNumber fd, InBuffer buffer, size_t length, MessageFlags flags,
                          InAddress place, int place_length) {
  const SocketRef socket = TRY(socket_at(task, fd));
  net::SendRequest request;
  request.flags = flags;
  if (place) request.to = TRY(read_address(task, place, place_length));
  mm::GuestSource source(task.memory(), buffer.address(), std::min<uint64_t>(length, kMaximumTransfer));
  return send(task, *socket, source, request);
}

uint64_t guest_address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

Result<std::vector<mm::GuestRange>> message_pieces(Task& task, const msghdr& header) {
  if (header.msg_iovlen > IOV_MAX) return Errno(EMSGSIZE);
  return read_iovec(task, GuestPtr<const iovec>(guest_address(header.msg_iov)), header.msg_iovlen);
}

Result<size_t> send_message(Task& task, Socket& socket, GuestPtr<const msghdr> place, int flags) {
  const msghdr header = TRY(task.memory().read(place));
  net::SendRequest request;
  request.flags = flags;
  const int name_length = static_cast<int>(header.msg_namelen);
  if (name_length < 0) return Errno(EINVAL);
  if (header.msg_name != nullptr && name_length != 0) {
    const int length = std::min(name_length, static_cast<int>(sizeof(sockaddr_storage)));
    request.to = TRY(read_address(task, GuestPtr<const void>(guest_address(header.msg_name)), length));
  }
  const std::vector<mm::GuestRange> pieces = TRY(message_pieces(task, header));
  if (header.msg_control != nullptr && header.msg_controllen != 0) {
    if (header.msg_controllen > kControlMaximum) return Errno(ENOBUFS);
    const GuestPtr<const std::byte> control(guest_address(header.msg_control));
    request.control =
        TRY(parse_control(task, socket, TRY(task.memory().read_array(control, header.msg_controllen))));
  }
  mm::GuestSource source(task.memory(), pieces);
  return send(task, socket, source, request);
}

// MSG_CMSG_COMPAT is the kernel's own mark of 32-bit callers.
Result<> check_message_flags(int flags) {
  constexpr uint32_t kCompatible = 0x80000000;
  if ((static_cast<uint32_t>(flags) & kCompatible) != 0) return Errno(EINVAL);
  return {};
}

Result<size_t> sys_sendmsg(Task& task, FdNumber fd, InMessage message, MessageFlags flags) {
  TRY(check_message_flags(flags));
  return send_message(task, *TRY(socket_at(task, fd)), message, flags);
}

// sendmmsg(2): an error counts only if nothing was sent.
Result<unsigned> sys_sendmmsg(Task& task, FdNumber fd, GuestPtr<mmsghdr> messages, unsigned count,
                              MessageFlags flags) {
  TRY(check_message_flags(flags));
  const SocketRef socket = TRY(socket_at(task, fd));
  count = std::min<unsigned>(count, IOV_MAX);
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t place = messages.at(i).address();
    const Result<size_t> sent = send_message(task, *socket, GuestPtr<const msghdr>(place), flags);
    const Result<> written = !sent.ok()
                                 ? Result<>(sent.error())
                                 : task.memory().write(GuestPtr<unsigned>(place + offsetof(mmsghdr, msg_len)),
                                                       static_cast<unsigned>(*sent));
    if (!written.ok()) {
      if (i != 0) return i;
      return written.error();
    }
  }
  return count;
}

// Receiving ---------------------------------------------------------------------------------------

Result<size_t> sys_recvfrom(Task& task, FdNumber fd, OutBuffer buffer, size_t length, MessageFlags flags,
                            OutAddress place, OutLength place_length) {
  const SocketRef socket = TRY(socket_at(task, fd));
  net::ReceiveRequest request;
  request.flags = flags;
  request.nonblocking = (flags & MSG_DONTWAIT) != 0;
  mm::GuestSink sink(task.memory(), buffer.address(), std::min<uint64_t>(length, kMaximumTransfer));
  const net::Received received = TRY(socket->receive(sink, request));
  if (place) TRY(write_address(task, place, place_length, received.from));
  return received.length;
}

// Control messages on their way to the guest: what does not fit is cut, and MSG_CTRUNC says so (put_cmsg).
class ControlWriter {
 public:
  ControlWriter(Task& task, uint64_t address, size_t room) : task_(task), address_(address), room_(room) {}

  void add(int level, int type, std::span<const std::byte> data) {
    if (left() < sizeof(cmsghdr)) {
      truncated_ = true;
      return;
    }
    cmsghdr header{};
    header.cmsg_level = level;
    header.cmsg_type = type;
    const size_t count = std::min(data.size(), left() - sizeof header);
    truncated_ |= count < data.size();
    header.cmsg_len = sizeof header + count;
    append(&header, sizeof header);
    append(data.data(), count);
    bytes_.resize(std::min(room_, CMSG_ALIGN(bytes_.size())));
  }

  // SCM_RIGHTS: as many descriptors as there is room for, and as the table takes.
  void add_files(const std::vector<vfs::FileRef>& files, bool cloexec) {
    if (files.empty()) return;
    const size_t room = left() < sizeof(cmsghdr) ? 0 : (left() - sizeof(cmsghdr)) / sizeof(int);
    std::vector<int> fds;
    for (const vfs::FileRef& file : files) {
      if (fds.size() == room) break;
      const Result<int> fd = task_.install_fd(file, cloexec);
      if (!fd.ok()) break;
      fds.push_back(*fd);
    }
    truncated_ |= fds.size() < files.size();
    if (fds.empty()) return;
    installed_ = fds;
    add(SOL_SOCKET, SCM_RIGHTS, std::as_bytes(std::span(fds)));
  }

  // The descriptors are withdrawn if the guest cannot receive them.
  Result<> write() {
    if (bytes_.empty()) return {};
    const Result<> written = task_.memory().write(address_, bytes_.data(), bytes_.size());
    if (!written.ok())
      for (const int fd : installed_) task_.fds().remove(fd);
    return written;
  }
  size_t length() const { return bytes_.size(); }
  bool truncated() const { return truncated_; }

 private:
  size_t left() const { return room_ - bytes_.size(); }
  void append(const void* data, size_t size) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }
  Task& task_;
  const uint64_t address_;
  const size_t room_;
  std::vector<std::byte> bytes_;
  std::vector<int> installed_;
  bool truncated_ = false;
};

Result<size_t> receive_message(Task& task, Socket& socket, GuestPtr<msghdr> place, int flags) {
  const msghdr header = TRY(task.memory().read(place));
  if (static_cast<int>(header.msg_namelen) < 0) return Errno(EINVAL);
  mm::GuestSink sink(task.memory(), TRY(message_pieces(task, header)));
  net::ReceiveRequest request;
  request.flags = flags;
  request.nonblocking = (flags & MSG_DONTWAIT) != 0;
  net::Received received = TRY(socket.receive(sink, request));

  const uint64_t base = place.address();
  if (header.msg_name != nullptr) {
    const size_t count = std::min<size_t>(header.msg_namelen, received.from.length());
    if (count != 0) TRY(task.memory().write(guest_address(header.msg_name), received.from.data(), count));
    TRY(task.memory().write(GuestPtr<socklen_t>(base + offsetof(msghdr, msg_namelen)),
                            received.from.length()));
  }
  const size_t room = header.msg_control != nullptr ? header.msg_controllen : 0;
  ControlWriter control(task, guest_address(header.msg_control), room);
  for (const net::ControlMessage& extra : received.extra) control.add(extra.level, extra.type, extra.data);
  if (socket.passes_credentials() && received.control.credentials)
    control.add(SOL_SOCKET, SCM_CREDENTIALS, std::as_bytes(std::span(&*received.control.credentials, 1)));
  control.add_files(received.control.files, (flags & MSG_CMSG_CLOEXEC) != 0);
  TRY(control.write());
  received.flags |= flags & MSG_CMSG_CLOEXEC;
  if (control.truncated()) received.flags |= MSG_CTRUNC;
  TRY(task.memory().write(GuestPtr<int>(base + offsetof(msghdr, msg_flags)), received.flags));
  TRY(task.memory().write(GuestPtr<uint64_t>(base + offsetof(msghdr, msg_controllen)),
                          uint64_t{control.length()}));
  return received.length;
}

Result<size_t> sys_recvmsg(Task& task, FdNumber fd, OutMessage message, MessageFlags flags) {
  TRY(check_message_flags(flags));
  return receive_message(task, *TRY(socket_at(task, fd)), message, flags);
}

// recvmmsg(2). The timeout is looked at after each message, as its BUGS section says.
Result<unsigned> sys_recvmmsg(Task& task, FdNumber fd, GuestPtr<mmsghdr> messages, unsigned count,
                              MessageFlags flag_bits, GuestPtr<timespec> timeout_place) {
  TRY(check_message_flags(flag_bits));
  Deadline deadline;
  if (timeout_place) {
    const timespec timeout = TRY(task.memory().read(timeout_place));
    if (timeout.tv_sec < 0 || timeout.tv_nsec < 0 || timeout.tv_nsec >= kSecond) return Errno(EINVAL);
    constexpr int64_t kLongest = INT64_MAX / kSecond / 2;
    deadline = monotonic_now() + std::min<int64_t>(timeout.tv_sec, kLongest) * kSecond + timeout.tv_nsec;
  }
  const SocketRef socket = TRY(socket_at(task, fd));
  count = std::min<unsigned>(count, IOV_MAX);
  int flags = flag_bits;
  Result<> stopped;
  unsigned done = 0;
  while (done < count) {
    const uint64_t place = messages.at(done).address();
    const Result<size_t> received =
        receive_message(task, *socket, GuestPtr<msghdr>(place), flags & ~MSG_WAITFORONE);
    stopped = !received.ok() ? Result<>(received.error())
                             : task.memory().write(GuestPtr<unsigned>(place + offsetof(mmsghdr, msg_len)),
                                                   static_cast<unsigned>(*received));
    if (!stopped.ok()) break;
    ++done;
    if ((flags & MSG_WAITFORONE) != 0) flags |= MSG_DONTWAIT;
    if (deadline && monotonic_now() >= *deadline) break;
  }
  if (done == 0 && !stopped.ok()) return stopped.error();
  if (deadline) {
    const Nanoseconds left = std::max<Nanoseconds>(0, *deadline - monotonic_now());
    TRY(task.memory().write(timeout_place, to_timespec(left)));
  }
  return done;
}

constexpr Entry kEntries[] = {
    PARTIAL(socket, sys_socket,
            "AF_UNIX; AF_INET and AF_INET6 over the sandbox's own loopback: TCP and UDP; AF_NETLINK: "
            "NETLINK_ROUTE, to look at the loopback, and NETLINK_SOCK_DIAG"),
    COMPLETE(socketpair, sys_socketpair),
    COMPLETE(bind, sys_bind),
    COMPLETE(listen, sys_listen),
    COMPLETE(connect, sys_connect),
    COMPLETE(accept, sys_accept),
    COMPLETE(accept4, sys_accept4),
    COMPLETE(shutdown, sys_shutdown),
    COMPLETE(getsockname, sys_getsockname),
    COMPLETE(getpeername, sys_getpeername),
    PARTIAL(setsockopt, sys_setsockopt,
            "no socket filters (SO_ATTACH_FILTER, SO_ATTACH_BPF and their kin), SO_TIMESTAMPING, SO_TXTIME, "
            "SO_ZEROCOPY, SO_BUSY_POLL_BUDGET, TCP_SAVE_SYN, TCP_ULP, TCP_REPAIR, TCP_MD5SIG, IP_OPTIONS, "
            "IPV6_PKTINFO; no groups by source; priorities, marks and devices are kept, and lead packets "
            "nowhere else"),
    PARTIAL(getsockopt, sys_getsockopt,
            "what setsockopt lacks, and SO_PEERPIDFD, SO_INCOMING_NAPI_ID, SO_NETNS_COOKIE, "
            "TCP_SAVED_SYN, TCP_ZEROCOPY_RECEIVE; TCP_INFO tells the state and a network that loses nothing"),
    COMPLETE(sendto, sys_sendto),
    COMPLETE(sendmsg, sys_sendmsg),
    COMPLETE(sendmmsg, sys_sendmmsg),
    COMPLETE(recvfrom, sys_recvfrom),
    COMPLETE(recvmsg, sys_recvmsg),
    COMPLETE(recvmmsg, sys_recvmmsg),
};

}  // namespace

std::span<const Entry> socket_calls() { return kEntries; }

}  // namespace sentry::syscalls
