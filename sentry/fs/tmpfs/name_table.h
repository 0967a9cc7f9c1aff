// The names of a directory in memory, and the order in which readdir(3) lists them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sentry::fs::tmpfs {

// Each entry has a cookie, at least 2 (. and .. come before) and above all that were there when it was added:
// a reader that goes by cookies sees each entry that stays exactly once, whatever comes and goes.
template <typename Node>
class NameTable {
 public:
  struct Entry {
    std::string name;
    std::shared_ptr<Node> node;
    uint64_t cookie;
  };
  static constexpr uint64_t kFirstCookie = 2;

  Entry* find(std::string_view name) {
    const auto found = names_.find(name);
    return found == names_.end() ? nullptr : found->second;
  }
  // The name must be new.
  void add(std::string_view name, std::shared_ptr<Node> node) {
    const uint64_t cookie = next_cookie_++;
    Entry& entry = entries_[cookie];
    entry = {std::string(name), std::move(node), cookie};
    names_[entry.name] = &entry;
  }
  // The node, or null for an unknown name.
  std::shared_ptr<Node> take(std::string_view name) {
    const auto found = names_.find(name);
    if (found == names_.end()) return nullptr;
    Entry& entry = *found->second;
    std::shared_ptr<Node> node = std::move(entry.node);
    const uint64_t cookie = entry.cookie;
    names_.erase(found);
    entries_.erase(cookie);
    return node;
  }

  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  // One beyond the last cookie. Readers stop at what it was when they began: who renames each file that it
  // reads would never end.
  uint64_t end_cookie() const { return next_cookie_; }
  // Calls `offer(entry)` for the entries with a cookie in [from, end) until it answers false. Whether it
  // never did.
  template <typename Offer>
  bool each(uint64_t from, uint64_t end, Offer offer) const {
    for (auto it = entries_.lower_bound(from); it != entries_.end() && it->first < end; ++it)
      if (!offer(it->second)) return false;
    return true;
  }
  // All nodes, which are then no longer here.
  template <typename Receive>
  void drain(Receive receive) {
    names_.clear();
    for (auto& [cookie, entry] : entries_) receive(std::move(entry.node));
    entries_.clear();
  }

 private:
  std::map<uint64_t, Entry> entries_;                   // by cookie
  std::unordered_map<std::string_view, Entry*> names_;  // keys are the entries' names
  uint64_t next_cookie_ = kFirstCookie;
};

}  // namespace sentry::fs::tmpfs
