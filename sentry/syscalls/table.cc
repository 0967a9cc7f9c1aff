#include "sentry/syscalls/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sentry/base/log.h"
#include "sentry/kernel/kernel.h"

namespace sentry::syscalls {
namespace {

constexpr size_t kNumbers = 512;
bool strace_on = false;

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
  switch (error) {
    case kErestartSys:
      return "ERESTARTSYS";
    case kErestartNoIntr:
      return "ERESTARTNOINTR";
    case kErestartNoHand:
      return "ERESTARTNOHAND";
    case kErestartRestartblock:
      return "ERESTART_RESTARTBLOCK";
    default:
      break;
  }
  const char* name = ::strerrorname_np(error);
  return name == nullptr ? "E?" : name;
}

std::string result_text(const Result<uint64_t>& result) {
  if (!result.ok()) {
    const int error = result.error().value();
    if (error >= kErestartSys) return fmt::format("? {} (to be restarted)", error_name(error));
    return fmt::format("-1 {} ({})", error_name(error), ::strerrordesc_np(error));
  }
  const auto value = static_cast<int64_t>(*result);
  constexpr int64_t kLooksLikeAddress = 0x10000000;
  return value >= kLooksLikeAddress ? fmt::format("{:#x}", value) : fmt::format("{}", value);
}

Result<uint64_t> answer(Task& task, const Entry* entry, uint64_t number, const uint64_t (&args)[6]) {
  if (entry == nullptr) {
    task.kernel.report_unknown(number);
    return Errno(ENOSYS);
  }
  if (entry->support == Support::kAbsent) return Errno(entry->absent_errno);
  return entry->handler.call(task, args);
}

}  // namespace

const Entry* find(uint64_t number) { return number < kNumbers ? index()[number] : nullptr; }

void set_strace(bool on) { strace_on = on; }

Result<uint64_t> dispatch(Task& task, uint64_t number, const uint64_t (&args)[6]) {
  const Entry* entry = find(number);
  if (!strace_on) return answer(task, entry, number, args);
  const pid_t tid = task.tid;
  std::string call;
  if (entry == nullptr) {
    call = fmt::format("syscall_{:#x}({:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x})", number, args[0], args[1],
                       args[2], args[3], args[4], args[5]);
  } else if (entry->handler.print == nullptr) {
    call = fmt::format("{}({:#x}, {:#x}, {:#x})", entry->name, args[0], args[1], args[2]);
  } else {
    call = fmt::format("{}({})", entry->name, entry->handler.print(task, args));
  }
  const Result<uint64_t> result = answer(task, entry, number, args);
  log_raw(fmt::format("[pid {:5}] {} = {}\n", tid, call, result_text(result)));
  return result;
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
