// Counts what may make another answer of stat(2) out of the same path: names, attributes, mounts. An answer
// that was right at a count is right as long as the count is the same.
#pragma once

#include <cstdint>

namespace sentry::vfs {

namespace detail {
extern uint64_t* changes;
}  // namespace detail

// From now on counts there: in memory that others read as well.
void count_changes_at(uint64_t* place);

inline uint64_t changes() { return *detail::changes; }
inline void changed() { __atomic_store_n(detail::changes, *detail::changes + 1, __ATOMIC_SEQ_CST); }

}  // namespace sentry::vfs
