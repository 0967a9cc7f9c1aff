// Guest addresses as types: no dereferencing, no arithmetic but element steps. Making one never faults;
// copying may.
#pragma once

#include <cstdint>
#include <type_traits>

namespace sentry::mm {

// Address of T in guest memory. GuestPtr<const T> can be read, GuestPtr<T> also written.
template <typename T>
class GuestPtr {
 public:
  constexpr GuestPtr() = default;
  constexpr explicit GuestPtr(uint64_t address) : address_(address) {}
  // Writable to read-only.
  template <typename U>
  requires(std::is_same_v<const U, T>) constexpr GuestPtr(GuestPtr<U> other) : address_(other.address()) {}

  constexpr uint64_t address() const { return address_; }
  constexpr bool is_null() const { return address_ == 0; }
  constexpr explicit operator bool() const { return address_ != 0; }
  constexpr GuestPtr at(uint64_t index) const { return GuestPtr(address_ + index * size()); }
  template <typename U>
  constexpr GuestPtr<U> as() const {
    return GuestPtr<U>(address_);
  }

 private:
  static constexpr uint64_t size() {
    if constexpr (std::is_void_v<T>)
      return 1;
    else
      return sizeof(T);
  }
  uint64_t address_ = 0;
};

}  // namespace sentry::mm
