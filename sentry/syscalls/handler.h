// How a handler's C++ signature becomes a system call: each argument register is converted to the parameter's
// type, the result to rax. The same types print the call for --strace.
//
// Parameter types:
//   int, unsigned, long, uint64_t, ...   the register, truncated as the C ABI would
//   GuestPtr<T>                          an address
//   Fd                                   a file descriptor; printed as strace does
//   GuestPath                            the address of a path string; printed quoted
//   Flags<&kTable>                       an int printed by names
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "sentry/base/result.h"
#include "sentry/kernel/task.h"
#include "sentry/mm/guest_pointer.h"

namespace sentry::syscalls {

using kernel::Task;
using mm::GuestPtr;

// A descriptor number as the guest gave it.
struct FdNumber {
  int value;
};

// Address of a path.
struct GuestPath {
  uint64_t address;
};

// Names for flag bits: "O_CREAT" and so on. Zero has a name of its own ("0" if null).
struct FlagName {
  uint64_t bits;
  const char* name;
  uint64_t field = 0;  // for a value of an enumerated field (O_ACCMODE): the field's mask
};

// An argument that is printed by names. `kNames` is a null-terminated table with static storage; kMask is
// what belongs to one enumerated field (printed first), for example O_ACCMODE.
template <const FlagName* kNames>
struct Flags {
  int value;
  operator int() const { return value; }
};

namespace detail {

template <typename T>
struct Argument {
  static_assert(std::is_integral_v<T> || std::is_enum_v<T>, "a system call's parameter is a register");
  static T from(uint64_t raw) { return static_cast<T>(raw); }
};
template <typename T>
struct Argument<GuestPtr<T>> {
  static GuestPtr<T> from(uint64_t raw) { return GuestPtr<T>(raw); }
};
template <>
struct Argument<FdNumber> {
  static FdNumber from(uint64_t raw) { return {static_cast<int>(raw)}; }
};
template <>
struct Argument<GuestPath> {
  static GuestPath from(uint64_t raw) { return {raw}; }
};
template <const FlagName* kNames>
struct Argument<Flags<kNames>> {
  static Flags<kNames> from(uint64_t raw) { return {static_cast<int>(raw)}; }
};

std::string print_integer(int64_t value);
std::string print_unsigned(uint64_t value);
std::string print_address(uint64_t value);
std::string print_path(Task& task, uint64_t address);
std::string print_string(Task& task, uint64_t address);
std::string print_fd(int fd);
// The first bytes of a buffer of `size`, quoted, with "..." where there are more.
std::string print_data(Task& task, uint64_t address, uint64_t size);
std::string print_flags(uint64_t value, const FlagName* names);

template <typename T>
std::string print(Task&, T value) {
  if constexpr (std::is_unsigned_v<T> && sizeof(T) == 8) return print_unsigned(static_cast<uint64_t>(value));
  return print_integer(static_cast<int64_t>(value));
}
template <typename T>
std::string print(Task&, GuestPtr<T> pointer) {
  return print_address(pointer.address());
}
inline std::string print(Task&, FdNumber fd) { return print_fd(fd.value); }
inline std::string print(Task& task, GuestPath path) { return print_path(task, path.address); }
template <const FlagName* kNames>
std::string print(Task&, Flags<kNames> flags) {
  return print_flags(static_cast<unsigned>(flags.value), kNames);
}

template <typename R>
Result<uint64_t> to_register(Result<R>&& result) {
  if (!result.ok()) return result.error();
  if constexpr (std::is_void_v<R>)
    return uint64_t{0};
  else
    return static_cast<uint64_t>(result.value());
}

}  // namespace detail

// One row of the table.
struct Handler {
  using Call = Result<uint64_t> (*)(Task&, const uint64_t (&)[6]);
  using Print = std::string (*)(Task&, const uint64_t (&)[6]);
  Call call = nullptr;
  Print print = nullptr;
};

namespace detail {

template <auto kFunction>
struct Bind;

template <typename R, typename... Args, R (*kFunction)(Task&, Args...)>
struct Bind<kFunction> {
  static_assert(sizeof...(Args) <= 6, "a system call has at most six arguments");

  template <size_t... I>
  static Result<uint64_t> call_indexed(Task& task, const uint64_t (&raw)[6], std::index_sequence<I...>) {
    (void)raw;
    return to_register(kFunction(task, Argument<Args>::from(raw[I])...));
  }
  static Result<uint64_t> call(Task& task, const uint64_t (&raw)[6]) {
    return call_indexed(task, raw, std::index_sequence_for<Args...>{});
  }
  // What a call reads of a buffer is shown: an address of bytes that its length follows.
  template <size_t I, typename T>
  static std::string print_argument(Task& task, const uint64_t (&raw)[6]) {
    if constexpr (std::is_same_v<T, GuestPtr<const void>> && I + 1 < sizeof...(Args)) {
      if constexpr (std::is_same_v<std::tuple_element_t<I + 1, std::tuple<Args...>>, size_t>)
        return print_data(task, raw[I], raw[I + 1]);
    }
    return detail::print(task, Argument<T>::from(raw[I]));
  }
  template <size_t... I>
  static std::string print_indexed(Task& task, const uint64_t (&raw)[6], std::index_sequence<I...>) {
    (void)raw;
    std::string text;
    ((text += (I == 0 ? "" : ", ") + print_argument<I, Args>(task, raw)), ...);
    return text;
  }
  static std::string print(Task& task, const uint64_t (&raw)[6]) {
    return print_indexed(task, raw, std::index_sequence_for<Args...>{});
  }
};

}  // namespace detail

template <auto kFunction>
constexpr Handler handler() {
  return {&detail::Bind<kFunction>::call, &detail::Bind<kFunction>::print};
}

}  // namespace sentry::syscalls
