// Names: walking, making, linking, removing, listing.
//
// Every name is one checked component (decoder.cc) below a descriptor, and none of these calls follows a
// symlink in that place, so none leaves the directory that the descriptor is of.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

#include "gofer/server.h"
#include "sentry/base/log.h"

namespace gofer {
namespace {

// File systems that are interfaces of the kernel, not trees of files. An attach point may have them mounted
// below (the host's root has); nothing in them is for a sandbox.
bool is_kernel_interface(int fd) {
  constexpr long kMagics[] = {
      PROC_SUPER_MAGIC,
      SYSFS_MAGIC,
      DEBUGFS_MAGIC,
      TRACEFS_MAGIC,
      SECURITYFS_MAGIC,
      CGROUP_SUPER_MAGIC,
      CGROUP2_SUPER_MAGIC,
      BPF_FS_MAGIC,
      NSFS_MAGIC,
      DEVPTS_SUPER_MAGIC,
      EFIVARFS_MAGIC,
      PSTOREFS_MAGIC,
      BINFMTFS_MAGIC,
      SELINUX_MAGIC,
      SMACK_MAGIC,
      0x62656570 /* configfs */,
      0x65735543 /* fusectl */,
      0x19800202 /* mqueue */,
  };
  struct statfs status;
  if (::fstatfs(fd, &status) < 0) return true;
  return std::find(std::begin(kMagics), std::end(kMagics), static_cast<long>(status.f_type)) !=
         std::end(kMagics);
}

// Takes back a name that was made a moment ago, unless it stands for another file by now.
void remove_made(int directory, const char* name, const struct statx& made) {
  struct statx there;
  if (::statx(directory, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_INO | STATX_TYPE, &there) == 0 &&
      there.stx_ino == made.stx_ino && device_of(there) == device_of(made))
    ::unlinkat(directory, name, S_ISDIR(made.stx_mode) ? AT_REMOVEDIR : 0);
}

}  // namespace

Result<Fd> open_component(int directory, const char* name, uint64_t flags, uint32_t mode) {
  open_how how{};
  how.flags = flags | O_NOFOLLOW | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return host_fd(static_cast<int>(::syscall(SYS_openat2, directory, name, &how, sizeof(how))));
}

Result<Node> Server::adopt(const Entry& directory, const char* name, Fd fd, const struct statx& status) {
  Entry entry;
  entry.attach = directory.attach;
  entry.type = status.stx_mode & S_IFMT;
  entry.device = device_of(status);
  entry.ino = status.stx_ino;
  entry.parent = directory.id;
  entry.name = name;
  entry.opaque = entry.device != directory.device && is_kernel_interface(fd.get());
  entry.fd = std::move(fd);
  return Node{.id = ids_.insert(std::move(entry)), .attr = to_attr(status)};
}

Result<Node> Server::lookup(const Entry& directory, const char* name) {
  if (directory.opaque) return Errno(EACCES);
  TRY(ids_.require(1));
  Fd fd = TRY(open_component(directory.fd.get(), name, O_PATH));
  const auto status = TRY(status_of(fd.get()));
  return adopt(directory, name, std::move(fd), status);
}

Result<Entry*> Server::changeable_node(Id id) {
  Entry* node = TRY(ids_.node(id));
  if (read_only(*node)) return Errno(EROFS);
  if (node->opaque) return Errno(EACCES);
  return node;
}

Result<Entry*> Server::writable_directory(Id id) {
  Entry* directory = TRY(ids_.node(id));
  if (!directory->is_directory()) return Errno(ENOTDIR);
  return changeable_node(id);
}

Result<> Server::walk(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<WalkRequest>());
  if (request.count == 0 || request.count > kMaxWalk) return in.malformed("a count is out of bounds");
  std::array<std::string_view, kMaxWalk> names;
  for (size_t i = 0; i < request.count; ++i) names[i] = TRY(in.component());
  TRY(in.end());
  if (request.options & ~kWalkOpen) return Errno(EINVAL);
  if (request.options & kWalkOpen) TRY(check_open_flags(request.open_flags));

