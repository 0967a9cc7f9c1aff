// Call sites become jumps into the shim.
//
// The instruction before `syscall`, at least five bytes long, gives way to a jump to a trampoline that
// carries it out and goes on in the shim; `syscall` itself stays. A thread that stands at it, or jumps to it,
// does what it always did: it traps. So nothing that can be jumped to changes but the start of one
// instruction, which does the same as before.
#pragma once

#include "sentry/platform/platform.h"

namespace sentry::platform::trap {

class CallSitePatcher final : public SitePatcher {
 public:
  // Before the sentry enters its surface.
  CallSitePatcher();
  ~CallSitePatcher() override;
  std::optional<Patch> patch(std::span<const std::byte> text, size_t site, int64_t distance,
                             int64_t base_distance) override;
  std::vector<std::byte> region_header() override;

 private:
  // The length of the instruction that ends at `site`, if it may be moved elsewhere.
  std::optional<size_t> movable_before(std::span<const std::byte> text, size_t site);

  size_t decoder_ = 0;  // Capstone's handle, once needed
  void* instruction_ = nullptr;
};

}  // namespace sentry::platform::trap
