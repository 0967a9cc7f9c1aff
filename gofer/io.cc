// Contents: opening, reading, writing, syncing. Only regular files and directories are ever opened.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "gofer/server.h"

namespace gofer {

Result<> check_open_flags(uint32_t flags) {
  constexpr uint32_t kAllowed = O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC;
  if ((flags & ~kAllowed) || (flags & O_ACCMODE) == O_ACCMODE) return Errno(EINVAL);
  return {};
}

// The type was read from the O_PATH descriptor, and the magic link leads to that same inode: it cannot be a
// device or a fifo by now. No O_NONBLOCK: it means nothing to a regular file, except that io_uring would
// answer EAGAIN on file systems without RWF_NOWAIT.
Result<Fd> Server::reopen(const Entry& node, int flags) {
  if (node.is_directory()) {
    // A directory has a name in itself, which takes the host much less code; where it may be read but not
    // searched the magic link remains.
    Result<Fd> fd = open_component(node.fd.get(), ".", static_cast<uint64_t>(flags));
    if (fd.ok()) return fd;
  }
  return host_fd(
      ::openat(AT_FDCWD, FdPath(node.fd.get()).c_str(), flags | O_CLOEXEC | O_NOCTTY | O_LARGEFILE));
}

// A walk by name reaches a third of the host's functions that the magic link does. Somebody else may have put
// another file there since: O_NONBLOCK so that a fifo does not hold us up (the mounts are nodev), and what
// was opened is looked at.
std::optional<Fd> Server::reopen_by_name(const Entry& node) {
  if (!node.is_regular() || !known_nowait(node.device).value_or(false)) return std::nullopt;
  const Result<Entry*> directory = ids_.node(node.parent);
  if (!directory.ok()) return std::nullopt;
  Result<Fd> fd = open_component((*directory)->fd.get(), node.name.c_str(),
                                 uint64_t{O_RDONLY} | O_NONBLOCK | O_NOCTTY | O_LARGEFILE);
  if (!fd.ok()) return std::nullopt;
  const auto status = status_of(fd->get());
  if (!status.ok() || status->stx_ino != node.ino || device_of(*status) != node.device) return std::nullopt;
  return std::move(*fd);
}

Result<Opened> Server::open_node(Entry& node, uint32_t flags, Reply& reply) {
  switch (node.type & S_IFMT) {
    case S_IFREG:
      break;
    case S_IFDIR:
      break;
    case S_IFLNK:
      return Errno(ELOOP);
    case S_IFIFO:
    case S_IFSOCK:
      return Errno(ENXIO);
    default:
      return Errno(EACCES);
  }
  if (node.opaque) return Errno(EACCES);
  const bool changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
  if (changes && node.is_directory()) return Errno(EISDIR);
  if (changes && read_only(node)) return Errno(EROFS);
  TRY(ids_.require(1));
  std::optional<Fd> named;
  if (flags == O_RDONLY) named = reopen_by_name(node);
  const bool nonblocking = named.has_value();
  Fd fd = named ? std::move(*named)
                : TRY(reopen(node, static_cast<int>(flags) | (node.is_directory() ? O_DIRECTORY : 0)));
  // The size matters for the probe of a file system that was not seen before only.
  const Opened opened = add_handle(node, std::move(fd), flags, 1, reply);
  TRY(ids_.handle(opened.handle))->nonblocking = nonblocking;
  return opened;
}

Opened Server::add_handle(const Entry& node, Fd fd, uint32_t flags, uint64_t size, Reply& reply) {
  Entry handle;
  handle.kind = Entry::Kind::kHandle;
  handle.attach = node.attach;
  handle.type = node.type;
  handle.device = node.device;
  handle.readable = (flags & O_ACCMODE) != O_WRONLY;
  handle.writable = (flags & O_ACCMODE) != O_RDONLY;
  handle.synchronous = (flags & (O_SYNC | O_DSYNC)) != 0;
  const int raw = fd.get();
  handle.fd = std::move(fd);
  Opened opened;
  if (node.is_regular()) {
    reply.donate(raw);
    if (handle.readable && reads_nowait(node, raw, size)) opened.flags |= kOpenedNowaitRead;
  }
  opened.handle = ids_.insert(std::move(handle));
  reply.issued(opened.handle);
  return opened;
}

std::optional<bool> Server::known_nowait(uint64_t device) const {
  for (const auto& [known, nowait] : nowait_devices_)
    if (known == device) return nowait;
  return std::nullopt;
}

// preadv2(2): a file system that cannot read without waiting answers EOPNOTSUPP. Asked once for each file
// system. An empty file tells nothing, so such an answer is given but not kept.
bool Server::reads_nowait(const Entry& node, int fd, uint64_t size) {
  if (const auto known = known_nowait(node.device)) return *known;
  if (size == 0) return true;
  char byte;
  const iovec vec{&byte, 1};
  const ssize_t got = ::preadv2(fd, &vec, 1, 0, RWF_NOWAIT);
  if (got == 0) return true;
  const bool nowait = got > 0 || errno == EAGAIN;
  nowait_devices_.emplace_back(node.device, nowait);
  return nowait;
}

Result<> Server::open(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<OpenRequest>());
  TRY(in.end());
  TRY(check_open_flags(request.flags));
  Entry* node = TRY(ids_.node(header.id));
  reply.body().put(TRY(open_node(*node, request.flags, reply)));
  return {};
}

