// Runs test bodies as fibers on a loop of their own.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sentry/base/event_loop.h"
#include "sentry/base/wait_queue.h"
#include "sentry/mm/transfer.h"
#include "sentry/vfs/file.h"

namespace fiber_test {

// Runs the bodies side by side until each has returned; a test failure if they have not within ten seconds.
inline void run(std::vector<std::function<void()>> bodies) {
  sentry::EventLoop loop;
  size_t left = bodies.size();
  sentry::Timer alarm(loop, [&] {
    ADD_FAILURE() << left << " fibers are stuck";
    loop.stop();
  });
  alarm.arm(sentry::monotonic_now() + 10 * sentry::kSecond);
  for (const auto& body : bodies) {
    loop.fibers().spawn([&left, &loop, &body] {
      body();
      if (--left == 0) loop.stop();
    });
  }
  loop.run();
}

// Lets the other fibers run until none of them is runnable without this one.
inline void let_others_block() {
  for (int i = 0; i < 10; ++i) sentry::Fiber::yield();
}

inline sentry::Result<std::string> read(sentry::vfs::File& file, size_t size, bool nonblocking = true) {
  std::string text(size, '\0');
  sentry::mm::BufferSink sink(text.data(), size);
  sentry::vfs::File::IoOptions options;
  options.nonblocking = nonblocking;
  text.resize(TRY(file.read(sink, options)));
  return text;
}

inline sentry::Result<size_t> write(sentry::vfs::File& file, std::string_view text, bool nonblocking = true) {
  sentry::mm::BufferSource source(text.data(), text.size());
  sentry::vfs::File::IoOptions options;
  options.nonblocking = nonblocking;
  return file.write(source, options);
}

inline sentry::vfs::CredentialsRef root() { return std::make_shared<sentry::vfs::Credentials>(); }

}  // namespace fiber_test
