// What the sentry and the gofer say to each other: the only header of the gofer that the sentry includes.
//
// Transport: one SOCK_SEQPACKET pair, one message a packet, at most kMaxMessage bytes. Each request carries a
// tag that its reply repeats; replies come in any order, and so
// are requests done that are under way together: whoever needs an order waits. Descriptors travel by
// SCM_RIGHTS, gofer to sentry only (except the shared buffer in kHello). Both ends are one build on one host,
// so structs travel as they stand in memory; they have no padding, and whoever receives one copies it out of
// the packet first (Reader below).
//
// Neither end trusts the other. A request whose form is wrong (unknown operation, short or long body, a count
// out of bounds, an unexpected descriptor) ends the connection with a line in the gofer's log. A request
// whose content is wrong gets an errno. The sentry treats a malformed reply as the death of its gofer.
//
// Who may block: the gofer's replies are written with a blocking send. A client must therefore never block in
// a send of its own without receiving, or both ends could wait on each other.
//
// Ids: a node is a file that the gofer holds by an O_PATH descriptor, so it never turns into another file,
// whatever is renamed or removed. A handle is an open file or directory. Both are chosen by the gofer, cost
// it descriptors and are owned by the client from the reply that brings them until kForget. The same file
// walked to twice gives two nodes: tell them by (dev, ino), which the host cannot reuse while a node is held.
// A released id answers ESTALE, one never issued EBADF. When no descriptor is left, operations answer ENFILE:
// forget something and ask again.
//
// The gofer does not know the guest's credentials: permission checks are the client's. What the host refuses
// to the gofer's own identity (rootless) comes back as the host's errno.
//
// Process contract (the runtime starts it):
//   bulkhead-gofer --socket FD --attach FD[:ro] [--attach FD[:ro] ...] [--proc FD] [--log FD] [--no-uring]
//   bulkhead-gofer --surface
// --socket: the packet pair's end. --attach: attach point 0, 1, ... in the order given; an O_PATH (or
// directory) descriptor of a directory or a single file. With :ro the gofer answers EROFS to every change and
// donates read-only descriptors; the mount behind the descriptor should be read-only too (mount_setattr(2)),
// since donated descriptors are bound to it.
// --proc: a descriptor of the gofer's own /proc/self/fd directory, taken in the process that becomes the
// gofer (after the last fork, before the root goes away), best as open_tree(AT_FDCWD, "/proc/self/fd",
// OPEN_TREE_CLONE), whose ".." leads nowhere. Without it the gofer opens /proc/self/fd itself, which an empty
// root does not have. It is how an O_PATH descriptor is reopened, changed mode of, or linked without naming a
// path twice (see host.h). Of the capabilities that the runtime leaves it, it keeps CAP_CHOWN,
// CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_FSETID, or CAP_DAC_READ_SEARCH alone when every attach point is
// read-only; for an ordinary user's files the runtime leaves none. It exits 0 at end of file on the socket,
// kExitProtocol after a malformed request, sentry::kInternalFault on a fault of its own, kExitUsage when
// started wrongly.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace gofer {

// Raise when a message changes.
inline constexpr uint32_t kProtocolVersion = 2;

inline constexpr size_t kMaxMessage = 64 * 1024;  // bytes of one packet
inline constexpr size_t kMaxInline =
    60 * 1024;                            // data of one kRead or kWrite in the packet, value of an attribute
inline constexpr size_t kMaxName = 255;   // NAME_MAX: one path component
inline constexpr size_t kMaxLink = 4095;  // PATH_MAX less its NUL: a symlink's target
inline constexpr size_t kMaxXattrName = 255;    // XATTR_NAME_MAX
inline constexpr size_t kMaxWalk = 16;          // components of one kWalk
inline constexpr size_t kMaxOpen = 16;          // names of one kOpenFiles
inline constexpr size_t kMaxForget = 1024;      // ids of one kForget
inline constexpr size_t kMaxBuffer = 64 << 20;  // bytes of the shared buffer

// Exit statuses of the gofer (sysexits.h).
inline constexpr int kExitUsage = 64;     // EX_USAGE
inline constexpr int kExitProtocol = 76;  // EX_PROTOCOL