Result<> Server::open_files(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<OpenFilesRequest>());
  if (request.count == 0 || request.count > kMaxOpen) return in.malformed("a count is out of bounds");
  std::array<std::string_view, kMaxOpen> names;
  for (size_t i = 0; i < request.count; ++i) names[i] = TRY(in.component());
  TRY(in.end());
  const Entry* directory = TRY(ids_.node(header.id));
  if (!directory->is_directory()) return Errno(ENOTDIR);
  for (size_t i = 0; i < request.count; ++i) {
    OpenedFile file;
    const auto node = lookup(*directory, Name(names[i]).c_str());
    Result<Opened> opened = node.ok() ? Errno(EINVAL) : node.error();
    if (node.ok() && S_ISREG(node->attr.mode)) opened = open_node(*TRY(ids_.node(node->id)), O_RDONLY, reply);
    if (opened.ok()) {
      file.node = *node;
      file.opened = *opened;
      reply.issued(node->id);
    } else {
      file.error = opened.error().value();
      if (node.ok()) ids_.release(node->id);
    }
    reply.body().put(file);
  }
  return {};
}

Result<uint8_t*> Server::shared(uint64_t offset, uint32_t length) const {
  if (offset > buffer_size_ || length > buffer_size_ - offset) return Errno(EINVAL);
  return buffer_ + offset;
}

Result<> Server::read(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<ReadRequest>());
  TRY(in.end());
  const bool in_packet = request.buffer == kInPacket;
  if (request.offset > INT64_MAX || (in_packet && request.length > kMaxInline)) return Errno(EINVAL);
  uint8_t* to = in_packet ? nullptr : TRY(shared(request.buffer, request.length));
  Entry* handle = TRY(ids_.handle(header.id));
  if (handle->is_directory()) return Errno(EISDIR);
  if (!handle->readable) return Errno(EBADF);

  if (handle->nonblocking) {
    // The client has its own descriptor; what it asks us to read is for waiting.
    handle->fd = TRY(reopen(*handle, O_RDONLY));
    handle->nonblocking = false;
  }
  if (ring_) {
    Transfer& transfer = claim_transfer(header, reply);
    transfer.in_packet = in_packet;
    if (in_packet) to = transfer.packet->data() + sizeof(ReplyHeader) + sizeof(ReadReply);
    ring_->read(transfer, handle->fd.get(), to, request.length, request.offset);
    return {};
  }
  void* count_place = reply.body().reserve(sizeof(ReadReply));
  Writer probe = reply.body();  // its place, taken for good when the count is known
  if (in_packet) to = static_cast<uint8_t*>(probe.reserve(request.length));
  const iovec vec{to, request.length};
  const ssize_t got = TRY(host(::preadv2(handle->fd.get(), &vec, 1, static_cast<off_t>(request.offset), 0)));
  if (in_packet) reply.body().reserve(static_cast<size_t>(got));
  const ReadReply result{.count = static_cast<uint32_t>(got)};
  std::memcpy(count_place, &result, sizeof(result));
  return {};
}

