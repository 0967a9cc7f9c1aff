// The debug registers that a debugger gives a task (PTRACE_POKEUSER). The CPU's are the host's: while one of
// these watches, the task goes step by step, and what is watched is compared.
#pragma once

#include <array>
#include <cstdint>

#include "sentry/base/result.h"
#include "sentry/mm/address_space_map.h"

namespace sentry::kernel {

class DebugRegisters {
 public:
  static constexpr size_t kCount = 8;   // DR0 to DR7
  static constexpr size_t kPlaces = 4;  // of them addresses
  static constexpr size_t kStatus = 6, kControl = 7;
  using Contents = std::array<uint64_t, kPlaces>;

  uint64_t get(size_t number) const;
  // As ptrace_set_debugreg(): EINVAL for addresses that are not the program's, for lengths and types that
  // there are not. EIO for what steps do not show: reads.
  Result<> set(size_t number, uint64_t value);

  bool watching() const { return (control_ & 0xff) != 0; }
  // What the watched places hold. Reading guest memory lets others run.
  Contents look(mm::AddressSpaceMap& memory) const;
  // Bit n: DR n has been hit by a step that has led to `rip`.
  uint64_t hits(const Contents& before, const Contents& after, uint64_t rip) const;
  // Shows them in DR6.
  void report(uint64_t hits) { status_ |= hits; }

 private:
  enum class Kind { kExecute, kWrite, kPort, kAccess };  // DR7's R/W fields
  bool enabled(size_t place) const { return (control_ >> (2 * place) & 3) != 0; }
  static Kind kind(uint64_t control, size_t place) {
    return Kind{static_cast<int>(control >> (16 + 4 * place) & 3)};
  }
  static size_t length(uint64_t control, size_t place);
  Result<> check(uint64_t control) const;

  std::array<uint64_t, kPlaces> addresses_{};
  uint64_t status_ = 0, control_ = 0;
};

}  // namespace sentry::kernel
