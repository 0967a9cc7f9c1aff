#pragma once
// Places that issue system calls, and the way into them with every register set.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace random_program {

enum Register : size_t {
  kRax,
  kRbx,
  kRcx,
  kRdx,
  kRsi,
  kRdi,
  kRbp,
  kRsp,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15
};

// What the processor holds at a call; the assembly knows where each lies.
struct alignas(64) Machine {
  std::array<uint64_t, 16> general;
  uint64_t flags;
  uint32_t mxcsr;
  std::array<uint8_t, 52> unused;
  std::array<uint8_t, 128> x87;  // as fnsave(2) leaves it, 108 bytes
  std::array<uint64_t, 8> masks;
  std::array<std::array<uint64_t, 8>, 32> vectors;  // the low half of 16 where there is no AVX-512
};
static_assert(offsetof(Machine, flags) == 128 && offsetof(Machine, mxcsr) == 136 &&
              offsetof(Machine, x87) == 192);
static_assert(offsetof(Machine, masks) == 320 && offsetof(Machine, vectors) == 384);

// What the instruction before `syscall` loads.
enum class Loads {
  kNumber,  // its call's
  kNumberFromR15,
  kNothing,        // the number is in rax
  kGetpidSite,     // r14: the address of the first of the sites
  kRedZone,        // r14: what lies 64 bytes below the stack pointer
  kThreadPointer,  // r14
};

struct Site {
  const char* name;
  const void* entry;
  const void* after;  // the instruction after `syscall`
  Loads loads = Loads::kNothing;
  long number = -1;  // with kNumber
};

// Those in the program's text: with the number in the instruction, from a register, in between two of them.
std::span<const Site> sites();
// The `syscall` instruction of such a site.
Site bare(const Site& site);

extern "C" {
// Loads everything from `in`, calls the site, and stores everything into `out`.
void call_site_with(const Machine* in, Machine* out, const void* site, int wide);
// Loads the x87 state and stores it again, into the form in which it can be compared.
void normalize_x87(uint8_t* image);
}

}  // namespace random_program
