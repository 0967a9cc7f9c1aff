// Errors as values. A guest's error is an Errno; an operator's error is a message and lives in the
// runtime; our own error is BULKHEAD_CHECK, which ends this one sandbox with a message.
#pragma once

#include <cerrno>
#include <optional>
#include <utility>
#include <variant>

namespace sentry {

// A Linux errno, positive, as in errno(3). The kernel-internal restart codes (ERESTARTSYS and its kin,
// 512..516) travel as Errno too and never reach the guest.
class [[nodiscard]] Errno {
 public:
  explicit constexpr Errno(int value) : value_(value) {}
  constexpr int value() const { return value_; }
  friend constexpr bool operator==(Errno a, Errno b) { return a.value_ == b.value_; }

 private:
  int value_;
};

// include/linux/errno.h: what a call answers when a signal interrupts it.
inline constexpr int kErestartSys = 512;           // restart if SA_RESTART or no handler, else EINTR
inline constexpr int kErestartNoIntr = 513;        // always restart
inline constexpr int kErestartNoHand = 514;        // restart if no handler, else EINTR
inline constexpr int kErestartRestartblock = 516;  // restart through restart_syscall(2), else EINTR

// A value or an Errno.
template <typename T = void>
class [[nodiscard]] Result {
 public:
  using Value = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Errno error) : state_(std::in_place_index<1>, error) {}
  template <typename U>
  requires(std::is_convertible_v<U&&, T> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, T> && !std::is_same_v<std::remove_cvref_t<U>, Errno>)
      Result(U&& value)
      : state_(std::in_place_index<0>, std::forward<U>(value)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  Errno error() const { return *std::get_if<1>(&state_); }
  bool is(int errno_value) const { return !ok() && error().value() == errno_value; }
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T value_or(T fallback) const { return ok() ? value() : std::move(fallback); }

 private:
  std::variant<T, Errno> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using Value = void;
  constexpr Result() = default;
  constexpr Result(Errno error) : error_(error.value()) {}
  bool ok() const { return error_ == 0; }
  explicit operator bool() const { return ok(); }
  Errno error() const { return Errno(error_); }
  bool is(int errno_value) const { return error_ == errno_value; }
  void value() const {}

 private:
  int error_ = 0;
};

}  // namespace sentry

// The value of a Result, or return its Errno from the enclosing function.
#define TRY(...)                                              \
  ({                                                          \
    auto&& try_result_ = (__VA_ARGS__);                       \
    if (!try_result_.ok()) [[unlikely]]                       \
      return try_result_.error();                             \
    std::forward<decltype(try_result_)>(try_result_).value(); \
  })