namespace {

// A few milliseconds. In cycles, because a clock may be a host call, and only the order of magnitude matters.
constexpr uint64_t kSlowCycles = 10'000'000;
constexpr uint32_t kRingWrites = 256;
constexpr uint32_t kLargestStraightWrite = 1 << 20;

}  // namespace

// A write to the page cache is over before a ring's worker thread would have woken (25 µs against 45 for 4
// KiB on ext4, which cannot write without a worker). But the host may make a writer wait for the disk: once
// one was slow, the next ones take the ring.
bool Server::write_straight(const Entry& handle, const WriteRequest& request) {
  if (handle.synchronous || (request.flags & (kWriteDsync | kWriteSync)) ||
      request.length > kLargestStraightWrite)
    return false;
  if (ring_writes_ == 0) return true;
  --ring_writes_;
  return false;
}

Result<> Server::write(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<WriteRequest>());
  const bool in_packet = request.buffer == kInPacket;
  if (in_packet && request.length > kMaxInline) return in.malformed("a length is out of bounds");
  const uint8_t* from = in_packet ? TRY(in.data(request.length)).data() : nullptr;
  TRY(in.end());
  if (request.flags & ~(kWriteAppend | kWriteDsync | kWriteSync)) return Errno(EINVAL);
  if (request.offset > INT64_MAX) return Errno(EINVAL);
  if (!in_packet) from = TRY(shared(request.buffer, request.length));
  const Entry* handle = TRY(ids_.handle(header.id));
  if (read_only(*handle)) return Errno(EROFS);
  if (!handle->writable) return Errno(EBADF);
  const int rwf = ((request.flags & kWriteAppend) ? RWF_APPEND : 0) |
                  ((request.flags & kWriteDsync) ? RWF_DSYNC : 0) |
                  ((request.flags & kWriteSync) ? RWF_SYNC : 0);

  if (ring_ && !write_straight(*handle, request)) {
    Transfer& transfer = claim_transfer(header, reply);
    transfer.flags = request.flags;
    if (in_packet) {
      std::memcpy(transfer.packet->data(), from, request.length);
      from = transfer.packet->data();
    }
    ring_->write(transfer, handle->fd.get(), from, request.length, request.offset, rwf);
    return {};
  }
  const iovec vec{const_cast<uint8_t*>(from), request.length};
  const uint64_t started = __builtin_ia32_rdtsc();
  const ssize_t put =
      TRY(host(::pwritev2(handle->fd.get(), &vec, 1, static_cast<off_t>(request.offset), rwf)));
  if (__builtin_ia32_rdtsc() - started > kSlowCycles) ring_writes_ = kRingWrites;
  WriteReply result{.count = static_cast<uint32_t>(put)};
  if (request.flags & kWriteAppend) result.size = TRY(status_of(handle->fd.get())).stx_size;
  reply.body().put(result);
  return {};
}

Result<> Server::fsync(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<FsyncRequest>());
  TRY(in.end());
  const Entry* handle = TRY(ids_.handle(header.id));
  if (ring_) {
    ring_->fsync(claim_transfer(header, reply), handle->fd.get(), request.data_only != 0);
    return {};
  }
  TRY(host(request.data_only != 0 ? ::fdatasync(handle->fd.get()) : ::fsync(handle->fd.get())));
  return {};
}

Result<> Server::fallocate(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<FallocateRequest>());
  TRY(in.end());
  constexpr uint32_t kModes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
                              FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
  if (request.mode & ~kModes) return Errno(EOPNOTSUPP);
  if (request.offset > INT64_MAX || request.length > INT64_MAX) return Errno(EINVAL);
  const Entry* handle = TRY(ids_.handle(header.id));
  if (read_only(*handle)) return Errno(EROFS);
  if (!handle->writable) return Errno(EBADF);
  const auto mode = static_cast<int>(request.mode);
  if (ring_) {
    ring_->fallocate(claim_transfer(header, reply), handle->fd.get(), mode, request.offset, request.length);
    return {};
  }
  TRY(host(::fallocate(handle->fd.get(), mode, static_cast<off_t>(request.offset),
                       static_cast<off_t>(request.length))));
  return {};
}

}  // namespace gofer
