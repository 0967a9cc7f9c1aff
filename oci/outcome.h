// A value or the reason why there is none: like sentry::Result, with an error that is made for people. TRY of
// sentry/base/result.h works on it.
#pragma once

#include <utility>
#include <variant>

namespace oci {

template <typename T, typename E>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Outcome(E error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const E& error() const { return *std::get_if<1>(&state_); }
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, E> state_;
};

template <typename E>
class [[nodiscard]] Outcome<void, E> {
 public:
  Outcome() : state_(std::in_place_index<0>) {}
  Outcome(E error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const E& error() const { return *std::get_if<1>(&state_); }
  void value() const {}

 private:
  std::variant<std::monostate, E> state_;
};

}  // namespace oci