enum class Op : uint16_t {
  kHello = 1,  // the first request, once
  kAttach,     // an attach point's root
  kWalk,       // down a list of components, and perhaps open what is there
  kOpen,       // a handle; a donated descriptor for a regular file
  kOpenFiles,  // several regular files of a directory, to be read
  kCreate,     // a new regular file, open (always exclusive)
  kMkdir,
  kMknod,  // regular file, fifo, socket; EPERM for devices
  kSymlink,
  kLink,
  kUnlink,
  kRmdir,
  kRename,
  kGetattr,
  kSetattr,
  kReaddir,
  kReadlink,
  kStatfs,
  kGetxattr,
  kSetxattr,
  kListxattr,
  kRemovexattr,
  kRead,  // what preadv2(RWF_NOWAIT) on the donated descriptor cannot do at once
  kWrite,
  kFsync,
  kFallocate,
  kForget,  // releases nodes and handles; the one request without a reply
};
inline constexpr uint16_t kLastOp = static_cast<uint16_t>(Op::kForget);

// A node's or a handle's name. 0 is never issued.
using Id = uint64_t;
inline constexpr Id kNoId = 0;

struct RequestHeader {
  uint32_t tag = 0;       // the client's; repeated in the reply
  uint16_t op = 0;        // Op
  uint16_t reserved = 0;  // 0
  Id id = kNoId;          // the node or handle that the operation is on; kNoId in kHello, kAttach and kForget
};

struct ReplyHeader {
  uint32_t tag = 0;
  uint16_t op = 0;    // as in the request
  uint16_t fds = 0;   // descriptors that come along
  int32_t error = 0;  // 0, or a positive errno; then there is no body
  uint32_t reserved = 0;
};

struct Timestamp {
  int64_t seconds = 0;       // since the epoch
  uint32_t nanoseconds = 0;  // below 10^9
  uint32_t reserved = 0;
};

// statx(2) of a node.
struct Attr {
  uint64_t ino = 0;
  uint64_t size = 0;    // bytes
  uint64_t blocks = 0;  // of 512 bytes
  uint32_t mode = 0;    // type and permissions, set-id bits as they are
  uint32_t nlink = 0;
  uint32_t uid = 0, gid = 0;  // as the gofer's user namespace maps them
  uint32_t dev_major = 0, dev_minor = 0;
  uint32_t rdev_major = 0, rdev_minor = 0;
  uint32_t blksize = 0;
  uint32_t flags = 0;  // kAttr*
  Timestamp atime, mtime, ctime, btime;
};
inline constexpr uint32_t kAttrHasBtime = 1;   // btime is known
inline constexpr uint32_t kAttrImmutable = 2;  // chattr +i
inline constexpr uint32_t kAttrAppend = 4;     // chattr +a

struct Node {
  Id id = kNoId;
  Attr attr;
};

// kHello: version check, and a shared buffer for bulk data if a descriptor comes along: a memfd of at least
// buffer_size bytes that is sealed with F_SEAL_SHRINK (else EINVAL). The gofer keeps it mapped. Reply:
// HelloReply.
struct HelloRequest {
  uint32_t version = kProtocolVersion;
  uint32_t reserved = 0;
  uint64_t buffer_size = 0;  // 0 and no descriptor: none
};
struct HelloReply {
  uint32_t version = kProtocolVersion;
  uint32_t attach_count = 0;
  uint32_t max_ids = 0;  // nodes and handles at once; a hint, the host's limits may bite before
  uint32_t flags = 0;    // kHelloUring
};
inline constexpr uint32_t kHelloUring =
    1;  // blocking I/O goes through io_uring: it does not delay other requests

// kAttach. Reply: AttachReply. ENOENT when there is no such attach point.
struct AttachRequest {
  uint32_t index = 0;
  uint32_t reserved = 0;
};
struct AttachReply {
  Node node;
  uint32_t flags = 0;  // kAttachReadOnly
  uint32_t reserved = 0;
};
inline constexpr uint32_t kAttachReadOnly = 1;

// Open flags that kOpen, kCreate and kWalk take: an access mode and any of O_TRUNC, O_APPEND, O_SYNC,
// O_DSYNC. Others are EINVAL; the gofer adds its own (O_CLOEXEC, O_NOCTTY, O_LARGEFILE).

