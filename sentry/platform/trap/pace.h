// How soon guest code calls again after it has been answered: what looking out for the next call would have
// found.
#pragma once

#include <cstdint>

namespace sentry::platform::trap {

// An average over about sixteen calls, with two thresholds: a change of the way to wait costs something, too.
class Pace {
 public:
  // A call came: soon, or not.
  void came(bool soon) {
    if (soon)
      rate_ += (kWhole - rate_) / kCalls;
    else
      rate_ -= rate_ / kCalls;
    fast_ = rate_ >= (fast_ ? kSlow : kFast);
  }
  // Nearly all calls come soon.
  bool fast() const { return fast_; }

 private:
  static constexpr uint32_t kWhole = 1 << 16, kCalls = 16;
  static constexpr uint32_t kFast = kWhole / 10 * 8, kSlow = kWhole / 10 * 6;
  uint32_t rate_ = kWhole;
  bool fast_ = true;
};

}  // namespace sentry::platform::trap
