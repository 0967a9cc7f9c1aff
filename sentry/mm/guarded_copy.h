// A copy that ends where the host has no page for its target (SIGBUS), instead of ending the sentry.
#pragma once

#include <cstddef>

namespace sentry::mm {

// Once, before the sentry enters its surface: the handler, and a stack for it, as fibers' are small.
void guard_copies();

// How many bytes have been copied.
size_t guarded_copy(void* to, const void* from, size_t size);

}  // namespace sentry::mm
