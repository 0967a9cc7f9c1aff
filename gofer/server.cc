// The connection: packets in, packets out, one wait point.
#include "gofer/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "sentry/base/log.h"

namespace gofer {

// Indexed by Op.
const std::array<Server::Handler, kLastOp + 1> Server::kHandlers = {
    nullptr,           &Server::hello,      &Server::attach,      &Server::walk,
    &Server::open,     &Server::open_files, &Server::create,      &Server::mkdir,
    &Server::mknod,    &Server::symlink,    &Server::link,        &Server::unlink,
    &Server::rmdir,    &Server::rename,     &Server::getattr,     &Server::setattr,
    &Server::readdir,  &Server::readlink,   &Server::statfs,      &Server::getxattr,
    &Server::setxattr, &Server::listxattr,  &Server::removexattr, &Server::read,
    &Server::write,    &Server::fsync,      &Server::fallocate,   &Server::forget,
};

Server::Server(int socket, std::vector<AttachPoint> attach_points, uint32_t max_ids,
               std::unique_ptr<Ring> ring)
    : socket_(socket), attach_points_(std::move(attach_points)), ids_(max_ids), ring_(std::move(ring)) {
  for (size_t i = 0; i < attach_points_.size(); ++i) {
    const auto status = status_of(attach_points_[i].fd.get());
    BULKHEAD_CHECK(status.ok(), "attach point {}: error {}", i, status.error().value());
    Entry root;
    root.pinned = true;
    root.attach = static_cast<uint16_t>(i);
    root.type = status->stx_mode & S_IFMT;
    root.device = device_of(*status);
    root.fd = std::move(attach_points_[i].fd);
    roots_.push_back(ids_.insert(std::move(root)));
  }
}

int Server::serve() {
  for (;;) {
    bool socket_ready = true;
    const bool transfers = ring_ && ring_->in_flight() > 0;
    if (transfers) {
      reap_transfers();
      if (ring_->in_flight() > 0) wait_for_anything(socket_ready);
    }
    if (disconnected_) return 0;
    if (!socket_ready) continue;

    std::span<const uint8_t> packet;
    const Received received = receive(/*wait=*/!transfers, packet);
    if (received == Received::kNothing) continue;
    if (received == Received::kEnd) return 0;
    const bool well_formed = complaint_.empty() && handle(packet);
    received_fd_.reset();
    if (!well_formed) {
      sentry::log("the client sent a malformed request: {}; ending its connection", complaint_);
      return kExitProtocol;
    }
  }
}

void Server::wait_for_anything(bool& socket_ready) {
  pollfd polled[2] = {{socket_, POLLIN, 0}, {ring_->fd(), POLLIN, 0}};
  const int status = ::ppoll(polled, 2, nullptr, nullptr);
  BULKHEAD_CHECK(status > 0 || errno == EINTR, "ppoll: error {}", errno);
  socket_ready = status > 0 && polled[0].revents != 0;
}

Server::Received Server::receive(bool wait, std::span<const uint8_t>& packet) {
  iovec vec{request_packet_.data(), request_packet_.size()};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  // Only the greeting may bring a descriptor. Later there is no room for one, and the host drops what comes.
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  if (!greeted_) {
    message.msg_control = control;
    message.msg_controllen = CMSG_LEN(sizeof(int));  // sizeof(control) would have room for two
  }
  const ssize_t size = ::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  if (size < 0) {
    if (errno == EAGAIN || errno == EINTR) return Received::kNothing;
    if (errno == ECONNRESET) return Received::kEnd;
    BULKHEAD_CHECK(false, "recvmsg: error {}", errno);
  }
  for (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, const_cast<cmsghdr*>(header))) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int fd;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    received_fd_ = Fd(fd);
  }
  if (size == 0) {
    // recv(2): end of file, or an empty packet, which no client of this protocol sends.
    return Received::kEnd;
  }
  if (message.msg_flags & MSG_TRUNC) complaint_ = "it is longer than a message may be";
  if (message.msg_flags & MSG_CTRUNC) complaint_ = "it brings descriptors where none belong";
  packet = std::span(request_packet_).first(static_cast<size_t>(size));
  return Received::kRequest;
}

