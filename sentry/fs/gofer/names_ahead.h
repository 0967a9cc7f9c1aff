// What is known of a directory's names before anybody looks them up: attributes that came with a listing, as
// NFS has them by READDIRPLUS (RFC 1813, 3.3.17). Only for trees that nobody else changes.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "gofer/protocol.h"

namespace sentry::fs::gofer {

class NamesAhead {
 public:
  void put(std::string_view name, const ::gofer::Attr& attr) {
    attributes_.insert_or_assign(std::string(name), attr);
  }
  bool has(std::string_view name) const { return attributes_.contains(name); }
  // Gives them away: from then on the inode that they are for knows better.
  std::optional<::gofer::Attr> take(std::string_view name) {
    const auto found = attributes_.find(name);
    if (found == attributes_.end()) return std::nullopt;
    const ::gofer::Attr attr = found->second;
    attributes_.erase(found);
    used_ = true;
    return attr;
  }
  void forget(std::string_view name) {
    if (const auto found = attributes_.find(name); found != attributes_.end()) attributes_.erase(found);
  }
  const ::gofer::Attr* look_at(std::string_view name) const {
    const auto found = attributes_.find(name);
    return found == attributes_.end() ? nullptr : &found->second;
  }
  void clear() { attributes_.clear(); }
  size_t size() const { return attributes_.size(); }
  bool used() const { return used_; }

  // A name was looked up that is not here. How many entries are worth asking for now: more each time, for a
  // directory in which much is looked up; 0 for none.
  uint32_t missed() {
    if (complete || ++misses_ < kMissesBefore) return 0;
    const uint32_t count = next_;
    next_ = std::min(2 * next_, kMost);
    return count;
  }

  // A file here is being opened that has not been before. How many are worth opening in one go: more each
  // time, for a directory whose files are read one after the other.
  uint32_t opened() {
    if (++opens_ < kOpensBefore) return 1;
    return std::min<uint32_t>(uint32_t{2} << std::min(opens_ - kOpensBefore, 8u), ::gofer::kMaxOpen);
  }
  size_t place = 0;  // in the listing, of the last that was

  uint64_t cookie = 0;    // where the next batch begins
  bool complete = false;  // there is nothing more

 private:
  static constexpr unsigned kMissesBefore = 3, kOpensBefore = 3;
  static constexpr uint32_t kFirst = 32, kMost = 512;

  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::unordered_map<std::string, ::gofer::Attr, Hash, std::equal_to<>> attributes_;
  unsigned misses_ = 0, opens_ = 0;
  uint32_t next_ = kFirst;
  bool used_ = false;
};

}  // namespace sentry::fs::gofer
