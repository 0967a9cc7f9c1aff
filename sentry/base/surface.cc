#include "sentry/base/surface.h"

#include <fmt/format.h>
#include <seccomp.h>
#include <string.h>

#include <algorithm>
#include <set>

#include "sentry/base/log.h"

namespace sentry {

bool ArgRule::admits(uint64_t argument) const {
  switch (op) {
    case Op::kEqual:
      return argument == value;
    case Op::kNotEqual:
      return argument != value;
    case Op::kLess:
      return argument < value;
    case Op::kLessEqual:
      return argument <= value;
    case Op::kMasked:
      return (argument & mask) == value;
  }
  return false;
}

bool Surface::admits(int nr, const uint64_t (&args)[6]) const {
  return std::any_of(calls.begin(), calls.end(), [&](const HostCall& call) {
    return call.nr == nr && std::all_of(call.rules.begin(), call.rules.end(),
                                        [&](const ArgRule& rule) { return rule.admits(args[rule.index]); });
  });
}

size_t Surface::count() const {
  std::set<int> numbers;
  for (const HostCall& call : calls) numbers.insert(call.nr);
  return numbers.size();
}

std::string Surface::to_text() const {
  std::string text = fmt::format("{}: {} host calls\n", program, count());
  for (const HostCall& call : calls)
    text += fmt::format("  {:<18} {:<44} {}\n", call.name, call.rule_text, call.reason);
  for (const RefusedCall& call : refused)
    text += fmt::format("  {:<18} {:<44} {}\n", call.name,
                        fmt::format("refused: {}", strerrorname_np(call.error)), call.reason);
  return text;
}

void enter_surface(const Surface& surface) {
  scmp_filter_ctx filter =
      seccomp_init(surface.otherwise == Surface::Otherwise::kKill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_TRAP);
  BULKHEAD_CHECK(filter != nullptr, "cannot build the seccomp filter of {}", surface.program);
  for (const HostCall& call : surface.calls) {
    std::vector<scmp_arg_cmp> comparisons;
    for (const ArgRule& rule : call.rules) {
      switch (rule.op) {
        case ArgRule::Op::kEqual:
          comparisons.push_back({rule.index, SCMP_CMP_EQ, rule.value, 0});
          break;
        case ArgRule::Op::kNotEqual:
          comparisons.push_back({rule.index, SCMP_CMP_NE, rule.value, 0});
          break;
        case ArgRule::Op::kLess:
          comparisons.push_back({rule.index, SCMP_CMP_LT, rule.value, 0});
          break;
        case ArgRule::Op::kLessEqual:
          comparisons.push_back({rule.index, SCMP_CMP_LE, rule.value, 0});
          break;
        case ArgRule::Op::kMasked:
          comparisons.push_back({rule.index, SCMP_CMP_MASKED_EQ, rule.mask, rule.value});
          break;
      }
    }
    const int status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call.nr,
                                              static_cast<unsigned>(comparisons.size()), comparisons.data());
    BULKHEAD_CHECK(status == 0, "seccomp rule for {} in {}: error {}", call.name, surface.program, -status);
  }
  for (const RefusedCall& call : surface.refused) {
    const int status = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(static_cast<uint32_t>(call.error)),
                                              call.nr, 0, nullptr);
    BULKHEAD_CHECK(status == 0, "seccomp rule for {} in {}: error {}", call.name, surface.program, -status);
  }
  const int status = seccomp_load(filter);
  BULKHEAD_CHECK(status == 0, "the host refuses the seccomp filter of {}: error {}", surface.program,
                 -status);
  seccomp_release(filter);
}

}  // namespace sentry