bool Server::handle(std::span<const uint8_t> packet) {
  Decoder in(packet);
  const auto header = in.body<RequestHeader>();
  if (!header.ok()) {
    complaint_ = "its header is cut off";
    return false;
  }
  if (header->op == 0 || header->op > kLastOp || header->reserved != 0) {
    complaint_ = fmt::format("there is no operation {}", header->op);
    return false;
  }
  const bool greeting = header->op == static_cast<uint16_t>(Op::kHello);
  if (greeting == greeted_) {
    complaint_ = greeting ? "it greets twice" : "it does not begin with kHello";
    return false;
  }
  Reply reply(reply_packet_);
  const auto outcome = (this->*kHandlers[header->op])(*header, in, reply);
  if (in.complaint() != nullptr) {
    complaint_ = fmt::format("operation {}: {}", header->op, in.complaint());
    return false;
  }
  if (!reply.deferred()) send_reply(*header, reply, outcome.error().value());
  return true;
}

// Sends the reply, or the error alone. What an undeliverable reply gave is taken back.
void Server::send_reply(const RequestHeader& header, Reply& reply, int error) {
  BULKHEAD_CHECK(reply.body().ok() || error != 0, "the reply of operation {} does not fit", header.op);
  ReplyHeader head{.tag = header.tag, .op = header.op, .error = error};
  size_t size = sizeof(head);
  std::span<const int> fds;
  if (error == 0) {
    fds = reply.donated();
    head.fds = static_cast<uint16_t>(fds.size());
    size = reply.body().size();
  }
  std::memcpy(reply_packet_.data(), &head, sizeof(head));
  int status = send_packet(std::span(reply_packet_).first(size), fds);
  if (status != 0) {
    for (const Id id : reply.issued()) ids_.release(id);
    // unix(7): too many descriptors are in flight. The client must receive some first.
    head.error = status == ETOOMANYREFS ? ENFILE : status;
    head.fds = 0;
    std::memcpy(reply_packet_.data(), &head, sizeof(head));
    status = send_packet(std::span(reply_packet_).first(sizeof(head)), {});
    BULKHEAD_CHECK(status == 0, "sendmsg of an error: error {}", status);
  }
}

// 0, or the errno. A client that has gone is not an error: receive() will see it.
int Server::send_packet(std::span<const uint8_t> packet, std::span<const int> fds) {
  iovec vec{const_cast<uint8_t*>(packet.data()), packet.size()};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxOpen * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  while (::sendmsg(socket_, &message, MSG_NOSIGNAL) < 0) {
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) {
      disconnected_ = true;
      return 0;
    }
    return errno;
  }
  return 0;
}

void Server::reap_transfers() {
  while (const auto finished = ring_->reap()) finish(*finished);
}

void Server::finish_transfers() {
  while (ring_ && ring_->in_flight() > 0) {
    ring_->wait();
    reap_transfers();
  }
}

// Answers a transfer that the ring has done.
void Server::finish(const Ring::Finished& finished) {
  Transfer& transfer = *finished.transfer;
  Writer reply(*transfer.packet);
  const int error = finished.result < 0 ? -finished.result : 0;
  reply.put(ReplyHeader{.tag = transfer.tag, .op = static_cast<uint16_t>(transfer.op), .error = error});
  if (error == 0 && transfer.op == Op::kRead) {
    const auto count = static_cast<uint32_t>(finished.result);
    reply.put(ReadReply{.count = count});
    if (transfer.in_packet) reply.reserve(count);  // the data is there already
  }
  if (error == 0 && transfer.op == Op::kWrite) {
    WriteReply body{.count = static_cast<uint32_t>(finished.result)};
    if (transfer.flags & kWriteAppend) {
      // The client may have released the handle meanwhile; then it does not care about the size.
      if (const auto entry = ids_.handle(transfer.handle); entry.ok()) {
        const auto status = status_of((*entry)->fd.get());
        if (status.ok()) body.size = status->stx_size;
      }
    }
    reply.put(body);
  }
  const int status = send_packet(reply.packet(), {});
  BULKHEAD_CHECK(status == 0, "sendmsg: error {}", status);
  ring_->release(transfer);
}

