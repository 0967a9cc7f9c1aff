// The host interface of a jailed program as data: one entry for each host call that it may issue, with the
// rule for its arguments and one line on why. The seccomp filter is built from this list, `bulkhead surface`
// prints it, and a test compares the running filter with it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace sentry {

// One comparison on one argument register, as seccomp(2) sees it (64 bits, no pointers followed).
struct ArgRule {
  enum class Op { kEqual, kNotEqual, kLess, kLessEqual, kMasked };  // kMasked: (arg & mask) == value
  unsigned index;
  Op op;
  uint64_t value;
  uint64_t mask = 0;

  bool admits(uint64_t argument) const;
};

constexpr ArgRule arg_equals(unsigned index, uint64_t value) { return {index, ArgRule::Op::kEqual, value}; }
constexpr ArgRule arg_masked(unsigned index, uint64_t mask, uint64_t value) {
  return {index, ArgRule::Op::kMasked, value, mask};
}

// A permitted host call. Several entries for one number are alternatives; the rules of one entry must all
// hold.
struct HostCall {
  HostCall(int nr_in, const char* name_in, const char* reason_in)
      : nr(nr_in), name(name_in), reason(reason_in) {}
  HostCall(int nr_in, const char* name_in, std::initializer_list<ArgRule> rules_in, const char* rule_text_in,
           const char* reason_in)
      : nr(nr_in), name(name_in), rules(rules_in), rule_text(rule_text_in), reason(reason_in) {}

  int nr;
  const char* name;
  std::vector<ArgRule> rules;
  const char* rule_text = "";  // the rules in words, for people
  const char* reason;
};

// A call that libraries try and do without: it fails, but does not end the process.
struct RefusedCall {
  int nr;
  const char* name;
  int error;  // 0: the call returns 0
  const char* reason;
};

// A jailed program's whole list.
struct Surface {
  const char* program;
  std::vector<HostCall> calls;
  std::vector<RefusedCall> refused = {};
  // What anything else gets: the end of the process, or for stubs a SIGSYS that the sentry sees
  // (SECCOMP_RET_TRAP).
  enum class Otherwise { kKill, kTrap } otherwise = Otherwise::kKill;

  // What the filter answers for a call, worked out from the list alone (the test's oracle).
  bool admits(int nr, const uint64_t (&args)[6]) const;
  // Distinct call numbers.
  size_t count() const;
  // The list as `bulkhead surface` prints it: one line a call, then the count.
  std::string to_text() const;
};

// Puts the calling thread (and all it creates) under the surface: anything else kills the process
// (SECCOMP_RET_KILL_PROCESS) or traps. Requires no_new_privs. Aborts with a message if the host refuses.
void enter_surface(const Surface& surface);

}  // namespace sentry

// An entry by its name in <sys/syscall.h>.
#define HOST_CALL(name, ...) ::sentry::HostCall(SYS_##name, #name, __VA_ARGS__)
