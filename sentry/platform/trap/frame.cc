#include "sentry/platform/trap/frame.h"

#include <cstring>

#include "sentry/abi/signal_frame.h"
#include "sentry/platform/vector_state.h"

namespace sentry::platform::trap {
namespace {

using abi::UserContext;

std::byte* at(Area& area, uint64_t address, uint64_t place) {
  return reinterpret_cast<std::byte*>(&area) + (place - address);
}

// One that ends at `top`.
uint64_t make_frame_below(uint64_t top, Area& area, uint64_t address, size_t state_size) {
  const uint64_t state = state_size == 0 ? 0 : (top - state_size - kFrameEnd) & ~uint64_t{63};
  const uint64_t frame = ((state == 0 ? top : state) - sizeof(UserContext) - 128) & ~uint64_t{63};
  UserContext context{};
  context.flags = abi::kContextFlags;
  context.stack_base = address + Area::kAltStack;
  context.stack_size = Area::kAltStackSize;
  context.context.cs = abi::kUserCode;
  context.context.ss = abi::kUserData;
  context.context.fpstate = state;
  std::memcpy(at(area, address, frame), &context, sizeof context);
  if (state != 0) {
    const std::span place(at(area, address, state), state_size + kFrameEnd);
    std::memset(place.data(), 0, place.size());
    set_initial_state(place);
    seal_frame_state(place);
  }
  return frame;
}

}  // namespace

bool needs_frame(const Registers& registers) {
  return registers.gs_base != 0 || (registers.eflags & abi::kTrapFlag) != 0;
}

uint64_t make_frame(Area& area, uint64_t address, size_t state_size) {
  return make_frame_below(address + Area::kAltStack + Area::kAltStackSize, area, address, state_size);
}

uint64_t make_kept_frame(Area& area, uint64_t address, size_t state_size) {
  constexpr uint64_t kAround = 512;  // alignment, and what make_frame_below() leaves free
  const uint64_t room = state_size + kFrameEnd + sizeof(UserContext) + kAround;
  return make_frame_below(address + Area::kAltStack + ((room + 63) & ~uint64_t{63}), area, address,
                          state_size);
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
  copy_vector_state(std::span(source, size), target);
}

}  // namespace sentry::platform::trap
