// The control socket to the runtime.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "sentry/base/event_loop.h"
#include "sentry/boot/boot.h"

namespace sentry::init {

class ControlLink {
 public:
  // `received` gets each message, `closed` the end of the runtime.
  ControlLink(EventLoop& loop, Fd socket, std::function<void(const boot::Control&)> received,
              std::function<void()> closed);

  // Best effort: a runtime that does not listen has gone.
  void send(const boot::Control& message, std::string_view text = {});

 private:
  void readable();
  Fd socket_;
  std::function<void(const boot::Control&)> received_;
  std::function<void()> closed_;
  std::unique_ptr<HostWatch> watch_;
};

}  // namespace sentry::init
