// Filters that guests put on themselves: seccomp(2), classic BPF over the call's number and arguments.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <memory>
#include <vector>

#include "sentry/base/result.h"

namespace sentry::kernel {

// One filter, and those installed before it; shared by the tasks that inherited it.
struct SeccompFilter {
  std::vector<sock_filter> program;
  std::shared_ptr<const SeccompFilter> previous;
  size_t depth = 1;         // filters in the chain
  size_t instructions = 0;  // of the chain, each filter counted with 4 more (MAX_INSNS_PER_PATH's measure)
};

// EINVAL for what Linux would not take; ENOMEM for a chain that is too long.
Result<std::shared_ptr<const SeccompFilter>> make_filter(std::vector<sock_filter> program,
                                                         std::shared_ptr<const SeccompFilter> previous);
// What the chain says of a call: the strictest answer of all.
uint32_t evaluate(const SeccompFilter& filter, const seccomp_data& data);

}  // namespace sentry::kernel
