// The outer end of the sandbox's terminal: a stream socket to the runtime, which copies between it and the
// caller's terminal. Bytes both ways; window size and hangup come over the control socket.
#pragma once

#include <memory>
#include <string_view>

#include "sentry/base/event_loop.h"
#include "sentry/base/fd.h"

namespace sentry::fs::host {

// What the stream is the master of.
class ConsolePeer {
 public:
  virtual ~ConsolePeer() = default;
  // How many typed bytes can be taken now. While it is 0 the socket's own buffer holds the rest back.
  virtual size_t input_room() const = 0;
  // Takes typed bytes, never more than input_room().
  virtual void input(std::string_view bytes) = 0;
  // What waits to be shown; valid until the next call of any kind.
  virtual std::string_view output() = 0;
  // The first `size` bytes of output() have been handed to the host.
  virtual void output_taken(size_t size) = 0;
  // The other end closed; called once, and neither input nor output is asked for afterwards.
  virtual void stream_closed() = 0;
};

class ConsoleStream {
 public:
  // Errors as epoll_ctl(2). The peer must outlive the stream.
  static Result<std::unique_ptr<ConsoleStream>> create(EventLoop& loop, Fd socket, ConsolePeer& peer);

  // Moves what can move. To be called when the peer has new output or new room.
  void update();
  // Closes the socket: nothing moves any more.
  void close();
  bool closed() const { return !socket_; }

 private:
  ConsoleStream(EventLoop& loop, Fd socket, ConsolePeer& peer)
      : loop_(loop), socket_(std::move(socket)), peer_(peer) {}
  bool move_input();
  bool move_output();

  EventLoop& loop_;
  Fd socket_;
  ConsolePeer& peer_;
  std::unique_ptr<HostWatch> watch_;  // after socket_: it goes first
  uint32_t watched_ = 0;
  bool moving_ = false;
  bool again_ = false;                                   // update() was called while moving
  bool input_blocked_ = false, output_blocked_ = false;  // the socket had nothing, took nothing
};

}  // namespace sentry::fs::host
