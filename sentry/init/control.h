// A link to the runtime: the control socket, or that of a further process.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/base/event_loop.h"
#include "sentry/boot/boot.h"

namespace sentry::init {

// What came over a link.
struct Order {
  boot::Control control;
  std::string text;
  std::vector<Fd> fds;
};

class ControlLink {
 public:
  // `received` gets each message, `closed` the end of the runtime; on the loop's own stack. Neither may
  // destroy the link.
  ControlLink(EventLoop& loop, Fd socket, std::function<void(Order)> received, std::function<void()> closed);

  // Best effort: a runtime that does not listen has gone.
  void send(const boot::Control& message, std::string_view text = {});

 private:
  void readable();
  Fd socket_;
  std::function<void(Order)> received_;
  std::function<void()> closed_;
  std::unique_ptr<HostWatch> watch_;
};

}  // namespace sentry::init
