// x87 and vector state in XSAVE's standard format, as the platforms keep it and signal frames hold it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sentry::platform {

// Bytes, with what the host has enabled; XSAVE's header included.
size_t vector_state_size();
// XCR0: the components that the host has enabled.
uint64_t enabled_features();
// The state of a new program: `state` was all zeros.
void set_initial_state(std::span<std::byte> state);
// What XRSTOR would take: no component or control bit that the CPU refuses.
bool valid_state(std::span<const std::byte> state);
// Everything but the bytes that are software's: they say what the memory is, not what the registers held.
void copy_vector_state(std::span<const std::byte> from, std::byte* to);
// Makes memory that holds such a state the one that a signal frame points to. `state` has room for the word
// that ends it: kFrameEnd bytes more.
void seal_frame_state(std::span<std::byte> state);
inline constexpr size_t kFrameEnd = sizeof(uint32_t);

}  // namespace sentry::platform
