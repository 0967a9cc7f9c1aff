// The sentry's end of the gofer's socket: requests by tag, so that many fibers wait at once.
// gofer/protocol.h.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "gofer/protocol.h"
#include "sentry/base/event_loop.h"
#include "sentry/base/fd.h"
#include "sentry/base/fiber.h"
#include "sentry/base/result.h"

namespace sentry::fs::gofer {

class Client {
 public:
  // Takes the socket. `lost` is called once when the gofer has gone (after that every call answers EIO).
  Client(EventLoop& loop, Fd socket, std::function<void()> lost);
  ~Client();

  struct Reply {
    std::vector<uint8_t> body;
    std::vector<Fd> fds;
    // The one that an operation which opens one file brings.
    Fd take_fd() { return fds.empty() ? Fd() : std::move(fds.front()); }
  };
  // Sends a request and parks the fiber until its reply; signals do not interrupt. The reply's errno, or EIO
  // for a reply that makes no sense.
  template <typename Fill>
  Result<Reply> call(::gofer::Op op, ::gofer::Id id, Fill fill) {
    std::vector<uint8_t> packet(kFirstSize);
    for (;;) {
      ::gofer::Writer writer(packet);
      writer.put(::gofer::RequestHeader{next_tag_, static_cast<uint16_t>(op), 0, id});
      fill(writer);
      if (writer.ok()) {
        packet.resize(writer.size());
        return exchange(std::move(packet), op);
      }
      if (packet.size() >= ::gofer::kMaxMessage) return Errno(E2BIG);
      packet.resize(::gofer::kMaxMessage);
    }
  }
  Result<Reply> call(::gofer::Op op, ::gofer::Id id) {
    return call(op, id, [](::gofer::Writer&) {});
  }
  // Releases an id when convenient; no reply.
  void forget(::gofer::Id id);
  // Sends what forget() has gathered.
  void flush();
  // The same at the end of this round of the loop.
  void flush_soon();

  // Says hello: the number of attach points. Once, before anything else.
  Result<uint32_t> hello();

 private:
  static constexpr size_t kFirstSize = 4096;
  struct Pending {
    Fiber* fiber;
    ::gofer::Op op;
    bool done = false;
    int error = 0;
    Reply reply;
  };
  Result<Reply> exchange(std::vector<uint8_t> packet, ::gofer::Op op);
  void send(std::vector<uint8_t> packet);
  void readable();
  void writable();
  void fail(const char* why);

  EventLoop& loop_;
  Fd socket_;
  std::function<void()> lost_;
  std::unique_ptr<HostWatch> watch_;
  std::unordered_map<uint32_t, Pending*> pending_;
  std::deque<std::vector<uint8_t>> unsent_;
  std::vector<::gofer::Id> forgotten_;
  std::vector<uint8_t> receive_;
  uint32_t next_tag_ = 1;
  bool dead_ = false;
  bool greeted_ = false;
  bool flush_posted_ = false;
};

// The body of a reply as one struct (and what follows it in `reader`). EIO if it is too short.
template <::gofer::Wire T>
Result<T> take(::gofer::Reader& reader) {
  const auto value = reader.take<T>();
  if (!value) return Errno(EIO);
  return *value;
}

}  // namespace sentry::fs::gofer