Transfer& Server::claim_transfer(const RequestHeader& header, Reply& reply) {
  while (ring_->full()) {
    ring_->wait();
    reap_transfers();
  }
  Transfer& transfer = ring_->claim();
  transfer.tag = header.tag;
  transfer.op = static_cast<Op>(header.op);
  transfer.handle = header.id;
  transfer.flags = 0;
  transfer.in_packet = true;
  reply.defer();
  return transfer;
}

Result<> Server::hello(const RequestHeader&, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<HelloRequest>());
  TRY(in.end());
  if (request.version != kProtocolVersion) return Errno(EPROTONOSUPPORT);
  if ((request.buffer_size != 0) != static_cast<bool>(received_fd_) || request.buffer_size > kMaxBuffer)
    return Errno(EINVAL);
  if (received_fd_) {
    // memfd_create(2): a buffer that could shrink under the mapping would kill this process with SIGBUS.
    const int seals = ::fcntl(received_fd_.get(), F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return Errno(EINVAL);
    const auto status = TRY(status_of(received_fd_.get()));
    if (status.stx_size < request.buffer_size) return Errno(EINVAL);
    void* mapped =
        ::mmap(nullptr, request.buffer_size, PROT_READ | PROT_WRITE, MAP_SHARED, received_fd_.get(), 0);
    if (mapped == MAP_FAILED) return host_errno();
    buffer_ = static_cast<uint8_t*>(mapped);
    buffer_size_ = request.buffer_size;
  }
  greeted_ = true;
  reply.body().put(HelloReply{.attach_count = static_cast<uint32_t>(roots_.size()),
                              .max_ids = ids_.limit(),
                              .flags = ring_ ? kHelloUring : 0});
  return {};
}

Result<> Server::attach(const RequestHeader&, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<AttachRequest>());
  TRY(in.end());
  if (request.index >= roots_.size()) return Errno(ENOENT);
  const Id id = roots_[request.index];
  const Entry* root = TRY(ids_.node(id));
  reply.body().put(AttachReply{.node = {.id = id, .attr = to_attr(TRY(status_of(root->fd.get())))},
                               .flags = read_only(*root) ? kAttachReadOnly : 0});
  return {};
}

Result<> Server::forget(const RequestHeader&, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<ForgetRequest>());
  if (request.count == 0 || request.count > kMaxForget) return in.malformed("a count is out of bounds");
  const auto ids = TRY(in.data(request.count * sizeof(Id)));
  TRY(in.end());
  for (size_t i = 0; i < request.count; ++i) {
    Id id;
    std::memcpy(&id, ids.data() + i * sizeof(Id), sizeof(Id));
    ids_.release(id);
  }
  reply.defer();
  return {};
}

Result<struct statx> status_of(int fd) {
  struct statx status;
  TRY(host(::statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &status)));
  return status;
}

uint64_t device_of(const struct statx& status) { return makedev(status.stx_dev_major, status.stx_dev_minor); }

Attr to_attr(const struct statx& status) {
  const auto time = [](const statx_timestamp& from) {
    return Timestamp{.seconds = from.tv_sec, .nanoseconds = from.tv_nsec};
  };
  uint32_t flags = 0;
  if (status.stx_mask & STATX_BTIME) flags |= kAttrHasBtime;
  if (status.stx_attributes & STATX_ATTR_IMMUTABLE) flags |= kAttrImmutable;
  if (status.stx_attributes & STATX_ATTR_APPEND) flags |= kAttrAppend;
  return Attr{.ino = status.stx_ino,
              .size = status.stx_size,
              .blocks = status.stx_blocks,
              .mode = status.stx_mode,
              .nlink = status.stx_nlink,
              .uid = status.stx_uid,
              .gid = status.stx_gid,
              .dev_major = status.stx_dev_major,
              .dev_minor = status.stx_dev_minor,
              .rdev_major = status.stx_rdev_major,
              .rdev_minor = status.stx_rdev_minor,
              .blksize = status.stx_blksize,
              .flags = flags,
              .atime = time(status.stx_atime),
              .mtime = time(status.stx_mtime),
              .ctime = time(status.stx_ctime),
              .btime = time(status.stx_btime)};
}

}  // namespace gofer
