// Serves the attach points' file trees over one socket until its other end closes. The client is hostile:
// whatever it sends, it reaches no file outside the trees, changes nothing in a read-only one, and is given
// nothing but regular files and directories.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gofer/decoder.h"
#include "gofer/host.h"
#include "gofer/id_table.h"
#include "gofer/protocol.h"
#include "gofer/ring.h"

namespace gofer {

struct AttachPoint {
  Fd fd;  // O_PATH, or a directory
  bool read_only = false;
};

// The reply under way: its packet, the descriptors that go along, and what it gave to the client.
class Reply {
 public:
  explicit Reply(std::span<uint8_t> packet) : writer_(packet) { writer_.reserve(sizeof(ReplyHeader)); }

  Writer& body() { return writer_; }
  void donate(int fd) { fds_[fd_count_++] = fd; }  // stays the entry's
  std::span<const int> donated() const { return std::span(fds_).first(fd_count_); }
  // The reply comes later, or never.
  void defer() { deferred_ = true; }
  bool deferred() const { return deferred_; }
  // An id that is taken back if the reply cannot be delivered.
  void issued(Id id) { issued_[issued_count_++] = id; }
  std::span<const Id> issued() const { return std::span(issued_).first(issued_count_); }

 private:
  Writer writer_;
  std::array<int, kMaxOpen> fds_;
  size_t fd_count_ = 0;
  bool deferred_ = false;
  std::array<Id, std::max(kMaxWalk + 2, 2 * kMaxOpen)> issued_;
  size_t issued_count_ = 0;
};

class Server {
 public:
  // `socket` stays the caller's. The working directory must be /proc/self/fd (FdPath). max_ids: descriptors
  // for nodes and handles. `ring` may be null: then I/O is done by plain calls.
  Server(int socket, std::vector<AttachPoint> attach_points, uint32_t max_ids, std::unique_ptr<Ring> ring);

  // The exit status: 0 when the other end closed, kExitProtocol after a malformed request.
  int serve();

  // Takes one request and answers it. False after a malformed one, which complaint() then describes.
  bool handle(std::span<const uint8_t> packet);
  const std::string& complaint() const { return complaint_; }

  // Waits for the transfers under way and answers them.
  void finish_transfers();

 private:
  using Handler = Result<> (Server::*)(const RequestHeader&, Decoder&, Reply&);
  static const std::array<Handler, kLastOp + 1> kHandlers;

  // server.cc: the connection
  enum class Received { kRequest, kNothing, kEnd };
  Received receive(bool wait, std::span<const uint8_t>& packet);
  void wait_for_anything(bool& socket_ready);
  void send_reply(const RequestHeader& header, Reply& reply, int error);
  int send_packet(std::span<const uint8_t> packet, std::span<const int> fds);
  void reap_transfers();
  void finish(const Ring::Finished& finished);
  Result<> hello(const RequestHeader&, Decoder&, Reply&);
  Result<> attach(const RequestHeader&, Decoder&, Reply&);
  Result<> forget(const RequestHeader&, Decoder&, Reply&);

  // tree.cc: names
  Result<> walk(const RequestHeader&, Decoder&, Reply&);
  Result<> create(const RequestHeader&, Decoder&, Reply&);
  Result<> mkdir(const RequestHeader&, Decoder&, Reply&);
  Result<> mknod(const RequestHeader&, Decoder&, Reply&);
  Result<> symlink(const RequestHeader&, Decoder&, Reply&);
  Result<> link(const RequestHeader&, Decoder&, Reply&);
  Result<> unlink(const RequestHeader&, Decoder&, Reply&);
  Result<> rmdir(const RequestHeader&, Decoder&, Reply&);
  Result<> rename(const RequestHeader&, Decoder&, Reply&);
  Result<> readdir(const RequestHeader&, Decoder&, Reply&);
  Result<> readlink(const RequestHeader&, Decoder&, Reply&);

