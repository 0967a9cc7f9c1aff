#include "sentry/platform/trap/frame.h"

#include <cstring>

namespace sentry::platform::trap {
namespace {

// struct ucontext of arch/x86/include/uapi/asm/ucontext.h.
struct SignalContext {
  uint64_t registers[18];
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2, fpstate;
  uint64_t reserved[8];
};
struct UserContext {
  uint64_t flags, link, stack_base;
  int32_t stack_flags, padding;
  uint64_t stack_size;
  SignalContext context;
  uint64_t mask;
};
static_assert(sizeof(UserContext) == 304);
constexpr uint64_t kFlags = 1 /* UC_FP_XSTATE */ | 2 /* UC_SIGCONTEXT_SS */ | 4 /* UC_STRICT_RESTORE_SS */;

// struct _fpx_sw_bytes at 464 of the state, and the word behind it.
struct Software {
  uint32_t magic1, extended_size;
  uint64_t features;
  uint32_t state_size;
  uint32_t padding[7];
};
constexpr size_t kSoftwareAt = 464, kHeaderAt = 512, kHeaderSize = 64;
constexpr uint32_t kMagic1 = 0x46505853, kMagic2 = 0x46505845;

std::byte* at(Area& area, uint64_t address, uint64_t place) {
  return reinterpret_cast<std::byte*>(&area) + (place - address);
}

uint64_t enabled_features() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

}  // namespace

uint64_t make_frame(Area& area, uint64_t address, size_t state_size) {
  const uint64_t top = address + Area::kAltStack + Area::kAltStackSize;
  const uint64_t state = state_size == 0 ? 0 : (top - state_size - sizeof kMagic2) & ~uint64_t{63};
  const uint64_t frame = ((state == 0 ? top : state) - sizeof(UserContext) - 128) & ~uint64_t{63};
  UserContext context{};
  context.flags = kFlags;
  context.stack_base = address + Area::kAltStack;
  context.stack_size = Area::kAltStackSize;
  context.context.cs = 0x33;
  context.context.ss = 0x2b;
  context.context.fpstate = state;
  std::memcpy(at(area, address, frame), &context, sizeof context);
  if (state != 0) {
    std::byte* const place = at(area, address, state);
    std::memset(place, 0, state_size);
    const Software software{kMagic1,
                            static_cast<uint32_t>(state_size + sizeof kMagic2),
                            enabled_features(),
                            static_cast<uint32_t>(state_size),
                            {}};
    std::memcpy(place + kSoftwareAt, &software, sizeof software);
    std::memcpy(place + state_size, &kMagic2, sizeof kMagic2);
    constexpr uint16_t kControlWord = 0x37f;
    constexpr uint32_t kMxcsr = 0x1f80;
    std::memcpy(place, &kControlWord, sizeof kControlWord);
    std::memcpy(place + 24, &kMxcsr, sizeof kMxcsr);
  }
  return frame;
}

bool plausible_frame(uint64_t address, uint64_t frame) {
  const uint64_t low = address + Area::kAltStack, high = low + Area::kAltStackSize;
  return frame >= low && frame % 8 == 0 && frame <= high - sizeof(UserContext);
}

void copy_frame(const Area& from, Area& to, uint64_t address, uint64_t frame) {
  if (!plausible_frame(address, frame)) return;
  const uint64_t offset = frame - address;
  std::memcpy(reinterpret_cast<std::byte*>(&to) + offset, reinterpret_cast<const std::byte*>(&from) + offset,
              Area::kAltStack + Area::kAltStackSize - offset);
}

std::byte* frame_state(Area& area, uint64_t address, uint64_t frame, size_t size) {
  if (!plausible_frame(address, frame)) return nullptr;
  UserContext context;
  std::memcpy(&context, at(area, address, frame), sizeof context);
  const uint64_t state = context.context.fpstate;
  const uint64_t low = address + Area::kAltStack, high = low + Area::kAltStackSize;
  if (state < low || state % 64 != 0 || state > high - size) return nullptr;
  return at(area, address, state);
}

void copy_state(Area& from, uint64_t from_address, uint64_t from_frame, Area& to, uint64_t to_address,
                uint64_t to_frame, size_t size) {
  const std::byte* const source = frame_state(from, from_address, from_frame, size);
  std::byte* const target = frame_state(to, to_address, to_frame, size);
  if (source == nullptr || target == nullptr) return;
  std::memcpy(target, source, kSoftwareAt);
  std::memcpy(target + kHeaderAt, source + kHeaderAt, size - kHeaderAt);
}

bool valid_state(std::span<const std::byte> state, uint64_t features) {
  if (state.size() < kHeaderAt + kHeaderSize) return false;
  uint32_t mxcsr = 0, mask = 0;
  std::memcpy(&mxcsr, &state[24], sizeof mxcsr);
  // The CPU's mask of valid bits, from its own FXSAVE; 0 means the default.
  alignas(16) std::byte own[512];
  asm volatile("fxsave64 %0" : "=m"(own));
  std::memcpy(&mask, own + 28, sizeof mask);
  if (mask == 0) mask = 0xffbf;
  if ((mxcsr & ~mask) != 0) return false;
  uint64_t header[8];
  std::memcpy(header, &state[kHeaderAt], sizeof header);
  if ((header[0] & ~features) != 0) return false;
  for (size_t i = 1; i < 8; ++i)
    if (header[i] != 0) return false;
  return true;
}

}  // namespace sentry::platform::trap
