// The kernel's trace ring buffer as read from per_cpu/cpuN/trace_pipe_raw: whole pages, each a header and a
// run of events. Layout: events/header_page and events/header_event in tracefs, and Documentation/trace/
// ring-buffer-design.rst of the kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hap {

// struct trace_entry, with which every event's payload begins.
struct EventHeader {
  uint16_t type;
  uint8_t flags;  // kFlagHardIrq and its kin
  uint8_t preempt_count;
  int32_t pid;
};
static_assert(sizeof(EventHeader) == 8);

// enum trace_flag_type, include/linux/trace_events.h.
inline constexpr uint8_t kFlagHardIrq = 0x08;
inline constexpr uint8_t kFlagSoftIrq = 0x10;
inline constexpr uint8_t kFlagNmi = 0x40;

// enum trace_type, kernel/trace/trace.h: fixed, unlike the ids of trace events.
inline constexpr uint16_t kTypeFunction = 1;
inline constexpr uint16_t kTypePrint = 5;  // a line that somebody wrote to trace_marker

// How often each kernel function was entered, by its address, in the tenant's own context and in softirq
// context. Hard interrupts and NMIs are nobody's work and are not kept.
class FunctionCounts {
 public:
  enum class Context { kTask, kSoftIrq };
  static constexpr size_t kContexts = 2;

  void add(uint64_t address, Context context);
  void clear();

  struct Entry {
    uint64_t address;
    uint64_t counts[kContexts];
  };
  // All functions seen, by ascending address.
  std::vector<Entry> entries() const;

 private:
  // Kernel text and modules lie in the top 2 GiB (Documentation/x86/x86_64/mm.rst), so that a table by page
  // and offset replaces hashing: a run has tens of millions of events.
  static constexpr uint64_t kTextBase = 0xffffffff80000000;
  static constexpr size_t kPageBits = 12;
  struct Page {
    uint64_t counts[kContexts][size_t{1} << kPageBits] = {};
  };
  std::vector<Page*> pages_ = std::vector<Page*>((uint64_t{1} << 31) >> kPageBits);
  std::vector<std::unique_ptr<Page>> owned_;
  std::unordered_map<uint64_t, Entry> elsewhere_;
};

// What has been read of one trace.
struct TraceCounts {
  FunctionCounts functions;
  std::unordered_map<int64_t, uint64_t> syscalls;  // raw_syscalls:sys_enter by number
  int32_t marker_pid = 0;  // who wrote to trace_marker last, in the kernel's own numbering
  uint64_t events = 0;
  uint64_t lost = 0;  // events that the kernel says it dropped before a page; at least 1 if it gave no count
  uint64_t malformed = 0;  // pages whose end was not where the header said

  void clear();
};

// Adds one page's events to the counts. `sys_enter_type` is the id of raw_syscalls:sys_enter (its `id` file).
// A page that breaks off is counted as malformed and its readable events are kept.
void parse_page(std::span<const std::byte> page, uint16_t sys_enter_type, TraceCounts& counts);

}  // namespace hap
