// The supervisor's socket, ROOT/ID/control: what commands ask of a container that is there. Packets both
// ways, of one build; only the folder's owner can connect.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/failure.h"
#include "sentry/base/fd.h"

namespace runtime {

struct Request {
  enum class Kind : uint32_t {
    kStart = 1,
    kSignal,     // value: the signal, for the first process
    kSignalAll,  // the same, for every process
    kPause,
    kResume,
    kLimits,        // as Control::kLimits
    kPids,          // answered by host pids in decimal digits: the supervisor's, then those of execs
    kEnd,           // the container has not come to be; value: the exit status
    kAddProcess,    // as Control::kAddProcess. The connection stays as long as the process's command runs.
    kAddContainer,  // as Control::kAddContainer; likewise
  };
  Kind kind = Kind::kStart;
  int32_t value = 0;
  std::string text;
  std::vector<int> fds;  // borrowed when sent; received ones are in ReceivedRequest
};

struct ReceivedRequest {
  Request request;
  std::vector<sentry::Fd> fds;
};

// A command's end.
class ControlConnection {
 public:
  // `folder` is the container's. A refused connection is a container that has ended.
  static Outcome<ControlConnection> open(const std::string& folder);

  // Sends and waits for the answer's text.
  Outcome<std::string> ask(const Request& request) const;
  // The same on a connection for this alone.
  static Outcome<std::string> ask_once(const std::string& folder, const Request& request) {
    return TRY(open(folder)).ask(request);
  }

 private:
  explicit ControlConnection(sentry::Fd socket) : socket_(std::move(socket)) {}
  sentry::Fd socket_;
};

// The supervisor's end.
Outcome<sentry::Fd> listen_for_commands(const std::string& folder);
// Nothing if the peer has gone or talks nonsense.
bool receive_request(int socket, ReceivedRequest& received);
void answer_request(int socket, const std::string& text);
void refuse_request(int socket, const std::string& message);

}  // namespace runtime
