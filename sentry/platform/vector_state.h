// x87 and vector state in XSAVE's standard format, as the platforms keep it and signal frames hold it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "sentry/abi/signal_frame.h"

namespace sentry::platform {

// Bytes, with what the host has enabled; XSAVE's header included.
size_t vector_state_size();
// XCR0: the components that the host has enabled.
uint64_t enabled_features();
// Where PKRU is in that format; 0 where the host has not enabled it.
size_t pkru_place();
// The state of a new program: `state` was all zeros.
void set_initial_state(std::span<std::byte> state);
// What XRSTOR would take: no component or control bit that the CPU refuses.
bool valid_state(std::span<const std::byte> state);
// Everything but the bytes that are software's: they say what the memory is, not what the registers held.
void copy_vector_state(std::span<const std::byte> from, std::byte* to);
// What stands in a signal frame where the state leaves bytes to software; `size` is the state's.
abi::FrameSoftware frame_software(size_t size);
// Makes memory that holds such a state the one that a signal frame points to. `state` has room for the word
// that ends it: kFrameEnd bytes more.
void seal_frame_state(std::span<std::byte> state);
inline constexpr size_t kFrameEnd = sizeof(uint32_t);

}  // namespace sentry::platform