  Entry* at = TRY(ids_.node(header.id));
  WalkReply result;
  void* result_place = reply.body().reserve(sizeof(result));
  WalkStop stop = WalkStop::kComplete;
  for (size_t i = 0; i < request.count; ++i) {
    if (!at->is_directory()) {
      stop = (at->type & S_IFMT) == S_IFLNK ? WalkStop::kSymlink : WalkStop::kNotDirectory;
      break;
    }
    const auto child = lookup(*at, Name(names[i]).c_str());
    if (!child.ok()) {
      stop = WalkStop::kError;
      result.error = child.error().value();
      break;
    }
    reply.issued(child->id);
    reply.body().put(*child);
    ++result.count;
    at = TRY(ids_.node(child->id));
  }
  result.stop = static_cast<uint16_t>(stop);
  if (result.count > 0 && stop != WalkStop::kError && (at->type & S_IFMT) == S_IFLNK) {
    char target[kMaxLink];
    const ssize_t length = ::readlinkat(at->fd.get(), "", target, sizeof(target));
    if (length > 0) {
      result.link_length = static_cast<uint16_t>(length);
      reply.body().bytes(target, result.link_length);
    }
  }
  if ((request.options & kWalkOpen) && stop == WalkStop::kComplete &&
      (at->is_regular() || at->is_directory())) {
    const auto opened = open_node(*at, request.open_flags, reply);
    if (opened.ok()) {
      result.opened = 1;
      reply.body().put(*opened);
    } else {
      result.open_error = opened.error().value();
    }
  }
  std::memcpy(result_place, &result, sizeof(result));
  return {};
}

Result<> Server::own(int fd, struct statx& status, uint32_t uid, uint32_t gid, uint32_t mode) {
  const bool keep_uid = uid == kKeepId || uid == status.stx_uid;
  const bool keep_gid = gid == kKeepId || gid == status.stx_gid;
  if (!keep_uid || !keep_gid) {
    TRY(host(::fchownat(fd, "", keep_uid ? kKeepId : uid, keep_gid ? kKeepId : gid, AT_EMPTY_PATH)));
    status = TRY(status_of(fd));
  }
  // A change of owner cuts the set-id bits (chown(2)); a default ACL or a set-id directory may have changed
  // others, as they would for any process.
  if ((mode & (S_ISUID | S_ISGID) & ~uint32_t{status.stx_mode}) != 0 && S_ISREG(status.stx_mode)) {
    TRY(host(::fchmodat(AT_FDCWD, FdPath(fd).c_str(), (status.stx_mode & 07777) | (mode & 06000), 0)));
    status = TRY(status_of(fd));
  }
  return {};
}

Result<> Server::create(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<CreateRequest>());
  const Name name = TRY(in.name());
  TRY(in.end());
  TRY(check_open_flags(request.flags));
  if (request.mode & ~07777u) return Errno(EINVAL);
  const Entry* directory = TRY(writable_directory(header.id));
  TRY(ids_.require(2));

  // O_EXCL: what is there already might be a device or fifo, and this call would open it.
  Fd file = TRY(open_component(directory->fd.get(), name.c_str(),
                               request.flags | O_CREAT | O_EXCL | O_NOCTTY | O_LARGEFILE, request.mode));
  auto status = TRY(status_of(file.get()));
  auto owned = own(file.get(), status, request.uid, request.gid, request.mode);
  auto path = owned.ok() ? host_fd(::openat(AT_FDCWD, FdPath(file.get()).c_str(), O_PATH | O_CLOEXEC))
                         : Result<Fd>(owned.error());
  if (!path.ok()) {
    remove_made(directory->fd.get(), name.c_str(), status);
    return path.error();
  }
  const Node node = TRY(adopt(*directory, name.c_str(), std::move(*path), status));
  reply.issued(node.id);
  const Entry* made = TRY(ids_.node(node.id));
  reply.body().put(node).put(add_handle(*made, std::move(file), request.flags, 0, reply));
  return {};
}

Result<Node> Server::lookup_made(const Entry& directory, const char* name, const MakeRequest& request,
                                 uint32_t type) {
  Node node = TRY(lookup(directory, name));
  const Entry* made = TRY(ids_.node(node.id));
  auto status = status_of(made->fd.get());
  Result<> owned = status.ok() ? Result<>() : status.error();
  // Somebody else may already have put another file in its place: that one's owner is not ours to set.
  if (owned.ok() && made->type != type) owned = Errno(ESTALE);
  if (owned.ok()) {
    owned = own(made->fd.get(), *status, request.uid, request.gid, request.mode);
    if (owned.ok()) {
      node.attr = to_attr(*status);
      return node;
    }
    remove_made(directory.fd.get(), name, *status);
  }
  ids_.release(node.id);
  return owned.error();
}