// kWalk: from node `id` through `count` components (strings, see Writer::string), 1 to kMaxWalk. A component
// that is empty, ".", ".." or has a '/' or NUL is EINVAL for the whole request, one above kMaxName
// ENAMETOOLONG. Symlinks are never followed. Reply: WalkReply, `count` Nodes for the components that were
// resolved, then the target of the last one if it is a symlink, then an Opened if `opened` is 1. With
// kWalkOpen, a last component that is a regular file or a directory is opened as kOpen does; what keeps it
// from that is `open_error` (0 with opened 0: nothing to open there).
struct WalkRequest {
  uint16_t count = 0;
  uint16_t options = 0;     // kWalkOpen
  uint32_t open_flags = 0;  // with kWalkOpen
};
inline constexpr uint16_t kWalkOpen = 1;
enum class WalkStop : uint16_t {
  kComplete = 0,      // all components were resolved
  kSymlink = 1,       // the last Node is a symlink and components are left
  kNotDirectory = 2,  // the last Node is neither directory nor symlink and components are left
  kError = 3,         // the component after the last Node: `error`, ENOENT if it is missing
};
struct WalkReply {
  uint16_t count = 0;  // Nodes that follow
  uint16_t stop = 0;   // WalkStop
  int32_t error = 0;   // with kError
  uint16_t link_length = 0;
  uint16_t opened = 0;
  int32_t open_error = 0;
};

// What an open gives: a handle and, for a regular file, a donated descriptor (ReplyHeader::fds is 1).
struct Opened {
  Id handle = kNoId;
  uint32_t flags = 0;  // kOpened*
  uint32_t reserved = 0;
};
inline constexpr uint32_t kOpenedNowaitRead =
    1;  // preadv2(RWF_NOWAIT) works on the descriptor: EAGAIN when it would block

// kOpen of node `id`. Regular files and directories (read-only, for kReaddir and kFsync); a symlink is ELOOP,
// a fifo or socket ENXIO, a device EACCES: the gofer opens none of these, ever. Reply: Opened.
struct OpenRequest {
  uint32_t flags = 0;
  uint32_t reserved = 0;
};

// kOpenFiles of regular files in directory `id`, read-only: `count` names follow, 1 to kMaxOpen, components
// as in kWalk. For a client that has seen its guest open one after the other. Reply: for each name an
// OpenedFile; the descriptors of those that were opened come along in their order.
struct OpenFilesRequest {
  uint32_t count = 0;
  uint32_t reserved = 0;
};
struct OpenedFile {
  int32_t error = 0;  // then nothing was opened: EINVAL for what is no regular file
  uint32_t reserved = 0;
  Node node;
  Opened opened;
};

// Owner of a new file: kKeepId leaves what the host chose (the gofer's own id, or the directory's group where
// it has S_ISGID).
inline constexpr uint32_t kKeepId = ~0u;

// kCreate in directory `id`, then the name. EEXIST if there is anything of that name. mode: 07777, taken as
// is (no umask). Reply: CreateReply and the descriptor.
struct CreateRequest {
  uint32_t flags = 0;
  uint32_t mode = 0;
  uint32_t uid = kKeepId, gid = kKeepId;
};
struct CreateReply {
  Node node;
  Opened opened;
};

// kMkdir, kMknod (mode with the type) in directory `id`, then the name; kSymlink: the name, then the target;
// mode 0. Reply: Node.
struct MakeRequest {
  uint32_t mode = 0;
  uint32_t uid = kKeepId, gid = kKeepId;
  uint32_t reserved = 0;
};

// kLink: a new name in directory `id` for node `target`, then the name. EXDEV across attach points. Reply:
// Attr of the target.
struct LinkRequest {
  Id target = kNoId;
};

// kUnlink, kRmdir in directory `id`: only the name follows the header. Reply: no body.

// kRename from directory `id`, the old name, into `directory`, the new name. flags: RENAME_NOREPLACE or
// RENAME_EXCHANGE. Reply: no body.
struct RenameRequest {
  Id directory = kNoId;
  uint32_t flags = 0;
  uint32_t reserved = 0;
};

// kGetattr of a node or handle. No body. Reply: Attr.

// kSetattr of node `id`: what `valid` names, in the order size, owner, mode, times. The first error ends it;
// what came before stays. Reply: Attr.
struct SetattrRequest {
  uint32_t valid = 0;  // kSet*
  uint32_t mode = 0;   // 07777
  uint32_t uid = kKeepId, gid = kKeepId;
  uint64_t size = 0;
  Id handle = kNoId;  // with kSetSize: a writable handle of the file (ftruncate), or kNoId (truncate, as the
                      // gofer's identity may)
  Timestamp atime, mtime;
};
inline constexpr uint32_t kSetMode = 1;
inline constexpr uint32_t kSetUid = 2;
inline constexpr uint32_t kSetGid = 4;
inline constexpr uint32_t kSetSize = 8;
inline constexpr uint32_t kSetAtime = 16;
inline constexpr uint32_t kSetMtime = 32;
inline constexpr uint32_t kSetAtimeNow = 64;  // UTIME_NOW
inline constexpr uint32_t kSetMtimeNow = 128;