  // attributes.cc
  Result<> getattr(const RequestHeader&, Decoder&, Reply&);
  Result<> setattr(const RequestHeader&, Decoder&, Reply&);
  Result<> statfs(const RequestHeader&, Decoder&, Reply&);
  Result<> getxattr(const RequestHeader&, Decoder&, Reply&);
  Result<> setxattr(const RequestHeader&, Decoder&, Reply&);
  Result<> listxattr(const RequestHeader&, Decoder&, Reply&);
  Result<> removexattr(const RequestHeader&, Decoder&, Reply&);

  // io.cc: contents
  Result<> open(const RequestHeader&, Decoder&, Reply&);
  Result<> open_files(const RequestHeader&, Decoder&, Reply&);
  Result<> read(const RequestHeader&, Decoder&, Reply&);
  Result<> write(const RequestHeader&, Decoder&, Reply&);
  Result<> fsync(const RequestHeader&, Decoder&, Reply&);
  Result<> fallocate(const RequestHeader&, Decoder&, Reply&);

  // A node that may be changed: EROFS, EACCES (opaque).
  Result<Entry*> changeable_node(Id id);
  // A directory node that may be changed: also ENOTDIR.
  Result<Entry*> writable_directory(Id id);
  bool read_only(const Entry& entry) const { return attach_points_[entry.attach].read_only; }

  // A node for the file that `fd` is of, met as `name` in the directory.
  Result<Node> adopt(const Entry& directory, const char* name, Fd fd, const struct statx& status);
  // The node of a name in a directory.
  Result<Node> lookup(const Entry& directory, const char* name);
  // lookup() of what mkdir and its kin have just made, with its owner set; removed again if that cannot be.
  Result<Node> lookup_made(const Entry& directory, const char* name, const MakeRequest& request,
                           uint32_t type);
  // Gives the new file its owner, and its mode again, which a change of owner may have cut.
  Result<> own(int fd, struct statx& status, uint32_t uid, uint32_t gid, uint32_t mode);

  // Opens a node's very file again.
  Result<Fd> reopen(const Entry& node, int flags);
  // The same for a regular file to be read, by the name that it had, with O_NONBLOCK; none if that is not to
  // be had.
  std::optional<Fd> reopen_by_name(const Entry& node);
  Result<Opened> open_node(Entry& node, uint32_t flags, Reply& reply);
  Opened add_handle(const Entry& node, Fd fd, uint32_t flags, uint64_t size, Reply& reply);
  // Whether the file system reads without waiting, if that has been found out.
  std::optional<bool> known_nowait(uint64_t device) const;
  bool reads_nowait(const Entry& node, int fd, uint64_t size);
  // The part of the shared buffer that a request names: EINVAL if it is not all there.
  Result<uint8_t*> shared(uint64_t offset, uint32_t length) const;
  bool write_straight(const Entry& handle, const WriteRequest& request);
  Transfer& claim_transfer(const RequestHeader& header, Reply& reply);

  int socket_;
  std::vector<AttachPoint> attach_points_;
  std::vector<Id> roots_;
  IdTable ids_;
  std::unique_ptr<Ring> ring_;

  bool greeted_ = false;
  Fd received_fd_;  // came with the packet under way
  uint8_t* buffer_ = nullptr;
  size_t buffer_size_ = 0;
  std::vector<std::pair<uint64_t, bool>> nowait_devices_;  // whether a file system reads without waiting
  uint32_t ring_writes_ = 0;  // how many writes the ring still gets after a slow one
  std::string complaint_;
  bool disconnected_ = false;

  alignas(64) std::array<uint8_t, kMaxMessage> request_packet_;
  alignas(64) std::array<uint8_t, kMaxMessage> reply_packet_;
};

// openat2(2) of one component, or of ".", the directory itself. seccomp cannot see these flags, so they are
// put together here and nowhere else.
Result<Fd> open_component(int directory, const char* name, uint64_t flags, uint32_t mode = 0);
// The attributes of a descriptor's file: statx(2) with AT_EMPTY_PATH.
Result<struct statx> status_of(int fd);
Attr to_attr(const struct statx& status);
uint64_t device_of(const struct statx& status);
// EINVAL for flags that the protocol does not have.
Result<> check_open_flags(uint32_t flags);

}  // namespace gofer
