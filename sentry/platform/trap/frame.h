// Signal frames on a thread's alternate stack, as rt_sigreturn(2) reads them: through them a thread starts,
// and its vector state is read and written. They lie in memory that the guest can write: every pointer in
// them is checked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sentry/platform/trap/area.h"

namespace sentry::platform::trap {

// Who goes back to guest code with a GS of its own, which the jump's way needs for itself, or one step at a
// time.
bool needs_frame(const Registers& registers);

// Makes a frame that sets the alternate stack and an empty mask; vector state of `state_size` bytes for XSAVE
// to fill, or, with 0, that of a new program. The address of its ucontext in the stub, where the area is at
// `address`.
uint64_t make_frame(Area& area, uint64_t address, size_t state_size);

// The same, with vector state, at the stack's other end: signals that come meanwhile leave it alone.
uint64_t make_kept_frame(Area& area, uint64_t address, size_t state_size);

// Whether a ucontext may be at this stub address.
bool plausible_frame(uint64_t address, uint64_t frame);

// Copies everything from the frame up to the stack's end to the same place in another area.
void copy_frame(const Area& from, Area& to, uint64_t address, uint64_t frame);

// The frame's vector state of `size` bytes in XSAVE's standard format; null if there is none where it says.
std::byte* frame_state(Area& area, uint64_t address, uint64_t frame, size_t size);

// Copies vector state from one frame to another; leaves that of a new program where the first has none.
void copy_state(Area& from, uint64_t from_address, uint64_t from_frame, Area& to, uint64_t to_address,
                uint64_t to_frame, size_t size);

}  // namespace sentry::platform::trap
