// Which syscalls a seccomp filter can let through, worked out from the filter's own program: classic BPF is
// run with the call's number known and its arguments and instruction pointer unknown, along every branch.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <vector>

namespace hap {

// What may happen to one syscall number, over all its arguments.
struct Reach {
  bool allowed = false;    // SECCOMP_RET_ALLOW or _LOG
  bool consulted = false;  // SECCOMP_RET_USER_NOTIF or _TRACE: another process decides
};

// One filter's answer for a native x86-64 call. `complete` turns false if the program holds an instruction
// that seccomp(2) does not accept; the answer is then a guess on the safe side (allowed).
Reach filter_reach(std::span<const sock_filter> program, uint32_t number, bool& complete);

// A chain as a process carries it: the strictest answer wins (seccomp(2)), so a call is allowed at most where
// every filter may allow it.
Reach chain_reach(std::span<const std::vector<sock_filter>> chain, uint32_t number, bool& complete);

}  // namespace hap
