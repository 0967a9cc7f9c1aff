// A real bulkhead-gofer for a test, and both kinds of client: an honest one, and raw packets.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gofer/protocol.h"
#include "sentry/base/fd.h"

namespace gofer_test {

using sentry::Fd;

// A directory for a test's tree, removed afterwards.
class TemporaryTree {
 public:
  TemporaryTree();
  ~TemporaryTree();
  TemporaryTree(const TemporaryTree&) = delete;
  TemporaryTree& operator=(const TemporaryTree&) = delete;

  const std::string& path() const { return path_; }
  std::string at(std::string_view name) const { return path_ + "/" + std::string(name); }
  void write(std::string_view name, std::string_view content) const;
  std::string read(std::string_view name) const;
  bool exists(std::string_view name) const;

 private:
  std::string path_;
};

struct Reply {
  int error = -1;  // of ReplyHeader; -1: no reply, the connection has ended
  uint32_t tag = 0;
  std::vector<uint8_t> body;
  Fd fd;
  std::vector<Fd> more_fds;  // of kOpenFiles

  template <typename T>
  T as() const {
    EXPECT_EQ(error, 0);
    EXPECT_GE(body.size(), sizeof(T));
    T value{};
    if (body.size() >= sizeof(T)) std::memcpy(static_cast<void*>(&value), body.data(), sizeof(T));
    return value;
  }
};

struct Attach {
  std::string path;
  bool read_only = false;
};

enum class Uring { kOff, kOn };
enum class Confinement { kPlain, kNamespaces };

struct Launch {
  std::vector<Attach> attach;
  Uring uring = Uring::kOn;
  Confinement confinement = Confinement::kPlain;
  uint64_t descriptors = 0;  // RLIMIT_NOFILE; 0: as it is
  uint64_t buffer_size = 0;  // of a shared buffer that hello() donates
  uint64_t file_size = 0;    // RLIMIT_FSIZE; 0: as it is
};

class GoferProcess {
 public:
  explicit GoferProcess(const Launch& setup);
  ~GoferProcess();
  GoferProcess(const GoferProcess&) = delete;
  GoferProcess& operator=(const GoferProcess&) = delete;

  // Packets as they are.
  bool send(const void* packet, size_t size, int fd = -1);
  Reply receive();

  // One request and its reply; `body` follows the header.
  Reply call(gofer::Op op, gofer::Id id, const std::vector<uint8_t>& body, int fd = -1);
  template <typename T>
  Reply call(gofer::Op op, gofer::Id id, const T& body, const std::vector<std::string_view>& strings = {},
             std::string_view data = {}) {
    return call(op, id, pack(body, strings, data));
  }
  // A request whose reply is for later: receive().
  template <typename T>
  void post(gofer::Op op, uint32_t tag, gofer::Id id, const T& body, std::string_view data = {}) {
    ASSERT_TRUE(post_packet(op, tag, id, pack(body, {}, data)));
  }

  template <typename T>
  static std::vector<uint8_t> pack(const T& body, const std::vector<std::string_view>& strings = {},
                                   std::string_view data = {}) {
    std::vector<uint8_t> bytes(2 * gofer::kMaxMessage);
    gofer::Writer writer(bytes);
    writer.put(body);
    for (const auto string : strings) writer.string(string);
    writer.text(data);
    EXPECT_TRUE(writer.ok());
    bytes.resize(writer.size());
    return bytes;
  }

  // The honest client's operations. Those that cannot fail in a sane test assert.
  gofer::HelloReply hello();
  gofer::Node attach(uint32_t index = 0);
  struct Walked {
    int error = 0;  // of the whole request
    gofer::WalkReply head;
    std::vector<gofer::Node> nodes;
    std::string link;
    std::optional<gofer::Opened> opened;
    Fd fd;
  };
  Walked walk(gofer::Id from, const std::vector<std::string_view>& names, uint16_t options = 0,
              uint32_t flags = 0);
  // The node at the end of a walk that must succeed.
  gofer::Node find(gofer::Id from, const std::vector<std::string_view>& names);
  struct Entries {
    int error = 0;
    bool end = false;
    struct One {
      gofer::DirEntry head;
      gofer::Attr attr;
      std::string name;
    };
    std::vector<One> list;
  };
  Entries readdir(gofer::Id directory, uint64_t cookie, uint32_t options = 0, uint32_t max_bytes = 0);
  void forget(const std::vector<gofer::Id>& ids);

  // The process.
  pid_t pid() const { return pid_; }
  // Closes our end (if it is open) and waits: the exit status, or 256 plus the signal.
  int finish();
  // Waits without closing.
  int wait();
  std::string log();  // what it said so far; after finish(), all
  uint8_t* buffer() const { return buffer_; }

 private:
  bool post_packet(gofer::Op op, uint32_t tag, gofer::Id id, const std::vector<uint8_t>& body, int fd = -1);

  Fd socket_, log_;
  Fd buffer_fd_;
  uint64_t buffer_size_ = 0;
  uint8_t* buffer_ = nullptr;
  pid_t pid_ = -1;
  uint32_t next_tag_ = 1;
  std::optional<int> status_;
};

}  // namespace gofer_test
