// Whether looking for the other side's turn pays. It does while that side runs on a processor of its own, and
// not while it waits for ours, or has long work to do.
#pragma once

#include <cstdint>

namespace sentry::platform::trap {

// Of the looks of late, how many have found something in time. One that does brings looking back at once; a
// dozen in vain end it, but for one in sixteen.
class Payoff {
 public:
  bool worth_looking() { return rate_ >= kLeast || ++skipped_ % kProbe == 0; }
  void found() { rate_ = rate_ / 2 + kMost / 2; }
  void in_vain() { rate_ -= (rate_ + kDecay - 1) / kDecay; }

 private:
  static constexpr uint32_t kMost = 256, kLeast = 56, kDecay = 8, kProbe = 16;
  uint32_t rate_ = kMost;
  uint32_t skipped_ = 0;
};

}  // namespace sentry::platform::trap