// kReaddir of directory node or handle `id`. cookie: 0, or an entry's `next`. Reply: ReaddirReply and `count`
// entries, each a DirEntry, with kReaddirAttr its Attr, then the name.
// "." and ".." are left out. A directory node keeps a descriptor open between batches until the end is
// reached or it is forgotten.
struct ReaddirRequest {
  uint64_t cookie = 0;
  uint32_t max_bytes = 0;  // of the reply's entries; 0 or more than fits: what fits
  uint32_t options = 0;    // kReaddirAttr
};
inline constexpr uint32_t kReaddirAttr = 1;  // with attributes, as for ls -l; no nodes are made
struct ReaddirReply {
  uint32_t count = 0;
  uint32_t end = 0;  // 1: nothing follows
};
struct DirEntry {
  uint64_t ino = 0;
  uint64_t next = 0;
  uint8_t type = 0;  // DT_*
  uint8_t has_attr =
      0;  // with kReaddirAttr an Attr always follows; 0: the file vanished meanwhile and it is all zeros
  uint16_t name_length = 0;
  uint32_t reserved = 0;
};

// kReadlink of a symlink node. No body. Reply: the target, to the packet's end.

// kStatfs of a node. No body. Reply: StatfsReply, statfs(2).
struct StatfsReply {
  uint64_t type = 0, block_size = 0, blocks = 0, blocks_free = 0, blocks_available = 0, files = 0,
           files_free = 0;
  uint64_t name_length = 0, fragment_size = 0, flags = 0;
};

// Extended attributes of a node: user.* may be read and changed, security.* and system.posix_acl_* read,
// others do not exist (EOPNOTSUPP). kGetxattr: the name. max 0 asks for the size only. Reply: XattrReply,
// then the value unless max was 0. ERANGE when it is longer than max (E2BIG above kMaxInline). kListxattr: no
// name. Reply alike, names with a NUL after each.
struct XattrRequest {
  uint32_t max = 0;
  uint32_t reserved = 0;
};
struct XattrReply {
  uint32_t size = 0;
  uint32_t reserved = 0;
};
// kSetxattr: the name, then `size` bytes. flags: XATTR_CREATE, XATTR_REPLACE. kRemovexattr: only the name
// follows the header. Replies: no body.
struct SetxattrRequest {
  uint32_t flags = 0;
  uint32_t size = 0;
};

// Where data of a kRead or kWrite is: in the packet (length up to kMaxInline), or at this offset of the
// shared buffer.
inline constexpr uint64_t kInPacket = ~0ull;

// kRead from handle `id`. Reply: ReadReply, then the data if it is in the packet. Fewer bytes than asked for
// are as in pread(2).
struct ReadRequest {
  uint64_t offset = 0;
  uint64_t buffer = kInPacket;
  uint32_t length = 0;
  uint32_t reserved = 0;
};
struct ReadReply {
  uint32_t count = 0;
  uint32_t reserved = 0;
};

// kWrite to handle `id`, then the data if it is in the packet. Reply: WriteReply.
struct WriteRequest {
  uint64_t offset = 0;
  uint64_t buffer = kInPacket;
  uint32_t length = 0;
  uint32_t flags = 0;  // kWrite*
};
inline constexpr uint32_t kWriteAppend = 1;  // RWF_APPEND: at the end, offset ignored
inline constexpr uint32_t kWriteDsync = 2;   // RWF_DSYNC
inline constexpr uint32_t kWriteSync = 4;    // RWF_SYNC
struct WriteReply {
  uint32_t count = 0;
  uint32_t reserved = 0;
  uint64_t size = 0;  // of the file after kWriteAppend, else 0
};

// kFsync of a handle. Reply: no body.
struct FsyncRequest {
  uint32_t data_only = 0;  // 1: fdatasync(2)
  uint32_t reserved = 0;
};

// kFallocate of a handle: fallocate(2). Reply: no body.
struct FallocateRequest {
  uint32_t mode = 0;
  uint32_t reserved = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// kForget: `count` Ids follow (1 to kMaxForget), nodes and handles alike. Ids that do not exist are ignored,
// attach points' roots included.
struct ForgetRequest {
  uint32_t count = 0;
  uint32_t reserved = 0;
};

// What travels has no padding, so that no byte of either process's memory travels by accident.
template <typename T>
concept Wire = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>;

// Takes a received packet apart, checking every length. Strings and bytes are views into the packet.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> packet) : rest_(packet) {}

