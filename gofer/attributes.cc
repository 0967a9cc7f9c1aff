// Attributes, extended attributes, file system figures.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "gofer/server.h"

namespace gofer {

Result<> Server::getattr(const RequestHeader& header, Decoder& in, Reply& reply) {
  TRY(in.end());
  const Entry* entry = TRY(ids_.find(header.id));
  reply.body().put(to_attr(TRY(status_of(entry->fd.get()))));
  return {};
}

namespace {

constexpr uint32_t kSetAll =
    kSetMode | kSetUid | kSetGid | kSetSize | kSetAtime | kSetMtime | kSetAtimeNow | kSetMtimeNow;
constexpr uint32_t kSetTimes = kSetAtime | kSetMtime | kSetAtimeNow | kSetMtimeNow;

// utimensat(2): UTIME_NOW and UTIME_OMIT are values of tv_nsec, which the client says by flags only.
Result<timespec> to_timespec(bool set, bool now, const Timestamp& time) {
  if (now) return timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if (!set) return timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  if (time.nanoseconds >= 1'000'000'000) return Errno(EINVAL);
  return timespec{.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
}

}  // namespace

Result<> Server::setattr(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<SetattrRequest>());
  TRY(in.end());
  const auto valid = request.valid;
  if ((valid & ~kSetAll) || ((valid & kSetMode) && (request.mode & ~07777u))) return Errno(EINVAL);
  const timespec times[2] = {TRY(to_timespec(valid & kSetAtime, valid & kSetAtimeNow, request.atime)),
                             TRY(to_timespec(valid & kSetMtime, valid & kSetMtimeNow, request.mtime))};
  const Entry* node = TRY(changeable_node(header.id));
  const int fd = node->fd.get();

  if (valid & kSetSize) {
    if (request.size > INT64_MAX) return Errno(EINVAL);
    if (node->is_directory()) return Errno(EISDIR);
    if (!node->is_regular()) return Errno(EINVAL);
    if (request.handle != kNoId) {
      const Entry* handle = TRY(ids_.handle(request.handle));
      if (read_only(*handle)) return Errno(EROFS);
      if (!handle->writable) return Errno(EINVAL);  // ftruncate(2)
      TRY(host(::ftruncate(handle->fd.get(), static_cast<off_t>(request.size))));
    } else {
      const Fd writable = TRY(reopen(*node, O_WRONLY));
      TRY(host(::ftruncate(writable.get(), static_cast<off_t>(request.size))));
    }
  }
  if (valid & (kSetUid | kSetGid)) {
    TRY(host(::fchownat(fd, "", (valid & kSetUid) ? request.uid : kKeepId,
                        (valid & kSetGid) ? request.gid : kKeepId, AT_EMPTY_PATH)));
  }
  if (valid & kSetMode) {
    // fchmod(2) takes no O_PATH descriptor. On a symlink's this is EOPNOTSUPP.
    TRY(host(::fchmodat(AT_FDCWD, FdPath(fd).c_str(), request.mode, 0)));
  }
  if (valid & kSetTimes) TRY(host(::utimensat(fd, "", times, AT_EMPTY_PATH)));
  reply.body().put(to_attr(TRY(status_of(fd))));
  return {};
}

Result<> Server::statfs(const RequestHeader& header, Decoder& in, Reply& reply) {
  TRY(in.end());
  const Entry* node = TRY(ids_.find(header.id));
  struct statfs status;
  TRY(host(::fstatfs(node->fd.get(), &status)));
  reply.body().put(StatfsReply{.type = static_cast<uint64_t>(status.f_type),
                               .block_size = static_cast<uint64_t>(status.f_bsize),
                               .blocks = status.f_blocks,
                               .blocks_free = status.f_bfree,
                               .blocks_available = status.f_bavail,
                               .files = status.f_files,
                               .files_free = status.f_ffree,
                               .name_length = static_cast<uint64_t>(status.f_namelen),
                               .fragment_size = static_cast<uint64_t>(status.f_frsize),
                               .flags = static_cast<uint64_t>(status.f_flags)});
  return {};
}

// Extended attributes go by FdPath: fgetxattr(2) and its kin take no O_PATH descriptor.
namespace {

bool is_readable(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("security.") || name.starts_with("system.posix_acl_");
}

Result<> check_changeable(const Entry& node, std::string_view name) {
  if (name.starts_with("user.")) {
    // xattr(7): only regular files and directories have them. The host says so too; this keeps it from being
    // asked.
    if (!node.is_regular() && !node.is_directory()) return Errno(EPERM);
    return {};
  }
  return Errno(is_readable(name) ? EPERM : EOPNOTSUPP);
}

}  // namespace

Result<> Server::getxattr(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<XattrRequest>());
  const XattrName name = TRY(in.xattr_name());
  TRY(in.end());
  const Entry* node = TRY(ids_.node(header.id));
  if (!is_readable(name.c_str())) return Errno(EOPNOTSUPP);
  const FdPath path(node->fd.get());
  if (request.max == 0) {
    const ssize_t size = TRY(host(::getxattr(path.c_str(), name.c_str(), nullptr, 0)));
    reply.body().put(XattrReply{.size = static_cast<uint32_t>(size)});
    return {};
  }
  void* size_place = reply.body().reserve(sizeof(XattrReply));
  const size_t room = std::min<size_t>(request.max, kMaxInline);
  Writer probe = reply.body();  // its place, taken for good when the size is known
  const auto got = host(::getxattr(path.c_str(), name.c_str(), probe.reserve(room), room));
  if (got.is(ERANGE) && request.max > kMaxInline) return Errno(E2BIG);
  const ssize_t size = TRY(got);
  reply.body().reserve(static_cast<size_t>(size));
  const XattrReply result{.size = static_cast<uint32_t>(size)};
  std::memcpy(size_place, &result, sizeof(result));
  return {};
}

Result<> Server::listxattr(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<XattrRequest>());
  TRY(in.end());
  const Entry* node = TRY(ids_.node(header.id));
  char names[kMaxInline];
  const auto got = host(::listxattr(FdPath(node->fd.get()).c_str(), names, sizeof(names)));
  if (got.is(ERANGE)) return Errno(E2BIG);
  const std::string_view all(names, static_cast<size_t>(TRY(got)));
  void* size_place = reply.body().reserve(sizeof(XattrReply));
  XattrReply result;
  for (size_t at = 0; at < all.size();) {
    const std::string_view name = all.substr(at, all.find('\0', at) - at);
    at += name.size() + 1;
    if (!is_readable(name)) continue;
    result.size += static_cast<uint32_t>(name.size()) + 1;
    if (request.max != 0) reply.body().text(name).put('\0');
  }
  if (request.max != 0 && result.size > request.max) return Errno(ERANGE);
  std::memcpy(size_place, &result, sizeof(result));
  return {};
}

Result<> Server::setxattr(const RequestHeader& header, Decoder& in, Reply&) {
  const auto request = TRY(in.body<SetxattrRequest>());
  const XattrName name = TRY(in.xattr_name());
  const auto value = TRY(in.data(request.size));
  TRY(in.end());
  if (request.flags & ~static_cast<uint32_t>(XATTR_CREATE | XATTR_REPLACE)) return Errno(EINVAL);
  const Entry* node = TRY(changeable_node(header.id));
  TRY(check_changeable(*node, name.c_str()));
  TRY(host(::setxattr(FdPath(node->fd.get()).c_str(), name.c_str(), value.data(), value.size(),
                      static_cast<int>(request.flags))));
  return {};
}

Result<> Server::removexattr(const RequestHeader& header, Decoder& in, Reply&) {
  const XattrName name = TRY(in.xattr_name());
  TRY(in.end());
  const Entry* node = TRY(changeable_node(header.id));
  TRY(check_changeable(*node, name.c_str()));
  TRY(host(::removexattr(FdPath(node->fd.get()).c_str(), name.c_str())));
  return {};
}

}  // namespace gofer
