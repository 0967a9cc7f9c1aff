// Socket addresses as they cross the system call boundary.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace sentry::net {

// A sockaddr of any family with its length; at most 128 bytes, sockaddr_storage.
class Address {
 public:
  Address() = default;
  Address(const void* bytes, size_t length)
      : length_(static_cast<socklen_t>(std::min(length, sizeof storage_))) {
    std::memcpy(&storage_, bytes, length_);
  }
  template <typename T>
  static Address of(const T& address) {
    return {&address, sizeof address};
  }

  socklen_t length() const { return length_; }
  const void* data() const { return &storage_; }
  // AF_UNSPEC if there are not even two bytes.
  sa_family_t family() const {
    return length_ < sizeof(sa_family_t) ? sa_family_t{AF_UNSPEC} : storage_.ss_family;
  }
  // The bytes as T; what the caller did not give is 0.
  template <typename T>
  T as() const {
    static_assert(sizeof(T) <= sizeof storage_);
    T value{};
    std::memcpy(&value, &storage_, std::min<size_t>(sizeof value, length_));
    return value;
  }

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace sentry::net
