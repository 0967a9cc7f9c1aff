#include "sentry/base/cycles.h"

namespace sentry {
namespace {

struct Start {
  Nanoseconds time = monotonic_now();
  uint64_t count = cycles();
};
const Start start;

}  // namespace

Nanoseconds to_nanoseconds(uint64_t count) {
  const uint64_t ran = cycles() - start.count;
  const Nanoseconds took = monotonic_now() - start.time;
  if (ran == 0) return 0;
  return static_cast<Nanoseconds>(static_cast<double>(count) * static_cast<double>(took) /
                                  static_cast<double>(ran));
}

}  // namespace sentry