  template <Wire T>
  std::optional<T> take() {
    if (rest_.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::optional<std::span<const uint8_t>> bytes(size_t count) {
    if (rest_.size() < count) return std::nullopt;
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  std::optional<std::string_view> text(size_t count) {
    const auto taken = bytes(count);
    if (!taken) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(taken->data()), taken->size());
  }
  // A string as Writer::string puts it: 16 bits of length, then that many bytes.
  std::optional<std::string_view> string() {
    const auto length = take<uint16_t>();
    if (!length) return std::nullopt;
    return text(*length);
  }
  std::span<const uint8_t> rest() const { return rest_; }
  bool done() const { return rest_.empty(); }

 private:
  std::span<const uint8_t> rest_;
};

// Puts a packet together in memory of its owner. What does not fit is not written, and ok() stays false.
class Writer {
 public:
  explicit Writer(std::span<uint8_t> packet) : packet_(packet) {}

  template <Wire T>
  Writer& put(const T& value) {
    return bytes(&value, sizeof(T));
  }
  Writer& bytes(const void* data, size_t count) {
    if (void* to = reserve(count); to != nullptr && count != 0) std::memcpy(to, data, count);
    return *this;
  }
  Writer& text(std::string_view value) { return bytes(value.data(), value.size()); }
  Writer& string(std::string_view value) {
    if (value.size() > UINT16_MAX) ok_ = false;
    return put(static_cast<uint16_t>(value.size())).text(value);
  }
  // Room for `count` bytes that the caller fills in, or nullptr.
  void* reserve(size_t count) {
    if (!ok_ || packet_.size() - used_ < count) {
      ok_ = false;
      return nullptr;
    }
    void* at = packet_.data() + used_;
    used_ += count;
    return at;
  }
  bool ok() const { return ok_; }
  size_t size() const { return used_; }
  size_t room() const { return packet_.size() - used_; }
  std::span<const uint8_t> packet() const { return packet_.first(used_); }

 private:
  std::span<uint8_t> packet_;
  size_t used_ = 0;
  bool ok_ = true;
};

static_assert(std::has_unique_object_representations_v<RequestHeader> && sizeof(RequestHeader) == 16);
static_assert(std::has_unique_object_representations_v<ReplyHeader> && sizeof(ReplyHeader) == 16);
static_assert(std::has_unique_object_representations_v<Attr> && sizeof(Attr) == 128);
static_assert(std::has_unique_object_representations_v<Node>);
static_assert(std::has_unique_object_representations_v<HelloRequest>);
static_assert(std::has_unique_object_representations_v<HelloReply>);
static_assert(std::has_unique_object_representations_v<AttachRequest>);
static_assert(std::has_unique_object_representations_v<AttachReply>);
static_assert(std::has_unique_object_representations_v<WalkRequest>);
static_assert(std::has_unique_object_representations_v<WalkReply> && sizeof(WalkReply) == 16);
static_assert(std::has_unique_object_representations_v<Opened>);
static_assert(std::has_unique_object_representations_v<OpenRequest>);
static_assert(std::has_unique_object_representations_v<OpenFilesRequest>);
static_assert(std::has_unique_object_representations_v<OpenedFile>);
static_assert(std::has_unique_object_representations_v<CreateRequest>);
static_assert(std::has_unique_object_representations_v<CreateReply>);
static_assert(std::has_unique_object_representations_v<MakeRequest>);
static_assert(std::has_unique_object_representations_v<LinkRequest>);
static_assert(std::has_unique_object_representations_v<RenameRequest>);
static_assert(std::has_unique_object_representations_v<SetattrRequest>);
static_assert(std::has_unique_object_representations_v<ReaddirRequest>);
static_assert(std::has_unique_object_representations_v<ReaddirReply>);
static_assert(std::has_unique_object_representations_v<DirEntry> && sizeof(DirEntry) == 24);
static_assert(std::has_unique_object_representations_v<StatfsReply>);
static_assert(std::has_unique_object_representations_v<XattrRequest>);
static_assert(std::has_unique_object_representations_v<XattrReply>);
static_assert(std::has_unique_object_representations_v<SetxattrRequest>);
static_assert(std::has_unique_object_representations_v<ReadRequest>);
static_assert(std::has_unique_object_representations_v<ReadReply>);
static_assert(std::has_unique_object_representations_v<WriteRequest>);
static_assert(std::has_unique_object_representations_v<WriteReply>);
static_assert(std::has_unique_object_representations_v<FsyncRequest>);
static_assert(std::has_unique_object_representations_v<FallocateRequest>);
static_assert(std::has_unique_object_representations_v<ForgetRequest>);

}  // namespace gofer
