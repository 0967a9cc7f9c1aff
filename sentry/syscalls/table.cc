#include "sentry/syscalls/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sentry/base/log.h"
#include "sentry/kernel/kernel.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kNumbers = 512;

using Index = std::array<const Entry*, kNumbers>;

Index build_index() {
  Index index{};
  for (const auto family : {&file_calls, &directory_calls, &descriptor_calls, &socket_calls, &memory_calls,
                            &process_calls, &identity_calls, &signal_calls, &time_calls, &futex_calls,
                            &scheduler_calls, &system_calls, &ipc_calls}) {
    for (const Entry& entry : family()) {
      BULKHEAD_CHECK(entry.number < kNumbers && index[entry.number] == nullptr, "{} is in the table twice",
                     entry.name);
      index[entry.number] = &entry;
    }
  }
  return index;
}

const Index& index() {
  static const Index kIndex = build_index();
  return kIndex;
}

const char* error_name(int error) {
  const char* name = ::strerrorname_np(error);
  return name == nullptr ? "E?" : name;
}

}  // namespace

const Entry* find(uint64_t number) { return number < kNumbers ? index()[number] : nullptr; }

Result<uint64_t> dispatch(Task& task, uint64_t number, const uint64_t (&args)[6]) {
  const Entry* entry = find(number);
  if (entry == nullptr) {
    task.kernel.report_unknown(number);
    return Errno(ENOSYS);
  }
  if (entry->support == Support::kAbsent) return Errno(entry->absent_errno);
  return entry->handler.call(task, args);
}

std::string table_text() {
  std::string text;
  std::array<size_t, 3> counts{};
  for (const Entry* entry : index()) {
    if (entry == nullptr) continue;
    ++counts[static_cast<size_t>(entry->support)];
    switch (entry->support) {
      case Support::kComplete:
        text += fmt::format("{:3} {:<24} complete\n", entry->number, entry->name);
        break;
      case Support::kPartial:
        text += fmt::format("{:3} {:<24} partial   {}\n", entry->number, entry->name, entry->remark);
        break;
      case Support::kAbsent:
        text += fmt::format("{:3} {:<24} absent    {}: {}\n", entry->number, entry->name,
                            error_name(entry->absent_errno), entry->remark);
        break;
    }
  }
  text += fmt::format("{} complete, {} partial, {} absent\n", counts[0], counts[1], counts[2]);
  return text;
}

}  // namespace sentry::syscalls
