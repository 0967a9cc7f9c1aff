#include "sentry/platform/vector_state.h"

#include <cpuid.h>

#include <cstring>

#include "sentry/abi/signal_frame.h"

namespace sentry::platform {

size_t vector_state_size() {
  // CPUID leaf 0xd, ebx.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(0xd, 0, &a, &b, &c, &d) != 0 && b != 0) return b;
  return abi::kXsaveHeaderAt + abi::kXsaveHeaderSize;  // FXSAVE with an empty header
}

uint64_t enabled_features() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

size_t pkru_place() {
  // Once: in a virtual machine each CPUID is the hypervisor's.
  static const size_t kPlace = []() -> size_t {
    if ((enabled_features() & abi::kProtectionKeys) == 0) return 0;
    // Leaf 0xd, sub-leaf of the component: ebx.
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(0xd, 9, &a, &b, &c, &d) != 0 ? b : 0;
  }();
  return kPlace;
}

void set_initial_state(std::span<std::byte> state) {
  // XSTATE_BV 0 is every component in its initial state; two stand in the legacy area all the same, and
  // PKRU's is not what Linux gives to programs.
  std::memcpy(&state[abi::kControlWordAt], &abi::kInitialControlWord, sizeof abi::kInitialControlWord);
  std::memcpy(&state[abi::kMxcsrAt], &abi::kInitialMxcsr, sizeof abi::kInitialMxcsr);
  const size_t pkru = pkru_place();
  if (pkru == 0) return;
  std::memcpy(&state[abi::kXsaveHeaderAt], &abi::kProtectionKeys, sizeof abi::kProtectionKeys);
  std::memcpy(&state[pkru], &abi::kInitialPkru, sizeof abi::kInitialPkru);
}

bool valid_state(std::span<const std::byte> state) {
  if (state.size() < abi::kXsaveHeaderAt + abi::kXsaveHeaderSize) return false;
  uint32_t mxcsr = 0, mask = 0;
  std::memcpy(&mxcsr, &state[abi::kMxcsrAt], sizeof mxcsr);
  // The CPU's mask of valid bits, from its own FXSAVE; 0 means the default.
  alignas(16) std::byte own[abi::kXsaveHeaderAt];
  asm volatile("fxsave64 %0" : "=m"(own));
  std::memcpy(&mask, own + abi::kMxcsrAt + sizeof mxcsr, sizeof mask);
  if (mask == 0) mask = 0xffbf;
  if ((mxcsr & ~mask) != 0) return false;
  uint64_t header[abi::kXsaveHeaderSize / sizeof(uint64_t)];
  std::memcpy(header, &state[abi::kXsaveHeaderAt], sizeof header);
  if ((header[0] & ~enabled_features()) != 0) return false;
  for (size_t i = 1; i < std::size(header); ++i)
    if (header[i] != 0) return false;
  return true;
}

void copy_vector_state(std::span<const std::byte> from, std::byte* to) {
  std::memcpy(to, from.data(), abi::kSoftwareAt);
  std::memcpy(to + abi::kXsaveHeaderAt, from.data() + abi::kXsaveHeaderAt, from.size() - abi::kXsaveHeaderAt);
}

abi::FrameSoftware frame_software(size_t size) {
  abi::FrameSoftware software{};
  software.magic1 = abi::kFrameMagic1;
  software.extended_size = static_cast<uint32_t>(size + kFrameEnd);
  software.features = enabled_features();
  software.state_size = static_cast<uint32_t>(size);
  return software;
}

void seal_frame_state(std::span<std::byte> state) {
  const size_t size = state.size() - kFrameEnd;
  const abi::FrameSoftware software = frame_software(size);
  std::memcpy(&state[abi::kSoftwareAt], &software, sizeof software);
  std::memcpy(&state[size], &abi::kFrameMagic2, sizeof abi::kFrameMagic2);
}

}  // namespace sentry::platform
