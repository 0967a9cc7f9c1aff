// Takes a request apart: everything about its form is checked here, before anything is done on the host.
#pragma once

#include <cstring>

#include "gofer/protocol.h"
#include "sentry/base/result.h"

namespace gofer {

using sentry::Errno;
using sentry::Result;

// A string of a request as the host's calls want it, ending in NUL.
template <size_t kMax>
class Text {
 public:
  explicit Text(std::string_view value) {
    std::memcpy(text_, value.data(), value.size());
    text_[value.size()] = '\0';
  }
  const char* c_str() const { return text_; }

 private:
  char text_[kMax + 1];
};
using Name = Text<kMaxName>;            // one path component
using LinkTarget = Text<kMaxLink>;      // of a symlink
using XattrName = Text<kMaxXattrName>;  // of an extended attribute

// Whether `name` is one component that stays in its directory: EINVAL if it is empty, ".", ".." or has a '/'
// or NUL, ENAMETOOLONG above NAME_MAX.
Result<> check_component(std::string_view name);

// Every method answers an Errno when the request cannot be taken: complaint() then says whether its form was
// wrong, which ends the connection, or only its content, which is the client's error to hear.
class Decoder {
 public:
  explicit Decoder(std::span<const uint8_t> packet) : reader_(packet) {}

  template <Wire T>
  Result<T> body() {
    const auto value = reader_.take<T>();
    if (!value) return malformed("the body is too short");
    return *value;
  }
  Result<std::string_view> component();  // checked by check_component
  Result<Name> name();
  Result<LinkTarget> link_target();
  Result<XattrName> xattr_name();
  Result<std::span<const uint8_t>> data(size_t count);
  // Nothing is left of the packet.
  Result<> end();

  Errno malformed(const char* complaint) {
    complaint_ = complaint;
    return Errno(EPROTO);
  }
  const char* complaint() const { return complaint_; }

 private:
  Reader reader_;
  const char* complaint_ = nullptr;
};

}  // namespace gofer
