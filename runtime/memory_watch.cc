#include "runtime/memory_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <vector>

#include "runtime/text_file.h"

namespace runtime {
namespace {

// A process with everything below it. The sentry is what orphans of its namespace fall to, so this misses
// none.
void collect(pid_t pid, std::vector<pid_t>& pids) {
  pids.push_back(pid);
  const auto children = read_text_file(fmt::format("/proc/{0}/task/{0}/children", pid));
  if (!children) return;
  const char* at = children->data();
  const char* const end = at + children->size();
  while (at < end) {
    pid_t child = 0;
    const auto [next, error] = std::from_chars(at, end, child);
    if (error != std::errc{}) return;
    collect(child, pids);
    at = next + 1;
  }
}

std::vector<pid_t> all_of(pid_t sentry, pid_t gofer) {
  std::vector<pid_t> pids;
  collect(sentry, pids);
  pids.push_back(gofer);
  return pids;
}

uint64_t kilobytes_of(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == text.npos) return 0;
  size_t digit = at + key.size();
  while (digit < text.size() && text[digit] == ' ') ++digit;
  uint64_t value = 0;
  std::from_chars(text.data() + digit, text.data() + text.size(), value);
  return value;
}

}  // namespace

uint64_t MemoryWatch::resident_bytes() const {
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  uint64_t total = 0;
  for (const pid_t pid : all_of(sentry_, gofer_)) {
    const auto text = read_text_file(fmt::format("/proc/{}/statm", pid));
    unsigned long size = 0, resident = 0;
    if (text && std::sscanf(text->c_str(), "%lu %lu", &size, &resident) == 2) total += resident * page_bytes;
  }
  return total;
}

uint64_t MemoryWatch::proportional_bytes() const {
  uint64_t total = 0;
  for (const pid_t pid : all_of(sentry_, gofer_)) {
    const auto text = read_text_file(fmt::format("/proc/{}/smaps_rollup", pid));
    if (text) total += kilobytes_of(*text, "\nPss:") * 1024;
  }
  return total;
}

// Resident sizes count a shared page once a process and are cheap; the exact answer walks page tables, so it
// is asked for only when the first could be too much.
bool MemoryWatch::exceeded() {
  last_seen_bytes_ = resident_bytes();
  if (last_seen_bytes_ <= limit_bytes_) return false;
  last_seen_bytes_ = proportional_bytes();
  return last_seen_bytes_ > limit_bytes_;
}

std::chrono::milliseconds MemoryWatch::next_look() const {
  constexpr uint64_t kBytesPerMs = 2 << 20;  // what one processor touches at most: 2 GiB a second
  const uint64_t room = limit_bytes_ > last_seen_bytes_ ? limit_bytes_ - last_seen_bytes_ : 0;
  return std::chrono::milliseconds(std::clamp<uint64_t>(room / kBytesPerMs, 10, 250));
}

}  // namespace runtime