Result<> Server::mkdir(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<MakeRequest>());
  const Name name = TRY(in.name());
  TRY(in.end());
  if (request.mode & ~07777u) return Errno(EINVAL);
  const Entry* directory = TRY(writable_directory(header.id));
  TRY(ids_.require(1));
  TRY(host(::mkdirat(directory->fd.get(), name.c_str(), request.mode)));
  const Node node = TRY(lookup_made(*directory, name.c_str(), request, S_IFDIR));
  reply.issued(node.id);
  reply.body().put(node);
  return {};
}

Result<> Server::mknod(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<MakeRequest>());
  const Name name = TRY(in.name());
  TRY(in.end());
  const uint32_t type = request.mode & S_IFMT;
  if (request.mode & ~(S_IFMT | 07777u)) return Errno(EINVAL);
  if (type == S_IFCHR || type == S_IFBLK) return Errno(EPERM);
  if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK) return Errno(EINVAL);
  const Entry* directory = TRY(writable_directory(header.id));
  TRY(ids_.require(1));
  TRY(host(::mknodat(directory->fd.get(), name.c_str(), request.mode, 0)));
  const Node node = TRY(lookup_made(*directory, name.c_str(), request, type));
  reply.issued(node.id);
  reply.body().put(node);
  return {};
}

Result<> Server::symlink(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<MakeRequest>());
  const Name name = TRY(in.name());
  const LinkTarget target = TRY(in.link_target());
  TRY(in.end());
  if (request.mode != 0) return Errno(EINVAL);
  const Entry* directory = TRY(writable_directory(header.id));
  TRY(ids_.require(1));
  TRY(host(::symlinkat(target.c_str(), directory->fd.get(), name.c_str())));
  const Node node = TRY(lookup_made(*directory, name.c_str(), request, S_IFLNK));
  reply.issued(node.id);
  reply.body().put(node);
  return {};
}

Result<> Server::link(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<LinkRequest>());
  const Name name = TRY(in.name());
  TRY(in.end());
  const Entry* directory = TRY(writable_directory(header.id));
  const Entry* target = TRY(ids_.node(request.target));
  if (target->is_directory()) return Errno(EPERM);
  if (target->attach != directory->attach) return Errno(EXDEV);
  // linkat(2) with AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH in the first user namespace; the magic link needs
  // none.
  TRY(host(::linkat(AT_FDCWD, FdPath(target->fd.get()).c_str(), directory->fd.get(), name.c_str(),
                    AT_SYMLINK_FOLLOW)));
  reply.body().put(to_attr(TRY(status_of(target->fd.get()))));
  return {};
}

Result<> Server::unlink(const RequestHeader& header, Decoder& in, Reply&) {
  const Name name = TRY(in.name());
  TRY(in.end());
  const Entry* directory = TRY(writable_directory(header.id));
  TRY(host(::unlinkat(directory->fd.get(), name.c_str(), 0)));
  return {};
}

Result<> Server::rmdir(const RequestHeader& header, Decoder& in, Reply&) {
  const Name name = TRY(in.name());
  TRY(in.end());
  const Entry* directory = TRY(writable_directory(header.id));
  TRY(host(::unlinkat(directory->fd.get(), name.c_str(), AT_REMOVEDIR)));
  return {};
}

Result<> Server::rename(const RequestHeader& header, Decoder& in, Reply&) {
  const auto request = TRY(in.body<RenameRequest>());
  const Name from = TRY(in.name());
  const Name to = TRY(in.name());
  TRY(in.end());
  if (request.flags != 0 && request.flags != RENAME_NOREPLACE && request.flags != RENAME_EXCHANGE)
    return Errno(EINVAL);
  const Entry* old_directory = TRY(writable_directory(header.id));
  const Entry* new_directory = TRY(writable_directory(request.directory));
  if (old_directory->attach != new_directory->attach) return Errno(EXDEV);
  // By number: the C library turns flags 0 into renameat(2).
  TRY(host(::syscall(SYS_renameat2, old_directory->fd.get(), from.c_str(), new_directory->fd.get(),
                     to.c_str(), request.flags)));
  return {};
}

Result<> Server::readlink(const RequestHeader& header, Decoder& in, Reply& reply) {
  TRY(in.end());
  const Entry* node = TRY(ids_.node(header.id));
  if ((node->type & S_IFMT) != S_IFLNK) return Errno(EINVAL);
  char target[kMaxLink];
  const ssize_t length = TRY(host(::readlinkat(node->fd.get(), "", target, sizeof(target))));
  reply.body().bytes(target, static_cast<size_t>(length));
  return {};
}

