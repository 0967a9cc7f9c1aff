// The host's vDSO, moved into stubs' own pages: the shim reads clocks by it. vdso(7).
#pragma once

#include <cstdint>

namespace sentry::platform::trap {

// Where the host has put this process's; 0 for nowhere.
uint64_t find_vdso();
// Offset of its clock_gettime function from its start; 0 where there is none.
uint64_t find_vdso_clock(uint64_t vdso);

// Moves this process's vDSO from `from` to `to`, and its data pages to the same distances below, over what
// lies there. How long its code is; 0 if the host does not let them be moved; then the process can no longer
// use them.
uint64_t move_vdso(uint64_t from, uint64_t to);

// Spares this process's children the faults by which each meets the vDSO's pages: private memory comes along
// with fork, and so do pages of data that are there. Then it cannot be moved any more. False if there is no
// memory.
bool keep_vdso_across_fork(uint64_t vdso, uint64_t code_length);

}  // namespace sentry::platform::trap
