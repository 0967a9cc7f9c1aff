// How a handler's C++ signature becomes a system call: each argument register is converted to the parameter's
// type, the result to rax. The same types print the call for --strace.
//
// Parameter types:
//   int, unsigned, long, uint64_t, ...   the register, truncated as the C ABI would
//   GuestPtr<T>                          an address; a struct that text::value knows is shown itself, before
//   the
//                                        call if it is const, else after it
//   what arguments.h has                 a descriptor, a path, flags, a buffer, ...
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>

#include "sentry/base/result.h"
#include "sentry/kernel/task.h"
#include "sentry/mm/guest_pointer.h"
#include "sentry/syscalls/arguments.h"

namespace sentry::syscalls {

namespace detail {

template <typename T>
concept PrintsItself = requires(const CallView& call, size_t index) {
  { T::print(call, index) } -> std::same_as<std::string>;
};
// What the call adds to an argument that was printed before it.
template <typename T>
concept Updates = requires(const CallView& call, size_t index, std::string& text) {
  T::update(call, index, text);
};
template <typename T>
concept HasNote = requires(const CallView& call, size_t index) {
  { T::note(call, index) } -> std::same_as<std::string>;
};
template <typename T>
concept Wrapped = requires(T argument) {
  argument.value;
};

template <typename T>
struct Pointee {
  using Type = void;
};
template <typename T>
struct Pointee<GuestPtr<T>> {
  using Type = T;
};

template <typename T>
T from_register(uint64_t raw) {
  if constexpr (std::is_integral_v<T> || std::is_enum_v<T>)
    return static_cast<T>(raw);
  else if constexpr (std::is_same_v<T, GuestPath>)
    return GuestPath{raw};
  else if constexpr (Wrapped<T>)
    return T{static_cast<decltype(T::value)>(raw)};
  else
    return T(raw);  // an address
}

// Whether the argument is printed after the call.
template <typename T>
constexpr bool prints_after() {
  using Target = typename Pointee<T>::Type;
  if constexpr (requires { T::kAfter; })
    return T::kAfter;
  else
    return Printable<std::remove_const_t<Target>> && !std::is_const_v<Target>;
}

template <typename T>
std::string print_argument(const CallView& call, size_t index) {
  using Target = std::remove_const_t<typename Pointee<T>::Type>;
  const uint64_t raw = call.raw[index];
  if constexpr (PrintsItself<T>)
    return T::print(call, index);
  else if constexpr (Printable<Target>)
    return prints_after<T>() && !call.succeeded() ? text::address(raw)
                                                  : text::pointed<Target>(call.task, raw);
  else if constexpr (!std::is_void_v<typename Pointee<T>::Type> || std::is_same_v<T, GuestPtr<void>> ||
                     std::is_same_v<T, GuestPtr<const void>>)
    return text::address(raw);
  else if constexpr (std::is_unsigned_v<T>)
    return std::to_string(static_cast<T>(raw));
  else
    return text::integer(static_cast<int64_t>(static_cast<T>(raw)));
}

template <typename R>
Result<uint64_t> to_register(Result<R>&& result) {
  if (!result.ok()) return result.error();
  if constexpr (std::is_void_v<R> || std::is_same_v<R, NoReturn>)
    return uint64_t{0};
  else if constexpr (std::is_same_v<R, Address>)
    return result->value;
  else
    return static_cast<uint64_t>(result.value());
}

template <typename R>
std::string print_result(uint64_t value) {
  if constexpr (std::is_same_v<R, NoReturn>) return "?";
  if constexpr (std::is_same_v<R, Mode>) return text::octal(value);
  if constexpr (std::is_same_v<R, Address>) return text::address(value);
  return text::integer(static_cast<int64_t>(value));
}

}  // namespace detail

// One row of the table.
struct Handler {
  using Arguments = std::array<std::string, 6>;
  using Call = Result<uint64_t> (*)(Task&, const uint64_t (&)[6]);
  // Fills in what can be printed at this point of the call.
  using Print = void (*)(const CallView&, Arguments&);
  // A successful call's result, with notes.
  using PrintResult = std::string (*)(const CallView&);
  Call call = nullptr;
  Print print = nullptr;
  PrintResult print_result = nullptr;
};

namespace detail {

template <auto kFunction>
struct Bind;

template <typename R, typename... Args, Result<R> (*kFunction)(Task&, Args...)>
struct Bind<kFunction> {
  static_assert(sizeof...(Args) <= 6, "a system call has at most six arguments");

  template <size_t... I>
  static Result<uint64_t> call_indexed(Task& task, const uint64_t (&raw)[6], std::index_sequence<I...>) {
    (void)raw;
    return to_register(kFunction(task, from_register<Args>(raw[I])...));
  }
  static Result<uint64_t> call(Task& task, const uint64_t (&raw)[6]) {
    return call_indexed(task, raw, std::index_sequence_for<Args...>{});
  }
  template <typename T>
  static void print_one(const CallView& call, size_t index, Handler::Arguments& out) {
    if (prints_after<T>() == (call.result != nullptr)) out[index] = print_argument<T>(call, index);
    if constexpr (Updates<T>)
      if (call.result != nullptr) T::update(call, index, out[index]);
  }
  template <size_t... I>
  static void print_indexed(const CallView& call, Handler::Arguments& out, std::index_sequence<I...>) {
    (void)call, (void)out;
    (print_one<Args>(call, I, out), ...);
  }
  static void print(const CallView& call, Handler::Arguments& out) {
    print_indexed(call, out, std::index_sequence_for<Args...>{});
  }
  template <typename T>
  static void add_note(const CallView& call, size_t index, std::string& notes) {
    if constexpr (HasNote<T>) {
      const std::string note = T::note(call, index);
      if (!note.empty()) notes += (notes.empty() ? "" : ", ") + note;
    }
  }
  template <typename T>
  static constexpr bool hexadecimal() {
    if constexpr (requires { T::kHexadecimalResult; }) return T::kHexadecimalResult;
    return false;
  }
  template <size_t... I>
  static std::string notes(const CallView& call, std::index_sequence<I...>) {
    std::string notes;
    (void)call;
    (add_note<Args>(call, I, notes), ...);
    return notes;
  }
  static std::string print_result(const CallView& call) {
    const std::string notes = Bind::notes(call, std::index_sequence_for<Args...>{});
    if (notes.empty()) return detail::print_result<R>(**call.result);
    constexpr bool kHexadecimal = (hexadecimal<Args>() || ...);
    const std::string text =
        kHexadecimal ? text::address(**call.result) : detail::print_result<R>(**call.result);
    return text + " (" + notes + ")";
  }
};

}  // namespace detail

template <auto kFunction>
constexpr Handler handler() {
  using Bound = detail::Bind<kFunction>;
  return {&Bound::call, &Bound::print, &Bound::print_result};
}

}  // namespace sentry::syscalls
