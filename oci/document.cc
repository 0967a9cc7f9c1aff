#include "oci/document.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace oci {
namespace {

using nlohmann::json;

// Documents nest a handful of levels; more is an attack on whoever walks them recursively.
constexpr int kMaxDepth = 64;

// Watches the parser for what it would let pass: a name twice in one object, and depth without end.
class Watch {
 public:
  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    if (depth > kMaxDepth && !error_) error_ = Error{"", "nested too deeply"};
    switch (event) {
      case json::parse_event_t::object_start:
        names_.emplace_back();
        break;
      case json::parse_event_t::object_end:
        if (!names_.empty()) names_.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto& name = parsed.get_ref<const std::string&>();
        if (!names_.empty() && !names_.back().insert(name).second && !error_)
          error_ = Error{"", "the name \"" + name + "\" stands twice in one object"};
        break;
      }
      default:
        break;
    }
    return true;
  }

  const std::optional<Error>& error() const { return error_; }

 private:
  std::vector<std::set<std::string>> names_;
  std::optional<Error> error_;
};

std::string position(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte == 0 ? 0 : byte - 1, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t last = before.rfind('\n');
  const size_t column = before.size() - (last == before.npos ? 0 : last + 1) + 1;
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

std::string describe(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "an array";
    case json::value_t::string: {
      constexpr size_t kShown = 40;
      const auto& text = value.get_ref<const std::string&>();
      std::string shown = text.substr(0, kShown);
      std::replace_if(
          shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; },
          '?');
      return '"' + shown + (text.size() > kShown ? "...\"" : "\"");
    }
    case json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    default:
      return value.dump();
  }
}

// What the parser met and what it expected, out of its message: "... while parsing value - unexpected '}';
// expected string literal". What it has read last stays out: that may be long.
std::string reason(std::string_view message) {
  const size_t dash = message.find(" - ");
  if (dash == message.npos) return "";
  std::string text(message.substr(dash + 3));
  const size_t read = text.find("; last read: '");
  if (read != text.npos) {
    const size_t end = text.rfind('\'');
    text.erase(read, end + 1 - read);
  }
  return ": " + text;
}

}  // namespace

Checked<json> parse_document(std::string_view text) {
  Watch watch;
  try {
    json document = json::parse(text.begin(), text.end(), std::ref(watch));
    if (watch.error()) return *watch.error();
    return document;
  } catch (const json::parse_error& error) {
    return Error{"", "not valid JSON at " + position(text, error.byte) + reason(error.what())};
  } catch (const json::exception&) {
    // A number beyond every type: json::out_of_range.
    return Error{"", "not valid JSON: a number is out of range"};
  }
}

Error Value::expected(std::string_view what) const {
  std::string message = "expected ";
  message += what;
  message += ", not ";
  message += describe(*json_);
  return {path_, std::move(message)};
}

Error Value::wrong(std::string_view message) const { return {path_, std::string(message)}; }

Checked<std::string> Value::text() const {
  if (!json_->is_string()) return expected("a string");
  const auto& text = json_->get_ref<const std::string&>();
  if (text.find('\0') != text.npos) return wrong("a NUL character is not possible here");
  return text;
}

Checked<std::string> Value::name() const {
  Checked<std::string> name = text();
  if (name && name->empty()) return expected("a string that is not empty");
  return name;
}

Checked<std::string> Value::absolute_path() const {
  Checked<std::string> path = text();
  if (path && !path->starts_with('/')) return expected("an absolute path");
  return path;
}

Checked<bool> Value::boolean() const {
  if (!json_->is_boolean()) return expected("true or false");
  return json_->get<bool>();
}

Checked<int64_t> Value::signed_integer(int64_t least, int64_t most) const {
  const std::string wanted = "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  if (json_->is_number_unsigned()) {
    const auto value = json_->get<uint64_t>();
    if (std::cmp_greater(value, most) || std::cmp_less(value, least)) return expected(wanted);
    return static_cast<int64_t>(value);
  }
  if (!json_->is_number_integer()) return expected(wanted);
  const auto value = json_->get<int64_t>();
  if (value < least || value > most) return expected(wanted);
  return value;
}

Checked<uint64_t> Value::unsigned_integer(uint64_t least, uint64_t most) const {
  const std::string wanted = "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  if (!json_->is_number_unsigned()) return expected(wanted);
  const auto value = json_->get<uint64_t>();
  if (value < least || value > most) return expected(wanted);
  return value;
}

Checked<std::vector<Value>> Value::items() const {
  if (!json_->is_array()) return expected("an array");
  std::vector<Value> items;
  for (size_t i = 0; i < json_->size(); ++i)
    items.emplace_back((*json_)[i], path_ + "[" + std::to_string(i) + "]");
  return items;
}

Checked<std::vector<std::pair<std::string, Value>>> Value::members() const {
  if (!json_->is_object()) return expected("an object");
  std::vector<std::pair<std::string, Value>> members;
  for (const auto& [name, value] : json_->items())
    if (!value.is_null()) members.emplace_back(name, Value(value, below(name)));
  return members;
}

Checked<std::optional<Value>> Value::member(const char* name) const {
  if (!json_->is_object()) return expected("an object");
  const auto found = json_->find(name);
  if (found == json_->end() || found->is_null()) return std::optional<Value>();
  return std::optional<Value>(Value(*found, below(name)));
}

Checked<Value> Value::required(const char* name) const {
  const Checked<std::optional<Value>> found = member(name);
  if (!found) return found.error();
  if (!*found) return Error{below(name), "required, but not there"};
  return **found;
}

bool Value::has(const char* name) const {
  if (!json_->is_object()) return false;
  const auto found = json_->find(name);
  return found != json_->end() && !found->is_null();
}

std::string Value::below(std::string_view name) const {
  std::string path = path_;
  if (!path.empty()) path += '.';
  path += name;
  return path;
}

}  // namespace oci
