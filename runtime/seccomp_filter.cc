#include "runtime/seccomp_filter.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "runtime/text_file.h"
#include "sentry/base/fd.h"

namespace runtime {
namespace {

uint32_t action_of(std::string_view name, uint32_t errno_value) {
  constexpr auto kActions =
      std::to_array<std::pair<std::string_view, uint32_t>>({{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
                                                            {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                                                            {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
                                                            {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                                                            {"SCMP_ACT_LOG", SCMP_ACT_LOG},
                                                            {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW}});
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(errno_value);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(errno_value);
  const auto* const found =
      std::find_if(kActions.begin(), kActions.end(), [&](const auto& each) { return each.first == name; });
  return found->second;  // the parser knows no others
}

scmp_arg_cmp comparison_of(const oci::SeccompArgument& argument) {
  constexpr auto kOperators =
      std::to_array<std::pair<std::string_view, scmp_compare>>({{"SCMP_CMP_NE", SCMP_CMP_NE},
                                                                {"SCMP_CMP_LT", SCMP_CMP_LT},
                                                                {"SCMP_CMP_LE", SCMP_CMP_LE},
                                                                {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                                                {"SCMP_CMP_GE", SCMP_CMP_GE},
                                                                {"SCMP_CMP_GT", SCMP_CMP_GT},
                                                                {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}});
  const auto* const found = std::find_if(kOperators.begin(), kOperators.end(),
                                         [&](const auto& each) { return each.first == argument.op; });
  return {argument.index, found->second, argument.value, argument.value_two};
}

using Filter = std::unique_ptr<void, void (*)(void*)>;

Failure refused(const std::string& name, int error) {
  return system_failure(-error, "config.json: linux.seccomp.syscalls: the rule for {} cannot be added", name);
}

Outcome<> add_rule(void* filter, const oci::SeccompRule& rule, uint32_t action) {
  for (const std::string& name : rule.names) {
    const int number = ::seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name.c_str());
    if (number == __NR_SCMP_ERROR || number < 0) continue;
    std::vector<scmp_arg_cmp> comparisons;
    std::array<int, 6> uses{};
    for (const oci::SeccompArgument& argument : rule.arguments) {
      comparisons.push_back(comparison_of(argument));
      ++uses[argument.index];
    }
    // Conditions on one argument twice cannot stand in one rule: then each is a rule of its own, as in runc.
    const bool apart = std::any_of(uses.begin(), uses.end(), [](int count) { return count > 1; });
    if (!apart) {
      const int error = ::seccomp_rule_add_array(
          filter, action, number, static_cast<unsigned>(comparisons.size()), comparisons.data());
      if (error != 0 && error != -EEXIST) return refused(name, error);
      continue;
    }
    for (const scmp_arg_cmp& each : comparisons) {
      const int error = ::seccomp_rule_add_array(filter, action, number, 1, &each);
      if (error != 0 && error != -EEXIST) return refused(name, error);
    }
  }
  return {};
}

}  // namespace

Outcome<std::string> compile_seccomp(const oci::Seccomp& seccomp) {
  const uint32_t otherwise = action_of(seccomp.default_action, seccomp.default_errno.value_or(EPERM));
  const Filter filter(::seccomp_init(otherwise), ::seccomp_release);
  if (!filter) return failure("config.json: linux.seccomp.defaultAction: libseccomp refuses it");
  // A search tree: profiles name hundreds of calls. What is not x86-64 never reaches the filter.
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  for (const oci::SeccompRule& rule : seccomp.rules) {
    const uint32_t action = action_of(rule.action, rule.errno_value.value_or(EPERM));
    if (action != otherwise) TRY(add_rule(filter.get(), rule, action));
  }
  const sentry::Fd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return system_failure(errno, "cannot make a memfd");
  if (const int error = ::seccomp_export_bpf(filter.get(), file.get()); error != 0)
    return system_failure(-error, "config.json: linux.seccomp: cannot be compiled");
  std::optional<std::string> program = read_text_file(fmt::format("/proc/self/fd/{}", file.get()));
  if (!program) return system_failure(errno, "cannot read the seccomp filter");
  return std::move(*program);
}

}  // namespace runtime
