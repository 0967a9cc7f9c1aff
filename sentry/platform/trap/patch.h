// Call sites become jumps into the shim.
//
// The instruction before `syscall` gives way to a jump to a trampoline that carries it out and goes on in the
// shim; `syscall` itself stays. A thread that stands at it, or jumps to it, does what it always did: it
// traps. So nothing that can be jumped to changes but the start of one instruction, which does the same as
// before.
//
// That jump takes five bytes. Where the instruction has fewer, one of those before it gives way, and the
// trampoline carries out all from there on; the others stay, for who jumps there. Where there is a branch in
// between (`xor %eax, %eax` alone before read(2)), it gives way to a short jump, of two bytes, to a
// springboard nearby: the long one, in padding between functions, where nothing is ever executed.
#pragma once

#include "sentry/platform/platform.h"

namespace sentry::platform::trap {

class CallSitePatcher final : public SitePatcher {
 public:
  // Before the sentry enters its surface.
  CallSitePatcher();
  ~CallSitePatcher() override;
  std::optional<Patch> patch(const Text& text, size_t site, int64_t distance, int64_t base_distance) override;
  std::vector<std::byte> region_header() override;

 private:
  struct Instruction {
    size_t size;
    unsigned id;      // Capstone's
    bool movable;     // to another place
    size_t relative;  // where in it four bytes are relative to rip; 0: none are
  };
  // The instruction that ends at `place`, where that is beyond doubt.
  std::optional<Instruction> instruction_before(std::span<const std::byte> text, size_t place);
  // Bytes of padding from `place` on: what is there to be skipped, up to an aligned place.
  size_t padding(std::span<const std::byte> text, size_t place);
  // A place from `first` on for a long jump that a short one which ends at `behind` reaches, and how much
  // room there is.
  struct Springboard {
    size_t offset, size;
  };
  std::optional<Springboard> springboard_near(std::span<const std::byte> text, size_t first, size_t behind);

  size_t decoder_ = 0;  // Capstone's handle, once needed
  void* instruction_ = nullptr;
};

}  // namespace sentry::platform::trap
