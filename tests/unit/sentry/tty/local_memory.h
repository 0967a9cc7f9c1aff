// An address space whose guest addresses stand for the test's own pointers, for calls that copy from and to
// guest memory.
#pragma once

#include <cstring>

#include "sentry/mm/address_space_map.h"
#include "sentry/mm/memory_file.h"

namespace sentry::test {

// Brings every pointer, those to the stack too, into the guest's range.
inline constexpr uint64_t kFlip = uint64_t{1} << 46;

class LocalSpace final : public platform::AddressSpace {
 public:
  Result<> map(const platform::MapOrder&) override { return Errno(ENOSYS); }
  Result<> unmap(uint64_t, uint64_t) override { return {}; }
  Result<> protect(uint64_t, uint64_t, int) override { return Errno(ENOSYS); }
  Result<> move(uint64_t, uint64_t, uint64_t, bool) override { return Errno(ENOSYS); }
  Result<> advise(uint64_t, uint64_t, int) override { return Errno(ENOSYS); }
  Result<size_t> read(uint64_t address, void* buffer, size_t size) override {
    std::memcpy(buffer, reinterpret_cast<const void*>(address ^ kFlip), size);
    return size;
  }
  Result<size_t> write(uint64_t address, const void* data, size_t size) override {
    std::memcpy(reinterpret_cast<void*>(address ^ kFlip), data, size);
    return size;
  }
  Result<Forked> fork(platform::Context&) override { return Errno(ENOSYS); }
  Result<std::unique_ptr<platform::Context>> add_context(platform::Context&) override {
    return Errno(ENOSYS);
  }
};

struct LocalMemory {
  mm::MemoryFile file;
  mm::AddressSpaceMap map{std::make_unique<LocalSpace>(), file};
  static uint64_t address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer) ^ kFlip; }
};

}  // namespace sentry::test