namespace {

// getdents64(2), as the host packs it.
struct HostEntry {
  uint64_t ino;
  int64_t next;
  uint16_t record_length;
  uint8_t type;
  // then the name, ending in NUL
};
constexpr size_t kHostNameOffset = 19;

// The host's entries take at least 24 bytes each, with names of up to 4 bytes. Converted, a batch grows at
// most this many times.
constexpr size_t kGrowth = 2;
constexpr size_t kGrowthWithAttr = 7;
static_assert(sizeof(DirEntry) + 4 <= kGrowth * 24 &&
              sizeof(DirEntry) + sizeof(Attr) + 4 <= kGrowthWithAttr * 24);
constexpr size_t kLargestBatch = 32 * 1024;
constexpr size_t kSmallestBatch = 512;  // more than one entry with the longest name

}  // namespace

Result<> Server::readdir(const RequestHeader& header, Decoder& in, Reply& reply) {
  const auto request = TRY(in.body<ReaddirRequest>());
  TRY(in.end());
  if (request.options & ~kReaddirAttr) return Errno(EINVAL);
  Entry* entry = TRY(ids_.find(header.id));
  if (!entry->is_directory()) return Errno(ENOTDIR);
  if (entry->opaque) return Errno(EACCES);
  const bool of_node = entry->kind == Entry::Kind::kNode;
  const bool fresh = of_node && !entry->directory;
  if (fresh) {
    TRY(ids_.require(1));
    ids_.hold_directory(*entry, TRY(reopen(*entry, O_RDONLY | O_DIRECTORY)));
  }
  const int directory = of_node ? entry->directory.get() : entry->fd.get();
  if (request.cookie != entry->position || (request.cookie == 0 && !fresh))
    TRY(host(::lseek(directory, static_cast<off_t>(request.cookie), SEEK_SET)));

  const bool with_attr = (request.options & kReaddirAttr) != 0;
  ReaddirReply result;
  void* result_place = reply.body().reserve(sizeof(result));
  const size_t start = reply.body().size();
  const size_t room = reply.body().room();
  const size_t limit = request.max_bytes == 0 ? room : std::min<size_t>(request.max_bytes, room);
  bool full = false;
  entry->position = request.cookie;
  while (!full) {
    alignas(8) char batch[kLargestBatch];
    // As much as fits surely: what is left over must be read again.
    const size_t left = limit - (reply.body().size() - start);
    const size_t fitting = left / (with_attr ? kGrowthWithAttr : kGrowth);
    if (fitting < kSmallestBatch && result.count > 0) break;
    const size_t batch_size = std::clamp(fitting, kSmallestBatch, kLargestBatch);
    const ssize_t got = TRY(host(::getdents64(directory, batch, batch_size)));
    if (got == 0) {
      result.end = 1;
      break;
    }
    for (ssize_t at = 0; at < got && !full;) {
      HostEntry host_entry;
      std::memcpy(&host_entry, batch + at, kHostNameOffset);
      const char* name = batch + at + kHostNameOffset;
      at += host_entry.record_length;
      const std::string_view text(name);
      const auto next = static_cast<uint64_t>(host_entry.next);
      // A file system that gives names with a '/' (a broken FUSE server) does not get them past here.
      if (check_component(text).ok()) {
        const size_t size = sizeof(DirEntry) + (with_attr ? sizeof(Attr) : 0) + text.size();
        if (reply.body().size() - start + size > limit) {
          full = true;
          break;
        }
        DirEntry head{.ino = host_entry.ino,
                      .next = next,
                      .type = host_entry.type,
                      .name_length = static_cast<uint16_t>(text.size())};
        Attr attr;
        struct statx status;
        if (with_attr && ::statx(directory, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
                                 STATX_BASIC_STATS | STATX_BTIME, &status) == 0) {
          attr = to_attr(status);
          head.has_attr = 1;
        }
        reply.body().put(head);
        if (with_attr) reply.body().put(attr);
        reply.body().text(text);
        ++result.count;
      }
      entry->position = next;
    }
  }
  if (full && result.count == 0) return Errno(EINVAL);  // getdents(2): the buffer is too small for one entry
  if (full) entry->position = ~0ull;                    // the host's position is further: seek next time
  if (result.end && of_node) ids_.drop_directory(*entry);
  std::memcpy(result_place, &result, sizeof(result));
  return {};
}

}  // namespace gofer
