// Walking a JSON document with the path of each value at hand, so that every error can say where it is. No
// exceptions leave this module, and no value is used before its type was checked.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "oci/config.h"

namespace oci {

// One value of a document and where it stands. Borrows from the document.
class Value {
 public:
  Value(const nlohmann::json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  // The error "PATH: expected EXPECTED, not WHAT-IT-IS".
  Error expected(std::string_view what) const;
  // The error "PATH: MESSAGE".
  Error wrong(std::string_view message) const;

  // A string without NUL characters, which no name or argument of Linux may hold.
  Checked<std::string> text() const;
  // The same, not empty.
  Checked<std::string> name() const;
  // The same, and it starts with a slash.
  Checked<std::string> absolute_path() const;
  Checked<bool> boolean() const;
  // A whole number within the type, or within the bounds.
  template <typename T>
  Checked<T> integer(T least = std::numeric_limits<T>::min(), T most = std::numeric_limits<T>::max()) const {
    if constexpr (std::is_signed_v<T>) {
      const Checked<int64_t> value = signed_integer(least, most);
      return value ? Checked<T>(static_cast<T>(*value)) : Checked<T>(value.error());
    } else {
      const Checked<uint64_t> value = unsigned_integer(least, most);
      return value ? Checked<T>(static_cast<T>(*value)) : Checked<T>(value.error());
    }
  }
  Checked<std::vector<Value>> items() const;
  Checked<std::vector<std::pair<std::string, Value>>> members() const;
  // The member of an object; nothing if it has none of that name. An error if this is no object.
  Checked<std::optional<Value>> member(const char* name) const;
  // The same, but it must be there.
  Checked<Value> required(const char* name) const;
  bool has(const char* name) const;

 private:
  Checked<int64_t> signed_integer(int64_t least, int64_t most) const;
  Checked<uint64_t> unsigned_integer(uint64_t least, uint64_t most) const;
  std::string below(std::string_view name) const;

  const nlohmann::json* json_;
  std::string path_;
};

// Parses text to a document. Errors: not JSON (with line and column), not UTF-8, a name twice in one object.
Checked<nlohmann::json> parse_document(std::string_view text);

}  // namespace oci
